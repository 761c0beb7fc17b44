//! The headers of a message, line by line in the order in which they came. They are few, and bounded: to look through all of them is cheaper than an
//! index of them, which would be made and thrown away for each message.

use http::header::InvalidHeaderName;
use http::{HeaderMap, HeaderName, HeaderValue};

/// The headers of a request or of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    lines: Vec<(HeaderName, HeaderValue)>,
}

/// How many lines a message gets from us, about.
const ADDED: usize = 10;

impl Headers {
    /// None, with room for so many and for those that we add.
    pub(super) fn with_room(count: usize) -> Self {
        Self { lines: Vec::with_capacity(count + ADDED) }
    }

    /// How many lines there are.
    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    /// The lines, in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        self.lines.iter().map(|(name, value)| (name, value))
    }

    /// The name of each line.
    pub(super) fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.lines.iter().map(|(name, _)| name)
    }

    /// The value in the first line of that name.
    pub(super) fn get(&self, name: &HeaderName) -> Option<&HeaderValue> {
        self.get_all(name).next()
    }

    /// The value in the first line of that name, to be changed.
    pub(super) fn get_mut(&mut self, name: &HeaderName) -> Option<&mut HeaderValue> {
        self.lines.iter_mut().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// The values in all lines of that name.
    pub(super) fn get_all(&self, name: &HeaderName) -> impl Iterator<Item = &HeaderValue> {
        self.lines.iter().filter(move |(known, _)| known == name).map(|(_, value)| value)
    }

    /// Whether there is a line of that name.
    pub(super) fn contains(&self, name: &HeaderName) -> bool {
        self.names().any(|known| known == name)
    }

    /// Adds a line, whatever there is of that name.
    pub(super) fn append(&mut self, name: HeaderName, value: HeaderValue) {
        self.lines.push((name, value));
    }

    /// Makes `value` the only one of that name, in the place of the first.
    pub(super) fn insert(&mut self, name: HeaderName, value: HeaderValue) {
        if !self.contains(&name) {
            return self.append(name, value);
        }
        let mut fresh = Some(value);
        self.lines.retain_mut(|(known, value)| *known != name || fresh.take().map(|fresh| *value = fresh).is_some());
    }

    /// Adds a line where there is none of that name.
    pub(super) fn insert_absent(&mut self, name: HeaderName, value: impl FnOnce() -> HeaderValue) {
        if !self.contains(&name) {
            self.lines.push((name, value()));
        }
    }

    /// Removes all lines of that name.
    pub(super) fn remove(&mut self, name: &HeaderName) {
        self.retain(|known| known != name);
    }

    /// Keeps the lines of those names alone, in one pass however many go.
    pub(super) fn retain(&mut self, mut keeps: impl FnMut(&HeaderName) -> bool) {
        self.lines.retain(|(name, _)| keeps(name));
    }
}

/// What proxies put into nearly every request, and `http` has no number for: to make such a name anew takes an allocation.
static OFTEN: [HeaderName; 7] = [
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
];

/// The name of a line, as it was written.
///
/// # Errors
/// When it is none.
pub(super) fn name(written: &str) -> Result<HeaderName, InvalidHeaderName> {
    let may_be = written.starts_with(['x', 't']);
    match OFTEN.iter().find(|name| may_be && name.as_str() == written) {
        Some(name) => Ok(name.clone()),
        None => HeaderName::from_bytes(written.as_bytes()),
    }
}

impl From<HeaderMap> for Headers {
    fn from(map: HeaderMap) -> Self {
        let mut headers = Self::with_room(map.len());
        for (name, value) in map {
            // A name is told with its first value alone.
            let name = name.or_else(|| headers.lines.last().map(|(name, _)| name.clone()));
            headers.lines.extend(name.map(|name| (name, value)));
        }
        headers
    }
}

impl From<Headers> for HeaderMap {
    fn from(headers: Headers) -> Self {
        let mut map = Self::try_with_capacity(headers.len()).unwrap_or_default();
        for (name, value) in headers.lines {
            let _ = map.try_append(name, value); // no message has as many as a map cannot hold
        }
        map
    }
}

#[cfg(test)]
mod tests;
