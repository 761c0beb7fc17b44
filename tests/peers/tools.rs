//! The programs at the other ends: found, or their test is skipped where everybody sees it; where everything must run (`CI=true`), it fails.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

/// A program of a Debian package; `None`, and a visible word, where it is missing.
pub(crate) fn tool(name: &str, package: &str) -> Option<Command> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian keeps servers out of the PATH of ordinary users.
    let places = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let found = places.map(|place| place.join(name)).find(|path| path.is_file());
    if found.is_none() {
        skip(&format!("`{name}` is not on the PATH; the Debian package `{package}` has it"));
    }
    found.map(Command::new)
}

/// One of the Python programs beside this file, with the packages of `requirements.txt`; `None`, and a visible word, where they cannot be had.
pub(crate) fn python(script: &str) -> Option<Command> {
    static INTERPRETER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match INTERPRETER.get_or_init(virtual_environment) {
        Ok(interpreter) => {
            let mut command = Command::new(interpreter);
            // A proxy that the machine is told to use is none of the test's.
            command.env_remove("http_proxy").env_remove("https_proxy").env_remove("all_proxy");
            command.args(["-u", "-B"]).arg(here().join(script));
            Some(command)
        }
        Err(why) => {
            skip(&format!("the Python packages of tests/peers/requirements.txt cannot be had: {why}"));
            None
        }
    }
}

fn virtual_environment() -> Result<PathBuf, String> {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("peers");
    let made = Command::new("bash").arg(here().join("venv.sh")).arg(&place).stdin(Stdio::null()).output();
    let made = made.map_err(|error| error.to_string())?;
    match made.status.success() {
        true => Ok(place.join("bin/python")),
        false => Err(text(&made.stderr)),
    }
}

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers")
}

/// Says that a test does not run. Past the harness, which shows nothing of a test that passes.
fn skip(why: &str) {
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{why}");
    std::io::stderr().write_all(format!("skipped: {why}\n").as_bytes()).unwrap();
}

/// Runs a command to its end, which it reaches without a word from us.
pub(crate) fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap()
}

/// Runs a command that must succeed. Returns what it printed.
pub(crate) fn succeeds(command: &mut Command) -> String {
    let output = run(command);
    assert!(output.status.success(), "{command:?}\n{}\n{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Bytes that no compression and no off-by-one survives.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()
    })
    .flatten()
    .take(length)
    .collect()
}
