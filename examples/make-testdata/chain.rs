//! the path from a leaf to a root.

use rcgen::{BasicConstraints, ExtendedKeyUsagePurpose as Eku, IsCa, KeyUsagePurpose as Usage, SanType};

use super::workshop::uri_constraints;
use super::workshop::{Ca, Case, Der, Trust, WORKLOAD, World, accept, ca_params, leaf_params, map, pem, reject};

pub(crate) fn cases(world: &World) -> Vec<Case> {
    let parts = [authorities(world), authority_ids(world), lengths(world), name_constraints(world), usages(world)];
    parts.into_iter().flatten().collect()
}

pub(crate) const NO_ISSUER: &str = "no path to a root of its own trust domain: none of its roots signed the chain, or an intermediate \
                             certificate is missing";
const MAY_NOT_SIGN: &str = "a signing certificate's key usage has no keyCertSign (X509-SVID §4.3)";

/// A subordinate made special, and a chain below it.
pub(crate) fn below(world: &World, bend: impl FnOnce(&mut rcgen::CertificateParams)) -> Vec<Der> {
    let mut params = ca_params("prod.example", "special subordinate", 0);
    bend(&mut params);
    under(&world.root.authority(params))
}

pub(crate) fn under(authority: &Ca) -> Vec<Der> {
    vec![authority.leaf(&leaf_params(WORKLOAD)), authority.der.clone()]
}

/// A root made special, alone in the bundle, and a leaf right below it.
pub(crate) fn below_root(bend: impl FnOnce(&mut rcgen::CertificateParams)) -> (Vec<Der>, Ca) {
    let mut params = ca_params("prod.example", "special root", 0);
    bend(&mut params);
    let root = Ca::root(params);
    (vec![root.leaf(&leaf_params(WORKLOAD))], root)
}

pub(crate) fn trusting(roots: &[&Der]) -> Trust {
    map(&[("prod.example", roots)])
}

///
fn authorities(world: &World) -> Vec<Case> {
    let trust = || world.trust();
    let (bare_chain, bare) = below_root(|params| params.key_usages.clear());
    let (weak_chain, weak) = below_root(|params| params.key_usages = vec![Usage::CrlSign]);
    let workload = world.sub.authority(leaf_params("spiffe://prod.example/ns/web/sa/workload"));
    let forged = vec![workload.leaf(&leaf_params(WORKLOAD)), workload.der.clone(), world.sub.der.clone()];
    let mut without_constraints = ca_params("prod.example", "special root", 0);
    without_constraints.is_ca = IsCa::NoCa;
    let without_constraints = Ca::root(without_constraints);
    vec![
        accept("x-10-root-without-key-usage", bare_chain, trusting(&[&bare.der])),
        reject("x-10-root-without-key-cert-sign", NO_ISSUER, weak_chain, trusting(&[&world.root.der, &weak.der])),
        reject(
            "x-10-root-without-basic-constraints",
            NO_ISSUER,
            vec![without_constraints.leaf(&leaf_params(WORKLOAD))],
            trusting(&[&world.root.der, &without_constraints.der]),
        ),
        reject(
            "x-10-intermediate-without-key-cert-sign",
            MAY_NOT_SIGN,
            below(world, |params| params.key_usages = vec![Usage::CrlSign]),
            trust(),
        ),
        reject(
            "x-10-intermediate-without-key-usage",
            MAY_NOT_SIGN,
            below(world, |params| params.key_usages.clear()),
            trust(),
        ),
        reject(
            "x-10-intermediate-is-no-authority",
            "no path to a root of its own trust domain: a certificate that is no authority stands on it as an issuer",
            below(world, |params| params.is_ca = IsCa::ExplicitNoCa),
            trust(),
        ),
        reject(
            "x-10-workload-signs-for-another",
            "no path to a root of its own trust domain: a certificate that is no authority stands on it as an issuer",
            forged.clone(),
            trust(),
        ),
        // webpki takes any certificate of a bundle for an authority.
        reject(
            "x-10-workload-in-the-bundle-signs-for-another",
            NO_ISSUER,
            vec![forged[0].clone()],
            trusting(&[&world.root.der, &workload.der]),
        ),
        reject(
            "x-10-workload-alone-in-the-bundle",
            "none of its certificates may act as a root: a signing certificate is no certificate authority (basic \
             constraints cA)",
            vec![forged[0].clone()],
            Trust::Pem("prod.example", pem(&workload.der)),
        ),
        accept(
            "x-10-another-intermediate-of-the-same-key-may-sign",
            {
                let params = ca_params("prod.example", "twice certified", 0);
                let mut unfit = params.clone();
                unfit.key_usages = vec![Usage::CrlSign];
                let fit = world.root.authority(params);
                vec![fit.leaf(&leaf_params(WORKLOAD)), world.root.certify(&unfit, &fit), fit.der.clone()]
            },
            trust(),
        ),
    ]
}

///
fn authority_ids(world: &World) -> Vec<Case> {
    let with_path = "a signing certificate's SPIFFE ID has a path (X509-SVID §3.2)";
    let named = |uri: &str| vec![SanType::URI(uri.try_into().unwrap())];
    let (root_chain, root) = below_root(|params| params.subject_alt_names = named("spiffe://prod.example/root"));
    let (bare_chain, bare) = below_root(|params| params.subject_alt_names.clear());
    let intermediate = |uri: &str| below(world, |params| params.subject_alt_names = named(uri));
    vec![
        accept("x-11-root-without-san", bare_chain, trusting(&[&bare.der])),
        accept("x-11-intermediate-with-slash-alone", intermediate("spiffe://prod.example/"), world.trust()),
        accept("x-11-intermediate-of-another-trust-domain", intermediate("spiffe://dev.example"), world.trust()),
        accept("x-11-intermediate-with-https-uri", intermediate("https://prod.example/ca"), world.trust()),
        reject("x-11-intermediate-with-path", with_path, intermediate("spiffe://prod.example/ca"), world.trust()),
        reject(
            "x-11-intermediate-with-path-in-capitals",
            with_path,
            intermediate("SPIFFE://PROD.example/ca"),
            world.trust(),
        ),
        reject("x-11-root-with-path", NO_ISSUER, root_chain, trusting(&[&world.root.der, &root.der])),
    ]
}

/// path lengths, and how many intermediates are followed.
fn lengths(world: &World) -> Vec<Case> {
    let too_short = "no path to a root of its own trust domain: more intermediate certificates stand on it than an authority's path \
                     length allows";
    let too_deep =
        "no path to a root of its own trust domain: more intermediate certificates stand on it than are followed";
    let (alone, root) = below_root(|_| {});
    let sub_of_sub = world.sub.authority(ca_params("prod.example", "sub of sub", 0));
    let beyond = [under(&sub_of_sub), vec![world.sub.der.clone()]].concat();
    let below_zero = root.authority(ca_params("prod.example", "below zero", 0));
    let ladder = |rungs: usize| {
        let root = Ca::root(ca_params("prod.example", "root of a ladder", 20));
        let mut chain = Vec::new();
        let mut lowest = root.authority(ca_params("prod.example", "rung 1", 20));
        for rung in 2..=rungs {
            chain.insert(0, lowest.der.clone());
            lowest = lowest.authority(ca_params("prod.example", &format!("rung {rung}"), 20));
        }
        (([under(&lowest), chain].concat()), trusting(&[&root.der]))
    };
    let ((six, six_trust), (seven, seven_trust)) = (ladder(6), ladder(7));
    let (_, unbounded) = below_root(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    let below_unbounded = under(&unbounded.authority(ca_params("prod.example", "below unbounded", 0)));
    vec![
        accept("x-13-no-path-length", below_unbounded, trusting(&[&unbounded.der])),
        accept("x-13-path-length-just-enough", world.good(), world.trust()),
        accept("x-13-no-intermediate", alone, trusting(&[&root.der])),
        accept("x-13-six-intermediates", six, six_trust),
        reject("x-13-seven-intermediates", too_deep, seven, seven_trust),
        reject("x-13-intermediate-beyond-path-length", too_short, beyond, world.trust()),
        // webpki does not ask a root for its path length.
        reject("x-13-intermediate-below-a-root-of-length-0", too_short, under(&below_zero), trusting(&[&root.der])),
    ]
}

///
fn name_constraints(world: &World) -> Vec<Case> {
    let refused = "the chain violates name constraints; URI name constraints are refused whether or not they match";
    let limited = |tag, host: &str| below(world, |params| params.custom_extensions = vec![uri_constraints(tag, host)]);
    let dns = |host: &str| rcgen::NameConstraints {
        permitted_subtrees: vec![rcgen::GeneralSubtree::DnsName(host.into())],
        excluded_subtrees: vec![],
    };
    let (root_chain, root) = below_root(|params| params.custom_extensions = vec![uri_constraints(0, "prod.example")]);
    let authority = {
        let mut params = ca_params("prod.example", "for internal names", 0);
        params.name_constraints = Some(dns("internal.example"));
        world.root.authority(params)
    };
    let with_dns = |name: &str| {
        let mut params = leaf_params(WORKLOAD);
        params.subject_alt_names.push(SanType::DnsName(name.try_into().unwrap()));
        vec![authority.leaf(&params), authority.der.clone()]
    };
    vec![
        accept("x-14-dns-constraint-met", with_dns("api.internal.example"), world.trust()),
        accept("x-14-dns-constraint-and-no-dns-name", under(&authority), world.trust()),
        reject("x-14-dns-constraint-violated", refused, with_dns("api.example"), world.trust()),
        reject("x-14-uri-permitted-and-met", refused, limited(0, "prod.example"), world.trust()),
        reject("x-14-uri-permitted-and-not-met", refused, limited(0, "dev.example"), world.trust()),
        reject("x-14-uri-excluded-elsewhere", refused, limited(1, "dev.example"), world.trust()),
        reject("x-14-root-with-uri-permitted-and-met", refused, root_chain, trusting(&[&root.der])),
    ]
}

///
fn usages(world: &World) -> Vec<Case> {
    let other_side =
        "no path to a root of its own trust domain: an authority's extended key usage does not allow this side of TLS";
    let chain = |usages: &[Eku]| below(world, |params| params.extended_key_usages = usages.to_vec());
    let servers = chain(&[Eku::ServerAuth]);
    let clients = chain(&[Eku::ClientAuth]);
    vec![
        accept("x-15-intermediate-for-both-sides", chain(&[Eku::ServerAuth, Eku::ClientAuth]), world.trust()),
        accept("x-15-intermediate-for-any-side", chain(&[]), world.trust()),
        accept("x-15-intermediate-for-servers-as-server", servers.clone(), world.trust()).only("server"),
        reject("x-15-intermediate-for-servers-as-client", other_side, servers, world.trust()).only("client"),
        accept("x-15-intermediate-for-clients-as-client", clients.clone(), world.trust()).only("client"),
        reject("x-15-intermediate-for-clients-as-server", other_side, clients, world.trust()).only("server"),
    ]
}
