//! A table of the file whose keys are its writer's own: names and what each stands for.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use super::fault::{Faults, Spot};
use super::field::{Field, Placed, Word};

/// Names of the writer's own with a value each: absent, or each right or wrong by itself.
#[derive(Clone, Debug)]
pub(super) struct Map<T>(Option<Placed<Entries<T>>>);

#[derive(Clone, Debug)]
struct Entries<T>(Vec<(Placed<String>, Field<T>)>);

/// What was read of a [`Map`].
pub(super) struct Read<T> {
    pub(super) at: Spot,
    /// How many entries the file has, the wrong ones included.
    pub(super) written: usize,
    /// The right ones, in the order of the file.
    pub(super) items: Vec<(Placed<String>, T)>,
}

impl<T> Default for Map<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Map<T> {
    /// Where the file says something here.
    pub(super) fn at(&self) -> Option<Spot> {
        self.0.as_ref().map(|placed| placed.at)
    }

    /// The entries whose values are right; what is wrong with the others goes to `faults`.
    pub(super) fn read(self, faults: &mut Faults<'_>) -> Option<Read<T>> {
        let Placed { at, value: Entries(mut entries) } = self.0?;
        entries.sort_by_key(|(name, _)| name.at);
        let written = entries.len();
        let items = entries.into_iter().filter_map(|(name, field)| Some((name, field.value(faults)?)));
        Some(Read { at, written, items: items.collect() })
    }
}

impl<'de, T: Word> Deserialize<'de> for Map<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Placed::deserialize(deserializer).map(|entries| Self(Some(entries)))
    }
}

impl<'de, T: Word> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Each(PhantomData))
    }
}

/// Takes every name there is. That a table stands here was seen before.
struct Each<T>(PhantomData<T>);

impl<'de, T: Word> Visitor<'de> for Each<T> {
    type Value = Entries<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<T>, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Entries(entries))
    }
}

impl<T: Word> JsonSchema for Map<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Map".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "additionalProperties": T::schema() })
    }
}
