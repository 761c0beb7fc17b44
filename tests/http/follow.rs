//! The headers by which a request is followed: passed on where they are good, made where they are not there, and no circle goes unnoticed.

use hyper::Response;
use svidgate::metrics::RequestOutcome;

use super::scene::Scene;
use crate::harness::http::{Application, full};

#[tokio::test]
async fn a_request_tells_where_it_came_from_and_by_whom_it_passed() {
    let (scene, application) = Scene::with("", "", "").await;
    for (mut client, via) in scene.both().await.into_iter().zip(["1.1 svidgate", "2 svidgate"]) {
        let answer = client.get("/").await;
        assert_eq!(answer.header("via"), Some("1.1 svidgate"), "of the answer");
        let seen = application.seen().pop().unwrap();
        assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
        assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
        assert_eq!(seen.header("x-forwarded-host"), Some("orders.example"));
        assert_eq!(seen.header("x-forwarded-port"), Some(&*scene.address().port().to_string()));
        assert_eq!(seen.header("forwarded"), None);
        assert_eq!(seen.header("via"), Some(via));
        assert_eq!(seen.header("x-request-id").map(str::len), Some(32));
        let traceparent = seen.header("traceparent").unwrap();
        assert!(
            traceparent.len() == 55 && traceparent.starts_with("00-") && traceparent.ends_with("-00"),
            "{traceparent}"
        );
    }
    let ids: std::collections::BTreeSet<_> =
        application.seen().iter().map(|seen| seen.header("x-request-id").unwrap().to_owned()).collect();
    assert_eq!(ids.len(), 2);
}

#[tokio::test]
async fn what_a_gateway_before_us_said_is_passed_on_and_our_hop_added() {
    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let (scene, application) = Scene::with("", "", "").await;
    for mut client in scene.both().await {
        let mut request = client.request("GET", "/");
        for (name, value) in [
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-for", "192.0.2.2"),
            ("forwarded", "for=192.0.2.1"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "shop.example"),
            ("x_forwarded_host", "evil.example"),
            ("via", "1.1 edge"),
            ("x-request-id", "abc-123"),
            ("traceparent", TRACE),
            ("tracestate", "a=b"),
        ] {
            request.headers_mut().append(name, value.parse().unwrap());
        }
        assert_eq!(client.ask(request).await.status, 200);
        let seen = application.seen().pop().unwrap();
        assert_eq!(seen.header("x-forwarded-for"), Some("192.0.2.1, 192.0.2.2, 127.0.0.1"));
        assert_eq!(seen.headers.get_all("x-forwarded-for").iter().count(), 1);
        let forwarded = seen.header("forwarded").unwrap();
        assert_eq!(forwarded, "for=192.0.2.1, for=127.0.0.1;proto=https;host=\"orders.example\"");
        assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
        assert_eq!(seen.header("x-forwarded-host"), Some("shop.example"));
        assert_eq!(seen.header("x_forwarded_host"), None);
        let via: Vec<_> = seen.headers.get_all("via").iter().collect();
        assert!(via.len() == 2 && via[0] == "1.1 edge", "{via:?}");
        assert_eq!(seen.header("x-request-id"), Some("abc-123"));
        assert_eq!((seen.header("traceparent"), seen.header("tracestate")), (Some(TRACE), Some("a=b")));
    }
}

#[tokio::test]
async fn an_id_or_a_trace_that_is_no_good_is_made_anew() {
    let (scene, application) = Scene::with("", "", "").await;
    let long = "a".repeat(200);
    for (name, value) in [
        ("x-request-id", "a b"),
        ("x-request-id", &*long),
        ("traceparent", "00-00000000000000000000000000000000-00f067aa0ba902b7-01"),
        ("traceparent", "forged"),
    ] {
        let mut client = scene.http1().await;
        let mut request = client.request("GET", "/");
        request.headers_mut().insert(name, value.parse().unwrap());
        request.headers_mut().insert("tracestate", "a=b".parse().unwrap());
        assert_eq!(client.ask(request).await.status, 200);
        let seen = application.seen().pop().unwrap();
        assert_ne!(seen.header(name), Some(value));
        assert_eq!(seen.headers.get_all(name).iter().count(), 1);
        assert_eq!(seen.header("tracestate"), None);
    }
}

#[tokio::test]
async fn a_request_that_goes_in_circles_is_stopped() {
    let (scene, application) = Scene::with("", "", "").await;
    for (passes, status) in [(8, 200), (9, 508)] {
        for mut client in scene.both().await {
            let mut request = client.request("GET", "/");
            for pass in 0..passes {
                let via = if pass % 2 == 0 { "1.1 svidgate" } else { "2 svidgate (again)" };
                request.headers_mut().append("via", via.parse().unwrap());
            }
            let answer = client.ask(request).await;
            assert_eq!(answer.status, status);
            if status == 508 {
                assert_eq!(answer.class(), "loop");
            }
        }
    }
    assert_eq!((application.seen().len(), scene.requests(RequestOutcome::Loop)), (2, 2));
}

#[tokio::test]
async fn a_gate_whose_target_is_itself_does_not_go_in_circles_for_ever() {
    let (scene, application) = Scene::with("", "", "").await;
    // The application sends the request back through the gate, as an application does that is configured to call itself.
    let (peer, address) = (scene.peer.clone(), scene.address());
    let circle = Application::answering(move |seen| {
        let peer = peer.clone();
        Box::pin(async move {
            let mut client = crate::harness::http::Client::of_peer(&peer, address).await;
            let mut request = client.request("GET", "/");
            for via in seen.headers.get_all("via") {
                request.headers_mut().append("via", via.clone());
            }
            let answer = client.ask(request).await;
            let mut response = Response::new(full(answer.body));
            *response.status_mut() = answer.status;
            response
        })
    })
    .await;
    let world = &scene.world;
    let toml = crate::harness::http::inbound_http(&world.path("orders"), &circle.target(), "", "", "");
    scene.gate.apply(&toml).await;
    assert_eq!(scene.http1().await.get("/").await.status, 508);
    assert_eq!(circle.seen().len(), 9);
    assert!(application.seen().is_empty());
}

#[tokio::test]
async fn the_id_of_our_answers_is_no_name_for_the_applications() {
    let application = Application::answering(|_| {
        Box::pin(async {
            let mut response = Response::new(full("hello"));
            response.headers_mut().insert("svidgate-id", "forged".parse().unwrap());
            response
        })
    })
    .await;
    let scene = Scene::before(&application.target(), "", "", "").await;
    for mut client in scene.both().await {
        let answer = client.get("/").await;
        assert_eq!((answer.status.as_u16(), answer.header("svidgate-id")), (200, None));
    }
}
