//! What is under way on one listener while others come, change and go.

use std::net::{SocketAddr, TcpListener};

use crate::world::client::{Client, Hyper, get, head};
use crate::world::config::{NO_RETRY, pool};
use crate::world::gateway::Gateway;
use crate::world::load::Load;
use crate::world::origin::{Origin, Step};
use crate::world::pki::{Authority, Wishes};
use crate::world::within;

const FIELDS: &[&str] = &["Host: shop.example", "X-Tenant-ID: acme"];
const END: &str = "# end of the listeners";
const ANOTHER: &str = "[[listeners]]\naddress = \"127.0.0.1:0\"\n# end of the listeners";

/// What is under way on a listener, of every kind; its origins answer for as long as this is here.
struct Guests {
    load: Load,
    kept: Client,
    streams: Hyper,
    tunnel: Client,
    waiting: Client,
    slow: Origin,
}

/// The pools of the guests: `/tunnel` switches protocols, `/slow` waits to be released.
async fn pools_of_guests() -> (String, [Origin; 3]) {
    let switch =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: mine\r\n\r\nhi";
    let plain = Origin::saying("hello").await;
    let tunnel = Origin::start([Step::raw(switch).and_echo()]).await;
    let slow = Origin::start([Step::ok("slow").held()]).await;
    // Who waits does so for all of the test, however long a busy machine takes for it.
    let keys = format!("{NO_RETRY}\ntimeouts = {{ total = \"5m\" }}");
    let pools = [("app", &plain), ("tunnel", &tunnel), ("slow", &slow)]
        .map(|(name, origin)| pool(name, &[origin.address], &keys));
    let routes = ["tunnel", "slow"]
        .map(|name| format!("[[tenants.acme.routes]]\npath = \"/{name}\"\npool = \"{name}\"\n"));
    let text = format!("{}[tenants.acme]\npool = \"app\"\n{}", pools.concat(), routes.concat());
    (text, [plain, tunnel, slow])
}

impl Guests {
    async fn at(address: SocketAddr, slow: Origin) -> Self {
        let load = Load::start(address, &["acme"], 3);
        let kept = Client::connect(address).await;
        let streams = Hyper::h2(address).await;
        let mut tunnel = Client::connect(address).await;
        let asking = [FIELDS, &["Connection: Upgrade", "Upgrade: mine"]].concat();
        tunnel.send(head("GET /tunnel", &asking)).await;
        assert_eq!(tunnel.answer_head().await.status, 101);
        assert_eq!(tunnel.wire.exact("hi").await, Some(()));
        let mut waiting = Client::connect(address).await;
        waiting.send(head("GET /slow", FIELDS)).await;
        slow.wait_for(1).await;
        Self { load, kept, streams, tunnel, waiting, slow }
    }

    /// Each is served on the connection that it has, and none is asked to leave.
    async fn are_served(&mut self) {
        self.load.serves(20).await;
        let answer = self.kept.ask(head("GET /", FIELDS)).await;
        assert_eq!((answer.status, answer.one("connection")), (200, None));
        assert_eq!(self.streams.get("acme", "/").await.status, 200);
        self.tunnel.send("ping").await;
        assert_eq!(within("an echo", self.tunnel.wire.exact("ping")).await, Some(()));
    }

    async fn leave(mut self) {
        self.are_served().await;
        self.slow.release();
        let answer = self.waiting.answer_to("GET").await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "slow"));
        assert_eq!(answer.one("connection"), None);
        assert_eq!(self.load.connections(), 3, "nobody had to connect again");
        self.load.stop().await;
    }
}

#[tokio::test]
async fn connections_live_on_while_another_listener_comes_changes_and_goes() {
    let authority = Authority::new();
    let pair = authority.server(&["shop.example"]);
    let (routes, [_plain, _tunnel, slow]) = pools_of_guests().await;
    let gateway = Gateway::start_with_workers(2, END, &routes).await;
    let mut guests = Guests::at(gateway.address(), slow).await;
    let client = Wishes::of(&authority).client();
    let tls = format!("max-connections = 50\n[listeners.tls]\n{}{END}", pair.keys);

    for _ in 0..2 {
        gateway.edit_gateway(END, ANOTHER);
        let other = gateway.listeners(2).await[1];
        assert_eq!(get(other, "acme", "/").await.status, 200);
        guests.are_served().await;

        gateway.edit_gateway(ANOTHER, &ANOTHER.replace(END, &tls));
        let secure = async { while !client.is_served(other, "shop.example").await {} };
        within("TLS", secure).await;
        guests.are_served().await;

        gateway.edit_gateway(&ANOTHER.replace(END, &tls), END);
        gateway.listeners(1).await;
        guests.are_served().await;
    }

    guests.leave().await;
}

#[tokio::test]
async fn connections_live_on_while_the_listener_before_theirs_goes() {
    let (routes, [_plain, _tunnel, slow]) = pools_of_guests().await;
    let gateway = Gateway::start_with_workers(2, END, &routes).await;
    let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address");
    let own = format!("[[listeners]]\naddress = \"{free}\"\n{END}");
    gateway.edit_gateway(END, &own);
    gateway.listeners(2).await;
    let mut guests = Guests::at(free, slow).await;

    gateway.edit_gateway("[[listeners]]\naddress = \"127.0.0.1:0\"\n", "");
    assert_eq!(gateway.listeners(1).await, [free]);

    guests.are_served().await;
    guests.leave().await;
}
