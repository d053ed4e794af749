//! One sweep for secrets: those of every kind are planted, used and refused, and then looked for in all
//! that the program tells anybody.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::world::gateway::Gateway;
use crate::world::process::run;
use crate::world::{Answer, PROGRAM, curl, eventually, free_port, origin};

const ADMIN: &str = "planted-admin-token-4b1d9c";
const TENANT: &str = "planted-tenant-token-77aa01";
const STRANGER: &str = "planted-wrong-token-d00d13";
const KEY: &str = "tenantry_5ec4e75ec4e75ec4e75ec4e75ec4e75ec4e75ec4e75ec4e75ec4e75ec4e75ec4";
const WRONG_KEY: &str = "tenantry_bad0bad0bad0bad0bad0bad0bad0bad0bad0bad0bad0bad0bad0bad0bad0bad0";
const STICKY: &str = "planted-sticky-key-0123456789abcdef0123456789";
const HEADER: &str = "planted-basic-credential-of-a-route";
const EDITED: &str = "planted-basic-credential-of-an-edit";
const FIELD: &str = "planted-header-of-a-condition";
const PARAMETER: &str = "planted-parameter-of-a-condition";

/// What comes from the environment.
const VARIABLES: &[(&str, &str)] = &[
    ("REDIS_PASSWORD", "planted-redis-password"),
    ("CHECK_TOKEN", "planted-token-of-checks"),
    ("UPSTREAM_TOKEN", "planted-token-of-endpoints"),
    ("STICKY_KEY", "planted-sticky-variable-0123456789abcdef0123"),
];

/// A gateway in which there is a secret of every kind.
struct World {
    gateway: Gateway,
    secrets: BTreeMap<&'static str, String>,
    jwt: String,
    routes: String,
}

impl World {
    fn start() -> Self {
        let endpoint = origin::keeping("127.0.0.1:0", "hello");
        let routes = ROUTES.replace("ENDPOINT", &endpoint);
        // No Redis at all: it is told the password, and answers nonsense.
        let more = MORE.replace("PORT", &free_port().to_string()).replace("PLACE", &endpoint);
        let mut gateway = Gateway::prepare(&more, &routes);
        gateway.configure_admin(
            "token-file = \"tokens\"\naudit-log = \"audit.log\"\ntenant-keys = [\"routes\"]",
        );
        let made = Path::new(env!("CARGO_MANIFEST_DIR")).join("certs/make");
        assert!(run(Command::new(made).arg(gateway.path("certs"))).status.success());
        let tokens = format!("root admin {ADMIN}\nshop tenant:globex {TENANT}\n");
        fs::write(gateway.path("tokens"), tokens).expect("write the tokens");
        fs::write(gateway.path("sticky.keys"), format!("{STICKY}\n")).expect("write the key");
        let issuer = Ed25519KeyPair::generate().expect("a key");
        let public = URL_SAFE_NO_PAD.encode(issuer.public_key().as_ref());
        let set = json!({ "keys": [{ "kty": "OKP", "kid": "ed", "crv": "Ed25519", "x": public }] });
        fs::write(gateway.path("jwks.json"), set.to_string()).expect("write the keys");
        gateway.launch_as_service(None, VARIABLES);
        gateway.wait_ready();
        let jwt = token(&issuer);
        let secrets = secrets(&gateway, &jwt);
        Self { gateway, secrets, jwt, routes }
    }

    fn ask(&self, token: &str, method: &str, path: &str, body: &Value) -> Answer {
        self.ask_for("30", (token, method, path), body)
    }

    /// Asks, and takes what has come after so many seconds where the answer has no end.
    fn ask_for(
        &self,
        seconds: &str,
        (token, method, path): (&str, &str, &str),
        body: &Value,
    ) -> Answer {
        let fields =
            [format!("Authorization: Bearer {token}"), "Content-Type: application/json".into()];
        let (url, body) = (self.gateway.admin_url() + path, body.to_string());
        let most = ["--max-time", seconds, "--request", method];
        let mut asking = vec!["--header", &fields[0], "--header", &fields[1], &url];
        asking.extend(most);
        if method != "GET" {
            asking.extend(["--data", &body]);
        }
        curl(&asking)
    }

    /// Uses each secret, and shows some that are wrong.
    fn use_all(&self) {
        let key = |key: &str| format!("X-API-Key: {key}");
        let bearer = |token: &str| format!("Authorization: Bearer {token}");
        let unsigned = self.jwt.replace('.', "..");
        for (field, status) in [
            (key(KEY), 200),
            (key(WRONG_KEY), 401),
            (bearer(KEY), 200),
            (bearer(&self.jwt), 200),
            (bearer(&unsigned), 401),
            (bearer(&self.jwt[..self.jwt.len() - 9]), 401),
        ] {
            let query = format!("/billing/1?token={KEY}");
            let answer = self.gateway.get("acme", &query, &["--header", &field]);
            assert_eq!(answer.status, status, "{field}: {}", answer.body);
            let other = self.gateway.get("globex", "/", &["--header", &field]);
            assert!([401, 403, 404].contains(&other.status), "{field}: {}", other.body);
        }
        assert_eq!(self.ask(STRANGER, "GET", "/api/v1/status", &Value::Null).status, 401);
        let set = json!({ "Authorization": HEADER, "X-Upstream-Token": EDITED });
        let set = json!([{ "path": "/b", "request-headers": { "set": set } }]);
        let table = json!({ "pool": "app", "routes": set });
        assert_eq!(self.ask(ADMIN, "PUT", "/api/v1/tenants/globex", &table).status, 201);
        let routes = json!({ "routes": [{ "path": "/a", "headers": { "X-A": "a" } }] });
        let edited = json!({ "routes": null });
        assert_eq!(self.ask(ADMIN, "PATCH", "/api/v1/tenants/globex", &edited).status, 200);
        let patched = self.ask(TENANT, "PATCH", "/api/v1/tenants/globex", &routes);
        assert_eq!(patched.status, 200, "{}", patched.body);
        assert_eq!(self.ask(TENANT, "PATCH", "/api/v1/tenants/acme", &routes).status, 404);
    }

    /// Edits the routes: to a header that has another value, and to one that is none.
    fn edit(&self) {
        let edits = "tenantry_config_reloads_total{result=\"ok\"}";
        let before = self.metric(edits);
        self.gateway.edit(&self.routes.replace(HEADER, EDITED));
        eventually("the edit", || self.metric(edits), |now| *now > before);
        let broken = self.routes.replace("${UPSTREAM_TOKEN}", "${UPSTREAM_TOKEN}\\u0001");
        let refused = "tenantry_config_reloads_total{result=\"refused\"}";
        self.gateway.edit(&broken);
        eventually("the broken one", || self.metric(refused), |now| *now > Some(0.0));
    }

    fn metric(&self, series: &str) -> Option<f64> {
        let metrics = self.ask(ADMIN, "GET", "/metrics", &Value::Null).body;
        let line = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
        line.trim().parse().ok()
    }

    /// All that the admin API lets an admin read.
    fn read(&self) -> BTreeMap<String, String> {
        let document = self.ask(ADMIN, "GET", "/api/v1/openapi.json", &Value::Null).json();
        let paths = document["paths"].as_object().expect("paths");
        let readable = paths.iter().filter(|(_, of)| of.get("get").is_some());
        let mut told = BTreeMap::new();
        for (path, _) in readable {
            let of = [("acme", "1"), ("globex", "2"), ("globex", "3")];
            let filled = of.map(|(tenant, generation)| {
                path.replace("{id}", tenant).replace("{generation}", generation)
            });
            for path in BTreeSet::from(filled) {
                let answer = self.ask_for("2", (ADMIN, "GET", &path), &Value::Null);
                assert!(answer.status != 401 && answer.status != 403, "{path}");
                told.insert(path, answer.body);
            }
        }
        assert!(told.len() > 15, "{:?}", told.keys());
        told
    }

    /// What the commands say, of the files and of the gateway.
    fn commands(&self) -> BTreeMap<String, String> {
        let file = |name: &str| self.gateway.path(name).display().to_string();
        fs::write(self.gateway.path("old.toml"), &self.routes).expect("write the routes");
        let new = self.routes.replace(HEADER, EDITED).replace("/billing/*", "/bills/*");
        fs::write(self.gateway.path("new.toml"), new).expect("write the routes");
        let (config, admin) = (file("gateway.toml"), self.gateway.admin_url());
        let key = format!("X-API-Key: {KEY}");
        let asked = ["--tenant", "acme", "-H", key.as_str(), "GET", "/billing/1"];
        let mut told = BTreeMap::new();
        let mut command = |words: &[&str]| {
            let mut command = Command::new(PROGRAM);
            command.args(words).envs(VARIABLES.iter().copied()).env("TENANTRY_ADMIN_TOKEN", ADMIN);
            let output = run(&mut command);
            let both = [&output.stdout, &output.stderr].map(|out| String::from_utf8_lossy(out));
            assert!(!both.concat().is_empty(), "{words:?}");
            told.insert(format!("tenantry {}", words.join(" ")), both.concat());
        };
        command(&["check", "--config", &config]);
        command(&["check", "--config", &config, "--format", "json"]);
        command(&[["explain", "--config", &config].as_slice(), &asked].concat());
        command(&[["explain", "--json", "--config", &config].as_slice(), &asked].concat());
        self.gateway.edit(&self.routes);
        command(&["check", "--config", &config]);
        command(&[["explain", "--config", &config].as_slice(), &asked].concat());
        command(&[["explain", "--json", "--config", &config].as_slice(), &asked].concat());
        command(&[["explain", "--admin", &admin].as_slice(), &asked].concat());
        command(&["diff", &file("old.toml"), &file("new.toml")]);
        command(&["diff", "--json", &file("old.toml"), &file("new.toml")]);
        command(&["history", "--admin", &admin]);
        command(&["history", "--json", "--admin", &admin]);
        command(&["history", "2", "--admin", &admin]);
        command(&["rollback", "2", "--dry-run", "--admin", &admin]);
        command(&["rollback", "1", "--dry-run", "--admin", &admin]);
        told
    }

    /// What is written to files.
    fn files(&self) -> BTreeMap<String, String> {
        let mut told = BTreeMap::new();
        for name in ["log", "access.log", "audit.log"] {
            let text = fs::read_to_string(self.gateway.path(name)).expect(name);
            assert!(!text.is_empty(), "{name}");
            told.insert(name.to_owned(), text);
        }
        for entry in fs::read_dir(self.gateway.path("usage")).expect("the folder of usage") {
            let path = entry.expect("an entry").path();
            // It may be renamed before it is read.
            let text = fs::read_to_string(&path).unwrap_or_default();
            told.insert(path.display().to_string(), text);
        }
        told
    }
}

fn token(issuer: &Ed25519KeyPair) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    let expires = (now + Duration::from_secs(3600)).as_secs();
    let claims = json!({ "iss": "https://login.example", "aud": "gateway", "sub": "ann",
                         "tenant": "acme", "exp": expires });
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&json!({ "alg": "EdDSA", "kid": "ed" })), part(&claims));
    let signature = URL_SAFE_NO_PAD.encode(issuer.sign(signed.as_bytes()).as_ref());
    format!("{signed}.{signature}")
}

/// By name, as they would be told. Of what has parts, the part that is secret.
fn secrets(gateway: &Gateway, jwt: &str) -> BTreeMap<&'static str, String> {
    let pem = fs::read_to_string(gateway.path("certs/leaf.key")).expect("the key");
    let line = pem.lines().nth(1).expect("a line of the key").to_owned();
    let signature = jwt.rsplit('.').next().expect("a signature");
    let mut all = BTreeMap::from([
        ("the key of a certificate", line),
        ("the signature of a token", signature[..40].to_owned()),
        // printf %s KEY | sha256sum
        ("the digest of an API key", HASH.to_owned()),
    ]);
    for (name, secret) in [
        ("the token of an admin", ADMIN),
        ("the token of a tenant", TENANT),
        ("a token of nobody", STRANGER),
        ("an API key", KEY),
        ("an API key of nobody", WRONG_KEY),
        ("the key of cookies", STICKY),
        ("a header that a route sets", HEADER),
        ("the header that an edit sets", EDITED),
        ("the header that a route asks for", FIELD),
        ("the parameter that a route asks for", PARAMETER),
    ] {
        all.insert(name, secret.to_owned());
    }
    all.extend(VARIABLES.iter().map(|(name, value)| (*name, (*value).to_owned())));
    all
}

#[test]
fn no_secret_is_in_anything_that_the_gateway_tells() {
    let world = World::start();
    world.use_all();
    world.edit();

    let mut told = world.read();
    told.extend(world.commands());
    told.extend(world.read().into_iter().map(|(path, text)| (format!("{path}, later"), text)));
    let saves = "tenantry_usage_saves_total{result=\"ok\"}";
    eventually("a save", || world.metric(saves), |saves| *saves >= Some(2.0));
    told.extend(world.files());

    let mut leaks = Vec::new();
    for (place, text) in &told {
        for (name, _) in world.secrets.iter().filter(|(_, secret)| text.contains(&***secret)) {
            leaks.push(format!("{place} tells {name}"));
        }
    }
    assert!(leaks.is_empty(), "{}", leaks.join("\n"));
    // They were there to be told.
    let access = &told["access.log"];
    assert!(access.contains("token=***"), "{access}");
    assert!(told["log"].contains("DEBUG"), "it is as talkative as can be");
}

const HASH: &str = "ab199edaf99cf41c32bd16aa6c6f5a4322b6c207d792ddd526d9ce78dcc1c69a";

const MORE: &str = "\
[[listeners]]
address = \"127.0.0.1:PORT\"
tls = { cert = \"certs/leaf.pem\", key = \"certs/leaf.key\" }
[log]
filter = \"debug\"
[access-log]
file = \"access.log\"
format = '{tenant} {subject} {method} {target} {status} {problem} {header:X-API-Key} {header:Authorization} {header:Cookie}'
[usage]
folder = \"usage\"
flush-interval = \"2s\"
[shared-limits]
url = \"redis://PLACE\"
password = \"${REDIS_PASSWORD}\"
";

const ROUTES: &str = "\
[pools.app]
endpoints = [\"ENDPOINT\"]
sticky = { cookie = \"stay\", key-file = \"sticky.keys\" }
health = { http = \"/\", interval = \"1s\", headers = { Authorization = \"Bearer ${CHECK_TOKEN}\" } }
[pools.other]
endpoints = [\"ENDPOINT\"]
sticky = { cookie = \"other\", keys = [\"${STICKY_KEY}\"] }
[identity.issuers.login]
issuer = \"https://login.example\"
audience = [\"gateway\"]
jwks-file = \"jwks.json\"
tenants = [\"acme\"]
[tenants.acme]
pool = \"app\"
authenticate = [\"api-key\", \"jwt\"]
limits = { requests = \"1000/s\", scope = \"shared\" }
[tenants.acme.keys.ci]
hash = \"sha256:ab199edaf99cf41c32bd16aa6c6f5a4322b6c207d792ddd526d9ce78dcc1c69a\"
[[tenants.acme.routes]]
path = \"/billing/*\"
request-headers = { set = { Authorization = \"Basic planted-basic-credential-of-a-route\", X-Upstream = \"${UPSTREAM_TOKEN}\" } }
[[tenants.acme.routes]]
path = \"/invited/*\"
headers = { X-Invite-Token = \"planted-header-of-a-condition\" }
query = { token = \"planted-parameter-of-a-condition\" }
";
