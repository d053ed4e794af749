//! Export of traces: takes what the workers have traced, and sends it to a collector in batches.
//! Runs on the control side; what it cannot send in time is dropped and counted, and nobody waits.

mod collector;
mod fault;
mod link;
mod otlp;
mod span;
mod zipkin;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tokio::time::{Instant, sleep, timeout};

use crate::base::tasks::Stop;
use crate::config::spec::{ExporterKind, TracingSpec};
use crate::telemetry::access_log::mask::Mask;
use crate::telemetry::metrics;
use crate::telemetry::registry::Metrics;
use crate::telemetry::trace::{Ended, Tracer};
use crate::tls::client::ClientTlsError;

use collector::{Collector, PROTOBUF, one_line};
use fault::Fault;
use otlp::{ExportRequest, ExportResponse, PartialSuccess};
use span::Span;

/// Sends traces to a collector.
pub struct Exporter {
    ended: Ended,
    desk: Desk,
    batch: usize,
    interval: Duration,
    tracer: Tracer,
}

/// Who spans are of.
struct Service {
    name: String,
    instance: String,
    host: String,
}

/// What sends one batch.
struct Desk {
    kind: ExporterKind,
    collector: Collector,
    timeout: Duration,
    service: Service,
    mask: Mask,
    metrics: Arc<Metrics>,
    /// Spans that are being sent.
    at_hand: u64,
    /// Spans that could not be sent since the word to stop.
    lost_at_end: u64,
    /// What was last told of the collector was no good.
    failing: bool,
}

/// A batch as it is sent, and sent again.
enum Load {
    Post(&'static str, Bytes),
    Call(ExportRequest),
}

impl Exporter {
    /// One that sends what `tracer` has ended.
    ///
    /// # Errors
    /// When the collector cannot be reached by TLS.
    pub fn new(
        spec: &TracingSpec,
        (tracer, ended): (Tracer, Ended),
        mask: Mask,
        metrics: Arc<Metrics>,
    ) -> Result<Self, ClientTlsError> {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let service = Service {
            name: spec.service_name.clone(),
            instance: format!("{host}:{}", std::process::id()),
            host,
        };
        for result in [EXPORTED, QUEUE_FULL, REJECTED].into_iter().chain(fault::REASONS) {
            metrics.add(&metrics::TRACE_SPANS, &[result], 0);
        }
        for result in [OK].into_iter().chain(fault::REASONS) {
            metrics.add(&metrics::TRACE_EXPORTS, &[result], 0);
        }
        let desk = Desk {
            kind: spec.exporter,
            collector: Collector::new(spec.collector.clone(), spec.exporter)?,
            timeout: spec.collector.timeout,
            service,
            mask,
            metrics,
            at_hand: 0,
            lost_at_end: 0,
            failing: false,
        };
        let (batch, interval) = (spec.batch, spec.interval);
        Ok(Self { ended, desk, batch, interval, tracer })
    }

    /// Sends until `stop`, then what is left, for a second and a half at most.
    pub async fn run(mut self, stop: Stop) {
        let metrics = Arc::clone(&self.desk.metrics);
        let counting = count(self.tracer.clone(), metrics);
        let mut end = stop.clone();
        let late = async {
            end.requested().await;
            sleep(LAST_WORDS).await;
        };
        tokio::select! {
            () = self.work(stop) => {}
            () = late => {}
            () = counting => {}
        }
        let mut left = self.desk.at_hand + self.desk.lost_at_end;
        while let Ok(record) = self.ended.queue.try_recv() {
            left += record.trace.as_ref().map_or(0, |trace| trace.spans());
        }
        if left > 0 {
            let collector = self.desk.collector.authority();
            tracing::warn!(spans = left, collector, "spans could not be exported before the end");
        }
    }

    async fn work(&mut self, mut stop: Stop) {
        loop {
            tokio::select! {
                () = stop.requested() => {}
                () = sleep(self.interval) => {}
                () = self.ended.filling.notified() => {}
            }
            loop {
                let spans = self.take();
                if spans.is_empty() {
                    break;
                }
                self.desk.deliver(spans, &mut stop).await;
            }
            if stop.is_requested() {
                return;
            }
        }
    }

    /// A batch of what has ended.
    fn take(&mut self) -> Vec<Span> {
        let (mut spans, mut bytes) = (Vec::new(), 0);
        while spans.len() < self.batch && bytes < FULL {
            let Ok(record) = self.ended.queue.try_recv() else { break };
            let more = span::spans(&record, &self.desk.mask);
            bytes += more.iter().map(Span::size).sum::<usize>();
            spans.extend(more);
        }
        spans
    }
}

impl Desk {
    /// Sends a batch, several times if need be. What cannot be sent is lost.
    async fn deliver(&mut self, spans: Vec<Span>, stop: &mut Stop) {
        let count = spans.len() as u64;
        self.at_hand = count;
        let load = self.load(spans);
        let began = Instant::now();
        for tries in 1.. {
            let fault = match self.send(&load).await {
                Ok(rejected) => {
                    self.delivered(count, rejected);
                    break;
                }
                Err(fault) => fault,
            };
            self.metrics.add(&metrics::TRACE_EXPORTS, &[fault.reason()], 1);
            self.tell(&fault);
            let pause = fault.after().unwrap_or_else(|| backoff(tries)).min(LONGEST_PAUSE);
            let is_last = tries == TRIES || stop.is_requested() || began.elapsed() > PATIENCE;
            if !fault.is_passing() || is_last {
                self.metrics.add(&metrics::TRACE_SPANS, &[fault.reason()], count);
                self.lost_at_end += if stop.is_requested() { count } else { 0 };
                break;
            }
            tokio::select! {
                () = stop.requested() => {} // one last try
                () = sleep(pause) => {}
            }
        }
        self.at_hand = 0;
    }

    fn load(&self, spans: Vec<Span>) -> Load {
        match self.kind {
            ExporterKind::OtlpGrpc => Load::Call(otlp::request(spans, &self.service)),
            ExporterKind::OtlpHttp => {
                let request = otlp::request(spans, &self.service);
                Load::Post(PROTOBUF, request.encode_to_vec().into())
            }
            ExporterKind::Zipkin => {
                Load::Post("application/json", zipkin::body(&spans, &self.service).into())
            }
        }
    }

    /// Sends once. Tells how many spans the collector did not want, and why.
    async fn send(&mut self, load: &Load) -> Result<PartialSuccess, Fault> {
        let collector = &mut self.collector;
        let kind = self.kind;
        let sending = async {
            let answer = match load {
                Load::Call(request) => collector.call(request).await?,
                Load::Post(content, body) => {
                    let answer = collector.post(content, body.clone()).await?;
                    match kind {
                        // What is no answer of OTLP says nothing of spans that were not wanted.
                        ExporterKind::OtlpHttp => {
                            ExportResponse::decode(answer).unwrap_or_default()
                        }
                        _ => ExportResponse::default(),
                    }
                }
            };
            Ok(answer.partial_success.unwrap_or_default())
        };
        match timeout(self.timeout, sending).await {
            Ok(sent) => sent,
            Err(_) => {
                self.collector.hang_up();
                Err(Fault::Timeout(self.timeout))
            }
        }
    }

    fn delivered(&mut self, count: u64, said: PartialSuccess) {
        let collector = self.collector.authority();
        let rejected = u64::try_from(said.rejected_spans).unwrap_or(0).min(count);
        self.metrics.add(&metrics::TRACE_EXPORTS, &[OK], 1);
        self.metrics.add(&metrics::TRACE_SPANS, &[EXPORTED], count - rejected);
        self.metrics.add(&metrics::TRACE_SPANS, &[REJECTED], rejected);
        if rejected > 0 && !self.failing {
            let why = one_line(&said.error_message);
            tracing::warn!(collector, rejected, why, "the collector rejects spans");
        } else if rejected == 0 && self.failing {
            tracing::info!(collector, "traces are exported again");
        }
        self.failing = rejected > 0;
    }

    /// Tells the first failure after a success.
    fn tell(&mut self, fault: &Fault) {
        if !self.failing {
            let collector = self.collector.authority();
            let hint = fault.hint(self.kind, self.collector.is_secure());
            tracing::warn!(collector, %fault, hint, "traces cannot be exported; they are tried again for a while, then dropped");
        }
        self.failing = true;
    }
}

/// Counts once a second what found the queue full, also while the collector is waited for.
async fn count(tracer: Tracer, metrics: Arc<Metrics>) {
    loop {
        metrics.add(&metrics::TRACE_SPANS, &[QUEUE_FULL], tracer.take_dropped());
        metrics.set(&metrics::TRACE_QUEUE, &[], tracer.waiting() as f64);
        sleep(COUNTING).await;
    }
}

/// 1 s, 2 s, 4 s …, less up to a half by chance.
fn backoff(tries: u32) -> Duration {
    let longest = Duration::from_secs(1) * 2_u32.saturating_pow(tries.saturating_sub(1).min(10));
    longest.mul_f64(1.0 - fastrand::f64() / 2.0)
}

const EXPORTED: &str = "exported";
const QUEUE_FULL: &str = "queue_full";
const REJECTED: &str = "rejected";
const OK: &str = "ok";

/// 2 MiB: half of what servers of gRPC take by default, so that what clients write in their heads
/// cannot make a batch that is refused. The last exchange of a batch may go beyond it.
const FULL: usize = 2 << 20;
/// 5 tries: some 15 s, as long as a collector takes to start anew.
const TRIES: u32 = 5;
/// 30 s: younger spans wait behind these, and fill the queue.
const PATIENCE: Duration = Duration::from_secs(30);
/// 30 s: a collector that asks for more will get others.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// 1 s: as often as workers hand over their counts.
const COUNTING: Duration = Duration::from_secs(1);
/// 1.5 s: within the time that the process gives its tasks to end.
const LAST_WORDS: Duration = Duration::from_millis(1500);

#[cfg(test)]
mod tests;
