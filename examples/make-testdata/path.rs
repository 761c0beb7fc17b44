//! certificates that are outside their time, lead nowhere, or are damaged.

use svidgate::mint::KeyAlgorithm;

use super::chain::{NO_ISSUER, below, below_root, trusting};
use super::workshop::{
    Ca, Case, Der, FUTURE, PAST, SAN, UNTIL_OCTOBER, WORKLOAD, World, accept, ca_params, ca_params_in, extension,
};
use super::workshop::{leaf_params, reject, uri_names, within};

pub(crate) fn cases(world: &World) -> Vec<Case> {
    [validity(world), paths(world), oddities(world), key_kinds(world)].into_iter().flatten().collect()
}

const UNREADABLE: &str = "the certificate cannot be read (RFC 5280 §4)";

/// when.
fn validity(world: &World) -> Vec<Case> {
    let leaf = |window| world.svid(|params| *params = within(params.clone(), window));
    let intermediate = |window| below(world, |params| *params = within(params.clone(), window));
    let root = |window| below_root(|params| *params = within(params.clone(), window));
    let ((past_chain, past), (future_chain, future)) = (root(PAST), root(FUTURE));
    let (brief_chain, brief) = root(UNTIL_OCTOBER);
    let renewed = Ca::root(ca_params("prod.example", "renewed root", 0));
    let before = renewed.certify(&ca_params_in("prod.example", "renewed root", 0, PAST), &renewed);
    vec![
        reject("x-16-expired", "the certificate expired at 2026-01-01T00:00:00Z", leaf(PAST), world.trust()),
        reject(
            "x-16-not-yet-valid",
            "the certificate is not valid before 2027-01-01T00:00:00Z",
            leaf(FUTURE),
            world.trust(),
        ),
        reject(
            "x-16-intermediate-expired",
            "an intermediate certificate has expired",
            intermediate(PAST),
            world.trust(),
        ),
        reject(
            "x-16-intermediate-not-yet-valid",
            "an intermediate certificate is not valid yet",
            intermediate(FUTURE),
            world.trust(),
        ),
        accept("x-16-intermediate-expires-before-its-leaf", intermediate(UNTIL_OCTOBER), world.trust()),
        accept("x-16-root-expires-before-its-leaf", brief_chain, trusting(&[&brief.der])),
        // webpki trusts a root for ever.
        reject("x-16-root-expired", "the root that the chain leads to has expired", past_chain, trusting(&[&past.der])),
        reject(
            "x-16-root-not-yet-valid",
            "the root that the chain leads to is not valid yet",
            future_chain,
            trusting(&[&future.der]),
        ),
        accept(
            "x-16-expired-root-beside-its-renewal",
            vec![renewed.leaf(&leaf_params(WORKLOAD))],
            trusting(&[&before, &renewed.der]),
        ),
    ]
}

/// which way.
fn paths(world: &World) -> Vec<Case> {
    let [leaf, sub] = <[Der; 2]>::try_from(world.good()).unwrap();
    let long = world.sub.authority(ca_params("prod.example", "unused", 0));
    let strangers: Vec<Der> = (0..18).map(|_| world.other_sub.der.clone()).collect();
    let deep_root = Ca::root(ca_params("prod.example", "deep root", 2));
    let middle = deep_root.authority(ca_params("prod.example", "middle", 1));
    let low = middle.authority(ca_params("prod.example", "low", 0));
    let shuffled = vec![low.leaf(&leaf_params(WORKLOAD)), middle.der.clone(), low.der.clone()];
    let namesake = Ca::root(ca_params("prod.example", "subordinate", 0));
    let another_root = Ca::root(ca_params("prod.example", "another root", 1));
    let replaced_root = Ca::root(ca_params("prod.example", "root", 1));
    let self_signed = Ca::root(leaf_params(WORKLOAD)).der;
    vec![
        accept("x-16-intermediates-in-the-wrong-order", shuffled, trusting(&[&deep_root.der])),
        accept(
            "x-16-unrelated-certificate-appended",
            vec![leaf.clone(), sub.clone(), world.other_sub.der.clone(), long.der],
            world.trust(),
        ),
        accept("x-16-root-sent-along", vec![leaf.clone(), sub.clone(), world.root.der.clone()], world.trust()),
        accept("x-16-intermediate-as-root", vec![leaf.clone()], trusting(&[&world.sub.der])),
        reject("x-16-no-certificate", "no certificate was presented", vec![], world.trust()),
        reject("x-16-intermediate-missing", NO_ISSUER, vec![leaf.clone()], world.trust()),
        reject("x-16-unknown-root", NO_ISSUER, world.good(), trusting(&[&another_root.der])),
        // A root that was replaced under its old name.
        reject("x-16-root-of-the-same-name-and-another-key", WRONG_KEY, world.good(), trusting(&[&replaced_root.der])),
        reject("x-16-self-signed", NO_ISSUER, vec![self_signed], world.trust()),
        reject("x-16-leaf-behind-its-intermediate", NO_PATH, vec![sub.clone(), leaf.clone()], world.trust()),
        reject(
            "x-16-twenty-certificates",
            "20 certificates were presented; 10 are read at most",
            [vec![leaf.clone(), sub.clone()], strangers].concat(),
            world.trust(),
        ),
        // The issuer's name, another key.
        reject("x-16-signed-by-a-namesake", WRONG_KEY, vec![namesake.leaf(&leaf_params(WORKLOAD)), sub], world.trust()),
    ]
}

const WRONG_KEY: &str =
    "no path to a root of its own trust domain: a signature on the chain was not made by its issuer's key";

const NO_PATH: &str =
    "the certificate's SPIFFE ID has no path: it names a trust domain, not a workload (X509-SVID §3.1)";

/// certificates that are damaged, or not as RFC 5280 wants them.
fn oddities(world: &World) -> Vec<Case> {
    let with_extension = |extension| world.svid(|params| params.custom_extensions = vec![extension]);
    let damaged = |bend: &dyn Fn(&mut Vec<u8>)| {
        let mut chain = world.good();
        let mut der = chain[0].to_vec();
        bend(&mut der);
        chain[0] = der.into();
        chain
    };
    let second_san = uri_names(&[b"spiffe://prod.example/b"]);
    vec![
        reject(
            "x-16-last-byte-of-the-signature-flipped",
            WRONG_KEY,
            damaged(&|der| *der.last_mut().unwrap() ^= 1),
            world.trust(),
        ),
        reject("x-16-trailing-bytes", UNREADABLE, damaged(&|der| der.extend(b"more")), world.trust()),
        reject("x-16-truncated", UNREADABLE, damaged(&|der| der.truncate(der.len() - 1)), world.trust()),
        reject("x-16-not-a-certificate", UNREADABLE, vec![b"not a certificate".to_vec().into()], world.trust()),
        reject("x-16-san-twice", UNREADABLE, with_extension(extension(SAN, true, second_san)), world.trust()),
        reject(
            "x-16-unknown-critical-extension",
            "no path to a root of its own trust domain: a certificate has a critical extension that is not understood",
            with_extension(extension(&[1, 3, 6, 1, 4, 1, 99_999, 1], true, vec![5, 0])),
            world.trust(),
        ),
        accept(
            "x-16-unknown-extension",
            with_extension(extension(&[1, 3, 6, 1, 4, 1, 99_999, 1], false, vec![5, 0])),
            world.trust(),
        ),
    ]
}

/// keys of every kind that we speak of.
fn key_kinds(world: &World) -> Vec<Case> {
    let kinds = [
        ("x-16-leaf-key-p384", KeyAlgorithm::P384),
        ("x-16-leaf-key-rsa-2048", KeyAlgorithm::Rsa2048),
        ("x-16-leaf-key-ed25519", KeyAlgorithm::Ed25519),
    ];
    let case = |(name, kind): (&'static str, KeyAlgorithm)| {
        let leaf = world.sub.sign(&leaf_params(WORKLOAD), &kind.generate().unwrap());
        accept(name, vec![leaf, world.sub.der.clone()], world.trust())
    };
    kinds.into_iter().map(case).collect()
}
