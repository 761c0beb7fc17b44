//! The verbs that print and end: `check`, `identity`, `schema`, `completions`, `man`, `demo`, and the help of all.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::harness::process::Running;
use super::{Way, run, shown, svidgate, text};

const VERBS: [&[&str]; 11] = [
    &["run"],
    &["inbound"],
    &["outbound"],
    &["check"],
    &["demo"],
    &["identity"],
    &["identity", "show"],
    &["identity", "mint"],
    &["schema"],
    &["completions"],
    &["man"],
];

#[test]
fn every_verb_has_help_that_says_what_it_does() {
    for verb in VERBS {
        let output = run(&[verb, &["--help"]].concat());
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success() && err.is_empty(), "{verb:?}: {err}");
        assert!(out.contains(&format!("Usage: svidgate {}", verb.join(" "))), "{verb:?}: {out}");
        assert!(out.lines().next().unwrap().len() > 20, "{verb:?}: {out}");
    }
    let whole = text(&run(&["--help"]).stdout);
    for verb in VERBS {
        assert!(whole.contains(&format!("\n  {}", verb[0])), "{verb:?} is missing in {whole}");
    }
    assert!(text(&run(&["--version"]).stdout).starts_with("svidgate "));
    assert_eq!(run(&[]).status.code(), Some(2));
    assert_eq!(run(&["rnu"]).status.code(), Some(2));
}

#[test]
fn check_ends_with_0_1_or_2_and_so_it_does_when_its_reader_has_gone() {
    let good = Way::new();
    let no_credentials = Way::without_credentials();
    let faulty = Way::new();
    faulty.write("nonsense = 1\n");
    assert_eq!(unread(&["run", "--config", "/no/such/file"]), Some(2));
    for (way, code) in [(&good, 0), (&no_credentials, 1), (&faulty, 2)] {
        let file = shown(&way.config);
        for more in [&[][..], &["--json"]] {
            let args = [&["check", "--config", file], more].concat();
            let output = run(&args);
            assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
            assert_eq!(unread(&args), Some(code), "{args:?}");
        }
    }
}

/// The exit code of a verb whose standard output and error nobody reads, from the first byte on.
fn unread(args: &[&str]) -> Option<i32> {
    let mut child = svidgate(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop((child.stdout.take(), child.stderr.take()));
    child.wait().unwrap().code()
}

#[test]
fn a_reader_that_reads_one_line_and_goes_is_no_error() {
    for verb in [&["schema"][..], &["completions", "bash"], &["man"], &["--help"], &["run", "--help"]] {
        let mut child = svidgate(verb).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::with_capacity(16, child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""), "{verb:?}");
        assert_eq!(unread(verb), Some(0), "{verb:?}");
    }
}

#[test]
fn a_full_disk_is_an_error_and_no_panic() {
    for verb in [&["schema"][..], &["completions", "bash"], &["man"]] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = svidgate(verb).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{verb:?}");
        assert_eq!(text(&output.stderr), "error: No space left on device (os error 28)\n", "{verb:?}");
    }
}

#[test]
fn schema_completions_and_man_print_what_their_readers_read() {
    let schema = serde_json::from_slice::<Value>(&run(&["schema"]).stdout).unwrap();
    assert!(schema["properties"]["inbound"].is_object() && schema["$schema"].is_string());
    for (shell, part) in [("bash", "complete -F"), ("zsh", "#compdef svidgate"), ("fish", "complete -c svidgate")] {
        let script = text(&run(&["completions", shell]).stdout);
        assert!(script.contains(part) && script.contains("outbound"), "{shell}");
    }
    let page = text(&run(&["man"]).stdout);
    assert!(page.contains(".TH svidgate 1") && page.contains("outbound"), "{page}");
}

#[test]
fn the_shell_takes_its_completions() {
    let script = run(&["completions", "bash"]).stdout;
    let Ok(mut bash) =
        std::process::Command::new("bash").arg("-n").stdin(Stdio::piped()).stderr(Stdio::piped()).spawn()
    else {
        println!("SKIPPED: there is no bash");
        return;
    };
    bash.stdin.take().unwrap().write_all(&script).unwrap();
    let output = bash.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn what_is_minted_in_each_layout_is_shown_and_served() {
    let place = tempfile::tempdir().unwrap();
    for layout in ["gce", "gce-metadata", "kubernetes", "spiffe-helper"] {
        let dir = place.path().join(layout);
        let id = format!("spiffe://prod.example/ns/web/sa/{layout}");
        let minted = run(&["identity", "mint", shown(&dir), "--id", &id, "--layout", layout, "--lifetime", "2h"]);
        assert!(minted.status.success(), "{}", text(&minted.stderr));
        assert!(text(&minted.stdout).starts_with("NOT FOR PRODUCTION"), "{}", text(&minted.stdout));
        let seen = run(&["identity", "show", shown(&dir)]);
        let told = text(&seen.stdout);
        assert!(seen.status.success() && told.starts_with(&format!("{id}\nusable, ")), "{told}");
        let seen = run(&["identity", "show", shown(&dir), "--json"]);
        let json = serde_json::from_slice::<Value>(&seen.stdout).unwrap();
        assert_eq!((json["usable"].as_bool(), json["spiffe_id"].as_str()), (Some(true), Some(id.as_str())), "{json}");
        let allow = "spiffe://prod.example/**";
        let args = ["inbound", "--listen", "127.0.0.1:0", "--target", "127.0.0.1:1", "--allow", allow, "--identity"];
        let mut gate = Running::start(svidgate(&args).arg(&dir));
        gate.says(&["new credentials are in use", &id]);
    }
}

#[test]
fn two_trust_domains_minted_side_by_side_trust_each_other_through_one_map() {
    let place = tempfile::tempdir().unwrap();
    let (web, dev) = (place.path().join("web"), place.path().join("dev"));
    for (dir, id) in
        [(&web, "spiffe://prod.example/web"), (&dev, "spiffe://dev.example/db"), (&web, "spiffe://prod.example/web")]
    {
        assert!(run(&["identity", "mint", shown(dir), "--id", id]).status.success());
    }
    let map = |dir: &std::path::Path| std::fs::read_to_string(dir.join("trust_bundles.json")).unwrap();
    assert_eq!(map(&web), map(&dev));
    let target = super::echo().to_string();
    let door = ["inbound", "--listen", "127.0.0.1:0", "--target", &target, "--allow", "spiffe://prod.example/*"];
    let mut inbound = Running::start(svidgate(&door).arg("--identity").arg(&dev));
    let address = super::address(&mut inbound, "inbound").to_string();
    let egress = ["outbound", "--listen", "127.0.0.1:0", "--target", &address, "--expect", "spiffe://dev.example/db"];
    let mut outbound = Running::start(svidgate(&egress).arg("--identity").arg(&web));
    super::until_it_talks(super::address(&mut outbound, "outbound"));
}

#[test]
fn minting_goes_on_when_asked_and_is_followed_until_ctrl_c() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("workload-spiffe-credentials");
    let id = "spiffe://prod.example/ns/web/sa/api";
    let args = ["identity", "mint", shown(&dir), "--id", id, "--lifetime", "1h", "--rotate-every", "300ms"];
    let mut mint = Running::start(&mut svidgate(&args));
    mint.says(&["rotating every 300ms, until Ctrl-C"]);
    let args = ["inbound", "--listen", "127.0.0.1:0", "--target", "127.0.0.1:1", "--allow", id, "--identity"];
    let mut gate = Running::start(svidgate(&args).arg(&dir));
    gate.says(&["new credentials are in use", "credentials.generation=3"]);
    mint.signal(Signal::SIGINT);
    let (status, told) = mint.end();
    assert!(status.success() && told.contains(" rotated, valid until "), "{told}");
    assert!(!gate.printed().contains("not good"), "{}", gate.printed());
}

#[test]
fn identity_show_ends_with_1_where_there_is_nothing_and_tells_what_was_asked() {
    let output = run(&["identity", "show", "/no/such/place"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("NOT USABLE: /no/such/place is not there yet"));
    assert_eq!(unread(&["identity", "show", "/no/such/place", "--json"]), Some(1));
}

#[test]
fn the_demo_keeps_its_promise_and_tells_it() {
    let output = run(&["demo", "--for", "6s"]);
    let told = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{told}{}", text(&output.stderr));
    for part in [
        "svidgate inbound --listen ",
        "svidgate outbound --listen ",
        "both sides rotate every second from now on",
        "refused the intruder (right trust domain, not on the policy): told access_denied",
        "refused the stranger (another trust domain): told unknown_ca",
        "a second root joins the trust bundle",
        "requests failed      0",
        "As promised.",
    ] {
        assert!(told.contains(part), "{part:?} is missing in:\n{told}");
    }
    assert!(!told.contains('\u{1b}'), "a pipe is no terminal");
    let directory = told.lines().next().unwrap().rsplit(' ').next().unwrap();
    assert!(directory.contains("svidgate-demo-") && !std::path::Path::new(directory).exists(), "{directory}");
}

#[test]
fn ctrl_c_ends_the_demo_with_its_summary() {
    let mut demo = Running::start(&mut svidgate(&["demo"]));
    demo.says(&["both sides rotate every second from now on"]);
    demo.signal(Signal::SIGINT);
    let (status, told) = demo.end();
    assert_eq!(status.code(), Some(0), "{told}");
    assert!(told.contains("requests served") && told.contains("As promised."), "{told}");
}
