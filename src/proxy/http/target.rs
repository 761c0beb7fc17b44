//! What a request asks for: one host, in one form, or an error where its head could be read in two ways.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use http::header::HOST;
use http::uri::Scheme;
use http::{Method, Version};

use super::headers::Headers;
use super::parts::RequestParts;
use crate::policy::normal_host;

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// The authority that it names.
    pub authority: Authority,
    /// How it names its target.
    pub form: Form,
}

/// The form of a request's target (RFC 9112 §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A path. Requests in HTTP/2 have this form too, those with extended CONNECT (RFC 8441 §4) among them.
    Origin,
    /// A whole URL in HTTP/1, as it is said to a forward proxy.
    Absolute,
    /// Host and port, of CONNECT. The port is there.
    Authority,
    /// `*`, of OPTIONS: no path, but the host as a whole.
    Asterisk,
}

/// The authority that a connection's requests named last, and how they wrote it: nearly always it is that of the next one, byte for byte.
#[derive(Debug, Default)]
pub(super) struct LastAuthority(Mutex<Option<(Box<str>, Authority)>>);

impl LastAuthority {
    /// Longer ones, with zeros before their port, are not kept.
    const LONGEST: usize = 300;

    fn read(&self, text: &str) -> Result<Authority, TargetError> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((written, authority)) = &*last
            && **written == *text
        {
            return Ok(authority.clone());
        }
        let authority = parse(text)?;
        if text.len() <= Self::LONGEST {
            *last = Some((text.into(), authority.clone()));
        }
        Ok(authority)
    }
}

/// Host and port, as RFC 3986 §3.2 has them but without user information.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Authority {
    /// A name in lower case without its closing dot, an IPv4 address, or an IPv6 address in brackets. Empty where the request names none, as
    /// HTTP/1.0 and an empty `Host` do.
    pub host: Arc<str>,
    /// The port, where it was written.
    pub port: Option<u16>,
}

impl Authority {
    /// Whether `text` is how it is written.
    pub(super) fn is_written(&self, text: &[u8]) -> bool {
        match (text.strip_prefix(self.host.as_bytes()), self.port) {
            (Some(rest), None) => rest.is_empty(),
            (Some([b':', digits @ ..]), Some(port)) => {
                !digits.starts_with(b"0") && std::str::from_utf8(digits).is_ok_and(|digits| digits.parse() == Ok(port))
            }
            (Some(_) | None, _) => false,
        }
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// Why nobody can say what a request asks for. Each is a 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TargetError {
    /// RFC 9112 §3.2; in HTTP/2 without `:authority` too (RFC 9113 §8.3.1).
    #[error("the request names no host; since HTTP/1.1 each does, with `Host` or `:authority`")]
    NoHost,
    /// RFC 9112 §3.2.
    #[error("the request has more than one `Host`")]
    SeveralHosts,
    /// RFC 9110 §7.2. Stricter than RFC 3986: no host that is in use has percent-encoding or punctuation but `.`, `-`, `_`.
    #[error("the request's host is neither a name nor an address, with a port or without")]
    InvalidHost,
    /// RFC 9110 §4.2.4.
    #[error("the request's authority has user information; credentials do not belong there")]
    UserInfo,
    /// RFC 9112 §3.2.2 would have us believe the target and not `Host`; the application may believe the other.
    #[error("the request's target and its `Host` name two hosts")]
    TwoHosts,
    /// Another scheme.
    #[error("the request's target has another scheme than `http` and `https`")]
    Scheme,
    /// RFC 9112 §3.2.3.
    #[error("CONNECT asks for something else than `host:port`")]
    Connect,
    /// RFC 9112 §3.2.4.
    #[error("only OPTIONS may ask for `*`")]
    Asterisk,
    /// RFC 9112 §3.2.1.
    #[error("the request's target is neither a path that starts with `/` nor a whole URL")]
    NoPath,
}

/// Reads what a request asks for.
///
/// # Errors
/// The first rule that its target or its `Host` breaks.
pub(super) fn asked(parts: &RequestParts, last: &LastAuthority) -> Result<Asked, TargetError> {
    let form = form(parts)?;
    let target = parts.uri.authority().map(|authority| last.read(authority.as_str())).transpose()?;
    let authority = match (target, host(&parts.headers, last)?) {
        (Some(target), Some(host)) => same(target, &host, parts.uri.scheme())?,
        (Some(target), None) if parts.version != Version::HTTP_11 => target,
        (None, Some(host)) => host,
        (None, None) if parts.version < Version::HTTP_11 => Authority::default(),
        (_, None) => return Err(TargetError::NoHost),
    };
    if form == Form::Authority && authority.port.is_none() {
        return Err(TargetError::Connect);
    }
    Ok(Asked { authority, form })
}

fn form(parts: &RequestParts) -> Result<Form, TargetError> {
    let (uri, is_connect) = (&parts.uri, parts.method == Method::CONNECT);
    let is_http2 = parts.version == Version::HTTP_2;
    if uri.scheme().is_some_and(|scheme| *scheme != Scheme::HTTP && *scheme != Scheme::HTTPS) {
        return Err(TargetError::Scheme);
    }
    match uri.path_and_query().map(|path| path.as_str()) {
        None if is_connect => Ok(Form::Authority),
        None => Err(TargetError::NoPath),
        Some(_) if is_connect && !is_http2 => Err(TargetError::Connect),
        Some("*") if parts.method == Method::OPTIONS => Ok(Form::Asterisk),
        Some("*") => Err(TargetError::Asterisk),
        Some(path) if !path.starts_with('/') => Err(TargetError::NoPath),
        Some(_) if uri.scheme().is_some() && !is_http2 => Ok(Form::Absolute),
        Some(_) => Ok(Form::Origin),
    }
}

fn host(headers: &Headers, last: &LastAuthority) -> Result<Option<Authority>, TargetError> {
    let mut values = headers.get_all(&HOST);
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(_), Some(_)) => Err(TargetError::SeveralHosts),
        // RFC 9112 §3.2: what a client sends whose target has no authority.
        (Some(host), None) if host.is_empty() => Ok(Some(Authority::default())),
        (Some(host), None) => last.read(host.to_str().map_err(|_| TargetError::InvalidHost)?).map(Some),
    }
}

/// One authority of two that must agree, a port left out being the scheme's (RFC 9110 §4.2.3); of CONNECT, which has no scheme, the one
/// asked for: some clients leave it out of `Host`.
fn same(target: Authority, host: &Authority, scheme: Option<&Scheme>) -> Result<Authority, TargetError> {
    let default = match scheme {
        Some(scheme) if *scheme == Scheme::HTTPS => Some(443),
        Some(_) => Some(80),
        None => target.port,
    };
    let agree = target.host == host.host && target.port.or(default) == host.port.or(default);
    if agree { Ok(target) } else { Err(TargetError::TwoHosts) }
}

fn parse(text: &str) -> Result<Authority, TargetError> {
    // Byte by byte: a search made for long texts is dearer on these.
    let find = |wanted: u8| text.bytes().position(|byte| byte == wanted);
    if find(b'@').is_some() {
        return Err(TargetError::UserInfo);
    }
    let end = match text.starts_with('[') {
        true => find(b']').map(|bracket| bracket + 1),
        false => find(b':'),
    };
    let (host, port) = text.split_at_checked(end.unwrap_or(text.len())).unwrap_or((text, ""));
    let host = normal_host(host).map_err(|_| TargetError::InvalidHost)?.into();
    Ok(Authority { host, port: self::port(port)? })
}

/// What stands behind the host: nothing, `:`, or `:` and digits (RFC 3986 §3.2.3).
fn port(text: &str) -> Result<Option<u16>, TargetError> {
    match text.strip_prefix(':') {
        None if text.is_empty() => Ok(None),
        Some("") => Ok(None),
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().ok().filter(|port| *port != 0).map(Some).ok_or(TargetError::InvalidHost)
        }
        _ => Err(TargetError::InvalidHost),
    }
}

#[cfg(test)]
mod tests;
