//! Reading a configuration: from a file, from text, or from the flags of one listener. All three go the same way through the file's
//! shape, so that every rule is checked in one place.

use std::fs::File as Disk;
use std::io::Read as _;
use std::path::Path;

use serde::Deserialize as _;
use toml::de::{DeTable, Deserializer};

use super::fault::{ConfigError, Faults, Place, Spot};
use super::field::Field;
use super::file::File;
use super::flags::Flags;
use super::word::LogFilter;
use super::{Config, listeners, schema, settings, structure};

/// The largest file read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Where the parts of one listener stand in the file, for what can only be said of them later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The address that is listened on.
    pub listen: Place,
    /// Each target, in the order of the listener's.
    pub targets: Vec<Place>,
    /// Each route of an HTTP listener, in order.
    pub routes: Vec<RouteOrigin>,
}

/// Where the parts of one route stand in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteOrigin {
    /// Each target, in the order of the route's.
    pub targets: Vec<Place>,
    /// Each pattern of who is expected, in the order of the route's.
    pub expect: Vec<Place>,
}

/// An [`Origin`] before anybody counted lines.
pub(super) struct Spots {
    pub(super) listen: Spot,
    pub(super) targets: Vec<Spot>,
    pub(super) routes: Vec<RouteSpots>,
}

/// A [`RouteOrigin`] before anybody counted lines.
pub(super) struct RouteSpots {
    pub(super) targets: Vec<Spot>,
    pub(super) expect: Vec<Spot>,
}

impl Spots {
    fn counted(&self, faults: &Faults<'_>) -> Origin {
        let places = |spots: &[Spot]| spots.iter().map(|spot| faults.place(*spot)).collect();
        let route = |route: &RouteSpots| RouteOrigin { targets: places(&route.targets), expect: places(&route.expect) };
        Origin {
            listen: faults.place(self.listen),
            targets: places(&self.targets),
            routes: self.routes.iter().map(route).collect(),
        }
    }
}

impl Config {
    /// Reads the configuration file at `path`.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let name = path.display().to_string();
        Self::parse(&name, &read_text(path, &name)?)
    }

    /// Reads the configuration file at `path`, and where in it each listener stands.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read_with_origins(path: &Path) -> Result<(Self, Vec<Origin>), ConfigError> {
        let name = path.display().to_string();
        let text = read_text(path, &name)?;
        let mut faults = Faults::new(&name, &text);
        let (config, spots) = understand(&text, &mut faults);
        let origins = spots.iter().map(|one| one.counted(&faults)).collect();
        faults.finish((config, origins))
    }

    /// Reads a configuration from `text`; faults are told with `name` as the file's.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(name: &str, text: &str) -> Result<Self, ConfigError> {
        let mut faults = Faults::new(name, text);
        let (config, _) = understand(text, &mut faults);
        faults.finish(config)
    }

    /// The configuration of one listener, from flags.
    ///
    /// # Errors
    /// Everything that is wrong with it; places are flags.
    pub fn from_flags(flags: &Flags) -> Result<Self, ConfigError> {
        let mut faults = Faults::new("", "");
        let (config, _) = convert(flags.file(), Spot::Flag("--listen"), &mut faults);
        faults.finish(config)
    }

    /// A filter for log lines from elsewhere than the file: `flag`, by which faults name its place, says `text`.
    ///
    /// # Errors
    /// When it is none, or looks like a misspelt level.
    pub fn log_filter(flag: &'static str, text: &str) -> Result<String, ConfigError> {
        let mut faults = Faults::new("", "");
        let filter = Field::<LogFilter>::typed(Spot::Flag(flag), text).value(&mut faults);
        faults.finish(filter.map(|filter| filter.0).unwrap_or_default())
    }
}

/// What `text` means, as far as it has no faults.
fn understand(text: &str, faults: &mut Faults<'_>) -> (Config, Vec<Spots>) {
    let (mut document, errors) = DeTable::parse_recoverable(text);
    let at = |error: &toml::de::Error| Spot::Byte(error.span().map_or(0, |span| span.start));
    for error in &errors {
        faults.add(at(error), error.message().trim_end());
    }
    if !errors.is_empty() {
        // What the rest would mean is guesswork now.
        return Default::default();
    }
    structure::check(document.get_mut(), &schema(), faults);
    match File::deserialize(Deserializer::from(document)) {
        Ok(file) => convert(file, Spot::Byte(0), faults),
        Err(error) => {
            faults.add(at(&error), error.message());
            Default::default()
        }
    }
}

/// From the shape of the file to what it means. `whole` is the place of what the file lacks altogether.
fn convert(file: File, whole: Spot, faults: &mut Faults<'_>) -> (Config, Vec<Spots>) {
    if file.inbound.is_empty() && file.outbound.is_empty() && faults.is_empty() {
        let hint = "add an `[[inbound]]` or an `[[outbound]]`";
        faults.add_with_hint(whole, "there is no listener", hint);
    }
    let identity = settings::identity(file.identity, faults);
    let log = settings::log(file.log, faults);
    let listeners = listeners::listeners(file.inbound, file.outbound, log.requests, faults);
    let (listeners, spots) = listeners.into_iter().unzip();
    let config = Config { identity, listeners, limits: settings::limits(file.limits, faults), log };
    (config, spots)
}

fn read_text(path: &Path, name: &str) -> Result<String, ConfigError> {
    let fail = |what: &str, error: &std::io::Error| ConfigError::of_file(name, format!("{what}: {error}"), None);
    let metadata = std::fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            let hint = "check the path; `svidgate inbound` and `svidgate outbound` run one listener without a file";
            ConfigError::of_file(name, "there is no such file", Some(hint))
        }
        _ => fail("the file cannot be looked at", &error),
    })?;
    // Asked before opening: opening a pipe would wait for its writer.
    if metadata.is_dir() {
        return Err(ConfigError::of_file(name, "it is a directory", Some("name the file in it")));
    }
    if !metadata.is_file() {
        return Err(ConfigError::of_file(name, "it is no regular file", None));
    }
    let mut bytes = Vec::new();
    let file = Disk::open(path).map_err(|error| fail("the file cannot be opened", &error))?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| fail("the file cannot be read", &error))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(ConfigError::of_file(name, "the file is larger than 1 MiB", None));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let before = String::from_utf8_lossy(error.as_bytes().get(..good).unwrap_or_default()).into_owned();
        let mut faults = Faults::new(name, &before);
        faults.add_with_hint(Spot::Byte(good), "the text is not UTF-8 from here on", "save the file as UTF-8");
        match faults.finish(()) {
            Err(error) => error,
            Ok(()) => ConfigError::of_file(name, "the text is not UTF-8", None),
        }
    })
}
