//! Which files make a credential set, told by their names: one table of every layout that platforms write, and the one function that
//! reads it. Pure: it sees names, never files.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Serialize, Serializer};

use super::Role;
use crate::spiffe::TrustDomain;

/// How a platform lays its credentials out in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layout {
    /// Compute Engine, filled from the metadata server: the older agent, and still the fallback.
    GceMetadata,
    /// Compute Engine, filled by the agent over gRPC.
    Gce,
    /// The GKE driver `podcertificate.gke.io`.
    GkeCsi,
    /// GKE Agent Identity.
    GkeAgentIdentity,
    /// A Kubernetes podCertificate with a clusterTrustBundle, under the names in the table; under other names the files are given one
    /// by one.
    PodCertificate,
    /// SPIFFE filesystem delivery (draft).
    SpiffeFilesystem,
    /// A `kubernetes.io/tls` secret, and cert-manager's csi-driver-spiffe: the same three names.
    KubernetesTls,
    /// spiffe-helper with its default file names.
    SpiffeHelper,
    /// Istio's file-mounted certificates.
    Istio,
    /// Files named one by one in the configuration.
    Explicit,
}

impl Layout {
    /// The layout as logs and metrics name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GceMetadata => "gce-metadata",
            Self::Gce => "gce",
            Self::GkeCsi => "gke-csi",
            Self::GkeAgentIdentity => "gke-agent-identity",
            Self::PodCertificate => "pod-certificate",
            Self::SpiffeFilesystem => "spiffe-filesystem",
            Self::KubernetesTls => "kubernetes-tls",
            Self::SpiffeHelper => "spiffe-helper",
            Self::Istio => "istio",
            Self::Explicit => "explicit",
        }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Layout {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// The opaque state file of the Compute Engine agent: shown to the operator, never decided from.
pub(super) const CONFIG_STATUS: &str = "config_status";

/// One trust file of a layout.
#[derive(Clone, Copy)]
enum Trust {
    Map(&'static str),
    Roots(&'static str),
    /// One file per trust domain, the domain's name before this ending.
    PerDomain(&'static str),
}

/// One row: the files that together are a credential set.
struct Shape {
    layout: Layout,
    key: &'static str,
    /// The same as `key` where one file holds both.
    chain: &'static str,
    /// The first that is there is read; one must be.
    trust: &'static [Trust],
    /// Files that must be there too, which tell this row from a smaller one. They are not read.
    beside: &'static [&'static str],
}

const fn shape(
    layout: Layout,
    key: &'static str,
    chain: &'static str,
    trust: &'static [Trust],
    beside: &'static [&'static str],
) -> Shape {
    Shape { layout, key, chain, trust, beside }
}

const MAP: Trust = Trust::Map("trust_bundles.json");
const BUNDLE_MAP: &[Trust] = &[MAP];
const PER_DOMAIN: Trust = Trust::PerDomain(".spiffe-trust-bundle.pem");
/// Google documents no trust file name for Agent Identity: those of its siblings are tried.
const AGENT_TRUST: &[Trust] = &[MAP, PER_DOMAIN, Trust::Roots("ca_certificates.pem")];
/// A user chooses the names in a projected volume: these are the ones of examples and of the conventions around them.
const POD_TRUST: &[Trust] = &[
    PER_DOMAIN,
    Trust::Roots("trust-bundle.pem"),
    Trust::Roots("trust_bundle.pem"),
    Trust::Roots("trustbundle.pem"),
    Trust::Roots("ca-roots.pem"),
    Trust::Roots("roots.pem"),
    Trust::Roots("ca.crt"),
];

/// Every layout. Among rows with the same key and chain, the one that needs more files wins, else the first: so a bundle map beside
/// PEM roots is read instead of them.
#[rustfmt::skip] // a table
const SHAPES: &[Shape] = &[
    shape(Layout::Gce, "private_key.pem", "certificates.pem", BUNDLE_MAP, &[]),
    shape(Layout::GceMetadata, "private_key.pem", "certificates.pem", &[Trust::Roots("ca_certificates.pem")], &[]),
    shape(Layout::GkeCsi, "private_key.pem", "certificates.pem", BUNDLE_MAP, &["ca_certificates.pem"]),
    shape(Layout::GceMetadata, "private_key.pem", "certificates.pem", BUNDLE_MAP, &["ca_certificates.pem", CONFIG_STATUS]),
    shape(Layout::GkeCsi, "credential-bundle.pem", "credential-bundle.pem", BUNDLE_MAP, &[]),
    shape(Layout::GkeAgentIdentity, "x509.credential-bundle.private-key.pem", "x509.credential-bundle.private-key.pem", AGENT_TRUST, &[]),
    shape(Layout::SpiffeFilesystem, "credential-bundle.private-key.pem", "credential-bundle.private-key.pem", &[PER_DOMAIN], &[]),
    shape(Layout::KubernetesTls, "tls.key", "tls.crt", &[Trust::Roots("ca.crt")], &[]),
    shape(Layout::PodCertificate, "credential-bundle.pem", "credential-bundle.pem", POD_TRUST, &[]),
    shape(Layout::PodCertificate, "credentialbundle.pem", "credentialbundle.pem", POD_TRUST, &[]),
    shape(Layout::PodCertificate, "key.pem", "certificates.pem", POD_TRUST, &[]),
    shape(Layout::SpiffeHelper, "svid_key.pem", "svid.pem", &[Trust::Roots("svid_bundle.pem")], &[]),
    shape(Layout::Istio, "key.pem", "cert-chain.pem", &[Trust::Roots("root-cert.pem")], &[]),
];

/// The files of a recognised layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Selection {
    pub(super) layout: Layout,
    pub(super) files: Vec<(Role, String)>,
    /// Files that other layouts read, and this one does not.
    pub(super) ignored: Vec<String>,
}

/// Why no layout was recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unrecognised {
    /// Not one name of the table.
    Nothing,
    /// Some files of a layout.
    Incomplete { layout: Layout, missing: Vec<String> },
    /// Everything but the key.
    KeyMissing { layout: Layout, file: String },
    /// Two whole sets.
    Ambiguous(Layout, Layout),
}

/// Finds the credential set among the names of a directory.
pub(super) fn detect(names: &BTreeSet<String>) -> Result<Selection, Unrecognised> {
    let mut found: Vec<&Shape> = Vec::new();
    for shape in SHAPES.iter().filter(|shape| shape.missing(names).is_empty()) {
        match found.iter_mut().find(|other| other.same_set(shape)) {
            Some(smaller) if smaller.beside.len() < shape.beside.len() => *smaller = shape,
            Some(_) => {}
            None => found.push(shape),
        }
    }
    match found.as_slice() {
        [] => Err(nearest(names)),
        [first, rest @ ..] => match rest.iter().find(|other| other.layout != first.layout) {
            Some(other) => Err(Unrecognised::Ambiguous(first.layout, other.layout)),
            None => Ok(first.select(names)),
        },
    }
}

/// The layout that came closest, by the number of its files that are there.
fn nearest(names: &BTreeSet<String>) -> Unrecognised {
    // Of equals the first row: `max_by_key` alone would take the last.
    let best = SHAPES.iter().rev().max_by_key(|shape| shape.evidence(names));
    let Some(shape) = best.filter(|shape| shape.evidence(names) > 0) else {
        return Unrecognised::Nothing;
    };
    let missing = shape.missing(names);
    if shape.key != shape.chain && missing.iter().map(String::as_str).eq([shape.key]) {
        return Unrecognised::KeyMissing { layout: shape.layout, file: shape.key.to_owned() };
    }
    Unrecognised::Incomplete { layout: shape.layout, missing }
}

impl Shape {
    /// Whether both read the same key and chain: one set, with more or fewer files around it.
    fn same_set(&self, other: &Self) -> bool {
        (self.key, self.chain) == (other.key, other.chain)
    }

    /// The files that must be there and are not. Of trust files that stand for each other, the first is named.
    fn missing(&self, names: &BTreeSet<String>) -> Vec<String> {
        let mut missing: Vec<String> = [self.key, self.chain]
            .iter()
            .chain(self.beside)
            .filter(|name| !names.contains(**name))
            .map(|name| (*name).to_owned())
            .collect();
        missing.dedup();
        if !self.trust.iter().any(|trust| trust.is_in(names)) {
            missing.extend(self.trust.first().map(Trust::to_string));
        }
        missing
    }

    /// How many of its files are there.
    fn evidence(&self, names: &BTreeSet<String>) -> usize {
        // The state file comes first of all in a first fill, and only there.
        let state = usize::from(self.layout == Layout::GceMetadata && names.contains(CONFIG_STATUS));
        let key = usize::from(names.contains(self.key));
        let chain = usize::from(self.chain != self.key && names.contains(self.chain));
        let trust = usize::from(self.trust.iter().any(|trust| trust.is_in(names)));
        // A row with files beside is a richer twin of a row without: never the nearest.
        if self.beside.is_empty() { state + key + chain + trust } else { 0 }
    }

    fn select(&self, names: &BTreeSet<String>) -> Selection {
        let mut files = if self.key == self.chain {
            vec![(Role::KeyAndCertificates, self.key.to_owned())]
        } else {
            vec![(Role::PrivateKey, self.key.to_owned()), (Role::Certificates, self.chain.to_owned())]
        };
        if let Some(trust) = self.trust.iter().find(|trust| trust.is_in(names)) {
            files.extend(trust.files(names));
        }
        let ignored = names.iter().filter(|name| is_known(name) && !files.iter().any(|(_, file)| file == *name));
        Selection { layout: self.layout, ignored: ignored.cloned().collect(), files }
    }
}

/// Whether some layout reads a file of this name.
fn is_known(name: &str) -> bool {
    SHAPES.iter().any(|shape| {
        shape.key == name
            || shape.chain == name
            || shape.trust.iter().any(|trust| trust.is_in([name.to_owned()].iter()))
    })
}

impl Trust {
    fn is_in<'a>(&self, names: impl IntoIterator<Item = &'a String>) -> bool {
        names.into_iter().any(|name| self.role(name).is_some())
    }

    fn files(&self, names: &BTreeSet<String>) -> Vec<(Role, String)> {
        names.iter().filter_map(|name| Some((self.role(name)?, name.clone()))).collect()
    }

    /// What `name` is to this kind of trust, if it is one of its files.
    fn role(&self, name: &str) -> Option<Role> {
        match self {
            Self::Map(file) => (*file == name).then_some(Role::BundleMap),
            Self::Roots(file) => (*file == name).then_some(Role::Roots),
            Self::PerDomain(ending) => {
                let domain = name.strip_suffix(ending)?;
                TrustDomain::parse(domain).ok().map(Role::RootsOf)
            }
        }
    }
}

/// The file name, or its pattern.
impl fmt::Display for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Map(name) | Self::Roots(name) => f.write_str(name),
            Self::PerDomain(ending) => write!(f, "<trust-domain>{ending}"),
        }
    }
}
