//! Builds the prometheus crate's metric families from plain numbers, and their text.

use std::io;

use prometheus::{Encoder, TextEncoder, proto};

use crate::base::stretch::LongText;

use super::histogram::Histogram;
use super::metrics::{Family, Kind};

/// A family with the samples that were added so far.
pub(super) struct Samples {
    family: &'static Family,
    metrics: Vec<proto::Metric>,
}

impl Samples {
    /// No samples yet.
    pub(super) fn of(family: &'static Family) -> Self {
        Self { family, metrics: Vec::new() }
    }

    /// Adds a number; `labels` are the values in the order of the family's labels.
    pub(super) fn number(&mut self, labels: &[&str], value: f64) {
        let mut metric = self.metric(labels);
        match self.family.kind {
            Kind::Counter => {
                let mut counter = proto::Counter::default();
                counter.set_value(value);
                metric.set_counter(counter);
            }
            Kind::Gauge | Kind::Histogram => {
                let mut gauge = proto::Gauge::default();
                gauge.set_value(value);
                metric.set_gauge(gauge);
            }
        }
        self.metrics.push(metric);
    }

    /// Adds a whole number.
    pub(super) fn count(&mut self, labels: &[&str], value: u64) {
        self.number(labels, value as f64);
    }

    /// Adds a histogram.
    pub(super) fn histogram(&mut self, labels: &[&str], histogram: &Histogram) {
        let buckets = histogram.cumulative().map(|(bound, count)| {
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(bound);
            bucket.set_cumulative_count(count);
            bucket
        });
        let mut out = proto::Histogram::default();
        out.set_bucket(buckets.collect());
        out.set_sample_count(histogram.count());
        out.set_sample_sum(histogram.sum_seconds());
        let mut metric = self.metric(labels);
        metric.set_histogram(out);
        self.metrics.push(metric);
    }

    /// The family, or none where it has no sample: the text format has no empty families.
    pub(super) fn finish(self) -> Option<proto::MetricFamily> {
        if self.metrics.is_empty() {
            return None;
        }
        let mut family = proto::MetricFamily::default();
        family.set_name(self.family.name.to_owned());
        family.set_help(self.family.help.to_owned());
        family.set_field_type(match self.family.kind {
            Kind::Counter => proto::MetricType::COUNTER,
            Kind::Gauge => proto::MetricType::GAUGE,
            Kind::Histogram => proto::MetricType::HISTOGRAM,
        });
        family.set_metric(self.metrics);
        Some(family)
    }

    fn metric(&self, labels: &[&str]) -> proto::Metric {
        debug_assert_eq!(labels.len(), self.family.labels.len(), "{}", self.family.name);
        let pairs = self.family.labels.iter().zip(labels).map(|(name, value)| {
            let mut pair = proto::LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        });
        proto::Metric::from_label(pairs.collect())
    }
}

/// Families in the text format.
///
/// # Errors
/// When the encoder refuses one, which is a bug.
pub(super) fn text(families: Vec<proto::MetricFamily>) -> Result<String, prometheus::Error> {
    // Thousands of lines may belong to one family.
    let (mut text, encoder) = (LongText::begin(), TextEncoder::new());
    for family in families {
        encoder.encode(&[family], &mut text)?;
    }
    String::from_utf8(text.into_bytes()).map_err(|error| io::Error::other(error).into())
}
