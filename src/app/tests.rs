//! A whole gateway within the test: start, serve, drain, and each way a start can fail.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::{self, Files};

use super::*;

/// Long enough for a busy machine; a test that passes never waits for it.
const DEADLINE: Duration = Duration::from_secs(20);

const ROUTES: &str = "
[tenants.acme]
[[tenants.acme.routes]]
path = \"/*\"
respond = { body = \"hello\" }
";

fn folder(routes: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("routes.toml"), routes).unwrap();
    folder
}

/// Two workers, one listener, the admin API; `more` stands at the end.
fn gateway(folder: &Path, address: SocketAddr, more: &str) -> GatewaySpec {
    let text = format!(
        "routes = \"routes.toml\"\nworkers = 2\n[access-log]\noutput = \"off\"\n\
         [admin]\naddress = \"127.0.0.1:0\"\n\
         [[listeners]]\naddress = \"{address}\"\n{more}"
    );
    config::check_gateway(&Files::of_text(folder.join("gateway.toml"), &text)).unwrap()
}

fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

async fn start(gateway: GatewaySpec) -> Result<App, StartError> {
    timeout(DEADLINE, App::start(gateway, Arc::new(Metrics::new()))).await.unwrap()
}

/// The status line and everything behind it.
async fn get(address: SocketAddr, path: &str) -> String {
    let ask = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nX-Tenant-ID: acme\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    timeout(DEADLINE, ask).await.unwrap()
}

#[tokio::test]
async fn a_gateway_serves_reloads_and_ends() {
    let folder = folder(ROUTES);
    let app =
        start(gateway(folder.path(), any_port(), "[drain]\naccept = \"0s\"\n")).await.unwrap();
    let address = app.addresses()[0];
    assert!(get(address, "/").await.ends_with("hello"));
    assert!(get(app.admin_address().unwrap(), "/readyz").await.starts_with("HTTP/1.1 200"));

    fs::write(folder.path().join("routes.toml"), ROUTES.replace("hello", "goodbye")).unwrap();
    let reloaded = timeout(DEADLINE, app.reload()).await.unwrap().unwrap();

    assert!(matches!(reloaded, ReloadResult::Live { generation: 2, .. }), "{reloaded:?}");
    assert!(get(address, "/").await.ends_with("goodbye"));
    assert_eq!(timeout(DEADLINE, app.stop()).await.unwrap(), Ended { cut_off: 0 });
    assert!(TcpStream::connect(address).await.is_err(), "the listener is still open");
}

#[tokio::test]
async fn while_it_drains_readiness_is_gone_and_clients_are_still_served() {
    let folder = folder(ROUTES);
    let app =
        start(gateway(folder.path(), any_port(), "[drain]\naccept = \"1m\"\n")).await.unwrap();
    let (address, admin) = (app.addresses()[0], app.admin_address().unwrap());

    let look = async {
        while get(admin, "/readyz").await.starts_with("HTTP/1.1 200") {}
        get(address, "/").await
    };
    let answer = tokio::select! {
        _ = app.stop() => panic!("the drain ended early"),
        answer = look => answer,
    };

    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"), "{answer}");
}

#[tokio::test]
async fn a_start_that_fails_leaves_nothing_behind() {
    let good = folder(ROUTES);
    let app = start(gateway(good.path(), any_port(), "[drain]\naccept = \"0s\"\n")).await.unwrap();
    let address = app.addresses()[0];
    app.stop().await;

    let broken = folder("[tenants.a]\npool = \"nowhere\"\n");
    let error = start(gateway(broken.path(), address, "")).await.unwrap_err().to_string();

    assert!(error.contains("nowhere"), "{error}");
    start(gateway(good.path(), address, "")).await.expect("the port is free again");
}

#[tokio::test]
async fn a_port_in_use_is_told_where_it_is_asked_for() {
    let folder = folder(ROUTES);
    let first = start(gateway(folder.path(), any_port(), "")).await.unwrap();
    let address = first.addresses()[0];

    let listener = start(gateway(folder.path(), address, "")).await.unwrap_err().to_string();
    let mut same_admin = gateway(folder.path(), any_port(), "");
    let taken = first.admin_address().unwrap();
    same_admin.admin.as_mut().unwrap().address = taken;
    let admin = start(same_admin).await.unwrap_err().to_string();

    for (error, place, address) in
        [(listener, "8:11: listeners[0].address", address), (admin, "6:11: admin.address", taken)]
    {
        let told = format!(
            "{}:{place}: cannot listen on {address}: the address is in use\n    hint: stop the program",
            folder.path().join("gateway.toml").display()
        );
        assert!(error.starts_with(&told), "{error}");
    }
}

#[tokio::test]
async fn a_certificate_that_cannot_be_read_is_told_where_it_is_named() {
    let folder = folder(ROUTES);
    let tls = "tls = { cert = \"none.pem\", key = \"none.key\" }\n";

    let error = start(gateway(folder.path(), any_port(), tls)).await.unwrap_err().to_string();

    assert!(error.contains("gateway.toml:9:16: listeners[0].tls.cert: "), "{error}");
    assert!(error.contains("none.pem cannot be read"), "{error}");
}
