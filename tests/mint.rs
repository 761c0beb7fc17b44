//! Throwaway credentials are like the platform's own: rustls accepts the key, our own rules accept the chain.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use svidgate::mint::{Authority, Issue, Issued, KeyAlgorithm, KeyEncoding, MintError, bundle_map};
use svidgate::spiffe::{CertificateFacts, SpiffeId, TrustBundles, TrustDomain, UnixTime, Usage, verify};

const HOUR: Duration = Duration::from_secs(3600);

fn authority(name: &str) -> Authority {
    Authority::new(TrustDomain::parse(name).unwrap()).unwrap()
}

fn id(text: &str) -> SpiffeId {
    SpiffeId::parse(text).unwrap()
}

fn chain(issued: &Issued) -> Vec<CertificateDer<'static>> {
    let blocks = CertificateDer::pem_slice_iter(issued.certificates.as_bytes());
    blocks.collect::<Result<_, _>>().unwrap()
}

fn trust(authorities: &[&Authority]) -> TrustBundles {
    let (bundles, dropped) = TrustBundles::from_json(bundle_map(authorities).as_bytes()).unwrap();
    assert!(dropped.is_empty(), "{dropped:?}");
    bundles
}

#[test]
fn an_issued_svid_is_proven_by_its_bundle_map_on_both_sides() {
    let authority = authority("prod.example");
    let issued = authority.issue(&id("spiffe://prod.example/ns/a/sa/b"), HOUR).unwrap();
    for usage in [Usage::Client, Usage::Server] {
        let verified = verify(&chain(&issued), &trust(&[&authority]), usage, UnixTime::now()).unwrap();
        assert_eq!(verified.id, id("spiffe://prod.example/ns/a/sa/b"));
    }
}

#[test]
fn a_leaf_looks_like_the_platforms_and_a_blank_line_stands_between_the_blocks() {
    let issued = authority("prod.example").issue(&id("spiffe://prod.example/a"), HOUR).unwrap();
    let facts = CertificateFacts::of(&chain(&issued)[0]).unwrap();
    assert_eq!((facts.subject.as_str(), facts.sans), ("", vec!["URI:spiffe://prod.example/a".to_owned()]));
    assert!(facts.issuer.contains("svidgate throwaway CA, not for production"), "{}", facts.issuer);
    assert!(issued.certificates.contains("-----END CERTIFICATE-----\n\n-----BEGIN CERTIFICATE-----"));
}

#[test]
fn every_kind_and_encoding_of_key_loads_into_rustls_and_fits_its_certificate() {
    use KeyAlgorithm::{Ed25519, P256, P384, Rsa2048};
    use KeyEncoding::{Pkcs1, Pkcs8, Sec1};
    let authority = authority("prod.example");
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let kinds = [
        (P256, Pkcs8),
        (P256, Sec1),
        (P384, Pkcs8),
        (P384, Sec1),
        (Rsa2048, Pkcs8),
        (Rsa2048, Pkcs1),
        (Ed25519, Pkcs8),
    ];
    for (key, encoding) in kinds {
        let issue = Issue { key, encoding, ..Issue::lasting(HOUR) };
        let issued = authority.issue_as(&id("spiffe://prod.example/a"), issue).unwrap();
        let key_der = PrivateKeyDer::from_pem_slice(issued.private_key.as_bytes()).unwrap();
        let certified = rustls::sign::CertifiedKey::from_der(chain(&issued), key_der, &provider);
        assert!(certified.and_then(|c| c.keys_match()).is_ok(), "{key:?} {encoding:?}");
    }
}

#[test]
fn a_key_without_such_an_encoding_is_an_error() {
    let authority = authority("prod.example");
    for (key, encoding) in [(KeyAlgorithm::P256, KeyEncoding::Pkcs1), (KeyAlgorithm::Ed25519, KeyEncoding::Sec1)] {
        let issue = Issue { key, encoding, ..Issue::lasting(HOUR) };
        let refused = authority.issue_as(&id("spiffe://prod.example/a"), issue);
        assert!(matches!(refused, Err(MintError::Encoding)), "{key:?} {encoding:?}");
    }
}

#[test]
fn a_lifetime_past_the_year_9999_is_an_error() {
    let refused = authority("prod.example").issue(&id("spiffe://prod.example/a"), Duration::MAX);
    assert!(matches!(refused, Err(MintError::Validity)));
}

#[test]
fn an_authority_read_back_from_disk_signs_for_the_same_root() {
    let directory = tempfile::tempdir().unwrap();
    let kept = directory.path().join("prod.example");
    assert!(Authority::load(&kept).unwrap().is_none(), "nothing was kept yet");
    let first = authority("prod.example");
    first.save(&kept).unwrap();
    let again = Authority::load(&kept).unwrap().unwrap();
    assert_eq!(again.trust_domain(), first.trust_domain());
    assert_eq!(again.validity(), first.validity());
    assert_eq!(bundle_map(&[&again]), bundle_map(&[&first]));
    let issued = again.issue(&id("spiffe://prod.example/a"), HOUR).unwrap();
    verify(&chain(&issued), &trust(&[&first]), Usage::Client, UnixTime::now()).unwrap();
    for entry in std::fs::read_dir(&kept).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
    }
}

#[test]
fn a_damaged_authority_says_which_file_and_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    authority("prod.example").save(directory.path()).unwrap();
    std::fs::write(directory.path().join("throwaway-root-ca.pem"), "nonsense").unwrap();
    let message = Authority::load(directory.path()).err().unwrap().to_string();
    assert!(message.contains("throwaway-root-ca.pem"), "{message}");
    assert!(message.ends_with("it holds no certificate; remove its directory to have a new one made"), "{message}");
}

#[test]
fn a_bundle_map_keeps_trust_domains_apart_and_holds_every_root_of_one() {
    let (old, new, other) = (authority("prod.example"), authority("prod.example"), authority("dev.example"));
    let bundles = trust(&[&old, &new, &other]);
    let counts: Vec<_> = bundles.iter().map(|(name, bundle)| (name.as_str(), bundle.roots().len())).collect();
    assert_eq!(counts, [("dev.example", 1), ("prod.example", 2)]);
    let issued = other.issue(&id("spiffe://prod.example/a"), HOUR).unwrap();
    assert!(verify(&chain(&issued), &bundles, Usage::Client, UnixTime::now()).is_err());
}

#[test]
fn an_authority_on_disk_is_never_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let kept = directory.path().join("prod.example");
    let prod = TrustDomain::parse("prod.example").unwrap();
    let first = Authority::kept_in(&kept, &prod).unwrap();
    let refused = authority("prod.example").save(&kept).err().unwrap().to_string();
    assert!(refused.ends_with("prod.example` cannot be written"), "{refused}");
    assert_eq!(Authority::kept_in(&kept, &prod).unwrap().root_pem(), first.root_pem());
    let names: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["prod.example"], "nothing half made is left behind");
    let dev = TrustDomain::parse("dev.example").unwrap();
    assert!(matches!(Authority::kept_in(&kept, &dev), Err(MintError::Corrupt { .. })));
}

#[test]
fn makers_at_one_time_share_one_authority() {
    let directory = tempfile::tempdir().unwrap();
    let kept = directory.path().join("authorities/prod.example");
    let prod = TrustDomain::parse("prod.example").unwrap();
    let roots = std::thread::scope(|scope| {
        let maker = || scope.spawn(|| Authority::kept_in(&kept, &prod).unwrap().root_pem());
        [maker(), maker(), maker(), maker()].map(|thread| thread.join().unwrap())
    });
    assert!(roots.iter().all(|root| *root == roots[0]));
}
