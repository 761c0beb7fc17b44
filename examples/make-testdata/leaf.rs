//! what a leaf must be by itself.

use std::net::IpAddr;

use rcgen::{BasicConstraints, DnType, ExtendedKeyUsagePurpose as Eku, IsCa, KeyUsagePurpose as Usage, SanType};

use super::workshop::{BASIC_CONSTRAINTS, Case, KEY_USAGE, SAN, World, accept, extension, reject, tlv, uri_names};
use super::workshop::{WORKLOAD, leaf_params};

pub(crate) fn cases(world: &World) -> Vec<Case> {
    [names(world), constraints(world), key_usage(world), extended_key_usage(world)].into_iter().flatten().collect()
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

fn uri_count(count: usize) -> String {
    format!("the certificate has {count} URI SANs; an X.509-SVID has exactly one (X509-SVID §2)")
}

///
fn names(world: &World) -> Vec<Case> {
    let trust = || world.trust();
    let also = |names: Vec<SanType>| world.svid(|params| params.subject_alt_names.extend(names));
    let only = |names: Vec<SanType>| world.svid(|params| params.subject_alt_names = names);
    let raw = |critical, names: Vec<u8>| {
        world.svid(|params| {
            params.subject_alt_names.clear();
            params.custom_extensions = vec![extension(SAN, critical, names)];
        })
    };
    let many_dns = (0..1000).map(|number| dns(&format!("host-{number}.example"))).collect();
    let many_uris = (0..999).map(|number| uri(&format!("spiffe://prod.example/a/{number}"))).collect();
    let with_subject = |params: &mut rcgen::CertificateParams| {
        params.distinguished_name.push(DnType::CommonName, "api");
    };
    vec![
        accept("x-1-one-uri-three-dns", also(["a", "b", "c"].map(dns).to_vec()), trust()),
        accept("x-1-one-uri-thousand-dns", also(many_dns), trust()),
        reject("x-1-two-spiffe-uris", uri_count(2), also(vec![uri("spiffe://prod.example/b")]), trust()),
        reject("x-1-the-same-uri-twice", uri_count(2), also(vec![uri(WORKLOAD)]), trust()),
        reject("x-1-spiffe-and-https", uri_count(2), also(vec![uri("https://prod.example/a")]), trust()),
        reject("x-1-thousand-uris", uri_count(1000), also(many_uris), trust()),
        reject("x-1-dns-only", uri_count(0), only(vec![dns("prod.example")]), trust()),
        reject("x-1-no-san", uri_count(0), only(vec![]), trust()),
        reject("x-1-empty-san", uri_count(0), raw(true, uri_names(&[])), trust()),
        reject(
            "x-1-second-uri-not-readable",
            uri_count(2),
            raw(true, uri_names(&[WORKLOAD.as_bytes(), b"spiffe://\xff\xfe"])),
            trust(),
        ),
        reject(
            "x-1-second-uri-behind-the-end-of-the-names",
            "the certificate cannot be read (RFC 5280 §4)",
            raw(true, [uri_names(&[WORKLOAD.as_bytes()]), tlv(0x86, b"spiffe://prod.example/b")].concat()),
            trust(),
        ),
        accept(
            "x-2-dns-address-and-mail-beside-the-uri",
            also(vec![
                dns("api.prod.example"),
                SanType::IpAddress(IpAddr::from([127, 0, 0, 1])),
                SanType::Rfc822Name("api@prod.example".try_into().unwrap()),
            ]),
            trust(),
        ),
        reject(
            "x-3-no-path",
            "the certificate's SPIFFE ID has no path: it names a trust domain, not a workload (X509-SVID §3.1)",
            only(vec![uri("spiffe://prod.example")]),
            trust(),
        ),
        accept("x-4-empty-subject-and-critical-san", world.good(), trust()),
        accept("x-4-subject-and-plain-san", world.svid(with_subject), trust()),
        reject(
            "x-4-empty-subject-and-plain-san",
            "the certificate has an empty subject, and its SAN is not critical (X509-SVID §3.1)",
            raw(false, uri_names(&[WORKLOAD.as_bytes()])),
            trust(),
        ),
        reject(
            "x-17-https-only",
            "the certificate's URI SAN is no SPIFFE ID: it does not start with `spiffe://` (SPIFFE-ID §2)",
            only(vec![uri("https://prod.example/a")]),
            trust(),
        ),
    ]
}

///
fn constraints(world: &World) -> Vec<Case> {
    let trust = || world.trust();
    let is_authority = "the leaf is a certificate authority (basic constraints cA) (X509-SVID §4.1)";
    let no_path = "the certificate's SPIFFE ID has no path: it names a trust domain, not a workload (X509-SVID §3.1)";
    let raw = |content: Vec<u8>| {
        world.svid(|params| {
            params.is_ca = IsCa::NoCa;
            params.custom_extensions = vec![extension(BASIC_CONSTRAINTS, true, content)];
        })
    };
    let authority_with_path = world.root.leaf(&{
        let mut params = leaf_params(WORKLOAD);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![Usage::KeyCertSign, Usage::DigitalSignature];
        params
    });
    vec![
        accept("x-5-no-basic-constraints", world.svid(|params| params.is_ca = IsCa::NoCa), trust()),
        reject(
            "x-5-leaf-is-authority",
            is_authority,
            world.svid(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
            trust(),
        ),
        // cA as an INTEGER: not to be taken for an absent extension.
        reject(
            "x-5-basic-constraints-not-readable",
            "the certificate cannot be read (RFC 5280 §4)",
            raw(tlv(0x30, &[0x0c, 0x01, 0xff])),
            trust(),
        ),
        reject("x-12-intermediate-as-leaf", no_path, vec![world.sub.der.clone(), world.root.der.clone()], trust()),
        reject("x-12-root-as-leaf", no_path, vec![world.root.der.clone()], trust()),
        reject("x-12-authority-with-path-as-leaf", is_authority, vec![authority_with_path], trust()),
    ]
}

///
fn key_usage(world: &World) -> Vec<Case> {
    let trust = || world.trust();
    let of = |usages: &[Usage]| world.svid(|params| params.key_usages = usages.to_vec());
    let may_sign = "the leaf's key usage has keyCertSign or cRLSign (X509-SVID §4.3)";
    let raw = |critical, content: Vec<u8>| {
        world.svid(|params| {
            params.key_usages.clear();
            params.custom_extensions = vec![extension(KEY_USAGE, critical, content)];
        })
    };
    // A BIT STRING with digitalSignature alone.
    let digital_signature = tlv(0x03, &[7, 0x80]);
    vec![
        accept("x-6-critical-key-usage", world.good(), trust()),
        reject("x-6-no-key-usage", "the leaf has no key usage (X509-SVID §4.3)", of(&[]), trust()),
        reject(
            "x-6-key-usage-not-critical",
            "the leaf's key usage is not critical (X509-SVID §4.3)",
            raw(false, digital_signature.clone()),
            trust(),
        ),
        reject(
            "x-6-key-usage-not-readable",
            "the certificate cannot be read (RFC 5280 §4)",
            raw(true, tlv(0x04, &[7, 0x80])),
            trust(),
        ),
        accept("x-7-digital-signature-alone", raw(true, digital_signature), trust()),
        accept(
            "x-7-digital-signature-and-key-encipherment",
            of(&[Usage::DigitalSignature, Usage::KeyEncipherment]),
            trust(),
        ),
        reject(
            "x-7-key-encipherment-only",
            "the leaf's key usage has no digitalSignature (X509-SVID §4.3)",
            of(&[Usage::KeyEncipherment]),
            trust(),
        ),
        reject("x-8-key-cert-sign", may_sign, of(&[Usage::DigitalSignature, Usage::KeyCertSign]), trust()),
        reject("x-8-crl-sign", may_sign, of(&[Usage::DigitalSignature, Usage::CrlSign]), trust()),
    ]
}

///
fn extended_key_usage(world: &World) -> Vec<Case> {
    let trust = || world.trust();
    let of = |usages: &[Eku]| world.svid(|params| params.extended_key_usages = usages.to_vec());
    let lacking = "the leaf's extended key usage does not hold both serverAuth and clientAuth (X509-SVID §4.4)";
    vec![
        accept("x-9-both-sides", world.good(), trust()),
        accept("x-9-both-sides-and-more", of(&[Eku::ClientAuth, Eku::CodeSigning, Eku::ServerAuth]), trust()),
        accept("x-9-absent", of(&[]), trust()),
        reject("x-9-server-side-only", lacking, of(&[Eku::ServerAuth]), trust()),
        reject("x-9-client-side-only", lacking, of(&[Eku::ClientAuth]), trust()),
        reject("x-9-any-only", lacking, of(&[Eku::Any]), trust()),
    ]
}
