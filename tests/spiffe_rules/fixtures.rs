//! The fixtures of `certs-testdata`: what stands in a folder, and whether its verdict is the one that comes out.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use svidgate::spiffe::{BundleError, TrustBundle, TrustBundles, TrustDomain, UnixTime, Usage, Verified, verify};

/// 2026-07-01T00:00:00Z.
pub(crate) const NOW: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(1_782_864_000));

/// Runs each fixture of `rule`; there must be some.
pub(crate) fn fixtures(rule: &str) {
    let of_rule: Vec<PathBuf> = folders().into_iter().filter(|path| rule_of(path) == rule).collect();
    assert!(!of_rule.is_empty(), "no fixture of {rule}");
    of_rule.iter().for_each(|path| judge(path));
}

pub(crate) fn folders() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("certs-testdata");
    let entries = ["accept", "reject"].map(|verdict| fs::read_dir(root.join(verdict)).unwrap());
    let mut folders: Vec<PathBuf> = entries.into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    folders
}

/// `x-1` of `.../accept/x-1-one-uri-three-dns`.
pub(crate) fn rule_of(folder: &Path) -> String {
    let name = folder.file_name().unwrap().to_str().unwrap();
    name.splitn(3, '-').take(2).collect::<Vec<_>>().join("-")
}

pub(crate) fn judge(folder: &Path) {
    let accepted = folder.parent().unwrap().ends_with("accept");
    for usage in usages(folder) {
        let verdict = verdict(folder, usage);
        let what = format!("{} as {usage:?}", folder.display());
        match (verdict, accepted) {
            (Ok(_), true) => {}
            (Ok(verified), false) => panic!("{what} was accepted: {verified:?}"),
            (Err(reason), true) => panic!("{what} was refused: {reason}"),
            (Err(reason), false) => {
                let expected = fs::read_to_string(folder.join("reason.txt")).unwrap();
                assert_eq!(reason, expected.trim_end(), "{what}");
            }
        }
    }
}

pub(crate) fn usages(folder: &Path) -> Vec<Usage> {
    match fs::read_to_string(folder.join("usage.txt")).as_deref() {
        Ok("client\n") => vec![Usage::Client],
        Ok("server\n") => vec![Usage::Server],
        Ok(other) => panic!("{other:?} is no side of TLS"),
        Err(_) => vec![Usage::Client, Usage::Server],
    }
}

pub(crate) fn verdict(folder: &Path, usage: Usage) -> Result<Verified, String> {
    let bundles = trust(folder).map_err(|error| error.to_string())?;
    verify(&chain(folder), &bundles, usage, NOW).map_err(|rejection| rejection.to_string())
}

pub(crate) fn chain(folder: &Path) -> Vec<CertificateDer<'static>> {
    let pem = fs::read(folder.join("chain.pem")).unwrap();
    CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().unwrap()
}

pub(crate) fn trust(folder: &Path) -> Result<TrustBundles, BundleError> {
    if let Ok(map) = fs::read(folder.join("trust_bundles.json")) {
        return Ok(TrustBundles::from_json(&map)?.0);
    }
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let pem =
        files.into_iter().find(|path| !path.ends_with("chain.pem") && path.extension().unwrap() == "pem").unwrap();
    let trust_domain = TrustDomain::parse(pem.file_stem().unwrap().to_str().unwrap()).unwrap();
    let mut bundles = TrustBundles::default();
    bundles.insert(trust_domain, TrustBundle::from_pem(&fs::read(&pem).unwrap())?.0);
    Ok(bundles)
}

pub(crate) fn accepted(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("certs-testdata/accept").join(name)
}
