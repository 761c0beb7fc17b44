//! Nothing that a peer says of itself reaches the application; what we say cannot be read as anything else.

use std::collections::HashSet;
use std::time::Duration;

use rcgen::{DnType, KeyPair};
use rustls::pki_types::pem::PemObject as _;

use super::*;
use crate::config::OwnHeader;
use crate::mint::{Authority, Validity, svid_params};
use crate::spiffe::TrustDomain;

const PEER: &str = "spiffe://td.test/ns/prod/sa/client";
const OURS: &str = "spiffe://td.test/ns/prod/sa/server";

fn id(text: &str) -> SpiffeId {
    SpiffeId::parse(text).unwrap()
}

/// A chain of leaf and subordinate authority, with this common name in the leaf.
fn chain(common_name: Option<&str>) -> Vec<CertificateDer<'static>> {
    let authority = Authority::new(TrustDomain::parse("td.test").unwrap()).unwrap();
    let mut params = svid_params(&id(PEER), Validity::from_now(Duration::from_secs(60))).unwrap();
    if let Some(name) = common_name {
        params.distinguished_name.push(DnType::CommonName, name);
    }
    let leaf = authority.sign(&params, &KeyPair::generate().unwrap()).unwrap();
    vec![leaf, authority.subordinate_der().clone()]
}

fn sending(send: &[IdentityHeader], xfcc: XfccMode) -> IdentityHeaders {
    IdentityHeaders { send: send.to_vec(), xfcc, own: Vec::new() }
}

fn own(name: &'static str, fact: PeerFact) -> OwnHeader {
    OwnHeader { name: HeaderName::from_static(name), fact }
}

fn peer_headers(config: &IdentityHeaders, chain: &[CertificateDer<'_>]) -> PeerHeaders {
    PeerHeaders::new(Arc::new(IdentityNames::new(config)), config, chain, &id(PEER), &id(OURS))
}

fn headers(lines: &[(&str, &str)]) -> Headers {
    let pairs = lines.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()));
    let mut headers = Headers::default();
    for (name, value) in pairs {
        headers.append(name, value);
    }
    headers
}

fn text(headers: &Headers, name: &str) -> String {
    let values: Vec<&str> = headers.get_all(&name.parse().unwrap()).map(|value| value.to_str().unwrap()).collect();
    assert_eq!(values.len(), 1, "{name}: {values:?}");
    values[0].to_owned()
}

fn xfcc_of(mode: XfccMode, incoming: &[&str]) -> Option<String> {
    let config = sending(&[IdentityHeader::XForwardedClientCert], mode);
    let lines: Vec<_> = incoming.iter().map(|value| ("x-forwarded-client-cert", *value)).collect();
    let mut headers = headers(&lines);
    peer_headers(&config, &chain(None)).apply(&mut headers, "rule");
    assert!(headers.len() <= 1, "{headers:?}");
    let xfcc = headers.get(&XFCC)?.to_str().unwrap().to_owned();
    // The hash is another one in each run.
    let ours = xfcc.rsplit_once("Hash=").and_then(|(before, after)| Some((before, after.split_once(';')?.1)));
    Some(ours.map_or_else(|| xfcc.clone(), |(before, after)| format!("{before}Hash=…;{after}")))
}

const OUR_ELEMENT: &str =
    "By=spiffe://td.test/ns/prod/sa/server;Hash=…;Subject=\"\";URI=spiffe://td.test/ns/prod/sa/client";

#[test]
fn every_spelling_of_an_identity_header_is_removed() {
    let config = IdentityHeaders { own: vec![own("x-caller", PeerFact::SpiffeId)], ..IdentityHeaders::default() };
    let names = IdentityNames::new(&config);
    let spellings = [
        "X-Forwarded-Client-Cert",
        "X_Forwarded_Client_Cert",
        "x-forwarded_client.cert",
        "Client-Cert",
        "client_cert_chain",
        "X-SPIFFE-ID",
        "x.spiffe.id",
        "l5d_client_id",
        "X-SSL-Client-Verify",
        "x_ssl_client_s_dn",
        "x-ssl-client-i-dn",
        "SSL_CLIENT_CERT",
        "ssl-client-subject-dn",
        "X-Forwarded-Tls-Client-Cert",
        "x-forwarded-tls-client-cert_info",
        "X~Caller",
    ];
    let others = ["client-certificate", "x-forwarded-for", "host", "x-ssl", "ssl-client", "x-callers", "x-calle"];
    let lines: Vec<_> = spellings.iter().chain(&others).flat_map(|name| [(*name, "a"), (*name, "b")]).collect();
    let mut headers = headers(&lines);
    names.strip(&mut headers);
    let kept: HashSet<&str> = headers.names().map(HeaderName::as_str).collect();
    assert_eq!(kept, HashSet::from(others));
}

#[test]
fn the_own_element_has_envoys_form() {
    let config = IdentityHeaders::default();
    let chain = chain(Some("orders, w"));
    let facts = LeafFacts::of(&chain[0]).unwrap();
    let mut headers = headers(&[("x-forwarded-client-cert", "By=x;URI=spiffe://td.test/admin")]);
    peer_headers(&config, &chain).apply(&mut headers, "rule");
    let expected = format!("By={OURS};Hash={};Subject=\"CN=orders\\2C w\";URI={PEER}", facts.sha256);
    assert_eq!(text(&headers, "x-forwarded-client-cert"), expected);
    assert_eq!(headers.len(), 1);
}

#[test]
fn each_mode_does_its_own_with_what_the_peer_sent() {
    let sent = ["By=a;URI=b", "By=c;Subject=\"CN=\\\"d\\\",O=e\""];
    let table = [
        (XfccMode::Sanitize, None),
        (XfccMode::SanitizeSet, Some(OUR_ELEMENT.to_owned())),
        (XfccMode::ForwardOnly, Some(sent.join(","))),
        (XfccMode::AppendForward, Some(format!("{},{OUR_ELEMENT}", sent.join(",")))),
    ];
    for (mode, expected) in table {
        assert_eq!(xfcc_of(mode, &sent), expected, "{mode:?}");
    }
    assert_eq!(xfcc_of(XfccMode::ForwardOnly, &[]), None);
    assert_eq!(xfcc_of(XfccMode::AppendForward, &[]).unwrap(), OUR_ELEMENT);
}

#[test]
fn an_open_quote_cannot_swallow_the_element_that_is_appended() {
    for hostile in
        ["URI=evil;Subject=\"", "URI=evil;Subject=\"a\\\\\"", "URI=evil;Subject=\"a\\\"", "URI=evil\\", "\"\"\""]
    {
        assert_eq!(xfcc_of(XfccMode::AppendForward, &[hostile]).unwrap(), OUR_ELEMENT, "{hostile}");
    }
}

#[test]
fn xfcc_that_is_switched_off_is_removed_whatever_its_mode() {
    let config = sending(&[], XfccMode::ForwardOnly);
    let mut headers = headers(&[("x-forwarded-client-cert", "URI=a")]);
    peer_headers(&config, &chain(None)).apply(&mut headers, "rule");
    assert_eq!(headers.len(), 0);
}

#[test]
fn rfc_9440_headers_carry_the_presented_chain() {
    let config = sending(&[IdentityHeader::ClientCert, IdentityHeader::ClientCertChain], XfccMode::SanitizeSet);
    let mut chain = chain(None);
    chain.push(chain[1].clone());
    let mut headers = headers(&[("client_cert", ":AAAA:"), ("client-cert-chain", ":AAAA:")]);
    peer_headers(&config, &chain).apply(&mut headers, "rule");
    let [leaf, signer] = [&chain[0], &chain[1]].map(|der| format!(":{}:", STANDARD.encode(der)));
    assert_eq!(text(&headers, "client-cert"), leaf);
    assert_eq!(text(&headers, "client-cert-chain"), format!("{signer}, {signer}"));
    assert_eq!(headers.len(), 2);
    assert!(headers.iter().all(|(_, value)| value.is_sensitive()));
}

#[test]
fn a_leaf_alone_has_no_chain_header() {
    let config = sending(&[IdentityHeader::ClientCertChain, IdentityHeader::XSpiffeId], XfccMode::SanitizeSet);
    let mut headers = Headers::default();
    peer_headers(&config, &chain(None)[..1]).apply(&mut headers, "rule");
    assert_eq!(text(&headers, "x-spiffe-id"), PEER);
    assert_eq!(headers.len(), 1);
}

#[test]
fn own_headers_tell_each_fact() {
    let chain = chain(Some("w"));
    let facts = LeafFacts::of(&chain[0]).unwrap();
    let table = [
        ("x-a", PeerFact::SpiffeId, PEER),
        ("x-b", PeerFact::TrustDomain, "td.test"),
        ("x-c", PeerFact::Path, "/ns/prod/sa/client"),
        ("x-d", PeerFact::Subject, "CN=w"),
        ("x-e", PeerFact::Issuer, &facts.issuer),
        ("x-f", PeerFact::Serial, &facts.serial),
        ("x-g", PeerFact::Hash, &facts.sha256),
        ("x-h", PeerFact::NotAfter, &facts.not_after),
        ("x-i", PeerFact::Verified, "SUCCESS"),
        ("x-j", PeerFact::Rule, "the rule of this request"),
    ];
    let own = table.iter().map(|(name, fact, _)| own(name, *fact)).collect();
    let config = IdentityHeaders { own, ..sending(&[], XfccMode::Sanitize) };
    let mut headers = headers(&[("x_a", "spiffe://td.test/admin"), ("x-a", "spiffe://td.test/admin")]);
    peer_headers(&config, &chain).apply(&mut headers, "the rule of this request");
    assert_eq!(headers.len(), table.len());
    for (name, fact, value) in table {
        assert_eq!(text(&headers, name), value, "{fact:?}");
        assert!(!value.is_empty(), "{fact:?}");
    }
}

#[test]
fn what_the_leaf_does_not_have_is_no_empty_header() {
    let config = IdentityHeaders { own: vec![own("x-subject", PeerFact::Subject)], ..sending(&[], XfccMode::Sanitize) };
    let mut headers = headers(&[("x-subject", "CN=admin")]);
    peer_headers(&config, &chain(None)).apply(&mut headers, "rule");
    assert_eq!(headers.len(), 0);
}

#[test]
fn the_escaped_certificate_decodes_to_the_leaf() {
    let config =
        IdentityHeaders { own: vec![own("x-cert", PeerFact::Certificate)], ..sending(&[], XfccMode::Sanitize) };
    let chain = chain(None);
    let mut headers = Headers::default();
    peer_headers(&config, &chain).apply(&mut headers, "rule");
    let value = text(&headers, "x-cert");
    assert!(!value.contains(['+', '/', '=', ' ', '\n']), "{value}");
    let replaced = [("%20", " "), ("%0A", "\n"), ("%2B", "+"), ("%2F", "/"), ("%3D", "=")];
    let pem = replaced.iter().fold(value, |pem, (from, to)| pem.replace(from, to));
    assert_eq!(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap(), chain[0]);
    assert!(pem.lines().all(|line| line.len() <= 64));
}

#[test]
fn a_hostile_subject_ends_neither_its_quotes_nor_its_line() {
    let chain = chain(Some("\",By=x;URI=spiffe://td.test/admin\r\nx-spiffe-id: é\\"));
    let mut headers = Headers::default();
    peer_headers(&IdentityHeaders::default(), &chain).apply(&mut headers, "rule");
    let xfcc = text(&headers, "x-forwarded-client-cert");
    let subject = "CN=\\22\\2CBy=x\\3BURI=spiffe://td.test/admin\\0D\\0Ax-spiffe-id: \\C3\\A9\\5C";
    assert!(xfcc.ends_with(&format!(";Subject=\"{subject}\";URI={PEER}")), "{xfcc}");
    assert_eq!((xfcc.matches('"').count(), xfcc.matches(',').count(), xfcc.matches(';').count()), (2, 0, 3));
    assert_eq!(headers.len(), 1);
}

#[test]
fn a_rule_with_any_name_is_a_valid_value() {
    let config = IdentityHeaders { own: vec![own("x-rule", PeerFact::Rule)], ..sending(&[], XfccMode::Sanitize) };
    let peer = peer_headers(&config, &chain(None));
    let mut headers = Headers::default();
    for (rule, value) in [("orders only", "orders only"), ("für\r\nx: y\0", "f%C3%BCr%0D%0Ax: y%00")] {
        peer.apply(&mut headers, rule);
        assert_eq!(text(&headers, "x-rule"), value);
    }
}

#[test]
fn quotes_are_closed_only_where_every_reader_sees_them_so() {
    let table = [
        ("", true),
        ("a=b;c=d", true),
        ("a=\"b,c\"", true),
        (r#"a="b\"c""#, true),
        (r#"a="b\\c""#, true),
        (r#"a="b\\\"c""#, true),
        (r#"a="b"#, false),
        (r#"a="b\""#, false),
        (r#"a="b\\""#, false),
        (r#"a=\"b"#, false),
        (r"a=\", false),
    ];
    for (value, closed) in table {
        assert_eq!(closes_its_quotes(value.as_bytes()), closed, "{value}");
    }
}
