//! B-*: SPIFFE Trust Domain and Bundle.

use std::fs;

use svidgate::spiffe::{BundleError, Rejection, TrustBundle, TrustBundles, TrustDomain, Usage, verify};

use super::fixtures::{NOW, accepted, chain, fixtures, trust};

fn no_map(json: &str) -> String {
    match TrustBundles::from_json(json.as_bytes()) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("{json} was read as a bundle map"),
    }
}

fn names(json: &str) -> Vec<String> {
    let (bundles, _) = TrustBundles::from_json(json.as_bytes()).unwrap_or_else(|error| panic!("{json}: {error}"));
    bundles.iter().map(|(name, _)| name.to_string()).collect()
}

/// PEM roots are bound to one trust domain, never to any. A block that is no certificate is left out and told; the others count.
#[test]
fn b_1_a_peer_is_verified_by_the_bundle_of_its_own_trust_domain() {
    fixtures("b-1");
}

#[test]
fn b_1_pem_that_is_damaged_is_an_error_as_a_whole() {
    let good = fs::read_to_string(accepted("b-1-pem-roots-in-any-order").join("prod.example.pem")).unwrap();
    assert_eq!(TrustBundle::from_pem(good.as_bytes()).unwrap().0.roots().len(), 2);
    let bad_base64 = good.replacen("MII", "M*I", 1);
    assert!(matches!(TrustBundle::from_pem(bad_base64.as_bytes()), Err(BundleError::Pem(_))));
    let cut = good.split_at(good.len() - 40).0;
    assert!(matches!(TrustBundle::from_pem(cut.as_bytes()), Err(BundleError::Pem(_))), "a truncated last block");
    assert_eq!(TrustBundle::from_pem(b"no PEM at all"), Err(BundleError::NoCertificate));
}

#[test]
fn b_1_a_bundle_of_257_roots_is_an_error() {
    let pem = fs::read_to_string(accepted("b-1-pem-roots-in-any-order").join("prod.example.pem")).unwrap();
    assert!(matches!(TrustBundle::from_pem(pem.repeat(129).as_bytes()), Err(BundleError::TooManyRoots(258))));
    let (bundle, _) = TrustBundle::from_pem(pem.repeat(128).as_bytes()).unwrap();
    assert_eq!(bundle.roots().len(), 2, "each root counts once");
}

#[test]
fn b_2_unknown_members_are_allowed_and_none_but_keys_is_required() {
    fixtures("b-2");
    assert_eq!(names(r#"{"x": 1, "trust_domains": {"td": {"y": {"keys": 3}, "keys": []}}}"#), ["td"]);
}

/// Decided: the sequence number is not read at all. The newest file is the newest state of the world, and a number that goes back, or
/// is no number, is no reason to keep an older one.
#[test]
fn b_3_a_sequence_number_of_any_kind_is_tolerated() {
    fixtures("b-3");
    for sequence in ["9007199254740993", "18446744073709551616", "-1", "1.5", "1e400", "null", "\"7\"", "[]"] {
        let json = format!(r#"{{"trust_domains": {{"td": {{"spiffe_sequence": {sequence}, "keys": []}}}}}}"#);
        assert_eq!(names(&json), ["td"], "{sequence}");
    }
}

/// Decided: hints about polling an endpoint mean nothing for a file that is watched; of any kind, they are tolerated.
#[test]
fn b_4_and_b_11_a_refresh_hint_is_tolerated() {
    assert_eq!(names(r#"{"trust_domains": {"td": {"spiffe_refresh_hint": 600, "keys": []}}}"#), ["td"]);
    assert_eq!(names(r#"{"trust_domains": {"td": {"spiffe_refresh_hint": "soon", "keys": []}}}"#), ["td"]);
}

#[test]
fn b_5_keys_are_required_and_may_be_none() {
    assert_eq!(names(r#"{"trust_domains": {"td": {"keys": []}}}"#), ["td"]);
    for bundle in ["{}", r#"{"keys": null}"#, r#"{"keys": {}}"#, "null", "[]", r#"{"keys": [], "keys": []}"#] {
        let message = no_map(&format!(r#"{{"trust_domains": {{"td": {bundle}}}}}"#));
        assert!(message.starts_with("it is no SPIFFE bundle map: "), "{message}");
    }
}

#[test]
fn b_6_keys_of_another_use_are_passed_over() {
    fixtures("b-6");
}

#[test]
fn b_7_a_trust_domain_without_roots_is_revoked() {
    fixtures("b-7");
}

#[test]
fn b_8_trust_domains_are_required_and_may_be_none() {
    fixtures("b-8");
    assert!(names(r#"{"trust_domains": {}}"#).is_empty());
    for json in ["{}", "", "[]", r#"{"trust_domains": []}"#, r#"{"trust_domains": {}} x"#, "\u{feff}{}"] {
        assert!(no_map(json).starts_with("it is no SPIFFE bundle map: "), "{json}");
    }
}

#[test]
fn b_9_a_trust_domain_named_twice_is_an_error() {
    fixtures("b-9");
    let message = no_map(r#"{"trust_domains": {"td": {"keys": []}, "td": {"keys": []}}}"#);
    assert!(message.contains("trust domain `td` stands twice"), "{message}");
    let message = no_map(r#"{"trust_domains": {"td": {"keys": []}, "TD": {"keys": []}}}"#);
    assert!(
        message.contains(r#""TD" is no trust domain name: the trust domain has an upper-case letter"#),
        "{message}"
    );
    assert!(no_map(r#"{"trust_domains": {}, "trust_domains": {}}"#).contains("duplicate field"));
}

#[test]
fn b_10_the_names_in_a_map_are_trust_domain_names() {
    for name in ["spiffe://td", "td/", "", "TD", "t d"] {
        let message = no_map(&format!(r#"{{"trust_domains": {{"{name}": {{"keys": []}}}}}}"#));
        assert!(message.contains("is no trust domain name: "), "{message}");
    }
}

/// The map is one value that replaces another: a trust domain that is gone from it has no roots left.
#[test]
fn b_12_a_map_is_the_whole_state_of_the_world() {
    let folder = accepted("b-1-each-by-its-own-root");
    let (chain, bundles) = (chain(&folder), trust(&folder).unwrap());
    assert!(verify(&chain, &bundles, Usage::Client, NOW).is_ok());
    let without = trust(&accepted("x-1-one-uri-three-dns")).unwrap();
    let gone = Rejection::UnknownTrustDomain(TrustDomain::parse("dev.example").unwrap());
    assert_eq!(verify(&chain, &without, Usage::Client, NOW), Err(gone));
}
