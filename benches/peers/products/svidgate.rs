//! svidgate with the defaults that it ships with; only the number of workers is set, as it is for everybody.

use std::fmt::Write as _;
use std::process::Command;

use super::{Hop, Mode, Side};

pub(super) fn configure(command: &mut Command, hop: &Hop<'_>) -> anyhow::Result<()> {
    let protocol = if hop.mode == Mode::Tcp { "tcp" } else { "http" };
    let target = match (hop.side, hop.mode) {
        (Side::Inbound, Mode::Http2) => format!("h2c://{}", hop.target),
        _ => hop.target.to_string(),
    };
    let table = if hop.side == Side::Inbound { "inbound" } else { "outbound" };
    let mut text = format!(
        "[identity]\ndir = {directory:?}\n[limits]\nworker_threads = {workers}\n[[{table}]]\nname = \"bench\"\nlisten = \"{listen}\"\n\
         target = \"{target}\"\nprotocol = \"{protocol}\"\n",
        directory = hop.own().directory(),
        workers = hop.workers,
        listen = hop.listen,
    );
    let other = &hop.other().id;
    match hop.side {
        Side::Outbound => writeln!(text, "expect = [\"{other}\"]")?,
        Side::Inbound => {
            for number in 1..hop.rules {
                text.push_str(&unmatched_rule(number, hop));
            }
            writeln!(text, "[[inbound.rule]]\nname = \"callers\"\npeers = [\"{other}\"]")?;
        }
    }
    let path = hop.write("svidgate.toml", &text)?;
    command.args(["run", "--config"]).arg(path);
    Ok(())
}

/// A rule that speaks of somebody else, or, every other one where requests are understood, of another request of our client.
fn unmatched_rule(number: u64, hop: &Hop<'_>) -> String {
    let (peer, requests) = match (hop.mode, number % 2) {
        (Mode::Tcp, _) | (_, 0) => (format!("spiffe://bench.example/ns/bench/sa/other-{number}"), String::new()),
        _ => (hop.other().id.to_string(), format!("methods = [\"GET\"]\npaths = [\"/service-{number}/**\"]\n")),
    };
    format!("[[inbound.rule]]\nname = \"rule-{number}\"\npeers = [\"{peer}\"]\n{requests}")
}
