//! Addresses by name: the schedule on a paused clock, the answers from a real name server.

use std::sync::{Arc, Mutex};

use hickory_server::proto::op::ResponseCode;
use hickory_server::proto::rr::RecordType;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use crate::base::tasks::{Stopped, Tasks};
use crate::discovery::nameserver::{NameServer, Reply};
use crate::discovery::{Event, Report, SourceKey};

use super::*;

const NAME: &str = "billing.internal.";

/// Gives its answers in order, the last one again and again, and notes when it was asked.
struct Script {
    answers: Vec<Result<Answer, LookupError>>,
    asked: Arc<Mutex<Vec<Instant>>>,
}

impl Ask for Script {
    async fn ask(&mut self) -> Result<Answer, LookupError> {
        self.asked.lock().unwrap().push(Instant::now());
        match self.answers.len() {
            1 => self.answers[0].clone(),
            _ => self.answers.remove(0),
        }
    }
}

fn answer(hosts: &[u8], ttl: u64) -> Result<Answer, LookupError> {
    let named =
        |host: &u8| Named { address: ([10, 0, 0, *host], 80).into(), weight: 1, priority: 0 };
    let endpoints = hosts.iter().map(named).collect();
    Ok(Answer { endpoints, ttl: Duration::from_secs(ttl), trouble: None })
}

fn failed(reason: &str) -> Result<Answer, LookupError> {
    Err(LookupError::Failed(reason.to_owned()))
}

fn feed() -> (Feed, mpsc::Receiver<Report>) {
    let (reports, heard) = mpsc::channel(100);
    (Feed::new(SourceKey(1), "dns test".into(), reports), heard)
}

/// Runs a script for `time` of the paused clock; tells when it asked and what it reported.
async fn play(
    answers: Vec<Result<Answer, LookupError>>,
    time: Duration,
) -> (Vec<Duration>, Vec<Event>) {
    let (feed, mut heard) = feed();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let script = Script { answers, asked: Arc::clone(&asked) };
    let started = Instant::now();

    drop(timeout(time, refresh(script, feed)).await);

    let asked = asked.lock().unwrap().iter().map(|at| at.duration_since(started)).collect();
    (asked, std::iter::from_fn(|| heard.try_recv().ok()).map(|report| report.event).collect())
}

fn sizes(events: &[Event]) -> Vec<Result<usize, usize>> {
    let size = |event: &Event| match event {
        Event::Members(found) => Ok(found.len()),
        Event::Failed { kept, .. } => Err(*kept),
    };
    events.iter().map(size).collect()
}

/// The second question comes at `seconds`, or up to 5 % later.
fn assert_asked_again_after(asked: &[Duration], seconds: f64) {
    let at = asked[1].as_secs_f64();
    assert!((seconds..=seconds * 1.05 + 0.002).contains(&at), "asked again after {at} s");
}

#[tokio::test(start_paused = true)]
async fn the_next_question_comes_when_the_answer_runs_out() {
    let (asked, events) = play(vec![answer(&[1], 20)], Duration::from_secs(30)).await;

    assert_eq!(asked.len(), 2);
    assert_asked_again_after(&asked, 20.0);
    assert_eq!(sizes(&events), [Ok(1)], "the same answer is no news");
}

#[tokio::test(start_paused = true)]
async fn a_ttl_of_zero_is_taken_as_one_second() {
    let (asked, _) = play(vec![answer(&[1], 0)], Duration::from_millis(1900)).await;

    assert_eq!(asked.len(), 2);
    assert_asked_again_after(&asked, 1.0);
}

#[tokio::test(start_paused = true)]
async fn a_ttl_of_a_day_is_taken_as_one_minute() {
    let (asked, _) = play(vec![answer(&[1], 86_400)], Duration::from_secs(100)).await;

    assert_eq!(asked.len(), 2);
    assert_asked_again_after(&asked, 60.0);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_tried_again_after_five_seconds_and_keeps_the_set() {
    let empty = Err(LookupError::Empty("the name does not exist (NXDOMAIN)"));
    let script = vec![answer(&[1, 2], 1), failed("no answer"), empty, answer(&[1, 2], 60)];

    let (asked, events) = play(script, Duration::from_secs(30)).await;

    assert_eq!(sizes(&events), [Ok(2), Err(2), Err(2), Ok(2)]);
    let pauses: Vec<u64> = asked.windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect();
    assert_eq!(pauses, [1, 5, 5]);
    let Event::Failed { reason, .. } = &events[2] else { panic!("{events:?}") };
    assert_eq!(reason, "the name does not exist (NXDOMAIN)");
}

#[tokio::test(start_paused = true)]
async fn a_name_that_was_never_resolved_leaves_the_pool_empty_and_says_why() {
    let (_, events) = play(vec![failed("no answer")], Duration::from_secs(1)).await;

    assert_eq!(events, [Event::Failed { reason: "no answer".into(), kept: 0 }]);
}

#[tokio::test(start_paused = true)]
async fn half_an_answer_is_used_and_its_trouble_told() {
    let mut half = answer(&[1, 2, 3], 60);
    if let Ok(half) = &mut half {
        half.trouble = Some("AAAA: no answer".into());
    }
    let script = vec![answer(&[1, 2], 1), half.clone(), half, answer(&[1, 2, 3], 60)];

    let (asked, events) = play(script, Duration::from_secs(30)).await;

    assert_eq!(sizes(&events), [Ok(2), Ok(3), Err(3), Err(3), Ok(3)]);
    assert_eq!(asked.len(), 4, "a half answer is asked for again after five seconds");
}

#[tokio::test(start_paused = true)]
async fn a_question_in_flight_does_not_hold_up_the_stop() {
    struct Never;
    impl Ask for Never {
        async fn ask(&mut self) -> Result<Answer, LookupError> {
            std::future::pending().await
        }
    }
    let (feed, _heard) = feed();
    let mut tasks = Tasks::new("test");
    tasks.spawn(|mut stop| async move {
        tokio::select! {
            () = stop.requested() => {}
            () = refresh(Never, feed) => {}
        }
    });

    assert_eq!(tasks.stop(Duration::from_secs(1)).await, Stopped::Cleanly);
}

fn question<'a>(resolver: &'a Resolver, name: &'a str) -> AddressQuestion<'a> {
    AddressQuestion { resolver, name, port: 8080, last: Vec::new() }
}

fn texts(answer: &Answer) -> Vec<String> {
    let mut texts: Vec<String> =
        answer.endpoints.iter().map(|named| named.address.to_string()).collect();
    texts.sort();
    texts
}

#[tokio::test]
async fn both_address_families_are_found_with_the_shortest_ttl() {
    let server = NameServer::start().await;
    server.set_a(NAME, 30, &[1, 2]);
    server.set_aaaa(NAME, 20, &[7]);

    let answer = question(&server.resolver(), NAME).ask().await.unwrap();

    assert_eq!(texts(&answer), ["10.0.0.1:8080", "10.0.0.2:8080", "[fd00::7]:8080"]);
    assert_eq!(answer.ttl, Duration::from_secs(20));
    assert_eq!(answer.trouble, None);
}

#[tokio::test]
async fn an_alias_that_runs_out_sooner_decides_the_ttl() {
    let server = NameServer::start().await;
    server.set_a("real.internal.", 50, &[1]);
    server.set_alias(NAME, 7, "real.internal.");

    let answer = question(&server.resolver(), NAME).ask().await.unwrap();

    assert_eq!(texts(&answer), ["10.0.0.1:8080"]);
    assert_eq!(answer.ttl, Duration::from_secs(7));
}

#[tokio::test]
async fn no_answer_is_remembered_beyond_its_asker() {
    let server = NameServer::start().await;
    let resolver = server.resolver();
    let mut question = question(&resolver, NAME);
    server.set_a(NAME, 3600, &[1]);
    assert_eq!(texts(&question.ask().await.unwrap()), ["10.0.0.1:8080"]);

    server.set_a(NAME, 3600, &[2]);

    assert_eq!(texts(&question.ask().await.unwrap()), ["10.0.0.2:8080"]);
}

#[tokio::test]
async fn each_way_to_fail_has_its_reason_and_ends_when_the_server_is_back() {
    let server = NameServer::start().await;
    let resolver = server.resolver();
    let mut question = question(&resolver, NAME);

    let unknown = question.ask().await.unwrap_err();
    assert_eq!(unknown.to_string(), "the name does not exist (NXDOMAIN)");

    server.set(NAME, RecordType::A, Reply::Records(Vec::new()));
    let empty = question.ask().await.unwrap_err();
    assert_eq!(empty.to_string(), "the name has no such records");

    for kind in [RecordType::A, RecordType::AAAA] {
        server.set(NAME, kind, Reply::Code(ResponseCode::ServFail));
    }
    let broken = question.ask().await.unwrap_err();
    assert!(matches!(broken, LookupError::Failed(_)), "{broken:?}");
    assert!(broken.to_string().starts_with("the name servers say: Server Failure"), "{broken}");

    for kind in [RecordType::A, RecordType::AAAA] {
        server.set(NAME, kind, Reply::Silence);
    }
    let dead = question.ask().await.unwrap_err();
    assert_eq!(dead.to_string(), "no answer from the name servers in time");

    server.set_a(NAME, 5, &[1]);
    server.set_aaaa(NAME, 5, &[]);
    assert_eq!(texts(&question.ask().await.unwrap()), ["10.0.0.1:8080"]);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_a_failure() {
    let gone = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let timeout = Duration::from_millis(250);
    let resolver = Resolver::new(&crate::config::spec::DnsSpec { servers: vec![gone], timeout });

    let error = question(&resolver, NAME).ask().await.unwrap_err();

    assert!(matches!(error, LookupError::Failed(_)), "{error:?}");
    assert!(!error.to_string().is_empty());
}

#[tokio::test]
async fn a_second_server_answers_where_the_first_is_dead() {
    let (dead, alive) = (NameServer::start().await, NameServer::start().await);
    for kind in [RecordType::A, RecordType::AAAA] {
        dead.set(NAME, kind, Reply::Silence);
    }
    alive.set_a(NAME, 30, &[1]);
    let servers = vec![dead.address, alive.address];
    // The living one must answer within this, too.
    let timeout = Duration::from_secs(1);
    let resolver = Resolver::new(&crate::config::spec::DnsSpec { servers, timeout });

    let answer = question(&resolver, NAME).ask().await.unwrap();

    assert_eq!(texts(&answer), ["10.0.0.1:8080"]);
}

#[tokio::test]
async fn a_name_that_is_none_is_a_failure() {
    let server = NameServer::start().await;
    let long = format!("{}.internal.", "x".repeat(64));
    for name in ["a..b.", long.as_str()] {
        let error = question(&server.resolver(), name).ask().await.unwrap_err();
        assert!(!error.to_string().is_empty(), "{name}");
    }
}

#[tokio::test]
async fn a_family_whose_server_fails_keeps_its_addresses_and_one_that_ended_does_not() {
    let server = NameServer::start().await;
    let resolver = server.resolver();
    let mut question = question(&resolver, NAME);
    server.set_a(NAME, 30, &[1]);
    server.set_aaaa(NAME, 30, &[7]);
    question.ask().await.unwrap();

    server.set(NAME, RecordType::AAAA, Reply::Code(ResponseCode::ServFail));
    let half = question.ask().await.unwrap();
    assert_eq!(texts(&half), ["10.0.0.1:8080", "[fd00::7]:8080"]);
    assert!(half.trouble.is_some());

    server.set_aaaa(NAME, 30, &[]);
    let ended = question.ask().await.unwrap();
    assert_eq!(texts(&ended), ["10.0.0.1:8080"]);
    assert_eq!(ended.trouble, None);
}

#[tokio::test]
async fn an_answer_that_changes_is_reported_when_the_first_runs_out() {
    let server = NameServer::start().await;
    server.set_a(NAME, 1, &[1]);
    let (reports, mut heard) = mpsc::channel(10);
    let spec = crate::config::spec::SourceSpec::Dns { name: NAME.into(), port: 8080 };
    let means = crate::discovery::Means {
        resolver: server.resolver(),
        files: crate::base::watch::FileEvents::new(),
    };
    let source = crate::discovery::spawn(&spec, SourceKey(7), &means, &reports);
    let mut next = async || timeout(Duration::from_secs(20), heard.recv()).await.unwrap().unwrap();

    let first = next().await;
    server.set_a(NAME, 1, &[2, 3]);
    let second = next().await;

    assert_eq!(first.source, SourceKey(7));
    let Event::Members(found) = &second.event else { panic!("{second:?}") };
    let addresses: Vec<String> = found.iter().map(|found| found.address.to_string()).collect();
    assert_eq!(addresses, ["10.0.0.2:8080", "10.0.0.3:8080"]);
    assert_eq!(found[0].origin.as_ref(), "dns billing.internal.:8080");
    assert_eq!(source.stop().await, Stopped::Cleanly);
}
