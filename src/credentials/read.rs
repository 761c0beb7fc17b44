//! Reading files: every file of a set through one handle on its directory, so that a swap of the directory cannot come between; each
//! read bounded, and nothing but regular files.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat, readlinkat};
use nix::sys::stat::{Mode, fstat};
use zeroize::Zeroizing;

use super::error::{Ownership, Unreadable};
use super::{CredentialsError, Role};

/// The most bytes of one file that are read.
pub(super) const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// The most entries of a directory that are listed.
const MAX_ENTRIES: usize = 4096;

/// The link that Kubernetes' atomic writer swaps; the files beside it lead through it.
const DATA_LINK: &str = "..data";

const DIRECTORY_FLAGS: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

/// `O_NONBLOCK`: opening a FIFO must not wait for a writer.
const FILE_FLAGS: OFlag = OFlag::O_RDONLY.union(OFlag::O_NONBLOCK).union(OFlag::O_NOCTTY).union(OFlag::O_CLOEXEC);

/// An open directory: whatever its path leads to later, the files are read from what it led to when it was opened.
#[derive(Debug)]
pub(super) struct Directory {
    handle: OwnedFd,
    /// The path as it was given: what messages name, since it stays the same over swaps.
    given: PathBuf,
    /// Where it led to.
    resolved: PathBuf,
    /// Opened as it is, whatever `..data` lies in it.
    plain: bool,
}

/// One file as it was read.
pub(super) struct FileRead {
    pub(super) role: Role,
    /// The path by the directory's given name.
    pub(super) path: PathBuf,
    pub(super) ownership: Ownership,
    /// When the system last noted a change of it, in seconds since 1970.
    pub(super) changed: i64,
    pub(super) bytes: Zeroizing<Vec<u8>>,
}

impl Directory {
    /// Opens `path`. Where a `..data` link lies in it, what that leads to is opened instead: the files beside the link would be
    /// resolved one by one, and a swap could come between two of them.
    pub(super) fn open(path: &Path) -> Result<Self, CredentialsError> {
        let directory = Self::open_plain(path)?;
        match readlinkat(&directory.handle, DATA_LINK) {
            Ok(target) => {
                let handle = openat(&directory.handle, target.as_os_str(), DIRECTORY_FLAGS, Mode::empty());
                Ok(Self {
                    handle: handle.map_err(|errno| failure(&path.join(DATA_LINK), errno, Expected::Directory))?,
                    given: directory.given,
                    resolved: directory.resolved.join(target),
                    plain: false,
                })
            }
            Err(_) => Ok(Self { plain: false, ..directory }),
        }
    }

    /// Opens `path` itself, whatever lies in it.
    pub(super) fn open_plain(path: &Path) -> Result<Self, CredentialsError> {
        let fail = |errno| failure(path, errno, Expected::Directory);
        // Resolved first and opened by the resolved name, so that the name told is that of the handle.
        let resolved = path.canonicalize().map_err(|error| fail(errno_of(&error)))?;
        let handle = open(&resolved, DIRECTORY_FLAGS, Mode::empty()).map_err(fail)?;
        Ok(Self { handle, given: path.to_owned(), resolved, plain: true })
    }

    pub(super) fn given(&self) -> &Path {
        &self.given
    }

    pub(super) fn resolved(&self) -> &Path {
        &self.resolved
    }

    /// Whether the given path leads elsewhere by now: what was read was a generation of its own, and has been replaced.
    pub(super) fn is_superseded(&self) -> bool {
        let now = if self.plain { Self::open_plain(&self.given) } else { Self::open(&self.given) };
        now.map_or(true, |now| now.resolved != self.resolved)
    }

    /// The names in the directory that are text.
    pub(super) fn names(&self) -> Result<BTreeSet<String>, CredentialsError> {
        let fail = |errno| failure(&self.given, errno, Expected::Directory);
        let mut listing = Dir::openat(&self.handle, ".", DIRECTORY_FLAGS, Mode::empty()).map_err(fail)?;
        let mut names = BTreeSet::new();
        for entry in listing.iter() {
            if let Ok(name) = entry.map_err(fail)?.file_name().to_str() {
                names.insert(name.to_owned());
            }
            if names.len() > MAX_ENTRIES {
                return Err(CredentialsError::Unreadable {
                    path: self.given.clone(),
                    reason: Unreadable::TooManyFiles { limit: MAX_ENTRIES },
                });
            }
        }
        Ok(names)
    }

    /// When the system last noted a change of its entries, in seconds since 1970.
    pub(super) fn changed(&self) -> Option<i64> {
        fstat(&self.handle).ok().map(|stat| stat.st_ctime)
    }

    /// Whether a file of this name can be opened.
    pub(super) fn has(&self, name: &OsStr) -> bool {
        openat(&self.handle, name, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).is_ok()
    }

    /// Reads one regular file of at most [`MAX_FILE_BYTES`].
    pub(super) fn read(&self, name: &OsStr, role: Role) -> Result<FileRead, CredentialsError> {
        let path = self.given.join(name);
        let unreadable = |reason| CredentialsError::Unreadable { path: path.clone(), reason };
        let file = match openat(&self.handle, name, FILE_FLAGS, Mode::empty()) {
            Ok(descriptor) => File::from(descriptor),
            Err(Errno::EACCES | Errno::EPERM) => return Err(unreadable(denied(self.metadata(name).as_ref()))),
            Err(errno) => return Err(failure(&path, errno, Expected::File)),
        };
        let metadata = file.metadata().map_err(|error| unreadable(io(&error)))?;
        if !metadata.is_file() {
            return Err(unreadable(Unreadable::Kind { found: kind(&metadata), expected: "a file" }));
        }
        let too_large = Unreadable::TooLarge { limit: MAX_FILE_BYTES };
        if metadata.len() > MAX_FILE_BYTES {
            return Err(unreadable(too_large));
        }
        // With room to spare: growing would leave a copy of the key behind that nobody wipes.
        let capacity = usize::try_from(metadata.len()).unwrap_or(0).saturating_add(1024);
        let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
        let read = file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes);
        match read.map_err(|error| unreadable(io(&error)))? {
            length if length as u64 > MAX_FILE_BYTES => Err(unreadable(too_large)),
            _ => Ok(FileRead { role, ownership: ownership(&metadata), changed: metadata.ctime(), bytes, path }),
        }
    }

    fn metadata(&self, name: &OsStr) -> Option<Metadata> {
        let descriptor = openat(self.handle.as_fd(), name, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).ok()?;
        File::from(descriptor).metadata().ok()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Expected {
    Directory,
    File,
}

/// What the system's refusal to open `path` means to the operator.
fn failure(path: &Path, errno: Errno, expected: Expected) -> CredentialsError {
    let reason = match (errno, expected) {
        (Errno::ENOENT, _) => return CredentialsError::NotThere(path.to_owned()),
        (Errno::EACCES | Errno::EPERM, _) => denied(path.metadata().ok().as_ref()),
        (Errno::ELOOP, _) => Unreadable::SymlinkLoop,
        (Errno::ENOTDIR, Expected::Directory) => Unreadable::Kind {
            found: path.metadata().map_or("a file, or below one", |metadata| kind(&metadata)),
            expected: "a directory",
        },
        (Errno::ENXIO, Expected::File) => {
            Unreadable::Kind { found: "a socket or a device without a driver", expected: "a file" }
        }
        (errno, _) => Unreadable::Io(errno.desc().to_owned()),
    };
    CredentialsError::Unreadable { path: path.to_owned(), reason }
}

fn denied(metadata: Option<&Metadata>) -> Unreadable {
    Unreadable::Denied { uid: nix::unistd::geteuid().as_raw(), file: metadata.map(ownership) }
}

fn ownership(metadata: &Metadata) -> Ownership {
    Ownership { uid: metadata.uid(), gid: metadata.gid(), mode: metadata.mode() & 0o7777 }
}

fn kind(metadata: &Metadata) -> &'static str {
    let kind = metadata.file_type();
    if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a FIFO"
    } else if kind.is_char_device() || kind.is_block_device() {
        "a device"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a file"
    }
}

fn io(error: &std::io::Error) -> Unreadable {
    Unreadable::Io(errno_of(error).desc().to_owned())
}

fn errno_of(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw)
}
