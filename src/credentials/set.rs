//! Finding the set of files that a source means, and reading it whole.

use std::ffi::OsString;
use std::hash::{BuildHasher, Hasher as _};
use std::path::{Path, PathBuf};

use super::layout::{Selection, Unrecognised, detect};
use super::read::{Directory, FileRead};
use super::{CredentialsError, Layout, Role, Source};
use crate::spiffe::UnixTime;

/// For so many whole seconds nothing of a set has changed that counts as quiet: a hundred times what a writer takes from its first file to its
/// last, and more than the clocks of a file server and of ours are apart.
const QUIET: u64 = 3;

/// The places where platforms put credentials, in the order in which they are tried when the configuration names none:
///
/// 1. `/run/secrets/workload-spiffe-credentials`: Compute Engine and GKE (documented as `/var/run/...`, which is the same place);
/// 2. `/var/run/secrets/spiffe.io`: cert-manager's csi-driver-spiffe;
/// 3. `$CREDENTIALS_DIRECTORY`: a systemd unit's `LoadCredential=`.
///
/// The first that holds any credential file is taken, also while it is still being filled, and kept as long as the process lives: a
/// moment's absence during a rotation must not let another identity in. While none does, all of them are watched.
pub fn well_known_places() -> Vec<PathBuf> {
    let fixed = ["/run/secrets/workload-spiffe-credentials", "/var/run/secrets/spiffe.io"];
    let systemd = std::env::var_os("CREDENTIALS_DIRECTORY").filter(|directory| !directory.is_empty());
    let fixed = fixed.into_iter().map(PathBuf::from);
    fixed.chain(systemd.map(PathBuf::from)).collect()
}

/// The files of one credential set, each by an open directory and a name in it.
pub(super) struct FileSet {
    pub(super) layout: Layout,
    directories: Vec<Directory>,
    files: Vec<Member>,
    pub(super) ignored: Vec<String>,
}

struct Member {
    directory: usize,
    name: OsString,
    role: Role,
}

/// One reading of a whole set.
pub(super) struct Reading {
    pub(super) layout: Layout,
    /// The directory as it was given.
    pub(super) place: PathBuf,
    /// Where it led to when it was opened.
    pub(super) resolved: PathBuf,
    pub(super) files: Vec<FileRead>,
    pub(super) ignored: Vec<String>,
    /// The last change of any of the files or of their directories, in seconds since 1970; `None` where the system does not say.
    changed: Option<i64>,
}

impl FileSet {
    /// Finds and opens what `source` means. `places` are the well-known ones.
    pub(super) fn open(source: &Source, places: &[PathBuf]) -> Result<Self, CredentialsError> {
        match source {
            Source::WellKnown => Self::first_of(places),
            Source::Directory(path) => Self::in_directory(path),
            Source::Files { certificates, private_key, trust_bundle } => {
                Self::explicit(certificates, private_key, trust_bundle)
            }
        }
    }

    fn first_of(places: &[PathBuf]) -> Result<Self, CredentialsError> {
        for place in places {
            match Self::in_directory(place) {
                Err(CredentialsError::NotThere(_) | CredentialsError::Nothing(_)) => {}
                found => return found,
            }
        }
        Err(CredentialsError::Nowhere(places.to_vec()))
    }

    fn in_directory(path: &Path) -> Result<Self, CredentialsError> {
        let opened = Directory::open(path)?;
        let names = opened.names()?;
        let directory = || path.to_owned();
        let Selection { layout, files, ignored } = detect(&names).map_err(|why| match why {
            Unrecognised::Nothing => CredentialsError::Nothing(directory()),
            Unrecognised::Incomplete { layout, missing } => {
                CredentialsError::Incomplete { directory: directory(), layout, missing }
            }
            Unrecognised::KeyMissing { layout, file } => {
                CredentialsError::KeyMissing { directory: directory(), layout, file }
            }
            Unrecognised::Ambiguous(first, second) => {
                CredentialsError::Ambiguous { directory: directory(), first, second }
            }
        })?;
        let member = |(role, name): (Role, String)| Member { directory: 0, name: name.into(), role };
        Ok(Self { layout, directories: vec![opened], files: files.into_iter().map(member).collect(), ignored })
    }

    fn explicit(certificates: &Path, private_key: &Path, trust_bundle: &Path) -> Result<Self, CredentialsError> {
        let mut set =
            Self { layout: Layout::Explicit, directories: Vec::new(), files: Vec::new(), ignored: Vec::new() };
        if certificates == private_key {
            set.add(private_key, Role::KeyAndCertificates)?;
        } else {
            set.add(private_key, Role::PrivateKey)?;
            set.add(certificates, Role::Certificates)?;
        }
        set.add(trust_bundle, Role::AnyTrust)?;
        Ok(set)
    }

    /// Adds a file by its path, with one handle for all files of one directory.
    fn add(&mut self, path: &Path, role: Role) -> Result<(), CredentialsError> {
        let Some(name) = path.file_name() else {
            return Err(CredentialsError::NotThere(path.to_owned()));
        };
        let parent = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let known = |directory: &Directory| directory.given() == parent && directory.has(name);
        let directory = match self.directories.iter().position(known) {
            Some(index) => index,
            None => {
                let mut directory = Directory::open(parent)?;
                if !directory.has(name) {
                    directory = Directory::open_plain(parent)?;
                }
                self.directories.push(directory);
                self.directories.len() - 1
            }
        };
        self.files.push(Member { directory, name: name.to_owned(), role });
        Ok(())
    }

    /// Reads every file of the set.
    pub(super) fn read(&self) -> Result<Reading, CredentialsError> {
        let files = self.files.iter().filter_map(|member| {
            let directory = self.directories.get(member.directory)?;
            Some(directory.read(&member.name, member.role.clone()))
        });
        let files = files.collect::<Result<Vec<_>, _>>()?;
        let first = self.directories.first();
        // Last: a change that came while the files were read counts.
        let directories = self.directories.iter().map(Directory::changed).collect::<Option<Vec<_>>>();
        let changed =
            directories.and_then(|times| times.into_iter().chain(files.iter().map(|file| file.changed)).max());
        Ok(Reading {
            changed,
            layout: self.layout,
            place: first.map(|directory| directory.given().to_owned()).unwrap_or_default(),
            resolved: first.map(|directory| directory.resolved().to_owned()).unwrap_or_default(),
            files,
            ignored: self.ignored.clone(),
        })
    }

    /// Whether a directory of the set was replaced since it was opened.
    pub(super) fn is_superseded(&self) -> bool {
        self.directories.iter().any(Directory::is_superseded)
    }
}

impl Reading {
    /// The first file that has one of these roles.
    pub(super) fn find(&self, wanted: impl Fn(&Role) -> bool) -> Option<&FileRead> {
        self.files.iter().find(|file| wanted(&file.role))
    }

    /// Whether nobody has touched the files for a while, so that no writer is in the middle of them. Not where their times are of the future, or
    /// none: then they tell nothing.
    pub(super) fn is_quiet(&self, now: UnixTime) -> bool {
        let age = |changed: i64| {
            u64::try_from(changed).ok().filter(|at| *at > 0).and_then(|at| now.as_secs().checked_sub(at))
        };
        self.changed.and_then(age).is_some_and(|age| age >= QUIET)
    }

    /// Whether both readings found the same bytes in the same files.
    pub(super) fn same_as(&self, other: &Self) -> bool {
        self.layout == other.layout
            && self.files.len() == other.files.len()
            && self.files.iter().zip(&other.files).all(|(one, two)| one.path == two.path && one.bytes == two.bytes)
    }

    /// A number that is the same for the same bytes in the same files, so that a rewrite of the same is seen without keeping a key in
    /// memory to compare with.
    pub(super) fn fingerprint(&self, state: &impl BuildHasher) -> u64 {
        let mut hasher = state.build_hasher();
        hasher.write(self.layout.as_str().as_bytes());
        for file in &self.files {
            hasher.write(file.path.as_os_str().as_encoded_bytes());
            hasher.write_usize(file.bytes.len());
            hasher.write(&file.bytes);
        }
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt as _;
    use std::time::{Duration, SystemTime};

    use super::*;

    const NAMES: [&str; 3] = ["tls.key", "tls.crt", "ca.crt"];

    fn read_new(directory: &Path) -> Reading {
        NAMES.iter().for_each(|name| fs::write(directory.join(name), name).unwrap());
        FileSet::in_directory(directory).unwrap().read().unwrap()
    }

    fn instant(seconds: i64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds.unsigned_abs()))
    }

    #[test]
    fn a_set_is_quiet_a_while_after_the_last_change_of_its_files_and_of_their_directory() {
        let directory = tempfile::tempdir().unwrap();
        let reading = read_new(directory.path());
        let files = NAMES.map(|name| directory.path().join(name));
        let changes = files.iter().map(PathBuf::as_path).chain([directory.path()]);
        let last = changes.map(|path| path.metadata().unwrap().ctime()).max().unwrap();
        assert_eq!(reading.changed, Some(last));
        assert!(!reading.is_quiet(instant(last + 2)));
        assert!(reading.is_quiet(instant(last + 3)));
    }

    #[test]
    fn a_set_whose_times_tell_nothing_is_never_quiet() {
        let directory = tempfile::tempdir().unwrap();
        let before = UnixTime::now();
        let reading = read_new(directory.path());
        assert!(!reading.is_quiet(before), "changed in the future");
        for changed in [None, Some(0), Some(-1)] {
            assert!(!Reading { changed, ..read_new(directory.path()) }.is_quiet(before), "{changed:?}");
        }
    }

    #[test]
    fn a_writer_that_sets_the_time_of_its_files_back_is_not_taken_for_quiet() {
        let directory = tempfile::tempdir().unwrap();
        let before = UnixTime::now();
        read_new(directory.path());
        let key = fs::File::options().write(true).open(directory.path().join("tls.key")).unwrap();
        key.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1)).unwrap();
        assert!(!FileSet::in_directory(directory.path()).unwrap().read().unwrap().is_quiet(before));
    }
}
