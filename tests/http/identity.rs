//! What the application is told of its caller, whatever the caller says of itself.

use hyper::Request;

use super::scene::Scene;
use crate::harness::http::{Application, Client, Seen};
use crate::harness::{ORDERS, WEB, leaf_of};

const NAMES: [&str; 4] = ["x-forwarded-client-cert", "client-cert", "client-cert-chain", "x-spiffe-id"];

/// Asks in both versions, with headers, and tells what the application saw of each.
async fn seen_of(scene: &Scene, application: &Application, headers: &[(&str, &str)]) -> Vec<Seen> {
    let before = application.seen().len();
    for mut client in scene.both().await {
        let mut request = client.request("GET", "/");
        for (name, value) in headers {
            let name = hyper::header::HeaderName::from_bytes(name.as_bytes()).unwrap();
            request.headers_mut().append(name, value.parse().unwrap());
        }
        assert_eq!(client.ask(request).await.status, 200);
    }
    application.seen().split_off(before)
}

fn told(seen: &Seen, name: &str) -> Vec<String> {
    seen.headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn each_identity_header_is_sent_where_it_is_named_and_only_there() {
    for on in [&[][..], &NAMES[..1], &NAMES[1..2], &NAMES[2..3], &NAMES[3..], &NAMES[..]] {
        let (scene, application) = Scene::with(&format!("identity_headers = {on:?}"), "", "").await;
        for seen in seen_of(&scene, &application, &[]).await {
            for name in NAMES {
                let values = told(&seen, name);
                assert_eq!(values.len(), usize::from(on.contains(&name)), "{name} with {on:?}: {values:?}");
                for value in values {
                    match name {
                        "x-spiffe-id" => assert_eq!(value, WEB),
                        "x-forwarded-client-cert" => assert!(value.ends_with(&format!(";URI={WEB}")), "{value}"),
                        _ => assert!(value.starts_with(':') && value.ends_with(':'), "{value}"),
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn x_forwarded_client_cert_obeys_its_mode() {
    let theirs = "By=spiffe://a/b;URI=spiffe://prod.example/original";
    for mode in ["sanitize", "sanitize_set", "forward_only", "append_forward"] {
        let (scene, application) = Scene::with(&format!("xfcc = \"{mode}\""), "", "").await;
        let with = seen_of(&scene, &application, &[("x-forwarded-client-cert", theirs)]).await;
        let without = seen_of(&scene, &application, &[]).await;
        for (seen, sent) in with.iter().map(|seen| (seen, true)).chain(without.iter().map(|seen| (seen, false))) {
            let xfcc = told(seen, "x-forwarded-client-cert");
            let ours = |value: &str| {
                value.starts_with(&format!("By={ORDERS};Hash=")) && value.ends_with(&format!("URI={WEB}"))
            };
            match (mode, sent) {
                ("sanitize", _) | ("forward_only", false) => assert!(xfcc.is_empty(), "{mode}: {xfcc:?}"),
                ("forward_only", true) => assert_eq!(xfcc, [theirs]),
                ("append_forward", true) => {
                    let (first, second) = xfcc[0].split_once(',').unwrap();
                    assert!(first == theirs && ours(second), "{xfcc:?}");
                }
                _ => assert!(xfcc.len() == 1 && ours(&xfcc[0]), "{mode}: {xfcc:?}"),
            }
        }
    }
}

#[tokio::test]
async fn own_headers_tell_each_fact_under_the_name_that_was_chosen() {
    let own = r#"
        identity_headers = []
        own_headers = { x-caller = "spiffe_id", x-domain = "trust_domain", x-path = "path", x-subject = "subject", x-issuer = "issuer",
            x-serial = "serial", x-hash = "hash", x-until = "not_after", x-cert = "certificate", x-verified = "verified", x-rule = "rule" }
    "#;
    let (scene, application) = Scene::with(own, "", "").await;
    for seen in seen_of(&scene, &application, &[("x-caller", "spiffe://prod.example/admin"), ("X_Rule", "root")]).await
    {
        let only = |name: &str| {
            let values = told(&seen, name);
            assert!(values.len() <= 1, "{name}: {values:?}");
            values.into_iter().next()
        };
        assert_eq!(only("x-caller").as_deref(), Some(WEB));
        assert_eq!(only("x-domain").as_deref(), Some("prod.example"));
        assert_eq!(only("x-path").as_deref(), Some("/ns/web/sa/frontend"));
        assert_eq!(only("x-verified").as_deref(), Some("SUCCESS"));
        assert_eq!(only("x-rule").as_deref(), Some("callers"));
        assert!(only("x-hash").is_some_and(|hash| hash.len() == 64));
        assert!(only("x-until").is_some_and(|until| until.ends_with('Z')));
        assert!(only("x-cert").is_some_and(|pem| pem.starts_with("-----BEGIN%20CERTIFICATE-----%0A")));
        assert!(only("x-serial").is_some() && only("x-issuer").is_some());
        assert_eq!(only("x_rule"), None);
    }
}

#[tokio::test]
async fn the_certificate_in_client_cert_is_the_one_of_the_handshake() {
    let world = crate::harness::World::new();
    let application = Application::start().await;
    let identity = world.identity("orders", ORDERS);
    let toml = crate::harness::http::inbound_http(
        &identity,
        &application.target(),
        "identity_headers = [\"client-cert\"]",
        "",
        "",
    );
    let gate = crate::harness::Gate::start(&toml).await;
    let generation = crate::harness::generation(&world.prod, WEB);
    let issued = world.prod.issue(&crate::harness::id(WEB), crate::harness::HOUR).unwrap();
    let peer = crate::harness::Peer::holding(&issued);
    let mut client = Client::of_peer(&peer, gate.address(0)).await;
    assert_eq!(client.get("/").await.status, 200);
    let leaf = <rustls::pki_types::CertificateDer<'_> as rustls::pki_types::pem::PemObject>::from_pem_slice(
        issued.certificates.as_bytes(),
    )
    .unwrap();
    let sequence =
        |der: &[u8]| format!(":{}:", base64::Engine::encode(&base64::engine::general_purpose::STANDARD, der));
    let seen = application.only();
    assert_eq!(seen.header("client-cert"), Some(&*sequence(&leaf)));
    assert_ne!(seen.header("client-cert"), Some(&*sequence(&leaf_of(&generation))));
}

/// Every spelling that some application would take for one of the names.
#[tokio::test]
async fn no_spelling_of_an_identity_header_of_the_callers_reaches_the_application() {
    let spoofed = "URI=spiffe://prod.example/admin";
    let spellings = [
        "X-Forwarded-Client-Cert",
        "x_forwarded_client_cert",
        "X-Forwarded_Client-Cert",
        "x.forwarded.client.cert",
        "Client_Cert",
        "client_cert_chain",
        "X-SPIFFE-ID",
        "X_Spiffe_Id",
        "x-Caller",
        "x_caller",
        "l5d-client-id",
        "X-SSL-Client-Verify",
        "ssl_client_s_dn",
    ];
    let listener = "identity_headers = []\nown_headers = { x-caller = \"spiffe_id\" }";
    for (listener, expected) in [(listener, "x-caller"), ("", "x-forwarded-client-cert")] {
        let (scene, application) = Scene::with(listener, "", "").await;
        let twice = spellings.iter().flat_map(|name| [(*name, spoofed), (*name, "a, URI=spiffe://prod.example/admin")]);
        let headers: Vec<_> = twice
            .chain([("x-other", "stays")])
            .filter(|(name, _)| expected == "x-caller" || !name.to_ascii_lowercase().ends_with("caller"))
            .collect();
        let all = seen_of(&scene, &application, &headers).await;
        assert_eq!(all.len(), 2);
        for seen in all {
            let lines: Vec<_> =
                seen.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
            assert!(!lines.iter().any(|line| line.contains("admin")), "{lines:#?}");
            assert!(told(&seen, expected).len() == 1 && told(&seen, "x-other") == ["stays"], "{lines:#?}");
        }
    }
}

#[tokio::test]
async fn the_next_request_on_an_open_connection_tells_what_is_configured_by_then() {
    let (scene, application) = Scene::with("", "", "").await;
    let theirs = [("x-caller", "spiffe://prod.example/admin"), ("x-forwarded-client-cert", "URI=spiffe://a/b")];
    let mut clients = scene.both().await;
    for (listener, caller, xfcc) in [
        ("own_headers = { \"x-caller\" = \"spiffe_id\" }", Some(WEB), true),
        ("xfcc = \"sanitize\"", Some(theirs[0].1), false),
        ("identity_headers = [\"x-spiffe-id\"]\nown_headers = { \"x-caller\" = \"rule\" }", Some("callers"), false),
        ("", Some(theirs[0].1), true),
    ] {
        scene.apply(listener, "", "").await;
        for client in &mut clients {
            let mut request = client.request("GET", "/");
            for (name, value) in theirs {
                request.headers_mut().insert(name, value.parse().unwrap());
            }
            assert_eq!(client.ask(request).await.status, 200);
            let seen = application.seen().pop().unwrap();
            assert_eq!(seen.header("x-caller"), caller, "{listener}");
            let told = seen.header("x-forwarded-client-cert").map(|xfcc| xfcc.starts_with(&format!("By={ORDERS};")));
            assert_eq!(told, xfcc.then_some(true), "{listener}");
            assert_eq!(seen.header("x-spiffe-id"), listener.contains("x-spiffe-id").then_some(WEB), "{listener}");
        }
    }
}

#[tokio::test]
async fn no_connection_header_takes_ours_away() {
    let (scene, application) =
        Scene::with("identity_headers = [\"x-forwarded-client-cert\", \"x-spiffe-id\"]", "", "").await;
    let heard = scene
        .say(b"GET / HTTP/1.1\r\nhost: a.example\r\nconnection: close, x-forwarded-client-cert, X-Spiffe-Id, x-request-id\r\n\r\n")
        .await;
    assert!(heard.starts_with("HTTP/1.1 200 "), "{heard}");
    let seen = application.only();
    assert_eq!(seen.header("x-spiffe-id"), Some(WEB));
    assert!(seen.header("x-forwarded-client-cert").unwrap().ends_with(WEB));
}

#[tokio::test]
async fn no_identity_header_reaches_the_application_in_trailers() {
    let (scene, application) = Scene::with("own_headers = { x-caller = \"spiffe_id\" }", "", "").await;
    let heard = scene
        .say(
            b"POST / HTTP/1.1\r\nhost: a.example\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n\
              1\r\na\r\n0\r\nx-check: good\r\nX-Spiffe_Id: spiffe://prod.example/admin\r\nx_forwarded-client-cert: URI=admin\r\n\
              X-CALLER: admin\r\nContent-Length: 5\r\nhost: admin\r\n\r\n",
        )
        .await;
    assert!(heard.starts_with("HTTP/1.1 200 "), "{heard}");
    let mut client = scene.http2().await;
    let (pen, body) = super::scene::written();
    let request = Request::post("https://a.example/").body(body).unwrap();
    let mut trailers = hyper::HeaderMap::new();
    for (name, value) in
        [("x-check", "good"), ("x-spiffe_id", "admin"), ("x-caller", "admin"), ("x_forwarded_client_cert", "admin")]
    {
        trailers.insert(name, value.parse().unwrap());
    }
    let write = async {
        pen.write("a").await;
        pen.end_with(trailers).await;
    };
    let (answer, ()) = tokio::join!(client.ask(request), write);
    assert_eq!(answer.status, 200);
    let seen = application.seen();
    assert_eq!(seen.len(), 2);
    for seen in seen {
        assert_eq!(&*seen.body, b"a");
        let trailers = seen.trailers.unwrap();
        assert_eq!(trailers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["x-check"], "{trailers:?}");
    }
}

#[tokio::test]
async fn a_connection_to_the_application_carries_the_requests_of_one_peer_alone() {
    let rules = format!("[[inbound.rule]]\nname = \"batch\"\npeers = [\"{}\"]", crate::harness::BATCH);
    for scheme in ["", "h2c://"] {
        let application = Application::start().await;
        let target = format!("\"{scheme}{}\"", application.address);
        let scene = Scene::before(&target, "", &rules, "").await;
        let batch = scene.world.peer(crate::harness::BATCH);
        for _ in 0..3 {
            // A new client connection each time: what is kept apart is the peer, not its connection.
            assert_eq!(scene.http1().await.get("/web").await.status, 200);
            assert_eq!(Client::of_peer(&batch, scene.address()).await.get("/batch").await.status, 200);
            assert_eq!(scene.http2().await.get("/web").await.status, 200);
        }
        let connections = |path: &str| -> std::collections::BTreeSet<usize> {
            application.seen().iter().filter(|seen| seen.target.ends_with(path)).map(|seen| seen.connection).collect()
        };
        let (web, batch) = (connections("/web"), connections("/batch"));
        assert!(web.len() == 1 && batch.len() == 1 && web.is_disjoint(&batch), "{scheme}: {web:?} {batch:?}");
    }
}
