//! What `identity mint` makes and `identity show` tells, on real files.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use clap::Parser;
use tempfile::TempDir;

use super::Command;
use super::mint::MintLayout;
use super::mint::Workshop;
use super::show::describe;
use crate::credentials::{Identity, Inspection, Source, inspect, load};
use crate::mint::{Validity, authority_params, svid_params};
use crate::spiffe::{SpiffeId, TrustDomain, UnixTime};

#[derive(Debug, Parser)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

fn line(arguments: &[&str]) -> Result<Command, String> {
    let line = Line::try_parse_from([&["svidgate"], arguments].concat());
    line.map(|line| line.command).map_err(|error| error.to_string())
}

fn workshop(directory: &Path, more: &[&str]) -> anyhow::Result<Workshop> {
    let directory = directory.to_str().unwrap();
    match line(&[&["mint", directory], more].concat()).unwrap() {
        Command::Mint(args) => Workshop::open(&args),
        Command::Show(_) => unreachable!(),
    }
}

/// Mints once and returns what was printed.
fn mint(directory: &Path, more: &[&str]) -> anyhow::Result<String> {
    let mut out = Vec::new();
    workshop(directory, more)?.first(&mut out)?;
    Ok(String::from_utf8(out)?)
}

const API: [&str; 2] = ["--id", "spiffe://prod.example/ns/web/sa/api"];

fn identity(directory: &Path) -> Identity {
    Identity { source: Source::Directory(directory.to_owned()), ..Identity::default() }
}

fn look(directory: &Path) -> Inspection {
    inspect(&identity(directory), &[], UnixTime::now())
}

fn told(inspection: &Inspection) -> String {
    let mut out = Vec::new();
    describe(inspection, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn place() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn every_layout_that_is_minted_can_be_used() {
    let place = place();
    for layout in ["gce", "gce-metadata", "kubernetes", "spiffe-helper"] {
        let directory = place.path().join(layout);
        let printed = mint(&directory, &[API.as_slice(), &["--layout", layout]].concat()).unwrap();
        assert!(printed.starts_with("NOT FOR PRODUCTION: "), "{printed}");
        let found = look(&directory);
        assert_eq!((found.error.as_deref(), found.spiffe_id.unwrap().to_string().as_str()), (None, API[1]), "{layout}");
        assert!(found.findings.is_empty(), "{layout}: {:?}", found.findings);
    }
}

#[test]
fn workloads_minted_side_by_side_share_their_authority_and_their_bundle_map() {
    let place = place();
    mint(&place.path().join("api"), &API).unwrap();
    let printed = mint(&place.path().join("dev"), &["--id", "spiffe://dev.example/a"]).unwrap();
    assert!(printed.contains("  trusts      dev.example, prod.example\n"), "{printed}");
    mint(&place.path().join("web"), &["--id", "spiffe://prod.example/web"]).unwrap();
    let bundles = |name: &str| load(&identity(&place.path().join(name)), UnixTime::now()).unwrap().credentials.bundles;
    assert_eq!(bundles("web"), bundles("dev"));
    let (web, api) = (look(&place.path().join("web")), look(&place.path().join("api")));
    assert_eq!(web.chain[1].serial, api.chain[1].serial, "one subordinate signed both");
    assert_eq!(api.trust_domains.len(), 1, "the first was minted before the other trust domain was there");
}

#[test]
fn what_is_minted_is_marked_beside_it() {
    let place = place();
    mint(&place.path().join("api"), &API).unwrap();
    let notice = fs::read_to_string(place.path().join("throwaway-authorities/NOT-FOR-PRODUCTION.txt")).unwrap();
    assert!(notice.contains("NOT FOR PRODUCTION"), "{notice}");
}

#[test]
fn minting_again_keeps_the_authority_and_replaces_the_credentials() {
    let place = place();
    let directory = place.path().join("api");
    mint(&directory, &API).unwrap();
    let first = look(&directory);
    mint(&directory, &API).unwrap();
    let second = look(&directory);
    assert_ne!(first.chain[0].serial, second.chain[0].serial);
    assert_eq!(first.trust_domains[0].roots[0].certificate, second.trust_domains[0].roots[0].certificate);
}

#[tokio::test]
async fn rotation_goes_on_until_it_is_stopped() {
    let place = place();
    let directory = place.path().join("api");
    let workshop = workshop(&directory, &API).unwrap();
    let mut out = Vec::new();
    workshop.first(&mut out).unwrap();
    let first = look(&directory).chain[0].serial.clone();
    let rotated_thrice = async {
        let mut seen = vec![first];
        while seen.len() < 4 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let serial = look(&directory).chain.first().map(|leaf| leaf.serial.clone());
            seen.extend(serial.filter(|serial| !seen.contains(serial)));
        }
    };
    workshop.rotate(Duration::from_millis(5), rotated_thrice, &mut out).await.unwrap();
    let printed = String::from_utf8(out).unwrap();
    assert!(printed.matches(" rotated, valid until ").count() >= 3, "{printed}");
}

#[tokio::test]
async fn a_rotation_that_fails_is_told_and_the_next_one_is_tried() {
    let place = place();
    let directory = place.path().join("api");
    let workshop = workshop(&directory, &API).unwrap();
    workshop.first(&mut Vec::new()).unwrap();
    let root = place.path().join("throwaway-authorities/prod.example/throwaway-root-ca.pem");
    fs::write(&root, "nonsense").unwrap();
    let told = Told::default();
    let told_twice = async {
        while told.text().matches(" not rotated: ").count() < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    workshop.rotate(Duration::from_millis(2), told_twice, &mut &told).await.unwrap();
    let printed = told.text();
    assert!(printed.contains("remove its directory to have a new one made"), "{printed}");
    assert!(look(&directory).is_acceptable(), "what was there stays");
}

/// What was printed so far, to be read while more is printed.
#[derive(Default)]
struct Told(Mutex<Vec<u8>>);

impl Told {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for &Told {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn real_credentials_are_never_written_over() {
    let place = place();
    let real = place.path().join("real");
    fs::create_dir(&real).unwrap();
    let before = write_real(&real);
    assert!(look(&real).is_acceptable());
    let refused = mint(&real, &[API.as_slice(), &["--layout", "kubernetes"]].concat()).unwrap_err().to_string();
    assert!(refused.contains("holds no credentials minted here: they may be real ones"), "{refused}");
    let refused = mint(&real, &API).unwrap_err().to_string();
    assert!(refused.contains("is there and no symbolic link"), "{refused}");
    assert_eq!(fs::read_to_string(real.join("tls.crt")).unwrap(), before);
    assert!(
        !place.path().join("throwaway-authorities").exists(),
        "nothing is written before the place is known to be fit"
    );
}

/// Credentials of an authority that is none of ours. Returns the leaf.
fn write_real(directory: &Path) -> String {
    let (trust_domain, id) = (TrustDomain::parse("prod.example").unwrap(), SpiffeId::parse(API[1]).unwrap());
    let validity = Validity::from_now(Duration::from_secs(3600));
    let mut params = authority_params(&trust_domain, "root", rcgen::BasicConstraints::Unconstrained, validity).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, "Real Root");
    let root = rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = svid_params(&id, validity).unwrap().signed_by(&key, &root).unwrap().pem();
    for (name, text) in [("tls.crt", &leaf), ("tls.key", &key.serialize_pem()), ("ca.crt", &root.pem())] {
        fs::write(directory.join(name), text).unwrap();
    }
    leaf
}

#[test]
fn an_id_that_no_workload_has_is_refused_with_what_to_write() {
    for (id, message) in [
        ("prod.example/a", "it does not start with `spiffe://`"),
        ("spiffe://prod.example", "add a path, as in `spiffe://prod.example/ns/web/sa/api`"),
        ("spiffe://../a", "this trust domain cannot be the name of a directory"),
    ] {
        let error = line(&["mint", "dir", "--id", id]).unwrap_err();
        assert!(error.contains(message), "{id}: {error}");
    }
}

#[test]
fn a_rotation_slower_than_the_lifetime_is_refused() {
    let place = place();
    let slow = [API.as_slice(), &["--lifetime", "1h", "--rotate-every", "60m"]].concat();
    let error = workshop(&place.path().join("api"), &slow).err().unwrap().to_string();
    assert!(error.contains("shorter than --lifetime"), "{error}");
}

#[test]
fn the_layout_is_compute_engines_where_none_is_named() {
    let Command::Mint(args) = line(&["mint", "dir", "--id", API[1]]).unwrap() else { unreachable!() };
    assert_eq!((args.layout, args.lifetime), (MintLayout::Gce, Duration::from_secs(24 * 3600)));
}

#[test]
fn what_can_be_used_is_told_with_each_of_its_parts() {
    let place = place();
    let directory = place.path().join("api");
    mint(&directory, &API).unwrap();
    let text = told(&look(&directory));
    let lines =
        ["spiffe://prod.example/ns/web/sa/api\nusable, ", " left\n", "layout  gce\n", "key     EC P-256\n", "Files\n"];
    let parts =
        ["Chain, leaf first\n  1 URI:spiffe://prod.example/ns/web/sa/api\n", "Trust domains\n  prod.example: 1 root\n"];
    for part in [lines.as_slice(), &parts].concat() {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
}

#[test]
fn what_cannot_be_used_is_told_with_the_reason_first() {
    let place = place();
    let nothing = told(&look(&place.path().join("nowhere")));
    assert!(
        nothing.starts_with("no SPIFFE ID\nNOT USABLE: ") && nothing.contains("nowhere is not there yet"),
        "{nothing}"
    );
    let directory = place.path().join("api");
    mint(&directory, &API).unwrap();
    fs::write(directory.join("private_key.pem"), "").unwrap();
    let broken = told(&look(&directory));
    assert!(broken.starts_with("spiffe://prod.example/ns/web/sa/api\nNOT USABLE: "), "{broken}");
    assert!(broken.contains("Trust domains\n  prod.example: 1 root\n"), "one bad part hides no other: {broken}");
}
