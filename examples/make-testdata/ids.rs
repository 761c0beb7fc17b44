//! I-*: what a certificate carries as its SPIFFE ID.

use rcgen::SanType;

use super::workshop::{Ca, Der};
use super::workshop::{Case, SAN, Trust, World, accept, ca_params, extension, leaf_params, map, reject, uri_names};

/// Accepted IDs, each in a trust domain of its own.
pub(crate) fn cases(world: &World) -> Vec<Case> {
    let long_domain = "d".repeat(255);
    let longest = format!("spiffe://prod.example/{}", "p".repeat(2048 - 22));
    let mut cases: Vec<Case> = [
        ("i-1-plain", "prod.example", "spiffe://prod.example/a"),
        ("i-6-every-legal-kind-of-character", "a_b-1.c", "spiffe://a_b-1.c/a"),
        ("i-6-only-dots-and-dashes", ".-.", "spiffe://.-./a"),
        ("i-8-trust-domain-like-an-address", "1.2.3.4", "spiffe://1.2.3.4/a"),
        ("i-9-dots-within-a-segment", "prod.example", "spiffe://prod.example/.../a.b"),
        ("i-11-every-legal-kind-of-character", "prod.example", "spiffe://prod.example/A_b-1.c"),
        ("i-13-2048-bytes", "prod.example", &longest),
        ("i-14-trust-domain-of-255-bytes", &long_domain, &format!("spiffe://{long_domain}/a")),
    ]
    .into_iter()
    .map(|(name, trust_domain, id)| {
        let (chain, trust) = in_domain(trust_domain, id);
        accept(name, chain, trust)
    })
    .collect();
    cases.extend(refused(world));
    cases
}

fn in_domain(trust_domain: &str, id: &str) -> (Vec<Der>, Trust) {
    let root = Ca::root(ca_params(trust_domain, "root", 0));
    (vec![root.leaf(&leaf_params(id))], map(&[(trust_domain, &[&root.der])]))
}

/// Refused IDs, signed by an authority that we trust.
fn refused(world: &World) -> Vec<Case> {
    let too_long = format!("spiffe://prod.example/{}", "p".repeat(2049 - 22));
    let long_domain = format!("spiffe://{}/a", "d".repeat(256));
    let table: &[(&str, &str, &str)] = &[
        ("i-1-one-slash", "spiffe:/prod.example/a", "it does not start with `spiffe://` (SPIFFE-ID §2)"),
        ("i-1-leading-space", " spiffe://prod.example/a", "it does not start with `spiffe://` (SPIFFE-ID §2)"),
        ("i-2-no-trust-domain", "spiffe:///a", "the trust domain is empty (SPIFFE-ID §2.1)"),
        ("i-3-query", "spiffe://prod.example/a?q", "it has a query (`?`) (SPIFFE-ID §2)"),
        ("i-3-query-without-path", "spiffe://prod.example?q", "it has a query (`?`) (SPIFFE-ID §2)"),
        ("i-3-fragment", "spiffe://prod.example/a#f", "it has a fragment (`#`) (SPIFFE-ID §2)"),
        ("i-4-user-info", "spiffe://u@prod.example/a", "the trust domain has a user name (`@`) (SPIFFE-ID §2.1)"),
        ("i-4-port", "spiffe://prod.example:443/a", "the trust domain has a port (`:`) (SPIFFE-ID §2.1)"),
        ("i-4-empty-port", "spiffe://prod.example:/a", "the trust domain has a port (`:`) (SPIFFE-ID §2.1)"),
        ("i-5-upper-case-scheme", "SPIFFE://prod.example/a", "it does not start with `spiffe://` (SPIFFE-ID §2)"),
        (
            "i-5-upper-case-trust-domain",
            "spiffe://PROD.example/a",
            "the trust domain has an upper-case letter (SPIFFE-ID §2.1)",
        ),
        ("i-6-tilde", "spiffe://prod~example/a", &trust_domain_character("~")),
        ("i-6-brackets", "spiffe://[::1]/a", &trust_domain_character("[")),
        ("i-7-percent-in-the-trust-domain", "spiffe://prod%2eexample/a", &trust_domain_character("%")),
        ("i-7-percent-in-the-path", "spiffe://prod.example/%61", &path_character("'%'")),
        ("i-9-double-slash", "spiffe://prod.example//a", EMPTY_SEGMENT),
        ("i-9-dot", "spiffe://prod.example/./a", DOT_SEGMENT),
        ("i-9-dot-dot", "spiffe://prod.example/a/../b", DOT_SEGMENT),
        ("i-10-trailing-slash", "spiffe://prod.example/a/", EMPTY_SEGMENT),
        ("i-10-slash-alone", "spiffe://prod.example/", EMPTY_SEGMENT),
        ("i-11-tilde", "spiffe://prod.example/a~b", &path_character("'~'")),
        ("i-11-colon", "spiffe://prod.example/a:b", &path_character("':'")),
        ("i-11-space", "spiffe://prod.example/a b", &path_character("' '")),
        ("i-11-star", "spiffe://prod.example/*", &path_character("'*'")),
        ("i-11-nul", "spiffe://prod.example/a\0b", &path_character("'\\0'")),
        ("i-13-2049-bytes", &too_long, "it is longer than 2048 bytes (SPIFFE-ID §2.3)"),
        ("i-14-trust-domain-of-256-bytes", &long_domain, "the trust domain is longer than 255 bytes (SPIFFE-ID §2.3)"),
    ];
    let mut cases: Vec<Case> = table.iter().map(|(name, uri, reason)| carrying(world, name, uri, reason)).collect();
    cases.push(not_ascii(world));
    cases
}

const EMPTY_SEGMENT: &str = "the path has an empty segment or ends with `/` (SPIFFE-ID §2.2)";
const DOT_SEGMENT: &str = "the path has a `.` or `..` segment (SPIFFE-ID §2.2)";

fn trust_domain_character(character: &str) -> String {
    format!("the trust domain has the character '{character}'; allowed are a-z, 0-9, `.`, `-` and `_` (SPIFFE-ID §2.1)")
}

fn path_character(character: &str) -> String {
    format!("the path has the character {character}; allowed are letters, digits, `.`, `-` and `_` (SPIFFE-ID §2.2)")
}

fn carrying(world: &World, name: &'static str, uri: &str, reason: &str) -> Case {
    let chain = world.svid(|params| params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())]);
    reject(name, format!("the certificate's URI SAN is no SPIFFE ID: {reason}"), chain, world.trust())
}

/// UTF-8 where RFC 5280 §4.2.1.6 wants IA5: parsers let it pass.
fn not_ascii(world: &World) -> Case {
    let chain = world.svid(|params| {
        params.subject_alt_names.clear();
        let names = uri_names(&["spiffe://prodé.example/a".as_bytes()]);
        params.custom_extensions = vec![extension(SAN, true, names)];
    });
    let reason = format!("the certificate's URI SAN is no SPIFFE ID: {}", trust_domain_character("é"));
    reject("i-6-not-ascii", reason, chain, world.trust())
}
