//! `svidgate identity`: what credentials are on disk, and throwaway ones for trying things out.

mod mint;
mod show;
#[cfg(test)]
mod tests;

pub(super) use mint::{Mint, mint};
pub(super) use show::{Show, show};

/// Workload credentials on disk.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Tells what credentials are on disk, and whether they can be used
    Show(Show),
    /// Makes throwaway credentials for trying things out, NOT for production
    Mint(Mint),
}

impl Command {
    /// Runs the verb.
    ///
    /// # Errors
    /// As the verb's function.
    pub(super) fn run(&self) -> anyhow::Result<std::process::ExitCode> {
        match self {
            Self::Show(args) => show(args),
            Self::Mint(args) => mint(args),
        }
    }
}
