//! What the test binaries share: throwaway credentials, and waiting for a condition.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::path::Path;
use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use svidgate::credentials::{Identity, Source};
use svidgate::mint::{Authority, Generation, bundle_map};
use svidgate::spiffe::{SpiffeId, TrustDomain};

/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// A throwaway authority.
pub(crate) fn authority(trust_domain: &str) -> Authority {
    Authority::new(TrustDomain::parse(trust_domain).unwrap()).unwrap()
}

/// A fresh generation of the SVID `id`, which trusts its own trust domain.
pub(crate) fn generation(authority: &Authority, id: &str) -> Generation {
    generation_lasting(authority, id, HOUR)
}

pub(crate) fn generation_lasting(authority: &Authority, id: &str, lifetime: Duration) -> Generation {
    let issued = authority.issue(&SpiffeId::parse(id).unwrap(), lifetime).unwrap();
    Generation::new(issued, authority.root_pem(), bundle_map(&[authority]))
}

/// The leaf of a generation.
pub(crate) fn leaf_of(generation: &Generation) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(generation.certificates.as_bytes()).unwrap()
}

/// The credentials in `directory`, followed by events alone as far as a test can tell.
pub(crate) fn identity(directory: &Path) -> Identity {
    Identity { source: Source::Directory(directory.to_owned()), poll_interval: HOUR, ..Identity::default() }
}

/// Waits until `condition` holds.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
