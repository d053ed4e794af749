//! Answers as strictly as `strict` reads requests.

use super::strict::{self, Length, Message};

/// What a connection said to its one request, until it ended.
#[derive(Debug)]
pub(crate) enum Said {
    /// One final answer, whole.
    Whole(Answer),
    /// An answer that broke off within its body, where everybody sees it.
    Cut,
    /// No final head, or not all of it.
    Nothing,
}

/// A final answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Its status.
    pub(crate) status: u16,
    /// Names in lower case with their values, in order.
    pub(crate) fields: Vec<(String, String)>,
    /// Its body, without its framing.
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// Whether there is a field of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|(own, _)| own == name)
    }
}

/// Reads all that a connection said to one request.
///
/// # Errors
/// When it is more than one answer, or anything of it may be read in two ways.
pub(crate) fn read(bytes: &[u8], to_head: bool) -> Result<Said, String> {
    match next(bytes, to_head)? {
        (Said::Whole(_), rest @ [_, ..]) => Err(format!("{} bytes too many", rest.len())),
        (said, _) => Ok(said),
    }
}

/// Reads all that a connection said to as many requests; tells how many whole answers it was.
///
/// # Errors
/// When there are more answers than requests, or anything may be read in two ways.
pub(crate) fn count(mut bytes: &[u8], to_head: &[bool]) -> Result<usize, String> {
    for (number, to_head) in to_head.iter().enumerate() {
        let (Said::Whole(_), rest) = next(bytes, *to_head)? else { return Ok(number) };
        bytes = rest;
    }
    match bytes {
        [] => Ok(to_head.len()),
        more => Err(format!("{} bytes too many", more.len())),
    }
}

/// The answer in front of `bytes`, and what follows it.
fn next(mut bytes: &[u8], to_head: bool) -> Result<(Said, &[u8]), String> {
    loop {
        let Some((message, size)) = strict::head(bytes)? else { return Ok((Said::Nothing, bytes)) };
        let status = status(&message.line)?;
        bytes = &bytes[size..];
        match status {
            101 => return Err("a switch that nobody asked for".to_owned()),
            100..=199 if message.all("content-length").is_empty() => {}
            100..=199 => return Err(format!("an interim answer with a length: {message:?}")),
            _ => return last(message, status, bytes, to_head),
        }
    }
}

fn last(
    mut message: Message,
    status: u16,
    bytes: &[u8],
    to_head: bool,
) -> Result<(Said, &[u8]), String> {
    let length = strict::length(&message)?;
    let end = match length {
        _ if to_head || matches!(status, 204 | 304) => Some(0),
        Length::Chunked => strict::chunks(bytes, &mut message)?,
        Length::Of(size) => strict::sized(bytes, size, &mut message),
        Length::Unsaid => strict::sized(bytes, bytes.len(), &mut message),
    };
    let Some(end) = end else { return Ok((Said::Cut, bytes)) };
    let Message { fields, body, .. } = message;
    Ok((Said::Whole(Answer { status, fields, body }), &bytes[end..]))
}

fn status(line: &str) -> Result<u16, String> {
    let digits = line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
    let after = line.get(12..13).unwrap_or(" ");
    let digits = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()));
    let status = digits.and_then(|digits| digits.parse().ok()).filter(|_| after == " ");
    status.filter(|status| *status >= 100).ok_or_else(|| format!("no status line: {line:?}"))
}
