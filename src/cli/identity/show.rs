//! `svidgate identity show`: what credentials are on disk, whether they can be used, and what an operator should know of them.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;

use crate::cli::out::out;
use crate::credentials::{Identity, Inspection, Source, inspect, well_known_places};
use crate::spiffe::{CertificateFacts, UnixTime};

/// Tells what credentials are on disk, and whether they can be used
///
/// Exits with 0 when they can be used, with 1 when they cannot.
#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    /// The directory with the credential files; the well-known places are tried when it is left out
    #[arg(value_name = "DIR")]
    pub directory: Option<PathBuf>,
    /// Prints JSON
    #[arg(long)]
    pub json: bool,
}

/// Looks once, prints, and says by the exit code whether the credentials can be used.
///
/// # Errors
/// When the answer cannot be printed.
pub(crate) fn show(args: &Show) -> anyhow::Result<ExitCode> {
    let source = args.directory.clone().map_or(Source::WellKnown, Source::Directory);
    let places = well_known_places();
    let inspection = inspect(&Identity { source, ..Identity::default() }, &places, UnixTime::now());
    let mut out = out();
    if args.json {
        let answer = Answer { usable: inspection.is_acceptable(), inspection: &inspection };
        writeln!(out, "{}", serde_json::to_string_pretty(&answer)?)?;
    } else {
        describe(&inspection, &mut out)?;
        if args.directory.is_none() && inspection.layout.is_none() {
            writeln!(out, "\nLooked in:")?;
            places.iter().try_for_each(|place| writeln!(out, "  {}", place.display()))?;
        }
    }
    Ok(if inspection.is_acceptable() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

#[derive(Serialize)]
struct Answer<'a> {
    usable: bool,
    #[serde(flatten)]
    inspection: &'a Inspection,
}

/// The answer for a person: the verdict first, then each part that could be read.
pub(super) fn describe(inspection: &Inspection, out: &mut dyn Write) -> io::Result<()> {
    match &inspection.spiffe_id {
        Some(id) => writeln!(out, "{id}")?,
        None => writeln!(out, "no SPIFFE ID")?,
    }
    match (&inspection.error, inspection.seconds_left) {
        (Some(error), _) => writeln!(out, "NOT USABLE: {error}")?,
        (None, Some(seconds)) => {
            writeln!(out, "usable, {} left", humantime::format_duration(Duration::from_secs(seconds)))?
        }
        (None, None) => writeln!(out, "usable")?,
    }
    writeln!(out)?;
    place(inspection, out)?;
    files(inspection, out)?;
    chain(&inspection.chain, out)?;
    trust(inspection, out)?;
    findings(inspection, out)?;
    if let Some(status) = &inspection.config_status {
        writeln!(out, "\nThe agent says of itself (config_status):")?;
        status.lines().try_for_each(|line| writeln!(out, "  {line}"))?;
    }
    Ok(())
}

fn place(inspection: &Inspection, out: &mut dyn Write) -> io::Result<()> {
    if let Some(layout) = inspection.layout {
        writeln!(out, "layout  {layout}")?;
    }
    if let Some(place) = &inspection.place {
        writeln!(out, "place   {}", place.display())?;
    }
    if let Some(directory) =
        inspection.directory.as_ref().filter(|directory| inspection.place.as_ref() != Some(directory))
    {
        writeln!(out, "     -> {}", directory.display())?;
    }
    if let Some(key) = &inspection.key {
        writeln!(out, "key     {key}")?;
    }
    match inspection.chain.first() {
        Some(leaf) => writeln!(out, "valid   {} to {}", leaf.not_before, leaf.not_after),
        None => Ok(()),
    }
}

fn files(inspection: &Inspection, out: &mut dyn Write) -> io::Result<()> {
    if !inspection.files.is_empty() {
        writeln!(out, "\nFiles")?;
    }
    inspection.files.iter().try_for_each(|file| {
        let name = file.path.file_name().unwrap_or(file.path.as_os_str()).to_string_lossy();
        let (role, mode, uid, gid) = (file.role.as_str(), &file.mode, file.uid, file.gid);
        writeln!(out, "  {name:<28} {role:<28} {mode} uid {uid} gid {gid}, {} bytes", file.size)
    })
}

fn chain(chain: &[CertificateFacts], out: &mut dyn Write) -> io::Result<()> {
    if !chain.is_empty() {
        writeln!(out, "\nChain, leaf first")?;
    }
    chain.iter().enumerate().try_for_each(|(index, certificate)| {
        writeln!(out, "  {} {}", index + 1, name_of(certificate))?;
        writeln!(out, "    issued by {}", certificate.issuer)?;
        writeln!(out, "    serial {}", certificate.serial)?;
        writeln!(out, "    valid {} to {}", certificate.not_before, certificate.not_after)
    })
}

/// The subject, or the names where it is empty.
fn name_of(certificate: &CertificateFacts) -> String {
    if certificate.subject.is_empty() { certificate.sans.join(", ") } else { certificate.subject.clone() }
}

fn trust(inspection: &Inspection, out: &mut dyn Write) -> io::Result<()> {
    if !inspection.trust_domains.is_empty() {
        writeln!(out, "\nTrust domains")?;
    }
    inspection.trust_domains.iter().try_for_each(|domain| {
        match domain.roots.len() {
            0 => writeln!(out, "  {}: no roots, all its SVIDs are refused", domain.name)?,
            1 => writeln!(out, "  {}: 1 root", domain.name)?,
            many => writeln!(out, "  {}: {many} roots", domain.name)?,
        }
        domain.roots.iter().try_for_each(|root| {
            let state = if root.valid { "" } else { ", NOT VALID NOW" };
            match &root.certificate {
                Some(root) => writeln!(out, "    {}, until {}{state}", name_of(root), root.not_after),
                None => writeln!(out, "    a certificate that cannot be read{state}"),
            }
        })
    })
}

fn findings(inspection: &Inspection, out: &mut dyn Write) -> io::Result<()> {
    if !inspection.findings.is_empty() {
        writeln!(out, "\nFindings")?;
    }
    inspection.findings.iter().try_for_each(|finding| writeln!(out, "  - {finding}"))
}
