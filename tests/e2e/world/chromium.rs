//! A Chromium that is told what to do, over its DevTools protocol.

use std::cell::{Cell, RefCell};
use std::fs::{self, File};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_tungstenite::tungstenite::{Message, WebSocket, client};

use super::process::{Process, run};
use super::{DEADLINE, eventually};

/// A browser without a window. Dropped, it ends before its folder is removed.
pub(crate) struct Chromium {
    _process: Process,
    socket: RefCell<WebSocket<TcpStream>>,
    last: Cell<u64>,
    _folder: TempDir,
}

/// One of its pages.
pub(crate) struct Tab<'c> {
    chromium: &'c Chromium,
    session: String,
}

impl Chromium {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let profile = folder.path().join("profile");
        let errors = File::create(folder.path().join("log")).expect("make a log");
        let process = Process::start(
            Command::new("chromium")
                .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
                .args(["--disable-quic", "--no-first-run", "--disable-background-networking"])
                .args(["--disable-component-update", "--disable-sync", "--no-proxy-server"])
                .args(["--disable-background-timer-throttling", "--disable-renderer-backgrounding"])
                .args(["--remote-debugging-port=0", "about:blank"])
                .arg(format!("--user-data-dir={}", profile.display()))
                .env("HOME", folder.path())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(errors),
        );
        let told = || fs::read_to_string(profile.join("DevToolsActivePort")).unwrap_or_default();
        let told = eventually("the browser", told, |told| told.lines().count() == 2);
        let (port, path) = told.split_once('\n').expect("two lines");
        let stream = TcpStream::connect(format!("127.0.0.1:{port}")).expect("reach the browser");
        stream.set_read_timeout(Some(DEADLINE)).expect("a socket takes a deadline");
        let opened = client(format!("ws://127.0.0.1:{port}{}", path.trim()), stream);
        let (socket, _) = opened.expect("open its socket");
        Self { _process: process, socket: socket.into(), last: Cell::new(0), _folder: folder }
    }

    /// Opens a page of its own window, which is never in the background.
    pub(crate) fn open(&self, url: &str) -> Tab<'_> {
        let target = self.call(None, "Target.createTarget", json!({"url": url, "newWindow": true}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = self.call(None, "Target.attachToTarget", attach);
        let session = attached["sessionId"].as_str().expect("a session").to_owned();
        let tab = Tab { chromium: self, session };
        // While one page goes and the next comes, nothing can be asked.
        let script = json!({"expression": "`${document.readyState} ${location.href}`"});
        let ask =
            || text_of(tab.chromium.ask(Some(&tab.session), "Runtime.evaluate", script.clone()));
        eventually(url, ask, |state| state.starts_with("complete http"));
        tab
    }

    fn call(&self, session: Option<&str>, method: &str, params: Value) -> Value {
        let told = self.ask(session, method, params);
        told.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    fn ask(&self, session: Option<&str>, method: &str, params: Value) -> Result<Value, Value> {
        let id = self.last.get() + 1;
        self.last.set(id);
        let mut asked = json!({"id": id, "method": method, "params": params});
        if let Some(session) = session {
            asked["sessionId"] = session.into();
        }
        let mut socket = self.socket.borrow_mut();
        socket.send(Message::text(asked.to_string())).expect("ask the browser");
        loop {
            let told = socket.read().expect("hear of the browser");
            let Ok(text) = told.to_text() else { continue };
            let Ok(mut told) = serde_json::from_str::<Value>(text) else { continue };
            // The others are events, which nobody has asked for.
            if told["id"] == id {
                let error = told["error"].take();
                return if error.is_null() { Ok(told["result"].take()) } else { Err(error) };
            }
        }
    }
}

fn text_of(told: Result<Value, Value>) -> String {
    let state = told.ok().and_then(|told| Some(told["result"]["value"].as_str()?.to_owned()));
    state.unwrap_or_default()
}

impl Tab<'_> {
    /// The value of an expression, once it is there where it is a promise.
    pub(crate) fn run(&self, expression: &str) -> Value {
        let params = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let mut told = self.call("Runtime.evaluate", params);
        assert!(told["exceptionDetails"].is_null(), "{expression}: {told}");
        told["result"]["value"].take()
    }

    /// Keeps a picture of it where `TENANTRY_SCREENSHOTS` names a folder: for people.
    pub(crate) fn picture(&self, name: &str, width: u32, scheme: &str) {
        let Some(folder) = std::env::var_os("TENANTRY_SCREENSHOTS") else { return };
        let size = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", size);
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call("Emulation.setEmulatedMedia", media);
        let picture = self.call("Page.captureScreenshot", json!({"format": "png"}));
        let path = Path::new(&folder).join(name);
        let encoded = path.with_extension("base64");
        fs::write(&encoded, picture["data"].as_str().expect("a picture")).expect("write it");
        let decode = format!("base64 -d {} > {}", encoded.display(), path.display());
        assert!(run(Command::new("sh").args(["-c", &decode])).status.success());
        fs::remove_file(encoded).expect("remove what is decoded");
    }

    fn call(&self, method: &str, params: Value) -> Value {
        self.chromium.call(Some(&self.session), method, params)
    }
}
