//! What an operator should know of credentials even where they are good enough to use.

use std::fmt;

use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::set::Reading;
use crate::spiffe::{CertificateFacts, DroppedRoot, SvidError, TrustBundles, TrustDomain, UnixTime};

/// One thing worth knowing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Everybody on the machine can read the key.
    WorldReadableKey {
        /// The key's file.
        file: String,
        /// Its permission bits.
        mode: u32,
    },
    /// The leaf says nothing of extended key usage: some peers refuse that.
    NoExtendedKeyUsage,
    /// A certificate in a trust bundle that may not act as a root, and was left out.
    DroppedRoot {
        /// Whose bundle.
        trust_domain: TrustDomain,
        /// The certificate's subject.
        subject: String,
        /// The rule that it breaks.
        reason: SvidError,
    },
    /// A root outside its validity: it vouches for nothing.
    RootNotValid {
        /// Whose bundle.
        trust_domain: TrustDomain,
        /// The root's subject.
        subject: String,
        /// Whether its time is over, rather than still to come.
        expired: bool,
    },
    /// A root with name constraints on URIs: no SVID below it is accepted.
    UriNameConstraints {
        /// Whose bundle.
        trust_domain: TrustDomain,
        /// The root's subject.
        subject: String,
    },
    /// A trust domain of the bundle map that has no roots: none of its SVIDs is accepted.
    NoRoots(TrustDomain),
    /// The bundle map revokes our own trust domain: no peer of it is accepted, nor are we.
    OwnTrustRevoked(TrustDomain),
    /// A file that another layout reads lies beside those that were read.
    IgnoredFile(String),
}

impl Finding {
    /// A short name; one of a closed set.
    pub fn code(&self) -> &'static str {
        match self {
            Self::WorldReadableKey { .. } => "world_readable_key",
            Self::NoExtendedKeyUsage => "no_extended_key_usage",
            Self::DroppedRoot { .. } => "dropped_root",
            Self::RootNotValid { .. } => "root_not_valid",
            Self::UriNameConstraints { .. } => "uri_name_constraints",
            Self::NoRoots(_) => "no_roots",
            Self::OwnTrustRevoked(_) => "own_trust_revoked",
            Self::IgnoredFile(_) => "ignored_file",
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WorldReadableKey { file, mode } => {
                write!(f, "the private key in {file} can be read by everybody on this machine (mode {mode:04o})")
            }
            Self::NoExtendedKeyUsage => f.write_str(
                "the leaf has no extended key usage; it should have serverAuth and clientAuth (X509-SVID §4.4)",
            ),
            Self::DroppedRoot { trust_domain, subject, reason } => write!(
                f,
                "a certificate in the bundle of {trust_domain} ({subject}) is left out, it may not act as a root: {reason} ({})",
                reason.rule()
            ),
            Self::RootNotValid { trust_domain, subject, expired } => {
                let state = if *expired { "has expired" } else { "is not valid yet" };
                write!(f, "a root of {trust_domain} ({subject}) {state} and vouches for nothing")
            }
            Self::UriNameConstraints { trust_domain, subject } => write!(
                f,
                "a root of {trust_domain} ({subject}) has name constraints on URIs: every SVID below it is refused, matching or not"
            ),
            Self::NoRoots(domain) => write!(f, "the bundle of {domain} has no roots: all its SVIDs are refused"),
            Self::OwnTrustRevoked(domain) => write!(
                f,
                "the bundle map revokes our own trust domain {domain}: no peer of it is accepted, and peers that have the same map refuse us"
            ),
            Self::IgnoredFile(name) => write!(f, "{name} is ignored: this layout does not read it"),
        }
    }
}

impl Serialize for Finding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut finding = serializer.serialize_struct("Finding", 2)?;
        finding.serialize_field("code", self.code())?;
        finding.serialize_field("message", &self.to_string())?;
        finding.end()
    }
}

impl Reading {
    /// What the files themselves show.
    pub(super) fn findings(&self) -> impl Iterator<Item = Finding> {
        let key = self.find(super::Role::holds_key);
        let readable = key
            .filter(|file| file.ownership.mode & 0o004 != 0)
            .map(|file| Finding::WorldReadableKey { file: file.path.display().to_string(), mode: file.ownership.mode });
        readable.into_iter().chain(self.ignored.iter().cloned().map(Finding::IgnoredFile))
    }
}

/// What a leaf that obeys the rules still lacks.
pub(super) fn of_leaf(leaf: &[u8]) -> Vec<Finding> {
    let usage = match X509Certificate::from_der(leaf) {
        Ok((_, certificate)) => certificate.extended_key_usage().is_ok_and(|usage| usage.is_some()),
        Err(_) => true,
    };
    if usage { Vec::new() } else { vec![Finding::NoExtendedKeyUsage] }
}

/// What is wrong with roots: with those left out, and with those that are in.
pub(super) fn of_roots(
    bundles: &TrustBundles,
    dropped: Vec<(TrustDomain, DroppedRoot)>,
    now: UnixTime,
) -> Vec<Finding> {
    let mut findings: Vec<Finding> = dropped
        .into_iter()
        .map(|(trust_domain, root)| Finding::DroppedRoot {
            trust_domain,
            subject: subject(&root.der),
            reason: root.reason,
        })
        .collect();
    for (trust_domain, bundle) in bundles.iter() {
        if bundle.roots().is_empty() {
            findings.push(Finding::NoRoots(trust_domain.clone()));
        }
        for root in bundle.roots() {
            if !root.is_valid_at(now) {
                findings.push(Finding::RootNotValid {
                    trust_domain: trust_domain.clone(),
                    subject: subject(root.der()),
                    expired: root.not_after() < now,
                });
            }
            if root.constrains_uris() {
                findings.push(Finding::UriNameConstraints {
                    trust_domain: trust_domain.clone(),
                    subject: subject(root.der()),
                });
            }
        }
    }
    findings
}

fn subject(der: &[u8]) -> String {
    match CertificateFacts::of(der) {
        Some(facts) if !facts.subject.is_empty() => facts.subject,
        Some(facts) => format!("serial {}", facts.serial),
        None => "unreadable".to_owned(),
    }
}
