//! Listeners that come, change and go while the gateway runs.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::world::client::{Client, get, head};
use crate::world::config::one_tenant;
use crate::world::gateway::Gateway;
use crate::world::load::Load;
use crate::world::origin::{Origin, Step};
use crate::world::pki::{Authority, Wishes};
use crate::world::unix;
use crate::world::{STEP, eventually, within};

const FIELDS: &[&str] = &["Host: shop.example", "X-Tenant-ID: acme"];
const END: &str = "# end of the listeners";
const ANOTHER: &str = "[[listeners]]\naddress = \"127.0.0.1:0\"\n# end of the listeners";

/// Waits until the file of now is refused; gives what is wrong.
async fn refusal(gateway: &Gateway) -> String {
    let told = async {
        loop {
            let status = gateway.status().await;
            if let Some(problem) = status["gateway"]["problems"].get(0) {
                return problem["what"].as_str().expect("a sentence").to_owned();
            }
            sleep(STEP).await;
        }
    };
    within("a problem", told).await
}

/// Waits until nothing is wrong with the file.
async fn is_good(gateway: &Gateway) {
    let good = async {
        while gateway.status().await["gateway"]["problems"].get(0).is_some() {
            sleep(STEP).await;
        }
    };
    within("a good file", good).await;
}

#[tokio::test]
async fn listeners_come_and_go_and_the_others_notice_nothing() {
    let origin = Origin::saying("hello").await;
    let gateway = Gateway::start_with_workers(2, END, &one_tenant(&[origin.address])).await;
    let load = Load::start(gateway.address(), &["acme"], 3);

    for _ in 0..4 {
        gateway.edit_gateway(END, ANOTHER);
        let both = gateway.listeners(2).await;
        for _ in 0..10 {
            assert_eq!(get(both[1], "acme", "/").await.status, 200);
        }
        load.serves(20).await;

        gateway.edit_gateway(ANOTHER, END);
        assert_eq!(gateway.listeners(1).await, [gateway.address()]);
        let gone = async { while TcpStream::connect(both[1]).await.is_ok() {} };
        within("a closed listener", gone).await;
        load.serves(20).await;
    }

    load.stop().await;
}

#[tokio::test]
async fn connections_of_a_listener_that_goes_finish_what_is_under_way() {
    let origin = Origin::start([Step::ok("first"), Step::ok("second").held()]).await;
    let gateway = Gateway::start_with(END, &one_tenant(&[origin.address])).await;
    gateway.edit_gateway(END, ANOTHER);
    let address = gateway.listeners(2).await[1];
    let mut idle = Client::connect(address).await;
    assert_eq!(idle.ask(head("GET /", FIELDS)).await.status, 200);
    let mut busy = Client::connect(address).await;
    busy.send(head("GET /", FIELDS)).await;
    origin.wait_for(2).await;

    gateway.edit_gateway(ANOTHER, END);
    gateway.listeners(1).await;
    assert!(idle.is_closed().await, "nothing is under way on it");
    origin.release();
    let answer = busy.answer_to("GET").await;

    assert_eq!((answer.status, answer.text().as_str()), (200, "second"));
    assert_eq!(answer.one("connection").as_deref(), Some("close"));
}

#[tokio::test]
async fn a_listener_that_changes_keeps_its_socket_and_its_connections() {
    let authority = Authority::new();
    let pair = authority.server(&["shop.example"]);
    let origin = Origin::saying("hello").await;
    let gateway = Gateway::start_with(END, &one_tenant(&[origin.address])).await;
    let mut open = Client::connect(gateway.address()).await;
    assert_eq!(open.ask(head("GET /", FIELDS)).await.status, 200);
    let client = Wishes::of(&authority).client();

    let tls = format!("[listeners.tls]\n{}", pair.keys);
    gateway.edit_gateway(END, &tls);
    within("TLS", async {
        while !client.is_served(gateway.address(), "shop.example").await {
            sleep(STEP).await;
        }
    })
    .await;

    assert_eq!(open.ask(head("GET /", FIELDS)).await.status, 200);
    let new = authority.made_for(&["shop.example"]);
    pair.replace(&new);
    client.comes_to_see(gateway.address(), "shop.example", &new.certificate).await;
    gateway.edit_gateway(&tls, END);
    gateway.metric_becomes("tenantry_gateway_reloads_total{result=\"ok\"}", 2.0).await;
    assert_eq!(open.ask(head("GET /", FIELDS)).await.status, 200);
    assert_eq!(gateway.get("/").await.status, 200, "plain again");
}

#[tokio::test]
async fn a_port_that_is_taken_changes_nothing_until_it_is_free() {
    let origin = Origin::saying("hello").await;
    let gateway = Gateway::start_with(END, &one_tenant(&[origin.address])).await;
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    let more = format!("[[listeners]]\naddress = \"{address}\"\n{ANOTHER}");

    gateway.edit_gateway(END, &more);
    let told = refusal(&gateway).await;
    let reload = within("a reload", gateway.app.reload()).await;

    assert!(told.contains(&format!("cannot listen on {address}: the address is in use")), "{told}");
    assert!(format!("{reload:?}").contains("the address is in use"), "{reload:?}");
    assert_eq!(gateway.listeners(1).await, [gateway.address()]);
    assert_eq!(gateway.get("/").await.status, 200);
    drop(taken);
    let all = gateway.listeners(3).await;
    assert_eq!(get(all[1], "acme", "/").await.status, 200);
    is_good(&gateway).await;
}

#[tokio::test]
async fn a_file_that_is_wrong_changes_nothing_and_keys_for_the_next_start_are_named() {
    let origin = Origin::saying("hello").await;
    let gateway = Gateway::start_with(END, &one_tenant(&[origin.address])).await;

    gateway.edit_gateway("[[listeners]]", "[[listenrs]]");
    let unknown = refusal(&gateway).await;
    gateway.edit_gateway("[[listenrs]]", "[[listeners]]");
    is_good(&gateway).await;
    let certificate = format!("{ANOTHER}\ntls = {{ cert = \"none.pem\", key = \"none.key\" }}");
    gateway.edit_gateway(END, &certificate);
    let missing = refusal(&gateway).await;
    gateway.edit_gateway(&certificate, "[drain]\ntimeout = \"5s\"");
    is_good(&gateway).await;

    assert!(unknown.contains("listenrs"), "{unknown}");
    assert!(missing.contains("none.pem cannot be read"), "{missing}");
    let status = gateway.status().await;
    assert_eq!(status["gateway"]["needs_restart"], serde_json::json!(["drain"]));
    assert_eq!(gateway.listeners(1).await, [gateway.address()]);
    assert_eq!(gateway.get("/").await.status, 200);
}

/// A file that is emptied meant the defaults: a plain listener on all addresses.
#[tokio::test]
async fn a_file_that_is_emptied_closes_and_opens_nothing() {
    let origin = Origin::saying("hello").await;
    let gateway = Gateway::start_with(END, &one_tenant(&[origin.address])).await;
    let path = gateway.path("gateway.toml");
    let text = fs::read_to_string(&path).expect("the file");

    for emptied in ["", "\n  \n", "\u{feff}"] {
        fs::write(&path, emptied).expect("empty it");
        let told = refusal(&gateway).await;
        assert!(told.contains("is empty"), "{told}");
        assert_eq!(gateway.listeners(1).await, [gateway.address()]);
        assert_eq!(gateway.get("/").await.status, 200);
        fs::write(&path, &text).expect("write it");
        is_good(&gateway).await;
    }
}

/// The first half of a file may be a file without the second listener.
#[tokio::test]
async fn a_file_that_is_half_written_for_a_moment_closes_no_listener() {
    let origin = Origin::saying("hello").await;
    let gateway = Gateway::start_with(END, &one_tenant(&[origin.address])).await;
    gateway.edit_gateway(END, ANOTHER);
    let both = gateway.listeners(2).await;
    let mut idle = Client::connect(both[1]).await;
    assert_eq!(idle.ask(head("GET /", FIELDS)).await.status, 200);
    let path = gateway.path("gateway.toml");
    let text = fs::read_to_string(&path).expect("the file");
    let half = text.find(ANOTHER).expect("the second listener");

    let began = Instant::now();
    fs::write(&path, &text[..half]).expect("write a half");
    sleep(Duration::from_millis(300)).await;
    fs::write(&path, &text).expect("write the rest");
    let took = began.elapsed();
    within("a reload", gateway.app.reload()).await;
    if took >= Duration::from_secs(1) {
        return; // a busy machine made more than a moment of it
    }

    assert_eq!(idle.ask(head("GET /", FIELDS)).await.status, 200, "it was not asked to leave");
    assert_eq!(gateway.listeners(2).await, both);
}

#[tokio::test]
async fn a_listener_that_is_added_in_the_drain_is_not_opened() {
    let origin = Origin::start([Step::ok("slow").held()]).await;
    let gateway = Gateway::start_with(END, &one_tenant(&[origin.address])).await;
    let mut busy = Client::connect(gateway.address()).await;
    busy.send(head("GET /", FIELDS)).await;
    origin.wait_for(1).await;
    let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address");
    let admin = gateway.app.admin_address().expect("an admin API");
    let file = gateway.path("gateway.toml");
    let ask = |line| async move {
        let request = head(line, &["Host: localhost", "Content-Length: 0"]);
        Client::connect(admin).await.ask(request).await.status
    };

    let edit = async {
        within("the drain", async { while ask("GET /readyz").await != 503 {} }).await;
        let more = format!("[[listeners]]\naddress = \"{free}\"\n{END}");
        let text = fs::read_to_string(&file).expect("the file");
        fs::write(&file, text.replacen(END, &more, 1)).expect("edit it");
        // Whoever still follows the file reads it before this is answered.
        ask("POST /api/v1/reload").await;
        let opened = TcpStream::connect(free).await.is_ok();
        origin.release();
        (opened, busy.answer_to("GET").await.status)
    };
    let (ended, (opened, status)) = tokio::join!(gateway.stop(), edit);

    assert!(!opened, "nobody would accept from it");
    assert_eq!((ended.cut_off, status), (0, 200));
}

#[tokio::test]
async fn addresses_of_which_one_takes_all_are_added_beside_each_other() {
    let origin = Origin::saying("hello").await;
    let gateway = Gateway::start_with(END, &one_tenant(&[origin.address])).await;
    let free = TcpListener::bind("0.0.0.0:0").expect("a port").local_addr().expect("its address");
    let [all, own] = [format!("0.0.0.0:{}", free.port()), format!("127.0.0.1:{}", free.port())];
    let with = |addresses: &[&str]| {
        let entries = addresses.iter().map(|at| format!("[[listeners]]\naddress = \"{at}\"\n"));
        format!("{}{END}", entries.collect::<String>())
    };

    gateway.edit_gateway(END, &with(&[&all]));
    gateway.listeners(2).await;
    gateway.edit_gateway(&with(&[&all]), &with(&[&all, &own]));
    gateway.listeners(3).await;

    is_good(&gateway).await;
    let loopback = own.parse().expect("an address");
    assert_eq!(get(loopback, "acme", "/").await.status, 200);
    gateway.edit_gateway(&with(&[&all, &own]), &with(&[&own]));
    gateway.listeners(2).await;
    assert_eq!(get(loopback, "acme", "/").await.status, 200);
}

/// `[::]` was opened beside it for IPv6 alone, which cannot be changed.
#[tokio::test]
async fn ipv4_is_not_lost_when_the_address_for_it_is_taken_out_beside_the_one_for_both() {
    let origin = Origin::saying("hello").await;
    let gateway = Gateway::start_with(END, &one_tenant(&[origin.address])).await;
    let free = TcpListener::bind("0.0.0.0:0").expect("a port").local_addr().expect("its address");
    let [v4, v6] = [format!("0.0.0.0:{}", free.port()), format!("[::]:{}", free.port())];
    let with = |addresses: &[&str]| {
        let entries = addresses.iter().map(|at| format!("[[listeners]]\naddress = \"{at}\"\n"));
        format!("{}{END}", entries.collect::<String>())
    };
    let is_served = || async {
        let loopback = std::net::SocketAddr::from(([127, 0, 0, 1], free.port()));
        get(loopback, "acme", "/").await.status == 200
    };

    gateway.edit_gateway(END, &with(&[&v4]));
    gateway.listeners(2).await;
    gateway.edit_gateway(&with(&[&v4]), &with(&[&v6]));
    let told = refusal(&gateway).await;
    assert!(told.contains(&format!("{v6} would take no IPv4")), "{told}");
    assert!(is_served().await);
    gateway.edit_gateway(&with(&[&v6]), &with(&[]));
    gateway.listeners(1).await;
    gateway.edit_gateway(END, &with(&[&v6]));
    gateway.listeners(2).await;
    assert!(is_served().await, "it takes both");
}

#[tokio::test]
async fn a_unix_socket_comes_changes_its_mode_and_goes_with_its_file() {
    let origin = Origin::saying("hello").await;
    let gateway = Gateway::start_with_workers(2, END, &one_tenant(&[origin.address])).await;
    let path = gateway.path("http.sock");
    let with = |mode: &str| {
        let address = format!("address = \"unix:{}\"", path.display());
        format!("[[listeners]]\n{address}\nmode = \"{mode}\"\n{END}")
    };
    let file = || fs::metadata(&path).ok();
    let mode = || file().map(|file| file.permissions().mode() & 0o777);

    for _ in 0..2 {
        gateway.edit_gateway(END, &with("0660"));
        eventually("the socket", mode, |mode| *mode == Some(0o660)).await;
        let inode = file().map(|file| file.ino());
        let mut open = unix::connect(&path).await;
        assert_eq!(open.ask(head("GET /", FIELDS)).await.status, 200);

        gateway.edit_gateway(&with("0660"), &with("0600"));
        eventually("another mode", mode, |mode| *mode == Some(0o600)).await;
        assert_eq!(file().map(|file| file.ino()), inode, "it is the same socket");
        assert_eq!(open.ask(head("GET /", FIELDS)).await.status, 200);
        assert_eq!(unix::connect(&path).await.ask(head("GET /", FIELDS)).await.status, 200);

        gateway.edit_gateway(&with("0600"), END);
        eventually("no socket", file, Option::is_none).await;
        assert!(open.is_closed().await, "nothing is under way on it");
        assert_eq!(gateway.get("/").await.status, 200);
    }

    gateway.edit_gateway(END, &with("0660"));
    eventually("the socket", mode, |mode| *mode == Some(0o660)).await;
    let _folder = gateway.stop_and_keep().await;
    assert!(file().is_none(), "it goes with the gateway");
}

#[tokio::test]
async fn a_unix_socket_that_cannot_be_had_changes_nothing() {
    let origin = Origin::saying("hello").await;
    let gateway = Gateway::start_with(END, &one_tenant(&[origin.address])).await;
    let path = gateway.path("http.sock");
    fs::write(&path, "precious").expect("a file");

    let address = format!("[[listeners]]\naddress = \"unix:{}\"", path.display());
    gateway.edit_gateway(END, &format!("{ANOTHER}\n{address}"));
    let told = refusal(&gateway).await;

    assert!(told.contains("a file is there that is no socket"), "{told}");
    assert_eq!(gateway.listeners(1).await, [gateway.address()]);
    fs::remove_file(&path).expect("remove it");
    is_good(&gateway).await;
    assert_eq!(unix::connect(&path).await.ask(head("GET /", FIELDS)).await.status, 200);
}

#[tokio::test]
async fn trusted_proxies_that_change_count_for_new_connections() {
    let origin = Origin::saying("hello").await;
    let gateway = Gateway::start_with(END, &one_tenant(&[origin.address])).await;
    let asks = || head("GET /", &[FIELDS, &["X-Forwarded-For: 192.0.2.7"]].concat());
    let mut open = Client::connect(gateway.address()).await;
    open.ask(asks()).await;

    gateway.edit_gateway(END, &format!("trusted-proxies = [\"127.0.0.1\"]\n{END}"));
    gateway.metric_becomes("tenantry_gateway_reloads_total{result=\"ok\"}", 1.0).await;
    Client::connect(gateway.address()).await.ask(asks()).await;
    open.ask(asks()).await;

    gateway.edit_gateway("[[listeners]]", "# a line more\n[[listeners]]");
    within("a reload", gateway.app.reload()).await;
    gateway.metric_becomes("tenantry_gateway_reloads_total{result=\"ok\"}", 1.0).await;
    let asked = origin.wait_for(3).await;
    let chains: Vec<_> = asked.iter().map(|asked| asked.all("x-forwarded-for")).collect();
    assert_eq!(chains, [["127.0.0.1"], ["192.0.2.7, 127.0.0.1"], ["127.0.0.1"]]);
}
