//! The host of a request, and patterns over it: exact, `*.suffix`, with captured labels as in `{0}.{1}.svc`, or `*` for any.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv6Addr;

use super::template::{self, Label};
use super::trie::{Key, Node, Parts, Step, Tail};

/// The longest host, in bytes (RFC 1035 §3.1, as text without the closing dot).
const MAX_HOST: usize = 253;

/// The host of a request as patterns look at it: in lower case, without closing dot, an IPv6 address in its one canonical form (RFC 5952) and
/// in brackets. Borrows where there is nothing to change.
///
/// # Errors
/// When it is neither a name nor an address; a port is not expected here.
pub fn normal_host(host: &str) -> Result<Cow<'_, str>, HostError> {
    if host.is_empty() {
        return Err(HostError::Empty);
    }
    if host.starts_with('[') {
        return normal_ipv6(host);
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    if name.len() > MAX_HOST {
        return Err(HostError::TooLong);
    }
    name.split('.').try_for_each(check_label)?;
    let is_lower = !name.bytes().any(|byte| byte.is_ascii_uppercase());
    Ok(if is_lower { Cow::Borrowed(name) } else { Cow::Owned(name.to_ascii_lowercase()) })
}

fn normal_ipv6(host: &str) -> Result<Cow<'_, str>, HostError> {
    let inside = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let address: Ipv6Addr = inside.and_then(|inside| inside.parse().ok()).ok_or(HostError::Ipv6)?;
    let normal = format!("[{address}]");
    Ok(if normal == host { Cow::Borrowed(host) } else { Cow::Owned(normal) })
}

/// Letters, digits, `-`; and `_`, which host names may not have and many have.
pub(super) fn check_label(label: &str) -> Result<(), HostError> {
    let is_good = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_');
    if !label.is_empty() && label.bytes().all(|byte| is_good(char::from(byte))) {
        return Ok(()); // nearly all, and each request has some
    }
    match label.chars().find(|char| !is_good(*char)) {
        Some(char) => Err(HostError::Character(char)),
        None if label.is_empty() => Err(HostError::EmptyLabel),
        None => Ok(()),
    }
}

/// Why a text is no host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// Nothing.
    #[error("the host is empty")]
    Empty,
    /// More than a name can have.
    #[error("the host has more than {} bytes", MAX_HOST)]
    TooLong,
    /// Two dots in a row, or one at the front.
    #[error("the host has nothing before or between its dots")]
    EmptyLabel,
    /// A character that no label has.
    #[error("the host has the character {0:?}; allowed are letters, digits, `-` and `_`, with dots between them")]
    Character(char),
    /// Brackets around something else than an IPv6 address.
    #[error("the host has `[`, but no IPv6 address between brackets")]
    Ipv6,
}

/// A pattern that a host matches or not.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPattern {
    form: Form,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Form {
    Any,
    /// With the dot at its front.
    Suffix(Box<str>),
    Template(Vec<Label>),
    Exact(Box<str>),
}

/// How closely a host pattern looks, least first: any host, a suffix by its length, a template by the number of its fixed labels, one host.
/// Of the routes that match a host the greatest takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Specificity {
    /// `*`.
    Any,
    /// `*.suffix`.
    Suffix {
        /// The length of the suffix in bytes: of two that match one host, the longer has more labels.
        length: usize,
    },
    /// `{0}.{1}.svc`.
    Template {
        /// How many labels are no placeholders.
        fixed: usize,
    },
    /// A name or an address.
    Exact,
}

impl HostPattern {
    /// Reads a pattern as a person wrote it; case and a closing dot do not matter.
    ///
    /// # Errors
    /// What is wrong with it, and what to write instead.
    pub fn parse(text: &str) -> Result<Self, HostPatternError> {
        Form::parse(text).map(|form| Self { form })
    }

    /// The labels that `host` (from [`normal_host`]) is captured with, in the order of the placeholders' numbers; `None` where it does not match.
    /// No captured label is empty or has anything but `a` to `z`, digits, `-` and `_`.
    pub fn capture<'h>(&self, host: &'h str) -> Option<Vec<&'h str>> {
        match &self.form {
            Form::Template(labels) => template::capture(labels, host),
            Form::Any | Form::Suffix(_) | Form::Exact(_) => self.matches(host).then(Vec::new),
        }
    }

    /// Whether `host` (from [`normal_host`]) matches.
    pub fn matches(&self, host: &str) -> bool {
        match &self.form {
            Form::Any => true,
            Form::Suffix(suffix) => host.len() > suffix.len() && host.ends_with(&**suffix),
            Form::Template(labels) => template::matches(labels, host),
            Form::Exact(exact) => **exact == *host,
        }
    }

    /// How many labels it captures: placeholders from `{0}` on.
    pub fn captures(&self) -> usize {
        match &self.form {
            Form::Template(labels) => template::captures(labels),
            Form::Any | Form::Suffix(_) | Form::Exact(_) => 0,
        }
    }

    /// How closely it looks.
    pub fn specificity(&self) -> Specificity {
        match &self.form {
            Form::Any => Specificity::Any,
            Form::Suffix(suffix) => Specificity::Suffix { length: suffix.len() },
            Form::Template(labels) => Specificity::Template { fixed: labels.len() - template::captures(labels) },
            Form::Exact(_) => Specificity::Exact,
        }
    }
}

impl HostPattern {
    /// As the index holds it: the labels from the right, which [`parts`] gives of a host.
    pub(super) fn key(&self) -> Key<'_> {
        let (steps, tail) = match &self.form {
            Form::Any => (Vec::new(), Tail::Some),
            Form::Suffix(suffix) => {
                (suffix.rsplit('.').filter(|label| !label.is_empty()).map(Step::Literal).collect(), Tail::Some)
            }
            Form::Template(labels) => (labels.iter().rev().map(Label::step).collect(), Tail::None),
            Form::Exact(exact) => (exact.rsplit('.').map(Step::Literal).collect(), Tail::None),
        };
        Key { steps, tail }
    }
}

/// A host (from [`normal_host`]) as the index looks it up. Equals [`HostPattern::matches`].
pub(super) fn parts(host: &str) -> Parts<impl Iterator<Item = &str> + Clone> {
    let next = |node: &Node, label: &str| [node.literal(label), None, node.any().filter(|_| template::takes(label))];
    Parts { parts: host.rsplit('.'), next }
}

impl Form {
    fn parse(text: &str) -> Result<Self, HostPatternError> {
        match text {
            "" => return Err(HostPatternError::Empty),
            "*" => return Ok(Self::Any),
            _ if text.contains('/') => return Err(HostPatternError::Url),
            _ if text.parse::<Ipv6Addr>().is_ok() => return Err(HostPatternError::NoBrackets(text.to_owned())),
            _ if has_port(text) => return Err(HostPatternError::Port),
            _ if text.len() > MAX_HOST + 1 => return Err(HostError::TooLong.into()),
            _ => {}
        }
        if text.contains(['{', '}']) {
            return template::parse(text.strip_suffix('.').unwrap_or(text)).map(Self::Template);
        }
        let (suffix, is_suffix) = text.strip_prefix("*.").map_or((text, false), |suffix| (suffix, true));
        if suffix.contains('*') {
            return Err(HostPatternError::Wildcard);
        }
        let host = normal_host(suffix)?;
        Ok(if is_suffix { Self::Suffix(format!(".{host}").into()) } else { Self::Exact(host.into()) })
    }
}

/// A `:` that is not inside brackets.
fn has_port(text: &str) -> bool {
    let behind = text.rsplit_once(']').map(|(_, behind)| behind);
    behind.or_else(|| (!text.starts_with('[')).then_some(text)).is_some_and(|text| text.contains(':'))
}

/// Why a text is no host pattern, with what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostPatternError {
    /// No host at all.
    #[error("a host is a name such as `orders.example`, or `*.example` for every name below it; `*` is any host")]
    Empty,
    /// A URL, or part of one.
    #[error("only the host belongs here: leave out the scheme and the path")]
    Url,
    /// A port.
    #[error("ports do not belong here: hosts are matched without them")]
    Port,
    /// A bare IPv6 address.
    #[error("an IPv6 address stands in brackets: write `[{0}]`")]
    NoBrackets(String),
    /// A `*` that is not the whole first label.
    #[error("`*` stands alone for any host, or at the front for one or more labels, as in `*.example`")]
    Wildcard,
    /// A brace that is no part of a placeholder.
    #[error("a placeholder is one whole label with a number in braces, as in `{{0}}.{{1}}.svc`; `{0}` is none")]
    Placeholder(String),
    /// A number that stands twice.
    #[error("the placeholder `{{{0}}}` stands twice; each is used once")]
    PlaceholderTwice(usize),
    /// A number left out.
    #[error("placeholders are numbered from `{{0}}` without a gap, and `{{{0}}}` is missing")]
    PlaceholderMissing(usize),
    /// A part that no host can have.
    #[error(transparent)]
    Host(#[from] HostError),
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.form {
            Form::Any => f.write_str("*"),
            Form::Suffix(suffix) => write!(f, "*{suffix}"),
            Form::Template(labels) => template::print(labels, f),
            Form::Exact(exact) => f.write_str(exact),
        }
    }
}
