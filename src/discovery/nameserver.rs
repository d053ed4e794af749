//! A real name server inside tests, whose answers the test sets.

use std::collections::HashMap;
use std::future::Future;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_server::Server;
use hickory_server::net::runtime::Time;
use hickory_server::proto::op::{Header, HeaderCounts, Metadata, ResponseCode};
use hickory_server::proto::rr::rdata::{A, AAAA, CNAME, SRV};
use hickory_server::proto::rr::{Name, RData, Record, RecordType};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use tokio::net::{TcpListener, UdpSocket};

use crate::config::spec::DnsSpec;

use super::resolver::Resolver;

/// How a question is answered.
#[derive(Clone)]
pub(super) enum Reply {
    Records(Vec<Record>),
    Code(ResponseCode),
    /// As a server that is dead.
    Silence,
}

type Zone = Arc<Mutex<HashMap<(String, RecordType), Reply>>>;

pub(super) struct NameServer {
    pub(super) address: SocketAddr,
    zone: Zone,
    _server: Server<Answers>,
}

impl NameServer {
    pub(super) async fn start() -> Self {
        let (datagrams, streams) = bind().await;
        let address = datagrams.local_addr().unwrap();
        let zone = Zone::default();
        let mut server = Server::new(Answers { zone: Arc::clone(&zone) });
        server.register_socket(datagrams);
        server.register_listener(streams, Duration::from_secs(5), 4096);
        Self { address, zone, _server: server }
    }

    pub(super) fn resolver(&self) -> Resolver {
        let timeout = Duration::from_millis(250);
        Resolver::new(&DnsSpec { servers: vec![self.address], timeout })
    }

    /// Sets the answer for one kind of record; the others of the name are then known as empty.
    pub(super) fn set(&self, name: &str, kind: RecordType, reply: Reply) {
        self.zone.lock().unwrap().insert((name.to_owned(), kind), reply);
    }

    /// Sets A records with one TTL.
    pub(super) fn set_a(&self, name: &str, ttl: u32, hosts: &[u8]) {
        let data = hosts.iter().map(|host| RData::A(A(Ipv4Addr::new(10, 0, 0, *host))));
        self.set(name, RecordType::A, records(name, ttl, data));
    }

    pub(super) fn set_aaaa(&self, name: &str, ttl: u32, hosts: &[u16]) {
        let address = |host: &u16| Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, *host);
        let data = hosts.iter().map(|host| RData::AAAA(AAAA(address(host))));
        self.set(name, RecordType::AAAA, records(name, ttl, data));
    }

    /// Sets SRV records of (priority, weight, port, target).
    pub(super) fn set_srv(&self, name: &str, ttl: u32, services: &[(u16, u16, u16, &str)]) {
        let data = services.iter().map(|(priority, weight, port, target)| {
            RData::SRV(SRV::new(*priority, *weight, *port, Name::from_str(target).unwrap()))
        });
        self.set(name, RecordType::SRV, records(name, ttl, data));
    }

    /// Answers questions for A records of `alias` with a CNAME and the records of `name`.
    pub(super) fn set_alias(&self, alias: &str, ttl: u32, name: &str) {
        let target = self.zone.lock().unwrap().get(&(name.to_owned(), RecordType::A)).cloned();
        let Some(Reply::Records(target)) = target else { panic!("{name} has no A records") };
        let to = RData::CNAME(CNAME(Name::from_str(name).unwrap()));
        let Reply::Records(mut answer) = records(alias, ttl, [to]) else { unreachable!() };
        answer.extend(target);
        self.set(alias, RecordType::A, Reply::Records(answer));
    }
}

/// One free port for both, as a resolver expects it.
async fn bind() -> (UdpSocket, TcpListener) {
    loop {
        let datagrams = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        if let Ok(streams) = TcpListener::bind(datagrams.local_addr().unwrap()).await {
            return (datagrams, streams);
        }
    }
}

fn records(name: &str, ttl: u32, data: impl IntoIterator<Item = RData>) -> Reply {
    let name = Name::from_str(name).unwrap();
    Reply::Records(
        data.into_iter().map(|data| Record::from_rdata(name.clone(), ttl, data)).collect(),
    )
}

struct Answers {
    zone: Zone,
}

impl Answers {
    fn reply(&self, name: &str, kind: RecordType) -> Reply {
        let zone = self.zone.lock().unwrap();
        match zone.get(&(name.to_owned(), kind)) {
            Some(reply) => reply.clone(),
            None if zone.keys().any(|(known, _)| known == name) => Reply::Records(Vec::new()),
            None => Reply::Code(ResponseCode::NXDomain),
        }
    }

    async fn answer(&self, request: &Request, mut to: impl ResponseHandler) -> ResponseInfo {
        let query = request.request_info().unwrap().query;
        let reply = self.reply(&query.name().to_string(), query.query_type());
        let builder = MessageResponseBuilder::from_message_request(request);
        let mut metadata = Metadata::response_from_request(&request.metadata);
        let sent = match reply {
            Reply::Records(records) => {
                to.send_response(builder.build(metadata, &records, [], [], [])).await
            }
            Reply::Code(code) => {
                metadata.response_code = code;
                to.send_response(builder.build_no_records(metadata)).await
            }
            Reply::Silence => {
                return Header { metadata, counts: HeaderCounts::default() }.into();
            }
        };
        sent.unwrap()
    }
}

/// Written out as the trait's attribute macro would, to spare a dependency.
impl RequestHandler for Answers {
    fn handle_request<'this, 'request, 'answer, R, T>(
        &'this self,
        request: &'request Request,
        to: R,
    ) -> Pin<Box<dyn Future<Output = ResponseInfo> + Send + 'answer>>
    where
        R: ResponseHandler + 'answer,
        T: Time + 'answer,
        'this: 'answer,
        'request: 'answer,
        Self: 'answer,
    {
        Box::pin(self.answer(request, to))
    }
}
