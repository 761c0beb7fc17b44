//! What we answer ourselves: a status, a class, an ID to find the reason by in our log; never the reason.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use http_body_util::Full;

use super::forwarded::Id;
use super::headers::Headers;
use super::identity::visible;
use super::parts::AnswerParts;
use crate::metrics::RequestOutcome;

/// Carries the ID of an answer that is ours and not the application's.
pub(super) const SVIDGATE_ID: HeaderName = HeaderName::from_static("svidgate-id");

/// Why we answer ourselves, as much of it as the client may know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Class {
    /// The request breaks a rule of HTTP.
    BadRequest,
    /// The policy does not let this request in.
    Denied,
    /// No route is for this host.
    NoRoute,
    /// A method that we do not pass on.
    MethodNotAllowed,
    /// The request did not come in time.
    RequestTimeout,
    /// The body is longer than allowed.
    TooLarge,
    /// The head is longer than allowed.
    HeadersTooLarge,
    /// The target could not be reached, is not who it should be, or gave no valid answer.
    UpstreamFailed,
    /// We are at a limit of our own.
    Overloaded,
    /// The target gave no answer in time.
    UpstreamTimeout,
    /// The request goes round in a circle.
    Loop,
}

impl Class {
    /// Its word: in the answer as in the log and in metrics.
    pub(super) fn word(self) -> &'static str {
        self.outcome().as_str()
    }

    /// Its status. A 405 comes without `Allow`: what the application allows only it knows.
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::Denied | Self::NoRoute => StatusCode::FORBIDDEN,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::UpstreamFailed => StatusCode::BAD_GATEWAY,
            Self::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
            Self::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::Loop => StatusCode::LOOP_DETECTED,
        }
    }

    /// How a request ends that is answered so.
    pub(super) fn outcome(self) -> RequestOutcome {
        match self {
            Self::BadRequest => RequestOutcome::BadRequest,
            Self::Denied => RequestOutcome::Denied,
            Self::NoRoute => RequestOutcome::NoRoute,
            Self::MethodNotAllowed => RequestOutcome::MethodNotAllowed,
            Self::RequestTimeout => RequestOutcome::RequestTimeout,
            Self::TooLarge => RequestOutcome::TooLarge,
            Self::HeadersTooLarge => RequestOutcome::HeadersTooLarge,
            Self::UpstreamFailed => RequestOutcome::UpstreamFailed,
            Self::Overloaded => RequestOutcome::Overloaded,
            Self::UpstreamTimeout => RequestOutcome::UpstreamTimeout,
            Self::Loop => RequestOutcome::Loop,
        }
    }

    /// Its gRPC status. A timeout is no UNAVAILABLE, which clients try again: the target may have done what was asked.
    pub(super) fn grpc_status(self) -> u16 {
        match self {
            Self::RequestTimeout | Self::UpstreamTimeout => 4, // DEADLINE_EXCEEDED
            Self::Denied | Self::NoRoute => 7,                 // PERMISSION_DENIED
            Self::TooLarge | Self::HeadersTooLarge => 8,       // RESOURCE_EXHAUSTED
            Self::MethodNotAllowed => 12,                      // UNIMPLEMENTED
            Self::BadRequest | Self::Loop => 13,               // INTERNAL
            Self::UpstreamFailed | Self::Overloaded => 14,     // UNAVAILABLE
        }
    }
}

/// What an answer of ours depends on in a request.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asker {
    is_grpc: bool,
    is_head: bool,
}

impl Asker {
    pub(super) fn of(method: &Method, headers: &Headers) -> Self {
        // gRPC asks with POST alone. Its answer is a 200, and that to a CONNECT would open the tunnel.
        Self { is_grpc: method == Method::POST && is_grpc(headers), is_head: method == Method::HEAD }
    }
}

/// One answer of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// Why.
    pub class: Class,
    /// By which our log has the reason.
    pub id: Id,
}

impl Answer {
    /// The answer to a request: `application/problem+json` (RFC 9457), or for gRPC a status alone, in
    /// trailers without a body before them.
    pub(super) fn to(self, asker: Asker) -> (AnswerParts, Full<Bytes>) {
        if asker.is_grpc {
            return (self.grpc(), Full::default());
        }
        let (mut parts, body) = (AnswerParts { status: self.class.status(), ..AnswerParts::default() }, self.problem());
        self.fill(&mut parts.headers, HeaderValue::from_static("application/problem+json"), body.len());
        (parts, if asker.is_head { Full::default() } else { Full::from(body) })
    }

    /// The whole answer as HTTP/1.1, and the end of the connection: for a head that was not understood, so that nobody knows where the next
    /// one begins.
    pub(super) fn http1_bytes(self) -> Vec<u8> {
        let status = self.class.status();
        let mut headers = Headers::default();
        let body = self.problem();
        self.fill(&mut headers, HeaderValue::from_static("application/problem+json"), body.len());
        headers.append(CONNECTION, HeaderValue::from_static("close"));
        let reason = status.canonical_reason().unwrap_or_default();
        let mut bytes = format!("HTTP/1.1 {} {reason}\r\n", status.as_str()).into_bytes();
        for (name, value) in headers.iter() {
            bytes.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        bytes.extend([b"\r\n", body.as_bytes()].concat());
        bytes
    }

    fn fill(self, headers: &mut Headers, content_type: HeaderValue, length: usize) {
        headers.append(CONTENT_TYPE, content_type);
        headers.append(CONTENT_LENGTH, HeaderValue::from(length));
        headers.append(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.append(SVIDGATE_ID, visible(&self.id.to_string()));
    }

    fn grpc(self) -> AnswerParts {
        let mut parts = AnswerParts::default();
        let headers = &mut parts.headers;
        self.fill(headers, HeaderValue::from_static("application/grpc"), 0);
        headers.append(HeaderName::from_static("grpc-status"), HeaderValue::from(self.class.grpc_status()));
        // The ID once more: most gRPC clients show the message and no header.
        let message = format!("{}, svidgate-id {}", self.class.word(), self.id);
        headers.append(HeaderName::from_static("grpc-message"), visible(&message));
        parts
    }

    /// Nothing in it needs escaping: words of ours, and hexadecimal.
    fn problem(self) -> String {
        let (status, class, id) = (self.class.status(), self.class.word(), self.id);
        let title = status.canonical_reason().unwrap_or_default();
        let status = status.as_str();
        format!(r#"{{"type":"about:blank","title":"{title}","status":{status},"class":"{class}","id":"{id}"}}"#)
    }
}

/// Whether a request is gRPC (the `Content-Type` of gRPC over HTTP/2). gRPC-Web is not: it has no trailers, and its clients know statuses.
fn is_grpc(headers: &Headers) -> bool {
    const PREFIX: &[u8] = b"application/grpc";
    let Some((prefix, rest)) =
        headers.get(&CONTENT_TYPE).and_then(|value| value.as_bytes().split_at_checked(PREFIX.len()))
    else {
        return false;
    };
    prefix.eq_ignore_ascii_case(PREFIX) && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
}

#[cfg(test)]
mod tests;
