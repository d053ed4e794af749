//! A real name server whose answers the test sets.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_server::Server;
use hickory_server::net::runtime::Time;
use hickory_server::proto::op::{Header, HeaderCounts, Metadata, ResponseCode};
use hickory_server::proto::rr::rdata::{A, SRV};
use hickory_server::proto::rr::{Name, RData, Record, RecordType};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use tokio::net::{TcpListener, UdpSocket};

/// How all questions are answered that the zone has no records for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// As by a server that knows the zone.
    Well,
    /// With an error, whatever the zone has.
    Failing,
    /// Not at all, whatever the zone has: as a server that is dead.
    Silent,
}

type Zone = Arc<Mutex<(Mood, HashMap<(String, RecordType), Vec<Record>>)>>;

/// A name server. It ends when it is dropped.
pub(crate) struct NameServer {
    address: SocketAddr,
    zone: Zone,
    _server: Server<Answers>,
}

impl NameServer {
    pub(crate) async fn start() -> Self {
        let (datagrams, streams) = bind().await;
        let address = datagrams.local_addr().expect("the name server's address");
        let zone: Zone = Arc::new(Mutex::new((Mood::Well, HashMap::new())));
        let mut server = Server::new(Answers { zone: Arc::clone(&zone) });
        server.register_socket(datagrams);
        server.register_listener(streams, Duration::from_secs(5), 4096);
        Self { address, zone, _server: server }
    }

    /// The lines of `gateway.toml` that have the gateway ask here.
    pub(crate) fn config(&self) -> String {
        format!("[dns]\nservers = [\"{}\"]\ntimeout = \"250ms\"\n", self.address)
    }

    /// Sets the addresses of a name, which may be kept for a second.
    pub(crate) fn set_a(&self, name: &str, addresses: &[Ipv4Addr]) {
        self.set(name, RecordType::A, addresses.iter().map(|address| RData::A(A(*address))));
    }

    /// Sets the services of a name: priority, weight, port, target.
    pub(crate) fn set_srv(&self, name: &str, services: &[(u16, u16, u16, &str)]) {
        let service = |(priority, weight, port, target): &(u16, u16, u16, &str)| {
            let target = Name::from_str(target).expect("a name");
            RData::SRV(SRV::new(*priority, *weight, *port, target))
        };
        self.set(name, RecordType::SRV, services.iter().map(service));
    }

    /// Sets how questions are answered from now on.
    pub(crate) fn be(&self, mood: Mood) {
        self.zone.lock().unwrap_or_else(PoisonError::into_inner).0 = mood;
    }

    fn set(&self, name: &str, kind: RecordType, data: impl Iterator<Item = RData>) {
        let owner = Name::from_str(name).expect("a name");
        let records = data.map(|data| Record::from_rdata(owner.clone(), 1, data)).collect();
        let mut zone = self.zone.lock().unwrap_or_else(PoisonError::into_inner);
        zone.1.insert((name.to_owned(), kind), records);
    }
}

/// One free port for both, as a resolver expects it.
async fn bind() -> (UdpSocket, TcpListener) {
    loop {
        let datagrams = UdpSocket::bind("127.0.0.1:0").await.expect("bind a name server");
        let address = datagrams.local_addr().expect("the name server's address");
        if let Ok(streams) = TcpListener::bind(address).await {
            return (datagrams, streams);
        }
    }
}

struct Answers {
    zone: Zone,
}

impl Answers {
    fn records(&self, name: &str, kind: RecordType) -> Result<Vec<Record>, ResponseCode> {
        let zone = self.zone.lock().unwrap_or_else(PoisonError::into_inner);
        match (zone.0, zone.1.get(&(name.to_owned(), kind))) {
            (Mood::Failing, _) => Err(ResponseCode::ServFail),
            (_, Some(records)) => Ok(records.clone()),
            (_, None) if zone.1.keys().any(|(known, _)| known == name) => Ok(Vec::new()),
            (_, None) => Err(ResponseCode::NXDomain),
        }
    }

    fn is_silent(&self) -> bool {
        self.zone.lock().unwrap_or_else(PoisonError::into_inner).0 == Mood::Silent
    }

    async fn answer(&self, request: &Request, mut to: impl ResponseHandler) -> ResponseInfo {
        let query = request.request_info().expect("a question").query;
        let records = self.records(&query.name().to_string(), query.query_type());
        let builder = MessageResponseBuilder::from_message_request(request);
        let mut metadata = Metadata::response_from_request(&request.metadata);
        if self.is_silent() {
            return Header { metadata, counts: HeaderCounts::default() }.into();
        }
        let sent = match records {
            Ok(records) => to.send_response(builder.build(metadata, &records, [], [], [])).await,
            Err(code) => {
                metadata.response_code = code;
                to.send_response(builder.build_no_records(metadata)).await
            }
        };
        // Who asked may be gone by now.
        sent.unwrap_or_else(|_| Header { metadata, counts: HeaderCounts::default() }.into())
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
