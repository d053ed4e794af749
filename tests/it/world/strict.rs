//! An HTTP/1.1 parser that shares nothing with the gateway's and forgives nothing: what it reads,
//! every reader of RFC 9112 reads in the same way.

/// A message as it stood on the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    /// The first line.
    pub(crate) line: String,
    /// Names in lower case with their values, in order.
    pub(crate) fields: Vec<(String, String)>,
    /// The body, without its framing.
    pub(crate) body: Vec<u8>,
    /// The fields after the last chunk.
    pub(crate) trailers: Vec<(String, String)>,
}

impl Message {
    /// All values of a field, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let named = self.fields.iter().filter(|(own, _)| own == name);
        named.map(|(_, value)| value.as_str()).collect()
    }

    /// Method, target and body of a request: `GET /a `, `PUT /b body`.
    pub(crate) fn told(&self) -> String {
        let line = self.line.strip_suffix(" HTTP/1.1").unwrap_or(&self.line);
        format!("{line} {}", String::from_utf8_lossy(&self.body))
    }
}

/// The request at the front of `bytes` and its size; `None` while it is not whole.
///
/// # Errors
/// When anything of it may be read in two ways.
pub(crate) fn request(bytes: &[u8]) -> Result<Option<(Message, usize)>, String> {
    let Some((mut message, head)) = head(bytes)? else {
        return Ok(None);
    };
    check_request_line(&message.line)?;
    if message.all("host").len() != 1 {
        return Err(format!("not one Host: {message:?}"));
    }
    for option in message.all("connection").iter().flat_map(|value| value.split(',')) {
        let option = option.trim().to_ascii_lowercase();
        if !matches!(option.as_str(), "te" | "upgrade") || message.all(&option).is_empty() {
            return Err(format!("an option of another hop: {message:?}"));
        }
    }
    let length = length(&message)?;
    let body = match length {
        Length::Chunked => chunks(&bytes[head..], &mut message)?,
        Length::Of(size) => sized(&bytes[head..], size, &mut message),
        Length::Unsaid => Some(0),
    };
    Ok(body.map(|size| (message, head + size)))
}

/// Everything that `bytes` hold: the whole requests, and whether one more has begun.
///
/// # Errors
/// As for [`request`].
pub(crate) fn requests(mut bytes: &[u8]) -> Result<(Vec<Message>, bool), String> {
    let mut all = Vec::new();
    while let Some((message, size)) = request(bytes)? {
        all.push(message);
        bytes = &bytes[size..];
    }
    Ok((all, !bytes.is_empty()))
}

/// How a message tells where its body ends.
pub(crate) enum Length {
    Chunked,
    Of(usize),
    Unsaid,
}

/// The first line and the fields, and their size.
pub(crate) fn head(bytes: &[u8]) -> Result<Option<(Message, usize)>, String> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let mut message = Message::default();
    for (at, line) in lines(&bytes[..end]).enumerate() {
        match at {
            0 => message.line = printable(line)?,
            _ => message.fields.push(field(line)?),
        }
    }
    Ok(Some((message, end + 4)))
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(bytes);
    std::iter::from_fn(move || {
        let bytes = rest?;
        match bytes.windows(2).position(|two| two == b"\r\n") {
            Some(end) => {
                rest = Some(&bytes[end + 2..]);
                Some(&bytes[..end])
            }
            None => rest.take(),
        }
    })
}

fn printable(line: &[u8]) -> Result<String, String> {
    match line.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        true => Ok(String::from_utf8_lossy(line).into_owned()),
        false => Err(format!("bytes that no line may have: {:?}", String::from_utf8_lossy(line))),
    }
}

fn check_request_line(line: &str) -> Result<(), String> {
    let [method, target, "HTTP/1.1"] = line.split(' ').collect::<Vec<_>>()[..] else {
        return Err(format!("no request line: {line:?}"));
    };
    let star = method == "OPTIONS" && target == "*";
    if !is_token(method) || target.contains('#') || !(star || target.starts_with('/')) {
        return Err(format!("no method and target of an origin: {line:?}"));
    }
    Ok(())
}

fn is_token(word: &str) -> bool {
    let mark = |byte: u8| b"!#$%&'*+-.^_`|~".contains(&byte);
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || mark(byte))
}

fn field(line: &[u8]) -> Result<(String, String), String> {
    let wrong = || format!("no field: {:?}", String::from_utf8_lossy(line));
    let colon = line.iter().position(|byte| *byte == b':').ok_or_else(wrong)?;
    let name = String::from_utf8_lossy(&line[..colon]).to_ascii_lowercase();
    let value = &line[colon + 1..];
    let plain = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~' | 0x80..);
    if !is_token(&name) || !value.iter().all(plain) {
        return Err(wrong());
    }
    Ok((name, String::from_utf8_lossy(value.trim_ascii()).into_owned()))
}

/// How long the body is by the fields.
pub(crate) fn length(message: &Message) -> Result<Length, String> {
    match (
        message.all("content-length")[..].as_ref(),
        message.all("transfer-encoding")[..].as_ref(),
    ) {
        ([], []) => Ok(Length::Unsaid),
        ([], ["chunked"]) => Ok(Length::Chunked),
        ([digits], []) if (1..=18).contains(&digits.len()) => {
            let plain = digits.bytes().all(|digit| digit.is_ascii_digit());
            let size = digits.parse().ok().filter(|_| plain);
            size.map(Length::Of).ok_or_else(|| format!("no length: {message:?}"))
        }
        _ => Err(format!("a length that may be read in two ways: {message:?}")),
    }
}

/// Takes a body of a length.
pub(crate) fn sized(bytes: &[u8], size: usize, message: &mut Message) -> Option<usize> {
    message.body = bytes.get(..size)?.to_vec();
    Some(size)
}

/// Takes a body in chunks, and its trailers.
pub(crate) fn chunks(bytes: &[u8], message: &mut Message) -> Result<Option<usize>, String> {
    let mut at = 0;
    loop {
        let Some(end) = bytes[at..].windows(2).position(|two| two == b"\r\n") else {
            return Ok(None);
        };
        let digits = String::from_utf8_lossy(&bytes[at..at + end]).into_owned();
        let plain = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let size = usize::from_str_radix(&digits, 16).ok().filter(|_| plain);
        let size = size.ok_or_else(|| format!("no size of a chunk: {digits:?}"))?;
        at += end + 2;
        if size == 0 {
            return trailers(&bytes[at..], message).map(|size| size.map(|size| at + size));
        }
        let Some(chunk) = size.checked_add(2).and_then(|end| bytes[at..].get(..end)) else {
            return Ok(None);
        };
        if &chunk[size..] != b"\r\n" {
            return Err(format!("a chunk of {size} does not end there"));
        }
        message.body.extend_from_slice(&chunk[..size]);
        at += size + 2;
    }
}

fn trailers(bytes: &[u8], message: &mut Message) -> Result<Option<usize>, String> {
    if bytes.starts_with(b"\r\n") {
        return Ok(Some(2));
    }
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    for line in lines(&bytes[..end]) {
        message.trailers.push(field(line)?);
    }
    Ok(Some(end + 4))
}
