//! Whether the tables of a document are those of the file's shape: unknown keys, values where tables belong. What does not fit is
//! told and taken out, so that the rest can still be read.

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::fault::{Faults, Spot};
use super::field::nearest;

/// Compares the document with the JSON Schema of the file.
pub(super) fn check(document: &mut DeTable<'_>, schema: &Value, faults: &mut Faults<'_>) {
    let walk = Walk { whole: schema };
    walk.table(document, schema, "", faults);
}

struct Walk<'a> {
    whole: &'a Value,
}

impl Walk<'_> {
    fn table(&self, table: &mut DeTable<'_>, schema: &Value, path: &str, faults: &mut Faults<'_>) {
        let mut misfits = Vec::new();
        for (key, value) in table.iter_mut() {
            let name = key.get_ref();
            let Some(known) = of_key(schema, name) else {
                let at = Spot::Byte(key.span().start);
                faults.add_with_hint(at, format!("unknown key `{name}`{}", within(path)), self.hint(name, schema));
                misfits.push(name.to_string());
                continue;
            };
            let inner = if path.is_empty() { name.to_string() } else { format!("{path}.{name}") };
            if !self.fits(value, known, &inner, faults) {
                misfits.push(name.to_string());
            }
        }
        for name in misfits {
            table.remove(name.as_str());
        }
    }

    /// Whether a table stands where one belongs; other values are asked about when they are read.
    fn fits(&self, value: &mut Spanned<DeValue<'_>>, schema: &Value, path: &str, faults: &mut Faults<'_>) -> bool {
        if is_table(schema) {
            return self.fits_table(value, schema, path, faults);
        }
        let Some(element) = schema.get("items").filter(|element| is_table(element)) else {
            return true;
        };
        let hint = format!("write `[[{path}]]` on a line of its own, once for each");
        if !value.get_ref().is_array() {
            let at = Spot::Byte(value.span().start);
            faults.add_with_hint(at, format!("`{path}` is a list of tables"), hint);
            // Read as the only one, so that what is wrong in it is told as well.
            let only = std::mem::replace(value, Spanned::new(value.span(), DeValue::Array(DeArray::new())));
            if let DeValue::Array(array) = value.get_mut() {
                array.push(only);
            }
        }
        if let DeValue::Array(array) = value.get_mut() {
            let elements = std::mem::replace(array, DeArray::new());
            let fits =
                |mut element_value| self.fits_table(&mut element_value, element, path, faults).then_some(element_value);
            *array = elements.into_iter().filter_map(fits).collect();
        }
        true
    }

    fn fits_table(
        &self,
        value: &mut Spanned<DeValue<'_>>,
        schema: &Value,
        path: &str,
        faults: &mut Faults<'_>,
    ) -> bool {
        let at = Spot::Byte(value.span().start);
        if let DeValue::Table(table) = value.get_mut() {
            self.table(table, schema, path, faults);
            return true;
        }
        let message = format!("`{path}` is a table, not of type {}", value.get_ref().type_str());
        faults.add_with_hint(at, message, "write `key = value` lines below the line with its name in brackets");
        false
    }

    /// What to write instead of an unknown key: a key of the same table that is spelt alike, or the table that it belongs to.
    fn hint(&self, key: &str, schema: &Value) -> String {
        match (nearest(key, keys(schema)), home(key, self.whole, "")) {
            (Some(near), Some(home)) => format!("did you mean `{near}`? `{key}` belongs in `{home}`"),
            (Some(near), None) => format!("did you mean `{near}`?"),
            (None, Some(home)) => format!("it belongs in `{home}`"),
            (None, None) => format!("known keys: {}", keys(schema).collect::<Vec<_>>().join(", ")),
        }
    }
}

fn within(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!(" in `{path}`") }
}

/// A table of known keys, or one whose keys are the writer's own.
fn is_table(schema: &Value) -> bool {
    schema.get("properties").is_some() || own_keys(schema).is_some()
}

/// What the values of a table are whose keys are the writer's own. `false` stands there where no other keys than the known ones may.
fn own_keys(schema: &Value) -> Option<&Value> {
    schema.get("additionalProperties").filter(|values| values.is_object())
}

fn of_key<'a>(schema: &'a Value, key: &str) -> Option<&'a Value> {
    let known = schema.get("properties").and_then(|all| all.get(key));
    known.or_else(|| own_keys(schema))
}

fn keys(schema: &Value) -> impl Iterator<Item = &str> {
    let all = schema.get("properties").and_then(Value::as_object);
    all.into_iter().flat_map(|all| all.keys().map(String::as_str))
}

/// The first table of the file that knows `key`.
fn home(key: &str, schema: &Value, path: &str) -> Option<String> {
    for (name, inner) in schema.get("properties")?.as_object()? {
        let (inner, list) = match inner.get("items") {
            Some(element) => (element, true),
            None => (inner, false),
        };
        if !is_table(inner) {
            continue;
        }
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        if keys(inner).any(|known| known == key) {
            return Some(if list { format!("[[{path}]]") } else { format!("[{path}]") });
        }
        if let Some(home) = home(key, inner, &path) {
            return Some(home);
        }
    }
    None
}
