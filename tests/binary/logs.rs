//! The log: its two shapes, its levels, what stands in a line and what never does, and a reader that does not read.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;
use rcgen::SanType;
use rustls::pki_types::PrivateKeyDer;
use serde_json::Value;
use svidgate::mint::{Issue, KeyAlgorithm, KeyEncoding, Validity, bundle_map, svid_params};

use super::harness::process::{Running, free_address};
use super::harness::{BATCH, HOUR, Peer, WEB, id, replace};
use super::{Way, connect, talk_to, text, until, until_it_talks};

/// The lines of a log in JSON, which must be nothing else.
fn objects(log: &str) -> Vec<Value> {
    log.lines()
        .map(|line| {
            let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            assert!(value.is_object() && value["timestamp"].is_string() && value["level"].is_string(), "{line}");
            value
        })
        .collect()
}

#[test]
fn a_connection_is_one_json_object_with_the_field_names_of_the_conventions() {
    let way = Way::new();
    let within = free_address().to_string();
    way.write(&way.toml_between("127.0.0.1:0", &within, WEB, ""));
    let (gate, _) = way.start(&["--log-format", "json"]);
    gate.signal(Signal::SIGTERM);
    let (status, log) = gate.end();
    assert!(status.success());
    let lines = objects(&log);
    let of = |listener: &str| {
        let is_it = |line: &&Value| line["outcome"] == "completed" && line["listener"] == listener;
        lines.iter().find(is_it).unwrap_or_else(|| panic!("{listener} is not in:\n{log}"))
    };
    let (came_in, went_out) = (of("in"), of("out"));
    for line in [came_in, went_out] {
        assert_eq!((line["level"].as_str(), line["message"].as_str()), (Some("INFO"), Some("connection")));
        assert_eq!((line["spiffe.peer.id"].as_str(), line["spiffe.local.id"].as_str()), (Some(WEB), Some(WEB)));
        assert_eq!(
            (line["tls.protocol.version"].as_str(), line["tls.curve"].as_str()),
            (Some("1.3"), Some("X25519MLKEM768"))
        );
        assert!(line["tls.cipher"].as_str().unwrap().starts_with("TLS13_"), "{line}");
        assert_eq!(line["client.address"], "127.0.0.1");
        assert!(line["client.port"].is_u64() && line["duration"].is_f64(), "{line}");
        assert_eq!((line["bytes.decrypted"].as_u64(), line["bytes.encrypted"].as_u64()), (Some(4), Some(4)));
        assert!(line.get("error").is_none() && line.get("policy.reason").is_none(), "{line}");
    }
    assert_eq!((came_in["direction"].as_str(), went_out["direction"].as_str()), (Some("inbound"), Some("outbound")));
    assert_eq!(came_in["policy.rule"], "callers");
    assert_eq!(went_out["server.address"], within.as_str());
    assert!(came_in["server.address"].as_str().unwrap().starts_with("127.0.0.1:"), "{came_in}");
}

#[test]
fn a_refusal_is_one_json_object_with_all_that_an_operator_needs() {
    let way = Way::new();
    way.write(&way.toml_between("127.0.0.1:0", &free_address().to_string(), BATCH, ""));
    let mut gate = Running::start(&mut way.command(&["--log-format", "json"]));
    gate.says(&["new credentials are in use"]);
    let out = super::address(&mut gate, "out");
    until("the peer is refused", || talk_to(out).is_err() && gate.printed().contains("policy.reason"));
    gate.signal(Signal::SIGTERM);
    let (_, log) = gate.end();
    let lines = objects(&log);
    let refusal = lines.iter().find(|line| line["outcome"] == "refused").unwrap();
    assert_eq!((refusal["level"].as_str(), refusal["listener"].as_str()), (Some("WARN"), Some("in")));
    assert_eq!((refusal["spiffe.peer.id"].as_str(), refusal["policy.stage"].as_str()), (Some(WEB), Some("policy")));
    assert_eq!(refusal["policy.decision"], "deny");
    let reason = refusal["policy.reason"].as_str().unwrap();
    assert!(reason.contains("callers") && reason.contains("shop"), "the nearest rule, and where it differs: {reason}");
    assert_eq!(refusal["tls.peer.sans"], format!("URI:{WEB}"));
    assert!(refusal["tls.peer.issuer"].as_str().unwrap().contains("prod.example"), "{refusal}");
    for field in ["tls.peer.serial", "tls.peer.not_before", "tls.peer.not_after", "client.address"] {
        assert!(refusal[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {refusal}");
    }
    let told = lines.iter().find(|line| line["outcome"] == "refused_by_peer").unwrap();
    assert!(told["error"].as_str().unwrap().contains("access_denied"), "the peer learns the alert: {told}");
    assert!(told.get("policy.reason").is_none(), "and no more: {told}");
}

/// What a peer writes into its certificate is its own choice: here a line that looks like ours, and a terminal's colours.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_certificate_of_a_peer_forges_a_line_of_the_log() {
    const FORGED: &str = "spiffe://prod.example/a\n2026-01-01T00:00:00.000000Z  INFO forged\r\u{1b}[31m";
    for format in ["text", "json"] {
        let way = Way::new();
        let within = free_address();
        way.write(&way.toml_between("127.0.0.1:0", &within.to_string(), WEB, ""));
        let (mut gate, _) = way.start(&["--log-format", format]);
        for sans in [vec![FORGED], vec![WEB, FORGED], vec!["spiffe://prod.example\nforged/a"]] {
            let mut params = svid_params(&id(WEB), Validity::from_now(HOUR)).unwrap();
            params.subject_alt_names = sans.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
            params.distinguished_name.push(rcgen::DnType::CommonName, FORGED);
            let key = KeyAlgorithm::P256.generate().unwrap();
            let chain = [way.world.prod.sign(&params, &key).unwrap(), way.world.prod.subordinate_der().clone()];
            let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
            assert_eq!(Peer::presenting(chain.into(), &key).refusal(within).await, "bad_certificate");
        }
        until("all are told of", || gate.printed().matches("policy.reason").count() >= 3);
        gate.says(&["policy.reason", "forged"]);
        gate.signal(Signal::SIGTERM);
        let (_, log) = gate.end();
        let is_forged = |line: &str| {
            !line.starts_with(if format == "json" { "{\"timestamp\":" } else { "20" })
                || line.contains("Z  INFO forged") && !line.contains("refused")
        };
        let forged: Vec<_> = log.lines().filter(|line| is_forged(line)).collect();
        assert!(forged.is_empty() && !log.contains(['\u{1b}', '\r']), "{format}: {forged:#?}\n{log}");
    }
}

#[test]
fn the_text_format_says_the_same_without_colours() {
    let way = Way::new();
    let (mut gate, _) = way.start(&["--log-format", "text"]);
    let line = gate.says(&["connection", "listener=\"in\"", "outcome=\"completed\""]);
    assert!(line.contains(" INFO ") && !gate.printed().contains('\u{1b}'), "{line}");
    for field in
        ["spiffe.peer.id=", "spiffe.local.id=", "server.address=", "tls.protocol.version=", "tls.curve=", "duration="]
    {
        assert!(line.contains(field), "{field} is missing in {line}");
    }
}

#[test]
fn the_file_chooses_format_and_level_unless_the_command_line_or_the_environment_does() {
    let way = Way::new();
    way.write(&way.toml("[log]\nformat = \"json\"\nlevel = \"warn\"\n"));
    let logged = |args: &[&str], environment: &str| {
        let mut command = way.command(args);
        command.env("RUST_LOG", environment);
        let gate = Running::start(&mut command);
        // At the highest of these levels nothing tells that it runs.
        until("it listens", || way.world.path("in.sock").exists());
        gate.signal(Signal::SIGTERM);
        let (status, log) = gate.end();
        assert!(status.success(), "{log}");
        log
    };
    assert_eq!(logged(&[], ""), "", "an empty RUST_LOG is none");
    let from_environment = logged(&[], "info");
    assert!(objects(&from_environment).iter().any(|line| line["message"] == "listening"), "{from_environment}");
    assert_eq!(logged(&["--log-level", "error"], "info"), "");
    assert!(logged(&["--log-level", "info", "--log-format", "text"], "error").contains(" INFO listening"));
    assert!(logged(&["--log-level", "svidgate::app=info"], "").contains("listening"));
}

#[test]
fn a_log_level_that_is_none_ends_it_with_2_and_says_where_it_came_from() {
    let way = Way::new();
    let output = way.command(&["--log-level", "inof"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(text(&output.stderr), "error: --log-level: \"inof\" is no log level\nhint: did you mean \"info\"?\n");
    let output = way.command(&[]).env("RUST_LOG", "a=b=c").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).starts_with("error: RUST_LOG: \"a=b=c\" is no log filter\nhint: "));
    let output = way.command(&["--log-format", "xml"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_health_check_is_logged_at_debug_level_alone() {
    for (level, is_logged) in [("info", false), ("debug", true)] {
        let way = Way::new();
        let within = free_address();
        way.write(&way.toml_between("127.0.0.1:0", &within.to_string(), WEB, ""));
        let (mut gate, out) = way.start(&["--log-level", level]);
        for _ in 0..3 {
            drop(connect(within).unwrap());
        }
        // Whatever is said of them has been said once a later connection is told of.
        let before = gate.printed().matches("outcome=\"completed\"").count();
        talk_to(out).unwrap();
        until("it is logged", || gate.printed().matches("outcome=\"completed\"").count() >= before + 2);
        if is_logged {
            gate.says(&["DEBUG connection", "outcome=\"probe\""]);
        }
        gate.signal(Signal::SIGTERM);
        let (_, log) = gate.end();
        assert_eq!(log.contains("probe"), is_logged, "{level}: {log}");
    }
}

#[test]
fn no_private_key_is_ever_logged_even_at_trace_level() {
    let way = Way::new();
    let (mut gate, out) = way.start(&["--log-level", "trace"]);
    let mut secrets = BTreeSet::new();
    let mut remember = |pem: &str| {
        secrets.extend(pem.lines().filter(|line| line.len() >= 16 && !line.starts_with("-----")).map(str::to_owned));
    };
    remember(&fs::read_to_string(way.world.path("web/private_key.pem")).unwrap());
    let kinds = [
        (KeyAlgorithm::P256, KeyEncoding::Sec1),
        (KeyAlgorithm::Rsa2048, KeyEncoding::Pkcs1),
        (KeyAlgorithm::Ed25519, KeyEncoding::Pkcs8),
    ];
    for (turn, (key, encoding)) in kinds.into_iter().enumerate() {
        let issued = way.world.prod.issue_as(&id(WEB), Issue { key, encoding, ..Issue::lasting(HOUR) }).unwrap();
        remember(&issued.private_key);
        way.world.write_identity("web", &issued, &bundle_map(&[&way.world.prod]));
        gate.says(&["new credentials are in use", &format!("credentials.generation={}", turn + 2)]);
        talk_to(out).unwrap();
    }
    // Damaged ones, which have something to be said about.
    let key = fs::read_to_string(way.world.path("web/private_key.pem")).unwrap();
    for damaged in [key.replace("-----END", "---END"), key.replace("PRIVATE KEY", "SECRET"), format!("{key}{key}")] {
        replace(&way.world.path("web/private_key.pem"), damaged.as_bytes());
        let before = gate.printed().matches("are not good").count();
        until("it is told", || gate.printed().matches("are not good").count() > before);
    }
    gate.signal(Signal::SIGUSR2);
    gate.says(&["status", "credentials.layout"]);
    gate.signal(Signal::SIGTERM);
    let (_, log) = gate.end();
    assert!(log.contains("TRACE") || log.contains("DEBUG"), "{log}");
    assert!(secrets.len() > 20);
    for secret in secrets {
        // Damaged or cut to a piece, it is a key still.
        let piece = secret.get(..16).unwrap();
        assert!(!log.contains(piece), "a line of a key is in the log");
    }
}

/// A way in on a port that is known before anything is logged.
fn known_way(more: impl FnOnce(&Way) -> String) -> (Way, SocketAddr) {
    let (way, out) = (Way::new(), free_address());
    let within = format!("unix:{}", way.world.path("in.sock").display());
    way.write(&way.toml_between(&out.to_string(), &within, WEB, &more(&way)));
    (way, out)
}

#[test]
fn a_log_that_nobody_reads_stops_no_traffic() {
    let (way, out) = known_way(|_| String::new());
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut command = way.command(&["--log-level", "trace"]);
    let gate = Running::unread(command.stdout(Stdio::null()).stderr(writer));
    drop(command);
    until_it_talks(out);
    // A pipe holds 64 KiB; each of these is at least 500 bytes of log.
    for _ in 0..300 {
        talk_to(out).unwrap();
    }
    gate.signal(Signal::SIGTERM);
    assert_eq!(gate.end().0.code(), Some(0));
    let mut log = Vec::new();
    reader.read_to_end(&mut log).unwrap();
    assert!(log.len() >= 60 * 1024, "the pipe was full: {} bytes", log.len());
}

#[test]
fn a_log_that_nobody_reads_and_that_can_take_no_more_keeps_nothing_from_ending() {
    // Each status is a line a listener: more lines than the log keeps waiting are quickly made.
    let (way, out) = known_way(|way| {
        let listener = |number: u32| {
            let socket = way.world.path(&format!("{number}.sock"));
            format!(
                "[[outbound]]\nlisten = \"unix:{}\"\ntarget = \"127.0.0.1:1\"\nexpect = [{WEB:?}]\n",
                socket.display()
            )
        };
        (0..300).map(listener).collect()
    });
    let (_reader, writer) = std::io::pipe().unwrap();
    let mut command = way.command(&[]);
    let gate = Running::unread(command.stdout(writer.try_clone().unwrap()).stderr(writer));
    until_it_talks(out);
    for _ in 0..400 {
        gate.signal(Signal::SIGUSR2);
        std::thread::sleep(Duration::from_millis(5));
    }
    talk_to(out).unwrap();
    gate.signal(Signal::SIGTERM);
    assert_eq!(gate.end().0.code(), Some(0));
}

#[test]
fn a_log_whose_reader_has_gone_stops_no_traffic() {
    let (way, out) = known_way(|_| String::new());
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = way.command(&[]);
    let gate = Running::unread(command.stdout(writer.try_clone().unwrap()).stderr(writer));
    until_it_talks(out);
    for _ in 0..20 {
        talk_to(out).unwrap();
    }
    gate.signal(Signal::SIGTERM);
    assert_eq!(gate.end().0.code(), Some(0));
}
