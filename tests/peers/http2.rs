//! nghttp and h2load: HTTP/2 of another family, with many streams at a time and large bodies both ways.

use std::fs;

use crate::harness::http::{Application, full};
use crate::sides::Sides;
use crate::tools::{noise, succeeds, tool};

const PACKAGE: &str = "nghttp2-client";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nghttp_speaks_http2_with_a_client_certificate() {
    let application = Application::start().await;
    let sides = Sides::of(&application.address.to_string()).await;
    let Some(mut nghttp) = tool("nghttp", PACKAGE) else { return };
    let files = sides.web();
    nghttp.arg("--cert").arg(&files.chain).arg("--key").arg(&files.key);
    nghttp.args(["--no-verify-peer", "--verbose", "--multiply=200", "--null-out"]);
    let told = succeeds(nghttp.arg(format!("https://{}/orders", sides.outside())));
    assert!(told.contains("The negotiated protocol: h2"), "{told}");
    assert_eq!(told.matches(":status: 200").count(), 200);
    assert!(
        !told.contains("RST_STREAM")
            && !told.contains(
                "GOAWAY frame <length=8, flags=0x00, stream_id=0>\n          (last_stream_id=0, error_code=INTERNAL"
            ),
        "{told}"
    );
    assert_eq!(application.seen().len(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_with_trailers_and_a_head_in_continuations_arrive_whole() {
    let application = Application::start().await;
    let sides = Sides::of(&application.address.to_string()).await;
    let content = noise(1 << 20);
    let file = sides.world.path("content");
    fs::write(&file, &content).unwrap();
    let files = sides.web();
    for more in [&["--continuation"][..], &["--expect-continue"]] {
        let Some(mut nghttp) = tool("nghttp", PACKAGE) else { return };
        nghttp.arg("--cert").arg(&files.chain).arg("--key").arg(&files.key).args(["--no-verify-peer"]).args(more);
        nghttp.arg("--data").arg(&file).args(["--trailer", "x-sum: 5", "--trailer", "x-spiffe-id: forged"]);
        assert_eq!(succeeds(nghttp.arg(format!("https://{}/orders", sides.outside()))), "hello");
    }
    for seen in application.seen() {
        assert!(seen.body == content);
        let trailers = seen.trailers.unwrap();
        assert_eq!(trailers["x-sum"], "5");
        assert!(!trailers.contains_key("x-spiffe-id"));
    }
    assert_eq!(application.seen().len(), 2);
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
