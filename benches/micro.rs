//! Micro-benchmarks of the hot pure parts: SPIFFE ID parsing, patterns, decisions of the policy over 1, 100 and 1,000 rules, verification of a peer's
//! chain.
#![allow(missing_docs, reason = "criterion's macros write functions without a word")]

use std::error::Error;
use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use http::Method;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use svidgate::mint::{Authority, bundle_map};
use svidgate::policy::{PathPattern, Pattern, Policy, Request, RequestPath, Requests, Rule};
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

/// Rules of which the last alone lets the caller's request through; half of those before it speak of others, half of other paths.
fn policy_of(rules: u32) -> Result<Policy, Box<dyn Error>> {
    let mut list = Vec::new();
    for number in 1..rules {
        let mut rule = if number % 2 == 0 {
            Rule::allow("other", vec![Pattern::parse(&format!("spiffe://prod.example/ns/shop/sa/other-{number}"))?])
        } else {
            Rule::allow("elsewhere", vec![Pattern::parse(CALLER)?])
        };
        if number % 2 == 1 {
            let paths = vec![PathPattern::parse(&format!("/service-{number}/**"))?];
            rule.requests = Requests { methods: vec![Method::GET], paths, ..Requests::default() };
        }
        list.push(rule);
    }
    list.push(Rule::allow("callers", vec![Pattern::parse(CALLER)?]));
    Ok(Policy::new(list))
}

fn decisions(criterion: &mut Criterion) {
    run(criterion, |criterion| {
        let id = SpiffeId::parse(CALLER)?;
        let stranger = SpiffeId::parse("spiffe://prod.example/ns/shop/sa/stranger")?;
        let path = RequestPath::parse("/orders/17")?;
        let request = Request { method: &Method::GET, host: "orders.example", path: Some(&path) };
        for rules in [1, 100, 1_000] {
            let policy = policy_of(rules)?;
            let mut bench = |what: &str, decide: &dyn Fn()| {
                let name = format!("{what}: {rules} rules");
                criterion.bench_function(&name, |bencher| bencher.iter(decide));
            };
            bench("policy: a peer let in", &|| {
                black_box(policy.decide(black_box(&id)));
            });
            bench("policy: a request let through", &|| {
                black_box(policy.decide_request(black_box(&id), &request));
            });
            bench("policy: a stranger kept out", &|| {
                black_box(policy.decide(black_box(&stranger)));
            });
        }
        Ok(())
    });
}

fn chains(criterion: &mut Criterion) {
    run(criterion, |criterion| {
        let authority = Authority::new(TrustDomain::parse("prod.example")?)?;
        let issued = authority.issue(&SpiffeId::parse(CALLER)?, Duration::from_secs(86_400))?;
        let chain = CertificateDer::pem_slice_iter(issued.certificates.as_bytes()).collect::<Result<Vec<_>, _>>()?;
        let (bundles, _) = TrustBundles::from_json(bundle_map(&[&authority]).as_bytes())?;
        let leaf = chain.first().ok_or("a chain has a leaf")?;
        criterion.bench_function("leaf, checked", |bencher| bencher.iter(|| Leaf::check(black_box(leaf))));
        criterion.bench_function("chain, verified", |bencher| {
            bencher.iter(|| verify(black_box(&chain), &bundles, Usage::Client, UnixTime::now()));
        });
        Ok(())
    });
}

criterion_group!(benches, ids, decisions, chains);
criterion_main!(benches);
