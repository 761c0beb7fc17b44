//! `svidgate check`: is the configuration good, are the credentials usable, and what would run. Every problem is told, not only the first.

mod listener;
mod names;
mod report;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use self::report::{Read, Report, Warning};
use super::out::{err, out};
use crate::config::{Config, Listener, Origin, Place, Protocol, Route, Target, is_loopback};
use crate::credentials::{self, CredentialsError, Loaded};
use crate::spiffe::{TrustDomain, UnixTime};

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
    let all = config.listeners.iter().zip(origins).flat_map(|(listener, origin)| placed_targets(listener, origin));
    let all = all.collect::<Vec<_>>();
    let named = |(target, _): &(&Target, &Place)| match target {
        Target::Name { host, .. } => Some(host.clone()),
        Target::Address(_) | Target::Unix(_) => None,
    };
    let answers = names::resolve(all.iter().filter_map(named).collect::<BTreeSet<_>>());
    let mut warnings = Vec::new();
    for (target, place) in all {
        let message = match target {
            Target::Name { host, loopback_only, .. } => match answers.get(host) {
                Some(Err(reason)) => format!("`{host}` does not resolve now: {reason}"),
                Some(Ok(found)) if *loopback_only && !found.iter().any(|ip| is_loopback(*ip)) => {
                    format!("`{host}` does not resolve to this machine: every connection would be refused")
                }
                _ => continue,
            },
            Target::Unix(path) if !path.exists() => format!("there is no socket `{}` now", path.display()),
            Target::Unix(_) | Target::Address(_) => continue,
        };
        warnings.push(Warning { place: place.clone(), message });
    }
    warnings
}

/// A listener's targets and those of its routes, but for the ones that only a request's host makes.
fn placed_targets<'a>(
    listener: &'a Listener,
    origin: &'a Origin,
) -> impl Iterator<Item = (&'a Target, &'a Place)> + use<'a> {
    let routed = routes(listener).iter().zip(&origin.routes).flat_map(|(route, origin)| {
        route.targets.iter().zip(&origin.targets).filter_map(|(target, place)| Some((target.fixed()?, place)))
    });
    listener.targets.iter().zip(&origin.targets).chain(routed)
}

fn routes(listener: &Listener) -> &[Route] {
    match &listener.protocol {
        Protocol::Http(http) => &http.routes,
        Protocol::Tcp => &[],
    }
}

/// Rules and routes that speak of a trust domain without a trust bundle: no peer can match them.
fn trust(config: &Config, origins: &[Origin], credentials: &Result<Loaded, CredentialsError>) -> Vec<Warning> {
    let Ok(loaded) = credentials else { return Vec::new() };
    let is_unknown = |domain: &TrustDomain| loaded.credentials.bundles.get(domain).is_none();
    let warning = |place: &Place, who: &str, domain: &TrustDomain| Warning {
        place: place.clone(),
        message: format!("{who} names trust domain `{domain}`, of which there is no trust bundle: no peer can match"),
    };
    let mut warnings = Vec::new();
    for (listener, origin) in config.listeners.iter().zip(origins) {
        for rule in listener.policy.rules() {
            let who = format!("rule `{}` of `{}`", rule.name, listener.name);
            let domains = rule.peers.iter().map(|pattern| pattern.trust_domain()).collect::<BTreeSet<_>>();
            let unknown = domains.into_iter().filter(|domain| is_unknown(domain));
            warnings.extend(unknown.map(|domain| warning(&origin.listen, &who, domain)));
        }
        for (route, origin) in routes(listener).iter().zip(&origin.routes) {
            let who = format!("route `{}` of `{}`", route.name, listener.name);
            let mut domains = BTreeSet::new();
            for (pattern, place) in route.expect.iter().zip(&origin.expect) {
                if is_unknown(pattern.trust_domain()) && domains.insert(pattern.trust_domain()) {
                    warnings.push(warning(place, &who, pattern.trust_domain()));
                }
            }
        }
    }
    warnings
}
