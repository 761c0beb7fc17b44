//! The verdict on a request head: whether it is whole, whether hyper may see it, and where the message that it opens will end.

use std::mem::MaybeUninit;

use http::Uri;
use httparse::{Header, Request, Status};

use super::{Fault, Limits};

/// A head that hyper may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Its length in bytes, with the empty lines before it and the one that ends it.
    pub(super) len: usize,
    /// What follows it.
    pub(super) body: Framing,
    /// Whether what follows the message may be no HTTP: CONNECT, or a wish for another protocol that hyper would grant.
    pub(super) upgrade: bool,
}

/// How the end of a body is found (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Length(u64),
    Chunked,
}

/// A few empty lines before a request line are taken: some clients send one after a body (RFC 9112 §2.2).
const MAX_EMPTY: usize = 4 * b"\r\n".len();

/// As many headers find room on the stack; more are let in at the price of an allocation per head.
const ON_STACK: usize = 128;

/// `http::Uri` keeps offsets in 16 bits.
const MAX_TARGET: usize = u16::MAX as usize - 1;

/// A length that no body reaches, and with room above it: sums with it do not overflow.
const MAX_LENGTH: u64 = u64::MAX / 2;

/// Looks at what has come of a head. `None`: it is good so far and not yet whole.
///
/// The verdict on some bytes is the verdict on whichever of their beginnings is the first to give one: it does not depend on how the bytes
/// came in.
pub(super) fn examine(bytes: &[u8], limits: Limits) -> Result<Option<Head>, Fault> {
    let empty = empty_lines(bytes);
    if empty > MAX_EMPTY {
        return Err(Fault::EmptyLines);
    }
    let window = bytes.get(..limits.max_header_bytes).unwrap_or(bytes);
    let head = if limits.max_headers <= ON_STACK {
        let mut room = [const { MaybeUninit::uninit() }; ON_STACK];
        parse(window, empty, room.get_mut(..limits.max_headers).unwrap_or_default())?
    } else {
        parse(window, empty, &mut vec![MaybeUninit::uninit(); limits.max_headers])?
    };
    if head.is_none() && bytes.len() >= limits.max_header_bytes {
        let has_request_line = window.iter().skip(empty).any(|byte| *byte == b'\n');
        return Err(if has_request_line { Fault::HeadTooLarge } else { Fault::TargetTooLong });
    }
    Ok(head)
}

/// Whether a head has begun: empty lines before it are none of it.
pub(super) fn has_begun(bytes: &[u8]) -> bool {
    bytes.iter().any(|byte| !matches!(byte, b'\r' | b'\n'))
}

/// How many bytes at the front are empty lines, ended as httparse takes them; the wrong ends are told from the right ones later.
fn empty_lines(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    while let Some(after) = rest.strip_prefix(b"\r\n").or_else(|| rest.strip_prefix(b"\n")) {
        rest = after;
    }
    bytes.len() - rest.len()
}

fn parse<'b>(window: &'b [u8], empty: usize, room: &mut [MaybeUninit<Header<'b>>]) -> Result<Option<Head>, Fault> {
    let mut request = Request::new(&mut []);
    match request.parse_with_uninit_headers(window, room) {
        Ok(Status::Partial) => Ok(None),
        Ok(Status::Complete(len)) => judge(&request, window.get(..len).unwrap_or(window)).map(Some),
        Err(error) => Err(name(error, window.get(empty..).unwrap_or_default())),
    }
}

/// What httparse stumbled over. Only what stands before that place may tell, or the verdict would depend on how much has come.
fn name(error: httparse::Error, line: &[u8]) -> Fault {
    const TLS_HANDSHAKE_RECORD: u8 = 0x16;
    match error {
        httparse::Error::Token | httparse::Error::Status if line.first() == Some(&TLS_HANDSHAKE_RECORD) => Fault::Tls,
        httparse::Error::Token | httparse::Error::Status => Fault::RequestLine,
        httparse::Error::Version if line.starts_with(b"PRI * HTTP/2") => Fault::Http2Preface,
        httparse::Error::Version => Fault::Version,
        httparse::Error::NewLine => Fault::LineEnd,
        httparse::Error::HeaderName => Fault::HeaderName,
        httparse::Error::HeaderValue => Fault::HeaderValue,
        httparse::Error::TooManyHeaders => Fault::TooManyHeaders,
    }
}

/// The rules that httparse leaves to its user.
fn judge(request: &Request<'_, '_>, head: &[u8]) -> Result<Head, Fault> {
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(Fault::RequestLine);
    };
    if has_bare_lf(head) {
        return Err(Fault::LineEnd);
    }
    judge_target(target.as_bytes())?;
    let is_connect = method == "CONNECT";
    let (mut length, mut chunked, mut upgrade) = (None, false, is_connect);
    for Header { name, value } in request.headers.iter() {
        if name.eq_ignore_ascii_case("content-length") {
            if length.replace(parse_length(value)?).is_some() {
                return Err(Fault::RepeatedLength);
            }
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            if minor == 0 {
                return Err(Fault::EncodingInHttp10);
            }
            if chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Fault::Encoding);
            }
            chunked = true;
        } else if name.eq_ignore_ascii_case("upgrade") {
            upgrade |= minor == 1;
        }
    }
    let body = match (length, chunked) {
        (Some(_), true) => return Err(Fault::LengthAndEncoding),
        (None, true) => Framing::Chunked,
        (length, false) => Framing::Length(length.unwrap_or_default()),
    };
    if is_connect && body != Framing::Length(0) {
        return Err(Fault::ConnectWithBody);
    }
    Ok(Head { len: head.len(), body, upgrade })
}

/// httparse takes no CR without its LF: where there are as many of either, no LF is without its CR. Counted so that it becomes vector code.
fn has_bare_lf(head: &[u8]) -> bool {
    const NO_OVERFLOW: usize = i8::MAX as usize;
    head.chunks(NO_OVERFLOW)
        .map(|part| part.iter().fold(0i8, |sum, byte| sum + i8::from(*byte == b'\n') - i8::from(*byte == b'\r')))
        .map(i32::from)
        .sum::<i32>()
        != 0
}

/// 1*DIGIT (RFC 9110 §8.6); a list of equal lengths is none.
fn parse_length(value: &[u8]) -> Result<u64, Fault> {
    if value.is_empty() {
        return Err(Fault::Length);
    }
    value
        .iter()
        .try_fold(0u64, |length, byte| {
            let digit = byte.checked_sub(b'0').filter(|digit| *digit <= 9)?;
            length.checked_mul(10)?.checked_add(digit.into()).filter(|length| *length <= MAX_LENGTH)
        })
        .ok_or(Fault::Length)
}

/// What `http::Uri` would make of it inside hyper, but for what it would drop (a fragment) or take beyond ASCII. The usual form is looked at
/// here, since `Uri` allocates.
fn judge_target(target: &[u8]) -> Result<(), Fault> {
    if target.len() > MAX_TARGET {
        return Err(Fault::TargetTooLong);
    }
    let is_good = if target.first() == Some(&b'/') {
        let mut bytes = target.iter();
        // `all` stops behind the first byte that is none of a path.
        bytes.all(|byte| is_of_path(*byte)) || is_query(target, bytes.as_slice())
    } else {
        target.iter().all(|byte| byte.is_ascii() && *byte != b'#') && Uri::try_from(target).is_ok()
    };
    if is_good { Ok(()) } else { Err(Fault::Target) }
}

/// Whether `rest`, the end of `target`, is a query, `?` before it.
fn is_query(target: &[u8], rest: &[u8]) -> bool {
    let before = target.len() - rest.len();
    target.get(..before).is_some_and(|before| before.ends_with(b"?")) && rest.iter().all(|byte| is_of_query(*byte))
}

fn is_of_path(byte: u8) -> bool {
    matches!(byte, b'!' | b'"' | b'$'..=b';' | b'=' | b'@'..=b'_' | b'a'..=b'~')
}

fn is_of_query(byte: u8) -> bool {
    matches!(byte, b'!' | b'$'..=b';' | b'=' | b'?'..=b'~')
}
