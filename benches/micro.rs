//! Micro-benchmarks of the hot pure parts: SPIFFE ID parsing, patterns, decisions of the policy over 1, 100 and 1,000 rules of many
//! shapes, the headers of a request, verification of a peer's chain.
#![allow(missing_docs, reason = "criterion's macros write functions without a word")]

use std::error::Error;
use std::hint::black_box;
use std::net::IpAddr;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use svidgate::config::{IdentityHeader, IdentityHeaders};
use svidgate::mint::{Authority, bundle_map};
use svidgate::policy::{
    Action, Decision, HostPattern, PathPattern, Pattern, Policy, Request, RequestPath, Requests, Rule,
};
use svidgate::proxy::RequestHeaders;
use svidgate::spiffe::{Leaf, SpiffeId, TrustBundles, TrustDomain, UnixTime, Usage, verify};

type Outcome = Result<(), Box<dyn Error>>;

const CALLER: &str = "spiffe://prod.example/ns/shop/sa/frontend";

/// Runs a set of benches; one that cannot be set up says why.
fn run(criterion: &mut Criterion, benches: impl Fn(&mut Criterion) -> Outcome) {
    if let Err(error) = benches(criterion) {
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), "cannot be measured: {error}");
    }
}

fn ids(criterion: &mut Criterion) {
    run(criterion, |criterion| {
        criterion.bench_function("SPIFFE ID, parsed", |bencher| bencher.iter(|| SpiffeId::parse(black_box(CALLER))));
        let id = SpiffeId::parse(CALLER)?;
        for (name, pattern) in [
            ("exact", Pattern::exact(&id)),
            ("one segment", Pattern::parse("spiffe://prod.example/ns/*/sa/frontend")?),
            ("the rest", Pattern::parse("spiffe://prod.example/ns/**")?),
        ] {
            let name = format!("pattern matched: {name}");
            criterion.bench_function(&name, |bencher| bencher.iter(|| pattern.matches(black_box(&id))));
        }
        Ok(())
    });
}

/// One rule of many, of which [`LAST`] alone speaks of the caller and its request.
type Shape = fn(number: u32) -> Result<Rule, Box<dyn Error>>;

/// The number of the rule that lets the request through: it stands behind those numbered from 1.
const LAST: u32 = 0;

/// What the rules of a policy may differ in.
const SHAPES: &[(&str, Shape)] = &[
    ("IDs", differing_ids),
    ("namespaces", |number| {
        rule(&format!("spiffe://prod.example/ns/{}/**", word(number, "shop")), Requests::default())
    }),
    ("accounts", |number| {
        rule(&format!("spiffe://prod.example/ns/*/sa/{}", word(number, "frontend")), Requests::default())
    }),
    ("paths", differing_paths),
    ("wildcards in paths", |number| rule(CALLER, of_path(&format!("/*/{}", word(number, "17")))?)),
    ("hosts", |number| {
        let hosts = vec![HostPattern::parse(&format!("{}.example", word(number, "orders")))?];
        rule(CALLER, Requests { hosts, ..Requests::default() })
    }),
    ("methods", |number| {
        let methods = vec![if number == LAST { Method::GET } else { Method::PUT }];
        rule(CALLER, Requests { methods, ..Requests::default() })
    }),
    ("IDs and paths", |number| {
        if number % 2 == 0 || number == LAST {
            return differing_ids(number);
        }
        let of_path = of_path(&format!("/service-{number}/**"))?;
        rule(CALLER, Requests { methods: vec![Method::GET], ..of_path })
    }),
    ("denied paths", |number| {
        if number == LAST {
            return rule(CALLER, Requests::default());
        }
        let denying = rule("spiffe://prod.example/**", of_path(&format!("/service-{number}/**"))?)?;
        Ok(Rule { action: Action::Deny, ..denying })
    }),
];

/// What a rule says of one thing that the request has as `last`.
fn word(number: u32, last: &str) -> String {
    if number == LAST { last.to_owned() } else { format!("service-{number}") }
}

fn differing_ids(number: u32) -> Result<Rule, Box<dyn Error>> {
    rule(&format!("spiffe://prod.example/ns/shop/sa/{}", word(number, "frontend")), Requests::default())
}

fn differing_paths(number: u32) -> Result<Rule, Box<dyn Error>> {
    rule(CALLER, of_path(&format!("/{}/**", word(number, "orders")))?)
}

fn rule(peer: &str, requests: Requests) -> Result<Rule, Box<dyn Error>> {
    Ok(Rule { requests, ..Rule::allow("callers", vec![Pattern::parse(peer)?]) })
}

fn of_path(pattern: &str) -> Result<Requests, Box<dyn Error>> {
    Ok(Requests { paths: vec![PathPattern::parse(pattern)?], ..Requests::default() })
}

fn policy_of(rules: u32, shape: Shape) -> Result<Policy, Box<dyn Error>> {
    Ok(Policy::new((1..rules).chain([LAST]).map(shape).collect::<Result<_, _>>()?))
}

/// One rule for so many callers, of whom the one that asks is the last.
fn policy_for(callers: u32) -> Result<Policy, Box<dyn Error>> {
    let rules = (1..callers).chain([LAST]).map(differing_ids).collect::<Result<Vec<_>, _>>()?;
    Ok(Policy::new(vec![Rule::allow("callers", rules.into_iter().flat_map(|rule| rule.peers).collect())]))
}

fn decisions(criterion: &mut Criterion) {
    run(criterion, |criterion| {
        let id = SpiffeId::parse(CALLER)?;
        let stranger = SpiffeId::parse("spiffe://prod.example/ns/shop/sa/stranger")?;
        let (path, elsewhere) = (RequestPath::parse("/orders/17")?, RequestPath::parse("/nowhere")?);
        let request = Request { method: &Method::GET, host: "orders.example", path: Some(&path) };
        let refused = Request { path: Some(&elsewhere), ..request };
        for count in [1, 100, 1_000] {
            let mut bench = |name: String, decide: &dyn Fn() -> Decision| {
                criterion.bench_function(&name, |bencher| bencher.iter(decide));
            };
            for (differ, shape) in SHAPES {
                let policy = policy_of(count, *shape)?;
                let decide = || policy.decide_request(black_box(&id), &request);
                bench(format!("a request let through: {count} rules that differ in {differ}"), &decide);
            }
            let policy = policy_for(count)?;
            let decide = || policy.decide_request(black_box(&id), &request);
            bench(format!("a request let through: one rule with {count} callers"), &decide);
            bench(format!("a peer let in: one rule with {count} callers"), &|| policy.decide(black_box(&id)));
            bench(format!("a stranger kept out: one rule with {count} callers"), &|| {
                policy.decide(black_box(&stranger))
            });
            let paths = policy_of(count, differing_paths)?;
            let decide = || paths.decide_request(black_box(&id), &refused);
            bench(format!("a request refused: {count} rules that differ in paths"), &decide);
        }
        Ok(())
    });
}

/// Headers as a client's request has them, with a forged identity and a header of the connection among them.
fn headers(criterion: &mut Criterion) {
    run(criterion, |criterion| {
        let id = SpiffeId::parse(CALLER)?;
        let chain = chain(&Authority::new(TrustDomain::parse("prod.example")?)?)?;
        let sent = [
            (header::HOST, "orders.example"),
            (header::USER_AGENT, "curl/8.14.1"),
            (header::ACCEPT, "application/json"),
            (header::ACCEPT_ENCODING, "gzip, br"),
            (header::AUTHORIZATION, "Bearer 0123456789abcdef0123456789abcdef"),
            (header::CONTENT_TYPE, "application/json"),
            (header::CONTENT_LENGTH, "512"),
            (header::CONNECTION, "keep-alive"),
            (HeaderName::from_static("x-spiffe-id"), "spiffe://prod.example/forged"),
        ];
        let sent: HeaderMap = sent.into_iter().map(|(name, value)| (name, HeaderValue::from_static(value))).collect();
        let sent = RequestHeaders::sent(sent);
        let mut default = IdentityHeaders::default();
        for (what, also) in [
            ("x-forwarded-client-cert", None),
            (
                "x-forwarded-client-cert, client-cert, x-spiffe-id",
                Some([IdentityHeader::ClientCert, IdentityHeader::XSpiffeId]),
            ),
        ] {
            default.send.extend(also.into_iter().flatten());
            let ours = RequestHeaders::new(&default, &chain, &id, &id, IpAddr::from([10, 0, 0, 7]));
            criterion.bench_function(&format!("headers of a request, built: {what}"), |bencher| {
                let build = |mut headers| {
                    ours.build(&mut headers, "callers");
                    headers
                };
                bencher.iter_batched(|| sent.clone(), build, BatchSize::SmallInput);
            });
        }
        Ok(())
    });
}

/// A chain of the caller's, leaf first.
fn chain(authority: &Authority) -> Result<Vec<CertificateDer<'static>>, Box<dyn Error>> {
    let issued = authority.issue(&SpiffeId::parse(CALLER)?, Duration::from_secs(86_400))?;
    Ok(CertificateDer::pem_slice_iter(issued.certificates.as_bytes()).collect::<Result<_, _>>()?)
}

fn chains(criterion: &mut Criterion) {
    run(criterion, |criterion| {
        let authority = Authority::new(TrustDomain::parse("prod.example")?)?;
        let chain = chain(&authority)?;
        let (bundles, _) = TrustBundles::from_json(bundle_map(&[&authority]).as_bytes())?;
        let leaf = chain.first().ok_or("a chain has a leaf")?;
        criterion.bench_function("leaf, checked", |bencher| bencher.iter(|| Leaf::check(black_box(leaf))));
        criterion.bench_function("chain, verified", |bencher| {
            bencher.iter(|| verify(black_box(&chain), &bundles, Usage::Client, UnixTime::now()));
        });
        Ok(())
    });
}

criterion_group!(benches, ids, decisions, headers, chains);
criterion_main!(benches);
