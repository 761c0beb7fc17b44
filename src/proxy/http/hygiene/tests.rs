//! What was meant for one hop does not reach the next; what was meant for all of them does.

use super::*;
use crate::config::IdentityHeaders;

fn headers(lines: &[(&str, &str)]) -> Headers {
    let mut headers = Headers::default();
    for (name, value) in lines {
        headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

fn names(headers: &Headers) -> Vec<&str> {
    headers.names().map(HeaderName::as_str).collect()
}

#[test]
fn headers_of_one_connection_are_removed() {
    let mut map = headers(&[("x-kept", "1")]);
    for name in HOP_BY_HOP {
        map.append(HeaderName::from_static(name), HeaderValue::from_static("a"));
        map.append(HeaderName::from_static(name), HeaderValue::from_static("b"));
    }
    hop_by_hop(&mut map);
    assert_eq!(names(&map), ["x-kept"]);
}

#[test]
fn a_header_named_by_connection_is_removed() {
    let lines = [
        ("connection", "close, X-One ,\tx-two"),
        ("connection", "\u{e9}, x-three"),
        ("x-one", "1"),
        ("x-one", "2"),
        ("x-two", "1"),
        ("x-three", "1"),
        ("x-four", "1"),
    ];
    let mut map = headers(&lines);
    hop_by_hop(&mut map);
    assert_eq!(names(&map), ["x-four"]);
}

#[test]
fn connection_is_heard_for_the_headers_that_are_there_and_no_others() {
    let many: String = (0..10_000).map(|number| format!("x-{number},")).collect();
    let map = headers(&[("connection", &many), ("x-9999", "1"), ("x-kept", "1")]);
    assert_eq!(named_by_connection(&map), HashSet::from([HeaderName::from_static("x-9999")]));
}

#[test]
fn connection_cannot_remove_what_is_meant_for_every_recipient() {
    for name in END_TO_END {
        let mut map = headers(&[("connection", &format!("close, {}", name.to_uppercase())), (name, "1")]);
        hop_by_hop(&mut map);
        assert_eq!(names(&map), [name]);
    }
}

#[test]
fn a_request_for_trailers_survives_alone() {
    let table: [(&[&str], Option<&str>); 6] = [
        (&["trailers"], Some("trailers")),
        (&["gzip;q=0.5, Trailers"], Some("trailers")),
        (&["deflate", "trailers"], Some("trailers")),
        (&["trailers", "deflate"], Some("trailers")),
        (&["deflate"], None),
        (&["trailersx"], None),
    ];
    for (sent, kept) in table {
        for connection in [&[("x-kept", "")][..], &[("connection", "te")]] {
            let lines: Vec<_> = sent.iter().map(|value| ("te", *value)).chain(connection.iter().copied()).collect();
            let mut map = headers(&lines);
            hop_by_hop(&mut map);
            let values: Vec<_> = map.get_all(&TE).map(|value| value.to_str().unwrap()).collect();
            assert_eq!(values, kept.into_iter().collect::<Vec<_>>(), "{lines:?}");
            assert!(!map.contains(&CONNECTION));
        }
    }
}

#[test]
fn a_protocol_that_is_asked_for_is_told() {
    let map = headers(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]);
    assert_eq!(upgrade(&map).unwrap(), "websocket");
    let map = headers(&[("connection", "upgrade"), ("upgrade", "IRC/6.9, RTA/x11")]);
    assert_eq!(upgrade(&map).unwrap(), "IRC/6.9, RTA/x11");
}

#[test]
fn no_upgrade_leads_past_the_policy() {
    let table: [&[(&str, &str)]; 11] = [
        &[("connection", "close"), ("upgrade", "websocket")],
        &[("upgrade", "websocket")],
        &[("connection", "upgrade")],
        &[("connection", "upgrade"), ("upgrade", "")],
        &[("connection", "upgrade, http2-settings"), ("upgrade", "h2c"), ("http2-settings", "AAMAAABk")],
        &[("connection", "upgrade"), ("upgrade", "websocket, H2C")],
        &[("connection", "upgrade"), ("upgrade", "HTTP/2.0")],
        &[("connection", "upgrade"), ("upgrade", "TLS/1.0")],
        &[("connection", "upgrade"), ("upgrade", "h2")],
        &[("connection", "upgrade"), ("upgrade", "websocket"), ("upgrade", "h2c")],
        &[("connection", "upgrade"), ("upgrade", "w\u{e9}")],
    ];
    for lines in table {
        let mut map = headers(lines);
        assert_eq!(upgrade(&map), None, "{lines:?}");
        hop_by_hop(&mut map);
        assert_eq!(map.len(), 0, "{lines:?}");
    }
}

#[test]
fn trailers_keep_what_only_tells_of_the_body() {
    let lines = [
        ("grpc-status", "0"),
        ("grpc-message", "fine"),
        ("grpc-status-details-bin", "AA"),
        ("server-timing", "a"),
        ("etag", "\"a\""),
        ("digest", "a"),
        ("x-checksum", "a"),
    ];
    let mut map = HeaderMap::from(headers(&lines));
    trailers(&mut map, &IdentityNames::new(&IdentityHeaders::default()));
    assert_eq!(map, headers(&lines).into());
}

#[test]
fn trailers_carry_no_framing_routing_authentication_or_identity() {
    let identity = IdentityNames::new(&IdentityHeaders::default());
    let more = ["x-forwarded-for", "X_Forwarded_Host", "x-spiffe-id", "X_Forwarded_Client_Cert", "Content_Length"];
    for name in NO_TRAILERS.into_iter().chain(more) {
        let mut map = HeaderMap::from(headers(&[(name, "1"), (name, "2"), ("x-kept", "1")]));
        trailers(&mut map, &identity);
        assert_eq!(map.keys().collect::<Vec<_>>(), ["x-kept"], "{name}");
    }
}
