//! The line of a request, as the binary writes it: every input of the decision, and what the client was not told.

use std::process::Command;

use serde_json::Value;

use super::scene::patiently;
use crate::harness::http::{Application, Client, inbound_http};
use crate::harness::process::{Running, free_address, until_open};
use crate::harness::{ORDERS, WEB, World};

/// The lines about requests of a gate that was asked these, each a method, a path and the status that it is answered with.
async fn lines(rules: &str, log: &str, asked: &[(&str, &str, u16)]) -> (Vec<Value>, Vec<Option<String>>) {
    let (mut lines, ids) = printed(rules, log, asked).await;
    lines.retain(|line| line["message"] == "request");
    (lines, ids)
}

/// All of its lines, those about how things stand after the last request among them.
async fn printed(rules: &str, log: &str, asked: &[(&str, &str, u16)]) -> (Vec<Value>, Vec<Option<String>>) {
    let (world, application, address) = (World::new(), Application::start().await, free_address());
    let identity = world.identity("orders", ORDERS);
    let toml =
        inbound_http(&identity, &application.target(), "", rules, "").replace("127.0.0.1:0", &address.to_string());
    let config = world.path("svidgate.toml");
    std::fs::write(&config, format!("{toml}\n[log]\nformat = \"json\"\n{log}")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_svidgate"));
    command.args(["run", "--config", config.to_str().unwrap()]).env_remove("RUST_LOG");
    let mut gate = Running::start(&mut command);
    gate.says(&["new credentials are in use"]);
    until_open(address);
    let mut client = Client::of_peer(&world.peer(WEB), address).await;
    let mut ids = Vec::new();
    for (method, path, status) in asked {
        let request = client.request(method, path);
        let answer = client.ask(request).await;
        assert_eq!(answer.status, *status, "{method} {path}");
        ids.push(answer.header("svidgate-id").map(str::to_owned));
    }
    gate.signal(nix::sys::signal::Signal::SIGUSR2);
    gate.says(&["\"message\":\"status\"", "\"requests\""]);
    drop(client);
    gate.signal(nix::sys::signal::Signal::SIGTERM);
    let (_, printed) = patiently(tokio::task::spawn_blocking(|| gate.end())).await.unwrap();
    let lines =
        printed.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")));
    (lines.collect(), ids)
}

#[tokio::test]
async fn a_refused_request_has_its_line_with_all_that_an_operator_needs() {
    let rules = "methods = [\"GET\"]\npaths = [\"/orders/**\"]";
    let asked = [("GET", "/orders/1", 200), ("DELETE", "/orders/%31?token=secret", 403), ("GET", "/admin", 403)];
    let (lines, ids) = lines(rules, "", &asked).await;
    assert_eq!(lines.len(), 2, "what was answered is not asked for: {lines:#?}");
    for (line, id) in lines.iter().zip(&ids[1..]) {
        assert_eq!((line["level"].as_str(), line["outcome"].as_str()), (Some("WARN"), Some("denied")));
        assert_eq!((line["spiffe.peer.id"].as_str(), line["policy.decision"].as_str()), (Some(WEB), Some("deny")));
        assert_eq!(line["http.response.status_code"], 403);
        assert_eq!(line["server.address"], "orders.example");
        assert_eq!(line["svidgate.id"].as_str(), id.as_deref(), "the client's ID leads here");
        assert!(line["policy.reason"].as_str().unwrap().contains("`callers`"), "{line}");
    }
    assert_eq!(
        (lines[0]["http.request.method"].as_str(), lines[0]["url.path"].as_str()),
        (Some("DELETE"), Some("/orders/1"))
    );
    assert!(lines[0]["policy.reason"].as_str().unwrap().contains("the method is `DELETE`, not `GET`"), "{}", lines[0]);
    assert!(
        lines[1]["policy.reason"].as_str().unwrap().contains("the path is `/admin`, not `/orders/**`"),
        "{}",
        lines[1]
    );
    assert!(!format!("{lines:?}").contains("secret"), "a query is nobody's to log");
}

#[tokio::test]
async fn a_deny_rule_is_named_in_the_line() {
    let rules = format!(
        "[[inbound.rule]]\nname = \"no-admin\"\naction = \"deny\"\npeers = [\"{WEB}\"]\npaths = [\"/admin/**\"]"
    );
    let (lines, _) = lines(&rules, "", &[("GET", "/admin/a", 403)]).await;
    assert!(lines[0]["policy.reason"].as_str().unwrap().contains("rule `no-admin` denies"), "{}", lines[0]);
}

#[tokio::test]
async fn a_line_has_the_path_as_rules_saw_it_and_is_bounded() {
    let (long, longer, method) = ("/a".repeat(4000), "/a".repeat(20_000), "M".repeat(20_000));
    let asked = [("GET", &*long, 403), ("GET", &*longer, 400), (&*method, "/", 403)];
    let (lines, _) = lines("paths = [\"/orders\"]", "", &asked).await;
    assert_eq!(lines[0]["url.path"].as_str(), Some(&*long));
    assert_eq!(lines[1]["url.path"].as_str(), longer.get(..8 * 1024));
    assert_eq!(lines[2]["http.request.method"].as_str(), method.get(..64));
    assert!(lines.iter().all(|line| line.to_string().len() < 10_000), "{lines:#?}");
}

#[tokio::test]
async fn an_answered_request_has_its_line_where_that_is_asked_for() {
    for (log, count) in [("requests = \"all\"", 2), ("requests = \"errors\"", 1), ("", 1)] {
        let (lines, _) = lines("", log, &[("GET", "/a?b", 200), ("GET", "/%00", 400)]).await;
        assert_eq!(lines.len(), count, "{log}: {lines:#?}");
        if count == 2 {
            let line = &lines[0];
            assert_eq!((line["outcome"].as_str(), line["level"].as_str()), (Some("answered"), Some("INFO")));
            assert_eq!(
                (line["policy.rule"].as_str(), line["policy.decision"].as_str()),
                (Some("callers"), Some("allow"))
            );
            assert_eq!((line["url.path"].as_str(), line["http.response.body.size"].as_u64()), (Some("/a"), Some(5)));
            assert!(line.get("policy.reason").is_none() && line.get("error").is_none(), "{line}");
        }
    }
}

#[tokio::test]
async fn how_things_stand_tells_how_requests_ended() {
    let asked = [("GET", "/", 200), ("GET", "/", 200), ("DELETE", "/", 403)];
    let (lines, _) = printed("methods = [\"GET\"]", "", &asked).await;
    let status = lines.iter().find(|line| line["requests"].is_string()).unwrap();
    assert_eq!(status["requests"], "answered=2 denied=1");
}
