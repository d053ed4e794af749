//! How a line of the access log is written.

use http::HeaderName;
use schemars::Schema;

use crate::config::nearest::nearest;
use crate::config::spec::AccessLogFormat;
use crate::model::log_line::{Field, Piece};

use super::{Text, Wrong};

impl Text for AccessLogFormat {
    const EXPECTED: &'static str =
        "\"json\", \"combined\" or a text as in \"{time} {tenant} {status} {duration}\"";

    fn read(text: &str) -> Result<Self, Wrong> {
        match text {
            "json" => return Ok(Self::Json),
            "combined" => return Ok(Self::Combined),
            _ => {}
        }
        if text.chars().any(char::is_control) {
            let what = format!("{text:?} has a line break or another control character");
            return Err(Wrong::new(what, "each request is one line: take it out"));
        }
        let pieces = pieces(text)?;
        if pieces.iter().all(|piece| matches!(piece, Piece::Text(_))) {
            let hint = match nearest(text, ["json", "combined"]) {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!("write {}", Self::EXPECTED),
            };
            return Err(Wrong::new(format!("{text:?} is no format and has no placeholder"), hint));
        }
        Ok(Self::Pieces(pieces))
    }

    fn schema() -> Schema {
        schemars::json_schema!({
            "type": "string",
            "examples": ["json", "combined", "{time} {tenant} {status} {duration}"],
        })
    }
}

/// Cuts a text at its placeholders; `{{` and `}}` stand for one brace.
fn pieces(text: &str) -> Result<Vec<Piece>, Wrong> {
    let (mut pieces, mut plain, mut rest) = (Vec::new(), String::new(), text);
    while let Some(at) = rest.find(['{', '}']) {
        let (before, from) = rest.split_at(at);
        plain.push_str(before);
        if let Some(behind) = from.strip_prefix("{{").or_else(|| from.strip_prefix("}}")) {
            plain.push_str(from.get(..1).unwrap_or_default());
            rest = behind;
            continue;
        }
        let placeholder = from.strip_prefix('{').and_then(|from| from.split_once('}'));
        let Some((name, behind)) = placeholder else {
            let what = format!("{text:?} has a brace too many");
            return Err(Wrong::new(what, "write {{ or }} for a brace that is no placeholder's"));
        };
        if !plain.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
        }
        pieces.push(piece(name)?);
        rest = behind;
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        pieces.push(Piece::Text(plain));
    }
    Ok(pieces)
}

fn piece(name: &str) -> Result<Piece, Wrong> {
    if let Some(header) = name.strip_prefix("header:") {
        return HeaderName::read(header).map(Piece::Header);
    }
    if let Some((_, field)) = Field::ALL.into_iter().find(|(known, _)| *known == name) {
        return Ok(Piece::Field(field));
    }
    let known = || Field::ALL.into_iter().map(|(known, _)| known);
    let hint = match nearest(&name.replace('_', "-"), known()) {
        Some(near) => format!("did you mean {{{near}}}?"),
        None => {
            let known: Vec<String> = known().map(|name| format!("{{{name}}}")).collect();
            format!("known are {} and {{header:NAME}}", known.join(", "))
        }
    };
    Err(Wrong::new(format!("there is no placeholder {{{name}}}"), hint))
}
