//! What is wrong with a configuration: every problem at once, each with its place and what to do about it.

use std::fmt;
use std::sync::Arc;

/// The most faults told of one configuration; the rest is counted.
const MAX_FAULTS: usize = 100;

/// Where a fault is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A file as a whole.
    File(Arc<str>),
    /// A position in a file.
    Position {
        /// The file, as it was named to us.
        file: Arc<str>,
        /// From 1.
        line: usize,
        /// In characters, from 1.
        column: usize,
    },
    /// A flag of the command line.
    Flag(&'static str),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => f.write_str(file),
            Self::Position { file, line, column } => write!(f, "{file}:{line}:{column}"),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub place: Place,
    /// What, in one line.
    pub message: String,
    /// What to write instead, where that can be said.
    pub hint: Option<String>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// Why there is no configuration: all faults, in the order of their places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The faults, the first hundred of them.
    pub faults: Vec<Fault>,
    /// How many more there are.
    pub omitted: usize,
}

impl ConfigError {
    /// A single fault of a file as a whole.
    pub(super) fn of_file(name: &str, message: impl Into<String>, hint: Option<&str>) -> Self {
        let fault = Fault { place: Place::File(name.into()), message: message.into(), hint: hint.map(Into::into) };
        Self { faults: vec![fault], omitted: 0 }
    }
}

/// Lines `error: FILE:LINE:COLUMN: …` and `hint: …`, without a line break at the end.
impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "error: {fault}")?;
            if let Some(hint) = &fault.hint {
                write!(f, "\nhint: {hint}")?;
            }
        }
        match self.omitted {
            0 => Ok(()),
            more => write!(f, "\nerror: and {more} more"),
        }
    }
}

impl std::error::Error for ConfigError {}

/// Where a value stands, before anybody counted lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Spot {
    /// A byte of the file.
    Byte(usize),
    /// A flag.
    Flag(&'static str),
}

/// The faults found so far.
pub(super) struct Faults<'a> {
    file: Arc<str>,
    text: &'a str,
    /// Where each line starts, in bytes.
    lines: Vec<usize>,
    found: Vec<(Spot, String, Option<String>)>,
}

impl<'a> Faults<'a> {
    pub(super) fn new(file: &str, text: &'a str) -> Self {
        let line_starts = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(newline, _)| newline + 1);
        let lines = std::iter::once(0).chain(line_starts).collect();
        Self { file: file.into(), text, lines, found: Vec::new() }
    }

    pub(super) fn add(&mut self, at: Spot, message: impl Into<String>) {
        self.found.push((at, message.into(), None));
    }

    pub(super) fn add_with_hint(&mut self, at: Spot, message: impl Into<String>, hint: impl Into<String>) {
        self.found.push((at, message.into(), Some(hint.into())));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The place of `at` as people read it.
    pub(super) fn place(&self, at: Spot) -> Place {
        let offset = match at {
            Spot::Byte(offset) => offset,
            Spot::Flag(flag) => return Place::Flag(flag),
        };
        let line = self.lines.partition_point(|start| *start <= offset);
        let start = self.lines.get(line.saturating_sub(1)).copied().unwrap_or_default();
        let before = self.text.get(start..offset).unwrap_or_default();
        Place::Position { file: self.file.clone(), line, column: before.chars().count() + 1 }
    }

    /// `value`, if nothing was found.
    pub(super) fn finish<T>(mut self, value: T) -> Result<T, ConfigError> {
        if self.found.is_empty() {
            return Ok(value);
        }
        let mut found = std::mem::take(&mut self.found);
        found.sort_by_key(|(at, ..)| *at);
        let omitted = found.len().saturating_sub(MAX_FAULTS);
        found.truncate(MAX_FAULTS);
        let faults = found.into_iter().map(|(at, message, hint)| Fault { place: self.place(at), message, hint });
        Err(ConfigError { faults: faults.collect(), omitted })
    }
}
