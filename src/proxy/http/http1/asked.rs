//! What is kept of a request while it is answered: on it depends the form of the answer.

use bytes::Bytes;
use http::{Method, StatusCode, Version};
use http_body::{Body as _, Frame};

use super::outbox::Framing;
use super::request_head::RequestHead;
use crate::proxy::http::body::AnswerBody;

/// What the form of an answer depends on in its request.
pub(super) struct Asked {
    pub(super) version: Version,
    is_head: bool,
    is_connect: bool,
    takes_trailers: bool,
}

impl Asked {
    pub(super) fn of(head: &RequestHead) -> Self {
        Self {
            version: head.parts.version,
            is_head: head.parts.method == Method::HEAD,
            is_connect: head.parts.method == Method::CONNECT,
            takes_trailers: head.takes_trailers,
        }
    }

    /// Whether other bytes than HTTP's follow the head of an answer (RFC 9110 §7.8, §9.3.6).
    pub(super) fn gives_over(&self, status: StatusCode) -> bool {
        status == StatusCode::SWITCHING_PROTOCOLS || (self.is_connect && status.is_success())
    }

    /// How the body of an answer is framed (RFC 9112 §6.3), and whether its head has to say that there is none.
    pub(super) fn framing(&self, status: StatusCode, body: &AnswerBody) -> (Framing, bool) {
        let has_none = self.is_head
            || status.is_informational()
            || (self.is_connect && status.is_success())
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        match body.size_hint().exact() {
            _ if has_none => (Framing::Nothing, false),
            Some(0) => (Framing::Nothing, true),
            Some(length) => (Framing::Length(length), false),
            None if self.version == Version::HTTP_10 => (Framing::UntilEnd, false),
            None => (Framing::Chunked, false),
        }
    }

    /// Whether the client wants this part of a body (RFC 9110 §6.5.1).
    pub(super) fn takes(&self, frame: &Frame<Bytes>) -> bool {
        self.takes_trailers || !frame.is_trailers()
    }
}
