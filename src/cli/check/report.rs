//! What a check found, for people and for programs.

use std::io::{self, Write};
use std::time::Duration;

use serde_json::{Value, json};

use super::listener;
use crate::config::{Config, ConfigError, Place};
use crate::credentials::{CredentialsError, Finding, Loaded};
use crate::spiffe::UnixTime;

/// What a check found.
pub(super) struct Report {
    file: String,
    outcome: Outcome,
}

enum Outcome {
    Faulty(ConfigError),
    Read(Box<Read>),
}

/// What there is to say of a configuration that has no fault.
pub(super) struct Read {
    pub(super) config: Config,
    pub(super) credentials: Result<Loaded, CredentialsError>,
    /// What else is to be known of the credentials, usable or not.
    pub(super) findings: Vec<Finding>,
    pub(super) warnings: Vec<Warning>,
    pub(super) now: UnixTime,
}

/// Something that may go wrong when it runs, and is no fault of the file.
pub(super) struct Warning {
    pub(super) place: Place,
    pub(super) message: String,
}

impl Report {
    pub(super) fn faulty(file: String, error: ConfigError) -> Self {
        Self { file, outcome: Outcome::Faulty(error) }
    }

    pub(super) fn read(file: String, read: Read) -> Self {
        Self { file, outcome: Outcome::Read(Box::new(read)) }
    }

    pub(super) fn exit_code(&self) -> u8 {
        match &self.outcome {
            Outcome::Faulty(_) => 2,
            Outcome::Read(read) if read.credentials.is_err() => 1,
            Outcome::Read(_) => 0,
        }
    }

    /// Problems go to `problems`, what would run to `summary`.
    pub(super) fn write(&self, summary: &mut impl Write, problems: &mut impl Write) -> io::Result<()> {
        let read = match &self.outcome {
            Outcome::Faulty(error) => return writeln!(problems, "{error}"),
            Outcome::Read(read) => read,
        };
        if let Err(error) = &read.credentials {
            writeln!(problems, "error: {error}")?;
        }
        for warning in &read.warnings {
            writeln!(problems, "warning: {}: {}", warning.place, warning.message)?;
        }
        read.findings.iter().try_for_each(|finding| writeln!(problems, "warning: {finding}"))?;
        problems.flush()?;
        writeln!(summary, "{}: the configuration is good", self.file)?;
        identity(read, summary)?;
        read.config.listeners.iter().try_for_each(|one| listener::write(one, summary))
    }

    pub(super) fn to_json(&self) -> Value {
        let read = match &self.outcome {
            Outcome::Faulty(error) => {
                let errors =
                    error.faults.iter().map(|fault| problem(&fault.place, &fault.message, fault.hint.as_deref()));
                return json!({
                    "file": self.file, "verdict": "bad_configuration",
                    "errors": errors.collect::<Vec<_>>(), "errors_omitted": error.omitted,
                });
            }
            Outcome::Read(read) => read,
        };
        let warnings = read.warnings.iter().map(|warning| problem(&warning.place, &warning.message, None));
        let (verdict, identity, errors) = match &read.credentials {
            Ok(loaded) => ("good", identity_json(loaded), Vec::new()),
            Err(error) => {
                let error = json!({ "reason": error.reason(), "message": error.to_string() });
                ("credentials_not_usable", Value::Null, vec![error])
            }
        };
        json!({
            "file": self.file, "verdict": verdict, "errors": errors, "warnings": warnings.collect::<Vec<_>>(),
            "identity": identity, "findings": read.findings,
            "listeners": read.config.listeners.iter().map(listener::to_json).collect::<Vec<_>>(),
        })
    }
}

fn identity(read: &Read, out: &mut impl Write) -> io::Result<()> {
    let Ok(loaded) = &read.credentials else {
        return writeln!(out, "identity: none that can be used");
    };
    let svid = &loaded.credentials.svid;
    let left = Duration::from_secs(svid.valid_until.as_secs().saturating_sub(read.now.as_secs()));
    writeln!(out, "identity: {}", svid.id)?;
    writeln!(
        out,
        "  from {} ({}), valid for {}",
        loaded.place.display(),
        loaded.layout,
        humantime::format_duration(left)
    )?;
    let domains = loaded.credentials.bundles.iter().map(|(domain, _)| domain.as_str()).collect::<Vec<_>>();
    writeln!(out, "  trusts {}", domains.join(", "))
}

fn problem(place: &Place, message: &str, hint: Option<&str>) -> Value {
    let (file, line, column) = match place {
        Place::Position { file, line, column } => (Some(&**file), Some(*line), Some(*column)),
        Place::File(file) => (Some(&**file), None, None),
        Place::Flag(_) => (None, None, None),
    };
    json!({ "file": file, "line": line, "column": column, "message": message, "hint": hint })
}

fn identity_json(loaded: &Loaded) -> Value {
    let svid = &loaded.credentials.svid;
    let domains = loaded.credentials.bundles.iter().map(|(domain, _)| domain.as_str());
    json!({
        "spiffe_id": svid.id,
        "place": loaded.place.display().to_string(),
        "layout": loaded.layout,
        "valid_until_unix_seconds": svid.valid_until.as_secs(),
        "trust_domains": domains.collect::<Vec<_>>(),
    })
}
