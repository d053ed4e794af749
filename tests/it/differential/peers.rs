//! nginx and HAProxy of Debian, each in front of one origin, in their plain form.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::world::{STEP, within};

/// A proxy that is ended when it is dropped.
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    child: Child,
    _folder: TempDir,
}

impl Peer {
    pub(super) async fn nginx(origin: SocketAddr) -> Self {
        Self::start("nginx", |folder, address| {
            let config = format!(
                "daemon off; master_process off; pid {folder}/pid; error_log {folder}/log crit;\n\
                 events {{}}\nhttp {{ access_log off; client_body_temp_path {folder}/b;\n\
                 proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;\n\
                 uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;\n\
                 server {{ listen {address}; location / {{ proxy_pass http://{origin};\n\
                 proxy_http_version 1.1; proxy_set_header Connection \"\"; }} }} }}\n"
            );
            (config, vec!["-e".into(), format!("{folder}/log"), "-c".into()])
        })
        .await
    }

    pub(super) async fn haproxy(origin: SocketAddr) -> Self {
        Self::start("haproxy", |_, address| {
            let config = format!(
                "global\n nbthread 1\n maxconn 500\ndefaults\n mode http\n timeout connect 2s\n \
                 timeout client 20s\n timeout server 20s\n retries 0\n\
                 frontend f\n bind {address}\n default_backend b\n\
                 backend b\n server origin {origin}\n"
            );
            (config, vec!["-db".into(), "-f".into()])
        })
        .await
    }

    async fn start(
        program: &str,
        config: impl FnOnce(&str, SocketAddr) -> (String, Vec<String>),
    ) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        // Free until it is let go of here; nobody else in this test asks for one meanwhile.
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = free.local_addr().expect("its address");
        let (text, arguments) = config(&folder.path().display().to_string(), address);
        let path = folder.path().join("config");
        std::fs::write(&path, text).expect("write the config");
        drop(free);
        let child = Command::new(format!("/usr/sbin/{program}"))
            .args(arguments)
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{program} is missing (tests/run installs it): {error}")
            });
        let peer = Self { address, child, _folder: folder };
        within("the start of a peer", async {
            while TcpStream::connect(address).await.is_err() {
                sleep(STEP).await;
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
