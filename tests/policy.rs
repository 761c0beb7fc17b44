//! The sentences that an operator reads of patterns and of decisions, word by word.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use http::Method;
use svidgate::policy::{
    Action, Clause, Denial, HostPattern, Nearest, PathPattern, Pattern, Policy, Request, RequestPath, Requests, Rule,
    Verdict,
};
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

// ---- requests

const PEER: &str = "spiffe://td/web";

/// Methods, hosts and paths, each with spaces between them.
fn requests(methods: &str, hosts: &str, paths: &str) -> Requests {
    Requests {
        methods: methods.split_whitespace().map(|text| text.parse().unwrap()).collect(),
        hosts: hosts.split_whitespace().map(|text| HostPattern::parse(text).unwrap()).collect(),
        paths: paths.split_whitespace().map(|text| PathPattern::parse(text).unwrap()).collect(),
    }
}

fn rule(name: &str, action: Action, peers: &str, requests: Requests) -> Rule {
    Rule { action, requests, ..Rule::allow(name, vec![Pattern::parse(peers).unwrap()]) }
}

/// `GET shop.example /orders/5`; a path that is `-` is none.
fn ask(rules: &[Rule], request: &str) -> Verdict {
    let words: Vec<&str> = request.split(' ').collect();
    let [method, host, path] = words.try_into().unwrap();
    let method: Method = method.parse().unwrap();
    let path = (path != "-").then(|| RequestPath::parse(path).unwrap());
    let request = Request { method: &method, host, path: path.as_ref() };
    Policy::new(rules.to_vec()).decide_request(&SpiffeId::parse(PEER).unwrap(), &request).verdict
}

#[test]
fn a_denied_request_is_told_what_the_nearest_rule_asks() {
    let near = |clause: &str| format!("no rule allows it; the nearest is `orders` with `{PEER}`, but {clause}");
    let table = [
        (("GET", "", ""), "POST a /", near("the method is `POST`, not `GET`")),
        (("GET HEAD", "", ""), "POST a /", near("the method is `POST`, not `GET` or `HEAD`")),
        (("", "a *.b", ""), "GET c /", near("the host is `c`, not `a` or `*.b`")),
        (("", "", "/a /b/* /c/**"), "GET a /b", near("the path is `/b`, not `/a`, `/b/*` or `/c/**`")),
        (("", "", "/a"), "OPTIONS a -", near("the request has no path for `/a`")),
        (("", "", "/**"), "CONNECT a -", near("the request has no path for `/**`")),
        (("", "", "/1 /2 /3 /4 /5"), "GET a /", near("the path is `/`, not `/1`, `/2`, `/3`, `/4` or another")),
        (("", "", "/1 /2 /3 /4 /5 /6"), "GET a /", near("the path is `/`, not `/1`, `/2`, `/3`, `/4` or 2 others")),
        // From where a request goes to what it does there.
        (("GET", "a", "/x"), "POST b /y", near("the host is `b`, not `a`")),
        (("GET", "a", "/x"), "POST a /y", near("the path is `/y`, not `/x`")),
        (("GET", "a", "/x"), "POST a /x", near("the method is `POST`, not `GET`")),
    ];
    for ((methods, hosts, paths), request, message) in table {
        let orders = rule("orders", Action::Allow, PEER, requests(methods, hosts, paths));
        assert_eq!(ask(&[orders], request).to_string(), message, "{request}");
    }
}

#[test]
fn of_rules_that_do_not_allow_a_request_the_one_that_it_gets_furthest_in_is_the_nearest() {
    let others = rule("others", Action::Allow, "spiffe://td/api", Requests::default());
    let host = rule("host", Action::Allow, PEER, requests("", "b", ""));
    let path = rule("path", Action::Allow, PEER, requests("GET", "", "/x"));
    let method = rule("method", Action::Allow, PEER, requests("HEAD", "a", ""));
    let mut rules = Vec::new();
    for (next, clause) in [
        (others, "path segment 1 is `web`, not `api`"),
        (host, "the host is `a`, not `b`"),
        (path, "the path is `/`, not `/x`"),
        (method, "the method is `GET`, not `HEAD`"),
    ] {
        let name = next.name.clone();
        rules.insert(0, next);
        let message = ask(&rules, "GET a /").to_string();
        assert!(message.contains(&format!("the nearest is `{name}`")) && message.ends_with(clause), "{message}");
    }
}

#[test]
fn a_rule_with_conditions_speaks_of_requests_that_meet_all_of_them() {
    let orders = rule("orders", Action::Allow, PEER, requests("GET HEAD", "a b", "/orders/* /health"));
    for request in ["GET a /orders/5", "HEAD b /orders/5", "GET b /health"] {
        assert_eq!(ask(std::slice::from_ref(&orders), request).to_string(), "rule `orders` allows it", "{request}");
    }
    for request in ["PUT a /orders/5", "GET c /orders/5", "GET a /orders/", "get a /health", "GET a -"] {
        assert!(!ask(std::slice::from_ref(&orders), request).is_allowed(), "{request}");
    }
}

#[test]
fn a_denied_path_cannot_be_reached_by_another_spelling() {
    let all = Rule::allow("all", vec![Pattern::parse(PEER).unwrap()]);
    let admin = rule("no-admin", Action::Deny, "spiffe://td/**", requests("", "", "/admin /admin/**"));
    let rules = [all, admin];
    for path in
        ["/admin", "//admin", "/x/../admin", "/%61dmin", "/./admin/", "/admin;x", "/admin;x/users;y", "/admin%3b"]
    {
        let message = ask(&rules, &format!("GET a {path}")).to_string();
        assert_eq!(message, "rule `no-admin` denies `spiffe://td/**`", "{path}");
    }
    assert!(ask(&rules, "GET a /administrator").is_allowed());
}

#[test]
fn what_is_allowed_without_parameters_is_not_allowed_with_them() {
    let public = rule("public", Action::Allow, PEER, requests("", "", "/public"));
    assert!(ask(std::slice::from_ref(&public), "GET a /public").is_allowed());
    let message = ask(&[public], "GET a /public;x").to_string();
    assert!(message.ends_with("but the path is `/public;x`, not `/public`"), "{message}");
}

#[test]
fn at_the_door_a_rule_for_some_requests_lets_in_and_keeps_nobody_out() {
    let peer = SpiffeId::parse(PEER).unwrap();
    let reads = rule("reads", Action::Allow, PEER, requests("GET", "", ""));
    let no_admin = rule("no-admin", Action::Deny, PEER, requests("", "", "/**"));
    let nobody = rule("nobody", Action::Deny, PEER, Requests::default());
    assert_eq!(decide(&[no_admin.clone(), reads.clone()], &peer).to_string(), "rule `reads` allows it");
    assert_eq!(decide(std::slice::from_ref(&no_admin), &peer).to_string(), "no rule allows anyone");
    assert_eq!(decide(&[reads.clone(), nobody], &peer).to_string(), "rule `nobody` denies `spiffe://td/web`");
    assert_eq!(ask(&[no_admin, reads], "GET a /").to_string(), "rule `no-admin` denies `spiffe://td/web`");
}

#[test]
fn a_shadow_rule_tells_what_it_would_do_with_a_request() {
    let all = Rule::allow("all", vec![Pattern::parse(PEER).unwrap()]);
    let no_writes = Rule { enforce: false, ..rule("no-writes", Action::Deny, PEER, requests("PUT", "", "")) };
    let policy = Policy::new(vec![all, no_writes]);
    let (peer, path) = (SpiffeId::parse(PEER).unwrap(), RequestPath::parse("/").unwrap());
    let decide = |method| policy.decide_request(&peer, &Request { method, host: "a", path: Some(&path) });
    assert!(decide(&Method::PUT).verdict.is_allowed());
    assert_eq!(decide(&Method::PUT).shadow.unwrap().to_string(), "rule `no-writes` denies `spiffe://td/web`");
    assert_eq!(decide(&Method::GET).shadow, None);
    assert_eq!(policy.decide(&peer).shadow, None);
}

#[test]
fn a_message_carries_no_more_than_128_characters_of_a_request() {
    let strict = rule("strict", Action::Allow, PEER, requests("GET", "a", &format!("/{}", "p".repeat(200))));
    let cut = |text: &str| format!("{}…", text.repeat(127));
    let message = ask(std::slice::from_ref(&strict), &format!("GET a /{}", "x".repeat(8000))).to_string();
    let [asked, expected] = ["x", "p"].map(|text| cut(text).replacen(text, "/", 1));
    assert!(message.ends_with(&format!("but the path is `{asked}`, not `{expected}`")), "{message}");
    let message = ask(std::slice::from_ref(&strict), &format!("GET {} /", "b".repeat(200))).to_string();
    assert!(message.ends_with(&format!("but the host is `{}`, not `a`", cut("b"))), "{message}");
    let strict = rule("strict", Action::Allow, PEER, requests("GET", "", ""));
    let message = ask(&[strict], &format!("{} a /{}", "M".repeat(200), "x".repeat(128))).to_string();
    assert!(message.ends_with(&format!("but the method is `{}`, not `GET`", cut("M"))), "{message}");
}

#[test]
fn a_denied_request_carries_the_clause_as_a_value_too() {
    let reads = rule("reads", Action::Allow, PEER, requests("GET", "", ""));
    let expected = Nearest {
        rule: "reads".into(),
        pattern: Pattern::parse(PEER).unwrap(),
        clause: Clause::Method { expected: "`GET`".into(), asked: "PUT".into() },
    };
    assert_eq!(ask(&[reads], "PUT a /"), Verdict::Denied(Denial::NoRule { nearest: Some(Box::new(expected)) }));
}
