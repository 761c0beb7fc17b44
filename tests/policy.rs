//! The sentences that an operator reads of patterns and of decisions, word by word.

use svidgate::policy::{Action, Clause, Denial, Nearest, Pattern, Policy, Rule, Verdict};
use svidgate::spiffe::SpiffeId;

fn decide(rules: &[Rule], id: &SpiffeId) -> Verdict {
    Policy::new(rules.to_vec()).decide(id).verdict
}

#[test]
fn a_text_that_is_no_pattern_says_what_to_write() {
    let scheme =
        "a pattern starts with `spiffe://` and a literal trust domain, as in `spiffe://prod.example/ns/web/sa/*`";
    let literal = "the trust domain of a pattern is always literal: write one pattern for each trust domain";
    let partial = "`*` stands for one whole segment; a part of a segment cannot be matched";
    let inner = "`**` may stand at the end only; `*` stands for exactly one segment anywhere";
    let bare = "no workload's ID is the bare trust domain: write `spiffe://td/**` for every workload in it";
    let empty = "the path has an empty segment or ends with `/`";
    let table = [
        ("", scheme),
        ("*", scheme),
        ("td/a", scheme),
        ("https://td/a", scheme),
        ("spiffe://*/a", literal),
        ("spiffe://*.td/a", literal),
        ("spiffe://**", literal),
        ("spiffe://td", bare),
        ("spiffe://td/", bare),
        ("spiffe:///a", "the trust domain is empty"),
        ("spiffe://td:1/a", "the trust domain has a port (`:`)"),
        ("spiffe://u@td/a", "the trust domain has a user name (`@`)"),
        ("spiffe://td/a*", partial),
        ("spiffe://td/a**", partial),
        ("spiffe://td/***", partial),
        ("spiffe://td/*a/b", partial),
        ("spiffe://td/**/a", inner),
        ("spiffe://td/**/**", inner),
        ("spiffe://td/**/", inner),
        ("spiffe://td//a", empty),
        ("spiffe://td/a/", empty),
        ("spiffe://td//**", empty),
        ("spiffe://td/a//**", empty),
        ("spiffe://td/../a", "the path has a `.` or `..` segment"),
        ("spiffe://td/a?b", "the path has the character '?'; allowed are letters, digits, `.`, `-` and `_`"),
    ];
    for (text, message) in table {
        match Pattern::parse(text) {
            Err(error) => assert_eq!(error.to_string(), message, "{text:?}"),
            Ok(pattern) => panic!("{text:?} was read as {pattern}"),
        }
    }
}

#[test]
fn a_pattern_is_lenient_in_the_case_of_its_trust_domain_only() {
    assert_eq!(Pattern::parse("SPIFFE://Prod.Example/A/*").unwrap().to_string(), "spiffe://prod.example/A/*");
    assert!(!Pattern::parse("spiffe://td/A").unwrap().matches(&SpiffeId::parse("spiffe://td/a").unwrap()));
}

#[test]
fn a_denial_says_what_did_not_match() {
    let peer = SpiffeId::parse("spiffe://prod.example/ns/web/sa/intruder").unwrap();
    let pattern = |text: &str| vec![Pattern::parse(text).unwrap()];
    let table = [
        ("spiffe://dev.example/**", "the trust domain is `prod.example`, not `dev.example`"),
        ("spiffe://prod.example/ns/web/sa/api", "path segment 4 is `intruder`, not `api`"),
        ("spiffe://prod.example/ns/*/id/*", "path segment 3 is `sa`, not `id`"),
        ("spiffe://prod.example/ns/web/sa/*/v1", "there is no path segment 5 for `v1`"),
        ("spiffe://prod.example/ns/web/sa/*/**", "there is no path segment 5 for `**`"),
        ("spiffe://prod.example/ns/*", "the path has more than 2 segments"),
    ];
    for (text, clause) in table {
        let message = decide(&[Rule::allow("frontend", pattern(text))], &peer).to_string();
        assert_eq!(message, format!("no rule allows it; the nearest is `frontend` with `{text}`, but {clause}"));
    }
    let everyone = "spiffe://prod.example/**";
    let deny = Rule { action: Action::Deny, ..Rule::allow("quarantine", pattern(everyone)) };
    assert_eq!(decide(&[deny], &peer).to_string(), "rule `quarantine` denies `spiffe://prod.example/**`");
    assert_eq!(decide(&[], &peer).to_string(), "no rule allows anyone");
    assert_eq!(decide(&[Rule::allow("all", pattern(everyone))], &peer).to_string(), "rule `all` allows it");
}

#[test]
fn a_denial_carries_the_clause_as_a_value_too() {
    let peer = SpiffeId::parse("spiffe://td/a/x").unwrap();
    let rules = ["spiffe://other/a/x", "spiffe://td/b/x", "spiffe://td/a/y"].map(|text| {
        let peers = vec![Pattern::parse(text).unwrap()];
        Rule::allow(text, peers)
    });
    let Verdict::Denied(Denial::NoRule { nearest: Some(nearest) }) = decide(&rules, &peer) else {
        panic!("it was allowed");
    };
    let clause = Clause::Segment { number: 2, expected: "y".into(), presented: Some("x".into()) };
    let [.., last] = rules;
    assert_eq!(*nearest, Nearest { rule: last.name, pattern: last.peers[0].clone(), clause });
}
