//! Every answer of ours is one that its client understands, and says no more than it must.

use std::collections::HashSet;

use http_body_util::BodyExt as _;

use super::super::forwarded::Ids;
use super::*;

const ALL: [Class; 11] = [
    Class::BadRequest,
    Class::Denied,
    Class::NoRoute,
    Class::MethodNotAllowed,
    Class::RequestTimeout,
    Class::TooLarge,
    Class::HeadersTooLarge,
    Class::UpstreamFailed,
    Class::Overloaded,
    Class::UpstreamTimeout,
    Class::Loop,
];

fn answer(class: Class) -> Answer {
    Answer { class, id: Ids::default().make() }
}

fn of_type(content_type: &str) -> Headers {
    let mut headers = Headers::default();
    headers.append(CONTENT_TYPE, content_type.parse().unwrap());
    headers
}

async fn all(body: Full<Bytes>) -> Bytes {
    body.collect().await.unwrap().to_bytes()
}

/// The value of a header that is there once.
fn value<'a>(parts: &'a AnswerParts, name: &'a HeaderName) -> &'a str {
    let values: Vec<&HeaderValue> = parts.headers.get_all(name).collect();
    assert_eq!(values.len(), 1, "{name}");
    values[0].to_str().unwrap()
}

#[tokio::test]
async fn an_answer_is_a_problem_with_an_id_and_no_reason() {
    let answer = answer(Class::Denied);
    let (parts, body) = answer.to(Asker::of(&Method::GET, &Headers::default()));
    assert_eq!(parts.status, 403);
    let body = all(body).await;
    let id = answer.id.to_string();
    let expected = format!(r#"{{"type":"about:blank","title":"Forbidden","status":403,"class":"denied","id":"{id}"}}"#);
    assert_eq!(body, expected);
    assert_eq!(value(&parts, &CONTENT_TYPE), "application/problem+json");
    assert_eq!(value(&parts, &CACHE_CONTROL), "no-store");
    assert_eq!(value(&parts, &CONTENT_LENGTH), body.len().to_string());
    assert_eq!(value(&parts, &SVIDGATE_ID), id);
    assert_eq!(parts.headers.len(), 4);
}

#[tokio::test]
async fn every_class_has_its_word_and_a_valid_body() {
    let mut words = HashSet::new();
    for class in ALL {
        let (_, body) = answer(class).to(Asker::of(&Method::POST, &of_type("application/json")));
        let body = all(body).await;
        let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(problem["status"], class.status().as_u16());
        assert_eq!(problem["class"], class.word());
        assert_eq!(problem["title"], class.status().canonical_reason().unwrap());
        assert!(words.insert(class.word()), "{class:?}");
    }
}

#[tokio::test]
async fn the_answer_to_head_has_the_headers_alone() {
    let answer = answer(Class::NoRoute);
    let [head, get] = [Method::HEAD, Method::GET].map(|method| answer.to(Asker::of(&method, &Headers::default())));
    assert_eq!(head.0.headers, get.0.headers);
    assert!(all(head.1).await.is_empty());
}

#[tokio::test]
async fn grpc_gets_its_status_without_a_body() {
    for content_type in ["application/grpc", "Application/gRPC+proto", "application/grpc; charset=utf-8"] {
        for class in ALL {
            let answer = answer(class);
            let (parts, body) = answer.to(Asker::of(&Method::POST, &of_type(content_type)));
            assert_eq!(parts.status, 200);
            assert!(all(body).await.is_empty());
            let named = |name: &str| value(&parts, &name.parse().unwrap()).to_owned();
            assert_eq!(named("content-type"), "application/grpc");
            assert_eq!(named("grpc-status"), class.grpc_status().to_string());
            assert_eq!(named("grpc-message"), format!("{}, svidgate-id {}", class.word(), answer.id));
            assert_eq!(named("svidgate-id"), answer.id.to_string());
        }
    }
    assert_eq!(Class::Denied.grpc_status(), 7);
}

#[test]
fn a_refused_connect_never_gets_the_200_of_grpc() {
    let (parts, _) = answer(Class::NoRoute).to(Asker::of(&Method::CONNECT, &of_type("application/grpc")));
    assert_eq!(parts.status, 403);
}

#[test]
fn what_is_no_grpc_gets_a_problem() {
    for content_type in ["application/grpc-web+proto", "application/grpcx", "application/grp", "text/plain"] {
        let (parts, _) = answer(Class::Denied).to(Asker::of(&Method::POST, &of_type(content_type)));
        assert_eq!(parts.status, 403, "{content_type}");
    }
}

#[test]
fn the_bytes_are_a_whole_http_1_answer_that_ends_the_connection() {
    for class in ALL {
        let answer = answer(class);
        let bytes = answer.http1_bytes();
        let mut headers = [httparse::EMPTY_HEADER; 8];
        let mut head = httparse::Response::new(&mut headers);
        let length = head.parse(&bytes).unwrap().unwrap();
        assert_eq!((head.code, head.reason), (Some(class.status().as_u16()), class.status().canonical_reason()));
        let value = |name: &str| head.headers.iter().find(|header| header.name == name).unwrap().value;
        assert_eq!(value("connection"), b"close");
        assert_eq!(value("svidgate-id"), answer.id.to_string().as_bytes());
        assert_eq!(value("content-length"), (bytes.len() - length).to_string().as_bytes());
        assert_eq!(&bytes[length..], answer.problem().as_bytes());
    }
}
