//! What a decision is: a walk over all rules, in their order. The index must decide every generated policy as the walk does, to the word of the reason.

use http::Method;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::super::{
    Action, Asked, Decision, Denial, HostPattern, Nearest, PathPattern, Pattern, Policy, Request, RequestPath,
    Requests, Rule, Verdict, normal_host,
};
use crate::spiffe::SpiffeId;

// ---- the definition

fn decision(rules: &[Rule], asked: Asked<'_>) -> Decision {
    let verdict = verdict(rules, asked, |rule| rule.enforce);
    let all = self::verdict(rules, asked, |_| true);
    Decision { shadow: Some(all).filter(|all| all.is_allowed() != verdict.is_allowed()), verdict }
}

fn verdict(rules: &[Rule], asked: Asked<'_>, counts: fn(&Rule) -> bool) -> Verdict {
    let speaking = |action| {
        let rules = rules.iter().filter(move |rule| counts(rule) && rule.action == action);
        rules.filter_map(|rule| Some((rule, matching(rule, asked)?)))
    };
    if let Some((rule, pattern)) = speaking(Action::Deny).next() {
        return Verdict::Denied(Denial::ByRule { rule: rule.name.clone(), pattern: pattern.clone() });
    }
    match speaking(Action::Allow).next() {
        Some((rule, _)) => Verdict::Allowed { rule: rule.name.clone() },
        None => Verdict::Denied(Denial::NoRule { nearest: nearest(rules, asked, counts).map(Box::new) }),
    }
}

/// The pattern that the peer matches, where the rule has a say in what is asked.
fn matching<'r>(rule: &'r Rule, asked: Asked<'_>) -> Option<&'r Pattern> {
    let pattern = rule.peers.iter().find(|pattern| pattern.matches(asked.id))?;
    let speaks = match (asked.request, rule.action) {
        (Some(request), action) => rule.requests.compare(request, action).is_ok(),
        (None, Action::Allow) => true,
        (None, Action::Deny) => rule.requests.are_all(),
    };
    speaks.then_some(pattern)
}

/// The allow rule that came closest: the one in which what is asked gets furthest.
fn nearest(rules: &[Rule], asked: Asked<'_>, counts: fn(&Rule) -> bool) -> Option<Nearest> {
    let rules = rules.iter().filter(|rule| counts(rule) && rule.action == Action::Allow);
    let misses = rules.flat_map(|rule| rule.peers.iter().map(move |pattern| (rule, pattern)));
    let misses = misses.filter_map(|(rule, pattern)| Some((rule, pattern, rule.reached(pattern, asked)?)));
    // Of equals the first: `max_by_key` alone would name the last.
    let (rule, pattern, reached) = misses.reduce(|best, next| if next.2 > best.2 { next } else { best })?;
    let clause = rule.clause(pattern, asked, reached)?;
    Some(Nearest { rule: rule.name.clone(), pattern: pattern.clone(), clause })
}

// ---- what is generated: from so few words that patterns often match

fn an_id() -> impl Strategy<Value = SpiffeId> {
    ("[pq]", vec("[ab]", 0..5)).prop_map(|(domain, path)| {
        let path: String = path.iter().map(|segment| format!("/{segment}")).collect();
        SpiffeId::parse(&format!("spiffe://{domain}{path}")).unwrap()
    })
}

fn a_pattern() -> impl Strategy<Value = Pattern> {
    let pattern = ("[pq]", vec("[ab*]", 0..4), any::<bool>()).prop_map(|(domain, mut path, tail)| {
        if tail || path.is_empty() {
            path.push("**".into());
        }
        Pattern::parse(&format!("spiffe://{domain}/{}", path.join("/"))).unwrap()
    });
    // An ID without a path gives a pattern that cannot be written.
    prop_oneof![4 => pattern, 1 => an_id().prop_map(|id| Pattern::exact(&id))]
}

fn a_path_pattern() -> impl Strategy<Value = PathPattern> {
    let segments = vec(select(vec!["a", "b", "*", "a;v", "a%3Bv"]), 0..3);
    (segments, select(vec![None, Some(""), Some("**"), Some(";v")])).prop_map(|(mut segments, end)| {
        segments.extend(end);
        PathPattern::parse(&format!("/{}", segments.join("/"))).unwrap()
    })
}

fn a_host_pattern() -> impl Strategy<Value = HostPattern> {
    let hosts = [
        "*",
        "a.x",
        "b.x",
        "a.b.x",
        "x",
        "*.x",
        "*.b.x",
        "{0}.x",
        "{1}.{0}.x",
        "{0}.b.{1}",
        "{0}",
        "a.{0}",
        "[::1]",
        "[::ffff:1.2.3.4]",
    ];
    select(hosts.to_vec()).prop_map(|text| HostPattern::parse(text).unwrap())
}

fn some_requests() -> impl Strategy<Value = Requests> {
    let method = select(vec![Method::GET, Method::PUT, Method::from_bytes(b"BREW").unwrap()]);
    (vec(method, 0..2), vec(a_path_pattern(), 0..3), vec(a_host_pattern(), 0..3))
        .prop_map(|(methods, paths, hosts)| Requests { methods, paths, hosts })
}

fn a_rule() -> impl Strategy<Value = Rule> {
    let action = prop_oneof![3 => Just(Action::Allow), 1 => Just(Action::Deny)];
    let requests = prop_oneof![1 => Just(Requests::default()), 3 => some_requests()];
    (action, vec(a_pattern(), 0..4), requests, prop::bool::weighted(0.7))
        .prop_map(|(action, peers, requests, enforce)| Rule { name: "".into(), action, peers, requests, enforce })
}

/// Rules, told apart by their names.
fn some_rules() -> impl Strategy<Value = Vec<Rule>> {
    // A bitmap's word has 64 of them, its list becomes a set past 16.
    let rules = prop_oneof![6 => vec(a_rule(), 0..8), 1 => vec(a_rule(), 20..90)];
    rules.prop_map(|rules| {
        let named = rules.into_iter().enumerate();
        named.map(|(number, rule)| Rule { name: format!("rule-{number}").into(), ..rule }).collect()
    })
}

#[derive(Clone, Debug)]
struct Wanted {
    method: Method,
    host: &'static str,
    path: Option<String>,
}

fn a_request() -> impl Strategy<Value = Wanted> {
    let method = select(vec![Method::GET, Method::PUT, Method::from_bytes(b"BREW").unwrap(), Method::POST]);
    let host = select(vec!["a.x", "b.x", "x", "a.b.x", "b.b.x", "a.b.a", "y", "1.2.3.4", "[::1]", "[::ffff:1.2.3.4]"]);
    let path = vec(select(vec!["a", "b", "a;v", "a%3Bv", ";v", ""]), 1..4);
    let path = path.prop_map(|segments| format!("/{}", segments.join("/")));
    let path = path.prop_filter("a path that is refused", |path| RequestPath::parse(path).is_ok());
    (method, host, prop::option::weighted(0.9, path)).prop_map(|(method, host, path)| Wanted { method, host, path })
}

/// Decides in both ways, at the door and for a request.
fn both_agree(rules: &[Rule], id: &SpiffeId, wanted: &Wanted) -> Result<(), TestCaseError> {
    let policy = Policy::new(rules.to_vec());
    let path = wanted.path.as_deref().map(|path| RequestPath::parse(path).unwrap());
    let request = Request { method: &wanted.method, host: wanted.host, path: path.as_ref() };
    prop_assert_eq!(policy.decide(id), decision(rules, Asked { id, request: None }));
    let decided = policy.decide_request(id, &request);
    prop_assert_eq!(&decided, &decision(rules, Asked { id, request: Some(&request) }));
    if let Some(rule) = policy.lets_all_in(id) {
        prop_assert_eq!(decided, Decision { verdict: Verdict::Allowed { rule }, shadow: None });
    }
    Ok(())
}

#[test]
fn a_peer_has_a_rule_for_all_of_its_requests_only_where_no_rule_of_its_own_looks_at_them() {
    let id = SpiffeId::parse("spiffe://p/a").unwrap();
    let of = |peers: &str| vec![Pattern::parse(peers).unwrap()];
    let free = Rule::allow("free", of("spiffe://p/**"));
    let requests = Requests { methods: vec![Method::GET], ..Requests::default() };
    let asking = Rule { requests, ..Rule::allow("asking", of("spiffe://p/a")) };
    let of_others = Rule { peers: of("spiffe://q/**"), ..asking.clone() };
    let denying = Rule { action: Action::Deny, ..asking.clone() };
    let shadow = Rule { action: Action::Deny, enforce: false, ..free.clone() };
    for (rules, expected) in [
        (vec![free.clone()], Some("free")),
        (vec![of_others, free.clone()], Some("free")),
        (vec![free.clone(), asking.clone()], None),
        (vec![asking], None),
        (vec![free.clone(), denying], None),
        (vec![free, shadow], None),
        (vec![], None),
    ] {
        assert_eq!(Policy::new(rules.clone()).lets_all_in(&id).as_deref(), expected, "{rules:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2048, ..ProptestConfig::default() })]

    #[test]
    fn a_policy_decides_as_the_walk_over_its_rules_does(rules in some_rules(), id in an_id(), wanted in a_request()) {
        prop_assert_eq!(&*normal_host(wanted.host).unwrap(), wanted.host);
        both_agree(&rules, &id, &wanted)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 12, ..ProptestConfig::default() })]

    /// So many that they fill more than one block, where few of them match.
    #[test]
    fn a_policy_of_thousands_decides_as_the_walk_does(
        some in some_rules(), at in vec(any::<prop::sample::Index>(), 8), id in an_id(), wanted in a_request(),
    ) {
        let other = |number| {
            let peers = vec![Pattern::parse(&format!("spiffe://p/a/other-{number}")).unwrap()];
            let action = if number % 3 == 0 { Action::Deny } else { Action::Allow };
            Rule { action, ..Rule::allow(&format!("other-{number}"), peers) }
        };
        let mut rules: Vec<Rule> = (0..4_000).map(other).collect();
        for (rule, at) in some.into_iter().zip(&at) {
            rules.insert(at.index(rules.len() + 1), rule);
        }
        both_agree(&rules, &id, &wanted)?;
    }
}
