//! Credentials on disk: every layout recognised and loaded, every bad input refused with its own clear message.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stdout,
    reason = "clippy knows tests by their attribute; the functions around them are tests too"
)]

mod harness;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use harness::{HOUR, authority, generation, generation_lasting, identity};
use svidgate::credentials::{
    CredentialsError, Finding, Identity, Layout, Loaded, Source, Unreadable, inspect, load, load_from,
};
use svidgate::mint::{Generation, Issue, KeyAlgorithm, KeyEncoding, Writer, WriterStyle, bundle_map, svid_params};
use svidgate::spiffe::{Rejection, SpiffeId, TrustDomain, UnixTime};

const ID: &str = "spiffe://prod.example/ns/shop/sa/web";

/// Files by name.
type Files<'a> = &'a [(&'a str, &'a str)];

fn directory(files: Files<'_>) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
        fs::set_permissions(directory.path().join(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    directory
}

fn load_dir(directory: &Path) -> Result<Loaded, CredentialsError> {
    load(&identity(directory), UnixTime::now())
}

fn load_files(files: Files<'_>) -> Result<Loaded, CredentialsError> {
    load_dir(directory(files).path())
}

/// The current Compute Engine layout with one file replaced.
fn gce_with(generation: &Generation, name: &str, text: &str) -> tempfile::TempDir {
    let directory = gce(generation);
    fs::write(directory.path().join(name), text).unwrap();
    directory
}

fn gce(generation: &Generation) -> tempfile::TempDir {
    directory(&[
        ("private_key.pem", &generation.private_key),
        ("certificates.pem", &generation.certificates),
        ("trust_bundles.json", &generation.trust_bundles),
    ])
}

/// The message, with the directory's name taken out.
fn message(error: &CredentialsError, directory: &Path) -> String {
    error.to_string().replace(&directory.display().to_string(), "DIR")
}

fn refused(directory: &Path) -> (CredentialsError, String) {
    let error = load_dir(directory).unwrap_err();
    let text = message(&error, directory);
    println!("{text}");
    (error, text)
}

#[test]
fn every_layout_is_recognised_and_loaded() {
    let generation = generation(&authority("prod.example"), ID);
    let Generation { certificates: chain, private_key: key, ca_certificates: roots, trust_bundles: map } = &generation;
    let (key_first, chain_first) = (format!("{}{chain}", **key), format!("{chain}{}", **key));
    let cases: &[(&str, Files<'_>)] = &[
        (
            "gce-metadata",
            &[
                ("config_status", "{}"),
                ("certificates.pem", chain),
                ("private_key.pem", key),
                ("ca_certificates.pem", roots),
            ],
        ),
        ("gce-metadata", &[("certificates.pem", chain), ("private_key.pem", key), ("ca_certificates.pem", roots)]),
        ("gce", &[("certificates.pem", chain), ("private_key.pem", key), ("trust_bundles.json", map)]),
        (
            "gke-csi",
            &[
                ("certificates.pem", chain),
                ("private_key.pem", key),
                ("ca_certificates.pem", roots),
                ("trust_bundles.json", map),
            ],
        ),
        (
            "gke-csi",
            &[
                ("certificates.pem", chain),
                ("private_key.pem", key),
                ("ca_certificates.pem", roots),
                ("trust_bundles.json", map),
                ("credential-bundle.pem", &key_first),
            ],
        ),
        (
            "gke-csi",
            &[("credential-bundle.pem", &key_first), ("trust_bundles.json", map), ("ca_certificates.pem", roots)],
        ),
        ("gke-agent-identity", &[("x509.credential-bundle.private-key.pem", &key_first), ("trust_bundles.json", map)]),
        (
            "gke-agent-identity",
            &[("x509.credential-bundle.private-key.pem", &chain_first), ("ca_certificates.pem", roots)],
        ),
        ("pod-certificate", &[("credential-bundle.pem", &key_first), ("ca-roots.pem", roots)]),
        ("pod-certificate", &[("credentialbundle.pem", &key_first), ("trust-bundle.pem", roots)]),
        ("pod-certificate", &[("key.pem", key), ("certificates.pem", chain), ("ca.crt", roots)]),
        (
            "spiffe-filesystem",
            &[("credential-bundle.private-key.pem", &chain_first), ("prod.example.spiffe-trust-bundle.pem", roots)],
        ),
        ("kubernetes-tls", &[("tls.key", key), ("tls.crt", chain), ("ca.crt", roots)]),
        ("spiffe-helper", &[("svid_key.pem", key), ("svid.pem", chain), ("svid_bundle.pem", roots)]),
        ("istio", &[("key.pem", key), ("cert-chain.pem", chain), ("root-cert.pem", roots)]),
    ];
    for (layout, files) in cases {
        let names: Vec<_> = files.iter().map(|(name, _)| name).collect();
        let loaded = load_files(files).unwrap_or_else(|error| panic!("{layout} {names:?}: {error}"));
        assert_eq!(loaded.layout.as_str(), *layout, "{names:?}");
        assert_eq!(loaded.credentials.svid.id.to_string(), ID);
        assert_eq!(loaded.credentials.svid.chain().len(), 2, "leaf and subordinate");
        let own = TrustDomain::parse("prod.example").unwrap();
        assert_eq!(loaded.credentials.bundles.get(&own).unwrap().roots().len(), 1);
    }
}

#[test]
fn the_agents_metadata_mode_with_a_bundle_map_keeps_its_name() {
    let generation = generation(&authority("prod.example"), ID);
    let files = gce_with(&generation, "ca_certificates.pem", &generation.ca_certificates);
    fs::write(files.path().join("config_status"), "{}").unwrap();
    assert_eq!(load_dir(files.path()).unwrap().layout, Layout::GceMetadata);
}

#[test]
fn explicit_files_may_have_any_name_and_lie_anywhere() {
    let generation = generation(&authority("prod.example"), ID);
    let (one, two) =
        (directory(&[("a", &generation.certificates), ("b", &generation.private_key)]), tempfile::tempdir().unwrap());
    for (name, trust) in [("trust", &generation.ca_certificates), ("trust.json", &generation.trust_bundles)] {
        fs::write(two.path().join(name), trust).unwrap();
        let identity = Identity {
            source: Source::Files {
                certificates: one.path().join("a"),
                private_key: one.path().join("b"),
                trust_bundle: two.path().join(name),
            },
            ..Identity::default()
        };
        let loaded = load(&identity, UnixTime::now()).unwrap();
        assert_eq!((loaded.layout, loaded.credentials.svid.id.to_string().as_str()), (Layout::Explicit, ID));
    }
}

#[test]
fn one_explicit_file_may_hold_key_and_chain() {
    let generation = generation(&authority("prod.example"), ID);
    let both = format!("{}\n{}", generation.certificates, *generation.private_key);
    let directory = directory(&[("both.pem", &both), ("roots.pem", &generation.ca_certificates)]);
    let identity = Identity {
        source: Source::Files {
            certificates: directory.path().join("both.pem"),
            private_key: directory.path().join("both.pem"),
            trust_bundle: directory.path().join("roots.pem"),
        },
        ..Identity::default()
    };
    assert_eq!(load(&identity, UnixTime::now()).unwrap().layout, Layout::Explicit);
}

#[test]
fn every_kind_and_encoding_of_key_is_read() {
    let authority = authority("prod.example");
    let id = SpiffeId::parse(ID).unwrap();
    let mut kinds = Vec::new();
    for key in
        [KeyAlgorithm::P256, KeyAlgorithm::P384, KeyAlgorithm::Rsa2048, KeyAlgorithm::Rsa4096, KeyAlgorithm::Ed25519]
    {
        for encoding in [KeyEncoding::Pkcs8, KeyEncoding::Sec1, KeyEncoding::Pkcs1] {
            let issue = Issue { key, encoding, ..Issue::lasting(HOUR) };
            let Ok(issued) = authority.issue_as(&id, issue) else { continue };
            let generation = Generation::new(issued, authority.root_pem(), bundle_map(&[&authority]));
            let directory = gce(&generation);
            load_dir(directory.path()).unwrap_or_else(|error| panic!("{key:?} {encoding:?}: {error}"));
            let inspection = inspect(&identity(directory.path()), &[], UnixTime::now());
            kinds.push(format!("{} {encoding:?}", inspection.key.unwrap()));
        }
    }
    let expected = [
        "EC P-256 Pkcs8",
        "EC P-256 Sec1",
        "EC P-384 Pkcs8",
        "EC P-384 Sec1",
        "RSA 2048 Pkcs8",
        "RSA 2048 Pkcs1",
        "RSA 4096 Pkcs8",
        "RSA 4096 Pkcs1",
        "Ed25519 Pkcs8",
    ];
    assert_eq!(kinds, expected);
}

#[test]
fn a_spiffe_directory_brings_one_bundle_for_each_trust_domain() {
    let (own, partner) = (authority("prod.example"), authority("partner.example"));
    let generation = generation(&own, ID);
    let both = format!("{}{}", *generation.private_key, generation.certificates);
    let loaded = load_files(&[
        ("credential-bundle.private-key.pem", &both),
        ("prod.example.spiffe-trust-bundle.pem", &own.root_pem()),
        ("partner.example.spiffe-trust-bundle.pem", &partner.root_pem()),
    ])
    .unwrap();
    let domains: Vec<_> =
        loaded.credentials.bundles.iter().map(|(name, bundle)| (name.as_str(), bundle.roots().len())).collect();
    assert_eq!(domains, [("partner.example", 1), ("prod.example", 1)]);
}

#[test]
fn the_bundle_map_wins_over_pem_roots_and_says_so() {
    let (own, stranger) = (authority("prod.example"), authority("prod.example"));
    let generation = generation(&own, ID);
    let files = gce_with(&generation, "ca_certificates.pem", &stranger.root_pem());
    let loaded = load_dir(files.path()).unwrap();
    let bundle = loaded.credentials.bundles.get(own.trust_domain()).unwrap();
    assert_eq!(bundle.roots().iter().map(|root| root.der()).collect::<Vec<_>>(), [own.root_der()]);
    assert!(loaded.findings.contains(&Finding::IgnoredFile("ca_certificates.pem".into())), "{:?}", loaded.findings);
}

#[test]
fn pem_roots_speak_for_the_own_trust_domain_or_the_configured_one() {
    let own = authority("prod.example");
    let generation = generation(&own, ID);
    let files = directory(&[
        ("tls.key", &generation.private_key),
        ("tls.crt", &generation.certificates),
        ("ca.crt", &own.root_pem()),
    ]);
    let mut identity = identity(files.path());
    identity.trust_domain = Some(TrustDomain::parse("prod.example").unwrap());
    assert!(load(&identity, UnixTime::now()).is_ok());
    identity.trust_domain = Some(TrustDomain::parse("other.example").unwrap());
    let error = load(&identity, UnixTime::now()).unwrap_err();
    assert!(error.to_string().contains("no trust bundle for trust domain `prod.example`"), "{error}");
}

#[test]
fn a_directory_with_two_sets_is_refused_by_both_names() {
    let generation = generation(&authority("prod.example"), ID);
    let files = directory(&[
        ("tls.key", &generation.private_key),
        ("tls.crt", &generation.certificates),
        ("ca.crt", &generation.ca_certificates),
        ("key.pem", &generation.private_key),
        ("cert-chain.pem", &generation.certificates),
        ("root-cert.pem", &generation.ca_certificates),
    ]);
    let (error, text) = refused(files.path());
    assert_eq!(error.reason(), "ambiguous");
    assert!(!error.is_waiting());
    assert_eq!(
        text,
        "DIR holds two sets of credentials, kubernetes-tls and istio; remove one, or give certificates, private_key and trust_bundle one by one"
    );
}

#[test]
fn an_unfinished_directory_is_waited_for_and_says_what_is_missing() {
    let generation = generation(&authority("prod.example"), ID);
    let chain = generation.certificates.as_str();
    let key = generation.private_key.as_str();
    let cases: &[(Files<'_>, &str)] = &[
        (&[], "DIR holds no credential file of any known layout yet"),
        (&[("README", "")], "DIR holds no credential file of any known layout yet"),
        (
            &[("config_status", "{}")],
            "DIR looks like gce-metadata, but still lacks private_key.pem and certificates.pem and ca_certificates.pem",
        ),
        (
            &[("config_status", "{}"), ("certificates.pem", chain)],
            "DIR looks like gce-metadata, but still lacks private_key.pem and ca_certificates.pem",
        ),
        (
            &[("config_status", "{}"), ("certificates.pem", chain), ("private_key.pem", key)],
            "DIR looks like gce-metadata, but still lacks ca_certificates.pem",
        ),
        (&[("private_key.pem", key)], "DIR looks like gce, but still lacks certificates.pem and trust_bundles.json"),
        (
            &[("private_key.pem", key), ("certificates.pem", chain)],
            "DIR looks like gce, but still lacks trust_bundles.json",
        ),
        (&[("tls.crt", chain)], "DIR looks like kubernetes-tls, but still lacks tls.key and ca.crt"),
    ];
    for (files, expected) in cases {
        let directory = directory(files);
        let (error, text) = refused(directory.path());
        assert!(error.is_waiting(), "{text}");
        assert!(text.starts_with(expected), "{text}");
    }
}

#[test]
fn a_hidden_key_has_an_error_of_its_own() {
    let files = gce(&generation(&authority("prod.example"), ID));
    fs::remove_file(files.path().join("private_key.pem")).unwrap();
    let (error, text) = refused(files.path());
    assert_eq!(error.reason(), "key_missing");
    assert!(!error.is_waiting());
    assert!(text.starts_with(
        "DIR holds the certificates of gce, but not the private key private_key.pem: the issuer is set to hide keys"
    ));
}

#[test]
fn a_directory_that_does_not_exist_is_waited_for() {
    let (error, text) = {
        let root = tempfile::tempdir().unwrap();
        let error = load_dir(&root.path().join("nowhere/at-all")).unwrap_err();
        let text = message(&error, root.path());
        (error, text)
    };
    assert!(error.is_waiting());
    assert!(text.starts_with("DIR/nowhere/at-all is not there yet; if it never comes"), "{text}");
}

#[test]
fn a_file_where_a_directory_should_be_is_refused() {
    let files = directory(&[("file", "")]);
    let (error, text) = refused(&files.path().join("file"));
    assert_eq!((error.reason(), text.as_str()), ("unreadable", "DIR is a file, not a directory"));
}

#[test]
fn the_key_of_another_certificate_is_refused() {
    let authority = authority("prod.example");
    let (one, two) = (generation(&authority, ID), generation(&authority, ID));
    let files = gce_with(&one, "private_key.pem", &two.private_key);
    let (error, text) = refused(files.path());
    assert_eq!(error.reason(), "key_mismatch");
    assert_eq!(
        text,
        "the key in DIR/private_key.pem is not the key of the first certificate in DIR/certificates.pem; both must come from one issuance"
    );
}

#[test]
fn bad_content_is_refused_by_file_and_reason() {
    let good = generation(&authority("prod.example"), ID);
    let cut = |text: &str| text[..text.len() - 30].to_owned();
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let two_keys = format!("{}{}", *good.private_key, *good.private_key);
    let junk_key = "-----BEGIN PRIVATE KEY-----\nMAAA\n-----END PRIVATE KEY-----\n";
    let cases: &[(&str, &str, &str)] = &[
        ("private_key.pem", "", "DIR/private_key.pem is empty"),
        (
            "private_key.pem",
            &cut(&good.private_key),
            "DIR/private_key.pem is no whole PEM text: a block is cut short or damaged",
        ),
        ("private_key.pem", &good.certificates, "DIR/private_key.pem holds no private key"),
        ("private_key.pem", encrypted, "DIR/private_key.pem holds an encrypted private key; it must be unencrypted"),
        ("private_key.pem", &two_keys, "DIR/private_key.pem holds 2 private keys; one is expected"),
        (
            "private_key.pem",
            junk_key,
            "DIR/private_key.pem holds a private key that cannot be used; supported are EC P-256",
        ),
        ("certificates.pem", "", "DIR/certificates.pem is empty"),
        (
            "certificates.pem",
            "not PEM at all",
            "DIR/certificates.pem holds no certificate (no PEM block `CERTIFICATE`)",
        ),
        ("certificates.pem", &cut(&good.certificates), "DIR/certificates.pem is no whole PEM text"),
        ("trust_bundles.json", "", "DIR/trust_bundles.json is empty"),
        ("trust_bundles.json", "{", "the trust bundle DIR/trust_bundles.json is of no use: "),
        (
            "trust_bundles.json",
            "{\"trust_domains\": {}}",
            "the certificates in DIR/certificates.pem prove nothing: no trust bundle",
        ),
    ];
    for (name, text, expected) in cases {
        let files = gce_with(&good, name, text);
        let (error, text) = refused(files.path());
        assert!(text.starts_with(expected), "{text}");
        assert!(!error.is_waiting());
        assert!(!text.contains(good.private_key.lines().nth(1).unwrap()), "no key bytes in a message");
    }
}

#[test]
fn a_trust_domain_named_twice_in_the_map_is_refused() {
    let good = generation(&authority("prod.example"), ID);
    let twice = r#"{"trust_domains": {"prod.example": {"keys": []}, "prod.example": {"keys": []}}}"#;
    let files = gce_with(&good, "trust_bundles.json", twice);
    let (error, text) = refused(files.path());
    assert_eq!(error.reason(), "trust_bundle");
    assert!(text.contains("trust domain `prod.example` stands twice"), "{text}");
}

#[test]
fn a_truncated_chain_that_still_parses_is_refused_for_what_it_lacks() {
    let good = generation(&authority("prod.example"), ID);
    let end = "-----END CERTIFICATE-----\n";
    let leaf_only = &good.certificates[..good.certificates.find(end).unwrap() + end.len()];
    let files = gce_with(&good, "certificates.pem", leaf_only);
    let (error, text) = refused(files.path());
    assert_eq!(error.reason(), "rejected");
    assert!(text.contains("no path to a root of its own trust domain"), "{text}");
}

#[test]
fn an_expired_leaf_is_refused() {
    let files = gce(&generation_lasting(&authority("prod.example"), ID, Duration::from_secs(60)));
    let later = UnixTime::since_unix_epoch(Duration::from_secs(UnixTime::now().as_secs() + 120));
    let error = load(&identity(files.path()), later).unwrap_err();
    assert!(matches!(&error, CredentialsError::Rejected { rejection: Rejection::Expired(_), .. }), "{error}");
    let text = message(&error, files.path());
    assert!(
        text.starts_with("the certificates in DIR/certificates.pem prove nothing: the certificate expired at 20"),
        "{text}"
    );
}

#[test]
fn a_leaf_of_another_trust_domain_than_its_bundle_is_refused() {
    let (own, other) = (authority("prod.example"), authority("other.example"));
    let good = generation(&own, ID);
    let (_, text) = refused(gce_with(&good, "trust_bundles.json", &bundle_map(&[&other])).path());
    assert!(text.contains("no trust bundle for trust domain `prod.example`"), "{text}");
    // PEM names no trust domain: the foreign root is read as our own, and signs nothing of ours.
    let files =
        directory(&[("tls.key", &good.private_key), ("tls.crt", &good.certificates), ("ca.crt", &other.root_pem())]);
    let (_, text) = refused(files.path());
    assert!(text.contains("no path to a root of its own trust domain"), "{text}");
}

#[test]
fn another_spiffe_id_than_expected_is_refused() {
    let files = gce(&generation(&authority("prod.example"), ID));
    let mut identity = identity(files.path());
    identity.expected_id = Some(SpiffeId::parse("spiffe://prod.example/ns/shop/sa/db").unwrap());
    let error = load(&identity, UnixTime::now()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "the certificates are those of {ID}, but the configuration expects spiffe://prod.example/ns/shop/sa/db"
        )
    );
    identity.expected_id = Some(SpiffeId::parse(ID).unwrap());
    assert!(load(&identity, UnixTime::now()).is_ok());
}

#[test]
fn what_is_no_regular_file_is_refused_by_kind() {
    let good = generation(&authority("prod.example"), ID);
    let replace = |place: &dyn Fn(&Path)| {
        let files = gce(&good);
        let key = files.path().join("private_key.pem");
        fs::remove_file(&key).unwrap();
        place(&key);
        refused(files.path()).1
    };
    assert_eq!(replace(&|key| fs::create_dir(key).unwrap()), "DIR/private_key.pem is a directory, not a file");
    assert_eq!(
        replace(&|key| nix::unistd::mkfifo(key, nix::sys::stat::Mode::S_IRUSR).unwrap()),
        "DIR/private_key.pem is a FIFO, not a file"
    );
    assert_eq!(replace(&|key| symlink("/dev/zero", key).unwrap()), "DIR/private_key.pem is a device, not a file");
    assert_eq!(
        replace(&|key| drop(std::os::unix::net::UnixListener::bind(key).unwrap())),
        "DIR/private_key.pem is a socket or a device without a driver, not a file"
    );
    assert_eq!(
        replace(&|key| symlink("private_key.pem", key).unwrap()),
        "DIR/private_key.pem is a symbolic link that leads to itself, or through too many others"
    );
    let dangling = replace(&|key| symlink("nowhere", key).unwrap());
    assert!(dangling.starts_with("DIR/private_key.pem is not there yet"), "{dangling}");
    assert_eq!(
        replace(&|key| fs::write(key, vec![b'A'; 10 << 20]).unwrap()),
        "DIR/private_key.pem is larger than 1048576 bytes, which no credential file is"
    );
}

#[test]
fn a_loop_of_directories_is_refused() {
    let root = tempfile::tempdir().unwrap();
    symlink("b", root.path().join("a")).unwrap();
    symlink("a", root.path().join("b")).unwrap();
    let (_, text) = refused(&root.path().join("a"));
    assert_eq!(text, "DIR is a symbolic link that leads to itself, or through too many others");
}

#[test]
fn a_crowded_directory_is_refused() {
    let root = tempfile::tempdir().unwrap();
    for number in 0..5000 {
        fs::write(root.path().join(number.to_string()), "").unwrap();
    }
    let (_, text) = refused(root.path());
    assert_eq!(text, "DIR has more than 4096 entries, which no credential directory has");
}

#[test]
fn an_unreadable_file_names_us_and_its_owner_and_mode() {
    let error = CredentialsError::Unreadable {
        path: PathBuf::from("/run/key.pem"),
        reason: Unreadable::Denied {
            uid: 1000,
            file: Some(svidgate::credentials::Ownership { uid: 0, gid: 7, mode: 0o640 }),
        },
    };
    assert_eq!(
        error.to_string(),
        "/run/key.pem cannot be read by us (user 1000): permission denied; it belongs to user 0 and group 7 and has mode 0640: \
         run as that user, or join that group and allow it to read"
    );
}

#[test]
fn a_revocation_of_the_own_trust_domain_is_taken_and_told() {
    let good = generation(&authority("prod.example"), ID);
    let revoked = r#"{"trust_domains": {"prod.example": {"spiffe_sequence": 9, "keys": []}}}"#;
    let loaded = load_dir(gce_with(&good, "trust_bundles.json", revoked).path()).unwrap();
    let own = TrustDomain::parse("prod.example").unwrap();
    assert!(loaded.credentials.bundles.get(&own).unwrap().roots().is_empty());
    assert!(loaded.findings.contains(&Finding::OwnTrustRevoked(own)), "{:?}", loaded.findings);
}

#[test]
fn a_bundle_whose_own_roots_are_all_unfit_is_a_broken_file_and_no_revocation() {
    let authority = authority("prod.example");
    let good = generation(&authority, ID);
    let leaf_as_root = good.certificates.as_str();
    let files = directory(&[("tls.key", &good.private_key), ("tls.crt", &good.certificates), ("ca.crt", leaf_as_root)]);
    let first_only = &leaf_as_root[..leaf_as_root.find("-----END CERTIFICATE-----\n").unwrap() + 26];
    fs::write(files.path().join("ca.crt"), first_only).unwrap();
    let (_, text) = refused(files.path());
    assert!(
        text.starts_with("the trust bundle DIR/ca.crt is of no use: none of its certificates may act as a root"),
        "{text}"
    );
}

#[test]
fn findings_tell_what_is_unwise() {
    let authority = authority("prod.example");
    let good = generation(&authority, ID);
    let end = "-----END CERTIFICATE-----\n";
    let leaf = &good.certificates[..good.certificates.find(end).unwrap() + end.len()];
    let roots = format!("{}{leaf}", authority.root_pem());
    let files = directory(&[("tls.key", &good.private_key), ("tls.crt", &good.certificates), ("ca.crt", &roots)]);
    fs::set_permissions(files.path().join("tls.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let loaded = load_dir(files.path()).unwrap();
    let codes: Vec<_> = loaded.findings.iter().map(Finding::code).collect();
    assert_eq!(codes, ["world_readable_key", "dropped_root"]);
    let texts: Vec<_> = loaded.findings.iter().map(Finding::to_string).collect();
    assert!(texts[0].ends_with("tls.key can be read by everybody on this machine (mode 0644)"), "{texts:?}");
    assert!(texts[1].contains("is left out, it may not act as a root"), "{texts:?}");
}

#[test]
fn a_leaf_without_extended_key_usage_is_a_finding() {
    let authority = authority("prod.example");
    let mut params = svid_params(&SpiffeId::parse(ID).unwrap(), Issue::lasting(HOUR).validity).unwrap();
    params.extended_key_usages.clear();
    let key = KeyAlgorithm::P256.generate().unwrap();
    let leaf = authority.sign(&params, &key).unwrap();
    let files = directory(&[
        ("tls.key", &key.serialize_pem()),
        ("tls.crt", &format!("{}{}", pem(&leaf), pem(authority.subordinate_der()))),
        ("ca.crt", &authority.root_pem()),
    ]);
    assert_eq!(load_dir(files.path()).unwrap().findings, [Finding::NoExtendedKeyUsage]);
}

fn pem(der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

#[test]
fn the_first_well_known_place_with_credential_files_is_taken() {
    let good = generation(&authority("prod.example"), ID);
    let root = tempfile::tempdir().unwrap();
    let places: Vec<PathBuf> = ["first", "second", "third"].map(|name| root.path().join(name)).to_vec();
    let well_known = Identity::default();
    let error = load_from(&well_known, &places, UnixTime::now()).unwrap_err();
    assert!(error.is_waiting());
    let all = places.iter().map(|place| place.display().to_string()).collect::<Vec<_>>().join(", ");
    assert!(error.to_string().starts_with(&format!("none of {all} holds credentials yet")), "{error}");
    // A directory that holds something else is passed over.
    fs::create_dir(&places[0]).unwrap();
    fs::write(places[0].join("database-password"), "secret").unwrap();
    Writer::new(&places[2], WriterStyle::Kubernetes).write(&good).unwrap();
    assert_eq!(load_from(&well_known, &places, UnixTime::now()).unwrap().place, places[2]);
    Writer::new(&places[1], WriterStyle::SpiffeHelper).write(&good).unwrap();
    assert_eq!(load_from(&well_known, &places, UnixTime::now()).unwrap().place, places[1]);
    // One that is being filled is waited for.
    fs::write(places[0].join("config_status"), "{}").unwrap();
    let error = load_from(&well_known, &places, UnixTime::now()).unwrap_err();
    assert_eq!(error.reason(), "incomplete");
}

#[test]
fn a_kubernetes_volume_is_read_behind_its_data_link() {
    let good = generation(&authority("prod.example"), ID);
    let root = tempfile::tempdir().unwrap();
    Writer::new(root.path(), WriterStyle::Kubernetes).write(&good).unwrap();
    let loaded = load_dir(root.path()).unwrap();
    assert_eq!(loaded.layout, Layout::KubernetesTls);
    let data = fs::read_link(root.path().join("..data")).unwrap();
    assert_eq!(loaded.directory, root.path().canonicalize().unwrap().join(data));
}

#[test]
fn an_inspection_shows_a_good_set_in_full() {
    let (own, partner) = (authority("prod.example"), authority("partner.example"));
    let issued = own.issue(&SpiffeId::parse(ID).unwrap(), HOUR).unwrap();
    let good = Generation::new(issued, own.root_pem(), bundle_map(&[&own, &partner]));
    let files = gce_with(&good, "config_status", "{\"state\":\n\"fine\u{7}\"}");
    let inspection = inspect(&identity(files.path()), &[], UnixTime::now());
    assert!(inspection.is_acceptable(), "{:?}", inspection.error);
    let json = serde_json::to_value(&inspection).unwrap();
    assert_eq!(json["layout"], "gce");
    assert_eq!(json["spiffe_id"], ID);
    assert_eq!(json["key"], "EC P-256");
    assert_eq!(json["chain"][0]["sans"][0], format!("URI:{ID}"));
    assert_eq!(json["trust_domains"][0]["name"], "partner.example");
    assert_eq!(json["trust_domains"][1]["roots"][0]["valid"], true);
    assert_eq!(json["files"][0]["mode"], "0600");
    assert_eq!(json["files"][0]["role"], "private key");
    assert_eq!(json["config_status"], "{\"state\":\n\"fine\u{fffd}\"}");
    assert!((3500..=3600).contains(&inspection.seconds_left.unwrap()));
    assert!(!json.to_string().contains(good.private_key.lines().nth(1).unwrap()), "no key in an inspection");
}

#[test]
fn an_inspection_shows_what_it_can_of_a_bad_set() {
    let own = authority("prod.example");
    let (one, two) = (generation(&own, ID), generation(&own, ID));
    let files = gce_with(&one, "private_key.pem", &two.private_key);
    let inspection = inspect(&identity(files.path()), &[], UnixTime::now());
    assert_eq!(inspection.error_reason, Some("key_mismatch"));
    assert_eq!(inspection.spiffe_id.unwrap().to_string(), ID);
    assert_eq!((inspection.chain.len(), inspection.trust_domains.len()), (2, 1));

    let files = gce_with(&one, "certificates.pem", "");
    fs::write(files.path().join("config_status"), "broken").unwrap();
    let inspection = inspect(&identity(files.path()), &[], UnixTime::now());
    assert_eq!((inspection.error_reason, inspection.trust_domains.len()), (Some("malformed"), 1));

    fs::remove_file(files.path().join("private_key.pem")).unwrap();
    let inspection = inspect(&identity(files.path()), &[], UnixTime::now());
    assert_eq!(inspection.error_reason, Some("key_missing"));
    assert_eq!(inspection.config_status.as_deref(), Some("broken"));
    assert_eq!(inspection.directory, Some(files.path().canonicalize().unwrap()));
}

#[test]
fn a_key_that_only_its_owner_may_read_is_refused_with_both_users() {
    let good = generation(&authority("prod.example"), ID);
    let files = gce(&good);
    fs::set_permissions(files.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for name in ["certificates.pem", "trust_bundles.json"] {
        fs::set_permissions(files.path().join(name), fs::Permissions::from_mode(0o644)).unwrap();
    }
    if !nix::unistd::geteuid().is_root() {
        fs::set_permissions(files.path().join("private_key.pem"), fs::Permissions::from_mode(0o000)).unwrap();
        return key_is_refused_in(files.path(), "0000");
    }
    // Root reads everything: another user must look, with a copy of this binary that it can reach.
    let binary = files.path().join("test-binary");
    fs::copy(std::env::current_exe().unwrap(), &binary).unwrap();
    let mut command = std::process::Command::new(&binary);
    std::os::unix::process::CommandExt::uid(&mut command, 65534);
    command.env("CREDENTIALS_OF_ANOTHER", files.path()).current_dir("/");
    let output = command.args(["--exact", "a_key_of_another_user", "--ignored", "--nocapture"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
#[ignore = "needs another user; run by the test above"]
fn a_key_of_another_user() {
    let directory = std::env::var_os("CREDENTIALS_OF_ANOTHER").unwrap();
    key_is_refused_in(Path::new(&directory), "0600");
}

fn key_is_refused_in(directory: &Path, mode: &str) {
    let (error, text) = refused(directory);
    assert_eq!(error.reason(), "unreadable");
    let us = nix::unistd::geteuid();
    let expected =
        format!("DIR/private_key.pem cannot be read by us (user {us}): permission denied; it belongs to user ");
    assert!(text.starts_with(&expected) && text.contains(&format!("has mode {mode}: run as that user")), "{text}");
    assert!(!error.is_waiting());
}
