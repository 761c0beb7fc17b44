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
    AccessLog, Config, Direction, Flags, Http, HttpLimits, HttpVersions, IdentityHeader, IdentityHeaders, Limits,
    ListenAddress, LogFormat, OnExpiry, OwnHeader, PeerFact, Protocol, Side, Target, TlsVersion, XfccMode, schema,
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
    assert_eq!(listener.protocol, Protocol::Tcp);
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
            http: HttpLimits::default(),
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
            "2:1 unknown key `é` in `log` | known keys: format, level, requests",
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
        (&outbound("listen = \"localhost:1\"\nprotocol = \"udp\""), "5:12 expected \"tcp\" or \"http\", found the text \"udp\"".into()),
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
        (
            with("zzz = 1\n"),
            "6:1 unknown key `zzz` in `inbound.rule` | known keys: action, enforce, hosts, methods, name, paths, peers",
        ),
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
    let all = limits.iter().filter(|(key, _)| *key != "http").map(|(key, schema)| ("limits", key.as_str(), schema));
    let http = limits["http"]["properties"].as_object().unwrap();
    let all = all.chain(http.iter().map(|(key, schema)| ("limits.http", key.as_str(), schema)));
    for (table, key, schema) in all.chain([("identity", "poll_interval", poll)]) {
        let kind = schema["type"].as_str().or_else(|| schema["anyOf"][0]["type"].as_str()).unwrap();
        let absurd = match (kind, schema["pattern"].is_string()) {
            ("integer", _) => "1000000000",
            (_, true) => "\"1000000GiB\"",
            (_, false) => "\"1000days\"",
        };
        let found = faults(&with(&format!("[{table}]\n{key} = {absurd}\n")));
        let fault = found.iter().find(|fault| fault.contains("out of range"));
        let fault = fault.unwrap_or_else(|| panic!("{key}: {found:?}"));
        let range = fault.split("it may be from ").nth(1).unwrap_or_else(|| panic!("{key}: {fault}"));
        let description = schema["description"].as_str().unwrap();
        assert!(description.contains(range), "{key}: {description:?} does not say {range:?}");
        let zero = match absurd {
            "1000000000" => "0",
            "\"1000000GiB\"" => "\"0B\"",
            _ => "\"0s\"",
        };
        let parsed = Config::parse("f", &with(&format!("[{table}]\n{key} = {zero}\n")));
        assert_eq!(parsed.is_ok(), range.starts_with('0'), "{key} = {zero}");
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
    std::fs::write(&path, routed("", "hosts = \"a\"\ntarget = [\"a:1\", \"b:1\"]\nexpect = \"spiffe://a/b\"")).unwrap();
    let (_, origins) = Config::read_with_origins(&path).unwrap();
    assert!(origins[0].targets.is_empty());
    let route = &origins[0].routes[0];
    let places = [&route.targets[0], &route.targets[1], &route.expect[0]];
    let places = places.map(|place| place.to_string().replace(&path.display().to_string(), ""));
    assert_eq!(places, [":7:11", ":7:18", ":8:10"]);
}

/// An inbound HTTP listener with `lines` in its table, and a rule with `conditions`.
fn http_inbound(lines: &str, conditions: &str) -> String {
    format!(
        "[[inbound]]\nlisten = \":8443\"\ntarget = \"localhost:8080\"\nprotocol = \"http\"\n{lines}\n{GOOD_RULE}{conditions}\n"
    )
}

/// An outbound HTTP listener with `lines` in its table, and a route of `keys`.
fn routed(lines: &str, keys: &str) -> String {
    format!("[[outbound]]\nlisten = \"127.0.0.1:3128\"\nprotocol = \"http\"\n{lines}\n[[outbound.route]]\n{keys}\n")
}

fn http_of(config: &Config) -> &Http {
    let [listener, ..] = &config.listeners[..] else { panic!("{config:?}") };
    match &listener.protocol {
        Protocol::Http(http) => http,
        Protocol::Tcp => panic!("{listener:?}"),
    }
}

#[test]
fn the_least_http_inbound_negotiates_http_and_tells_who_calls() {
    let config = good(&http_inbound("", ""));
    assert_eq!(config.listeners[0].alpn, [b"h2".to_vec(), b"http/1.1".to_vec()]);
    assert_eq!(*http_of(&config), Http::default());
    assert_eq!(http_of(&config).identity_headers.send, [IdentityHeader::XForwardedClientCert]);
    assert_eq!(config.log.requests, AccessLog::Off);
    assert!(good(&http_inbound("alpn = []", "")).listeners[0].alpn.is_empty());
}

#[test]
fn the_least_http_outbound_lets_the_proxy_choose_the_version() {
    let http = |lines: &str| good(&outbound(&format!("listen = \"localhost:1\"\nprotocol = \"http\"\n{lines}")));
    let config = http("");
    assert!(config.listeners[0].alpn.is_empty());
    assert_eq!(http_of(&config).upstream, HttpVersions::AsAsked);
    assert!(http_of(&config).identity_headers.send.is_empty(), "the application is the caller");
    assert_eq!(&*config.listeners[0].policy.rules()[0].name, "expect");
    for (alpn, upstream) in [
        ("\"h2\"", HttpVersions::Http2),
        ("[\"h2\", \"http/1.1\"]", HttpVersions::AsAsked),
        ("[\"http/1.1\"]", HttpVersions::AsAsked),
    ] {
        assert_eq!(http_of(&http(&format!("alpn = {alpn}"))).upstream, upstream, "{alpn}");
    }
}

#[test]
fn every_key_of_http_is_read() {
    let config = good(
        r#"
[[inbound]]
listen = ":8443"
target = ["h2c://localhost:8080", "h2c:unix:/run/app.sock"]
protocol = "http"
identity_headers = ["x-forwarded-client-cert", "client-cert", "client-cert-chain", "x-spiffe-id"]
xfcc = "append_forward"
own_headers = { x-ssl-client-s-dn = "subject", x-caller = "spiffe_id" }
trace = true
[[inbound.rule]]
peers = "spiffe://prod.example/**"
methods = ["GET", "PROPFIND"]
paths = "/orders/**"
hosts = ["orders.example", "*.Orders.example"]

[[outbound]]
listen = "127.0.0.1:3128"
protocol = "http"
alpn = ["h2"]
trace = true
[[outbound.route]]
hosts = ["{0}.{1}.svc"]
target = ["{0}.{1}.svc:8443", "unix:/run/{0}.sock"]
expect = ["spiffe://prod.example/ns/{1}/sa/{0}"]
[[outbound.route]]
name = "rest"
hosts = ["*.example", "*"]
target = "{host}:8443"
expect = "spiffe://other.example/gate"
server_name = "gate.example"

[limits.http]
max_header_bytes = "8KiB"
max_headers = 7
max_body = "1MiB"
header_timeout = "1s"
request_timeout = "off"
keep_alive = "off"
max_requests = 8
max_age = "1h"
max_streams = 9
max_resets = 10
stream_buffer = "32KiB"
connection_buffer = "64KiB"
upstream_keep_alive = "2s"
max_idle_upstream = 0

[log]
requests = "12.5%"
"#,
    );
    let [orders, egress] = &config.listeners[..] else { panic!("{config:?}") };
    assert_eq!(orders.targets[1], Target::Unix("/run/app.sock".into()));
    let Protocol::Http(http) = &orders.protocol else { panic!("{orders:?}") };
    let own = |name: &'static str, fact| OwnHeader { name: http::HeaderName::from_static(name), fact };
    assert_eq!(
        **http,
        Http {
            routes: Vec::new(),
            identity_headers: IdentityHeaders {
                send: IdentityHeader::ALL.to_vec(),
                xfcc: XfccMode::AppendForward,
                own: vec![own("x-ssl-client-s-dn", PeerFact::Subject), own("x-caller", PeerFact::SpiffeId)],
            },
            trace: true,
            access_log: AccessLog::Share(0.125),
            upstream: HttpVersions::Http2,
        }
    );
    let requests = &orders.policy.rules()[0].requests;
    assert_eq!(requests.methods.iter().map(http::Method::as_str).collect::<Vec<_>>(), ["GET", "PROPFIND"]);
    assert_eq!(requests.paths[0].to_string(), "/orders/**");
    assert_eq!(requests.hosts[1].to_string(), "*.orders.example");

    let Protocol::Http(http) = &egress.protocol else { panic!("{egress:?}") };
    assert!(egress.targets.is_empty() && egress.policy.rules().is_empty(), "{egress:?}");
    assert!(http.trace);
    assert_eq!(http.upstream, HttpVersions::Http2);
    let [svc, rest] = &http.routes[..] else { panic!("{http:?}") };
    assert_eq!((&*svc.name, &*rest.name), ("route-1", "rest"));
    assert_eq!(svc.hosts[0].to_string(), "{0}.{1}.svc");
    assert_eq!(svc.targets[1].to_string(), "unix:/run/{0}.sock");
    assert_eq!(svc.expect[0].to_string(), "spiffe://prod.example/ns/{1}/sa/{0}");
    assert_eq!(rest.expect[0].fixed().unwrap().to_string(), "spiffe://other.example/gate");
    assert_eq!(rest.server_name.as_ref().unwrap().as_ref(), "gate.example");

    assert_eq!(
        config.limits.http,
        HttpLimits {
            max_header_bytes: 8 << 10,
            max_headers: 7,
            max_body: Some(1 << 20),
            header_timeout: Duration::from_secs(1),
            request_timeout: None,
            keep_alive: None,
            max_requests: Some(8),
            max_age: Some(Duration::from_secs(3600)),
            max_streams: 9,
            max_resets: 10,
            stream_buffer: 32 << 10,
            connection_buffer: 64 << 10,
            upstream_keep_alive: Duration::from_secs(2),
            max_idle_upstream: 0,
        }
    );
    assert_eq!(config.log.requests, AccessLog::Share(0.125));
}

#[test]
fn a_template_takes_the_labels_of_the_host_and_nothing_else() {
    let config = good(&routed(
        "",
        "hosts = \"{0}.{1}.svc\"\ntarget = [\"{0}.{1}.svc:8443\", \"{host}:1\", \"unix:/run/{1}.sock\"]\n\
         expect = \"spiffe://prod.example/ns/{1}/sa/{0}\"",
    ));
    let route = &http_of(&config).routes[0];
    let target = |index: usize, host: &str, labels: &[&str]| {
        route.targets[index].fill(host, labels).ok().map(|target| target.to_string())
    };
    assert_eq!(target(0, "", &["web", "7"]).unwrap(), "web.7.svc:8443");
    for host in ["web.shop.svc", "10.0.0.1", "[2001:db8::1]"] {
        assert_eq!(target(1, host, &[]).unwrap(), format!("{host}:1"));
    }
    assert_eq!(target(2, "", &["web", "shop"]).unwrap(), "unix:/run/shop.sock");
    let pattern = |labels: &[&str]| route.expect[0].fill(labels).ok().map(|pattern| pattern.to_string());
    assert_eq!(pattern(&["web", "shop"]).unwrap(), "spiffe://prod.example/ns/shop/sa/web");
    for odd in ["*", "**", "..", ".", "a/b", "a.b", "a:1", "{0}", "{1}", "", "é"] {
        assert_eq!(target(0, "", &[odd, "shop"]), None, "{odd:?}");
        assert_eq!(target(2, "", &["web", odd]), None, "{odd:?}");
        assert_eq!(target(1, &format!("{odd}:1"), &[]), None, "{odd:?}");
        // A dot alone is harmless within a segment; a captured label has none.
        assert_eq!(pattern(&[odd, "shop"]).is_some(), odd == "a.b", "{odd:?}");
    }
    assert_eq!((target(0, "", &["web"]), pattern(&["web"])), (None, None), "a label short");
}

#[test]
fn what_is_about_http_belongs_to_a_listener_of_http() {
    let about = |key: &str| {
        format!("`{key}` is about HTTP; this listener passes on bytes | set `protocol = \"http\"` on the listener")
    };
    let plain = "target = \"localhost:8080\"";
    for (text, place, key) in [
        (inbound(&format!("{plain}\nidentity_headers = []")), "4:20", "identity_headers"),
        (inbound(&format!("{plain}\nxfcc = \"sanitize\"")), "4:8", "xfcc"),
        (inbound(&format!("{plain}\nown_headers = {{ x-caller = \"path\" }}")), "4:15", "own_headers"),
        (inbound(&format!("{plain}\ntrace = false")), "4:9", "trace"),
        (inbound("target = [\"h2c://localhost:8080\"]"), "3:11", "h2c"),
        (with("methods = \"GET\"\n"), "6:11", "methods"),
        (with("paths = \"/a\"\n"), "6:9", "paths"),
        (with("hosts = \"a.example\"\n"), "6:9", "hosts"),
        (outbound("listen = \"localhost:1\"\ntrace = true"), "5:9", "trace"),
        (
            routed("", "hosts = \"a\"\ntarget = \"a:1\"\nexpect = \"spiffe://a/b\"").replace("protocol = \"http\"", ""),
            "5:1",
            "route",
        ),
    ] {
        assert_eq!(faults(&text), [format!("{place} {}", about(key))], "{text}");
    }
    // Where the protocol itself is misspelt, nobody knows.
    let misspelt = inbound(&format!("{plain}\nprotocol = \"htp\"\ntrace = true"));
    assert_eq!(faults(&misspelt).len(), 1);
    let flags = Flags { targets: vec!["h2c://localhost:8080".into()], ..inbound_flags() };
    assert_eq!(
        Config::from_flags(&flags).unwrap_err().to_string(),
        "error: --target: `h2c` is about HTTP; this listener passes on bytes\nhint: give `--protocol http`"
    );
}

#[test]
fn each_single_fault_of_an_http_inbound_has_its_message_and_hint() {
    let target = |target: &str| http_inbound("", "").replace("\"localhost:8080\"", target);
    let framing = |name: &str| {
        format!(
            "5:17 `{name}` is not to be set: it is about the connection, the message or its way | write a name of your own, such as \"x-caller\""
        )
    };
    let own = |entries: &str| http_inbound(&format!("own_headers = {{ {entries} }}"), "");
    let rule = |conditions: &str| http_inbound("", conditions).replace("\n\n[[", "\n[[");
    let facts = "expected \"spiffe_id\", \"trust_domain\", \"path\", \"subject\", \"issuer\", \"serial\", \"hash\", \"not_after\", \"certificate\", \"verified\" or \"rule\"";
    for (text, expected) in [
        (rule("methods = [\"get\"]"), "7:12 \"get\" is no method | methods are written as they are sent, in upper case: \"GET\"".into()),
        (rule("methods = \"*\""), "7:11 \"*\" is no method | leave `methods` out for every method".into()),
        (rule("methods = \"GET /\""), "7:11 \"GET /\" is no method | did you mean \"GET\"?".into()),
        (rule("methods = \"Ü\""), "7:11 \"Ü\" is no method | write one word, such as \"GET\"".into()),
        (rule("methods = []"), "7:11 `methods` is empty | leave `methods` out for all of them".into()),
        (rule("paths = []"), "7:9 `paths` is empty | leave `paths` out for all of them".into()),
        (rule("hosts = []"), "7:9 `hosts` is empty | leave `hosts` out for all of them".into()),
        (
            rule("hosts = \"{0}.svc\""),
            "7:9 \"{0}.svc\" captures labels; a rule has no use for them | write `*.example` for every name below a name".into(),
        ),
        (rule("hosts = \"a:80\""), "7:9 \"a:80\" is no pattern of hosts | ports do not belong here: hosts are matched without them".into()),
        (
            target("[\"h2c://localhost:1\", \"localhost:2\"]"),
            "3:32 some targets are to be spoken to in HTTP/2, others not | write `h2c://` before all targets of a listener, or before none".into(),
        ),
        (target("\"h2c:localhost:1\""), "3:10 \"h2c:localhost:1\" is no address | write `h2c://localhost:1`".into()),
        (target("\"h2c://unix:/a\""), "3:10 \"h2c://unix:/a\" is no address | write `h2c:unix:/a`".into()),
        (
            target("\"h2c://localhost:1/a\""),
            "3:10 \"h2c://localhost:1/a\" has a path; a target is a machine and a port | write `h2c://localhost:1`".into(),
        ),
        (target("\"h2c://localhost\""), "3:10 `localhost` has no port | write `localhost:PORT`".into()),
        (target("\"http://localhost:1\""), "3:10 an address has no scheme: `http://` does not belong here | write `localhost:1`".into()),
        (target("\"https://localhost:1\""), "3:10 an address has no scheme: `https://` does not belong here | write `localhost:1`".into()),
        (
            target("\"h2c://10.0.0.1:1\""),
            "3:10 plaintext to `10.0.0.1:1` would leave this machine | connect to `localhost:PORT` or `unix:/path`, or set `allow_plaintext_network = true` beside it if the network is protected otherwise".into(),
        ),
        (target("\"h2c://[::1]:8443\""), "3:10 `[::1]:8443` is where this listener itself listens | name the address of the service behind it".into()),
        (
            http_inbound("alpn = [\"h2\", \"spdy\"]", ""),
            "5:15 `spdy` is no version of HTTP that is spoken here | write \"h2\" or \"http/1.1\"".into(),
        ),
        (
            http_inbound("identity_headers = [\"x-spiffe\"]", ""),
            "5:21 expected \"x-forwarded-client-cert\", \"client-cert\", \"client-cert-chain\" or \"x-spiffe-id\", found the text \"x-spiffe\" | did you mean \"x-spiffe-id\"?".into(),
        ),
        (http_inbound("identity_headers = [\"client-cert\", \"client-cert\"]", ""), "5:36 `client-cert` is named twice".into()),
        (
            http_inbound("xfcc = \"forward\"", ""),
            "5:8 expected \"sanitize\", \"forward_only\", \"append_forward\" or \"sanitize_set\", found the text \"forward\" | did you mean \"forward_only\"?".into(),
        ),
        (
            http_inbound("identity_headers = []\nxfcc = \"forward_only\"", ""),
            "6:8 `forward_only` is said of a header that is switched off | name \"x-forwarded-client-cert\" in `identity_headers`, or leave `xfcc` out".into(),
        ),
        (http_inbound("own_headers = \"x-caller\"", ""), "5:15 `inbound.own_headers` is a table, not of type string | write `key = value` lines below the line with its name in brackets".into()),
        (own("x-caller = \"spiffeid\""), format!("5:28 {facts}, found the text \"spiffeid\" | did you mean \"spiffe_id\"?")),
        (own("x-caller = 5"), format!("5:28 {facts}, found the number 5")),
        (own("X-Caller = \"path\""), "5:17 \"X-Caller\" is no name of a header | write it in lower case: \"x-caller\"".into()),
        (own("\"x caller\" = \"path\""), "5:17 \"x caller\" is no name of a header | write letters, digits and `-`, such as \"x-caller\"".into()),
        (own("connection = \"path\""), framing("connection")),
        (own("content_length = \"path\""), framing("content_length")),
        (own("transfer-encoding = \"path\""), framing("transfer-encoding")),
        (own("host = \"path\""), framing("host")),
        (own("te = \"path\""), framing("te")),
        (own("trailer = \"path\""), framing("trailer")),
        (own("upgrade = \"path\""), framing("upgrade")),
        (own("x_spiffe_id = \"path\""), "5:17 `x_spiffe_id` has its own contents | name it in `identity_headers`: \"x-spiffe-id\"".into()),
        (
            own("x_caller = \"path\", x-caller = \"hash\""),
            "5:36 `x-caller` is named twice | many applications take `_` for `-`; the other one is at f:5:17".into(),
        ),
        (
            http_inbound("", "").replace("[[inbound.rule]]\npeers = \"spiffe://prod.example/**\"", ""),
            "1:1 no enforced rule allows anyone: every peer would be refused | add a `[[inbound.rule]]` with `peers = [\"spiffe://prod.example/ns/web/sa/*\"]`".into(),
        ),
        (http_inbound("[[inbound.route]]", ""), "5:11 unknown key `route` in `inbound` | did you mean `rule`? `route` belongs in `[[outbound]]`".into()),
    ] {
        assert_eq!(faults(&text), [expected], "{text}");
    }
    let bad_path = faults(&rule("paths = \"orders\""));
    assert!(bad_path[0].starts_with("7:9 \"orders\" is no pattern of paths | "), "{bad_path:?}");
}

#[test]
fn each_single_fault_of_an_http_outbound_has_its_message_and_hint() {
    let route = "hosts = \"{0}.svc\"\ntarget = \"{0}.svc:8443\"\nexpect = \"spiffe://prod.example/sa/{0}\"\n";
    let with_target = |target: &str| routed("", &route.replace("\"{0}.svc:8443\"", target));
    let with_expect = |expect: &str| routed("", &route.replace("\"spiffe://prod.example/sa/{0}\"", expect));
    let another = |keys: &str| routed("", &format!("{route}[[outbound.route]]\n{keys}"));
    let literal = "the trust domain is always literal: placeholders stand in the path, as in `spiffe://prod.example/ns/{1}/sa/{0}`";
    let either = |key: &str| {
        format!(
            "4:{} `{key}` is not for a listener with routes | say `{key}` in each `[[outbound.route]]`, or leave the routes out",
            key.len() + 4
        )
    };
    for (text, expected) in [
        (
            "[[outbound]]\nlisten = \"localhost:1\"\nprotocol = \"http\"\n".to_owned(),
            "1:1 there is neither a route nor a target | add an `[[outbound.route]]` for each service, or `target` and `expect` for every request".to_owned(),
        ),
        (
            "[[outbound]]\nlisten = \"localhost:1\"\nprotocol = \"http\"\ntarget = \"a:1\"\n".into(),
            "1:1 `expect` is missing | say who must be at the other end, such as `expect = [\"spiffe://prod.example/ns/db/sa/*\"]`".into(),
        ),
        (routed("target = \"a:1\"", route), either("target")),
        (routed("expect = \"spiffe://a/b\"", route), either("expect")),
        (routed("server_name = \"a\"", route), either("server_name")),
        (
            routed("", "target = \"a:1\"\nexpect = \"spiffe://a/b\""),
            "5:1 `hosts` is missing | say which hosts the route is for, such as `hosts = [\"orders.example\", \"*.orders.example\"]`".into(),
        ),
        (
            routed("", "hosts = []\ntarget = \"a:1\"\nexpect = \"spiffe://a/b\""),
            "6:9 `hosts` is empty | say which hosts the route is for, such as `hosts = [\"orders.example\", \"*.orders.example\"]`".into(),
        ),
        (
            routed("", "hosts = \"a\"\nexpect = \"spiffe://a/b\""),
            "5:1 `target` is missing | say where connections go to, such as `target = \"localhost:8080\"`".into(),
        ),
        (
            routed("", "hosts = \"a\"\ntarget = \"a:1\""),
            "5:1 `expect` is missing | say who must be at the other end, such as `expect = [\"spiffe://prod.example/ns/db/sa/*\"]`".into(),
        ),
        (
            with_target("\"{1}.svc:8443\""),
            "7:10 `{1}` is a label that the host `{0}.svc` does not capture | write every host of the route with it, as in `{0}.{1}.svc`".into(),
        ),
        (
            with_expect("[\"spiffe://prod.example/a\", \"spiffe://prod.example/{3}\"]"),
            "8:38 `{3}` is a label that the host `{0}.svc` does not capture | write every host of the route with it, as in `{0}.{1}.{2}.{3}.svc`".into(),
        ),
        (
            routed("", &route.replace("\"{0}.svc\"\n", "[\"{0}.svc\", \"web\"]\n").replace("sa/{0}", "sa")),
            "7:10 `{0}` is a label that the host `web` does not capture | write every host of the route with it, as in `{0}.svc`".into(),
        ),
        (with_expect("\"spiffe://{0}.example/sa/web\""), format!("8:10 \"spiffe://{{0}}.example/sa/web\" has a placeholder in the trust domain | {literal}")),
        (
            with_expect("\"spiffe://prod.example/{host}\""),
            "8:10 \"spiffe://prod.example/{host}\" has `{host}`, which is for targets | write `{0}`, `{1}` and so on for the labels that the host pattern captures".into(),
        ),
        (
            with_expect("\"spiffe://prod.example/a*{0}\""),
            "8:10 with `x` for each placeholder: \"spiffe://prod.example/a*x\" is no pattern of SPIFFE IDs | `*` stands for one whole segment; a part of a segment cannot be matched".into(),
        ),
        (
            with_target("\"{name}:80\""),
            "7:10 `{name}` in \"{name}:80\" is no placeholder | write `{0}`, `{1}` and so on for the labels that the host pattern captures".into(),
        ),
        (
            with_target("\"{00}:80\""),
            "7:10 `{00}` in \"{00}:80\" is no placeholder | write `{0}`, `{1}` and so on for the labels that the host pattern captures".into(),
        ),
        (with_target("\"{0}\""), "7:10 with `x` for each placeholder: `x` has no port | write `x:PORT`".into()),
        (
            with_target("\"a:{0}\""),
            "7:10 with `x` for each placeholder: `x` is no port | a port is a number from 1 to 65535; a listener may have 0 for any free one".into(),
        ),
        (
            with_target("\"{0}}:80\""),
            "7:10 with `x` for each placeholder: `x}` is neither a DNS name nor an IP address | write a name such as `db.internal:5432`, or an IP address".into(),
        ),
        (
            with_target("\"h2c://{0}:80\""),
            "7:10 with `x` for each placeholder: \"h2c://x:80\" is HTTP/2 in plaintext; what goes out is mutual TLS | write \"x:80\", and `alpn = [\"h2\"]` for HTTP/2".into(),
        ),
        (
            with_target("\"h2c://a:80\""),
            "7:10 \"h2c://a:80\" is HTTP/2 in plaintext; what goes out is mutual TLS | write \"a:80\", and `alpn = [\"h2\"]` for HTTP/2".into(),
        ),
        (with_target("\"https://a\""), "7:10 an address has no scheme: `https://` does not belong here | write `a:PORT`".into()),
        (
            with_target("\"127.0.0.1:3128\""),
            "7:10 `127.0.0.1:3128` is where this listener itself listens | name the address of the service behind it".into(),
        ),
        (
            another("hosts = [\"a\", \"{0}.SVC\"]\ntarget = \"a:1\"\nexpect = \"spiffe://a/b\""),
            "10:15 `{0}.svc` is routed twice | the other one is at f:6:9".into(),
        ),
        (
            routed("", "hosts = [\"a\", \"a\"]\ntarget = \"a:1\"\nexpect = \"spiffe://a/b\""),
            "6:15 `a` is routed twice | the other one is at f:6:10".into(),
        ),
        (
            another("name = \"route-1\"\nhosts = \"a\"\ntarget = \"a:1\"\nexpect = \"spiffe://a/b\""),
            "10:8 two routes of this listener are named `route-1` | the other one is at f:5:1".into(),
        ),
        (routed("xfcc = \"sanitize\"", route), "4:1 unknown key `xfcc` in `outbound` | it belongs in `[[inbound]]`".into()),
    ] {
        assert_eq!(faults(&text), [expected], "{text}");
    }
}

#[test]
fn each_single_fault_of_the_bounds_and_the_log_of_http_has_its_message_and_hint() {
    for (lines, expected) in [
        (
            "[limits.http]\nconnection_buffer = \"512KiB\"",
            "7:21 all streams of a connection may hold 512KiB, one of them 1MiB | make `connection_buffer` at least `stream_buffer`",
        ),
        (
            "[limits.http]\nstream_buffer = \"16MiB\"",
            "7:17 all streams of a connection may hold 8MiB, one of them 16MiB | make `connection_buffer` at least `stream_buffer`",
        ),
        ("[limits.http]\nmax_requests = -1", "7:16 -1 is negative"),
        ("[limits.http]\nmax_requests = true", "7:16 expected a whole number, or \"off\", found `true`"),
        (
            "[limits.http]\nmax_body = \"1MB\"",
            "7:12 \"1MB\" is no size | write a whole number and one of the units B, KiB, MiB, GiB, such as \"64KiB\", or \"off\"",
        ),
        ("[limits.http]\nmax_body = 5", "7:12 expected a size such as \"64KiB\", or \"off\", found the number 5"),
        (
            "[limits]\nstream_buffer = \"1MiB\"",
            "7:1 unknown key `stream_buffer` in `limits` | it belongs in `[limits.http]`",
        ),
        (
            "[limits]\nmax_headers = 5",
            "7:1 unknown key `max_headers` in `limits` | did you mean `max_handshakes`? `max_headers` belongs in `[limits.http]`",
        ),
        ("[limits.http]\nmax_boddy = 5", "7:1 unknown key `max_boddy` in `limits.http` | did you mean `max_body`?"),
        (
            "[log]\nrequests = \"of\"",
            "7:12 expected \"off\", \"errors\", \"all\" or a share such as \"10%\", found the text \"of\" | did you mean \"off\"?",
        ),
        (
            "[log]\nrequests = true",
            "7:12 expected \"off\", \"errors\", \"all\" or a share such as \"10%\", found `true`",
        ),
    ] {
        assert_eq!(faults(&with(&format!("{lines}\n"))), [expected], "{lines}");
    }
    for share in ["0%", "0.0%", "101%", "-1%", "+1%", "%", "inf%", "1e1%", "NaN%", "1.2.3%"] {
        let found = faults(&with(&format!("[log]\nrequests = \"{share}\"\n")));
        assert!(found[0].ends_with(" | a share is above 0% and at most 100%"), "{share}: {found:?}");
    }
    for (text, requests) in [
        ("off", AccessLog::Off),
        ("errors", AccessLog::Errors),
        ("all", AccessLog::Share(1.0)),
        ("100%", AccessLog::Share(1.0)),
        ("0.5%", AccessLog::Share(0.005)),
    ] {
        assert_eq!(good(&with(&format!("[log]\nrequests = \"{text}\"\n"))).log.requests, requests, "{text}");
    }
}

#[test]
fn every_word_of_http_is_read_as_what_it_says() {
    for fact in PeerFact::ALL {
        let config = good(&http_inbound(&format!("own_headers = {{ x-fact = \"{}\" }}", fact.as_str()), ""));
        assert_eq!(http_of(&config).identity_headers.own[0].fact, fact);
    }
    for mode in XfccMode::ALL {
        let config = good(&http_inbound(&format!("xfcc = \"{}\"", mode.as_str()), ""));
        assert_eq!(http_of(&config).identity_headers.xfcc, mode);
    }
    for header in IdentityHeader::ALL {
        let config = good(&http_inbound(&format!("identity_headers = \"{}\"", header.as_str()), ""));
        assert_eq!(http_of(&config).identity_headers.send, [header]);
    }
    assert!(http_of(&good(&http_inbound("identity_headers = []", ""))).identity_headers.send.is_empty());
    let table = "[inbound.own_headers]\nx-caller = \"rule\"";
    assert_eq!(http_of(&good(&http_inbound(table, ""))).identity_headers.own[0].fact, PeerFact::Rule);
}

#[test]
fn too_much_of_http_is_refused() {
    let many = |count: usize, item: &str| format!("[{}]", format!("\"{item}\", ").repeat(count));
    let numbered = |count: usize, item: &str| {
        let items = (0..count).map(|number| format!("\"{}\", ", item.replace('#', &number.to_string())));
        format!("[{}]", items.collect::<String>())
    };
    let route = |hosts: &str, target: &str, expect: &str| {
        routed("", &format!("hosts = {hosts}\ntarget = {target}\nexpect = {expect}\n"))
    };
    let (host, target, expect) = ("\"a\"", "\"a:1\"", "\"spiffe://a/b\"");
    for (text, expected) in [
        (
            http_inbound("", &format!("methods = {}", many(101, "GET"))),
            "8:11 there are 101 methods; 100 are read at most",
        ),
        (http_inbound("", &format!("paths = {}", many(101, "/a"))), "8:9 there are 101 paths; 100 are read at most"),
        (http_inbound("", &format!("hosts = {}", many(101, "a"))), "8:9 there are 101 hosts; 100 are read at most"),
        (
            http_inbound(
                &format!(
                    "own_headers = {{ {} }}",
                    (0..33).map(|number| format!("x-{number} = \"path\"")).collect::<Vec<_>>().join(", ")
                ),
                "",
            ),
            "5:15 there are 33 own headers; 32 are read at most",
        ),
        (route(&numbered(1001, "a#"), target, expect), "6:9 there are 1001 hosts; 1000 are read at most"),
        (route(host, &many(65, "a:1"), expect), "7:10 there are 65 targets; 64 are read at most"),
        (route(host, target, &many(10_001, "spiffe://a/b")), "8:10 there are 10001 patterns; 10000 are read at most"),
        (routed("", &"[[outbound.route]]\n".repeat(1000)), "1005:1 there are 1001 routes; 1000 are read at most"),
    ] {
        assert_eq!(faults(&text), [expected]);
    }
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
    let http = Some("http".to_owned());
    let h2c = Flags { targets: vec!["h2c://localhost:8080".into()], protocol: http.clone(), ..inbound_flags() };
    let h2 = Flags { protocol: http, ..outbound_flags() };
    for flags in [inbound_flags(), outbound_flags(), network, odd, h2c, h2] {
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
         error: --protocol: expected \"tcp\" or \"http\", found the text \"htp\"\n\
         hint: did you mean \"http\"?\n\
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

/// What a value breaks of a schema, as far as our schema goes: known and own keys, required keys, enums and alternatives.
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
            let has_all = |choice: &Value| {
                choice["required"].as_array().unwrap().iter().all(|key| table.contains_key(key.as_str().unwrap()))
            };
            if let Some(choices) = schema["oneOf"].as_array() {
                assert_eq!(choices.iter().filter(|choice| has_all(choice)).count(), 1, "{path}");
            }
            for (key, value) in table {
                let own = schema.get("additionalProperties").filter(|schema| schema.is_object());
                match schema["properties"].get(key).or(own) {
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
        let mut required = shape["required"].as_array().unwrap().clone();
        // Of the two ways out, the one without HTTP.
        required.extend(shape["oneOf"][0]["required"].as_array().into_iter().flatten().cloned());
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
