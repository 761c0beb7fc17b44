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

/// The rows of the table whose head names the table `path` of the file.
fn rows(path: &str) -> Vec<&'static str> {
    let head = format!("[{path}]");
    let is_head = |line: &&str| line.starts_with("| `[") && line.contains(&head);
    let found = README.lines().skip_while(|line| !is_head(line)).take_while(|line| line.starts_with('|'));
    let found = found.collect::<Vec<_>>();
    assert!(!found.is_empty(), "the README has no table for `{path}`");
    found
}

/// A default as it may stand in a row, in parts where it is a list.
fn parts(default: &Value) -> Vec<String> {
    match default {
        Value::Array(items) => items.iter().flat_map(parts).collect(),
        Value::String(text) => vec![text.clone()],
        Value::Null => Vec::new(),
        other => vec![other.to_string()],
    }
}

#[test]
fn every_key_of_the_configuration_stands_in_the_readme_with_its_default() {
    fn check(table: &Value, path: &str) {
        for (key, property) in table["properties"].as_object().unwrap() {
            let inner = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let nested = [property, &property["items"]].into_iter().find(|schema| schema["properties"].is_object());
            if let Some(nested) = nested {
                check(nested, &inner);
                continue;
            }
            let row = rows(path).into_iter().find(|row| {
                let keys = row.split('|').nth(1).unwrap();
                keys.contains(&format!("`{key}`"))
            });
            let row = row.unwrap_or_else(|| panic!("the README does not name `{inner}`"));
            let default = row.split('|').nth(2).unwrap();
            for part in parts(&property["default"]) {
                assert!(default.contains(&part), "the README gives another default for `{inner}`: {row}");
            }
        }
    }
    let schema = schema();
    let limits = &schema["properties"]["limits"]["properties"];
    assert!(limits["http"]["properties"]["max_headers"].is_object(), "the schema has another shape");
    check(&schema, "");
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
