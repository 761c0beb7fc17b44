//! A request's head: whether it is whole and good, what it says, and where its message ends.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Uri, Version};
use httparse::{Header, Status};

use super::message::{Body, said_of_connection, tokens, with_room};
use super::{Fault, Limits};
use crate::proxy::http::headers::{self, Headers};
use crate::proxy::http::parts::RequestParts;

/// A good head.
#[derive(Debug)]
pub(super) struct RequestHead {
    /// Its length in bytes, with the empty lines before it and the one that ends it.
    pub(super) len: usize,
    pub(super) parts: RequestParts,
    pub(super) body: Body,
    /// The connection may go on after the answer (RFC 9112 §9.3).
    pub(super) keeps_alive: bool,
    /// The client takes trailers (RFC 9110 §6.5.1).
    pub(super) takes_trailers: bool,
    /// The client waits for leave to send the body (RFC 9110 §10.1.1).
    pub(super) expects_leave: bool,
}

/// A few empty lines before a request line are taken: some clients send one after a body (RFC 9112 §2.2).
const MAX_EMPTY: usize = 4 * b"\r\n".len();

/// `http::Uri` keeps offsets in 16 bits.
const MAX_TARGET: usize = u16::MAX as usize - 1;

/// A length that no body reaches, and with room above it: sums with it do not overflow.
const MAX_LENGTH: u64 = u64::MAX / 2;

/// Looks at what has come of a head. `None`: it is good so far and not yet whole.
///
/// The verdict on some bytes is the verdict on whichever of their beginnings is the first to give one: it does not depend on how the bytes
/// came in.
pub(super) fn examine(bytes: &Bytes, limits: Limits) -> Result<Option<RequestHead>, Fault> {
    let empty = empty_lines(bytes);
    if empty > MAX_EMPTY {
        return Err(Fault::EmptyLines);
    }
    let window = bytes.get(..limits.max_header_bytes).unwrap_or(bytes);
    let head = with_room(limits, |room| parse(bytes, window, empty, room))?;
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

fn parse<'b>(
    bytes: &Bytes,
    window: &'b [u8],
    empty: usize,
    room: &mut [MaybeUninit<Header<'b>>],
) -> Result<Option<RequestHead>, Fault> {
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(window, room) {
        Ok(Status::Partial) => Ok(None),
        Ok(Status::Complete(len)) => judge(&request, bytes, window.get(..len).unwrap_or(window)).map(Some),
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
fn judge(request: &httparse::Request<'_, '_>, bytes: &Bytes, head: &[u8]) -> Result<RequestHead, Fault> {
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(Fault::RequestLine);
    };
    if has_bare_lf(head) {
        return Err(Fault::LineEnd);
    }
    judge_target(target.as_bytes())?;
    let mut framing = Framing { minor, length: None, is_chunked: false };
    let (mut stays_open, mut takes_trailers, mut expects_leave) = (None, false, false);
    let mut headers = Headers::with_room(request.headers.len());
    for Header { name, value } in request.headers.iter() {
        let name = headers::name(name).map_err(|_| Fault::HeaderName)?;
        match name {
            http::header::CONTENT_LENGTH | http::header::TRANSFER_ENCODING => framing.learn(&name, value)?,
            http::header::CONNECTION => stays_open = said_of_connection(stays_open, value),
            http::header::TE => takes_trailers |= tokens(value).any(|one| one.eq_ignore_ascii_case(b"trailers")),
            http::header::EXPECT => expects_leave |= minor > 0 && value.eq_ignore_ascii_case(b"100-continue"),
            _ => {}
        }
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(value)).map_err(|_| Fault::HeaderValue)?;
        headers.append(name, value);
    }
    let body = framing.body()?;
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| Fault::RequestLine)?;
    if method == Method::CONNECT && !body.has_ended() {
        return Err(Fault::ConnectWithBody);
    }
    let (keeps_alive, expects_leave) = (stays_open.unwrap_or(minor > 0), expects_leave && !body.has_ended());
    let uri = Uri::from_maybe_shared(bytes.slice_ref(target.as_bytes())).map_err(|_| Fault::Target)?;
    let version = if minor == 0 { Version::HTTP_10 } else { Version::HTTP_11 };
    let parts = RequestParts { method, uri, version, headers, protocol: None, on_upgrade: None };
    Ok(RequestHead { len: head.len(), parts, body, keeps_alive, takes_trailers, expects_leave })
}

/// What the headers of a request say of the end of its body (RFC 9112 §6.3).
struct Framing {
    minor: u8,
    length: Option<u64>,
    is_chunked: bool,
}

impl Framing {
    fn learn(&mut self, name: &HeaderName, value: &[u8]) -> Result<(), Fault> {
        if *name == http::header::CONTENT_LENGTH {
            return if self.length.replace(parse_length(value)?).is_some() {
                Err(Fault::RepeatedLength)
            } else {
                Ok(())
            };
        }
        if self.minor == 0 {
            return Err(Fault::EncodingInHttp10);
        }
        if self.is_chunked || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Fault::Encoding);
        }
        self.is_chunked = true;
        Ok(())
    }

    fn body(&self) -> Result<Body, Fault> {
        match (self.length, self.is_chunked) {
            (Some(_), true) => Err(Fault::LengthAndEncoding),
            (None, true) => Ok(Body::chunked()),
            (length, false) => Ok(Body::of_length(length.unwrap_or_default())),
        }
    }
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
pub(super) fn parse_length(value: &[u8]) -> Result<u64, Fault> {
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

/// What `http::Uri` takes, but for what it would drop (a fragment) or take beyond ASCII.
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
