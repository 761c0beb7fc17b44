//! The command line: one verb a file. Commands print; nothing below them does.

mod check;
mod demo;
mod identity;
mod log;
mod out;
mod quick;
mod run;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::config;
use out::{err, out};

/// An mTLS reverse proxy for workload-to-workload traffic that lives on X.509-SVIDs from disk.
///
/// It fronts a service that speaks plaintext (inbound) and calls others for an application that does (outbound), with mutual TLS between: our
/// certificate and trust come from files that the platform rotates, and a peer is let in by its SPIFFE ID.
///
/// Exit codes: 0 done or drained, 1 failed or cut short, 2 bad usage or configuration.
#[derive(Debug, Parser)]
#[command(name = "svidgate", version, max_term_width = 110)]
struct Cli {
    #[command(flatten)]
    log: log::LogArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run every listener of a configuration file
    Run(run::Run),
    /// Run one listener: mutual TLS in, plaintext out, in front of a service
    Inbound(quick::Inbound),
    /// Run one listener: plaintext in, mutual TLS out, for an application that calls others
    Outbound(quick::Outbound),
    /// Check a configuration file and the credentials it names, and report every problem
    Check(check::Check),
    /// Show the whole of it at work on throwaway credentials, with nothing else to install
    Demo(demo::Demo),
    /// Look at credentials, or make some for trying things out
    #[command(subcommand)]
    Identity(identity::Command),
    /// Print the JSON Schema of the configuration file
    Schema,
    /// Print the completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, of svidgate or of one verb: `man identity mint`
    Man {
        /// The verb
        verb: Vec<String>,
    },
}

/// Parses the command line, does what it says, and says how it went.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command.run(&cli.log) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(err(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

impl Command {
    fn run(&self, log: &log::LogArgs) -> anyhow::Result<ExitCode> {
        match self {
            Self::Run(args) => run::run(args, log),
            Self::Inbound(args) => run::quick(args.config(), log),
            Self::Outbound(args) => run::quick(args.config(), log),
            Self::Check(args) => check::check(args),
            Self::Demo(args) => demo::demo(args),
            Self::Identity(command) => command.run(),
            Self::Schema => {
                writeln!(out(), "{:#}", config::schema())?;
                Ok(ExitCode::SUCCESS)
            }
            Self::Completions { shell } => {
                // clap panics where it cannot write.
                let mut script = Vec::new();
                clap_complete::generate(*shell, &mut Cli::command(), "svidgate", &mut script);
                out().write_all(&script)?;
                Ok(ExitCode::SUCCESS)
            }
            Self::Man { verb } => man(verb),
        }
    }
}

fn man(verb: &[String]) -> anyhow::Result<ExitCode> {
    let mut command = Cli::command();
    command.build();
    for name in verb {
        let Some(found) = command.find_subcommand(name) else {
            let message = format!("there is no verb `{}`", verb.join(" "));
            command.error(clap::error::ErrorKind::InvalidSubcommand, message).exit();
        };
        command = found.clone();
    }
    clap_mangen::Man::new(command).render(&mut out())?;
    Ok(ExitCode::SUCCESS)
}
