//! One host comes out of a request, or an error; never a choice of two.

use http::{HeaderValue, Uri, uri};

use super::*;

fn parts(method: &str, target: &str, version: Version, hosts: &[&str]) -> RequestParts {
    let (method, uri) = (method.parse().unwrap(), target.parse().unwrap());
    let mut parts = RequestParts { method, uri, version, ..RequestParts::default() };
    for host in hosts {
        parts.headers.append(HOST, HeaderValue::from_bytes(host.as_bytes()).unwrap());
    }
    parts
}

/// A request as it comes out of HTTP/2's pseudo-headers.
fn http2(method: &str, authority: Option<&str>, scheme: &str, path: Option<&str>) -> RequestParts {
    let mut target = uri::Parts::default();
    target.authority = authority.map(|authority| authority.parse().unwrap());
    target.scheme = authority.and(path).map(|_| scheme.parse().unwrap());
    target.path_and_query = path.map(|path| path.parse().unwrap());
    let mut parts = parts(method, "/", Version::HTTP_2, &[]);
    parts.uri = Uri::from_parts(target).unwrap();
    parts
}

fn with_host(mut parts: RequestParts, host: &str) -> RequestParts {
    parts.headers.append(HOST, host.parse().unwrap());
    parts
}

/// What a request asks for: the same as the first of its connection and as the second.
fn read(parts: &RequestParts) -> Result<(String, Form), TargetError> {
    let last = LastAuthority::default();
    let [first, second] = [(); 2].map(|()| asked(parts, &last));
    assert_eq!(first, second);
    first.map(|asked| (asked.authority.to_string(), asked.form))
}

#[test]
fn each_form_names_its_host() {
    let table = [
        ("GET", "/a?b", "Orders.Example.", "orders.example", Form::Origin),
        ("GET", "//a", "orders.example:8443", "orders.example:8443", Form::Origin),
        ("GET", "/", "", "", Form::Origin),
        ("OPTIONS", "*", "a", "a", Form::Asterisk),
        ("GET", "http://Orders.example/a", "orders.example", "orders.example", Form::Absolute),
        ("GET", "http://orders.example:80/a", "orders.example", "orders.example:80", Form::Absolute),
        ("GET", "http://orders.example", "orders.example:80", "orders.example", Form::Absolute),
        ("GET", "https://orders.example/a", "orders.example.:443", "orders.example", Form::Absolute),
        ("CONNECT", "orders.example:443", "orders.example:443", "orders.example:443", Form::Authority),
        ("CONNECT", "orders.example:443", "orders.example", "orders.example:443", Form::Authority),
        ("CONNECT", "[2001:DB8::1]:443", "[2001:db8:0::1]:443", "[2001:db8::1]:443", Form::Authority),
    ];
    for (method, target, host, authority, form) in table {
        let parts = parts(method, target, Version::HTTP_11, &[host]);
        assert_eq!(read(&parts), Ok((authority.to_owned(), form)), "{method} {target}, {host}");
    }
}

#[test]
fn a_host_becomes_normal_or_is_refused() {
    let table = [
        ("ORDERS.example", Some("orders.example")),
        ("orders.example.", Some("orders.example")),
        ("my_service-1", Some("my_service-1")),
        ("192.0.2.1:080", Some("192.0.2.1:80")),
        ("a:", Some("a")),
        ("[0:0::1]", Some("[::1]")),
        ("a..", None),
        (".a", None),
        ("a..b", None),
        (".", None),
        (":80", None),
        ("a:0", None),
        ("a:65536", None),
        ("a:+80", None),
        ("a:80:80", None),
        ("a:b", None),
        ("a b", None),
        ("a,b", None),
        ("a/b", None),
        ("a?b", None),
        ("a\\b", None),
        ("a%2eb", None),
        ("http://a", None),
        ("::1", None),
        ("[::1", None),
        ("[::1]a", None),
        ("[::1]]", None),
        ("[fe80::1%25eth0]", None),
        ("[v1.a]", None),
        ("[]", None),
        ("\u{e9}", None),
    ];
    for (host, normal) in table {
        let expected = normal.map(|normal| (normal.to_owned(), Form::Origin)).ok_or(TargetError::InvalidHost);
        assert_eq!(read(&parts("GET", "/", Version::HTTP_11, &[host])), expected, "{host}");
    }
    let long = format!("{}.{}", vec!["a".repeat(63); 3].join("."), "a".repeat(61)); // 253 bytes
    assert!(read(&parts("GET", "/", Version::HTTP_11, &[&long])).is_ok());
    let too_long = format!("{long}.a");
    let parts = parts("GET", "/", Version::HTTP_11, &[&too_long]);
    assert_eq!(read(&parts), Err(TargetError::InvalidHost));
}

#[test]
fn the_number_of_hosts_is_that_of_the_version() {
    let table: [(Version, &str, &[&str], Option<TargetError>); 8] = [
        (Version::HTTP_11, "/", &[], Some(TargetError::NoHost)),
        (Version::HTTP_11, "http://a/", &[], Some(TargetError::NoHost)),
        (Version::HTTP_11, "/", &["a", "a"], Some(TargetError::SeveralHosts)),
        (Version::HTTP_11, "/", &["a", ""], Some(TargetError::SeveralHosts)),
        (Version::HTTP_10, "/", &["a", "b"], Some(TargetError::SeveralHosts)),
        (Version::HTTP_10, "/", &[], None),
        (Version::HTTP_10, "http://a/", &[], None),
        (Version::HTTP_10, "/", &["a"], None),
    ];
    for (version, target, hosts, error) in table {
        assert_eq!(read(&parts("GET", target, version, hosts)).err(), error, "{version:?} {target} {hosts:?}");
    }
    assert_eq!(read(&parts("GET", "/", Version::HTTP_10, &[])).unwrap().0, "");
}

#[test]
fn target_and_host_must_agree() {
    let table = [
        ("GET", "http://a/", "b"),
        ("GET", "http://a/", ""),
        ("GET", "http://a:81/", "a"),
        ("GET", "http://a/", "a:443"),
        ("GET", "https://a/", "a:80"),
        ("CONNECT", "a:443", "b:443"),
        ("CONNECT", "a:443", "a:80"),
    ];
    for (method, target, host) in table {
        let parts = parts(method, target, Version::HTTP_11, &[host]);
        assert_eq!(read(&parts), Err(TargetError::TwoHosts), "{method} {target}, {host}");
    }
}

#[test]
fn what_is_known_of_one_authority_is_not_told_of_another() {
    let (last, padded) = (LastAuthority::default(), format!("b:{}80", "0".repeat(LastAuthority::LONGEST)));
    for (host, expected) in
        [("a:1", "a:1"), ("A:1", "a:1"), ("a", "a"), (&padded, "b:80"), ("a", "a"), ("", ""), ("a:1", "a:1")]
    {
        let asked = asked(&parts("GET", "/", Version::HTTP_11, &[host]), &last);
        assert_eq!(asked.map(|asked| asked.authority.to_string()), Ok(expected.to_owned()));
    }
    assert_eq!(asked(&parts("GET", "/", Version::HTTP_11, &["a b"]), &last), Err(TargetError::InvalidHost));
}

#[test]
fn user_information_is_refused_wherever_it_stands() {
    let table = [("GET", "/", "user@a"), ("GET", "http://user:pw@a/", "a"), ("CONNECT", "user@a:443", "a:443")];
    for (method, target, host) in table {
        let parts = parts(method, target, Version::HTTP_11, &[host]);
        assert_eq!(read(&parts), Err(TargetError::UserInfo), "{method} {target}, {host}");
    }
}

#[test]
fn a_target_of_another_form_is_refused() {
    let table = [
        ("GET", "a", TargetError::NoPath),
        ("GET", "a:80", TargetError::NoPath),
        ("GET", "*", TargetError::Asterisk),
        ("GET", "ftp://a/", TargetError::Scheme),
        ("CONNECT", "a", TargetError::Connect),
        ("CONNECT", "/", TargetError::Connect),
        ("CONNECT", "http://a:80/", TargetError::Connect),
        ("CONNECT", "*", TargetError::Connect),
    ];
    for (method, target, error) in table {
        let parts = parts(method, target, Version::HTTP_11, &["a"]);
        assert_eq!(read(&parts), Err(error), "{method} {target}");
    }
}

#[test]
fn http_2_names_its_host_with_authority_or_host() {
    let get = |authority| http2("GET", authority, "https", Some("/a"));
    let origin = |authority: &str| Ok((authority.to_owned(), Form::Origin));
    assert_eq!(read(&get(Some("Orders.example:8443"))), origin("orders.example:8443"));
    assert_eq!(read(&with_host(get(Some("orders.example")), "ORDERS.example:443")), origin("orders.example"));
    assert_eq!(read(&with_host(get(None), "orders.example")), origin("orders.example"));
    assert_eq!(read(&get(None)), Err(TargetError::NoHost));
    assert_eq!(read(&with_host(get(Some("a")), "b")), Err(TargetError::TwoHosts));
    assert_eq!(read(&with_host(with_host(get(Some("a")), "a"), "a")), Err(TargetError::SeveralHosts));
    assert_eq!(read(&get(Some("user@a"))), Err(TargetError::UserInfo));
    assert_eq!(read(&http2("GET", Some("a"), "ftp", Some("/"))), Err(TargetError::Scheme));
    assert_eq!(read(&http2("GET", Some("a"), "https", Some("?b"))), Err(TargetError::NoPath));
    assert_eq!(read(&http2("OPTIONS", Some("a"), "https", Some("*"))), Ok(("a".to_owned(), Form::Asterisk)));
    assert_eq!(read(&http2("GET", Some("a"), "https", Some("*"))), Err(TargetError::Asterisk));
}

#[test]
fn http_2_tells_a_tunnel_from_an_extended_connect() {
    assert_eq!(read(&http2("CONNECT", Some("a:443"), "", None)), Ok(("a:443".to_owned(), Form::Authority)));
    assert_eq!(read(&http2("CONNECT", Some("a"), "", None)), Err(TargetError::Connect));
    assert_eq!(read(&http2("CONNECT", Some("a"), "https", Some("/chat"))), Ok(("a".to_owned(), Form::Origin)));
}
