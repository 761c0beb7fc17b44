//! What the README says is so: its configurations are valid, its tables are whole, and its commands work as they stand.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use svidgate::config::{Config, schema};
use svidgate::metrics::{Outcome, RequestOutcome};

const README: &str = include_str!("../README.md");

/// The fenced blocks of one language.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    README.split(fence.as_str()).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

#[test]
fn every_configuration_in_the_readme_is_valid() {
    let blocks = blocks("toml");
    assert_eq!(blocks.len(), 5);
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
fn every_outcome_of_a_request_stands_in_the_readme() {
    for outcome in RequestOutcome::ALL {
        assert!(README.contains(&format!("| `{}` |", outcome.as_str())), "{}", outcome.as_str());
    }
}

/// A section, from behind its headline.
fn section(title: &str) -> &'static str {
    let rest = README.split_once(&format!("\n## {title}\n")).unwrap_or_else(|| panic!("no section `{title}`")).1;
    rest.split("\n## ").next().unwrap()
}

/// The first block of a language in a section.
fn block(title: &str, language: &str) -> &'static str {
    section(title).split_once(&format!("```{language}\n")).unwrap().1.split("```").next().unwrap()
}

/// Runs a script of the README's in a directory with `files`, and returns what it printed.
fn run(script: &str, files: &[(&str, &str)]) -> String {
    // Other ports, since the README's may be taken; and a curl that waits for what starts beside it.
    let ports = ["8080", "8443", "9000"].map(|port| (port, free_port()));
    let here = |text: &str| ports.iter().fold(text.to_owned(), |text, (port, free)| text.replace(port, free));
    let script = here(&script.replace("curl ", "curl -sS --retry 40 --retry-delay 1 --retry-all-errors "));
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("index.html"), "it works\n").unwrap();
    for (name, text) in files {
        std::fs::write(directory.path().join(name), here(text)).unwrap();
    }
    let binary = Path::new(env!("CARGO_BIN_EXE_svidgate")).parent().unwrap();
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
    let child = Command::new("bash")
        .args(["-c", &format!("trap 'kill $(jobs -p); wait' EXIT\n{script}")])
        .current_dir(directory.path())
        .env("PATH", path)
        .env_remove("http_proxy")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("it works"), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    said
}

fn free_port() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string()
}

const BY_HAND: &str = "Try it by hand";
const SERVICE: &str = "In front of an HTTP service";
const EGRESS: &str = "An egress proxy for a whole application";

#[test]
fn the_commands_to_try_by_hand_work_as_they_stand() {
    let said = run(block(BY_HAND, "sh"), &[]);
    assert!(said.ends_with("it works\n"), "{said}");
}

#[test]
fn the_commands_for_http_work_as_they_stand() {
    // Of those to try by hand, the credentials and the web server.
    let prepare: String = block(BY_HAND, "sh").split_inclusive('\n').take(3).collect();
    assert!(prepare.contains("creds/web ") && prepare.ends_with("&\n"), "{prepare}");
    let script = [&prepare, block(SERVICE, "sh"), "echo; echo egress\n", block(EGRESS, "sh")].concat();
    let said = run(&script, &[("orders.toml", block(SERVICE, "toml")), ("egress.toml", block(EGRESS, "toml"))]);
    let (service, egress) = said.split_once("\negress\n").unwrap();
    let (_, denied) = service.rsplit_once("it works\n").unwrap();
    assert!(denied.starts_with('{') && denied.contains(r#""class":"denied""#), "{said}");
    assert_eq!(egress.matches("it works\n").count(), 3, "{said}");
    assert!(egress.contains(r#""status":403,"class":"no_route""#), "{said}");
}
