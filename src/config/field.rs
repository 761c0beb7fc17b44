//! A value of the file together with its place, or with what is wrong with it: one bad value does not end the reading.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::Deserializer;
use toml::Spanned;

use super::fault::{Faults, Spot};
use super::raw::Raw;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Placed<T> {
    pub(super) at: Spot,
    pub(super) value: T,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Placed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<T>::deserialize(deserializer)?;
        Ok(Self { at: Spot::Byte(spanned.span().start), value: spanned.into_inner() })
    }
}

/// One value of a table: absent, right or wrong.
#[derive(Clone, Debug)]
pub(super) struct Field<T>(Option<Placed<Result<T, Wrong>>>);

impl<T> Default for Field<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Field<T> {
    /// A value that is known to be right.
    pub(super) fn known(at: Spot, value: T) -> Self {
        Self(Some(Placed { at, value: Ok(value) }))
    }

    /// Whether the file says something here, right or wrong.
    pub(super) fn is_present(&self) -> bool {
        self.0.is_some()
    }

    /// Where the file says something here, right or wrong.
    pub(super) fn at(&self) -> Option<Spot> {
        self.0.as_ref().map(|placed| placed.at)
    }

    /// The value with its place; what is wrong with it goes to `faults`.
    pub(super) fn placed(self, faults: &mut Faults<'_>) -> Option<Placed<T>> {
        let Placed { at, value } = self.0?;
        match value {
            Ok(value) => Some(Placed { at, value }),
            Err(wrong) => {
                wrong.tell(at, faults);
                None
            }
        }
    }

    /// The value; what is wrong with it goes to `faults`.
    pub(super) fn value(self, faults: &mut Faults<'_>) -> Option<T> {
        self.placed(faults).map(|placed| placed.value)
    }
}

impl<T: Word> Field<T> {
    /// A value as it was typed at a flag.
    pub(super) fn typed(at: Spot, text: &str) -> Self {
        Self::read(at, &Raw::Text(text.to_owned()))
    }

    fn read(at: Spot, raw: &Raw) -> Self {
        let value = T::read(raw);
        Self(Some(Placed { at, value }))
    }
}

impl<'de, T: Word> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Placed { at, value } = Placed::<Raw>::deserialize(deserializer)?;
        Ok(Self::read(at, &value))
    }
}

/// One value or a list of them: absent, or each right or wrong by itself.
#[derive(Clone, Debug)]
pub(super) struct Many<T>(Option<Placed<Vec<Field<T>>>>);

/// What was read of a [`Many`].
pub(super) struct List<T> {
    pub(super) at: Spot,
    /// How many values the file has, the wrong ones included.
    pub(super) written: usize,
    /// The right ones.
    pub(super) items: Vec<Placed<T>>,
}

impl<T> Default for Many<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Many<T> {
    /// Where the file says something here, right or wrong.
    pub(super) fn at(&self) -> Option<Spot> {
        self.0.as_ref().map(|placed| placed.at)
    }

    /// The values that are right; what is wrong with the others goes to `faults`.
    pub(super) fn list(self, faults: &mut Faults<'_>) -> Option<List<T>> {
        let Placed { at, value } = self.0?;
        Some(List {
            at,
            written: value.len(),
            items: value.into_iter().filter_map(|field| field.placed(faults)).collect(),
        })
    }
}

impl<T: Word> Many<T> {
    /// Values as they were typed at a flag; absent where there are none.
    pub(super) fn typed(at: Spot, texts: &[String]) -> Self {
        let fields = texts.iter().map(|text| Field::typed(at, text)).collect::<Vec<_>>();
        Self((!fields.is_empty()).then_some(Placed { at, value: fields }))
    }
}

impl<'de, T: Word> Deserialize<'de> for Many<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Placed { at, value } = Placed::<Raw>::deserialize(deserializer)?;
        let fields = match value {
            Raw::List(items) => items.iter().map(|item| Field::read(item.at, &item.value)).collect(),
            one => vec![Field::read(at, &one)],
        };
        Ok(Self(Some(Placed { at, value: fields })))
    }
}

/// What one value of the file means.
pub(super) trait Word: Sized {
    /// What belongs here, as people call it.
    const EXPECTED: &'static str;

    /// Reads a text.
    fn parse(text: &str) -> Result<Self, Wrong>;

    /// Reads a value; of any other type than text it is wrong for most words.
    fn read(value: &Raw) -> Result<Self, Wrong> {
        match value {
            Raw::Text(text) => Self::parse(text),
            other => Err(other.instead_of(Self::EXPECTED)),
        }
    }

    /// What editors are told of it.
    fn schema() -> Schema;
}

/// What is wrong with one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    message: String,
    hint: Option<String>,
}

impl Wrong {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Says first in which case it is wrong.
    pub(super) fn in_context(self, context: &str) -> Self {
        Self { message: format!("{context}: {}", self.message), ..self }
    }

    pub(super) fn tell(self, at: Spot, faults: &mut Faults<'_>) {
        match self.hint {
            Some(hint) => faults.add_with_hint(at, self.message, hint),
            None => faults.add(at, self.message),
        }
    }
}

/// The name among `known` that `written` is probably a misspelling of.
pub(super) fn nearest<'a>(written: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let scored = known.map(|name| (strsim::jaro_winkler(written, name), name));
    let (score, name) = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (score > 0.8).then_some(name)
}

impl<T: JsonSchema> JsonSchema for Placed<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

impl<T: Word> JsonSchema for Field<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Field".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        T::schema()
    }
}

impl<T: Word> JsonSchema for Many<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Many".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let one = T::schema();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one }] })
    }
}
