//! Laws that hold for every SPIFFE ID, every pattern and every policy, tried on generated ones.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use http::Method;
use proptest::prelude::*;
use svidgate::policy::{
    Action, Decision, Denial, HostPattern, PathPattern, Pattern, Policy, Request, RequestPath, Requests, Rule, Verdict,
    normal_host,
};
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

/// Texts that are a path, or nearly so, from the pieces that applications differ about.
fn nearly_a_path() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        6 => r"[a-z;.]{1,3}",
        6 => prop::sample::select(vec!["/", "/", "//", ".", "..", "/./", "/../", ";", "..;", "a", "%2e", "%2E", "%61", "%7E"]).prop_map(str::to_owned),
        2 => prop::sample::select(vec!["%3b", "%25", "%252f", "%c3%a9", "%E2%82%AC", "%20", "%2a", "*"]).prop_map(str::to_owned),
        1 => prop::sample::select(vec!["%2f", "%5C", "\\", "%00", "%c0%af", "%", "%zz", "?", "#", " "]).prop_map(str::to_owned),
    ];
    prop_oneof![
        12 => proptest::collection::vec(piece, 0..10).prop_map(|pieces| format!("/{}", pieces.concat())),
        1 => any::<String>(),
        1 => r"/\PC{0,12}",
    ]
}

/// Paths from so few words that patterns often match them.
fn a_path() -> impl Strategy<Value = String> {
    proptest::collection::vec("[ab]|a;v|;v|", 1..4)
        .prop_map(|segments| format!("/{}", segments.join("/")))
        .prop_filter("a path that is refused", |path| RequestPath::parse(path).is_ok())
}

fn a_path_pattern() -> impl Strategy<Value = PathPattern> {
    let segments = proptest::collection::vec("[ab*]|a;v", 0..3);
    (segments, prop_oneof![Just(None), Just(Some("")), Just(Some("**"))]).prop_map(|(mut segments, end)| {
        segments.extend(end.map(str::to_owned));
        PathPattern::parse(&format!("/{}", segments.join("/"))).unwrap()
    })
}

fn some_requests() -> impl Strategy<Value = Requests> {
    let methods = proptest::collection::vec(prop::sample::select(vec![Method::GET, Method::PUT]), 0..2);
    let hosts = prop::sample::select(vec!["a.x", "b.x", "*.x", "{0}.x", "*"]);
    let hosts = proptest::collection::vec(hosts.prop_map(|text| HostPattern::parse(text).unwrap()), 0..2);
    let paths = proptest::collection::vec(a_path_pattern(), 0..3);
    (methods, hosts, paths).prop_map(|(methods, hosts, paths)| Requests { methods, hosts, paths })
}

/// Rules of which most ask something of requests.
fn some_http_rules() -> impl Strategy<Value = Vec<Rule>> {
    (some_rules(), proptest::collection::vec(some_requests(), 6)).prop_map(|(rules, requests)| {
        rules.into_iter().zip(requests).map(|(rule, requests)| Rule { requests, ..rule }).collect()
    })
}

#[derive(Clone, Debug)]
struct Asked {
    method: Method,
    host: &'static str,
    path: Option<String>,
}

fn a_request() -> impl Strategy<Value = Asked> {
    let method = prop::sample::select(vec![Method::GET, Method::PUT, Method::POST]);
    let host = prop::sample::select(vec!["a.x", "b.x", "x", "[::1]"]);
    (method, host, prop::option::weighted(0.9, a_path())).prop_map(|(method, host, path)| Asked { method, host, path })
}

fn decide_request(rules: &[Rule], id: &SpiffeId, asked: &Asked) -> Decision {
    let path = asked.path.as_deref().map(|path| RequestPath::parse(path).unwrap());
    let request = Request { method: &asked.method, host: asked.host, path: path.as_ref() };
    Policy::new(rules.to_vec()).decide_request(id, &request)
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

// ---- paths

/// What an application sees of a path that decodes all of it, takes slashes in a row for one and resolves dot segments; one that takes parameters
/// off does so before it decodes. The last segment is empty for a slash at the end.
fn seen(path: &str, parameters: bool) -> Vec<Vec<u8>> {
    let mut segments = Vec::new();
    let mut is_open = true;
    for written in path.strip_prefix('/').unwrap().split('/') {
        let written = if parameters { written } else { written.split(';').next().unwrap() };
        let segment = percent_decoded(written);
        is_open = matches!(&*segment, b"" | b"." | b"..");
        match &*segment {
            b"" | b"." => {}
            b".." => drop(segments.pop().unwrap()),
            _ => segments.push(segment),
        }
    }
    segments.extend(is_open.then(Vec::new));
    segments
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let mut parts = text.split('%');
    let mut decoded = parts.next().unwrap().as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at(2);
        decoded.push(u8::from_str_radix(digits, 16).unwrap());
        decoded.extend(rest.as_bytes());
    }
    decoded
}

/// What a path pattern means, in the fewest words.
fn path_means(pattern: &[&str], path: &[&str], same: &dyn Fn(&str, &str) -> bool) -> bool {
    match (pattern, path) {
        ([], []) | (["**"], _) => true,
        ([first, pattern @ ..], [segment, path @ ..]) => same(first, segment) && path_means(pattern, path, same),
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1536, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_a_path_or_is_refused(text in any::<String>()) {
        if let Ok(path) = RequestPath::parse(&text) {
            prop_assert!(path.as_str().starts_with('/') && path.as_str().len() <= text.len());
        }
        let _ = (PathPattern::parse(&text), HostPattern::parse(&text), normal_host(&text).is_ok());
    }

    #[test]
    fn a_normal_path_is_normal(text in nearly_a_path()) {
        let Ok(path) = RequestPath::parse(&text) else { return Ok(()) };
        let again = RequestPath::parse(path.as_str());
        prop_assert!(again.as_ref().is_ok_and(|again| again.is_as_sent() && *again == path), "{:?} and {:?}", path, again);
        prop_assert_eq!(path.is_as_sent(), path.as_str() == text);
    }

    #[test]
    fn a_normal_path_has_nothing_that_is_read_in_two_ways(text in nearly_a_path()) {
        let Ok(path) = RequestPath::parse(&text) else { return Ok(()) };
        let ended = format!("{}/", path.as_str().to_ascii_lowercase().trim_end_matches('/'));
        for part in ["//", "/./", "/../", "/.;", "/..;", "%2f", "%5c", "%2e", "%00", "\\", "?", "#"] {
            prop_assert!(!ended.contains(part), "{:?} has {:?}", path, part);
        }
    }

    #[test]
    fn an_application_sees_the_path_that_was_sent_in_the_one_that_is_forwarded(text in nearly_a_path()) {
        let Ok(path) = RequestPath::parse(&text) else { return Ok(()) };
        prop_assert_eq!(seen(&text, true), seen(path.as_str(), true));
        let segments: Vec<_> = path.as_str().split('/').skip(1).map(percent_decoded).collect();
        prop_assert_eq!(segments, seen(path.as_str(), true));
    }

    /// What such an application sees is what a deny rule looks at, segment by segment.
    #[test]
    fn taking_parameters_off_neither_moves_nor_removes_a_segment(text in nearly_a_path()) {
        let Ok(path) = RequestPath::parse(&text) else { return Ok(()) };
        let names = path.as_str().split('/').skip(1).map(|segment| percent_decoded(segment.split(';').next().unwrap()));
        prop_assert_eq!(names.collect::<Vec<_>>(), seen(path.as_str(), false));
        prop_assert_eq!(seen(&text, false), seen(path.as_str(), false));
    }

    #[test]
    fn a_path_pattern_reads_back_as_it_prints(pattern in a_path_pattern()) {
        prop_assert_eq!(PathPattern::parse(&pattern.to_string()).unwrap(), pattern);
    }

    #[test]
    fn a_path_pattern_prints_as_it_was_read(text in r"/[a-z*./;%0-9]{0,8}") {
        if let Ok(pattern) = PathPattern::parse(&text) {
            prop_assert_eq!(pattern.to_string(), text);
        }
    }

    #[test]
    fn a_path_pattern_matches_what_it_means(pattern in a_path_pattern(), text in a_path()) {
        let (path, printed) = (RequestPath::parse(&text).unwrap(), pattern.to_string());
        let split = |text: &'static str| text.split('/').skip(1).collect::<Vec<_>>();
        let (parts, segments) = (split(printed.leak()), split(path.as_str().to_owned().leak()));
        let names: Vec<&str> = segments.iter().map(|segment| segment.split(';').next().unwrap()).collect();
        let same = |part: &str, segment: &str| part == segment || (part == "*" && !segment.is_empty());
        let (literal, bare) = (path_means(&parts, &segments, &same), path_means(&parts, &names, &same));
        let named = |part: &str, segment: &str| same(part, segment) && (part != "*" || !segment.starts_with(';'));
        prop_assert_eq!(pattern.matches(&path), path_means(&parts, &segments, &named));
        prop_assert!(pattern.matches_any_reading(&path) || !(literal || bare), "{} and {}", pattern, text);
    }

    #[test]
    fn a_captured_host_is_the_template_filled(labels in proptest::collection::vec("[a-z0-9_-]{1,4}", 1..5), turn in 0_usize..5) {
        let numbers = (0..labels.len()).map(|place| (place + turn) % labels.len());
        let template: Vec<String> = numbers.map(|number| format!("{{{number}}}")).collect();
        let template = format!("{}.svc", template.join("."));
        let pattern = HostPattern::parse(&template).unwrap();
        let host = format!("{}.svc", labels.join("."));
        let captured = pattern.capture(&host).unwrap();
        prop_assert_eq!(captured.len(), pattern.captures());
        let filled = captured.iter().enumerate().fold(template, |text, (number, label)| text.replace(&format!("{{{number}}}"), label));
        prop_assert_eq!(filled, host);
    }

    #[test]
    fn a_normal_host_is_normal(text in r"\[?[a-zA-Z0-9.:_-]{0,10}\]?\.?") {
        if let Ok(host) = normal_host(&text) {
            prop_assert_eq!(normal_host(&host).unwrap(), host.clone());
            prop_assert!(HostPattern::parse(&text).is_ok_and(|pattern| pattern.matches(&host)), "{}", text);
        }
    }
}

// ---- requests

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1024, ..ProptestConfig::default() })]

    #[test]
    fn whose_request_is_let_through_is_let_in(rules in some_http_rules(), id in a_workload(), asked in a_request()) {
        prop_assert!(allowed(&rules, &id) || !decide_request(&rules, &id, &asked).verdict.is_allowed());
    }

    #[test]
    fn the_order_of_rules_does_not_matter_for_requests(
        (rules, shuffled) in some_http_rules().prop_flat_map(|rules| (Just(rules.clone()), Just(rules).prop_shuffle())),
        id in a_workload(),
        asked in a_request(),
    ) {
        let told = |decision: Decision| (decision.verdict.is_allowed(), decision.shadow.map(|shadow| shadow.is_allowed()));
        prop_assert_eq!(told(decide_request(&rules, &id, &asked)), told(decide_request(&shuffled, &id, &asked)));
        prop_assert_eq!(told(decide(&rules, &id)), told(decide(&shuffled, &id)));
    }

    #[test]
    fn without_conditions_a_request_is_decided_as_its_peer(rules in some_rules(), id in a_workload(), asked in a_request()) {
        prop_assert_eq!(decide_request(&rules, &id, &asked), decide(&rules, &id));
    }

    #[test]
    fn a_request_is_let_through_if_a_rule_allows_it_and_none_denies_it(
        rules in some_http_rules(), id in a_workload(), asked in a_request(),
    ) {
        let path = asked.path.as_deref().map(|path| RequestPath::parse(path).unwrap());
        let matching = |action| rules.iter().filter(|rule| rule.enforce && rule.action == action).any(|rule| {
            let Requests { methods, hosts, paths } = &rule.requests;
            let path_matches = |pattern: &PathPattern| path.as_ref().is_some_and(|path| match action {
                Action::Allow => pattern.matches(path),
                Action::Deny => pattern.matches_any_reading(path),
            });
            rule.peers.iter().any(|pattern| pattern.matches(&id))
                && (methods.is_empty() || methods.contains(&asked.method))
                && (hosts.is_empty() || hosts.iter().any(|pattern| pattern.matches(asked.host)))
                && (paths.is_empty() || paths.iter().any(path_matches))
        });
        let expected = matching(Action::Allow) && !matching(Action::Deny);
        prop_assert_eq!(decide_request(&rules, &id, &asked).verdict.is_allowed(), expected);
    }
}
