//! The head of a target's answer. The target is chosen by the operator and need not be as strict as its callers; what could be framed in two
//! ways is no answer.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderValue, Method, StatusCode, Version};
use httparse::{Header, ParserConfig, Response, Status};

use super::Limits;
use super::message::{Body, said_of_connection, with_room};
use super::request_head::parse_length;
use crate::proxy::http::headers::{self, Headers};
use crate::proxy::http::parts::AnswerParts;

/// The head of an answer.
#[derive(Debug)]
pub(super) struct AnswerHead {
    /// Its length in bytes.
    pub(super) len: usize,
    pub(super) parts: AnswerParts,
    pub(super) body: Body,
    /// The connection may go on after the answer (RFC 9112 §9.3).
    pub(super) keeps_alive: bool,
}

/// Why a target's bytes are no answer. The sentences name no byte of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoAnswer {
    #[error("what it said is no answer of HTTP/1.1: {0}")]
    Unparsable(httparse::Error),
    #[error("the head of its answer is longer than `max_header_bytes`")]
    TooLong,
    #[error("its answer has more headers than `max_headers`")]
    TooManyHeaders,
    #[error("the length of its answer is not one decimal number")]
    Length,
    #[error("its answer has both Content-Length and Transfer-Encoding, or one of them twice")]
    FramedTwice,
    #[error("its answer is encoded in another way than `chunked`, once")]
    Encoding,
}

/// Looks at what has come of the head of an answer to a request of `method`. `None`: it is good so far and not yet whole.
pub(super) fn examine(bytes: &Bytes, method: &Method, limits: Limits) -> Result<Option<AnswerHead>, NoAnswer> {
    let window = bytes.get(..limits.max_header_bytes).unwrap_or(bytes);
    let head = with_room(limits, |room| parse(bytes, window, method, room))?;
    if head.is_none() && bytes.len() >= limits.max_header_bytes {
        return Err(NoAnswer::TooLong);
    }
    Ok(head)
}

fn parse<'b>(
    bytes: &Bytes,
    window: &'b [u8],
    method: &Method,
    room: &mut [MaybeUninit<Header<'b>>],
) -> Result<Option<AnswerHead>, NoAnswer> {
    let mut response = Response::new(&mut []);
    match ParserConfig::default().parse_response_with_uninit_headers(&mut response, window, room) {
        Ok(Status::Partial) => Ok(None),
        Ok(Status::Complete(len)) => read(&response, bytes, method, len).map(Some),
        Err(httparse::Error::TooManyHeaders) => Err(NoAnswer::TooManyHeaders),
        Err(error) => Err(NoAnswer::Unparsable(error)),
    }
}

fn read(response: &Response<'_, '_>, bytes: &Bytes, method: &Method, len: usize) -> Result<AnswerHead, NoAnswer> {
    let unparsable = NoAnswer::Unparsable;
    let (Some(code), Some(minor)) = (response.code, response.version) else {
        return Err(unparsable(httparse::Error::Status));
    };
    let status = StatusCode::from_u16(code).map_err(|_| unparsable(httparse::Error::Status))?;
    let (mut length, mut is_chunked, mut stays_open) = (None, false, None);
    let mut headers = Headers::with_room(response.headers.len());
    for Header { name, value } in response.headers.iter() {
        let name = headers::name(name).map_err(|_| unparsable(httparse::Error::HeaderName))?;
        match name {
            CONTENT_LENGTH if length.is_some() => return Err(NoAnswer::FramedTwice),
            CONTENT_LENGTH => length = Some(parse_length(value).map_err(|_| NoAnswer::Length)?),
            TRANSFER_ENCODING => {
                if is_chunked || minor == 0 || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(NoAnswer::Encoding);
                }
                is_chunked = true;
            }
            CONNECTION => stays_open = said_of_connection(stays_open, value),
            _ => {}
        }
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(value));
        let value = value.map_err(|_| unparsable(httparse::Error::HeaderValue))?;
        headers.append(name, value);
    }
    let has_none = *method == Method::HEAD
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let body = match (length, is_chunked) {
        (Some(_), true) => return Err(NoAnswer::FramedTwice),
        _ if has_none => Body::Ended,
        (None, true) => Body::chunked(),
        (Some(length), false) => Body::of_length(length),
        (None, false) => Body::UntilEnd,
    };
    // Some send the body that they announce where there is none; what comes then must not be the next answer.
    let is_odd = status == StatusCode::NO_CONTENT && (is_chunked || length.is_some_and(|length| length > 0));
    let keeps_alive = stays_open.unwrap_or(minor > 0) && !matches!(body, Body::UntilEnd) && !is_odd;
    let version = if minor == 0 { Version::HTTP_10 } else { Version::HTTP_11 };
    Ok(AnswerHead { len, parts: AnswerParts { status, version, headers, on_upgrade: None }, body, keeps_alive })
}
