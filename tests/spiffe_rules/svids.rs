//! X-*: X509-SVID. Most of a test is its fixtures; its comment says what was decided where the standard leaves a choice.

use std::fs;
use std::path::Path;
use std::time::Duration;

use svidgate::spiffe::{BundleError, CertificateFacts, Rejection, TrustBundles, TrustDomain, UnixTime, Usage, verify};

use super::fixtures::{NOW, accepted, chain, fixtures, folders, trust, usages, verdict};

#[test]
fn x_1_exactly_one_uri_san() {
    fixtures("x-1");
}

#[test]
fn x_2_other_kinds_of_names_may_stand_beside() {
    fixtures("x-2");
}

#[test]
fn x_3_a_leafs_id_has_a_path() {
    fixtures("x-3");
}

/// Decided: an issuer's rule, and kept by us: an empty subject beside a SAN that is not critical is refused.
#[test]
fn x_4_with_an_empty_subject_the_san_is_critical() {
    fixtures("x-4");
}

/// Decided: cA is false where basic constraints are missing (RFC 5280 §4.2.1.9), so such a leaf is accepted. Constraints that cannot
/// be read are not missing.
#[test]
fn x_5_a_leaf_is_no_authority() {
    fixtures("x-5");
}

/// Decided: key usage must be marked critical too, though no other validator asks for it.
#[test]
fn x_6_a_leafs_key_usage_is_there_and_critical() {
    fixtures("x-6");
}

#[test]
fn x_7_a_leaf_may_sign_a_handshake() {
    fixtures("x-7");
}

#[test]
fn x_8_a_leaf_may_sign_no_certificate_and_no_revocation_list() {
    fixtures("x-8");
}

/// Decided: an extended key usage may be absent (a SHOULD); where it stands it must hold both sides, whichever side is in use, and
/// anyExtendedKeyUsage does not stand for them.
#[test]
fn x_9_an_extended_key_usage_holds_both_sides_of_tls() {
    fixtures("x-9");
}

/// Decided: a root without any key usage counts (old roots have none), an intermediate without does not.
#[test]
fn x_10_a_signing_certificate_is_an_authority_with_key_cert_sign() {
    fixtures("x-10");
}

/// Decided: a signing certificate needs no SPIFFE ID (a SHOULD) and may name another trust domain (a SHOULD); with a path in it, it is
/// refused, and a root with one does not count.
#[test]
fn x_11_a_signing_certificates_id_has_no_path() {
    fixtures("x-11");
}

#[test]
fn x_12_a_signing_certificate_authenticates_nobody() {
    fixtures("x-12");
}

/// Decided: a root's path length is honoured like an intermediate's. At most six intermediates are followed.
#[test]
fn x_13_path_lengths_are_kept() {
    fixtures("x-13");
}

/// Decided, and said openly: name constraints on URIs, which RFC 5280 and SPIFFE allow, are refused whether or not the leaf meets them,
/// because our path validation (rustls-webpki) cannot weigh them. It fails closed. Constraints on DNS names are kept.
#[test]
fn x_14_uri_name_constraints_are_refused() {
    fixtures("x-14");
    let map = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(CONSTRAINED)).unwrap();
    let (bundles, _) = TrustBundles::from_json(&map).unwrap();
    let mut roots = bundles.iter().flat_map(|(_, bundle)| bundle.roots());
    assert!(roots.all(|root| root.constrains_uris()), "an operator is told of such a root before a peer is refused");
}

const CONSTRAINED: &str = "certs-testdata/reject/x-14-root-with-uri-permitted-and-met/trust_bundles.json";

/// Decided: an extended key usage in an intermediate must allow the side in use; one in a root is not looked at.
#[test]
fn x_15_an_intermediates_extended_key_usage_allows_the_side_in_use() {
    fixtures("x-15");
}

#[test]
fn x_16_a_path_leads_to_a_root_and_every_certificate_on_it_is_valid_now() {
    fixtures("x-16");
}

#[test]
fn x_16_the_first_expiry_on_the_path_is_told() {
    let folder = accepted("x-4-empty-subject-and-critical-san");
    let (chain, bundles) = (chain(&folder), trust(&folder).unwrap());
    let leaf_ends = UnixTime::since_unix_epoch(Duration::from_secs(1_798_761_600));
    assert_eq!(verify(&chain, &bundles, Usage::Client, NOW).unwrap().valid_until, leaf_ends);
    assert!(verify(&chain, &bundles, Usage::Client, leaf_ends).is_ok(), "the last instant counts");
    let after = UnixTime::since_unix_epoch(Duration::from_secs(1_798_761_601));
    assert_eq!(verify(&chain, &bundles, Usage::Client, after), Err(Rejection::Expired(leaf_ends)));
}

#[test]
fn x_16_a_path_lasts_as_long_as_its_shortest_authority() {
    let october = UnixTime::since_unix_epoch(Duration::from_secs(1_790_812_800));
    for name in ["x-16-intermediate-expires-before-its-leaf", "x-16-root-expires-before-its-leaf"] {
        let folder = accepted(name);
        let (chain, bundles) = (chain(&folder), trust(&folder).unwrap());
        assert_eq!(verify(&chain, &bundles, Usage::Server, NOW).unwrap().valid_until, october, "{name}");
        assert!(verify(&chain, &bundles, Usage::Server, october).is_ok(), "{name}: the last instant counts");
    }
}

#[test]
fn x_16_what_is_told_of_a_hostile_certificate_is_bounded() {
    for folder in folders() {
        for der in chain(&folder) {
            let Some(facts) = CertificateFacts::of(&der) else { continue };
            let text = serde_json::to_string(&facts).unwrap();
            assert!(text.len() < 8 * 1024 && !text.contains("\\u00"), "{}: {text}", folder.display());
        }
        for usage in usages(&folder) {
            let message = verdict(&folder, usage).err().unwrap_or_default();
            assert!(message.len() < 512, "{}: {message}", folder.display());
        }
    }
}

#[test]
fn x_17_the_scheme_of_the_id_is_spiffe() {
    fixtures("x-17");
}

/// Decided: a `kid` in a bundle (a producer must not set it) is tolerated.
#[test]
fn x_18_a_key_id_in_a_bundle_is_tolerated() {
    fixtures("x-18");
}

/// Decided: the certificate need not be self-signed (a SHOULD): an intermediate may be the root. Wrapped lines in the base64 text are
/// tolerated.
#[test]
fn x_19_an_entry_carries_one_authority() {
    fixtures("x-19");
}

/// Decided: an entry without `x5c`, or with one that is no list of texts, is passed over; one that is not base64 makes the whole map
/// unreadable, so that a damaged file never removes trust. Base64 of something else than an authority is left out, and told.
#[test]
fn x_20_an_entry_without_a_certificate_is_passed_over() {
    fixtures("x-20");
    let odd = r#"{"trust_domains": {"td": {"keys": [{"use": "x509-svid", "x5c": "text"}, {"use": "x509-svid", "x5c": [1]}]}}}"#;
    assert!(TrustBundles::from_json(odd.as_bytes()).unwrap().1.is_empty());
    let td = TrustDomain::parse("td").unwrap();
    let damaged = r#"{"trust_domains": {"td": {"keys": [{"use": "x509-svid", "x5c": ["MII*"]}]}}}"#;
    assert_eq!(TrustBundles::from_json(damaged.as_bytes()), Err(BundleError::X5c(td.clone())));
    let other = r#"{"trust_domains": {"td": {"keys": [{"use": "x509-svid", "x5c": ["AAAA"]}]}}}"#;
    let (bundles, dropped) = TrustBundles::from_json(other.as_bytes()).unwrap();
    assert!(bundles.get(&td).unwrap().roots().is_empty());
    assert_eq!(dropped.len(), 1);
}

#[test]
fn x_21_only_the_first_certificate_of_an_entry_counts() {
    fixtures("x-21");
}

#[test]
fn x_22_a_trust_domain_without_x509_svid_entries_has_no_svids() {
    fixtures("x-22");
}
