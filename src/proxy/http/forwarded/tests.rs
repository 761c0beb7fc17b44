//! What earlier hops said is kept where it can be; what we say stands last, and where it is looked for.

use std::collections::HashSet;

use super::*;

const HOST: &str = "orders.example:8443";

/// Marks a request for `host` from `client`.
fn mark(headers: &mut Headers, client: Option<&str>, host: &'static str) {
    let hop = Hop::new(client.map(|client| client.parse().unwrap()), "https", 8443);
    forwarded(headers, &hop, &HeaderValue::from_static(host), None);
}

fn headers(lines: &[(&str, &str)]) -> Headers {
    let mut headers = Headers::default();
    for (name, value) in lines {
        headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

fn values<'a>(headers: &'a Headers, name: &str) -> Vec<&'a str> {
    headers.get_all(&name.parse().unwrap()).map(|value| value.to_str().unwrap()).collect()
}

#[test]
fn the_client_stands_last_in_one_line() {
    let table: [(&[&str], Option<&str>, &str); 5] = [
        (&[], Some("192.0.2.1"), "192.0.2.1"),
        (&["10.0.0.1, 10.0.0.2", "10.0.0.3"], Some("192.0.2.1"), "10.0.0.1, 10.0.0.2, 10.0.0.3, 192.0.2.1"),
        (&[""], Some("2001:db8::1"), "2001:db8::1"),
        (&["10.0.0.1"], Some("::ffff:192.0.2.1"), "10.0.0.1, 192.0.2.1"),
        (&["10.0.0.1"], None, "10.0.0.1, unknown"),
    ];
    for (sent, client, expected) in table {
        let lines: Vec<_> = sent.iter().map(|value| ("x-forwarded-for", *value)).collect();
        let mut map = headers(&lines);
        mark(&mut map, client, HOST);
        assert_eq!(values(&map, "x-forwarded-for"), [expected]);
    }
}

#[test]
fn the_first_hop_is_told_where_nobody_has() {
    let mut map = Headers::default();
    mark(&mut map, None, HOST);
    assert_eq!(values(&map, "x-forwarded-proto"), ["https"]);
    assert_eq!(values(&map, "x-forwarded-host"), ["orders.example:8443"]);
    assert_eq!(values(&map, "x-forwarded-port"), ["8443"]);
    assert!(!map.contains(&FORWARDED));

    let told = [("x-forwarded-proto", "http"), ("x-forwarded-host", "shop.example"), ("x-forwarded-port", "80")];
    let mut map = headers(&told);
    mark(&mut map, None, HOST);
    for (name, value) in told {
        assert_eq!(values(&map, name), [value]);
    }

    let mut map = Headers::default();
    mark(&mut map, None, "");
    assert!(!map.contains(&X_FORWARDED_HOST));
}

#[test]
fn another_spelling_of_a_forwarded_header_is_removed() {
    let mut map = headers(&[("x_forwarded_for", "10.0.0.1"), ("X-Forwarded_Proto", "http"), ("x.forwarded.host", "a")]);
    mark(&mut map, None, HOST);
    let names: HashSet<_> = map.names().map(HeaderName::as_str).collect();
    assert_eq!(names, ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port"].into());
}

#[test]
fn forwarded_grows_where_it_is_used() {
    let table = [
        (
            "for=10.0.0.1",
            Some("192.0.2.1"),
            HOST,
            "for=10.0.0.1, for=192.0.2.1;proto=https;host=\"orders.example:8443\"",
        ),
        ("for=a", Some("2001:db8::1"), HOST, "for=a, for=\"[2001:db8::1]\";proto=https;host=\"orders.example:8443\""),
        ("for=a", None, "", "for=a, for=unknown;proto=https"),
        ("for=a", None, "a\";for=\"b", "for=a, for=unknown;proto=https"),
        ("for=evil;host=\"", None, "", "for=unknown;proto=https"),
    ];
    for (sent, client, host, expected) in table {
        let mut map = headers(&[("forwarded", sent)]);
        mark(&mut map, client, host);
        assert_eq!(values(&map, "forwarded"), [expected]);
    }
}

#[test]
fn via_names_the_version_that_was_received() {
    let mut map = headers(&[("via", "1.1 gateway")]);
    for version in [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2] {
        via(&mut map, version);
    }
    assert_eq!(values(&map, "via"), ["1.1 gateway", "1.0 svidgate", "1.1 svidgate", "2 svidgate"]);
    assert_eq!(passes(&map), 3);
}

#[test]
fn only_proxies_of_our_name_are_counted() {
    let lines = [
        ("via", "1.1 svidgate, 2  SVIDGATE (a comment),HTTP/1.1\tsvidgate"),
        ("via", "1.1 svidgate.example, svidgate, 1.1 other (1.1 svidgate), , \u{e9}"),
    ];
    assert_eq!(passes(&headers(&lines)), 3);
    assert_eq!(passes(&Headers::default()), 0);
}

#[test]
fn a_request_that_goes_round_is_told_from_one_that_comes_far() {
    let mut map = Headers::default();
    for _ in 0..MAX_PASSES {
        via(&mut map, Version::HTTP_11);
    }
    assert!(!goes_round(&map));
    via(&mut map, Version::HTTP_2);
    assert!(goes_round(&map));
}

#[test]
fn a_sane_request_id_is_passed_on_and_every_other_replaced() {
    let ids = Ids::default();
    let longest = "a".repeat(MAX_REQUEST_ID);
    for sane in ["7", "4f1c-88:a/b=", &longest] {
        let mut map = headers(&[("x-request-id", sane)]);
        request_id(&mut map, &ids);
        assert_eq!(values(&map, "x-request-id"), [sane]);
    }
    let too_long = "a".repeat(MAX_REQUEST_ID + 1);
    let table: [&[&str]; 6] = [&[], &[""], &["a b"], &["\u{e9}"], &["a", "b"], &[&too_long]];
    for sent in table {
        let lines: Vec<_> = sent.iter().map(|value| ("x-request-id", *value)).collect();
        let mut map = headers(&lines);
        request_id(&mut map, &ids);
        let [made] = values(&map, "x-request-id")[..] else { panic!("{map:?}") };
        assert!(made.len() == 32 && made.bytes().all(is_lower_hex), "{made}");
    }
}

const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[test]
fn a_valid_trace_goes_on() {
    for parent in [VALID, "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-the-future-holds"] {
        let lines = [("traceparent", parent), ("tracestate", "a=1")];
        let mut map = headers(&lines);
        trace_context(&mut map, &Ids::default());
        assert_eq!(map, headers(&lines));
    }
}

#[test]
fn an_invalid_trace_is_replaced_by_a_new_one() {
    let broken = [
        "",
        "00",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
    ];
    let ids = Ids::default();
    let lines = broken.iter().map(|parent| vec![("traceparent", *parent), ("tracestate", "a=1")]);
    let lines = lines.chain([vec![("traceparent", VALID), ("traceparent", VALID)], vec![("tracestate", "a=1")]]);
    let mut made = HashSet::new();
    for lines in lines {
        let mut map = headers(&lines);
        trace_context(&mut map, &ids);
        let [parent] = values(&map, "traceparent")[..] else { panic!("{map:?}") };
        assert!(is_traceparent(parent.as_bytes()) && parent.starts_with("00-") && parent.ends_with("-00"), "{parent}");
        assert!(!map.contains(&TRACESTATE), "{lines:?}");
        assert!(made.insert(parent.to_owned()), "{parent} was made twice");
    }
}

#[test]
fn no_id_is_made_twice() {
    let (one, other) = (Ids::default(), Ids::default());
    let made: HashSet<String> = (0..1000).flat_map(|_| [one.make().to_string(), other.make().to_string()]).collect();
    assert_eq!(made.len(), 2000);
}
