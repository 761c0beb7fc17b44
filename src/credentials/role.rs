//! What each file of a credential set is for.

use serde::{Serialize, Serializer};

use crate::spiffe::TrustDomain;

/// What a file is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The private key.
    PrivateKey,
    /// The chain, leaf first.
    Certificates,
    /// Key and chain in one file, in either order.
    KeyAndCertificates,
    /// A SPIFFE bundle map.
    BundleMap,
    /// PEM roots that name no trust domain.
    Roots,
    /// PEM roots of the trust domain that the file name names.
    RootsOf(TrustDomain),
    /// A bundle map or PEM roots: its content tells.
    AnyTrust,
}

impl Role {
    /// The role as `identity show` prints it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::PrivateKey => "private key",
            Self::Certificates => "certificates",
            Self::KeyAndCertificates => "private key and certificates",
            Self::BundleMap => "trust bundle map",
            Self::Roots | Self::RootsOf(_) => "trust roots",
            Self::AnyTrust => "trust bundle",
        }
    }

    /// Whether the file holds the private key.
    pub fn holds_key(&self) -> bool {
        matches!(self, Self::PrivateKey | Self::KeyAndCertificates)
    }
}

impl Serialize for Role {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
