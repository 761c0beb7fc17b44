//! Connections that carry requests are looked at again as the policy, the trust and the time go on; and they end without loss when the gate does.

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use svidgate::app::Drained;
use svidgate::metrics::{Outcome, RequestOutcome};
use svidgate::mint::{Authority, Issue, bundle_map};

use super::frames::{Frames, GET, GOAWAY, HEADERS};
use super::scene::{Played, Raw, Scene, header, patiently, piece};
use crate::harness::http::{Application, Client, inbound_http};
use crate::harness::{BATCH, Gate, HOUR, ORDERS, Peer, WEB, authority, id, until};

const STREAM: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n";

/// An answer that has begun and goes on.
async fn streaming(client: &mut Client, application: &Played, path: &str) -> (Incoming, Raw<tokio::net::TcpStream>) {
    let request = client.request("GET", path);
    let begin = async {
        let mut app = application.accept().await;
        app.head().await;
        app.say(STREAM).await;
        app
    };
    let (answer, app) = tokio::join!(client.send(request), begin);
    let mut body = answer.unwrap().into_body();
    assert_eq!(piece(&mut body).await.as_deref(), Some("first"));
    (body, app)
}

/// Whether a body breaks off.
async fn breaks(body: &mut Incoming) -> bool {
    patiently(body.frame()).await.is_some_and(|frame| frame.is_err())
}

async fn goes_on(body: &mut Incoming, app: &mut Raw<tokio::net::TcpStream>) {
    app.say("4\r\nmore\r\n").await;
    assert_eq!(piece(body).await.as_deref(), Some("more"));
}

#[tokio::test]
async fn every_request_is_decided_by_the_policy_of_its_moment() {
    let (scene, application) = Scene::with("", "", "").await;
    let mut clients = scene.both().await;
    for (rules, status) in
        [("", 200), ("paths = [\"/other\"]", 403), ("paths = [\"/orders\"]", 200), ("methods = [\"PUT\"]", 403)]
    {
        scene.apply("", rules, "").await;
        for client in &mut clients {
            assert_eq!(client.get("/orders").await.status, status, "{rules}");
        }
    }
    assert_eq!(application.seen().len(), 4);
    until("nothing was closed", || scene.requests(RequestOutcome::Denied) == 4).await;
    assert_eq!(scene.closed(Outcome::Completed) + scene.closed(Outcome::Revoked), 0);
}

#[tokio::test]
async fn an_answer_under_way_that_would_be_refused_now_is_cut_and_no_other() {
    let (scene, application) = Scene::played("").await;
    let [mut http1, mut http2] = scene.both().await;
    let (mut first, _first_app) = streaming(&mut http1, &application, "/a").await;
    let (mut second, _second_app) = streaming(&mut http2, &application, "/a").await;
    let (mut third, mut third_app) = streaming(&mut http2, &application, "/b").await;
    scene.apply("", "paths = [\"/b\"]", "").await;
    assert!(breaks(&mut first).await && breaks(&mut second).await);
    goes_on(&mut third, &mut third_app).await;
    until("both are counted", || scene.requests(RequestOutcome::Cut) == 2).await;
}

#[tokio::test]
async fn a_request_that_waits_for_its_answer_and_would_be_refused_now_gets_403() {
    let (scene, application) = Scene::played("").await;
    for mut client in scene.both().await {
        scene.apply("", "", "").await;
        let change = async {
            let mut app = application.accept().await;
            app.head().await;
            scene.apply("", "paths = [\"/other\"]", "").await;
            app
        };
        let (answer, _app) = tokio::join!(client.get("/orders"), change);
        assert_eq!((answer.status.as_u16(), answer.class().as_str()), (403, "denied"));
    }
}

#[tokio::test]
async fn a_tunnel_that_would_be_refused_now_is_cut() {
    let (scene, application) = Scene::played("").await;
    let mut raw = scene.raw().await;
    raw.say("GET /chat HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n").await;
    let mut app = application.accept().await;
    app.head().await;
    app.say("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhello").await;
    raw.head().await;
    assert_eq!(raw.take(5).await, "hello");
    scene.apply("", "paths = [\"/other\"]", "").await;
    let (_, end) = raw.end().await;
    assert!(end.is_err());
    assert!(app.end().await.1.is_err());
}

/// Writes the gate's credentials anew, which trust these.
fn trust(scene: &Scene, trusted: &[&Authority]) {
    let issued = scene.world.prod.issue(&id(ORDERS), HOUR).unwrap();
    scene.world.write_identity("orders", &issued, &bundle_map(trusted));
}

/// A gate that lets in a caller of a partner's as well, the partner, and that caller.
async fn with_partner(target: &str, limits: &str) -> (Scene, Authority, Peer) {
    let (partner, caller) = (authority("partner.example"), "spiffe://partner.example/caller");
    let scene = Scene::before(target, "", &format!("[[inbound.rule]]\npeers = [\"{caller}\"]"), limits).await;
    trust(&scene, &[&scene.world.prod, &partner]);
    let credentials = scene.gate.handle.credentials();
    let trusts = || credentials.current().is_some_and(|now| now.bundles.iter().count() == 2);
    until("the partner is trusted", trusts).await;
    scene.gate.handle.ready().await;
    let foreign = Peer::issued_by(&partner, caller);
    (scene, partner, foreign)
}

/// The rule's peers, instead of the frontend.
async fn let_only_batch_in(scene: &Scene, limits: &str) {
    let toml = inbound_http(&scene.world.path("orders"), "\"127.0.0.1:1\"", "", "", limits);
    scene.gate.apply(&toml.replace(WEB, BATCH)).await;
}

#[tokio::test]
async fn a_peer_that_is_refused_altogether_is_cut_at_once() {
    let (scene, application) = Scene::played("").await;
    let [mut http1, mut http2] = scene.both().await;
    let (mut first, _first_app) = streaming(&mut http1, &application, "/").await;
    let (mut second, _second_app) = streaming(&mut http2, &application, "/").await;
    let mut idle = scene.raw().await;
    idle.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut idle_app = application.accept().await;
    idle_app.head().await;
    idle_app.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    idle.answer().await;
    let_only_batch_in(&scene, "").await;
    assert!(breaks(&mut first).await && breaks(&mut second).await);
    assert!(idle.end().await.1.is_err());
    until("all are counted", || scene.closed(Outcome::Revoked) == 3).await;
    assert_eq!(scene.peer.clone().offering("h2").refusal(scene.address()).await, "access_denied");
}

#[tokio::test]
async fn a_grace_lets_a_refused_peer_finish_and_start_nothing_new() {
    let grace = "[limits]\nclose_grace = \"2s\"";
    let (scene, application) = Scene::played(grace).await;
    let [mut http1, mut http2] = scene.both().await;
    let (mut first, mut first_app) = streaming(&mut http1, &application, "/").await;
    let (mut second, mut second_app) = streaming(&mut http2, &application, "/").await;
    let mut raw = scene.raw().await;
    raw.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut app = application.accept().await;
    app.head().await;
    app.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    raw.answer().await;
    let mut frames = Frames::open(&scene, &[]).await;
    frames.ask(1, &GET).await;
    // The application's connection is kept for this peer.
    app.head().await;
    let_only_batch_in(&scene, grace).await;
    raw.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let (head, _) = raw.answer().await;
    assert!(head.starts_with("HTTP/1.1 403 ") && header(&head, "connection") == Some("close"), "{head}");
    assert!(raw.end().await.1.is_ok());
    assert_eq!(frames.until(&[GOAWAY]).await.code(), 0);
    app.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(frames.until(&[HEADERS]).await.stream, 1);
    goes_on(&mut first, &mut first_app).await;
    goes_on(&mut second, &mut second_app).await;
    assert!(breaks(&mut first).await && breaks(&mut second).await, "the grace is over");
}

#[tokio::test]
async fn a_peer_that_is_no_longer_trusted_starts_nothing_new_in_its_grace_unless_it_is_taken_back() {
    let application = Application::start().await;
    let grace = "[limits]\nclose_grace = \"60s\"";
    let (scene, partner, foreign) = with_partner(&application.target(), grace).await;
    let mut frames = Frames::on(foreign.offering("h2").connect(scene.address()).await.unwrap()).await;
    // Who does not answer the ping behind the first GOAWAY (RFC 9113 §6.8) can still open streams.
    frames.answers_pings = false;
    frames.ask(1, &GET).await;
    frames.until(&[HEADERS]).await;
    trust(&scene, &[&scene.world.prod]);
    frames.until(&[GOAWAY]).await;
    for stream in [3, 5] {
        frames.ask(stream, &GET).await;
        frames.until(&[HEADERS]).await;
    }
    assert_eq!((application.seen().len(), scene.requests(RequestOutcome::Denied)), (1, 2));
    trust(&scene, &[&scene.world.prod, &partner]);
    let mut stream = 7;
    while application.seen().len() == 1 {
        assert!(frames.ask(stream, &GET).await);
        frames.until(&[HEADERS]).await;
        stream += 2;
    }
}

#[tokio::test]
async fn a_grace_lets_an_answer_go_on_that_would_be_refused_now() {
    let grace = "[limits]\nclose_grace = \"2s\"";
    let (scene, application) = Scene::played(grace).await;
    let [mut http1, mut http2] = scene.both().await;
    let (mut first, mut first_app) = streaming(&mut http1, &application, "/a").await;
    let (mut second, mut second_app) = streaming(&mut http2, &application, "/a").await;
    scene.apply("", "paths = [\"/b\"]", grace).await;
    assert_eq!(http2.get("/a").await.class(), "denied", "nothing new has a grace");
    goes_on(&mut first, &mut first_app).await;
    goes_on(&mut second, &mut second_app).await;
    assert!(breaks(&mut first).await && breaks(&mut second).await);
    until("both are counted", || scene.requests(RequestOutcome::Cut) == 2).await;
}

#[tokio::test]
async fn a_root_that_is_removed_cuts_the_peers_it_vouched_for_and_no_others() {
    let application = Played::start().await;
    let (scene, _partner, foreign) = with_partner(&application.target(), "").await;
    let mut clients =
        [Client::of_peer(&foreign, scene.address()).await, Client::of_peer_http2(&foreign, scene.address()).await];
    let mut cut = Vec::new();
    for client in &mut clients {
        cut.push(streaming(client, &application, "/").await);
    }
    let mut web = scene.http2().await;
    let (mut stays, mut stays_app) = streaming(&mut web, &application, "/").await;
    trust(&scene, &[&scene.world.prod]);
    for (body, _app) in &mut cut {
        assert!(breaks(body).await);
    }
    goes_on(&mut stays, &mut stays_app).await;
    until("both are counted", || scene.closed(Outcome::Revoked) == 2).await;
}

#[tokio::test]
async fn the_expiry_of_the_peers_certificate_ends_its_connections() {
    let (scene, application) = Scene::played("").await;
    let brief = scene.world.prod.issue_as(&id(WEB), Issue::lasting(std::time::Duration::from_secs(2))).unwrap();
    let brief = Peer::holding(&brief);
    let mut clients =
        [Client::of_peer(&brief, scene.address()).await, Client::of_peer_http2(&brief, scene.address()).await];
    let mut cut = Vec::new();
    for client in &mut clients {
        cut.push(streaming(client, &application, "/").await);
    }
    for (body, _app) in &mut cut {
        assert!(breaks(body).await);
    }
    until("both are counted", || scene.closed(Outcome::Revoked) == 2).await;
}

#[tokio::test]
async fn a_rotation_of_our_own_certificate_breaks_no_answer() {
    let (scene, application) = Scene::played("").await;
    let [mut http1, mut http2] = scene.both().await;
    let (mut first, mut first_app) = streaming(&mut http1, &application, "/").await;
    let (mut second, mut second_app) = streaming(&mut http2, &application, "/").await;
    let before = scene.gate.handle.credentials().current().unwrap();
    scene.world.identity("orders", ORDERS);
    let handle = scene.gate.handle.clone();
    until("it rotates", || !handle.credentials().current().unwrap().same_as(&before)).await;
    handle.ready().await;
    for (body, app) in [(&mut first, &mut first_app), (&mut second, &mut second_app)] {
        goes_on(body, app).await;
        app.say("0\r\n\r\n").await;
        assert_eq!(piece(body).await, None);
    }
    until("both are counted", || scene.requests(RequestOutcome::Answered) == 2).await;
}

#[tokio::test]
async fn a_stop_loses_no_answer_and_ends_every_connection() {
    let (scene, application) = Scene::played("").await;
    // One connection at rest of each version, and one with a request under way of each.
    let mut idle = scene.raw().await;
    idle.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut app = application.accept().await;
    app.head().await;
    app.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(header(&idle.answer().await.0, "connection"), None);
    let mut frames = Frames::open(&scene, &[]).await;
    frames.ask(1, &GET).await;
    app.head().await;
    app.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(frames.until(&[HEADERS]).await.stream, 1);
    let mut busy = scene.raw().await;
    busy.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    app.head().await;
    let mut http2 = scene.http2().await;
    let (mut body, mut body_app) = streaming(&mut http2, &application, "/").await;

    let gate = scene.gate;
    let stopping = tokio::spawn(gate.stop());
    // HTTP/2 is told at once, also where nothing is under way.
    assert_eq!(frames.until(&[GOAWAY]).await.code(), 0);
    while frames.next().await.is_some() {}
    // A request that crossed the stop on its way is answered, and the answer is the last.
    idle.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut last = application.accept().await;
    last.head().await;
    last.say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlast").await;
    let (head, said) = idle.answer().await;
    assert_eq!((header(&head, "connection"), said.as_str()), (Some("close"), "last"));
    assert!(idle.end().await.1.is_ok());
    app.say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbusy").await;
    let (head, said) = busy.answer().await;
    assert_eq!((header(&head, "connection"), said.as_str()), (Some("close"), "busy"));
    assert!(busy.end().await.1.is_ok());
    goes_on(&mut body, &mut body_app).await;
    body_app.say("0\r\n\r\n").await;
    assert_eq!(piece(&mut body).await, None);
    assert_eq!(patiently(stopping).await.unwrap(), Drained::Clean);
}

#[tokio::test]
async fn a_stop_ends_connections_that_rest() {
    let (scene, _application) = Scene::with("", "", "").await;
    let mut raw = scene.raw().await;
    raw.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    raw.answer().await;
    let mut http2 = scene.http2().await;
    assert_eq!(http2.get("/").await.status, 200);
    assert_eq!(scene.gate.stop().await, Drained::Clean);
    let (rest, end) = raw.end().await;
    assert!(rest.is_empty() && end.is_ok(), "{rest} {end:?}");
}

#[tokio::test]
async fn what_lasts_longer_than_the_drain_timeout_is_cut() {
    let (scene, application) = Scene::played("[limits]\ndrain_timeout = \"1s\"").await;
    let [mut http1, mut http2] = scene.both().await;
    let (mut first, _first_app) = streaming(&mut http1, &application, "/").await;
    let (mut second, _second_app) = streaming(&mut http2, &application, "/").await;
    assert_eq!(scene.gate.stop().await, Drained::Forced(2));
    assert!(breaks(&mut first).await && breaks(&mut second).await);
}

#[tokio::test]
async fn a_new_target_takes_the_next_request_of_an_open_connection() {
    let (scene, old) = Scene::with("", "", "").await;
    let new = Application::start().await;
    let mut clients = scene.both().await;
    for client in &mut clients {
        client.get("/old").await;
    }
    scene.gate.apply(&inbound_http(&scene.world.path("orders"), &new.target(), "", "", "")).await;
    for client in &mut clients {
        assert_eq!(client.get("/new").await.status, 200);
    }
    assert!(old.seen().iter().all(|seen| seen.target == "/old"));
    assert_eq!((old.seen().len(), new.seen().len()), (2, 2));
}

#[tokio::test]
async fn a_listener_that_shall_carry_bytes_from_now_on_finishes_its_requests_politely() {
    let (scene, application) = Scene::with("", "", "").await;
    let mut raw = scene.raw().await;
    raw.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    raw.answer().await;
    let toml =
        inbound_http(&scene.world.path("orders"), &application.target(), "", "", "").replace("protocol = \"http\"", "");
    scene.gate.apply(toml.split("[limits.http]").next().unwrap()).await;
    raw.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let (head, body) = raw.answer().await;
    assert_eq!((header(&head, "connection"), body.as_str()), (Some("close"), "hello"));
    // A new connection is bytes: the application answers by itself.
    let mut raw = Raw::of(scene.world.peer(WEB).connect(scene.address()).await.unwrap());
    raw.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(header(&raw.answer().await.0, "via"), None);
}

#[tokio::test]
async fn every_request_is_counted_once() {
    let (scene, _application) = Scene::with("", "methods = [\"GET\", \"TRACE\"]", "max_body = \"1B\"").await;
    for mut client in scene.both().await {
        for (method, path) in [("GET", "/"), ("PUT", "/"), ("TRACE", "/"), ("GET", "/%00"), ("GET", "/")] {
            let request = client.request(method, path);
            client.ask(request).await;
        }
    }
    scene.say(b"GET / HTTP/1.1\r\nbad\r\n\r\n").await;
    let expected = [
        (RequestOutcome::Answered, 4),
        (RequestOutcome::Denied, 2),
        (RequestOutcome::MethodNotAllowed, 2),
        (RequestOutcome::BadRequest, 3),
    ];
    until("all are counted", || RequestOutcome::ALL.map(|outcome| scene.requests(outcome)).iter().sum::<u64>() == 11)
        .await;
    for (outcome, count) in expected {
        assert_eq!(scene.requests(outcome), count, "{outcome:?}");
    }
    let _gate: Gate = scene.gate;
}
