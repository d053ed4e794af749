//! nginx and HAProxy of Debian, each in front of one origin, in their plain form.

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::world::{STEP, within};

/// A proxy that is ended when it is dropped.
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    /// Where it takes HTTP/2 without TLS, and nothing else.
    pub(super) http2: SocketAddr,
    child: Child,
    _folder: TempDir,
}

impl Peer {
    pub(super) async fn nginx(origin: SocketAddr) -> Self {
        Self::start("nginx", |folder, address, http2| {
            let config = format!(
                "daemon off; master_process off; pid {folder}/pid; error_log {folder}/log crit;\n\
                 events {{}}\nhttp {{ access_log off; client_body_temp_path {folder}/b;\n\
                 proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;\n\
                 uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;\n\
                 server {{ listen {address}; listen {http2} http2; location / {{ proxy_pass http://{origin};\n\
                 proxy_http_version 1.1; proxy_set_header Connection \"\"; }} }} }}\n"
            );
            (config, vec!["-e".into(), format!("{folder}/log"), "-c".into()])
        })
        .await
    }

    pub(super) async fn haproxy(origin: SocketAddr) -> Self {
        Self::start("haproxy", |_, address, http2| {
            let config = format!(
                "global\n nbthread 1\n maxconn 500\ndefaults\n mode http\n timeout connect 2s\n \
                 timeout client 20s\n timeout server 20s\n retries 0\n\
                 frontend f\n bind {address}\n bind {http2} proto h2\n default_backend b\n\
                 backend b\n server origin {origin}\n"
            );
            (config, vec!["-db".into(), "-f".into()])
        })
        .await
    }

    async fn start(
        program: &str,
        config: impl FnOnce(&str, SocketAddr, SocketAddr) -> (String, Vec<String>),
    ) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let [address, http2] = [(); 2].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())));
        let (text, arguments) = config(&folder.path().display().to_string(), address, http2);
        let path = folder.path().join("config");
        std::fs::write(&path, text).expect("write the config");
        let child = Command::new(format!("/usr/sbin/{program}"))
            .args(arguments)
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{program} is missing (tests/run installs it): {error}")
            });
        let peer = Self { address, http2, child, _folder: folder };
        within("the start of a peer", async {
            for address in [address, http2] {
                while TcpStream::connect(address).await.is_err() {
                    sleep(STEP).await;
                }
            }
        })
        .await;
        peer
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A port that nobody has at the moment. It is below those that the system gives to who asks for any: the
/// origin of another test could have got one of these before the peer, and be taken for it.
fn free_port() -> u16 {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let first = 28_000 + u16::try_from(std::process::id() % 4_000).unwrap_or(0);
    let ports = std::iter::repeat_with(|| first + TAKEN.fetch_add(1, Ordering::Relaxed));
    let free = ports.take(500).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.expect("a free port")
}
