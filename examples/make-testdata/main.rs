//! Makes `certs-testdata/` anew: chains and trust that must be accepted or refused, each for one rule of SPIFFE or RFC 5280. Names and
//! validity never change, the keys are fresh: `cargo run --example make-testdata`. Two fixtures need the `openssl` command.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    clippy::string_slice,
    clippy::print_stdout,
    reason = "a generator for the tests: it may stop at the first surprise"
)]

mod bundle;
mod chain;
mod ids;
mod leaf;
mod path;
mod weak;
mod workshop;

use std::fs;
use std::path::Path;

use workshop::{Case, Trust, World, pem};

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("certs-testdata");
    let world = World::new();
    let chapters = [
        ids::cases(&world),
        leaf::cases(&world),
        chain::cases(&world),
        path::cases(&world),
        weak::cases(&world),
        bundle::cases(&world),
    ];
    let cases: Vec<Case> = chapters.into_iter().flatten().collect();
    for verdict in ["accept", "reject"] {
        let _ = fs::remove_dir_all(root.join(verdict));
    }
    for case in &cases {
        write(&root, case);
    }
    println!("{} fixtures in {}", cases.len(), root.display());
}

fn write(root: &Path, case: &Case) {
    let verdict = if case.reason.is_some() { "reject" } else { "accept" };
    let directory = root.join(verdict).join(case.name);
    assert!(!directory.exists(), "{} stands twice", case.name);
    fs::create_dir_all(&directory).unwrap();
    let chain: Vec<String> = case.chain.iter().map(|der| pem(der)).collect();
    fs::write(directory.join("chain.pem"), chain.join("\n")).unwrap();
    match &case.trust {
        Trust::Map(json) => fs::write(directory.join("trust_bundles.json"), json).unwrap(),
        Trust::Pem(trust_domain, text) => fs::write(directory.join(format!("{trust_domain}.pem")), text).unwrap(),
    }
    if let Some(reason) = &case.reason {
        fs::write(directory.join("reason.txt"), format!("{reason}\n")).unwrap();
    }
    if let Some(usage) = case.usage {
        fs::write(directory.join("usage.txt"), format!("{usage}\n")).unwrap();
    }
}
