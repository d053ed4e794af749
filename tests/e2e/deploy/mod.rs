//! The files of deploy/ that say how the gateway is run: that they are what they are for, and agree
//! with each other. Debian's Python reads the YAML.

mod chart;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::world::process::run;
use crate::world::{PROGRAM, PYTHON};

fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(path)
}

/// Each document of a YAML file.
fn documents(path: &Path) -> Vec<Value> {
    let script =
        "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))";
    let read = run(Command::new(PYTHON).args(["-c", script]).arg(path));
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    serde_json::from_slice(&read.stdout).expect("JSON")
}

/// The one of a kind and a name.
fn named<'a>(documents: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let mut found = documents.iter().filter(|it| it["kind"] == kind);
    let found = found.find(|it| it["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("there is no {kind} {name}"))
}

/// Fails unless `check` finds a `gateway.toml` and routes good, in a folder of their own.
fn check(gateway: &str, routes: &str) {
    check_with(gateway, routes, |_| {});
}

/// As [`check`], with what else is in the folder, which stands for `/etc/tenantry`.
fn check_with(gateway: &str, routes: &str, prepare: impl FnOnce(&Path)) {
    let folder = tempfile::tempdir().expect("a folder");
    let here = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let gateway =
        gateway.replace("/etc/tenantry/", &here("")).replace("/var/lib/tenantry", &here("state"));
    prepare(folder.path());
    fs::create_dir(folder.path().join("routes")).expect("make a folder");
    for place in ["routes.toml", "routes/routes.toml"] {
        fs::write(folder.path().join(place), routes).expect("write the routes");
    }
    fs::write(folder.path().join("gateway.toml"), gateway).expect("write gateway.toml");

    let config = folder.path().join("gateway.toml");
    let checked = run(Command::new(PROGRAM).args(["check", "--config"]).arg(config));

    let said = String::from_utf8_lossy(&checked.stdout) + String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success() && said.contains("are good: 1 tenant"), "{said}");
}

#[test]
fn the_configuration_of_the_package_and_of_the_image_is_good() {
    let read = |path: &str| fs::read_to_string(deploy(path)).expect("read a file of deploy/");

    check(&read("config/gateway.toml"), &read("config/routes.toml"));
    check(&read("docker/gateway.toml"), &read("config/routes.toml"));
}

/// What distroless/cc has besides is not needed.
#[test]
fn the_image_has_the_libraries_that_the_program_needs() {
    let told = run(Command::new("ldd").arg(PROGRAM));
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    let names = told.lines().filter_map(|line| line.trim().split_once(" => "));
    let mut names: Vec<&str> = names.map(|(name, _)| name).collect();
    names.sort_unstable();

    assert_eq!(names, ["libc.so.6", "libgcc_s.so.1", "libm.so.6"], "{told}");
}

#[test]
fn the_image_is_built_of_files_that_are_there_and_that_docker_is_given() {
    let root = deploy("..");
    let dockerfile = fs::read_to_string(deploy("docker/Dockerfile")).expect("read it");
    let given = fs::read_to_string(root.join(".dockerignore")).expect("read it");
    let given: Vec<&str> = given.lines().filter_map(|line| line.strip_prefix('!')).collect();
    let copies = dockerfile.lines().filter_map(|line| line.strip_prefix("COPY "));
    let sources: Vec<&str> = copies
        .filter(|copy| !copy.starts_with("--from"))
        .flat_map(|copy| copy.rsplit_once(' ').expect("a place").0.split(' '))
        .collect();

    assert!(sources.len() > 4, "{sources:?}");
    for source in sources {
        let is_given = given.iter().any(|given| Path::new(source).starts_with(given));
        assert!(root.join(source).exists() && is_given, "{source}");
    }
}

#[test]
fn the_manifests_give_a_drain_its_time_and_good_configuration() {
    let documents = documents(&deploy("kubernetes/tenantry.yaml"));
    let config = &named(&documents, "ConfigMap", "tenantry-gateway")["data"]["gateway.toml"];
    let routes = &named(&documents, "ConfigMap", "tenantry-routes")["data"]["routes.toml"];
    let (config, routes) = (config.as_str().expect("a text"), routes.as_str().expect("a text"));

    check(config, routes);
    let drain = &config.parse::<toml::Table>().expect("TOML")["drain"];
    let pod = &named(&documents, "Deployment", "tenantry")["spec"]["template"]["spec"];
    let grace = pod["terminationGracePeriodSeconds"].as_u64().expect("a number");
    let drain = seconds(drain, "accept") + seconds(drain, "timeout");
    assert!(Duration::from_secs(grace) > drain + SPARE);
}

/// A time of the drain.
fn seconds(drain: &toml::Value, key: &str) -> Duration {
    humantime::parse_duration(drain[key].as_str().expect("a text")).expect("a time")
}

#[test]
fn the_manifests_find_their_pods_and_their_ports() {
    let documents = documents(&deploy("kubernetes/tenantry.yaml"));
    let deployment = &named(&documents, "Deployment", "tenantry")["spec"];
    let labels = &deployment["template"]["metadata"]["labels"];
    let container = &deployment["template"]["spec"]["containers"][0];
    let ports: Vec<&Value> =
        container["ports"].as_array().expect("ports").iter().map(|port| &port["name"]).collect();

    assert_eq!(&deployment["selector"]["matchLabels"], labels);
    for name in ["tenantry", "tenantry-admin"] {
        let service = &named(&documents, "Service", name)["spec"];
        assert_eq!(&service["selector"], labels, "{name}");
        assert!(ports.contains(&&service["ports"][0]["targetPort"]), "{name}");
    }
    for (probe, path) in [("readinessProbe", "/readyz"), ("livenessProbe", "/healthz")] {
        let asked = &container[probe]["httpGet"];
        assert_eq!(asked["path"], path);
        assert!(ports.contains(&&asked["port"]), "{probe}");
    }
    // A subPath is not swapped when its ConfigMap changes: the routes would be those of the start.
    let mounts = container["volumeMounts"].as_array().expect("mounts");
    assert!(mounts.iter().all(|mount| mount.get("subPath").is_none()), "{mounts:?}");
}

/// The parts for HTTPS are comments in the manifests; without their marks they are as good.
#[test]
fn the_manifests_with_their_parts_for_https_are_good_too() {
    let text = fs::read_to_string(deploy("kubernetes/tenantry.yaml")).expect("read it");
    let marked = text.replace("# HTTPS: - ", "- ");
    let listener = "    # [[listeners]]\n    # address = \"0.0.0.0:8443\"\n    # tls =";
    assert!(marked.contains(listener) && text.matches("# HTTPS: ").count() == 4);
    let whole = marked.replace(listener, &listener.replace("# ", ""));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tenantry.yaml");
    fs::write(&path, whole).expect("write the manifests");

    let documents = chart::known_to_kubernetes(&path);

    let config = &named(&documents, "ConfigMap", "tenantry-gateway")["data"]["gateway.toml"];
    let routes = &named(&documents, "ConfigMap", "tenantry-routes")["data"]["routes.toml"];
    let (config, routes) = (config.as_str().expect("a text"), routes.as_str().expect("a text"));
    assert_eq!(config.matches("\n[[listeners]]").count(), 2);
    check_with(config, routes, |folder| secret_of_tls(&folder.join("tls")));
}

/// What a Secret of the type `kubernetes.io/tls` is in a pod.
fn secret_of_tls(folder: &Path) {
    let made = run(Command::new(deploy("../certs/make")).arg(folder));
    assert!(made.status.success(), "{made:?}");
    for (from, to) in [("leaf.pem", "tls.crt"), ("leaf.key", "tls.key")] {
        fs::rename(folder.join(from), folder.join(to)).expect("rename");
    }
}

/// What the gateway takes for its own end.
const SPARE: Duration = Duration::from_secs(6);
