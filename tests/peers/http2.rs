//! nghttp and h2load: HTTP/2 of another family, with many streams at a time and large bodies both ways.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::harness::http::{Application, full};
use crate::sides::Sides;
use crate::tools::{noise, succeeds, tool};

const PACKAGE: &str = "nghttp2-client";

/// nghttp with the certificate of the web frontend.
fn nghttp(sides: &Sides) -> Option<Command> {
    let mut command = tool("nghttp", PACKAGE)?;
    let files = sides.web();
    command.arg("--cert").arg(&files.chain).arg("--key").arg(&files.key).arg("--no-verify-peer");
    Some(command)
}

fn url(sides: &Sides) -> String {
    format!("https://{}/orders", sides.outside())
}

/// A large body, and the file that it is in.
fn content(sides: &Sides) -> (Vec<u8>, PathBuf) {
    let (content, file) = (noise(1 << 20), sides.world.path("content"));
    fs::write(&file, &content).unwrap();
    (content, file)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nghttp_speaks_http2_with_a_client_certificate() {
    let application = Application::start().await;
    let sides = Sides::of(&application.address.to_string()).await;
    let Some(mut nghttp) = nghttp(&sides) else { return };
    let told = succeeds(nghttp.args(["--verbose", "--multiply=200", "--null-out"]).arg(url(&sides)));
    assert!(told.contains("The negotiated protocol: h2"), "{told}");
    assert_eq!(told.matches(":status: 200").count(), 200);
    assert!(!told.contains("RST_STREAM") && !told.contains("recv GOAWAY"), "{told}");
    assert_eq!(application.seen().len(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_in_continuations_and_a_large_body_arrive_whole() {
    let application = Application::start().await;
    let sides = Sides::of(&application.address.to_string()).await;
    let (content, file) = content(&sides);
    let Some(mut nghttp) = nghttp(&sides) else { return };
    assert_eq!(succeeds(nghttp.arg("--continuation").arg("--data").arg(&file).arg(url(&sides))), "hello");
    let seen = application.only();
    assert!(seen.body == content);
    assert!(seen.header("continuation-test-6").is_some_and(|value| value.len() > 1000), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trailers_arrive_behind_the_body_but_none_that_tell_an_identity() {
    let application = Application::start().await;
    let sides = Sides::of(&format!("h2c://{}", application.address)).await;
    let (content, file) = content(&sides);
    // What asks for leave to send its body (`Expect`) in HTTP/2 is not given it, and sends it after a while of its own choice.
    for more in [&[][..], &["--expect-continue"]] {
        let Some(mut nghttp) = nghttp(&sides) else { return };
        nghttp.args(more).arg("--data").arg(&file).args(["--trailer", "x-sum: 5", "--trailer", "x-spiffe-id: forged"]);
        assert_eq!(succeeds(nghttp.arg(url(&sides))), "hello");
    }
    assert_eq!(application.seen().len(), 2);
    for seen in application.seen() {
        assert!(seen.body == content);
        let trailers = seen.trailers.unwrap();
        assert_eq!(trailers["x-sum"], "5");
        assert!(!trailers.contains_key("x-spiffe-id"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h2load_loses_no_request_through_both_proxies() {
    let large = noise(200_000);
    let application = Application::answering(move |seen| {
        let body = if seen.target == "/large" { full(large.clone()) } else { full("hello") };
        Box::pin(async { hyper::Response::new(body) })
    })
    .await;
    for scheme in ["", "h2c://"] {
        let sides = Sides::of(&format!("{scheme}{}", application.address)).await;
        let upload = sides.world.path("upload");
        fs::write(&upload, noise(100_000)).unwrap();
        let upload = format!("--data={}", upload.display());
        let loads: [&[&str]; 4] = [
            &["--requests=2000", "--clients=4", "--max-concurrent-streams=32", "/orders"],
            &["--requests=200", "--clients=2", "--max-concurrent-streams=16", "/large"],
            &["--requests=200", "--clients=2", "--max-concurrent-streams=16", &upload, "/orders"],
            &["--requests=1000", "--clients=4", "--h1", "/orders"],
        ];
        for load in loads {
            let Some(mut h2load) = tool("h2load", PACKAGE) else { return };
            let (path, more) = load.split_last().unwrap();
            let told = succeeds(h2load.args(more).arg(format!("http://{}{path}", sides.inside())));
            let requests = more[0].trim_start_matches("--requests=");
            let all = format!("{requests} succeeded, 0 failed, 0 errored, 0 timeout");
            assert!(told.contains(&all), "{scheme} {load:?}: {told}");
            assert!(told.contains(&format!("status codes: {requests} 2xx")), "{scheme} {load:?}: {told}");
        }
    }
}
