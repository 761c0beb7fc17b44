//! Lines keep their order and their number, and whatever asks for a name sees all of its lines.

use http::header::{ACCEPT, COOKIE, HOST};

use super::*;

fn headers(lines: &[(&str, &str)]) -> Headers {
    let lines = lines.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
    Headers { lines }
}

const MIXED: [(&str, &str); 5] = [("cookie", "a"), ("host", "h"), ("x-own", "1"), ("cookie", "b"), ("X-Own", "2")];

#[test]
fn an_inserted_value_is_the_only_one_of_its_name_and_stands_where_the_first_stood() {
    let mut map = headers(&MIXED);
    map.insert(COOKIE, HeaderValue::from_static("c"));
    assert_eq!(map, headers(&[("cookie", "c"), ("host", "h"), ("x-own", "1"), ("x-own", "2")]));
    map.insert(HeaderName::from_static("x-own"), HeaderValue::from_static("3"));
    map.insert(ACCEPT, HeaderValue::from_static("a"));
    assert_eq!(map, headers(&[("cookie", "c"), ("host", "h"), ("x-own", "3"), ("accept", "a")]));
}

#[test]
fn an_appended_line_leaves_the_others_and_an_absent_one_is_set_once() {
    let mut map = headers(&[("host", "h")]);
    map.append(HOST, HeaderValue::from_static("i"));
    map.insert_absent(HOST, || unreachable!("there is one"));
    map.insert_absent(ACCEPT, || HeaderValue::from_static("a"));
    assert_eq!(map, headers(&[("host", "h"), ("host", "i"), ("accept", "a")]));
    assert_eq!(map.len(), 3);
}

#[test]
fn a_name_is_found_in_all_of_its_lines_however_it_was_written() {
    let mut map = headers(&MIXED);
    let own = HeaderName::from_static("x-own");
    assert_eq!(map.get_all(&own).collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(map.get(&COOKIE).unwrap(), "a");
    assert!(map.contains(&HOST) && !map.contains(&ACCEPT));
    map.get_mut(&own).unwrap().set_sensitive(true);
    assert!(map.get(&own).unwrap().is_sensitive());
    map.remove(&own);
    map.remove(&ACCEPT);
    assert_eq!(map, headers(&[("cookie", "a"), ("host", "h"), ("cookie", "b")]));
    map.retain(|name| *name == HOST);
    assert_eq!(map.names().collect::<Vec<_>>(), ["host"]);
}

#[test]
fn a_name_is_the_same_whether_it_comes_often_or_not() {
    for written in
        OFTEN.iter().map(HeaderName::as_str).chain(["host", "X-Request-Id", "te", "x", "traceparents", "x-other"])
    {
        assert_eq!(name(written).unwrap(), HeaderName::from_bytes(written.as_bytes()).unwrap());
    }
    assert!(name("").is_err() && name("x y").is_err());
}

#[test]
fn what_comes_from_http_2_and_goes_there_is_all_there() {
    let map = HeaderMap::from(headers(&MIXED));
    assert_eq!(map.len(), MIXED.len());
    assert_eq!(map.get_all("cookie").iter().collect::<Vec<_>>(), ["a", "b"]);
    let lines = [("cookie", "a"), ("cookie", "b"), ("host", "h"), ("x-own", "1"), ("x-own", "2")];
    assert_eq!(Headers::from(map), headers(&lines), "a map tells the lines of one name together");
    assert_eq!(HeaderMap::from(Headers::default()).len(), 0);
}
