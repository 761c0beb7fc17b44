//! What a rule may ask of a request beside its peer.

use http::Method;

use super::{HostPattern, PathPattern, RequestPath};

/// A request as rules see it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its host, in lower case, without port and closing dot.
    pub host: &'a str,
    /// Its path, as it will be forwarded; `None` for a target without one (`OPTIONS *`, CONNECT), which no rule with paths matches.
    pub path: Option<&'a RequestPath<'a>>,
}

/// The requests that a rule speaks of. Every list that is not empty must hold a match; with none, it speaks of every request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// Methods.
    pub methods: Vec<Method>,
    /// Paths.
    pub paths: Vec<PathPattern>,
    /// Hosts.
    pub hosts: Vec<HostPattern>,
}

impl Requests {
    /// Whether it speaks of every request.
    pub fn are_all(&self) -> bool {
        self.methods.is_empty() && self.paths.is_empty() && self.hosts.is_empty()
    }
}
