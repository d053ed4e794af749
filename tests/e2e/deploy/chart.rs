//! The Helm chart, rendered by Helm's own engine and held against the schemas of Kubernetes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::{SPARE, check_with, deploy, documents, named, seconds, secret_of_tls};
use crate::world::PYTHON;
use crate::world::process::run;

/// What comes of the chart with each of these sets of values; `Err` = why Helm refuses them.
fn rendered(values: &[Value]) -> Vec<Result<Value, String>> {
    let folder = tempfile::tempdir().expect("a folder");
    let asked = folder.path().join("values.json");
    fs::write(&asked, Value::from(values).to_string()).expect("write the values");
    let output = run(Command::new(PYTHON)
        .arg(script())
        .arg(deploy("helm/tenantry"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::from(fs::File::open(&asked).expect("open the values"))));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\ntests/run installs what this needs");
    let made: Vec<Value> = serde_json::from_slice(&output.stdout).expect("JSON");
    made.into_iter()
        .map(|made| made["refused"].as_str().map_or(Ok(made.clone()), |why| Err(why.to_owned())))
        .collect()
}

fn script() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/deploy/render.py")
}

/// What comes of one set of values.
fn objects(values: Value) -> Vec<Value> {
    let made = rendered(&[values]).remove(0).expect("good values");
    made["objects"].as_array().expect("objects").clone()
}

/// The text in a ConfigMap.
fn text<'a>(objects: &'a [Value], map: &str, file: &str) -> &'a str {
    let text = &named(objects, "ConfigMap", map)["data"][file];
    text.as_str().unwrap_or_else(|| panic!("{map} has no {file}"))
}

fn pod(objects: &[Value]) -> &Value {
    &named(objects, "Deployment", "shop-tenantry")["spec"]["template"]
}

/// Another value for each that the chart has, by its place.
fn others() -> Vec<(&'static str, Value)> {
    let volume = json!([{ "name": "more", "emptyDir": {} }]);
    let mount = json!([{ "name": "more", "mountPath": "/more" }]);
    let expressions =
        json!([{ "matchExpressions": [{ "key": "zone", "operator": "In", "values": ["a"] }] }]);
    let affinity = json!({ "nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": expressions },
    } });
    vec![
        ("image.repository", json!("registry.example.com/tenantry")),
        ("image.tag", json!("1.2.3")),
        ("image.pullPolicy", json!("Always")),
        ("imagePullSecrets", json!([{ "name": "registry" }])),
        ("replicas", json!(5)),
        ("bindAddress", json!("[::]")),
        ("listeners.http.port", json!(8000)),
        ("listeners.http.servicePort", json!(8088)),
        ("gateway", json!("workers = 3\n")),
        ("admin.tokenSecret", json!("operators")),
        ("admin.config", json!("public-metrics = true")),
        ("drain.accept", json!(3)),
        ("drain.timeout", json!(90)),
        ("routes.routes.toml", json!("# nobody yet\n")),
        ("existingRoutes", json!("routes-of-ours")),
        ("service.type", json!("LoadBalancer")),
        ("service.externalTrafficPolicy", json!("Local")),
        ("service.annotations", json!({ "a": "b" })),
        ("resources.requests.cpu", json!("2")),
        ("resources.requests.memory", json!("3Gi")),
        ("resources.limits.memory", json!("4Gi")),
        ("podDisruptionBudget.enabled", json!(false)),
        ("podDisruptionBudget.maxUnavailable", json!("25%")),
        ("serviceMonitor.enabled", json!(true)),
        ("serviceMonitor.interval", json!("5s")),
        ("serviceMonitor.labels", json!({ "release": "prometheus" })),
        ("podAnnotations", json!({ "c": "d" })),
        ("nodeSelector", json!({ "disk": "fast" })),
        ("tolerations", json!([{ "key": "edge", "operator": "Exists" }])),
        ("affinity", affinity),
        ("extraVolumes", volume),
        ("extraVolumeMounts", mount),
    ]
}

/// Values with one at a place; a name of a file is one step of it.
fn with(mut values: Value, place: &str, value: Value) -> Value {
    let place = place.replace("routes.toml", "routes_toml");
    let steps = place.split('.').map(|step| step.replace("routes_toml", "routes.toml"));
    let mut at = &mut values;
    for step in steps {
        at = &mut at[step];
    }
    *at = value;
    values
}

/// The places of all values: what is an empty table or a list is one value.
fn places(value: &Value, place: &str, found: &mut BTreeSet<String>) {
    match value.as_object().filter(|table| !table.is_empty()) {
        None => _ = found.insert(place.to_owned()),
        Some(table) => {
            for (key, value) in table {
                let below = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
                places(value, &below, found);
            }
        }
    }
}

fn values() -> Value {
    documents(&deploy("helm/tenantry/values.yaml")).remove(0)
}

#[test]
fn every_value_of_the_chart_changes_what_comes_of_it() {
    let mut known = BTreeSet::new();
    places(&values(), "", &mut known);
    let others = others();
    let named: BTreeSet<String> = others.iter().map(|(place, _)| (*place).to_owned()).collect();
    assert_eq!(known, named, "values.yaml, and what is tried here");
    // Some say nothing without another.
    let ground = |place: &str| match place {
        "service.externalTrafficPolicy" => json!({ "service": { "type": "NodePort" } }),
        "extraVolumeMounts" => json!({ "extraVolumes": [{ "name": "more", "emptyDir": {} }] }),
        _ if place.starts_with("serviceMonitor.") && !place.ends_with("enabled") => {
            json!({ "serviceMonitor": { "enabled": true } })
        }
        _ => json!({}),
    };
    let pairs = others.iter().flat_map(|(place, other)| {
        let before = ground(place);
        [before.clone(), with(before, place, other.clone())]
    });
    let pairs: Vec<Value> = pairs.collect();

    let made = rendered(&pairs);

    for ((place, _), made) in others.iter().zip(made.chunks(2)) {
        assert!(made.iter().all(Result::is_ok) && made[0] != made[1], "{place}: {made:?}");
    }
}

#[test]
fn every_value_of_the_chart_is_described() {
    let schema = fs::read_to_string(deploy("helm/tenantry/values.schema.json")).expect("read it");
    let schema: Value = serde_json::from_str(&schema).expect("JSON");
    let mut known = BTreeSet::new();
    places(&values(), "", &mut known);

    let described = |place: &String| {
        let mut at = &schema;
        for step in place.split('.') {
            let [property, any] = [&at["properties"][step], &at["additionalProperties"]];
            match property.is_object() || any.is_object() {
                true => at = if property.is_object() { property } else { any },
                // What is below is Kubernetes' own.
                false => break,
            }
            if at["type"] != json!(["object", "null"]) && at["description"].is_null() {
                return at["type"] == json!(["string", "null"]);
            }
        }
        true
    };
    let silent: Vec<&String> = known.iter().filter(|place| !described(place)).collect();

    assert!(silent.is_empty(), "without a description in values.schema.json: {silent:?}");
}

#[test]
fn a_value_that_cannot_be_meant_is_refused_with_its_place() {
    let wrong = [
        (json!({ "replicsa": 3 }), "'replicsa' not allowed"),
        (json!({ "replicas": 0 }), "/replicas"),
        (json!({ "drain": { "accept": "10s" } }), "/drain/accept"),
        (json!({ "listeners": { "http": null } }), "/listeners"),
        (json!({ "listeners": { "https": { "prot": 8443 } } }), "'prot' not allowed"),
        (json!({ "listeners": { "https": { "port": 443 } } }), "/listeners/https/port"),
        (json!({ "listeners": { "https": { "port": 9900 } } }), "/listeners/https/port"),
        (json!({ "listeners": { "admin": { "port": 8443 } } }), "admin"),
        (json!({ "listeners": { "HTTPS": { "port": 8443 } } }), "HTTPS"),
        (json!({ "listeners": { "http": { "servicePort": null } } }), "none has a servicePort"),
        (
            json!({ "listeners": { "more": { "port": 8081, "servicePort": 80 } } }),
            "http and more have the same servicePort",
        ),
        (json!({ "gateway": "[drain]\naccept = \"1s\"\n" }), "/gateway"),
        (json!({ "gateway": "[[listeners]]\naddress = \"0.0.0.0:8082\"\n" }), "/gateway"),
        (json!({ "admin": { "config": "tls = { cert = \"a\", key = \"b\" }" } }), "probe"),
        (json!({ "service": { "externalTrafficPolicy": "Local" } }), "/service"),
        (json!({ "routes": { "shop.tml": "" } }), "\"shop.tml\" must end in .toml"),
    ];

    let made = rendered(&wrong.clone().map(|(values, _)| values));

    for ((values, place), made) in wrong.iter().zip(made) {
        let why = made.expect_err(&values.to_string());
        assert!(why.contains(place), "{values}: {why}");
    }
}

#[test]
fn the_chart_gives_pods_a_good_configuration_and_a_drain_its_time() {
    for (accept, timeout) in [(10, 30), (0, 1), (20, 3600)] {
        let objects = objects(json!({ "drain": { "accept": accept, "timeout": timeout } }));
        let gateway = text(&objects, "shop-tenantry-gateway", "gateway.toml");

        check_with(gateway, text(&objects, "shop-tenantry-routes", "routes.toml"), |_| {});
        let drain = &gateway.parse::<toml::Table>().expect("TOML")["drain"];
        let grace = pod(&objects)["spec"]["terminationGracePeriodSeconds"].as_u64();
        let grace = std::time::Duration::from_secs(grace.expect("a number"));
        assert!(grace > seconds(drain, "accept") + seconds(drain, "timeout") + SPARE);
    }
}

#[test]
fn a_listener_of_the_chart_is_a_port_of_the_pods_of_the_service_and_of_the_gateway() {
    let more = "max-connections = 500\n[[listeners.tls.certificates]]\n\
                cert = \"/etc/tenantry/tls/https/tls.crt\"\n\
                key = \"/etc/tenantry/tls/https/tls.key\"\nhosts = [\"example.test\"]\n";
    let listeners = json!({
        "https": { "port": 8443, "servicePort": 443, "tlsSecret": "site-tls", "config": more },
        "inner": { "port": 8081 },
    });
    let admin = json!({ "tokenSecret": "operators", "config": "public-metrics = true" });
    let objects = objects(json!({ "listeners": listeners, "admin": admin }));
    let spec = &pod(&objects)["spec"];
    let container = &spec["containers"][0];

    let ports = json!([
        { "name": "http", "containerPort": 8080 },
        { "name": "https", "containerPort": 8443 },
        { "name": "inner", "containerPort": 8081 },
        { "name": "admin", "containerPort": 9900 },
    ]);
    assert_eq!(container["ports"], ports);
    let service = &named(&objects, "Service", "shop-tenantry")["spec"];
    let served = json!([
        { "name": "http", "port": 80, "targetPort": "http", "appProtocol": "http" },
        { "name": "https", "port": 443, "targetPort": "https", "appProtocol": "https" },
    ]);
    assert_eq!(service["ports"], served);
    assert_eq!(&service["selector"], &selector(&objects));
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        assert_eq!(container[probe]["httpGet"]["port"], "admin", "{probe}");
    }
    let volumes = spec["volumes"].as_array().expect("volumes");
    let mounts = container["volumeMounts"].as_array().expect("mounts");
    for (name, secret, path) in [
        ("tls-https", "site-tls", "/etc/tenantry/tls/https"),
        ("admin", "operators", "/etc/tenantry/admin"),
    ] {
        // For the group that the pod's files have (fsGroup), and for nobody else.
        let volume = json!({ "secretName": secret, "defaultMode": 0o440 });
        assert!(volumes.iter().any(|it| it["name"] == name && it["secret"] == volume), "{name}");
        assert!(mounts.iter().any(|it| it["name"] == name && it["mountPath"] == path), "{name}");
    }
    let gateway = text(&objects, "shop-tenantry-gateway", "gateway.toml");
    let routes = text(&objects, "shop-tenantry-routes", "routes.toml");
    check_with(gateway, routes, |folder| {
        secret_of_tls(&folder.join("tls/https"));
        fs::create_dir_all(folder.join("admin")).expect("a folder");
        fs::write(folder.join("admin/tokens"), "0123456789abcdef0123\n").expect("write a token");
        let private = run(Command::new("chmod").arg("600").arg(folder.join("admin/tokens")));
        assert!(private.status.success());
    });
}

fn selector(objects: &[Value]) -> Value {
    let deployment = &named(objects, "Deployment", "shop-tenantry")["spec"];
    let selector = deployment["selector"]["matchLabels"].clone();
    let labels = &deployment["template"]["metadata"]["labels"];
    for (name, value) in selector.as_object().expect("labels") {
        assert_eq!(&labels[name], value, "the pods have it");
    }
    selector
}

#[test]
fn an_edit_of_routes_or_listeners_restarts_no_pod_and_any_other_of_the_gateway_does() {
    let made = rendered(&[
        json!({}),
        json!({ "routes": { "routes.toml": "# nobody yet\n" } }),
        json!({ "listeners": { "http": { "config": "max-connections = 5" } } }),
        json!({ "gateway": "workers = 3\n" }),
        json!({ "admin": { "config": "public-metrics = true" } }),
        json!({ "drain": { "accept": 11 } }),
    ]);
    let pods: Vec<Value> = made
        .into_iter()
        .map(|made| pod(made.expect("good values")["objects"].as_array().expect("a list")).clone())
        .collect();

    assert_eq!(pods[0], pods[1], "the routes are watched");
    assert_eq!(pods[0], pods[2], "listeners are followed");
    assert!(pods[3..].iter().all(|other| *other != pods[0]), "all else is read at a start");
}

#[test]
fn kubernetes_knows_every_word_of_the_manifests() {
    assert_eq!(known_to_kubernetes(&deploy("kubernetes/tenantry.yaml")).len(), 7);
}

/// The objects of a file of manifests; fails where Kubernetes would refuse one.
pub(super) fn known_to_kubernetes(manifests: &Path) -> Vec<Value> {
    let checked = run(Command::new(PYTHON)
        .arg(script())
        .arg(manifests)
        .current_dir(env!("CARGO_MANIFEST_DIR")));
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    serde_json::from_slice(&checked.stdout).expect("JSON")
}
