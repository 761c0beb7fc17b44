//! The tools of the generator: authorities of every kind, leaves bent by a closure, DER by hand where no library makes it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, CustomExtension, Issuer, KeyPair};
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};
use svidgate::mint::{Validity, authority_params, svid_params};
use svidgate::spiffe::{SpiffeId, TrustDomain, UnixTime};

pub(crate) type Der = CertificateDer<'static>;

/// 2026-01-01 to 2027-01-01, for leaves. The tests look on 2026-07-01.
pub(crate) const LEAF_WINDOW: (u64, u64) = (1_767_225_600, 1_798_761_600);
/// 2025-01-01 to 2035-01-01, for authorities.
pub(crate) const AUTHORITY_WINDOW: (u64, u64) = (1_735_689_600, 2_051_222_400);
/// Over before the tests look: all of 2025.
pub(crate) const PAST: (u64, u64) = (1_735_689_600, 1_767_225_600);
/// To 2026-10-01, while leaves last longer.
pub(crate) const UNTIL_OCTOBER: (u64, u64) = (1_735_689_600, 1_790_812_800);
/// Begins after the tests look: all of 2027.
pub(crate) const FUTURE: (u64, u64) = (1_798_761_600, 1_830_297_600);

pub(crate) const SAN: &[u64] = &[2, 5, 29, 17];
pub(crate) const KEY_USAGE: &[u64] = &[2, 5, 29, 15];
pub(crate) const BASIC_CONSTRAINTS: &[u64] = &[2, 5, 29, 19];
pub(crate) const NAME_CONSTRAINTS: &[u64] = &[2, 5, 29, 30];

/// The workload of every fixture that does not say otherwise.
pub(crate) const WORKLOAD: &str = "spiffe://prod.example/ns/web/sa/api";

/// One fixture.
pub(crate) struct Case {
    /// The rule and what is special, the folder's name.
    pub(crate) name: &'static str,
    /// Leaf first.
    pub(crate) chain: Vec<Der>,
    pub(crate) trust: Trust,
    /// The exact message of the refusal; none where it must be accepted.
    pub(crate) reason: Option<String>,
    /// The one side of TLS that it speaks of; both where not given.
    pub(crate) usage: Option<&'static str>,
}

/// The trust that stands beside a chain.
#[derive(Clone)]
pub(crate) enum Trust {
    /// The text of a bundle map.
    Map(String),
    /// A trust domain, and the text of its PEM.
    Pem(&'static str, String),
}

pub(crate) fn accept(name: &'static str, chain: Vec<Der>, trust: Trust) -> Case {
    Case { name, chain, trust, reason: None, usage: None }
}

pub(crate) fn reject(name: &'static str, reason: impl Into<String>, chain: Vec<Der>, trust: Trust) -> Case {
    Case { reason: Some(reason.into()), ..accept(name, chain, trust) }
}

impl Case {
    pub(crate) fn only(self, usage: &'static str) -> Self {
        Self { usage: Some(usage), ..self }
    }
}

/// An authority with its key.
pub(crate) struct Ca {
    pub(crate) der: Der,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    pub(crate) fn root(params: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap().der().clone();
        Self { der, issuer: Issuer::new(params, key) }
    }

    /// An authority below this one.
    pub(crate) fn authority(&self, params: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let der = self.sign(&params, &key);
        Self { der, issuer: Issuer::new(params, key) }
    }

    /// Another certificate for the key of `other`, signed by this authority.
    pub(crate) fn certify(&self, params: &CertificateParams, other: &Self) -> Der {
        self.sign(params, other.issuer.key())
    }

    /// A certificate for a key that nobody needs again.
    pub(crate) fn leaf(&self, params: &CertificateParams) -> Der {
        self.sign(params, &KeyPair::generate().unwrap())
    }

    pub(crate) fn sign(&self, params: &CertificateParams, key: &impl rcgen::PublicKeyData) -> Der {
        params.signed_by(key, &self.issuer).unwrap().der().clone()
    }
}

/// Two trust domains, each with a root and a subordinate.
pub(crate) struct World {
    pub(crate) root: Ca,
    pub(crate) sub: Ca,
    pub(crate) other_root: Ca,
    pub(crate) other_sub: Ca,
}

impl World {
    pub(crate) fn new() -> Self {
        let (root, sub) = pair("prod.example");
        let (other_root, other_sub) = pair("dev.example");
        Self { root, sub, other_root, other_sub }
    }

    /// A chain of a leaf that `bend` made special, and the subordinate.
    pub(crate) fn svid(&self, bend: impl FnOnce(&mut CertificateParams)) -> Vec<Der> {
        let mut params = leaf_params(WORKLOAD);
        bend(&mut params);
        vec![self.sub.leaf(&params), self.sub.der.clone()]
    }

    /// An ordinary chain.
    pub(crate) fn good(&self) -> Vec<Der> {
        self.svid(|_| {})
    }

    /// An ordinary bundle map with the root of `prod.example`.
    pub(crate) fn trust(&self) -> Trust {
        map(&[("prod.example", &[&self.root.der])])
    }
}

fn pair(trust_domain: &str) -> (Ca, Ca) {
    let root = Ca::root(ca_params(trust_domain, "root", 1));
    let sub = root.authority(ca_params(trust_domain, "subordinate", 0));
    (root, sub)
}

pub(crate) fn validity((not_before, not_after): (u64, u64)) -> Validity {
    let instant = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    Validity { not_before: instant(not_before), not_after: instant(not_after) }
}

pub(crate) fn ca_params(trust_domain: &str, role: &str, path_length: u8) -> CertificateParams {
    ca_params_in(trust_domain, role, path_length, AUTHORITY_WINDOW)
}

pub(crate) fn ca_params_in(trust_domain: &str, role: &str, path_length: u8, window: (u64, u64)) -> CertificateParams {
    let trust_domain = TrustDomain::parse(trust_domain).unwrap();
    let path_length = BasicConstraints::Constrained(path_length);
    authority_params(&trust_domain, role, path_length, validity(window)).unwrap()
}

pub(crate) fn leaf_params(id: &str) -> CertificateParams {
    svid_params(&SpiffeId::parse(id).unwrap(), validity(LEAF_WINDOW)).unwrap()
}

/// The parameters with another window.
pub(crate) fn within(mut params: CertificateParams, window: (u64, u64)) -> CertificateParams {
    let dated = svid_params(&SpiffeId::parse(WORKLOAD).unwrap(), validity(window)).unwrap();
    (params.not_before, params.not_after) = (dated.not_before, dated.not_after);
    params
}

/// A bundle map.
pub(crate) fn map(domains: &[(&str, &[&Der])]) -> Trust {
    let entry = |(name, roots): &(&str, &[&Der])| {
        let keys: Vec<Value> = roots.iter().map(|der| jwk(&[der])).collect();
        (name.to_string(), json!({"spiffe_sequence": 1, "keys": keys}))
    };
    document(json!({"trust_domains": domains.iter().map(entry).collect::<serde_json::Map<_, _>>()}))
}

/// A JSON Web Key of these certificates.
pub(crate) fn jwk(x5c: &[&Der]) -> Value {
    let x5c: Vec<String> = x5c.iter().map(|der| STANDARD.encode(der)).collect();
    json!({"kty": "EC", "use": "x509-svid", "x5c": x5c})
}

/// The bundle map of one trust domain with these keys.
pub(crate) fn keys(keys: Vec<Value>) -> Trust {
    document(json!({"trust_domains": {"prod.example": {"spiffe_sequence": 1, "keys": keys}}}))
}

pub(crate) fn document(document: Value) -> Trust {
    Trust::Map(format!("{document:#}\n"))
}

pub(crate) fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = (0..text.len()).step_by(64).map(|at| &text[at..text.len().min(at + 64)]).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

/// An extension with exactly these bytes.
pub(crate) fn extension(oid: &[u64], critical: bool, content: Vec<u8>) -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(oid, content);
    extension.set_criticality(critical);
    extension
}

/// A list of URI names (RFC 5280 §4.2.1.6), whatever their bytes.
pub(crate) fn uri_names(uris: &[&[u8]]) -> Vec<u8> {
    tlv(0x30, &uris.iter().flat_map(|uri| tlv(0x86, uri)).collect::<Vec<_>>())
}

/// URI name constraints (RFC 5280 §4.2.1.10): tag 0 permits, tag 1 excludes.
pub(crate) fn uri_constraints(tag: u8, host: &str) -> CustomExtension {
    let subtree = tlv(0x30, &tlv(0x86, host.as_bytes()));
    extension(NAME_CONSTRAINTS, true, tlv(0x30, &tlv(0xa0 | tag, &subtree)))
}

/// One DER element.
pub(crate) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let significant = &length[length.iter().position(|byte| *byte != 0).unwrap_or(length.len() - 1)..];
    let mut der = vec![tag];
    if content.len() >= 128 {
        der.push(0x80 | significant.len() as u8);
    }
    der.extend(significant);
    der.extend(content);
    der
}
