//! What every source keeps, whatever its kind.

use std::path::Path;
use std::time::Duration;

use hickory_server::proto::op::ResponseCode;
use hickory_server::proto::rr::RecordType;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::base::tasks::Stopped;
use crate::base::watch::FileEvents;
use crate::config::spec::{EndpointSpec, EndpointState, SourceSpec};
use crate::model::address::Address;
use crate::model::members::Found;

use super::nameserver::{NameServer, Reply};
use super::{Event, Means, Report, Source, SourceKey, merge, spawn};

const NAME: &str = "billing.internal.";

/// A source of each kind that finds 10.0.0.1:8080 and 10.0.0.2:8080.
struct World {
    server: NameServer,
    folder: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let server = NameServer::start().await;
        server.set_a(NAME, 1, &[1, 2]);
        server.set_srv("_http._tcp.billing.internal.", 1, &[(0, 1, 8080, NAME)]);
        let folder = tempfile::tempdir().unwrap();
        let json = r#"[{"targets": ["10.0.0.1:8080", "10.0.0.2:8080"]}]"#;
        std::fs::write(folder.path().join("members.json"), json).unwrap();
        let toml = r#"endpoints = ["10.0.0.2:8080", "10.0.0.1:8080"]"#;
        std::fs::write(folder.path().join("members.toml"), toml).unwrap();
        Self { server, folder }
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn kinds(&self) -> Vec<SourceSpec> {
        let fixed =
            ["10.0.0.1:8080", "10.0.0.2:8080"].map(|text| EndpointSpec::new(text.parse().unwrap()));
        vec![
            SourceSpec::Fixed(fixed.to_vec()),
            SourceSpec::Dns { name: NAME.into(), port: 8080 },
            SourceSpec::Srv { name: "_http._tcp.billing.internal.".into() },
            SourceSpec::File(self.file("members.json")),
            SourceSpec::File(self.file("members.toml")),
        ]
    }

    fn start(&self, spec: &SourceSpec) -> (Source, mpsc::Receiver<Report>) {
        let (reports, heard) = mpsc::channel(16);
        let means = Means { resolver: self.server.resolver(), files: FileEvents::new() };
        (spawn(spec, SourceKey(1), &means, &reports), heard)
    }

    /// Makes each source that can fail do so.
    fn fail(&self) {
        for kind in [RecordType::A, RecordType::AAAA] {
            self.server.set(NAME, kind, Reply::Code(ResponseCode::ServFail));
        }
        let service = "_http._tcp.billing.internal.";
        self.server.set(service, RecordType::SRV, Reply::Code(ResponseCode::ServFail));
        for name in ["members.json", "members.toml"] {
            std::fs::write(self.file(name), "nonsense").unwrap();
        }
    }
}

async fn next(heard: &mut mpsc::Receiver<Report>, spec: &SourceSpec) -> Event {
    match timeout(Duration::from_secs(20), heard.recv()).await {
        Ok(Some(report)) => report.event,
        other => panic!("{spec:?} reported nothing: {other:?}"),
    }
}

fn addresses(found: &[Found]) -> Vec<String> {
    found.iter().map(|found| found.address.to_string()).collect()
}

#[tokio::test]
async fn every_source_reports_its_full_set_and_where_it_came_from() {
    let world = World::new().await;
    for spec in world.kinds() {
        let (source, mut heard) = world.start(&spec);

        let Event::Members(found) = next(&mut heard, &spec).await else { panic!("{spec:?} fails") };

        assert_eq!(addresses(&found), ["10.0.0.1:8080", "10.0.0.2:8080"], "{spec:?}");
        assert!(found.iter().all(|found| found.origin == source.label && found.weight == 1));
    }
}

#[tokio::test]
async fn no_source_is_emptied_by_a_failure() {
    for index in 1..5 {
        let world = World::new().await;
        let spec = &world.kinds()[index];
        let (_source, mut heard) = world.start(spec);
        assert!(matches!(next(&mut heard, spec).await, Event::Members(_)), "{spec:?}");

        world.fail();

        let Event::Failed { reason, kept } = next(&mut heard, spec).await else {
            panic!("{spec:?} does not fail")
        };
        assert_eq!(kept, 2, "{spec:?}");
        assert!(!reason.is_empty(), "{spec:?}");
    }
}

#[tokio::test]
async fn every_source_stops_at_the_word_and_reports_nothing_more() {
    let world = World::new().await;
    for spec in world.kinds() {
        let (source, mut heard) = world.start(&spec);
        next(&mut heard, &spec).await;

        assert_eq!(source.stop().await, Stopped::Cleanly, "{spec:?}");

        assert_eq!(heard.recv().await, None, "{spec:?}");
    }
}

#[tokio::test]
async fn every_source_says_what_it_is() {
    let world = World::new().await;
    let specs = [
        SourceSpec::Fixed(Vec::new()),
        SourceSpec::Dns { name: "billing.internal".into(), port: 80 },
        SourceSpec::Srv { name: "_http._tcp.x".into() },
        SourceSpec::File(Path::new("members.json").into()),
    ];

    let labels = specs.map(|spec| world.start(&spec).0.label.to_string());

    let wanted = ["static", "dns billing.internal:80", "srv _http._tcp.x", "file members.json"];
    assert_eq!(labels, wanted);
}

#[tokio::test]
async fn an_endpoint_of_weight_zero_is_no_member() {
    let world = World::new().await;
    let listed = r#"endpoints = ["10.0.0.1:80", { address = "10.0.0.2:80", weight = 0 }]"#;
    std::fs::write(world.file("members.toml"), listed).unwrap();
    let fixed = [("10.0.0.1:80", 1), ("10.0.0.2:80", 0)];
    let fixed = fixed
        .map(|(text, weight)| EndpointSpec { weight, ..EndpointSpec::new(text.parse().unwrap()) });

    for spec in [SourceSpec::Fixed(fixed.to_vec()), SourceSpec::File(world.file("members.toml"))] {
        let (_source, mut heard) = world.start(&spec);
        let Event::Members(found) = next(&mut heard, &spec).await else { panic!("{spec:?} fails") };
        assert_eq!(addresses(&found), ["10.0.0.1:80"], "{spec:?}");
    }
}

#[tokio::test]
async fn whoever_writes_an_endpoint_says_that_it_is_draining_and_where_it_stands() {
    let world = World::new().await;
    let keys = r#"priority = 2, zone = "eu-1a", state = "draining""#;
    let listed = format!(r#"endpoints = [{{ address = "10.0.0.1:80", {keys} }}]"#);
    std::fs::write(world.file("members.toml"), listed).unwrap();
    let fixed = EndpointSpec {
        priority: 2,
        zone: Some("eu-1a".into()),
        state: EndpointState::Draining,
        ..EndpointSpec::new("10.0.0.1:80".parse().unwrap())
    };

    for spec in [SourceSpec::Fixed(vec![fixed]), SourceSpec::File(world.file("members.toml"))] {
        let (_source, mut heard) = world.start(&spec);
        let Event::Members(found) = next(&mut heard, &spec).await else { panic!("{spec:?} fails") };
        let [one] = found.as_slice() else { panic!("{found:?}") };
        assert!(one.draining && one.priority == 2, "{one:?}");
        assert_eq!(one.zone.as_deref(), Some("eu-1a"));
    }
}

#[test]
fn sources_of_one_pool_are_put_together_and_the_first_named_wins() {
    let found = |address: &str, weight, origin: &str| Found {
        weight,
        ..Found::new(address.parse::<Address>().unwrap(), origin)
    };
    let fixed = [found("10.0.0.2:80", 5, "static")];
    let listed = [found("10.0.0.1:80", 1, "file"), found("10.0.0.2:80", 1, "file")];

    let merged = merge([&fixed[..], &listed[..]]);

    assert_eq!(merged, [fixed[0].clone(), listed[0].clone()]);
}

#[test]
fn a_drain_that_a_later_source_says_of_an_address_is_not_lost() {
    let found = |draining, origin: &str| Found {
        draining,
        ..Found::new("10.0.0.1:80".parse::<Address>().unwrap(), origin)
    };
    for (first, second) in [(false, true), (true, false), (true, true)] {
        let merged = merge([&[found(first, "static")][..], &[found(second, "file")][..]]);

        assert_eq!(merged, [found(true, "static")], "{first} {second}");
    }
}
