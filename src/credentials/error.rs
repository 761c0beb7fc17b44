//! Every way in which the files on disk are no credentials: each says what, where, and what to do.

use std::fmt;
use std::path::{Path, PathBuf};

use super::Layout;
use crate::spiffe::{BundleError, Rejection, SpiffeId};

/// Why the files on disk are no credentials to use. The last good ones stay in use until they expire.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// The directory or a file named in the configuration does not exist.
    #[error("{} is not there yet; if it never comes, check the path and whether the platform is set up to issue credentials", .0.display())]
    NotThere(PathBuf),
    /// None of the well-known places holds anything.
    #[error("none of {} holds credentials yet; where they are elsewhere, name the directory (`--identity`, or `dir` in `[identity]`)", paths(.0))]
    Nowhere(Vec<PathBuf>),
    /// A directory without any file that a layout knows.
    #[error("{} holds no credential file of any known layout yet; where the files have other names, give certificates, private_key and trust_bundle one by one", .0.display())]
    Nothing(PathBuf),
    /// Some files of a layout are missing.
    #[error("{} looks like {layout}, but still lacks {}", directory.display(), missing.join(" and "))]
    Incomplete {
        /// The directory.
        directory: PathBuf,
        /// The layout that its files come closest to.
        layout: Layout,
        /// The files that this layout has and the directory has not.
        missing: Vec<String>,
    },
    /// Everything is there but the key.
    #[error("{} holds the certificates of {layout}, but not the private key {file}: the issuer is set to hide keys (then switch that off, svidgate needs the key), or the directory is being filled", directory.display())]
    KeyMissing {
        /// The directory.
        directory: PathBuf,
        /// Its layout.
        layout: Layout,
        /// The name of the key file.
        file: String,
    },
    /// Two whole sets lie in one directory.
    #[error("{} holds two sets of credentials, {first} and {second}; remove one, or give certificates, private_key and trust_bundle one by one", directory.display())]
    Ambiguous {
        /// The directory.
        directory: PathBuf,
        /// One layout that is complete.
        first: Layout,
        /// Another.
        second: Layout,
    },
    /// A file or directory that cannot be read.
    #[error("{} {reason}", path.display())]
    Unreadable {
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        reason: Unreadable,
    },
    /// A file that was read and is not what it should be.
    #[error("{} {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with its content.
        reason: Malformed,
    },
    /// Key and leaf belong to different certificates.
    #[error("the key in {} is not the key of the first certificate in {}; both must come from one issuance", private_key.display(), certificates.display())]
    KeyMismatch {
        /// The key's file.
        private_key: PathBuf,
        /// The chain's file.
        certificates: PathBuf,
    },
    /// The chain is no X.509-SVID, has expired, or does not reach its own trust bundle.
    #[error("the certificates in {} prove nothing: {rejection}", certificates.display())]
    Rejected {
        /// The chain's file.
        certificates: PathBuf,
        /// What a peer would say to it.
        rejection: Rejection,
    },
    /// The trust bundle counts for nothing.
    #[error("the trust bundle {} is of no use: {reason}", path.display())]
    TrustBundle {
        /// The bundle's file.
        path: PathBuf,
        /// What is wrong with its content.
        reason: BundleError,
    },
    /// Not the identity that the configuration expects.
    #[error("the certificates are those of {found}, but the configuration expects {expected}")]
    UnexpectedId {
        /// The leaf's ID.
        found: SpiffeId,
        /// The configured one.
        expected: SpiffeId,
    },
    /// The files changed each time they were looked at.
    #[error("the files in {} keep changing while they are read", .0.display())]
    Unsettled(PathBuf),
}

fn paths(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

impl CredentialsError {
    /// Whether this is how a directory looks that has not been filled yet, rather than one that is wrong.
    pub fn is_waiting(&self) -> bool {
        matches!(
            self,
            Self::NotThere(_) | Self::Nowhere(_) | Self::Nothing(_) | Self::Incomplete { .. } | Self::Unsettled(_)
        )
    }

    /// The directory that holds files, but no set of them that can be read.
    pub(super) fn directory(&self) -> Option<&Path> {
        match self {
            Self::Nothing(directory)
            | Self::Incomplete { directory, .. }
            | Self::KeyMissing { directory, .. }
            | Self::Ambiguous { directory, .. } => Some(directory),
            _ => None,
        }
    }

    /// A short name for metrics and status; one of a closed set.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotThere(_) | Self::Nowhere(_) => "not_there",
            Self::Nothing(_) => "no_files",
            Self::Incomplete { .. } => "incomplete",
            Self::KeyMissing { .. } => "key_missing",
            Self::Ambiguous { .. } => "ambiguous",
            Self::Unreadable { .. } => "unreadable",
            Self::Malformed { .. } => "malformed",
            Self::KeyMismatch { .. } => "key_mismatch",
            Self::Rejected { .. } => "rejected",
            Self::TrustBundle { .. } => "trust_bundle",
            Self::UnexpectedId { .. } => "unexpected_id",
            Self::Unsettled(_) => "unsettled",
        }
    }
}

/// Why a file or directory could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// EACCES or EPERM.
    Denied {
        /// Our effective user.
        uid: u32,
        /// Owner, group and mode of the file, where they can be seen.
        file: Option<Ownership>,
    },
    /// A directory, a FIFO, a device or a socket where a file should be; or a file where a directory should be.
    Kind {
        /// What it is.
        found: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// Larger than any credential.
    TooLarge {
        /// The most bytes that are read.
        limit: u64,
    },
    /// A directory with more entries than are listed.
    TooManyFiles {
        /// The most entries that are listed.
        limit: usize,
    },
    /// A symbolic link that leads to itself.
    SymlinkLoop,
    /// Anything else that the system said.
    Io(String),
}

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ownership {
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The permission bits.
    pub mode: u32,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied { uid, file } => {
                write!(f, "cannot be read by us (user {uid}): permission denied")?;
                match file {
                    Some(Ownership { uid, gid, mode }) => {
                        write!(
                            f,
                            "; it belongs to user {uid} and group {gid} and has mode {mode:04o}: run as that user, or join that group and allow it to read"
                        )
                    }
                    None => f.write_str("; a directory on the way to it cannot be searched"),
                }
            }
            Self::Kind { found, expected } => write!(f, "is {found}, not {expected}"),
            Self::TooLarge { limit } => write!(f, "is larger than {limit} bytes, which no credential file is"),
            Self::TooManyFiles { limit } => {
                write!(f, "has more than {limit} entries, which no credential directory has")
            }
            Self::SymlinkLoop => f.write_str("is a symbolic link that leads to itself, or through too many others"),
            Self::Io(text) => write!(f, "cannot be read: {text}"),
        }
    }
}

/// What is wrong with the content of a file. Never says what stands in it: it may be a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// No bytes.
    #[error("is empty")]
    Empty,
    /// A PEM block without its end, or with bytes that are no base64.
    #[error("is no whole PEM text: a block is cut short or damaged")]
    Pem,
    /// PEM without a certificate.
    #[error("holds no certificate (no PEM block `CERTIFICATE`)")]
    NoCertificate,
    /// PEM without a key.
    #[error("holds no private key (no PEM block `PRIVATE KEY`, `EC PRIVATE KEY` or `RSA PRIVATE KEY`)")]
    NoKey,
    /// A key under a passphrase.
    #[error("holds an encrypted private key; it must be unencrypted")]
    EncryptedKey,
    /// More than one key.
    #[error("holds {0} private keys; one is expected")]
    SeveralKeys(usize),
    /// A key that the TLS library cannot use.
    #[error(
        "holds a private key that cannot be used; supported are EC P-256 and P-384, RSA of 2048 to 4096 bits and Ed25519, as PKCS#8, SEC1 or PKCS#1"
    )]
    UnsupportedKey,
}
