//! X-18 to X-22 and B-*: which roots a bundle map gives to whom.

use serde_json::{Value, json};

use super::chain::NO_ISSUER;
use super::workshop::{Case, Trust, WORKLOAD, World, accept, document, jwk, keys, leaf_params, map, pem, reject};

pub(crate) fn cases(world: &World) -> Vec<Case> {
    [jwks(world), domains(world), pems(world)].into_iter().flatten().collect()
}

const REVOKED: &str = "the trust bundle of trust domain `prod.example` has no roots: its SVIDs are all revoked";
const UNKNOWN: &str = "no trust bundle for trust domain `prod.example`";

fn with(mut jwk: Value, member: &str, value: Value) -> Value {
    jwk[member] = value;
    jwk
}

/// X-18 to X-22, B-6.
fn jwks(world: &World) -> Vec<Case> {
    let root = jwk(&[&world.root.der]);
    let stranger = jwk(&[&world.other_root.der]);
    let wrapped = {
        let text = root["x5c"][0].as_str().unwrap();
        let lines: Vec<&str> = (0..text.len()).step_by(64).map(|at| &text[at..text.len().min(at + 64)]).collect();
        with(root.clone(), "x5c", json!([lines.join("\n")]))
    };
    let jwt = json!({"kty": "EC", "use": "jwt-svid", "kid": "1", "crv": "P-256", "x": "AA", "y": "AA"});
    vec![
        accept("x-18-kid-is-set", world.good(), keys(vec![with(root.clone(), "kid", json!("1"))])),
        accept("x-19-one-self-signed-authority", world.good(), keys(vec![root.clone()])),
        accept("x-19-authority-not-self-signed", vec![world.good()[0].clone()], keys(vec![jwk(&[&world.sub.der])])),
        accept("x-19-wrapped-lines", world.good(), keys(vec![wrapped])),
        accept(
            "x-20-entries-without-x5c-passed-over",
            world.good(),
            keys(vec![
                json!({"kty": "EC", "use": "x509-svid"}),
                with(stranger.clone(), "x5c", json!([])),
                root.clone(),
            ]),
        ),
        reject("x-20-entry-without-x5c-alone", REVOKED, world.good(), keys(vec![json!({"use": "x509-svid"})])),
        accept("x-21-first-of-two", world.good(), keys(vec![jwk(&[&world.root.der, &world.other_root.der])])),
        reject(
            "x-21-second-of-two",
            NO_ISSUER,
            world.good(),
            keys(vec![jwk(&[&world.other_root.der, &world.root.der])]),
        ),
        reject("x-22-keys-for-jwt-svids-only", REVOKED, world.good(), keys(vec![jwt.clone()])),
        accept(
            "b-6-keys-of-other-uses-passed-over",
            world.good(),
            keys(vec![jwt, with(stranger, "use", json!("wit-svid")), json!({"kty": "future"}), root.clone()]),
        ),
        reject("b-6-use-in-capitals", REVOKED, world.good(), keys(vec![with(root.clone(), "use", json!("X509-SVID"))])),
        reject("b-6-no-use", REVOKED, world.good(), keys(vec![json!({"kty": "EC", "x5c": root["x5c"]})])),
        reject("b-7-no-keys", REVOKED, world.good(), keys(vec![])),
        reject(
            "b-7-trust-domain-not-in-the-map",
            UNKNOWN,
            world.good(),
            map(&[("dev.example", &[&world.other_root.der])]),
        ),
        accept(
            "b-2-unknown-members",
            world.good(),
            document(json!({"version": 9, "trust_domains": {"prod.example": {"spiffe_future": [], "keys": [root]}}})),
        ),
        accept(
            "b-3-sequence-is-a-text",
            world.good(),
            document(json!({"trust_domains": {"prod.example": {"spiffe_sequence": "seven", "keys": [root]}}})),
        ),
    ]
}

/// B-1, B-8, B-9.
fn domains(world: &World) -> Vec<Case> {
    let both = || map(&[("prod.example", &[&world.root.der]), ("dev.example", &[&world.other_root.der])]);
    let crossed = vec![world.other_sub.leaf(&leaf_params(WORKLOAD)), world.other_sub.der.clone()];
    let own =
        vec![world.other_sub.leaf(&leaf_params("spiffe://dev.example/ns/web/sa/api")), world.other_sub.der.clone()];
    // The same name to a JSON parser, not to a search for the text.
    let twice = r#"{"trust_domains": {"prod.example": {"keys": []}, "prod\u002eexample": {"keys": []}}}"#;
    vec![
        accept("b-1-each-by-its-own-root", own, both()),
        reject("b-1-signed-by-the-root-of-another", NO_ISSUER, crossed.clone(), both()),
        reject("b-1-pem-of-another", UNKNOWN, world.good(), Trust::Pem("dev.example", pem(&world.root.der))),
        reject("b-8-empty-map", UNKNOWN, world.good(), document(json!({"trust_domains": {}}))),
        reject(
            "b-9-trust-domain-twice",
            "it is no SPIFFE bundle map: trust domain `prod.example` stands twice at line 1 column 83",
            world.good(),
            Trust::Map(format!("{twice}\n")),
        ),
    ]
}

/// Roots in PEM, which names no trust domain.
fn pems(world: &World) -> Vec<Case> {
    let block = |der: &[u8]| pem(der);
    let garbage = block(b"no certificate at all");
    let among = [block(&world.other_root.der), garbage.clone(), block(&world.root.der)].concat();
    vec![
        accept(
            "b-1-pem-roots-in-any-order",
            world.good(),
            Trust::Pem("prod.example", among.clone().replace(&garbage, "")),
        ),
        accept("b-1-pem-with-a-block-that-is-no-certificate", world.good(), Trust::Pem("prod.example", among)),
        reject(
            "b-1-pem-of-nothing-usable",
            "none of its certificates may act as a root: the certificate cannot be read",
            world.good(),
            Trust::Pem("prod.example", garbage),
        ),
        reject("b-1-empty-pem", "it holds no certificate", world.good(), Trust::Pem("prod.example", String::new())),
    ]
}
