//! RFC 7239: the elements of `Forwarded`.
//!
//! A line is read from its left end, since a quotation mark may hide commas. One that cannot be read
//! to its right end is no word of anybody's: a client may have opened a quotation that swallows what
//! proxies have written behind it.

use std::borrow::Cow;
use std::net::IpAddr;

use super::chain::{Chain, End, Hop, MOST_HOPS, address};

/// Reads the lines of `Forwarded`, the last first.
pub fn elements<'f>(lines: impl Iterator<Item = &'f [u8]>) -> Chain<'f> {
    let mut chain = Chain::empty();
    for line in lines {
        let Some((hops, cut)) = read_line(line) else {
            chain.end = End::Malformed;
            return chain;
        };
        if !hops.into_iter().rev().all(|hop| chain.take(hop)) {
            return chain;
        }
        if cut {
            chain.end = End::TooLong;
            return chain;
        }
    }
    chain
}

/// The elements of a line, and whether those on its left were left out.
fn read_line(line: &[u8]) -> Option<(Vec<Hop<'_>>, bool)> {
    let (mut hops, mut cut) = (Vec::new(), false);
    let mut rest = line;
    loop {
        let (hop, after) = read_element(rest)?;
        if !hop.text.is_empty() {
            if hops.len() == 2 * MOST_HOPS {
                hops.drain(..MOST_HOPS);
                cut = true;
            }
            hops.push(hop);
        }
        match after.split_first() {
            None => return Some((hops, cut)),
            Some((_comma, after)) => rest = after,
        }
    }
}

/// One element, and what follows it: nothing, or a comma.
fn read_element(line: &[u8]) -> Option<(Hop<'_>, &[u8])> {
    let line = line.trim_ascii_start();
    let (mut from, mut scheme, mut host) = (None, None, None);
    let mut rest = line;
    loop {
        rest = rest.trim_ascii_start();
        if !rest.is_empty() && !rest.starts_with(b",") && !rest.starts_with(b";") {
            let ((name, value), after) = read_pair(rest)?;
            let place = match () {
                () if name.eq_ignore_ascii_case(b"for") => Some(&mut from),
                () if name.eq_ignore_ascii_case(b"proto") => Some(&mut scheme),
                () if name.eq_ignore_ascii_case(b"host") => Some(&mut host),
                () => None,
            };
            // RFC 7239 §4: a parameter is there once.
            if place.is_some_and(|place| place.replace(value).is_some()) {
                return None;
            }
            rest = after.trim_ascii_start();
        }
        match rest.strip_prefix(b";") {
            Some(after) => rest = after,
            None if rest.is_empty() || rest.starts_with(b",") => break,
            None => return None,
        }
    }
    let text = line[..line.len() - rest.len()].trim_ascii_end();
    let address = from.as_deref().and_then(node_address);
    Some((Hop { address, scheme, host, text }, rest))
}

/// RFC 7239 §6: the address of a node, whose port may be made up (`"192.0.2.1:_x"`).
fn node_address(node: &[u8]) -> Option<IpAddr> {
    let is_made_up = |port: &[u8]| {
        port.len() > 1
            && port[1..].iter().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte))
    };
    let colon = node.iter().rposition(|byte| *byte == b':');
    match colon.map(|colon| node.split_at(colon)) {
        Some((name, port)) if port.starts_with(b":_") && is_made_up(&port[1..]) => {
            // Without brackets, the colon may be one of the address.
            let is_bare_v6 = name.contains(&b':') && !name.ends_with(b"]");
            if is_bare_v6 { None } else { address(name) }
        }
        _ => address(node),
    }
}

/// A name, and its value without quotation.
type Pair<'t> = (&'t [u8], Cow<'t, [u8]>);

/// A pair, and what follows.
fn read_pair(text: &[u8]) -> Option<(Pair<'_>, &[u8])> {
    let end = text.iter().position(|byte| !is_token(*byte))?;
    let (name, rest) = text.split_at(end);
    let rest = rest.strip_prefix(b"=").filter(|_| !name.is_empty())?;
    if let Some(quoted) = rest.strip_prefix(b"\"") {
        let (value, rest) = read_quoted(quoted)?;
        return Some(((name, value), rest));
    }
    // Some write addresses with colons and brackets, which must be quoted, as they are.
    let ends = |byte: &u8| !is_token(*byte) && !matches!(byte, b':' | b'[' | b']' | b'/');
    let end = rest.iter().position(ends).unwrap_or(rest.len());
    let (value, rest) = rest.split_at(end);
    (!value.is_empty()).then_some(((name, Cow::Borrowed(value)), rest))
}

/// The rest of a quotation, and what follows it.
fn read_quoted(text: &[u8]) -> Option<(Cow<'_, [u8]>, &[u8])> {
    let end = text.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
    if text[end] == b'"' {
        return Some((Cow::Borrowed(&text[..end]), &text[end + 1..]));
    }
    let mut value = text[..end].to_vec();
    let mut bytes = text[end..].iter().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => return Some((Cow::Owned(value), &text[end + at + 1..])),
            b'\\' => value.push(*bytes.next()?.1),
            byte => value.push(*byte),
        }
    }
    None
}

/// RFC 9110 §5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, proptest};

    use super::*;
    use crate::base::network::Network;

    fn read(line: &str) -> Chain<'_> {
        elements([line.as_bytes()].into_iter())
    }

    fn told(hop: &Hop<'_>) -> (Option<String>, Option<String>, Option<String>) {
        let text = |bytes: &Option<Cow<'_, [u8]>>| {
            bytes.as_ref().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        };
        (hop.address.map(|address| address.to_string()), text(&hop.scheme), text(&hop.host))
    }

    #[test]
    fn elements_are_read_in_every_form() {
        let chain = read(
            "For=\"[2001:db8::1]:4711\";Proto=https;by=_me; host=\"a.ex\\ample:81\" , \
             for=192.0.2.1:81;;secret=\"a,;\\\"b\",,for=unknown",
        );
        let some = |text: &str| Some(text.to_owned());
        let hops: Vec<_> = chain.hops.iter().map(told).collect();
        let first = (some("2001:db8::1"), some("https"), some("a.example:81"));
        assert_eq!(hops, [(None, None, None), (some("192.0.2.1"), None, None), first]);
        assert_eq!(chain.end, End::Whole);
        assert_eq!(chain.hops[1].text, b"for=192.0.2.1:81;;secret=\"a,;\\\"b\"");
    }

    #[test]
    fn a_port_that_is_made_up_hides_no_address() {
        let address = |node: &str| {
            let line = format!("for=\"{node}\"");
            let hop = read(&line).hops.remove(0);
            hop.address.map(|address| address.to_string())
        };
        assert_eq!(address("192.0.2.1:_a.B-9_").as_deref(), Some("192.0.2.1"));
        assert_eq!(address("[2001:db8::1]:_x").as_deref(), Some("2001:db8::1"));
        for none in [
            "192.0.2.1:_",
            "192.0.2.1:_x y",
            "2001:db8::1:_x",
            "_x",
            "_x:_y",
            "unknown:_x",
            ":_x",
            ":",
        ] {
            assert_eq!(address(none), None, "{none}");
        }
    }

    #[test]
    fn who_has_hidden_its_client_still_says_what_that_has_asked_by() {
        let trusted: Network = "10.0.0.0/8".parse().unwrap();
        let told = |line: &str| {
            let chain = read(line);
            let hop = chain.asked_by(|address| trusted.contains(address)).cloned();
            hop.and_then(|hop| Some(String::from_utf8_lossy(hop.host?.as_ref()).into_owned()))
        };
        assert_eq!(
            told("host=c;for=6.6.6.6, host=b;for=_x, host=a;for=10.0.0.1").as_deref(),
            Some("b")
        );
        assert_eq!(
            told("host=c;for=6.6.6.6, host=b;for=192.0.2.1, host=a;for=10.0.0.1").as_deref(),
            Some("b")
        );
        assert_eq!(told("host=b;for=10.0.0.2, host=a;for=10.0.0.1").as_deref(), Some("b"));
        assert_eq!(told("host=b;for=6.6.6.6, host=a").as_deref(), Some("a"));
        assert_eq!(told("host=b;for=6.6.6.6, \""), None);
    }

    #[test]
    fn a_line_that_cannot_be_read_to_its_end_is_nobodys_word() {
        for bad in [
            "for=\"192.0.2.1",
            "for=\"192.0.2.1\\",
            "for=\"192.0.2.1\"x",
            "for=192.0.2.1;for=192.0.2.2",
            "for",
            "=192.0.2.1",
            "for=",
            "for =192.0.2.1",
            "for= 192.0.2.1",
            "for=192.0.2.1 for=192.0.2.2",
            "192.0.2.1",
        ] {
            let line = format!("for=6.6.6.6, {bad}");
            let lines = [&b"for=10.0.0.1"[..], line.as_bytes(), b"for=6.6.6.6"];
            let chain = elements(lines.into_iter());
            let hops: Vec<_> = chain.hops.iter().map(|hop| hop.text).collect();
            assert_eq!((hops, chain.end), (vec![&b"for=10.0.0.1"[..]], End::Malformed), "{bad}");
        }
    }

    #[test]
    fn a_quotation_that_a_client_opens_hides_no_element_of_a_proxy() {
        for own in ["for=\"", "for=6.6.6.6;x=\"", "for=6.6.6.6;x=\"\\", "\""] {
            let line = format!("{own}, for=192.0.2.1, for=\"[2001:db8::1]\"");
            let chain = read(&line);
            assert_eq!((chain.hops.len(), chain.end), (0, End::Malformed), "{line}");
        }
    }

    #[test]
    fn elements_without_end_are_cut_where_nobody_reads_on() {
        let line = "for=192.0.2.1,".repeat(10_000) + "for=192.0.2.2";
        let chain = read(&line);
        assert_eq!((chain.hops.len(), chain.end), (MOST_HOPS, End::TooLong));
        assert_eq!(chain.hops[0].text, b"for=192.0.2.2");
        let huge = format!("for=192.0.2.1;x=\"{}\"", "y".repeat(100_000));
        assert_eq!((read(&huge).hops.len(), read(&huge).end), (0, End::TooLong));
    }

    proptest! {
        #[test]
        fn whatever_a_client_writes_nobody_but_it_or_a_proxy_is_believed(
            own in prop::collection::vec(any::<u8>(), 0..60),
            quoted in any::<bool>(),
        ) {
            let trusted: Network = "10.0.0.0/8".parse().unwrap();
            let client: IpAddr = "192.0.2.1".parse().unwrap();
            let behind: &[u8] = match quoted {
                true => b", for=\"192.0.2.1:4711\";proto=https, for=\"10.0.0.1:80\"",
                false => b", for=192.0.2.1, for=10.0.0.1",
            };
            let line = [&own, behind].concat();

            let chain = elements([line.as_slice()].into_iter());

            let found = chain.client(|address| trusted.contains(address));
            // `None`: the line is broken, and the proxy that sent it is the client.
            assert!(found.is_none_or(|hop| hop.address == Some(client)), "{found:?}");
            let asked = chain.asked_by(|address| trusted.contains(address));
            assert!(asked.is_none_or(|hop| hop.address == Some(client)), "{asked:?}");
        }

        #[test]
        fn any_bytes_make_elements_of_bounded_size(
            bytes in prop::collection::vec(any::<u8>(), 0..600),
        ) {
            let chain = elements(bytes.split(|byte| *byte == b'\n'));
            assert!(chain.hops.len() <= MOST_HOPS);
            for hop in &chain.hops {
                let alone = elements([hop.text].into_iter());
                assert_eq!(alone.hops, std::slice::from_ref(hop), "it stands alone");
            }
        }
    }
}
