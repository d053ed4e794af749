//! Keeps web pages out. An operator's browser reaches this listener, and with it every page that
//! the browser shows: a page may post to any address (CSRF), and read what it likes once its own
//! name has been made to lead here (DNS rebinding).

use std::io;
use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::net::TcpListener;

use super::access::{Access, Visitor, told};
use super::reply;

/// Who can reach the listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Programs of this machine: it is known by an address or as `localhost` only.
    ThisMachine,
    /// Others too, by whatever name they have for it.
    Network,
}

impl Reach {
    /// By the address that the listener has.
    pub(super) fn of(listener: &TcpListener) -> io::Result<Self> {
        let is_loopback = listener.local_addr()?.ip().to_canonical().is_loopback();
        Ok(if is_loopback { Self::ThisMachine } else { Self::Network })
    }
}

/// Refuses what a web page may have sent; a browser marks that itself, and a page cannot take the
/// mark away.
pub(super) async fn refuse_pages(
    State((reach, access)): State<(Reach, Access)>,
    request: Request,
    next: Next,
) -> Response {
    let headers = request.headers();
    let refused = if reach == Reach::ThisMachine
        && !headers.get_all(header::HOST).iter().all(is_own_name)
    {
        let what =
            "this listener is for the machine itself: ask for it by its address or as localhost";
        Some(("foreign_host", "foreign-host", what))
    } else if !request.method().is_safe() && is_of_page(headers) {
        let what = "a web page may not do this; use curl or another program that is no browser";
        Some(("browser", "browser", what))
    } else {
        None
    };
    let Some((reason, kind, what)) = refused else { return next.run(request).await };
    access.count_refusal(reason);
    let from =
        request.extensions().get().map_or(Visitor::UNKNOWN.address, |it: &Visitor| it.address);
    let asked = access.audit().hear(&request, from, None);
    told(asked, None, reply::problem(StatusCode::FORBIDDEN, kind, what.to_owned())).await
}

/// A page can only come by a name that its owner has made to lead here, never by an address.
fn is_own_name(host: &HeaderValue) -> bool {
    let Ok(authority) = Authority::try_from(host.as_bytes()) else { return false };
    let name = authority.host();
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok()
}

fn is_of_page(headers: &HeaderMap) -> bool {
    headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(host: &'static str, expected: bool) {
        assert_eq!(is_own_name(&HeaderValue::from_static(host)), expected, "{host:?}");
    }

    #[test]
    fn addresses_and_localhost_are_names_of_the_machine_itself() {
        check("127.0.0.1:9900", true);
        check("127.0.0.1", true);
        check("[::1]:9900", true);
        check("LocalHost:9900", true);
        check("10.0.0.1", true);
        check("evil.example:9900", false);
        check("127.0.0.1.evil.example", false);
        check("localhost.evil.example", false);
        check("127.0.0.1@evil.example", false);
        check("", false);
        check("a b", false);
    }
}
