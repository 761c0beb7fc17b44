//! `svidgate check` and the commands of one listener, as a user runs them: what they print, and with which exit code they end.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use svidgate::mint::{Authority, bundle_map};
use svidgate::spiffe::{SpiffeId, TrustDomain};

fn svidgate(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_svidgate")).args(args).env_remove("SVIDGATE_CONFIG").output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn write(dir: &Path, text: &str) -> String {
    let path = dir.join("svidgate.toml");
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn listener(dir: &Path, target: &str) -> String {
    format!(
        "[identity]\ndir = {:?}\n[[inbound]]\nname = \"web\"\nlisten = \":8443\"\ntarget = {target:?}\n\
         [[inbound.rule]]\nname = \"friends\"\npeers = [\"spiffe://prod.example/ns/web/sa/*\", \"spiffe://other.example/**\"]\n",
        dir.to_str().unwrap()
    )
}

/// Throwaway credentials in the layout of Compute Engine.
fn mint(dir: &Path) {
    let authority = Authority::new(TrustDomain::parse("prod.example").unwrap()).unwrap();
    let id = SpiffeId::parse("spiffe://prod.example/ns/web/sa/server").unwrap();
    let issued = authority.issue(&id, Duration::from_secs(3600)).unwrap();
    std::fs::write(dir.join("certificates.pem"), &issued.certificates).unwrap();
    std::fs::write(dir.join("private_key.pem"), issued.private_key.as_bytes()).unwrap();
    std::fs::write(dir.join("trust_bundles.json"), bundle_map(&[&authority])).unwrap();
}

#[test]
fn a_good_configuration_with_good_credentials_ends_with_0_and_says_what_would_run() {
    let dir = tempfile::tempdir().unwrap();
    mint(dir.path());
    let file = write(dir.path(), &listener(dir.path(), "127.0.0.1:8080"));
    let output = svidgate(&["check", "--config", &file]);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{err}");
    assert!(err.contains(&format!(
        "warning: {file}:5:10: rule `friends` of `web` names trust domain `other.example`, of which there is no trust bundle: no peer can match"
    )), "{err}");
    for line in [
        &format!("{file}: the configuration is good"),
        "identity: spiffe://prod.example/ns/web/sa/server",
        "  trusts prod.example",
        "inbound web: [::]:8443 to 127.0.0.1:8080",
        "  allow by friends",
        "    spiffe://prod.example/ns/web/sa/*",
    ] {
        assert!(out.lines().any(|written| written == line), "{line:?} in\n{out}");
    }
    let report = svidgate(&["check", "--config", &file, "--json"]);
    let report = serde_json::from_slice::<Value>(&report.stdout).unwrap();
    assert_eq!(report["verdict"], "good");
    assert_eq!(report["identity"]["spiffe_id"], "spiffe://prod.example/ns/web/sa/server");
    assert_eq!(report["identity"]["trust_domains"], serde_json::json!(["prod.example"]));
    assert_eq!(report["listeners"][0]["rules"][0]["action"], "allow");
}

#[test]
fn a_name_that_does_not_resolve_is_a_warning_at_its_place() {
    let dir = tempfile::tempdir().unwrap();
    mint(dir.path());
    let text_of_file = listener(dir.path(), "no-such-host.invalid:80")
        .replace("[[inbound.rule]]", "allow_plaintext_network = true\n[[inbound.rule]]");
    let file = write(dir.path(), &text_of_file);
    let output = svidgate(&["check", "--config", &file]);
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{err}");
    assert!(err.contains(&format!("warning: {file}:6:10: `no-such-host.invalid` does not resolve now: ")), "{err}");
}

#[test]
fn a_fault_in_a_flag_of_the_quick_commands_names_the_flag_and_ends_with_2() {
    let output =
        svidgate(&["outbound", "--listen", ":1", "--target", "a:1", "b:1", "--expect", "spiffe://prod.example/x"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr)
            .starts_with("error: --listen: plaintext on `[::]:1` would come in from other machines\nhint: ")
    );
}

#[test]
fn a_bad_configuration_is_told_with_every_place_and_ends_with_2() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), "[[outbound]]\nlisten = \"localhost:1\"\ntarget = \"a\"\nexpcet = \"x\"\n");
    let output = svidgate(&["check", "--config", &file]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        text(&output.stderr),
        format!(
            "error: {file}:1:1: `expect` is missing\n\
             hint: say who must be at the other end, such as `expect = [\"spiffe://prod.example/ns/db/sa/*\"]`\n\
             error: {file}:3:10: `a` has no port\nhint: write `a:PORT`\n\
             error: {file}:4:1: unknown key `expcet` in `outbound`\nhint: did you mean `expect`?\n"
        )
    );
    let output = svidgate(&["check", "--config", &file, "--json"]);
    assert_eq!(output.status.code(), Some(2));
    let report = serde_json::from_slice::<Value>(&output.stdout).unwrap();
    assert_eq!(report["verdict"], "bad_configuration");
    assert_eq!(report["errors"][1]["line"], 3);
    assert_eq!(report["errors"][1]["column"], 10);
    assert_eq!(report["errors"][1]["hint"], "write `a:PORT`");
}

#[test]
fn unusable_credentials_end_with_1_and_what_else_is_wrong_with_them_is_told_too() {
    let dir = tempfile::tempdir().unwrap();
    mint(dir.path());
    let key = dir.path().join("private_key.pem");
    let other = tempfile::tempdir().unwrap();
    mint(other.path());
    std::fs::copy(other.path().join("private_key.pem"), &key).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let file = write(dir.path(), &listener(dir.path(), "127.0.0.1:8080"));
    let output = svidgate(&["check", "--config", &file]);
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.starts_with("error: the key in ") && err.contains("is not the key of the first certificate"), "{err}");
    assert!(err.contains("\nwarning: the private key in ") && err.contains("read by everybody"), "{err}");
}

#[test]
fn credentials_that_are_not_there_end_with_1_and_the_rest_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), &listener(&dir.path().join("none"), "unix:/no/such/socket"));
    let output = svidgate(&["check", "--config", &file]);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.starts_with("error: ") && err.contains("none"), "{err}");
    assert!(err.contains(&format!("warning: {file}:6:10: there is no socket `/no/such/socket` now")), "{err}");
    assert!(out.contains("identity: none that can be used"), "{out}");
    assert!(out.contains("inbound web: [::]:8443 to unix:/no/such/socket\n  allow by friends\n"), "{out}");
    let output = svidgate(&["check", "--config", &file, "--json"]);
    let report = serde_json::from_slice::<Value>(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(report["verdict"], "credentials_not_usable");
    assert_eq!(report["listeners"][0]["name"], "web");
}

/// An HTTP listener of each side, both with something to warn of.
fn http_listeners(dir: &Path) -> String {
    format!(
        r#"[identity]
dir = {:?}
[[inbound]]
name = "orders"
listen = ":8443"
target = ["h2c://127.0.0.1:8080", "h2c:unix:/no/such/socket"]
protocol = "http"
identity_headers = ["x-forwarded-client-cert", "x-spiffe-id"]
own_headers = {{ x-caller = "spiffe_id" }}
[[inbound.rule]]
name = "readers"
peers = "spiffe://prod.example/**"
methods = ["GET", "HEAD"]
paths = "/orders/**"
hosts = ["orders.example", "*.orders.example"]
[[outbound]]
name = "egress"
listen = "127.0.0.1:3128"
protocol = "http"
[[outbound.route]]
name = "billing"
hosts = "{{0}}.{{1}}.svc"
target = ["{{0}}.{{1}}.svc:8443", "no-such-host.invalid:80"]
expect = ["spiffe://prod.example/ns/{{1}}/sa/{{0}}", "spiffe://other.example/ns/{{1}}"]
server_name = "billing.example"
"#,
        dir.to_str().unwrap()
    )
}

#[test]
fn what_http_listeners_would_do_is_told_with_routes_conditions_and_headers() {
    let dir = tempfile::tempdir().unwrap();
    mint(dir.path());
    let file = write(dir.path(), &http_listeners(dir.path()));
    let output = svidgate(&["check", "--config", &file]);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{err}");
    let told = "\
inbound orders: [::]:8443 to h2c://127.0.0.1:8080, h2c:unix:/no/such/socket (http)
  headers x-forwarded-client-cert (sanitize_set), x-spiffe-id, x-caller = spiffe_id
  allow by readers
    spiffe://prod.example/**
    methods GET, HEAD
    paths /orders/**
    hosts orders.example, *.orders.example
outbound egress: 127.0.0.1:3128 by routes (http)
  route billing: {0}.{1}.svc to {0}.{1}.svc:8443, no-such-host.invalid:80
    spiffe://prod.example/ns/{1}/sa/{0}
    spiffe://other.example/ns/{1}
";
    assert!(out.ends_with(told), "{out}");
    let output = svidgate(&["check", "--config", &file, "--json"]);
    let report = serde_json::from_slice::<Value>(&output.stdout).unwrap();
    let [orders, egress] = &report["listeners"].as_array().unwrap()[..] else { unreachable!("{report}") };
    assert_eq!(orders["protocol"], "http");
    assert_eq!(orders["targets"][0], "h2c://127.0.0.1:8080");
    assert_eq!(orders["identity_headers"], serde_json::json!(["x-forwarded-client-cert", "x-spiffe-id"]));
    assert_eq!(orders["xfcc"], "sanitize_set");
    assert_eq!(orders["own_headers"], serde_json::json!({ "x-caller": "spiffe_id" }));
    assert_eq!(orders["rules"][0]["methods"], serde_json::json!(["GET", "HEAD"]));
    assert_eq!(orders["rules"][0]["paths"], serde_json::json!(["/orders/**"]));
    assert_eq!(orders["rules"][0]["hosts"][1], "*.orders.example");
    assert_eq!(
        egress["routes"],
        serde_json::json!([{
            "name": "billing",
            "hosts": ["{0}.{1}.svc"],
            "targets": ["{0}.{1}.svc:8443", "no-such-host.invalid:80"],
            "expect": ["spiffe://prod.example/ns/{1}/sa/{0}", "spiffe://other.example/ns/{1}"],
            "server_name": "billing.example",
        }])
    );
}

#[test]
fn what_is_amiss_with_a_route_is_a_warning_at_its_place() {
    let dir = tempfile::tempdir().unwrap();
    mint(dir.path());
    let file = write(dir.path(), &http_listeners(dir.path()));
    let output = svidgate(&["check", "--config", &file]);
    let err = text(&output.stderr);
    assert!(err.contains(&format!("warning: {file}:6:35: there is no socket `/no/such/socket` now\n")), "{err}");
    assert!(err.contains(&format!("warning: {file}:23:31: `no-such-host.invalid` does not resolve now: ")), "{err}");
    let domain = "route `billing` of `egress` names trust domain `other.example`, of which there is no trust bundle";
    assert!(err.contains(&format!("warning: {file}:24:50: {domain}: no peer can match\n")), "{err}");
    let at_places = err.lines().filter(|line| line.contains(&file)).count();
    assert_eq!(at_places, 3, "{err}");
}

#[test]
fn the_quick_commands_take_http() {
    for verb in ["inbound", "outbound"] {
        let help = svidgate(&[verb, "--help"]);
        assert!(text(&help.stdout).contains("What the bytes are: tcp or http"), "{verb}");
    }
    let output =
        svidgate(&["inbound", "--listen", ":1", "--target", "h2c://localhost:1", "--allow", "spiffe://prod.example/x"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        text(&output.stderr),
        "error: --target: `h2c` is about HTTP; this listener passes on bytes\nhint: give `--protocol http`\n"
    );
    let output = svidgate(&[
        "outbound",
        "--listen",
        "localhost:1",
        "--target",
        "h2c://a:1",
        "--expect",
        "spiffe://prod.example/x",
        "--protocol",
        "http",
    ]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).ends_with("hint: write \"a:1\", and `alpn = [\"h2\"]` for HTTP/2\n"));
}
