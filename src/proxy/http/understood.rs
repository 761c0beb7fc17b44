//! A request as it was understood: which host, which path as it will be forwarded, and whether other bytes shall follow than HTTP's.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Uri, Version, header};

use super::answer::Class;
use super::forwarded::Ids;
use super::headers::Headers;
use super::hygiene;
use super::parts::RequestParts;
use super::request::Refused;
use super::target::{self, Authority, Form, LastAuthority};
use crate::policy::RequestPath;

/// What is needed of a request to decide on it and to send it on.
#[derive(Debug)]
pub(super) struct Understood {
    /// As rules see it: a WebSocket is opened by GET, also where HTTP/2 calls it CONNECT.
    pub(super) method: Method,
    pub(super) authority: Authority,
    /// Path and query as they are sent on.
    pub(super) uri: Uri,
    pub(super) form: Form,
    pub(super) wish: Wish,
}

/// What shall follow the head of the answer.
#[derive(Clone, Debug)]
pub(super) enum Wish {
    /// A body.
    Answer,
    /// The bytes of another protocol on the whole connection (RFC 9110 §7.8).
    Upgrade(HeaderValue),
    /// Those of a WebSocket, say, on one stream of HTTP/2 (RFC 8441).
    WebSocket,
    /// Any bytes (RFC 9110 §9.3.6).
    Connect,
}

impl Understood {
    /// Understands a request. Without a target that `upgrades`, a wish for another protocol is passed over, as it may be (RFC 9110 §7.8).
    ///
    /// # Errors
    /// What could be understood in two ways, or in none.
    pub(super) fn of(parts: &RequestParts, upgrades: bool, last: &LastAuthority) -> Result<Self, Refused> {
        let asked = target::asked(parts, last).map_err(|error| Refused::new(Class::BadRequest, &error))?;
        let protocol = parts.protocol.as_ref();
        let wish = match (protocol, &asked.form) {
            (Some(protocol), _) if hygiene::is_opaque(protocol.as_ref()) => Wish::WebSocket,
            (Some(protocol), _) => {
                let reason = format!("nobody is led on to {:?} by extended CONNECT", protocol.as_str());
                return Err(Refused::new(Class::BadRequest, &reason));
            }
            (None, Form::Authority) => Wish::Connect,
            // HTTP/1.0 knows no `Upgrade` (RFC 9110 §7.8), nor does HTTP/2 (RFC 9113 §8.6).
            (None, _) if parts.version != Version::HTTP_11 || !upgrades => Wish::Answer,
            (None, _) => hygiene::upgrade(&parts.headers).map_or(Wish::Answer, Wish::Upgrade),
        };
        let uri = match asked.form {
            Form::Origin | Form::Absolute => path_and_query(&parts.uri)?,
            Form::Authority => parts.uri.clone(),
            // Over HTTP/2 scheme and authority stand beside it, which HTTP/1.1 would write before it.
            Form::Asterisk => Uri::from_static("*"),
        };
        let method = if matches!(wish, Wish::WebSocket) { Method::GET } else { parts.method.clone() };
        Ok(Self { method, authority: asked.authority, uri, form: asked.form, wish })
    }

    /// What is told of a request that was not understood.
    pub(super) fn not(parts: &RequestParts) -> Self {
        let (method, uri) = (parts.method.clone(), parts.uri.clone());
        Self { method, authority: Authority::default(), uri, form: Form::Authority, wish: Wish::Answer }
    }

    /// The path, for rules; `None` where none was asked for.
    pub(super) fn path(&self) -> Option<RequestPath<'_>> {
        match self.form {
            Form::Origin | Form::Absolute => RequestPath::parse(self.uri.path()).ok(),
            Form::Authority | Form::Asterisk => None,
        }
    }
}

/// The target in origin form, its path normalised: what rules see is what the application sees.
fn path_and_query(uri: &Uri) -> Result<Uri, Refused> {
    let bad = |error: &dyn ToString| Refused::new(Class::BadRequest, &error.to_string());
    let path = RequestPath::parse(uri.path()).map_err(|error| bad(&error))?;
    let as_asked = match uri.path_and_query() {
        Some(asked) if path.as_str() == asked.path() => asked.clone(),
        asked => {
            let query = asked.and_then(PathAndQuery::query);
            let text = query.map_or_else(|| path.as_str().to_owned(), |query| format!("{}?{query}", path.as_str()));
            PathAndQuery::try_from(text).map_err(|error| bad(&error))?
        }
    };
    Ok(Uri::from(as_asked))
}

impl Wish {
    /// Writes into a request's headers what HTTP/1.1 needs to hear of it, after what was meant for this hop alone was taken out.
    pub(super) fn write(&self, headers: &mut Headers, ids: &Ids) {
        match self {
            Self::Upgrade(protocol) => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
                headers.insert(header::UPGRADE, protocol.clone());
            }
            // HTTP/2 has no key; the one we make up is for the server to answer, and says nothing (RFC 8441 §5).
            Self::WebSocket => {
                let key = STANDARD.encode(ids.make().to_bytes());
                if let Ok(key) = HeaderValue::try_from(key) {
                    headers.insert(header::SEC_WEBSOCKET_KEY, key);
                }
            }
            Self::Answer | Self::Connect => {
                if headers.contains(&header::TE) {
                    headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
                }
            }
        }
    }
}
