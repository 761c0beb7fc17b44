//! Patterns over the path of a request: whole segments, `*` for exactly one that is not empty, a trailing `/**` for anything below.

use std::fmt;

use super::Action;
use super::path::{self, PathError, RequestPath};
use super::trie::{Key, Node, Parts, Step, Tail};

/// A pattern that a path matches or not, such as `/orders/*`.
///
/// | pattern | matches | does not match |
/// |---|---|---|
/// | `/orders` | `/orders` | `/orders/` |
/// | `/orders/*` | `/orders/5` | `/orders/`, `/orders/5/` |
/// | `/orders/**` | `/orders`, `/orders/`, `/orders/5/x` | `/ordersheet` |
/// | `/**` | every path | |
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathPattern {
    segments: Vec<Segment>,
    any_tail: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Segment {
    Literal(Box<str>),
    Any,
}

impl PathPattern {
    /// Reads a pattern as a person wrote it.
    ///
    /// # Errors
    /// What is wrong with it, and what to write instead.
    pub fn parse(text: &str) -> Result<Self, PathPatternError> {
        let rest = text.strip_prefix('/').ok_or(PathPatternError::NotAbsolute)?;
        if let Some((path, _)) = text.split_once(['?', '#']) {
            return Err(PathPatternError::Query(path.to_owned()));
        }
        let mut segments: Vec<&str> = rest.split('/').collect();
        let any_tail = segments.pop_if(|last| *last == "**").is_some();
        let segments = segments.into_iter().map(Segment::parse).collect::<Result<_, _>>()?;
        let normal = RequestPath::parse(text)?;
        if normal.is_as_sent() {
            Ok(Self { segments, any_tail })
        } else {
            Err(PathPatternError::NotNormal(normal.as_str().to_owned()))
        }
    }

    /// Whether `path` matches as it is written. This is how an allow rule reads it.
    ///
    /// `*` wants a name: `/orders/;x` is `/orders/` to an application that takes parameters off, and that is another place.
    pub fn matches(&self, path: &RequestPath<'_>) -> bool {
        self.compare(path, |pattern, segment| match pattern {
            Segment::Literal(text) => **text == *segment,
            Segment::Any => !path::name(segment).is_empty(),
        })
    }

    /// Whether `path` matches with the parameters of its segments, without them, or with some. This is how a deny rule reads it.
    ///
    /// Some applications take `/admin;x` for `/admin`, others for a place of its own, and we do not know which is behind us: a deny of either
    /// must hold. An allow of `/admin` must not, since it would let in what nobody wrote down.
    pub fn matches_any_reading(&self, path: &RequestPath<'_>) -> bool {
        self.compare(path, |pattern, segment| match pattern {
            Segment::Literal(text) => **text == *segment || **text == *path::name(segment),
            Segment::Any => !segment.is_empty(),
        })
    }

    fn compare(&self, path: &RequestPath<'_>, same: impl Fn(&Segment, &str) -> bool) -> bool {
        let mut segments = path.segments();
        self.segments.iter().all(|pattern| segments.next().is_some_and(|segment| same(pattern, segment)))
            && (self.any_tail || segments.next().is_none())
    }
}

impl PathPattern {
    /// As the index holds it: the segments, which [`parts`] gives of a path.
    pub(super) fn key(&self) -> Key<'_> {
        let segments = self.segments.iter().map(|segment| match segment {
            Segment::Literal(text) => Step::Literal(text),
            Segment::Any => Step::Any,
        });
        Key { steps: segments.collect(), tail: if self.any_tail { Tail::NoneOrSome } else { Tail::None } }
    }
}

/// A path as the index looks it up for rules of one action. Equals [`PathPattern::matches`] for those that allow,
/// [`PathPattern::matches_any_reading`] for those that deny.
pub(super) fn parts<'p>(path: &'p RequestPath<'_>, action: Action) -> Parts<impl Iterator<Item = &'p str> + Clone> {
    let next = match action {
        Action::Allow => |node: &Node, segment: &str| {
            [node.literal(segment), None, node.any().filter(|_| !path::name(segment).is_empty())]
        },
        Action::Deny => |node: &Node, segment: &str| {
            let name = path::name(segment);
            let bare = if name == segment { None } else { node.literal(name) };
            [node.literal(segment), bare, node.any().filter(|_| !segment.is_empty())]
        },
    };
    Parts { parts: path.segments(), next }
}

impl Segment {
    fn parse(text: &str) -> Result<Self, PathPatternError> {
        match text {
            "*" => Ok(Self::Any),
            "**" => Err(PathPatternError::InnerDoubleWildcard),
            _ if text.contains('*') => Err(PathPatternError::PartialWildcard),
            _ => Ok(Self::Literal(text.into())),
        }
    }
}

/// Why a text is no path pattern, with what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathPatternError {
    /// Does not start with `/`.
    #[error("a path starts with `/`, as in `/orders/*`; `/**` is every path")]
    NotAbsolute,
    /// A query or a fragment.
    #[error("rules do not look at what follows `?` or `#`: write `{0}`")]
    Query(String),
    /// A `*` that is only part of a segment.
    #[error("`*` stands for one whole segment, as in `/orders/*`; a part of a segment cannot be matched")]
    PartialWildcard,
    /// A `**` that is not at the end.
    #[error("`**` may stand at the end only, as in `/orders/**`; `*` stands for exactly one segment anywhere")]
    InnerDoubleWildcard,
    /// A path that requests have in another spelling.
    #[error("requests are matched as they are forwarded, and this is forwarded as `{0}`: write that")]
    NotNormal(String),
    /// A path that no request may have.
    #[error("no request may have such a path: {0}")]
    Path(#[from] PathError),
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.segments.iter().try_for_each(|segment| match segment {
            Segment::Literal(text) => write!(f, "/{text}"),
            Segment::Any => f.write_str("/*"),
        })?;
        if self.any_tail { f.write_str("/**") } else { Ok(()) }
    }
}
