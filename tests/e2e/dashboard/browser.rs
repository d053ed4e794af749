//! Chromium with one page, driven by the DevTools protocol.

use std::fs::{self, File};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_tungstenite::tungstenite::stream::MaybeTlsStream;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

use crate::world::process::Process;
use crate::world::{DEADLINE, curl, eventually};

/// A page in a browser of its own.
pub(super) struct Page {
    socket: WebSocket<MaybeTlsStream<TcpStream>>,
    calls: u64,
    /// What it told without being asked.
    told: Vec<Value>,
    _process: Process,
    _profile: TempDir,
}

impl Page {
    /// Opens a page of this size and shows `url` in it.
    pub(super) fn open(url: &str, width: u32, height: u32) -> Self {
        let profile = tempfile::tempdir().expect("a folder");
        let errors = File::create(profile.path().join("chromium.log")).expect("make a log");
        let process = Process::start(
            Command::new("chromium")
                .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
                .args(["--disable-quic", "--no-first-run", "--disable-background-networking"])
                .args(["--disable-component-update", "--disable-sync", "--no-proxy-server"])
                .arg(format!("--user-data-dir={}", profile.path().join("profile").display()))
                .args(["--remote-debugging-port=0", "about:blank"])
                .env("HOME", profile.path())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(errors),
        );
        let file = profile.path().join("profile/DevToolsActivePort");
        let port = || fs::read_to_string(&file).unwrap_or_default();
        let port = eventually("the browser's port", port, |text| text.lines().count() == 2);
        let port = port.lines().next().expect("a line").to_owned();
        let tabs = || curl(&[&format!("http://127.0.0.1:{port}/json")]).json();
        let tabs = eventually("the page", tabs, |tabs| tabs[0]["type"] == "page");
        let socket = tabs[0]["webSocketDebuggerUrl"].as_str().expect("the page's address");
        let (socket, _) = tungstenite::connect(socket).expect("reach the page");
        let mut page =
            Self { socket, calls: 0, told: Vec::new(), _process: process, _profile: profile };
        for domain in ["Page", "Runtime", "Log", "Network"] {
            page.call(&format!("{domain}.enable"), json!({}));
        }
        page.resize(width, height);
        page.call("Page.navigate", json!({ "url": url }));
        page
    }

    /// One call of the protocol, with its result.
    fn call(&mut self, method: &str, params: Value) -> Value {
        self.calls += 1;
        let id = self.calls;
        let call = json!({ "id": id, "method": method, "params": params });
        self.socket.send(Message::text(call.to_string())).expect("ask the browser");
        loop {
            let message = self.socket.read().expect("hear the browser");
            let Ok(text) = message.into_text() else { continue };
            let message: Value = serde_json::from_str(&text).unwrap_or_default();
            if message["id"] == id {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].clone();
            }
            self.told.push(message);
        }
    }

    /// What an expression of the page comes to.
    pub(super) fn get(&mut self, expression: &str) -> Value {
        let params =
            json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let result = self.call("Runtime.evaluate", params);
        assert!(result["exceptionDetails"].is_null(), "{expression}: {result}");
        result["result"]["value"].clone()
    }

    /// Waits until the text of an element has a part.
    pub(super) fn shows(&mut self, element: &str, part: &str) {
        let element = json!(element);
        let text = format!("document.querySelector({element})?.innerText ?? 'nothing'");
        let started = Instant::now();
        loop {
            let now = self.get(&text);
            if now.as_str().is_some_and(|text| text.contains(part)) {
                return;
            }
            assert!(started.elapsed() < DEADLINE, "{element} does not show {part:?}: {now}");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }

    /// Waits until an expression of the page comes to a value.
    pub(super) fn becomes(&mut self, expression: &str, value: &Value) {
        let started = Instant::now();
        loop {
            let now = self.get(expression);
            if now == *value {
                return;
            }
            assert!(started.elapsed() < DEADLINE, "{expression} is {now}, not {value}");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }

    /// Presses a key, as in `Escape` or `/`.
    pub(super) fn press(&mut self, key: &str) {
        let text = if key.chars().count() == 1 { key } else { "" };
        let code = match key {
            "Escape" => 27,
            "Enter" => 13,
            _ => 0,
        };
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" { text } else { "" };
            self.call(
                "Input.dispatchKeyEvent",
                json!({ "type": kind, "key": key, "text": text,
                "windowsVirtualKeyCode": code }),
            );
        }
    }

    /// Types a text where the focus is.
    pub(super) fn write(&mut self, text: &str) {
        self.call("Input.insertText", json!({ "text": text }));
    }

    /// Another size; a narrow one is a phone.
    pub(super) fn resize(&mut self, width: u32, height: u32) {
        let params = json!({ "width": width, "height": height, "deviceScaleFactor": 1,
            "mobile": width < 600 });
        self.call("Emulation.setDeviceMetricsOverride", params);
    }

    /// `light` or `dark`, as the system would say.
    pub(super) fn scheme(&mut self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.call("Emulation.setEmulatedMedia", json!({ "features": features }));
    }

    /// Saves a picture of the page for people, below `target/`.
    pub(super) fn shoot(&mut self, name: &str) {
        let shot = self.call("Page.captureScreenshot", json!({ "format": "png" }));
        let bytes = from_base64(shot["data"].as_str().expect("a picture"));
        assert!(bytes.starts_with(b"\x89PNG"), "no picture");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dashboard");
        fs::create_dir_all(&folder).expect("make a folder");
        fs::write(folder.join(format!("{name}.png")), bytes).expect("write the picture");
    }

    /// What went wrong in the page, and whom it asked besides `own`.
    pub(super) fn complaints(&mut self, own: &str) -> Vec<String> {
        self.get("1"); // so that all that was told before is heard
        let complaint = |event: &Value| {
            let params = &event["params"];
            match event["method"].as_str()? {
                "Runtime.exceptionThrown" => Some(params.to_string()),
                "Log.entryAdded" if params["entry"]["level"] == "error" => Some(params.to_string()),
                "Runtime.consoleAPICalled" => Some(params.to_string()),
                "Network.requestWillBeSent" => {
                    let url = params["request"]["url"].as_str()?;
                    (!url.starts_with(own) && !url.starts_with("data:")).then(|| url.to_owned())
                }
                _ => None,
            }
        };
        self.told.iter().filter_map(complaint).collect()
    }
}

fn from_base64(text: &str) -> Vec<u8> {
    const SIGNS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut held, mut bits) = (Vec::new(), 0u32, 0);
    for sign in text.bytes().filter(|sign| *sign != b'=') {
        let value = SIGNS.iter().position(|known| *known == sign).expect("a sign of base64");
        held = held << 6 | value as u32;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits & 255) as u8);
        }
    }
    bytes
}
