//! The heads of a request and of an answer on their way through, whatever protocol they came in and go out in.

use http::{Method, Request, Response, StatusCode, Uri, Version, request, response};
use hyper::ext::Protocol;
use hyper::upgrade::OnUpgrade;

use super::headers::Headers;

/// The head of a request.
#[derive(Debug, Default)]
pub(super) struct RequestParts {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) version: Version,
    pub(super) headers: Headers,
    /// What a stream of HTTP/2 shall carry, of extended CONNECT (RFC 8441 §4).
    pub(super) protocol: Option<Protocol>,
    /// Hands over the stream of HTTP/2 on which it came.
    pub(super) on_upgrade: Option<OnUpgrade>,
}

impl From<request::Parts> for RequestParts {
    fn from(mut parts: request::Parts) -> Self {
        Self {
            method: parts.method,
            uri: parts.uri,
            version: parts.version,
            headers: parts.headers.into(),
            protocol: parts.extensions.remove(),
            on_upgrade: parts.extensions.remove(),
        }
    }
}

impl RequestParts {
    /// The request that HTTP/2 sends, with this body.
    pub(super) fn with_body<B>(self, body: B) -> Request<B> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.version_mut() = self.version;
        *request.headers_mut() = self.headers.into();
        if let Some(protocol) = self.protocol {
            request.extensions_mut().insert(protocol);
        }
        request
    }
}

/// The head of an answer.
#[derive(Debug, Default)]
pub(super) struct AnswerParts {
    pub(super) status: StatusCode,
    pub(super) version: Version,
    pub(super) headers: Headers,
    /// Hands over the stream of HTTP/2 on which it came.
    pub(super) on_upgrade: Option<OnUpgrade>,
}

impl From<response::Parts> for AnswerParts {
    fn from(mut parts: response::Parts) -> Self {
        Self {
            status: parts.status,
            version: parts.version,
            headers: parts.headers.into(),
            on_upgrade: parts.extensions.remove(),
        }
    }
}

impl AnswerParts {
    /// The answer that HTTP/2 says, with this body.
    pub(super) fn with_body<B>(self, body: B) -> Response<B> {
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        *response.version_mut() = self.version;
        *response.headers_mut() = self.headers.into();
        response
    }
}
