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

fn of_type(content_type: &str) -> HeaderMap {
    HeaderMap::from_iter([(CONTENT_TYPE, content_type.parse().unwrap())])
}

async fn body(response: Response<Full<Bytes>>) -> Bytes {
    response.into_body().collect().await.unwrap().to_bytes()
}

#[tokio::test]
async fn an_answer_is_a_problem_with_an_id_and_no_reason() {
    let answer = answer(Class::Denied);
    let response = answer.to(Asker::of(&Method::GET, &HeaderMap::new()));
    assert_eq!(response.status(), 403);
    let headers = response.headers().clone();
    let body = body(response).await;
    let id = answer.id.to_string();
    let expected = format!(r#"{{"type":"about:blank","title":"Forbidden","status":403,"class":"denied","id":"{id}"}}"#);
    assert_eq!(body, expected);
    assert_eq!(headers[CONTENT_TYPE], "application/problem+json");
    assert_eq!(headers[CACHE_CONTROL], "no-store");
    assert_eq!(headers[CONTENT_LENGTH], body.len().to_string());
    assert_eq!(headers[SVIDGATE_ID], id);
    assert_eq!(headers.len(), 4);
}

#[tokio::test]
async fn every_class_has_its_word_and_a_valid_body() {
    let mut words = HashSet::new();
    for class in ALL {
        let body = body(answer(class).to(Asker::of(&Method::POST, &of_type("application/json")))).await;
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
    let [head, get] = [Method::HEAD, Method::GET].map(|method| answer.to(Asker::of(&method, &HeaderMap::new())));
    assert_eq!(head.headers(), get.headers());
    assert!(body(head).await.is_empty());
}

#[tokio::test]
async fn grpc_gets_its_status_without_a_body() {
    for content_type in ["application/grpc", "Application/gRPC+proto", "application/grpc; charset=utf-8"] {
        for class in ALL {
            let answer = answer(class);
            let response = answer.to(Asker::of(&Method::POST, &of_type(content_type)));
            assert_eq!(response.status(), 200);
            let headers = response.headers().clone();
            assert!(body(response).await.is_empty());
            assert_eq!(headers[CONTENT_TYPE], "application/grpc");
            assert_eq!(headers["grpc-status"], class.grpc_status().to_string());
            assert_eq!(headers["grpc-message"], format!("{}, svidgate-id {}", class.word(), answer.id));
            assert_eq!(headers[SVIDGATE_ID], answer.id.to_string());
        }
    }
    assert_eq!(Class::Denied.grpc_status(), 7);
}

#[test]
fn a_refused_connect_never_gets_the_200_of_grpc() {
    let answer = answer(Class::NoRoute).to(Asker::of(&Method::CONNECT, &of_type("application/grpc")));
    assert_eq!(answer.status(), 403);
}

#[test]
fn what_is_no_grpc_gets_a_problem() {
    for content_type in ["application/grpc-web+proto", "application/grpcx", "application/grp", "text/plain"] {
        assert_eq!(
            answer(Class::Denied).to(Asker::of(&Method::POST, &of_type(content_type))).status(),
            403,
            "{content_type}"
        );
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
