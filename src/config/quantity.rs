//! Durations, sizes and counts as people write them: `10s`, `64KiB`, `"off"`.

use std::fmt;
use std::time::Duration;

use schemars::{Schema, json_schema};

use super::field::{Word, Wrong};
use super::raw::Raw;

/// A length of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub(super) struct Time(pub(super) Duration);

impl Time {
    pub(super) const fn millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    pub(super) const fn secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }

    pub(super) const fn hours(hours: u64) -> Self {
        Self::secs(hours * 60 * 60)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

/// `500ms`, `10s`, `5m`, `1h 30m`.
impl Word for Time {
    const EXPECTED: &'static str = "a duration such as \"10s\"";

    fn parse(text: &str) -> Result<Self, Wrong> {
        humantime::parse_duration(text).map(Self).map_err(|_| {
            Wrong::new(format!("{text:?} is no duration"))
                .hint("write a whole number and a unit: \"500ms\", \"10s\", \"5m\", \"1h\"")
        })
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "examples": ["500ms", "10s", "5m", "1h"] })
    }
}

/// A quantity, or `"off"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OrOff<T>(pub(super) Option<T>);

/// What can be switched off, and how that is said.
pub(super) trait Quantity: Word {
    const EXPECTED_OR_OFF: &'static str;
    const HINT_OR_OFF: &'static str;
    /// Written without quotes.
    const IS_NUMBER: bool = false;

    fn schema_or_off() -> Schema;
}

impl<T: fmt::Display> fmt::Display for OrOff<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(quantity) => quantity.fmt(f),
            None => f.write_str("off"),
        }
    }
}

impl<T: Quantity> Word for OrOff<T> {
    const EXPECTED: &'static str = T::EXPECTED_OR_OFF;

    fn parse(text: &str) -> Result<Self, Wrong> {
        match text {
            "off" => Ok(Self(None)),
            _ => T::parse(text).map(|quantity| Self(Some(quantity))).map_err(|wrong| wrong.hint(T::HINT_OR_OFF)),
        }
    }

    fn read(value: &Raw) -> Result<Self, Wrong> {
        match value {
            Raw::Text(text) => Self::parse(text),
            Raw::Whole(_) if T::IS_NUMBER => T::read(value).map(|quantity| Self(Some(quantity))),
            other => Err(other.instead_of(Self::EXPECTED)),
        }
    }

    fn schema() -> Schema {
        T::schema_or_off()
    }
}

impl Quantity for Time {
    const EXPECTED_OR_OFF: &'static str = "a duration such as \"10s\", or \"off\"";
    const HINT_OR_OFF: &'static str = "write a whole number and a unit, such as \"10s\" or \"5m\", or \"off\"";

    fn schema_or_off() -> Schema {
        json_schema!({ "type": "string", "examples": ["10s", "5m", "off"] })
    }
}

impl Quantity for Size {
    const EXPECTED_OR_OFF: &'static str = "a size such as \"64KiB\", or \"off\"";
    const HINT_OR_OFF: &'static str =
        "write a whole number and one of the units B, KiB, MiB, GiB, such as \"64KiB\", or \"off\"";

    fn schema_or_off() -> Schema {
        json_schema!({ "type": "string", "pattern": "^([0-9]+(B|KiB|MiB|GiB)|off)$" })
    }
}

impl Quantity for Count {
    const EXPECTED_OR_OFF: &'static str = "a whole number, or \"off\"";
    const HINT_OR_OFF: &'static str = "write a whole number, or \"off\"";
    const IS_NUMBER: bool = true;

    fn schema_or_off() -> Schema {
        json_schema!({ "anyOf": [{ "type": "integer" }, { "type": "string", "enum": ["off"] }] })
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub(super) struct Size(pub(super) usize);

const UNITS: [(&str, usize); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(_, bytes): &&(&str, usize)| self.0 >= *bytes && self.0.is_multiple_of(*bytes);
        let (name, bytes) = UNITS.iter().find(fits).unwrap_or(&("B", 1));
        write!(f, "{}{name}", self.0 / bytes)
    }
}

/// `512B`, `64KiB`, `1MiB`. Units of a thousand are refused rather than guessed at.
impl Word for Size {
    const EXPECTED: &'static str = "a size such as \"64KiB\"";

    fn parse(text: &str) -> Result<Self, Wrong> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at_checked(digits).unwrap_or((text, ""));
        let unit = UNITS.iter().find(|(name, _)| *name == unit);
        let size = unit.and_then(|(_, bytes)| number.parse::<usize>().ok()?.checked_mul(*bytes));
        size.map(Self).ok_or_else(|| {
            Wrong::new(format!("{text:?} is no size"))
                .hint("write a whole number and one of the units B, KiB, MiB, GiB: \"64KiB\"")
        })
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]+(B|KiB|MiB|GiB)$" })
    }
}

/// A whole number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub(super) struct Count(pub(super) usize);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Word for Count {
    const EXPECTED: &'static str = "a whole number";

    fn parse(text: &str) -> Result<Self, Wrong> {
        Err(Raw::Text(text.into()).instead_of(Self::EXPECTED))
    }

    fn read(value: &Raw) -> Result<Self, Wrong> {
        match value {
            Raw::Whole(number) => {
                usize::try_from(*number).map(Self).map_err(|_| Wrong::new(format!("{number} is negative")))
            }
            other => Err(other.instead_of(Self::EXPECTED)),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "integer" })
    }
}
