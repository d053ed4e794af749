//! RFC 9112 section 3: request targets and hosts, and the rule of docs/http.md: what a route has
//! matched is what is forwarded, and what could be read otherwise is refused.

use crate::world::config::one_tenant;
use crate::world::gateway::Gateway;
use crate::world::recorder::Recorder;

use super::{World, get, request};

#[tokio::test]
async fn a_target_with_a_byte_that_none_may_have_is_refused() {
    let world = World::start().await;
    let bad: &[&[u8]] = &[
        b"/a b",
        b"/a\tb",
        b"/ ",
        b" /",
        b"/a\x0bb",
        b"/a\0b",
        b"/a\rb",
        b"/a\nb",
        b"/a\x7fb",
        b"/caf\xc3\xa9",
        b"/caf\xe9",
        b"/?q=\xc3\xa9",
        b"/\xff",
        b"/a<b",
        b"/a>b",
        b"/?a<b",
        b"/\xe2\x80\xae",
        b"",
        b"http://caf\xc3\xa9/",
    ];
    for target in bad {
        let line =
            [b"GET ", *target, b" HTTP/1.1\r\nHost: a\r\nX-Tenant-ID: acme\r\n\r\n"].concat();
        world.refuses(&line).await;
    }
}

#[tokio::test]
async fn a_target_of_a_form_that_its_method_does_not_have_is_refused() {
    let world = World::start().await;
    let bad = [
        "GET *",
        "POST *",
        "PRI *",
        "GET a",
        "GET a:80",
        "GET a.example:80",
        "OPTIONS a:80",
        "GET ?x",
        "GET #x",
        "GET .",
        "GET ..",
        "GET ../x",
        "GET a/b",
        "GET \\x",
        "GET *x",
        "OPTIONS **",
        "GET http:",
        "GET http:/",
        "GET http://",
        "GET http:///x",
        "GET http://:80/",
        "GET http://u@a/",
        "GET http://u:p@a/",
        "GET http://a:x/",
        "GET http://a:99999/",
        "GET http://a b/",
        "GET ftp://a/",
        "GET file:///etc/passwd",
        "GET ws://a/",
        "GET javascript:x",
        "get *",
        "connect a:80",
    ];
    for line in bad {
        world.refuses(&request(line, "", "")).await;
    }
}

#[tokio::test]
async fn a_connect_is_not_served() {
    let world = World::start().await;
    for target in ["a:80", "a.example:443", "/", "http://a/"] {
        let outcome = world.send(&request(&format!("CONNECT {target}"), "", ""), 1).await;
        assert!(matches!(outcome.statuses[..], [400 | 501]), "{target}: {:?}", outcome.statuses);
    }
}

#[tokio::test]
async fn a_path_with_a_dot_segment_is_refused_in_every_spelling() {
    let world = World::start().await;
    let bad = [
        "/..",
        "/.",
        "/a/..",
        "/a/../b",
        "/a/./b",
        "/../../etc/passwd",
        "//..",
        "/a//../b",
        "/%2e%2e/",
        "/%2E%2e",
        "/.%2e/x",
        "/%2e./x",
        "/%2e",
        "/a/%2e/b",
        "/a%2f..%2fb",
        "/a/..%2fb",
        "/a/..%2Fb",
        "/a%2f%2e%2e%2fb",
        "/a/..%5cb",
        "/a/..\\b",
        "/a\\..\\b",
        "/a%5c..%5cb",
        "http://a/../b",
        "http://a/%2e%2e/b",
        "/..;/b",
        "/a/..;v=1/b",
        "/a/.;/b",
        "/a/..;",
        "/a/%2e%2e;x/b",
        "/a/..%3bx/b",
    ];
    for target in bad {
        world.refuses(&get(target)).await;
    }
}

#[tokio::test]
async fn every_other_path_is_forwarded_as_it_came() {
    let world = World::start().await;
    let good = [
        "/",
        "//",
        "///",
        "//evil.example/x",
        "/a//b",
        "/a/",
        "/a%2fb",
        "/a%2Fb",
        "/a%5cb",
        "/a\\b",
        "/%61dmin",
        "/A",
        "/a%00b",
        "/a%0d%0aX:%20y",
        "/a%20b",
        "/a+b",
        "/%",
        "/%zz",
        "/%2",
        "/...",
        "/a..b",
        "/.well-known/x",
        "/%252e%252e/",
        "/a;b=c",
        "/a/;/b",
        "/a..;b/c",
        "/...;/c",
        "/a;../b",
        "/@x",
        "/:80",
        "/a|b",
        "/a^b",
        "/{a}",
        "/[a]",
        "/a\"b",
        "/~a",
        "/?",
        "/??",
        "/?a=../b",
        "/?a=/./b",
        "/?a=%2e%2e",
        "/x?http://evil.example/",
        "/http://evil.example/",
        "/%c3%a9",
        "/%ff",
    ];
    for target in good {
        world.routes(&get(target), &format!("GET {target}")).await;
    }
}

#[tokio::test]
async fn what_a_route_has_matched_is_what_is_forwarded() {
    let recorder = Recorder::start().await;
    let routes = format!(
        "{}[[tenants.acme.routes]]\nname = \"admin\"\npath = \"/admin/*\"\n\
         respond = {{ status = 403, body = \"no\" }}\n",
        one_tenant(&[recorder.address])
    );
    let world = World { gateway: Gateway::start(&routes).await, recorder };
    for target in ["/admin", "/admin/", "/admin/x", "/admin//x", "http://a/admin/x"] {
        let outcome = world.send(&get(target), 1).await;
        assert_eq!((outcome.statuses, outcome.routed), (vec![403], vec![]), "{target}");
    }
    // None of these is the path that was closed, and none of them becomes it on the way.
    for target in ["//admin/x", "/Admin/x", "/%61dmin/x", "/admin%2fx", "/admin;/x", "/admin\\x"] {
        world.routes(&get(target), &format!("GET {target}")).await;
    }
}

#[tokio::test]
async fn a_target_with_a_fragment_is_refused() {
    let world = World::start().await;
    for target in ["/a#b", "/a#", "/a#/../b", "http://a/a#b", "/a#?x", "/?x#y", "#"] {
        let outcome = world.send(&get(target), 1).await;
        assert_eq!((outcome.statuses, outcome.routed), (vec![400], vec![]), "{target}");
    }
}

#[tokio::test]
async fn the_host_of_an_absolute_target_replaces_the_field() {
    let world = World::start().await;
    for (target, host, path) in [
        ("http://b.example/x", "b.example", "/x"),
        ("http://b.example:81/x?y", "b.example:81", "/x?y"),
        ("HTTP://b.example", "b.example", "/"),
        ("https://b.example?y", "b.example", "/?y"),
        ("http://[::1]:81/x", "[::1]:81", "/x"),
    ] {
        let routed = world.routes(&get(target), &format!("GET {path}")).await;
        assert_eq!((routed.all("host"), routed.all("x-forwarded-host")), (vec![host], vec![host]));
    }
}

#[tokio::test]
async fn a_request_without_one_valid_host_field_is_refused() {
    let world = World::start().await;
    let hosts = [
        "",
        "Host: a\r\nHost: a\r\n",
        "Host: a\r\nHost: b\r\n",
        "Host: a\r\nhOST:\r\n",
        "Host: a, b\r\n",
        "Host: a b\r\n",
        "Host: a/b\r\n",
        "Host: a?b\r\n",
        "Host: a#b\r\n",
        "Host: u@a\r\n",
        "Host: a:x\r\n",
        "Host: a:99999999\r\n",
        "Host: a:80:80\r\n",
        "Host: [::1\r\n",
        "Host: ::1\r\n",
        "Host: a%00\r\n",
        "Host: a\\b\r\n",
        "Host: caf\u{e9}\r\n",
        "Host: a,\r\n",
        "Host: http://a\r\n",
        "Host: a\r\n b\r\n",
        "Host : a\r\n",
        " Host: a\r\n",
        "Host: a\0\r\n",
    ];
    for target in ["/", "http://a/"] {
        for host in hosts {
            let head = format!("GET {target} HTTP/1.1\r\nX-Tenant-ID: acme\r\n{host}\r\n");
            world.refuses(head.as_bytes()).await;
        }
    }
}

#[tokio::test]
async fn options_for_the_server_as_a_whole_is_asked_with_an_asterisk() {
    let world = World::start().await;
    for (target, path) in [
        ("*", "*"),
        ("http://a", "*"),
        ("http://a:80", "*"),
        ("http://a/", "/"),
        ("http://a?x", "/?x"),
        ("/", "/"),
    ] {
        let line = format!("OPTIONS {target}");
        world.routes(&request(&line, "", ""), &format!("OPTIONS {path}")).await;
    }
}
