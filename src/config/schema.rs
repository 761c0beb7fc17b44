//! The JSON Schema of the configuration file, generated from the file's own types.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::file::File;

/// The JSON Schema (draft 2020-12) of the configuration file: editors complete and check it with this.
pub fn schema() -> Value {
    // Inlined: then a table's keys stand where the table stands, and nobody has to follow references.
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<File>().to_value()
}
