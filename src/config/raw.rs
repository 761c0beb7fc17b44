//! A value of the file as it stands there, whatever its type: what is wrong with it is said by the word that is asked to read it.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::field::{Placed, Wrong};

/// A value of the file before anybody asked for its type.
#[derive(Clone, Debug)]
pub(super) enum Raw {
    Text(String),
    Whole(i64),
    Real(f64),
    Truth(bool),
    List(Vec<Placed<Self>>),
    /// What no word of ours is made from, as we call it to people.
    Other(&'static str),
}

impl Raw {
    pub(super) fn instead_of(&self, expected: &str) -> Wrong {
        let found = match self {
            Self::Text(text) => format!("the text {text:?}"),
            Self::Whole(number) => format!("the number {number}"),
            Self::Real(number) => format!("the number {number}"),
            Self::Truth(truth) => format!("`{truth}`"),
            Self::List(_) => "a list".into(),
            Self::Other(what) => (*what).into(),
        };
        Wrong::new(format!("expected {expected}, found {found}"))
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Anything)
    }
}

/// Takes every value there is.
struct Anything;

impl<'de> Visitor<'de> for Anything {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.to_owned()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Raw, E> {
        Ok(Raw::Whole(number))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Raw, E> {
        Ok(Raw::Other("a number out of range"))
    }

    fn visit_i128<E>(self, _: i128) -> Result<Raw, E> {
        Ok(Raw::Other("a number out of range"))
    }

    fn visit_u128<E>(self, _: u128) -> Result<Raw, E> {
        Ok(Raw::Other("a number out of range"))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Raw, E> {
        Ok(Raw::Real(number))
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Raw, E> {
        Ok(Raw::Truth(truth))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    /// The toml crate shows a date as a map, too.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut what = "a table";
        while let Some(key) = map.next_key::<String>()? {
            if key.starts_with("$__toml_private") {
                what = "a date or time";
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(Raw::Other(what))
    }
}
