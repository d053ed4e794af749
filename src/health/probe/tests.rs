//! Probes against real servers on this machine: up, down, slow, garbage.

use std::net::SocketAddr;
use std::sync::Mutex;

use ::http::Method;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::base::tasks::Tasks;
use crate::config::spec::{HttpProbeSpec, Protocol};

use super::*;

/// A server that sends `answer` to whoever has sent the end of a head, and then closes.
struct Scripted {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    _tasks: Tasks,
}

async fn scripted(answer: impl Into<Vec<u8>>) -> Scripted {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, answer) = (listener.local_addr().unwrap(), answer.into());
    let heads = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&heads);
    let mut tasks = Tasks::new("test");
    tasks.spawn(|_stop| async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => break,
                }
            }
            noted.lock().unwrap().push(String::from_utf8_lossy(&head).into_owned());
            drop(stream.write_all(&answer).await);
        }
    });
    Scripted { address, heads, _tasks: tasks }
}

/// An address where nobody listens.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

fn http(body: Option<&str>) -> ProbeSpec {
    by(Protocol::H1, |spec| spec.body = body.map(str::to_owned))
}

/// A check of `/healthz?deep=1`, edited.
fn by(protocol: Protocol, edit: impl FnOnce(&mut HttpProbeSpec)) -> ProbeSpec {
    let mut spec = HttpProbeSpec {
        method: Method::GET,
        path: "/healthz?deep=1".into(),
        host: None,
        headers: Vec::new(),
        status: vec![(200, 399)],
        body: None,
        protocol,
    };
    edit(&mut spec);
    ProbeSpec::Http(spec)
}

async fn ask(probe: &Arc<dyn Probe>, address: SocketAddr) -> Result<(), String> {
    let limit = Duration::from_secs(20);
    let result = timeout(limit, probe.check(address.into())).await.expect("the probe hangs");
    result.map_err(|error| error.to_string())
}

async fn ask_h1(spec: &ProbeSpec, answer: impl Into<Vec<u8>>) -> Result<(), String> {
    let server = scripted(answer).await;
    ask(&build(spec, Way::default()), server.address).await
}

#[tokio::test]
async fn a_connection_is_all_that_a_tcp_check_wants() {
    let probe = build(&ProbeSpec::Tcp, Way::default());

    assert_eq!(ask(&probe, scripted("").await.address).await, Ok(()));
    assert_eq!(ask(&probe, nobody().await).await, Err("connect refused".into()));
}

#[tokio::test]
async fn an_http_check_sends_a_plain_get_on_a_connection_of_its_own() {
    let server = scripted("HTTP/1.1 204 No Content\r\n\r\n").await;
    let probe = build(&http(None), Way::default());

    assert_eq!(ask(&probe, server.address).await, Ok(()));

    let heads = server.heads.lock().unwrap();
    let head = heads[0].to_lowercase();
    assert!(head.starts_with("get /healthz?deep=1 http/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("host: {}\r\n", server.address)), "{head}");
    assert!(head.contains("user-agent: tenantry-health\r\n"), "{head}");
    assert!(head.contains("connection: close\r\n"), "{head}");
}

#[tokio::test]
async fn the_host_header_is_the_configured_one() {
    let server = scripted("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let host = Some("shop.example.com".parse().unwrap());
    let spec = by(Protocol::H1, |spec| spec.host = host);

    assert_eq!(ask(&build(&spec, Way::default()), server.address).await, Ok(()));

    let head = server.heads.lock().unwrap()[0].to_lowercase();
    assert!(head.contains("host: shop.example.com\r\n"), "{head}");
}

#[tokio::test]
async fn a_status_outside_the_ranges_fails_and_says_what_was_expected() {
    let refused = ask_h1(&http(None), "HTTP/1.1 503 Nope\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(refused, Err("status 503, expected 200-399".into()));

    let spec = by(Protocol::H1, |spec| spec.status = vec![(200, 204), (404, 404)]);
    assert_eq!(ask_h1(&spec, "HTTP/1.1 404 Fine\r\ncontent-length: 0\r\n\r\n").await, Ok(()));
    let refused = ask_h1(&spec, "HTTP/1.1 301 Away\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(refused, Err("status 301, expected 200-204, 404".into()));
}

#[tokio::test]
async fn a_text_is_looked_for_in_the_first_64_kib_of_the_body() {
    let page = |before: usize| {
        let body = format!("{}all is well", "x".repeat(before));
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    };
    let spec = http(Some("all is well"));
    let missing = Err("body does not contain \"all is well\"".to_owned());

    assert_eq!(ask_h1(&spec, page(0)).await, Ok(()));
    assert_eq!(ask_h1(&spec, page((64 << 10) - 11)).await, Ok(()));
    assert_eq!(ask_h1(&spec, page((64 << 10) - 10)).await, missing);
    assert_eq!(ask_h1(&spec, "HTTP/1.1 200 OK\r\n\r\nno").await, missing);
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nall \r\n7\r\nis well\r\n0\r\n\r\n";
    assert_eq!(ask_h1(&spec, chunked).await, Ok(()));
}

#[tokio::test]
async fn garbage_is_no_answer() {
    let cut = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort";
    let endless = [b"HTTP/1.1 200 OK\r\nx: ".to_vec(), vec![b'a'; 1 << 20]].concat();
    for answer in [&b""[..], b"\0\xff\x01 what\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", &endless] {
        let error = ask_h1(&http(None), answer).await.unwrap_err();
        assert!(error.starts_with("no valid HTTP answer: ") || error.contains("reset"), "{error}");
    }
    let error = ask_h1(&http(Some("text")), cut).await.unwrap_err();
    assert!(error.starts_with("no valid HTTP answer: "), "{error}");
}

#[tokio::test]
async fn a_server_that_never_answers_keeps_a_probe_until_its_caller_gives_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    for protocol in [Protocol::H1, Protocol::H2] {
        let probe = build(&by(protocol, |_| {}), Way::default());
        assert!(timeout(Duration::from_millis(50), probe.check(address.into())).await.is_err());
    }
}

/// Serves both h1 and h2 with the same answer; over TLS where there is a config.
async fn web(status: u16, body: &'static str, tls: Option<ServerConfig>) -> (SocketAddr, Tasks) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let h2 = tls.is_none();
    let acceptor = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
    let mut tasks = Tasks::new("test");
    tasks.spawn(|_stop| async move {
        let answer = service_fn(move |request: Request<hyper::body::Incoming>| {
            assert_eq!(request.headers()["user-agent"], "tenantry-health");
            let response =
                Response::builder().status(status).body(Full::<bytes::Bytes>::from(body));
            std::future::ready(Ok::<_, std::convert::Infallible>(response.unwrap()))
        });
        while let Ok((stream, _)) = listener.accept().await {
            // One connection at a time is all that a test needs.
            if let Some(acceptor) = &acceptor {
                let Ok(stream) = acceptor.accept(stream).await else { continue };
                let io = TokioIo::new(stream);
                drop(hyper::server::conn::http1::Builder::new().serve_connection(io, answer).await);
            } else if h2 {
                let io = TokioIo::new(stream);
                let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                drop(server.serve_connection(io, answer).await);
            }
        }
    });
    (address, tasks)
}

#[tokio::test]
async fn a_pool_of_http_2_is_asked_in_http_2() {
    let (address, _tasks) = web(200, "all is well", None).await;
    let asked = async |text: Option<&str>| {
        let spec = by(Protocol::H2, |spec| spec.body = text.map(str::to_owned));
        ask(&build(&spec, Way::default()), address).await
    };

    assert_eq!(asked(None).await, Ok(()));
    assert_eq!(asked(Some("well")).await, Ok(()));
    let missing = Err("body does not contain \"bad\"".to_owned());
    assert_eq!(asked(Some("bad")).await, missing);
}

#[tokio::test]
async fn an_http_2_status_is_judged_as_well_and_http_1_is_garbage_to_it() {
    let (address, _tasks) = web(500, "", None).await;
    let probe = build(&by(Protocol::H2, |_| {}), Way::default());
    assert_eq!(ask(&probe, address).await, Err("status 500, expected 200-399".into()));

    let h1 = scripted("HTTP/1.1 200 OK\r\n\r\n").await;
    let error = ask(&probe, h1.address).await.unwrap_err();
    assert!(error.starts_with("no valid HTTP answer: "), "{error}");
    assert_eq!(ask(&probe, nobody().await).await, Err("connect refused".into()));
}

#[tokio::test]
async fn over_tls_the_certificate_must_fit_the_name() {
    let made = rcgen::generate_simple_self_signed(vec!["shop.internal".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let config = Arc::new(client);
    let (address, _tasks) = web(200, "", Some(server)).await;
    let named = |name: Option<&'static str>| {
        let name = name.map(|name| ServerName::try_from(name).unwrap());
        let tls = Some(ProbeTls { config: Arc::clone(&config), name });
        build(&http(None), Way { tls, ..Way::default() })
    };

    assert_eq!(ask(&named(Some("shop.internal")), address).await, Ok(()));
    for wrong in [Some("other.internal"), None] {
        let error = ask(&named(wrong), address).await.unwrap_err();
        assert!(error.starts_with("TLS handshake failed: "), "{error}");
    }
    let plain = scripted("HTTP/1.1 400 No\r\n\r\n").await;
    let error = timeout(Duration::from_millis(300), ask(&named(None), plain.address)).await;
    assert!(error.is_err() || error.unwrap().is_err());
}

#[tokio::test]
async fn a_path_that_is_none_is_told() {
    let server = scripted("HTTP/1.1 200 OK\r\n\r\n").await;
    for protocol in [Protocol::H1, Protocol::H2] {
        let spec = by(protocol, |spec| spec.path = "no path".into());
        let error = ask(&build(&spec, Way::default()), server.address).await.unwrap_err();
        assert!(error.starts_with("the check cannot be sent: "), "{error}");
    }
}

#[tokio::test]
async fn another_port_method_and_further_fields_are_those_that_are_configured() {
    let server = scripted("HTTP/1.1 200 OK\r\n\r\n").await;
    let (wanted, elsewhere) = (server.address, nobody().await);
    let spec = by(Protocol::H1, |spec| {
        spec.method = Method::POST;
        spec.headers = vec![
            ("authorization".parse().unwrap(), "Bearer x".parse().unwrap()),
            ("user-agent".parse().unwrap(), "mine".parse().unwrap()),
        ];
    });

    let way = Way { port: Some(wanted.port()), ..Way::default() };
    assert_eq!(ask(&build(&spec, way.clone()), elsewhere).await, Ok(()));

    let head = server.heads.lock().unwrap()[0].to_lowercase();
    assert!(head.starts_with("post /healthz?deep=1 "), "{head}");
    for field in ["authorization: bearer x", "user-agent: mine", "content-length: 0"] {
        assert_eq!(head.matches(&format!("\r\n{field}\r\n")).count(), 1, "{head}");
    }
    assert!(head.contains(&format!("host: {wanted}\r\n")), "{head}");

    let socket: Address = "unix:/run/nobody.sock".parse().unwrap();
    let error = build(&spec, way).check(socket).await.unwrap_err();
    assert_eq!(error.to_string(), "the check cannot be sent: a Unix socket has no port");
}

#[tokio::test]
async fn a_tcp_check_with_tls_wants_a_handshake() {
    let roots = Arc::new(RootCertStore::empty());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tls = Some(ProbeTls { config: Arc::new(config), name: None });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = Tasks::new("test");
    tasks.spawn(|_stop| async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            drop(stream.write_all(b"no TLS is spoken here").await);
        }
    });

    let error = ask(&build(&ProbeSpec::Tcp, Way { tls, ..Way::default() }), address).await;
    let error = error.unwrap_err();
    assert!(error.starts_with("TLS handshake failed: "), "{error}");
}
