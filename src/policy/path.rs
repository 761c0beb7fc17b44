//! The path of a request, normalised as it is forwarded: what the policy matches is what the application gets.

use std::borrow::Cow;
use std::str::Chars;

/// The longest path that is looked at, in bytes.
const MAX_PATH: usize = 8 * 1024;

/// The path of a request as it is matched and as it is forwarded: there is no other.
///
/// Percent-encoded unreserved characters are decoded and the digits of the other encodings are in upper case (RFC 3986 §6.2.2), then slashes in
/// a row are one, then dot segments are resolved (RFC 3986 §5.2.4). A slash at the end stays. Case matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestPath<'a>(Cow<'a, str>);

impl<'a> RequestPath<'a> {
    /// Normalises the path of a request target, without the query. Borrows where there is nothing to change.
    ///
    /// `..` above the root is refused, where RFC 3986 §5.2.4 would stay at the root: servers differ in what they do with it, and nobody means it.
    ///
    /// # Errors
    /// Where an application could see another path than the policy.
    pub fn parse(path: &'a str) -> Result<Self, PathError> {
        if path.len() > MAX_PATH {
            return Err(PathError::TooLong);
        }
        let is_normal = Scan::is_normal(path)?;
        Ok(Self(if is_normal { Cow::Borrowed(path) } else { Cow::Owned(resolved(&decoded(path))) }))
    }

    /// The normalised text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the request wrote it so itself.
    pub fn is_as_sent(&self) -> bool {
        matches!(self.0, Cow::Borrowed(_))
    }

    /// What stands between the slashes; the last segment is empty where the path ends in a slash, all others are not.
    pub(super) fn segments(&self) -> impl Iterator<Item = &str> + Clone {
        self.0.split('/').skip(1)
    }
}

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Does not start with `/`.
    #[error("the path does not start with `/`")]
    NotAbsolute,
    /// More than we look at.
    #[error("the path has more than {} bytes", MAX_PATH)]
    TooLong,
    /// Not in `pchar` (RFC 3986 §3.3).
    #[error("the path has the character {0:?}, which may not stand in a path as it is")]
    Character(char),
    /// A broken percent-encoding (RFC 3986 §2.1).
    #[error("the path has a `%` without two hexadecimal digits behind it")]
    PercentEncoding,
    /// `%2F` or `%5C`.
    #[error("the path has an encoded slash or backslash, which some applications take for the end of a segment")]
    EncodedSlash,
    /// `%00` to `%1F`, or `%7F`.
    #[error("the path has an encoded control character")]
    EncodedControl,
    /// Among it the overlong forms (RFC 3629 §3), such as `%C0%AF` for a slash.
    #[error("the path has encoded bytes that are no UTF-8")]
    NotUtf8,
    /// `..` with nothing left to leave.
    #[error("the path leads above its root with `..`")]
    AboveRoot,
    /// `..;` or the like.
    #[error(
        "the path has a `.` or `..` segment with parameters (`;`), which some applications take off before they resolve it"
    )]
    DotsWithParameters,
    /// `/;x/`.
    #[error("the path has a segment of nothing but parameters (`;`) before its end, which some applications leave out")]
    OnlyParameters,
}

/// RFC 3986 §2.3.
fn is_unreserved(char: char) -> bool {
    char.is_ascii_alphanumeric() || matches!(char, '-' | '.' | '_' | '~')
}

/// What may stand in a segment as it is: RFC 3986 §3.3, `pchar` without the percent-encodings.
fn is_literal(char: char) -> bool {
    is_unreserved(char) || matches!(char, '!' | '$' | '&' | '\'' | '(' | ')' | '*' | '+' | ',' | ';' | '=' | ':' | '@')
}

/// One pass over a path that finds every fault, and whether there is anything to change.
struct Scan<'a> {
    rest: Chars<'a>,
    segment: Shape,
    /// How many segments `..` could leave.
    depth: usize,
    is_normal: bool,
}

/// A segment so far, after decoding.
#[derive(Clone, Copy)]
enum Shape {
    Empty,
    Dot,
    DotDot,
    Parameters,
    Named,
}

impl Shape {
    /// An encoded `;` counts as one, here as in [`name`]: there are applications that decode first.
    fn then(self, char: char) -> Result<Self, PathError> {
        match (self, char) {
            (Self::Empty, '.') => Ok(Self::Dot),
            (Self::Dot, '.') => Ok(Self::DotDot),
            (Self::Dot | Self::DotDot, ';') => Err(PathError::DotsWithParameters),
            (Self::Empty, ';') | (Self::Parameters, _) => Ok(Self::Parameters),
            _ => Ok(Self::Named),
        }
    }
}

impl Scan<'_> {
    fn is_normal(path: &str) -> Result<bool, PathError> {
        let rest = path.strip_prefix('/').ok_or(PathError::NotAbsolute)?;
        let mut scan = Scan { rest: rest.chars(), segment: Shape::Empty, depth: 0, is_normal: true };
        while let Some(char) = scan.rest.next() {
            match char {
                '/' => scan.slash()?,
                '%' => scan.encoded()?,
                _ if is_literal(char) => scan.segment = scan.segment.then(char)?,
                _ => return Err(PathError::Character(char)),
            }
        }
        scan.end_of_segment()?;
        Ok(scan.is_normal)
    }

    fn slash(&mut self) -> Result<(), PathError> {
        match self.segment {
            Shape::Empty => self.is_normal = false,
            Shape::Parameters => return Err(PathError::OnlyParameters),
            Shape::Dot | Shape::DotDot | Shape::Named => {}
        }
        self.end_of_segment()?;
        self.segment = Shape::Empty;
        Ok(())
    }

    fn end_of_segment(&mut self) -> Result<(), PathError> {
        match self.segment {
            Shape::Empty | Shape::Parameters => {}
            Shape::Named => self.depth += 1,
            Shape::Dot => self.is_normal = false,
            Shape::DotDot => {
                self.is_normal = false;
                self.depth = self.depth.checked_sub(1).ok_or(PathError::AboveRoot)?;
            }
        }
        Ok(())
    }

    fn encoded(&mut self) -> Result<(), PathError> {
        match self.encoded_char()? {
            '/' | '\\' => return Err(PathError::EncodedSlash),
            char if char.is_ascii_control() => return Err(PathError::EncodedControl),
            char => {
                self.is_normal &= !is_unreserved(char);
                self.segment = self.segment.then(char)?;
            }
        }
        Ok(())
    }

    /// The character whose first `%` was read; in UTF-8, up to three further encodings belong to it.
    fn encoded_char(&mut self) -> Result<char, PathError> {
        let first = self.octet()?;
        let length = match first {
            ..0x80 => return Ok(char::from(first)),
            0xC2..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF4 => 4,
            _ => return Err(PathError::NotUtf8),
        };
        let mut octets = [first, 0, 0, 0];
        for octet in octets.iter_mut().take(length).skip(1) {
            if self.rest.next() != Some('%') {
                return Err(PathError::NotUtf8);
            }
            *octet = self.octet()?;
        }
        let text = octets.get(..length).and_then(|octets| str::from_utf8(octets).ok());
        text.and_then(|text| text.chars().next()).ok_or(PathError::NotUtf8)
    }

    fn octet(&mut self) -> Result<u8, PathError> {
        Ok(self.digit()? << 4 | self.digit()?)
    }

    fn digit(&mut self) -> Result<u8, PathError> {
        let char = self.rest.next().ok_or(PathError::PercentEncoding)?;
        self.is_normal &= !char.is_ascii_lowercase();
        let digit = char.to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        digit.ok_or(PathError::PercentEncoding)
    }
}

/// A scanned path with its unreserved characters decoded and the other encodings in upper case.
fn decoded(path: &str) -> String {
    let mut parts = path.split('%');
    let mut text = String::with_capacity(path.len());
    text.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let (digits, rest) = part.split_at_checked(2).unwrap_or((part, ""));
        match u8::from_str_radix(digits, 16).map(char::from) {
            Ok(char) if is_unreserved(char) => text.push(char),
            _ => {
                text.push('%');
                text.extend(digits.chars().map(|digit| digit.to_ascii_uppercase()));
            }
        }
        text.push_str(rest);
    }
    text
}

/// A scanned and decoded path without empty and dot segments.
fn resolved(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => text.truncate(text.rfind('/').unwrap_or_default()),
            _ => {
                text.push('/');
                text.push_str(segment);
            }
        }
    }
    // What ends in a dot segment names a folder, as what ends in a slash does (RFC 3986 §5.2.4).
    if matches!(path.rsplit('/').next(), Some("" | "." | "..")) {
        text.push('/');
    }
    text
}

/// A segment of a normalised path without its parameters.
pub(super) fn name(segment: &str) -> &str {
    let name = segment.split(';').next().unwrap_or_default();
    name.split("%3B").next().unwrap_or_default()
}
