//! `svidgate check`: is the configuration good, are the credentials usable, and what would run. Every problem is told, not only the first.

mod names;
mod report;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use self::report::{Read, Report, Warning};
use super::out::{err, out};
use crate::config::{Config, Listener, Origin, Target, is_loopback};
use crate::credentials::{self, CredentialsError, Loaded};
use crate::spiffe::UnixTime;

/// The flags of `svidgate check`.
#[derive(Args, Clone, Debug)]
pub(super) struct Check {
    /// The configuration file
    #[arg(short, long, value_name = "FILE", env = "SVIDGATE_CONFIG")]
    config: PathBuf,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// Checks a configuration file and the credentials that it names: exit code 0 good, 1 credentials not usable, 2 bad configuration.
///
/// # Errors
/// When the report cannot be written.
pub(super) fn check(args: &Check) -> anyhow::Result<ExitCode> {
    let report = inspect(args);
    if args.json {
        writeln!(out(), "{:#}", report.to_json())?;
    } else {
        report.write(&mut out(), &mut err())?;
    }
    Ok(ExitCode::from(report.exit_code()))
}

fn inspect(args: &Check) -> Report {
    let file = args.config.display().to_string();
    let now = UnixTime::now();
    let (config, origins) = match Config::read_with_origins(&args.config) {
        Ok(read) => read,
        Err(error) => return Report::faulty(file, error),
    };
    let credentials = credentials::load(&config.identity, now);
    let mut warnings = targets(&config, &origins);
    warnings.extend(trust(&config, &origins, &credentials));
    let findings = match &credentials {
        Ok(loaded) => loaded.findings.clone(),
        // Loading ends at the first thing that is wrong; looking tells the rest.
        Err(_) => credentials::inspect(&config.identity, &credentials::well_known_places(), now).findings,
    };
    Report::read(file, Read { config, credentials, findings, warnings, now })
}

/// What the names of plaintext and of mutual TLS targets resolve to right now. They are resolved again for each connection, so this is
/// no fault.
fn targets(config: &Config, origins: &[Origin]) -> Vec<Warning> {
    let named = |target: &Target| match target {
        Target::Name { host, .. } => Some(host.clone()),
        Target::Address(_) | Target::Unix(_) => None,
    };
    let all = config.listeners.iter().flat_map(|listener| &listener.targets);
    let answers = names::resolve(all.filter_map(named).collect::<BTreeSet<_>>());
    let mut warnings = Vec::new();
    for (listener, origin) in config.listeners.iter().zip(origins) {
        for (target, place) in listener.targets.iter().zip(&origin.targets) {
            let Target::Name { host, loopback_only, .. } = target else { continue };
            let message = match answers.get(host) {
                Some(Err(reason)) => format!("`{host}` does not resolve now: {reason}"),
                Some(Ok(found)) if *loopback_only && !found.iter().any(|ip| is_loopback(*ip)) => {
                    format!("`{host}` does not resolve to this machine: every connection would be refused")
                }
                _ => continue,
            };
            warnings.push(Warning { place: place.clone(), message });
        }
        warnings.extend(missing_socket(listener, origin));
    }
    warnings
}

fn missing_socket(listener: &Listener, origin: &Origin) -> Vec<Warning> {
    let sockets = listener.targets.iter().zip(&origin.targets).filter_map(|(target, place)| match target {
        Target::Unix(path) if !path.exists() => {
            Some(Warning { place: place.clone(), message: format!("there is no socket `{}` now", path.display()) })
        }
        Target::Unix(_) | Target::Address(_) | Target::Name { .. } => None,
    });
    sockets.collect()
}

/// Rules that speak of a trust domain without a trust bundle: no peer can match them.
fn trust(config: &Config, origins: &[Origin], credentials: &Result<Loaded, CredentialsError>) -> Vec<Warning> {
    let Ok(loaded) = credentials else { return Vec::new() };
    let mut warnings = Vec::new();
    for (listener, origin) in config.listeners.iter().zip(origins) {
        for rule in listener.policy.rules() {
            let domains = rule.peers.iter().map(|pattern| pattern.trust_domain()).collect::<BTreeSet<_>>();
            for domain in domains.into_iter().filter(|domain| loaded.credentials.bundles.get(domain).is_none()) {
                warnings.push(Warning {
                    place: origin.listen.clone(),
                    message: format!(
                        "rule `{}` of `{}` names trust domain `{domain}`, of which there is no trust bundle: no peer can match",
                        rule.name, listener.name
                    ),
                });
            }
        }
    }
    warnings
}
