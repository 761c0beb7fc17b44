//! Everything there is to see of credentials on disk, good or not: what `identity show` prints.

use std::path::PathBuf;

use serde::Serialize;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;

use super::finding::{Finding, of_leaf, of_roots};
use super::layout::CONFIG_STATUS;
use super::load::{certificates, check, trust};
use super::read::{Directory, FileRead};
use super::set::{FileSet, Reading};
use super::{CredentialsError, Identity, Layout, Role, Source};
use crate::spiffe::{CertificateFacts, Leaf, SpiffeId, TrustBundles, TrustDomain, UnixTime};

/// The most that is shown of the agent's own state.
const MAX_STATUS_CHARACTERS: usize = 4096;

/// What lies on disk. Every part is there as far as it could be read; `error` says why the whole is not acceptable.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Inspection {
    /// The layout, where one was recognised.
    pub layout: Option<Layout>,
    /// Where the files were looked for.
    pub place: Option<PathBuf>,
    /// What that leads to.
    pub directory: Option<PathBuf>,
    /// The files of the set.
    pub files: Vec<FileFacts>,
    /// The ID that the leaf carries.
    pub spiffe_id: Option<SpiffeId>,
    /// The leaf's own validity, in seconds since 1970: first and last instant.
    pub validity: Option<(u64, u64)>,
    /// Seconds until the first certificate on the leaf's path expires, where the set is acceptable.
    pub seconds_left: Option<u64>,
    /// The kind of the leaf's key, such as `EC P-256`.
    pub key: Option<String>,
    /// The chain, leaf first.
    pub chain: Vec<CertificateFacts>,
    /// Every trust domain with its roots.
    pub trust_domains: Vec<TrustDomainFacts>,
    /// What an operator should know.
    pub findings: Vec<Finding>,
    /// What the Compute Engine agent says of itself, at most 4,096 characters. Nothing is decided from it.
    pub config_status: Option<String>,
    /// Why the set is not acceptable; `None` where it is.
    pub error: Option<String>,
    /// The short name of that error.
    pub error_reason: Option<&'static str>,
}

/// One file of the set.
#[derive(Clone, Debug, Serialize)]
pub struct FileFacts {
    /// Its path, by the name that was given.
    pub path: PathBuf,
    /// What it is for.
    pub role: Role,
    /// Its permission bits in octal.
    pub mode: String,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its size in bytes.
    pub size: usize,
}

/// One trust domain.
#[derive(Clone, Debug, Serialize)]
pub struct TrustDomainFacts {
    /// Its name.
    pub name: TrustDomain,
    /// Its roots; none means that all its SVIDs are refused.
    pub roots: Vec<RootFacts>,
}

/// One root.
#[derive(Clone, Debug, Serialize)]
pub struct RootFacts {
    /// What its certificate says.
    pub certificate: Option<CertificateFacts>,
    /// Whether it may vouch for anything now.
    pub valid: bool,
}

impl Inspection {
    /// Whether the credentials can be used.
    pub fn is_acceptable(&self) -> bool {
        self.error.is_none()
    }
}

/// Looks at the credentials of `identity` once and tells all there is to see. `places` are the well-known ones. Blocks; never fails:
/// what is wrong stands in the answer.
pub fn inspect(identity: &Identity, places: &[PathBuf], now: UnixTime) -> Inspection {
    let mut inspection = Inspection { place: place_of(&identity.source), ..Inspection::default() };
    let outcome = FileSet::open(&identity.source, places).and_then(|set| {
        let reading = set.read()?;
        inspection.describe(&reading, identity, now);
        check(&reading, identity, now)
    });
    if let Some(directory) = outcome.as_ref().err().and_then(CredentialsError::directory) {
        inspection.place = Some(directory.to_owned());
    }
    inspection.add_state(&identity.source);
    match outcome {
        Ok(loaded) => {
            let until = loaded.credentials.svid.valid_until.as_secs();
            inspection.seconds_left = Some(until.saturating_sub(now.as_secs()));
            inspection.findings = loaded.findings;
        }
        Err(error) => inspection.refuse(&error),
    }
    inspection
}

impl Inspection {
    fn refuse(&mut self, error: &CredentialsError) {
        self.error = Some(error.to_string());
        self.error_reason = Some(error.reason());
    }

    /// Where the place leads to, and what the Compute Engine agent left there of its own state.
    fn add_state(&mut self, source: &Source) {
        let place = self.place.as_deref().filter(|_| !matches!(source, Source::Files { .. }));
        let Some(directory) = place.and_then(|place| Directory::open(place).ok()) else {
            return;
        };
        let state = directory.read(CONFIG_STATUS.as_ref(), Role::AnyTrust).ok();
        self.config_status = state.map(|file| bounded(&String::from_utf8_lossy(&file.bytes)));
        self.directory.get_or_insert_with(|| directory.resolved().to_owned());
    }

    /// Each part on its own: one that is bad hides no other.
    fn describe(&mut self, reading: &Reading, identity: &Identity, now: UnixTime) {
        self.layout = Some(reading.layout);
        self.place = Some(reading.place.clone());
        self.directory = Some(reading.resolved.clone());
        self.files = reading.files.iter().map(facts_of).collect();
        self.findings.extend(reading.findings());
        let chain = certificates(reading).unwrap_or_default();
        self.chain = chain.iter().filter_map(|der| CertificateFacts::of(der)).collect();
        let leaf = chain.first().and_then(|der| {
            self.key = key_kind(der);
            self.findings.extend(of_leaf(der));
            Leaf::check(der).ok()
        });
        if let Some(leaf) = &leaf {
            self.spiffe_id = Some(leaf.id.clone());
            self.validity = Some((leaf.not_before.as_secs(), leaf.not_after.as_secs()));
        }
        let own = identity.trust_domain.as_ref().or_else(|| Some(leaf.as_ref()?.id.trust_domain()));
        // A bundle map names its own domains: it can be shown whatever the leaf is like.
        let unnamed = TrustDomain::parse("unknown").ok();
        if let Some(trust) = own.or(unnamed.as_ref()).and_then(|own| trust(reading, own).ok()) {
            self.trust_domains = domains(&trust.bundles, now);
            self.findings.extend(of_roots(&trust.bundles, trust.dropped, now));
        }
    }
}

fn place_of(source: &Source) -> Option<PathBuf> {
    match source {
        Source::WellKnown => None,
        Source::Directory(path) => Some(path.clone()),
        Source::Files { certificates, .. } => certificates.parent().map(PathBuf::from),
    }
}

fn facts_of(file: &FileRead) -> FileFacts {
    FileFacts {
        path: file.path.clone(),
        role: file.role.clone(),
        mode: format!("{:04o}", file.ownership.mode),
        uid: file.ownership.uid,
        gid: file.ownership.gid,
        size: file.bytes.len(),
    }
}

fn domains(bundles: &TrustBundles, now: UnixTime) -> Vec<TrustDomainFacts> {
    let facts = bundles.iter().map(|(name, bundle)| TrustDomainFacts {
        name: name.clone(),
        roots: bundle
            .roots()
            .iter()
            .map(|root| RootFacts { certificate: CertificateFacts::of(root.der()), valid: root.is_valid_at(now) })
            .collect(),
    });
    facts.collect()
}

/// The kind and size of a certificate's key.
fn key_kind(der: &[u8]) -> Option<String> {
    const ED25519: &str = "1.3.101.112";
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let key = certificate.public_key();
    match key.parsed() {
        Ok(PublicKey::EC(point)) => Some(format!("EC P-{}", point.key_size())),
        Ok(PublicKey::RSA(rsa)) => Some(format!("RSA {}", rsa.key_size())),
        _ if key.algorithm.algorithm.to_id_string() == ED25519 => Some("Ed25519".to_owned()),
        _ => Some(format!("unknown ({})", key.algorithm.algorithm)),
    }
}

/// Printable, and bounded.
fn bounded(text: &str) -> String {
    let printable = text.trim().chars().take(MAX_STATUS_CHARACTERS);
    printable.map(|c| if c.is_control() && c != '\n' && c != '\t' { char::REPLACEMENT_CHARACTER } else { c }).collect()
}
