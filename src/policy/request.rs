//! What a rule may ask of a request beside its peer.

use http::Method;

use super::clause::{self, Clause};
use super::{Action, HostPattern, PathPattern, RequestPath};

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

/// Which list of [`Requests`] holds no match, in the order in which they are asked: from where a request goes to what it does there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Miss {
    Host,
    Path,
    Method,
}

impl Requests {
    /// Whether it speaks of every request.
    pub fn are_all(&self) -> bool {
        self.methods.is_empty() && self.paths.is_empty() && self.hosts.is_empty()
    }

    /// Whether it speaks of `request`, in a rule with this action; else the first list without a match.
    pub(super) fn compare(&self, request: &Request<'_>, action: Action) -> Result<(), Miss> {
        let path_matches = |pattern: &PathPattern| {
            request.path.is_some_and(|path| match action {
                Action::Allow => pattern.matches(path),
                Action::Deny => pattern.matches_any_reading(path),
            })
        };
        if !holds(&self.hosts, |pattern| pattern.matches(request.host)) {
            return Err(Miss::Host);
        }
        if !holds(&self.paths, path_matches) {
            return Err(Miss::Path);
        }
        if !holds(&self.methods, |method| method == request.method) {
            return Err(Miss::Method);
        }
        Ok(())
    }

    /// What `request` missed, for people.
    pub(super) fn clause(&self, request: &Request<'_>, miss: Miss) -> Clause {
        match miss {
            Miss::Host => Clause::Host { expected: clause::any_of(&self.hosts), asked: clause::cut(request.host) },
            Miss::Path => Clause::Path {
                expected: clause::any_of(&self.paths),
                asked: request.path.map(|path| clause::cut(path.as_str())),
            },
            Miss::Method => {
                Clause::Method { expected: clause::any_of(&self.methods), asked: clause::cut(request.method.as_str()) }
            }
        }
    }
}

fn holds<T>(list: &[T], matches: impl FnMut(&T) -> bool) -> bool {
    list.is_empty() || list.iter().any(matches)
}
