//! Laws that hold for every SPIFFE ID, every pattern and every policy, tried on generated ones.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use proptest::prelude::*;
use svidgate::policy::{Action, Decision, Denial, Pattern, Policy, Requests, Rule, Verdict};
use svidgate::spiffe::{SpiffeId, TrustDomain};

// ---- what is generated

/// Texts that are an ID, or nearly so.
fn nearly_an_id() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => r"(spiffe|SPIFFE|Spiffe|https)://[a-zA-Z0-9._~%@:-]{0,8}(/[a-zA-Z0-9._~%*:-]{0,3}){0,4}",
        2 => r"spiffe://[a-z0-9._-]{1,8}(/[a-zA-Z0-9._-]{1,3}){0,4}[?#/]?[a-z]?",
        1 => r"spiffe:/{0,3}\PC{0,12}",
        1 => any::<String>(),
    ]
}

fn an_id() -> impl Strategy<Value = SpiffeId> {
    r"spiffe://[a-z0-9._-]{1,12}(/[a-zA-Z0-9_-][a-zA-Z0-9._-]{0,5}){0,5}"
        .prop_map(|text| SpiffeId::parse(&text).unwrap())
}

/// IDs from so few words that patterns often match them.
fn a_workload() -> impl Strategy<Value = SpiffeId> {
    ("[pq]", proptest::collection::vec("[ab]", 1..5))
        .prop_map(|(domain, path)| SpiffeId::parse(&format!("spiffe://{domain}/{}", path.join("/"))).unwrap())
}

fn a_pattern() -> impl Strategy<Value = Pattern> {
    let path = proptest::collection::vec("[ab*]", 0..4);
    ("[pq]", path, any::<bool>()).prop_map(|(domain, mut path, tail)| {
        if tail || path.is_empty() {
            path.push("**".into());
        }
        Pattern::parse(&format!("spiffe://{domain}/{}", path.join("/"))).unwrap()
    })
}

fn some_rules() -> impl Strategy<Value = Vec<Rule>> {
    let action = prop_oneof![3 => Just(Action::Allow), 1 => Just(Action::Deny)];
    let rule = (action, proptest::collection::vec(a_pattern(), 1..4), prop::bool::weighted(0.7));
    proptest::collection::vec(rule, 0..6).prop_map(|rules| {
        let named = rules.into_iter().enumerate();
        named
            .map(|(number, (action, peers, enforce))| Rule {
                name: format!("rule-{number}").into(),
                action,
                peers,
                requests: Requests::default(),
                enforce,
            })
            .collect()
    })
}

fn allowed(rules: &[Rule], id: &SpiffeId) -> bool {
    decide(rules, id).verdict.is_allowed()
}

fn decide(rules: &[Rule], id: &SpiffeId) -> Decision {
    Policy::new(rules.to_vec()).decide(id)
}

// ---- SPIFFE IDs

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1024, ..ProptestConfig::default() })]

    #[test]
    fn an_id_prints_as_it_was_read(text in nearly_an_id()) {
        if let Ok(id) = SpiffeId::parse(&text) {
            prop_assert_eq!(id.to_string(), text);
        }
    }

    #[test]
    fn an_id_is_its_trust_domain_and_its_segments(id in an_id()) {
        let path: String = id.segments().map(|segment| format!("/{segment}")).collect();
        prop_assert_eq!(&path, id.path());
        prop_assert_eq!(format!("spiffe://{}{path}", id.trust_domain()), id.to_string());
        prop_assert_eq!(TrustDomain::parse(id.trust_domain().as_str()).unwrap(), id.trust_domain().clone());
    }

    /// The `spiffe` crate's parser lowers scheme and trust domain and sets no limit of 2,048 bytes: up to that length it must agree with
    /// ours where ours does the same.
    #[test]
    fn the_lenient_parser_agrees_with_the_spiffe_crate(text in nearly_an_id()) {
        let (ours, theirs) = (SpiffeId::parse_lenient(&text), spiffe::SpiffeId::new(&text));
        prop_assert_eq!(ours.as_ref().ok().map(ToString::to_string), theirs.ok().map(|id| id.to_string()));
    }

    /// The strict parser accepts what the `spiffe` crate accepts unchanged.
    #[test]
    fn the_strict_parser_accepts_what_the_spiffe_crate_leaves_as_it_is(text in nearly_an_id()) {
        let unchanged = spiffe::SpiffeId::new(&text).is_ok_and(|id| id.to_string() == text);
        prop_assert_eq!(SpiffeId::parse(&text).is_ok(), unchanged);
    }
}

#[test]
fn the_spiffe_crate_accepts_longer_ids_than_we_do() {
    let long = format!("spiffe://td/{}", "p".repeat(2037));
    assert!(spiffe::SpiffeId::new(&long).is_ok() && SpiffeId::parse(&long).is_err());
}

// ---- patterns

/// What a pattern means, in the fewest words.
fn means(pattern: &[&str], path: &[&str]) -> bool {
    match (pattern, path) {
        ([], []) => true,
        (["**"], [_, ..]) => true,
        ([first, pattern @ ..], [segment, path @ ..]) => (*first == "*" || first == segment) && means(pattern, path),
        _ => false,
    }
}

fn split(text: &str) -> (&str, Vec<&str>) {
    let mut parts = text.strip_prefix("spiffe://").unwrap().split('/');
    (parts.next().unwrap(), parts.collect())
}

/// How much of the pattern matches from the left: the trust domain, then each segment.
fn matching_parts(pattern: &Pattern, id: &SpiffeId) -> usize {
    let (pattern, id) = (pattern.to_string(), id.to_string());
    let ((domain, pattern), (presented, path)) = (split(&pattern), split(&id));
    let segments = pattern.iter().zip(&path).take_while(|(expected, segment)| **expected == "*" || expected == segment);
    if domain == presented { 1 + segments.count() } else { 0 }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1024, ..ProptestConfig::default() })]

    #[test]
    fn a_pattern_reads_back_as_it_prints(pattern in a_pattern()) {
        prop_assert_eq!(Pattern::parse(&pattern.to_string()).unwrap(), pattern);
    }

    #[test]
    fn a_pattern_prints_as_it_was_read_in_lower_case(text in r"spiffe://[a-z.*]{1,4}(/[a-z*.]{0,2}){0,4}") {
        if let Ok(pattern) = Pattern::parse(&text) {
            prop_assert_eq!(pattern.to_string(), text);
        }
    }

    #[test]
    fn a_pattern_matches_what_it_means(pattern in a_pattern(), id in a_workload()) {
        let (text, presented) = (pattern.to_string(), id.to_string());
        let ((domain, segments), (trust_domain, path)) = (split(&text), split(&presented));
        prop_assert_eq!(pattern.matches(&id), domain == trust_domain && means(&segments, &path), "{} and {}", text, presented);
    }

    #[test]
    fn an_exact_pattern_matches_its_id_and_no_other(one in a_workload(), other in a_workload()) {
        prop_assert!(Pattern::exact(&one).matches(&one));
        prop_assert_eq!(Pattern::exact(&one).matches(&other), one == other);
        prop_assert_eq!(Pattern::parse(&one.to_string()).unwrap(), Pattern::exact(&one));
    }

    #[test]
    fn a_pattern_matches_no_id_of_another_trust_domain(pattern in a_pattern(), id in an_id()) {
        prop_assert!(!pattern.matches(&id) || pattern.trust_domain() == id.trust_domain());
    }
}

// ---- policies

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1024, ..ProptestConfig::default() })]

    #[test]
    fn whoever_no_enforced_rule_allows_or_one_denies_stays_out(rules in some_rules(), id in a_workload()) {
        let matching = |action| {
            let mut rules = rules.iter().filter(|rule| rule.enforce && rule.action == action);
            rules.any(|rule| rule.peers.iter().any(|pattern| pattern.matches(&id)))
        };
        prop_assert_eq!(allowed(&rules, &id), matching(Action::Allow) && !matching(Action::Deny));
    }

    #[test]
    fn deny_wins(rules in some_rules(), id in a_workload(), at in any::<prop::sample::Index>()) {
        let mut rules = rules;
        let denying = Rule { action: Action::Deny, ..Rule::allow("denying", vec![Pattern::exact(&id)]) };
        rules.insert(at.index(rules.len() + 1), denying);
        let verdict = decide(&rules, &id).verdict;
        prop_assert!(matches!(verdict, Verdict::Denied(Denial::ByRule { .. })), "{:?}", verdict);
    }

    #[test]
    fn the_order_of_rules_does_not_matter(
        (rules, shuffled) in some_rules().prop_flat_map(|rules| (Just(rules.clone()), Just(rules).prop_shuffle())),
        id in a_workload(),
    ) {
        let (one, other) = (decide(&rules, &id), decide(&shuffled, &id));
        prop_assert_eq!(one.verdict.is_allowed(), other.verdict.is_allowed());
        let shadow = |decision: &Decision| decision.shadow.as_ref().map(Verdict::is_allowed);
        prop_assert_eq!(shadow(&one), shadow(&other));
    }

    #[test]
    fn adding_an_allow_rule_never_removes_access(
        rules in some_rules(), peers in proptest::collection::vec(a_pattern(), 1..3), id in a_workload(),
    ) {
        let mut more = rules.clone();
        more.push(Rule::allow("more", peers));
        prop_assert!(allowed(&more, &id) || !allowed(&rules, &id));
    }

    #[test]
    fn adding_a_deny_rule_never_gives_access(
        rules in some_rules(), peers in proptest::collection::vec(a_pattern(), 1..3), id in a_workload(),
    ) {
        let mut more = rules.clone();
        more.push(Rule { action: Action::Deny, ..Rule::allow("more", peers) });
        prop_assert!(!allowed(&more, &id) || allowed(&rules, &id));
    }

    #[test]
    fn a_shadow_rule_never_changes_the_verdict(rules in some_rules(), id in a_workload()) {
        let enforced: Vec<Rule> = rules.iter().filter(|rule| rule.enforce).cloned().collect();
        prop_assert_eq!(decide(&rules, &id).verdict, decide(&enforced, &id).verdict);
    }

    #[test]
    fn the_shadow_tells_what_enforcing_every_rule_would_change(rules in some_rules(), id in a_workload()) {
        let all: Vec<Rule> = rules.iter().cloned().map(|rule| Rule { enforce: true, ..rule }).collect();
        let (decision, enforced) = (decide(&rules, &id), decide(&all, &id).verdict);
        let expected = Some(enforced).filter(|enforced| enforced.is_allowed() != decision.verdict.is_allowed());
        prop_assert_eq!(decision.shadow, expected);
    }

    #[test]
    fn the_reason_names_a_rule_that_gives_it(rules in some_rules(), id in a_workload()) {
        let rule = |name: &str| rules.iter().find(|rule| &*rule.name == name && rule.enforce).unwrap();
        match decide(&rules, &id).verdict {
            Verdict::Allowed { rule: name } => {
                prop_assert!(rule(&name).action == Action::Allow);
                prop_assert!(rule(&name).peers.iter().any(|pattern| pattern.matches(&id)));
            }
            Verdict::Denied(Denial::ByRule { rule: name, pattern }) => {
                prop_assert!(rule(&name).action == Action::Deny);
                prop_assert!(rule(&name).peers.contains(&pattern) && pattern.matches(&id));
            }
            Verdict::Denied(Denial::NoRule { .. }) => {}
        }
    }

    #[test]
    fn a_denial_names_the_nearest_rule(rules in some_rules(), id in a_workload()) {
        let Verdict::Denied(Denial::NoRule { nearest }) = decide(&rules, &id).verdict else { return Ok(()) };
        let rules = rules.iter().filter(|rule| rule.enforce && rule.action == Action::Allow);
        let patterns = rules.flat_map(|rule| rule.peers.iter().map(move |pattern| (rule, pattern)));
        let parts = |(_, pattern): &(&Rule, &Pattern)| matching_parts(pattern, &id);
        // Of equally near ones the first: `max_by_key` alone finds the last.
        let expected = patterns.reduce(|best, next| if parts(&next) > parts(&best) { next } else { best });
        let found = nearest.map(|nearest| (nearest.rule.clone(), nearest.pattern.clone()));
        prop_assert_eq!(found, expected.map(|(rule, pattern)| (rule.name.clone(), pattern.clone())));
    }
}
