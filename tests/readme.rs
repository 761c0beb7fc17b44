//! What the README says is so: its configurations are valid, its tables are whole, and its commands work as they stand.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use svidgate::config::{Config, schema};
use svidgate::metrics::Outcome;

const README: &str = include_str!("../README.md");

/// The fenced blocks of one language.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    README.split(fence.as_str()).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

#[test]
fn every_configuration_in_the_readme_is_valid() {
    let blocks = blocks("toml");
    assert_eq!(blocks.len(), 2);
    for block in blocks {
        if let Err(faults) = Config::parse("README.md", block) {
            panic!("{faults}");
        }
    }
}

#[test]
fn the_two_commands_come_first() {
    assert_eq!(blocks("sh")[..2], ["cargo run --release -- demo\n", "cargo test\n"]);
}

#[test]
fn every_key_of_the_configuration_stands_in_the_readme_with_its_default() {
    fn check(schema: &Value) {
        for (key, property) in schema["properties"].as_object().into_iter().flatten() {
            if let Some(line) = README.lines().find(|line| line.starts_with('|') && line.contains(&format!("`{key}`")))
            {
                // A `false` or `true` in a row of several keys stands there too.
                if let Some(default) = property["default"].as_str().filter(|_| !line.contains("[[")) {
                    assert!(line.contains(default), "the README gives another default for `{key}`: {line}");
                }
            } else {
                let is_table = README.contains(&format!("[{key}]"));
                let in_rule = key == "rule" && README.contains("[[inbound.rule]]");
                assert!(is_table || in_rule, "the README does not name `{key}`");
            }
            check(property);
            check(&property["items"]);
        }
    }
    let schema = schema();
    assert!(
        schema["properties"]["limits"]["properties"]["max_connections"].is_object(),
        "the schema has another shape"
    );
    check(&schema);
}

#[test]
fn every_outcome_stands_in_the_readme() {
    // Those that speak for themselves, and the one that is a defect of ours.
    let unsaid = [Outcome::Completed, Outcome::HandshakeFailed, Outcome::HandshakeTimeout, Outcome::Aborted];
    for outcome in Outcome::ALL.into_iter().filter(|outcome| !unsaid.contains(outcome)) {
        assert!(README.contains(&format!("`{}`", outcome.as_str())), "{}", outcome.as_str());
    }
}

#[test]
fn the_commands_to_try_by_hand_work_as_they_stand() {
    let script = blocks("sh").into_iter().find(|block| block.contains("identity mint")).unwrap();
    // Other ports, since the README's may be taken; and a curl that waits for what starts beside it.
    let mut script = script.replace("curl ", "curl -sS --retry 40 --retry-delay 1 --retry-all-errors ");
    for port in ["8080", "8443", "9000"] {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
        script = script.replace(port, &free);
    }
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("index.html"), "it works").unwrap();
    let binary = Path::new(env!("CARGO_BIN_EXE_svidgate")).parent().unwrap();
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
    let child = Command::new("bash")
        .args(["-c", &format!("{script}\nkill $(jobs -p)\nwait")])
        .current_dir(directory.path())
        .env("PATH", path)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.ends_with("it works"), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
}
