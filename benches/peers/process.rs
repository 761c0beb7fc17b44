//! Processes of the bench: each in a process group of its own that ends with its guard, and what the system says of its CPU time and memory.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, SysconfVar, sysconf};

/// A process with whatever it starts. Dropping it ends all of them.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` in a process group of its own; what it prints goes to `log`.
    pub(crate) fn start(mut command: Command, log: &Path) -> anyhow::Result<Self> {
        let out = File::create(log).with_context(|| format!("`{}` cannot be written", log.display()))?;
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out).process_group(0);
        let child = command.spawn().with_context(|| format!("{:?} cannot be started", command.get_program()))?;
        Ok(Self { child, log: log.to_owned() })
    }

    /// Fails with what it printed if it has ended.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            let printed = fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<&str> = printed.lines().collect();
            let last = lines.get(lines.len().saturating_sub(8)..).unwrap_or_default().join("\n  ");
            bail!("it ended by itself ({status}) after:\n  {last}");
        }
        Ok(())
    }

    /// CPU time of the whole group so far, children that have ended included.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        let ticks = self.members()?.iter().map(|member| member.ticks).sum::<u64>();
        let each = sysconf(SysconfVar::CLK_TCK)?.and_then(|each| u32::try_from(each).ok()).unwrap_or(100);
        Ok(Duration::from_secs(ticks) / each)
    }

    /// Memory of the whole group now.
    pub(crate) fn memory(&self) -> anyhow::Result<Memory> {
        let mut sum = Memory::default();
        for member in self.members()? {
            let path = format!("/proc/{}/smaps_rollup", member.id);
            let text = fs::read_to_string(&path).with_context(|| format!("`{path}` cannot be read"))?;
            let kib = |name: &str| {
                let line = text.lines().find_map(|line| line.strip_prefix(name));
                line.and_then(|rest| rest.split_whitespace().next()).and_then(|number| number.parse::<f64>().ok())
            };
            sum.resident_kib += kib("Rss:").unwrap_or_default();
            sum.proportional_kib += kib("Pss:").unwrap_or_default();
        }
        Ok(sum)
    }

    fn members(&self) -> anyhow::Result<Vec<Member>> {
        let group = self.child.id();
        let mut members = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let entry = entry?;
            let Ok(id) = entry.file_name().to_string_lossy().parse() else { continue };
            // A process may end while we look.
            let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
            members.extend(Member::read(id, &stat).filter(|member| member.group == group));
        }
        if members.is_empty() {
            bail!("process group {group} has no process any more");
        }
        Ok(members)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = killpg(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

/// Memory of a product, in KiB.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// Resident: pages that its processes share count once for each.
    pub(crate) resident_kib: f64,
    /// Proportional: shared pages count once in all.
    pub(crate) proportional_kib: f64,
}

/// One process of a group.
struct Member {
    id: u32,
    group: u32,
    ticks: u64,
}

impl Member {
    /// Reads `/proc/PID/stat` (proc(5)): pgrp is field 5, utime, stime, cutime and cstime are 14 to 17. The name before them may hold anything.
    fn read(id: u32, stat: &str) -> Option<Self> {
        let (_, after_name) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        let group = fields.get(2)?.parse().ok()?;
        let ticks = fields.get(11..15)?.iter().filter_map(|field| field.parse::<u64>().ok()).sum();
        Some(Self { id, group, ticks })
    }
}

/// Runs a load generator to its end, or for `limit` at most. Returns what it printed.
pub(crate) async fn output(command: Command, limit: Duration) -> anyhow::Result<String> {
    output_until(command, limit, std::future::pending()).await
}

/// As [`output`], but interrupted once that is `enough`: it then tells what it did until then.
pub(crate) async fn output_until(
    mut command: Command,
    limit: Duration,
    enough: impl Future<Output = ()>,
) -> anyhow::Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let child = tokio::process::Command::from(command).kill_on_drop(true).spawn();
    let child = child.with_context(|| format!("`{name}` cannot be started"))?;
    let id = child.id();
    let running = async {
        let mut ended = Box::pin(child.wait_with_output());
        tokio::select! {
            output = &mut ended => return output,
            () = enough => {}
        }
        if let Some(id) = id {
            killpg(Pid::from_raw(id.cast_signed()), Signal::SIGINT)?;
        }
        ended.await
    };
    let output = tokio::time::timeout(limit, running).await;
    let output = output.with_context(|| format!("`{name}` did not end within {limit:?}"))??;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!("`{name}` failed ({}): {}{}", output.status, complaint.trim(), tail(&printed));
    }
    Ok(printed)
}

/// The end of a long text.
fn tail(text: &str) -> String {
    let skipped = text.chars().count().saturating_sub(500);
    text.chars().skip(skipped).collect::<String>().trim().to_owned()
}

/// A program on the PATH, or where Debian keeps servers.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")]);
    places.map(|place| place.join(name)).find(|path| path.is_file())
}

/// Lets this process and those it starts open as many descriptors as the test needs. Returns how many that are.
pub(crate) fn raise_descriptors() -> anyhow::Result<u64> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    /// Two for each of 10,000 connections of one proxy, and some.
    const WANTED: u64 = 65_536;
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if hard >= WANTED || setrlimit(Resource::RLIMIT_NOFILE, WANTED, WANTED).is_err() {
        setrlimit(Resource::RLIMIT_NOFILE, hard.min(WANTED), hard)?;
    }
    Ok(getrlimit(Resource::RLIMIT_NOFILE)?.0)
}
