//! The configuration: what is good, what is wrong with what is not, and where.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use svidgate::config::{
    Config, Direction, Flags, Limits, ListenAddress, LogFormat, OnExpiry, Side, Target, TlsVersion, schema,
};
use svidgate::credentials::Source;
use svidgate::policy::Action;

const GOOD_RULE: &str = "[[inbound.rule]]\npeers = \"spiffe://prod.example/**\"\n";

/// The faults of `text`, each as people read it: `LINE:COLUMN message | hint`.
fn faults(text: &str) -> Vec<String> {
    let error = Config::parse("f", text).expect_err("the text has a fault");
    let one = |fault: &svidgate::config::Fault| {
        let place = fault.place.to_string();
        let hint = fault.hint.as_deref().map(|hint| format!(" | {hint}")).unwrap_or_default();
        format!("{} {}{hint}", place.trim_start_matches("f:"), fault.message)
    };
    error.faults.iter().map(one).collect()
}

/// An inbound listener with `lines` in its table.
fn inbound(lines: &str) -> String {
    format!("[[inbound]]\nlisten = \":8443\"\n{lines}\n{GOOD_RULE}")
}

fn outbound(lines: &str) -> String {
    format!("[[outbound]]\ntarget = \"db.internal:5432\"\nexpect = \"spiffe://prod.example/ns/db/sa/*\"\n{lines}\n")
}

/// A whole good file with `lines` at the end.
fn with(lines: &str) -> String {
    format!("{}{lines}", inbound("target = \"localhost:8080\""))
}

fn good(text: &str) -> Config {
    Config::parse("f", text).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn the_least_inbound_has_every_default() {
    let config = good(&inbound("target = \"localhost:8080\""));
    assert_eq!(config.limits, Limits::default());
    assert_eq!(config.identity, svidgate::credentials::Identity::default());
    let [listener] = &config.listeners[..] else { panic!("{config:?}") };
    assert_eq!(&*listener.name, "inbound-1");
    assert_eq!(listener.direction, Direction::Inbound);
    assert_eq!(listener.listen.to_string(), "[::]:8443");
    assert_eq!(listener.min_tls, TlsVersion::Tls13);
    assert_eq!(listener.on_expiry, OnExpiry::Close);
    assert!(listener.alpn.is_empty());
    let [rule] = listener.policy.rules() else { panic!("{listener:?}") };
    assert_eq!((&*rule.name, rule.action, rule.enforce), ("rule-1", Action::Allow, true));
}

#[test]
fn the_least_outbound_has_one_rule_named_expect() {
    let config = good(&outbound("listen = \"localhost:9000\""));
    let [listener] = &config.listeners[..] else { panic!("{config:?}") };
    assert_eq!(&*listener.name, "outbound-1");
    assert_eq!(listener.direction, Direction::Outbound { server_name: None });
    let [rule] = listener.policy.rules() else { panic!("{listener:?}") };
    assert_eq!((&*rule.name, rule.action, rule.enforce), ("expect", Action::Allow, true));
    assert_eq!(rule.peers[0].to_string(), "spiffe://prod.example/ns/db/sa/*");
}

#[test]
fn every_key_is_read() {
    let config = good(
        r#"
[identity]
certificates = "/c/chain.pem"
private_key = "/c/key.pem"
trust_bundle = "/c/roots.pem"
trust_domain = "prod.example"
expected_id = "spiffe://prod.example/web"
poll_interval = "2s"

[[inbound]]
name = "web"
listen = "unix:///run/in.sock"
target = ["127.0.0.1:8080", "unix:/run/app.sock"]
protocol = "tcp"
alpn = ["h2", "http/1.1"]
min_tls = "1.2"
on_expiry = "keep"
[[inbound.rule]]
name = "all"
action = "allow"
peers = ["spiffe://prod.example/**"]
[[inbound.rule]]
name = "not-you"
action = "deny"
peers = "spiffe://prod.example/you"
enforce = false

[[outbound]]
listen = "[::1]:9000"
target = "db.internal:5432"
expect = "spiffe://prod.example/db"
server_name = "db.example"

[limits]
max_connections = 7
max_handshakes = 8
handshake_timeout = "500ms"
max_peer_certificates = "16KiB"
connect_timeout = "3s"
idle_timeout = "off"
half_close_timeout = "1m 30s"
keepalive = "off"
close_grace = "2s"
drain_timeout = "0s"
worker_threads = 3

[log]
format = "json"
level = "warn,svidgate=debug"
"#,
    );
    assert_eq!(
        config.identity.source,
        Source::Files {
            certificates: "/c/chain.pem".into(),
            private_key: "/c/key.pem".into(),
            trust_bundle: "/c/roots.pem".into()
        }
    );
    assert_eq!(config.identity.trust_domain.unwrap().as_str(), "prod.example");
    assert_eq!(config.identity.expected_id.unwrap().to_string(), "spiffe://prod.example/web");
    assert_eq!(config.identity.poll_interval, Duration::from_secs(2));
    let [web, db] = &config.listeners[..] else { panic!() };
    assert_eq!(web.listen, ListenAddress::Unix("/run/in.sock".into()));
    assert_eq!(web.targets, [Target::Address("127.0.0.1:8080".parse().unwrap()), Target::Unix("/run/app.sock".into())]);
    assert_eq!(web.alpn, [b"h2".to_vec(), b"http/1.1".to_vec()]);
    assert_eq!((web.min_tls, web.on_expiry), (TlsVersion::Tls12, OnExpiry::Keep));
    let denies = &web.policy.rules()[1];
    assert_eq!((&*denies.name, denies.action, denies.enforce), ("not-you", Action::Deny, false));
    let Direction::Outbound { server_name: Some(name) } = &db.direction else { panic!() };
    assert_eq!(name.as_ref(), "db.example");
    assert_eq!(
        config.limits,
        Limits {
            max_connections: 7,
            max_handshakes: 8,
            handshake_timeout: Duration::from_millis(500),
            max_peer_certificates: 16 * 1024,
            connect_timeout: Duration::from_secs(3),
            idle_timeout: None,
            half_close_timeout: Some(Duration::from_secs(90)),
            keepalive: None,
            close_grace: Duration::from_secs(2),
            drain_timeout: Duration::ZERO,
            worker_threads: Some(3),
        }
    );
    assert_eq!(config.log.format, Some(LogFormat::Json));
    assert_eq!(config.log.level.as_deref(), Some("warn,svidgate=debug"));
}

#[test]
fn every_fault_of_a_file_is_told_at_its_place_in_order() {
    let text = r#"[identity]
dir = "/run/x"
pol_interval = "5s"
poll_interval = "5h"

[[inbound]]
listen = ":8443"
target = ["10.0.0.1:80", "http://a:80/b", 5]
min_tls = 1.2
[[inbound.rule]]
peers = ["spiffe://prod.example/a", "spiffe://*/x"]
action = "alow"

[[outbound]]
name = "é x" # two bytes, one column
listen = "foo:80"

[limits]
idle_timeout = 0
max_peer_certificates = "1MB"
"#;
    let expected = [
        "3:1 unknown key `pol_interval` in `identity` | did you mean `poll_interval`?",
        "4:17 5h is out of range | it may be from 100ms to 30s",
        "8:11 plaintext to `10.0.0.1:80` would leave this machine | connect to `localhost:PORT` or `unix:/path`, or set `allow_plaintext_network = true` beside it if the network is protected otherwise",
        "8:26 an address has no scheme: `http://` does not belong here | write `a:80`",
        "8:43 expected an address such as \"localhost:8080\" or \"unix:/run/app/app.sock\", found the number 5",
        "9:11 expected \"1.2\" or \"1.3\", found the number 1.2",
        "11:37 \"spiffe://*/x\" is no pattern of SPIFFE IDs | the trust domain of a pattern is always literal: write one pattern for each trust domain",
        "12:10 expected \"allow\" or \"deny\", found the text \"alow\" | did you mean \"allow\"?",
        "14:1 `target` is missing | say where connections go to, such as `target = \"localhost:8080\"`",
        "14:1 `expect` is missing | say who must be at the other end, such as `expect = [\"spiffe://prod.example/ns/db/sa/*\"]`",
        "15:8 \"é x\" is no name | write 1 to 64 letters, digits, `.`, `-` or `_`",
        "16:10 `foo` is a name; a listener needs an IP address of this machine | write `:PORT` for every address, `localhost:PORT`, or an IP address",
        "19:16 expected a duration such as \"10s\", or \"off\", found the number 0",
        "20:25 \"1MB\" is no size | write a whole number and one of the units B, KiB, MiB, GiB: \"64KiB\"",
    ];
    assert_eq!(faults(text), expected);
}

#[test]
fn columns_count_characters() {
    let text =
        format!("[log]\n\"é\" = 1\nlevel = \"info\" # é\nformat = [\"é\", 1]\n{}", inbound("target = \"localhost:1\""));
    assert_eq!(
        faults(&text),
        [
            "2:1 unknown key `é` in `log` | known keys: format, level",
            "4:10 expected \"text\" or \"json\", found a list"
        ]
    );
    let wrong = "alpn = [\"éé\", 5]\ntarget = \"localhost:1\"";
    assert_eq!(faults(&inbound(wrong)), ["3:15 expected the name of a protocol, such as \"h2\", found the number 5"]);
}

#[test]
fn the_error_prints_error_and_hint_lines() {
    let error = Config::parse("proxy.toml", "[lgo]\n").unwrap_err();
    assert_eq!(error.faults.len(), 1);
    assert_eq!(
        error.to_string(),
        "error: proxy.toml:1:2: unknown key `lgo`\nhint: known keys: identity, inbound, limits, log, outbound"
    );
}

#[test]
fn each_single_fault_has_its_message_and_hint() {
    let target = "target = \"localhost:8080\"";
    for (text, expected) in [
        ("", "1:1 there is no listener | add an `[[inbound]]` or an `[[outbound]]`".to_owned()),
        (
            &format!("[[inbound]]\nlisten = \":1\"\n{target}\n"),
            "1:1 no enforced rule allows anyone: every peer would be refused | add a `[[inbound.rule]]` with `peers = [\"spiffe://prod.example/ns/web/sa/*\"]`".into(),
        ),
        (
            &format!("[[inbound]]\nlisten = \":1\"\n{target}\n[[inbound.rule]]\npeers = \"spiffe://a/b\"\nenforce = false\n"),
            "1:1 no enforced rule allows anyone: every peer would be refused | add a `[[inbound.rule]]` with `peers = [\"spiffe://prod.example/ns/web/sa/*\"]`".into(),
        ),
        (
            &format!("[[inbound]]\nlisten = \":1\"\n{target}\n[[inbound.rule]]\npeers = []\n"),
            "5:9 `peers` is empty | say whom the rule speaks of, such as `peers = [\"spiffe://prod.example/ns/web/sa/*\"]`".into(),
        ),
        (&with("[[inbound.rule]]\nname = \"rule-1\"\npeers = \"spiffe://a/b\"\n"), "7:8 two rules of this listener are named `rule-1` | the other one is at f:4:1".into()),
        (&inbound(""), "1:1 `target` is missing | say where connections go to, such as `target = \"localhost:8080\"`".into()),
        (&inbound("target = []"), "3:10 `target` is empty | say where connections go to, such as `target = \"localhost:8080\"`".into()),
        (&inbound("target = \"[::1]:8443\""), "3:10 `[::1]:8443` is where this listener itself listens | name the address of the service behind it".into()),
        (&inbound(&format!("{target}\nserver_name = \"x\"")), "4:1 unknown key `server_name` in `inbound` | it belongs in `[[outbound]]`".into()),
        (&outbound("listen = \"localhost:1\"\nserver_name = \"127.0.0.1\""), "5:15 `127.0.0.1` is an IP address; SNI carries DNS names only | leave it out".into()),
        (&outbound("listen = \"localhost:1\"\nalpn = \"\""), "5:8 the name of a protocol has 1 to 255 bytes; this one has 0 | write a registered name such as \"h2\" or \"http/1.1\"".into()),
        (&outbound("listen = \"localhost:1\"\nprotocol = \"http\""), "5:12 expected \"tcp\", found the text \"http\"".into()),
        (&with("[identity]\ndir = \"/a\"\nprivate_key = \"/b\"\n"), "6:1 both a directory and single files are named | name either `dir`, or all three of `certificates`, `private_key` and `trust_bundle`".into()),
        (&with("[identity]\ndir = \"\"\n"), "7:7 a path is not empty and has no zero byte".into()),
        (&with("[identity]\ntrust_domain = \"spiffe://a.example\"\n"), "7:16 \"spiffe://a.example\" is no trust domain: the trust domain has a port (`:`) | write \"a.example\"".into()),
        (&with("[identity]\nexpected_id = \"spiffe://a.example\"\n"), "7:15 no workload's ID is the bare trust domain | write `spiffe://a.example/PATH`".into()),
        (&with("[log]\nlevel = \"inof\"\n"), "7:9 \"inof\" is no log level | did you mean \"info\"?".into()),
        (&with("[log]\nformat = \"jsn\"\n"), "7:10 expected \"text\" or \"json\", found the text \"jsn\" | did you mean \"json\"?".into()),
        (&with("[limits]\nworker_threads = 99999999999999999999\n"), "7:18 expected a whole number, found a number out of range".into()),
        (&with("[limits]\nmax_connections = -1\n"), "7:19 -1 is negative".into()),
        (&with("[limits]\nkeepalive = \"oof\"\n"), "7:13 \"oof\" is no duration | write a whole number and a unit, such as \"10s\" or \"5m\", or \"off\"".into()),
        (&with("[limits]\nconnect_timeout = \"off\"\n"), "7:19 \"off\" is no duration | write a whole number and a unit: \"500ms\", \"10s\", \"5m\", \"1h\"".into()),
        (&with("[limits]\nconnect_timeout = 2026-01-01\n"), "7:19 expected a duration such as \"10s\", found a date or time".into()),
    ] {
        assert_eq!(faults(text), [expected], "{text}");
    }
}

#[test]
fn a_missing_one_of_the_three_files_is_told_by_name() {
    assert_eq!(
        faults(&with("[identity]\ncertificates = \"/a\"\n")),
        [
            "6:1 `private_key` is missing | name either `dir`, or all three of `certificates`, `private_key` and `trust_bundle`",
            "6:1 `trust_bundle` is missing | name either `dir`, or all three of `certificates`, `private_key` and `trust_bundle`",
        ]
    );
}

#[test]
fn an_unknown_key_is_told_at_every_level_with_what_was_probably_meant() {
    for (text, expected) in [
        (with("[limitz]\n"), "6:2 unknown key `limitz` | did you mean `limits`?"),
        (
            with("[identity]\ntrust_bundel = \"/x\"\n"),
            "7:1 unknown key `trust_bundel` in `identity` | did you mean `trust_bundle`?",
        ),
        (
            with("[limits]\nmax-connections = 4\n"),
            "7:1 unknown key `max-connections` in `limits` | did you mean `max_connections`?",
        ),
        (with("[log]\nlevle = \"info\"\n"), "7:1 unknown key `levle` in `log` | did you mean `level`?"),
        (
            inbound("target = \"localhost:1\"\nlisten_ = 1"),
            "4:1 unknown key `listen_` in `inbound` | did you mean `listen`?",
        ),
        (
            inbound("target = \"localhost:1\"\nidle_timeout = \"1s\""),
            "4:1 unknown key `idle_timeout` in `inbound` | it belongs in `[limits]`",
        ),
        (with("peer = \"spiffe://a/b\"\n"), "6:1 unknown key `peer` in `inbound.rule` | did you mean `peers`?"),
        (with("zzz = 1\n"), "6:1 unknown key `zzz` in `inbound.rule` | known keys: action, enforce, name, peers"),
        (
            outbound("listen = \"localhost:1\"\nexpct = 1"),
            "5:1 unknown key `expct` in `outbound` | did you mean `expect`?",
        ),
    ] {
        assert_eq!(faults(&text), [expected], "{text}");
    }
}

#[test]
fn a_table_in_the_wrong_shape_is_told_and_read_all_the_same() {
    let text = "limits = 5\n[inbound]\nlisten = \":1\"\ntarget = \"10.0.0.1:1\"\n[inbound.rule]\npeers = \"x\"\n";
    let found = faults(text);
    assert_eq!(found.len(), 5, "{found:#?}");
    assert_eq!(
        found[0],
        "1:10 `limits` is a table, not of type integer | write `key = value` lines below the line with its name in brackets"
    );
    assert_eq!(found[1], "2:1 `inbound` is a list of tables | write `[[inbound]]` on a line of its own, once for each");
    assert!(found[2].starts_with("4:10 plaintext to `10.0.0.1:1` would leave"), "{found:#?}");
    assert_eq!(
        found[3],
        "5:1 `inbound.rule` is a list of tables | write `[[inbound.rule]]` on a line of its own, once for each"
    );
    assert!(found[4].starts_with("6:9 \"x\" is no pattern"), "{found:#?}");
}

#[test]
fn several_syntax_errors_are_told_together() {
    let found = faults("[log]\nlevel =\nformat = json\nlevel = \"info\"\n");
    assert!(found.len() >= 2, "{found:#?}");
    assert!(found[0].starts_with("2:") && found[1].starts_with("3:"), "{found:#?}");
}

#[test]
fn names_and_addresses_of_listeners_must_differ() {
    let first = "[[inbound]]\nname = \"a\"\nlisten = \":8443\"\ntarget = \"localhost:1\"\n";
    let text = format!(
        "{first}{GOOD_RULE}[[outbound]]\nname = \"a\"\nlisten = \"127.0.0.1:8443\"\ntarget = \"b:1\"\nexpect = \"spiffe://a/b\"\n"
    );
    assert_eq!(
        faults(&text),
        [
            "8:8 two listeners are named `a` | the other one is at f:2:8",
            "9:10 `[::]:8443` and `127.0.0.1:8443` cannot both be listened on | the other one is at f:3:10",
        ]
    );
}

#[test]
fn addresses_clash_only_where_they_cannot_both_be_bound() {
    for (one, other, clash) in [
        (":80", ":80", true),
        (":80", "0.0.0.0:80", true),
        (":80", "[::1]:80", true),
        ("0.0.0.0:80", "127.0.0.1:80", true),
        ("0.0.0.0:80", "[::1]:80", false),
        ("127.0.0.1:80", "[::ffff:127.0.0.1]:80", true),
        ("127.0.0.1:80", "127.0.0.2:80", false),
        ("127.0.0.1:80", "127.0.0.1:81", false),
        (":0", ":0", false),
        ("unix:/a", "unix:///a", true),
        ("unix:/a", "unix:/b", false),
    ] {
        let [one, other] = [one, other].map(|text| text.parse::<ListenAddress>().unwrap());
        assert_eq!(one.clashes_with(&other), clash, "{one} {other}");
        assert_eq!(other.clashes_with(&one), clash, "{other} {one}");
    }
}

#[test]
fn addresses_are_read_as_people_write_them() {
    for (text, listen, target) in [
        ("127.0.0.1:80", Some("127.0.0.1:80"), Some("127.0.0.1:80")),
        ("[::1]:80", Some("[::1]:80"), Some("[::1]:80")),
        (":80", Some("[::]:80"), None),
        (":0", Some("[::]:0"), None),
        ("0.0.0.0:80", Some("0.0.0.0:80"), None),
        ("localhost:80", Some("127.0.0.1:80"), Some("localhost:80")),
        ("LOCALHOST:80", Some("127.0.0.1:80"), Some("LOCALHOST:80")),
        ("db_1.internal.:80", None, Some("db_1.internal.:80")),
        ("unix:/run/a.sock", Some("unix:/run/a.sock"), Some("unix:/run/a.sock")),
        ("unix:///run/a.sock", Some("unix:/run/a.sock"), Some("unix:/run/a.sock")),
        ("127.0.0.1", None, None),
        ("127.0.0.1:", None, None),
        ("127.0.0.1:+80", None, None),
        ("127.0.0.1:65536", None, None),
        ("127.1:80", None, None),
        ("a..b:80", None, None),
        ("a b:80", None, None),
        ("::1:80", None, None),
        ("[::1]", None, None),
        ("[127.0.0.1]:80", None, None),
        ("http://a:80", None, None),
        ("unix:run/a", None, None),
        ("unix://run/a", None, None),
        ("unix:/run/", None, None),
        ("unix:", None, None),
        ("/run/a.sock", None, None),
        ("systemd:web", None, None),
        ("fd:3", None, None),
        ("localhost:0", Some("127.0.0.1:0"), None),
        ("", None, None),
    ] {
        let listened = text.parse::<ListenAddress>().ok().map(|address| address.to_string());
        assert_eq!(listened.as_deref(), listen, "listen on {text:?}");
        let reached = text.parse::<Target>().ok().map(|target| target.to_string());
        assert_eq!(reached.as_deref(), target, "connect to {text:?}");
    }
}

#[test]
fn a_bad_address_says_what_to_write() {
    for (text, message, hint) in [
        ("db", "`db` has no port", "write `db:PORT`"),
        ("db:", "`db:` has no port", "write `db:PORT`"),
        ("db:x", "`x` is no port", "a port is a number from 1 to 65535; a listener may have 0 for any free one"),
        (
            "::1:80",
            "`::1:80` is no IPv6 address with a port",
            "brackets belong around an IPv6 address, as in `[::1]:8443`",
        ),
        ("https://db", "an address has no scheme: `https://` does not belong here", "write `db:PORT`"),
        ("systemd:x", "`systemd:` is not supported", "write `HOST:PORT`, `:PORT` or `unix:/path`"),
        ("/run/a", "`/run/a` has no port; is it the path of a unix socket?", "write `unix:/run/a`"),
        ("unix:a", "`a` is no absolute path of a unix socket", "write `unix:/run/app/app.sock`"),
        (":80", "a target needs a host to connect to", "write `localhost:80` for this machine"),
        (
            "1.2.3:80",
            "`1.2.3` is neither a DNS name nor an IP address",
            "write a name such as `db.internal:5432`, or an IP address",
        ),
    ] {
        let error = text.parse::<Target>().unwrap_err();
        assert_eq!((error.to_string().as_str(), error.hint().as_str()), (message, hint), "{text}");
    }
    let long = format!("unix:/{}", "a".repeat(200)).parse::<ListenAddress>().unwrap_err();
    assert_eq!(long.to_string(), "the path of a unix socket has at most 107 bytes and no zero byte; this one has 201");
}

#[test]
fn plaintext_leaves_the_machine_only_where_the_file_says_so() {
    let leaves = |text: &str| {
        let found = Config::parse("f", text).err().map(|error| error.faults).unwrap_or_default();
        assert!(found.iter().all(|fault| fault.message.starts_with("plaintext ")), "{found:?}");
        !found.is_empty()
    };
    for (address, stays) in [
        ("127.0.0.1:1", true),
        ("127.9.9.9:1", true),
        ("[::1]:1", true),
        ("[::ffff:127.0.0.1]:1", true),
        ("localhost:1", true),
        ("unix:/run/a", true),
        ("10.0.0.1:1", false),
        ("[2001:db8::1]:1", false),
    ] {
        let permit = "\nallow_plaintext_network = true";
        let target = format!("target = \"{address}\"");
        assert_eq!(leaves(&inbound(&target)), !stays, "inbound to {address}");
        assert!(!leaves(&inbound(&format!("{target}{permit}"))), "inbound to {address}, allowed");
        let listen = format!("listen = \"{address}\"");
        assert_eq!(leaves(&outbound(&listen)), !stays, "outbound on {address}");
        assert!(!leaves(&outbound(&format!("{listen}{permit}"))), "outbound on {address}, allowed");
    }
    assert!(leaves(&inbound("target = \"db.internal:1\"")));
    assert!(leaves(&outbound("listen = \":1\"")));
    assert!(leaves(&inbound("target = [\"localhost:1\", \"10.0.0.1:1\"]")));
}

#[test]
fn a_name_is_held_to_loopback_exactly_where_plaintext_may_not_leave() {
    let held = |text: &str| match &good(text).listeners[0].targets[0] {
        Target::Name { loopback_only, .. } => *loopback_only,
        other => panic!("{other:?}"),
    };
    assert!(held(&inbound("target = \"localhost:1\"")));
    assert!(!held(&inbound("target = \"localhost:1\"\nallow_plaintext_network = true")));
    assert!(!held(&inbound("target = \"db.internal:1\"\nallow_plaintext_network = true")));
    assert!(!held(&outbound("listen = \"localhost:1\"")), "mutual TLS may go anywhere");
}

#[test]
fn every_limit_is_bounded_as_its_description_says() {
    let tables = schema();
    let limits = tables["properties"]["limits"]["properties"].as_object().unwrap();
    let poll = &tables["properties"]["identity"]["properties"]["poll_interval"];
    let all = limits.iter().map(|(key, schema)| ("limits", key.as_str(), schema));
    for (table, key, schema) in all.chain([("identity", "poll_interval", poll)]) {
        let absurd = match (schema["type"].as_str().unwrap(), schema["pattern"].is_string()) {
            ("integer", _) => "1000000000",
            (_, true) => "\"1GiB\"",
            (_, false) => "\"1000days\"",
        };
        let found = faults(&with(&format!("[{table}]\n{key} = {absurd}\n")));
        let [fault] = &found[..] else { panic!("{key}: {found:?}") };
        let range = fault.split("it may be from ").nth(1).unwrap_or_else(|| panic!("{key}: {fault}"));
        let description = schema["description"].as_str().unwrap();
        assert!(description.contains(range), "{key}: {description:?} does not say {range:?}");
        let zero = match absurd {
            "1000000000" => "0",
            "\"1GiB\"" => "\"0B\"",
            _ => "\"0s\"",
        };
        let parsed = Config::parse("f", &with(&format!("[{table}]\n{key} = {zero}\n")));
        assert_eq!(parsed.is_ok(), range.starts_with("0s"), "{key} = {zero}");
    }
}

#[test]
fn too_much_is_refused() {
    let found = faults(&inbound(&format!("target = [{}]", "\"localhost:1\", ".repeat(65))));
    assert_eq!(found, ["3:10 there are 65 targets; 64 are read at most"]);
    let found = faults(&inbound(&format!("target = \"localhost:1\"\nalpn = [{}]", "\"h2\", ".repeat(17))));
    assert_eq!(found, ["4:8 there are 17 protocols; 16 are read at most"]);
    let found = faults(&"[[outbound]]\n".repeat(1001));
    assert_eq!(found, ["1001:1 there are 1001 listeners; 1000 are read at most"]);
    let found = faults(&with(&GOOD_RULE.repeat(10_000)));
    assert_eq!(found, ["1:1 with this listener there are more than 10000 rules"]);
}

#[test]
fn of_very_many_faults_the_first_hundred_are_told_and_the_rest_counted() {
    let lines = (0..250).map(|number| format!("x{number} = 1\n")).collect::<String>();
    let error = Config::parse("f", &with(&format!("[limits]\n{lines}"))).unwrap_err();
    assert_eq!((error.faults.len(), error.omitted), (100, 150));
    assert_eq!(error.faults[0].place.to_string(), "f:7:1");
    assert!(error.to_string().ends_with("error: and 150 more"), "{error}");
}

#[test]
fn a_file_that_cannot_be_read_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let message = |path: &Path| {
        let error = Config::read(path).unwrap_err();
        let [fault] = &error.faults[..] else { panic!("{error}") };
        fault.to_string().replace(&format!("{}/", dir.path().display()), "")
    };
    assert_eq!(message(&path("none.toml")), "none.toml: there is no such file");
    std::fs::create_dir(path("dir")).unwrap();
    assert_eq!(message(&path("dir")), "dir: it is a directory");
    std::fs::write(path("large"), vec![b'#'; (1 << 20) + 1]).unwrap();
    assert_eq!(message(&path("large")), "large: the file is larger than 1 MiB");
    std::fs::write(path("latin1"), b"# a\n# \xe9\n").unwrap();
    assert_eq!(message(&path("latin1")), "latin1:2:3: the text is not UTF-8 from here on");
    nix::unistd::mkfifo(&path("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(message(&path("pipe")), "pipe: it is no regular file");
    std::fs::write(path("good"), inbound("target = \"localhost:1\"")).unwrap();
    assert_eq!(Config::read(&path("good")).unwrap().listeners.len(), 1);
}

#[test]
fn where_a_listener_stands_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    std::fs::write(&path, inbound("target = [\"localhost:1\", \"unix:/a\"]")).unwrap();
    let (_, origins) = Config::read_with_origins(&path).unwrap();
    let places = [&origins[0].listen, &origins[0].targets[0], &origins[0].targets[1]];
    let places = places.map(|place| place.to_string().replace(&path.display().to_string(), ""));
    assert_eq!(places, [":2:10", ":3:11", ":3:26"]);
}

fn inbound_flags() -> Flags {
    Flags {
        listen: ":8443".into(),
        targets: vec!["localhost:8080".into()],
        identity: Some("/run/creds".into()),
        peers: vec!["spiffe://prod.example/**".into()],
        ..Flags::default()
    }
}

fn outbound_flags() -> Flags {
    Flags {
        side: Side::Outbound,
        listen: "localhost:9000".into(),
        targets: vec!["a.internal:1".into(), "b.internal:1".into()],
        server_name: Some("a.example".into()),
        protocol: Some("tcp".into()),
        alpn: vec!["h2".into()],
        min_tls: Some("1.2".into()),
        ..inbound_flags()
    }
}

#[test]
fn flags_and_the_file_they_print_mean_the_same() {
    let network = Flags { allow_plaintext_network: true, listen: ":9000".into(), ..outbound_flags() };
    let odd = Flags { identity: Some("/run/\"\\\u{7f}\n".into()), ..inbound_flags() };
    for flags in [inbound_flags(), outbound_flags(), network, odd] {
        let from_flags = Config::from_flags(&flags).unwrap();
        assert_eq!(from_flags, good(&flags.to_toml()), "{}", flags.to_toml());
        assert_eq!(from_flags.identity.source, Source::Directory(flags.identity.unwrap()));
    }
}

#[test]
fn without_an_identity_flag_the_well_known_places_are_tried() {
    let config = Config::from_flags(&Flags { identity: None, ..inbound_flags() }).unwrap();
    assert_eq!(config.identity.source, Source::WellKnown);
}

#[test]
fn a_fault_of_a_flag_names_the_flag() {
    let flags = Flags {
        listen: "8443".into(),
        targets: vec!["localhost:1".into(), "10.0.0.1:1".into()],
        peers: vec!["prod.example/web".into()],
        protocol: Some("htp".into()),
        min_tls: Some("1.1".into()),
        identity: Some(PathBuf::new()),
        ..inbound_flags()
    };
    let error = Config::from_flags(&flags).unwrap_err();
    assert_eq!(
        error.to_string(),
        "error: --allow: \"prod.example/web\" is no pattern of SPIFFE IDs\n\
         hint: a pattern starts with `spiffe://` and a literal trust domain, as in `spiffe://prod.example/ns/web/sa/*`\n\
         error: --identity: a path is not empty and has no zero byte\n\
         error: --listen: `8443` has no port\n\
         hint: write `:8443` to listen, `localhost:8443` to connect\n\
         error: --min-tls: expected \"1.2\" or \"1.3\", found the text \"1.1\"\n\
         error: --protocol: expected \"tcp\", found the text \"htp\"\n\
         error: --target: plaintext to `10.0.0.1:1` would leave this machine\n\
         hint: connect to `localhost:PORT` or `unix:/path`, or give `--allow-plaintext-network` if the network is protected otherwise"
    );
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[test]
fn the_committed_schema_is_that_of_the_types() {
    let committed = std::fs::read_to_string(repository("examples/svidgate.schema.json")).unwrap_or_default();
    assert_eq!(
        committed.trim_end(),
        format!("{:#}", schema()),
        "regenerate it: cargo run -- schema > examples/svidgate.schema.json"
    );
}

/// What a value breaks of a schema, as far as our schema goes: known keys, required keys, enums and alternatives of one or many.
fn breaks(value: &toml::Value, schema: &Value, path: &str) -> Vec<String> {
    if let Some(choices) = schema["anyOf"].as_array() {
        let each = choices.iter().map(|choice| breaks(value, choice, path));
        return each.min_by_key(Vec::len).unwrap();
    }
    let expected = schema["type"].as_str().unwrap();
    let fits = match value {
        toml::Value::Table(table) => {
            let mut found = Vec::new();
            for required in schema["required"].as_array().into_iter().flatten() {
                if !table.contains_key(required.as_str().unwrap()) {
                    found.push(format!("{path} lacks {required}"));
                }
            }
            for (key, value) in table {
                match schema["properties"].get(key) {
                    Some(known) => found.extend(breaks(value, known, &format!("{path}.{key}"))),
                    None => found.push(format!("{path}.{key} is unknown")),
                }
            }
            return found;
        }
        toml::Value::Array(items) if expected == "array" => {
            return items.iter().flat_map(|item| breaks(item, &schema["items"], path)).collect();
        }
        toml::Value::String(text) => {
            let allowed = schema["enum"].as_array();
            expected == "string" && allowed.is_none_or(|allowed| allowed.contains(&Value::from(text.as_str())))
        }
        toml::Value::Integer(_) => expected == "integer",
        toml::Value::Boolean(_) => expected == "boolean",
        toml::Value::Array(_) | toml::Value::Float(_) | toml::Value::Datetime(_) => false,
    };
    if fits { Vec::new() } else { vec![format!("{path} is no {expected}")] }
}

#[test]
fn every_example_is_good_and_fits_the_schema() {
    let mut seen = 0;
    for entry in std::fs::read_dir(repository("examples")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("#:schema ./svidgate.schema.json\n"), "{}", path.display());
        Config::read(&path).unwrap_or_else(|error| panic!("{error}"));
        let document = toml::Value::Table(text.parse().unwrap());
        assert_eq!(breaks(&document, &schema(), ""), Vec::<String>::new(), "{}", path.display());
        seen += 1;
    }
    assert!(seen >= 2);
}

#[test]
fn what_the_schema_requires_is_required_and_nothing_else() {
    for table in ["inbound", "outbound"] {
        let shape = schema()["properties"][table]["items"].clone();
        let required = shape["required"].as_array().unwrap().clone();
        for key in shape["properties"].as_object().unwrap().keys() {
            let found = Config::parse("f", &format!("[[{table}]]\n")).unwrap_err();
            let missing = found.faults.iter().any(|fault| match key.as_str() {
                "rule" => fault.message.starts_with("no enforced rule"),
                _ => fault.message == format!("`{key}` is missing"),
            });
            assert_eq!(missing, required.contains(&Value::from(key.as_str())), "{table}.{key}");
        }
    }
}
