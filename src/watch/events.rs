//! The file system's events, and the watches that raise them.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use notify::event::{ModifyKind, RenameMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

use super::plan::Plan;

/// Wakes whoever waits for a reason to look.
#[derive(Debug, Default)]
pub(crate) struct Hints {
    look: Notify,
    seen: Mutex<Seen>,
}

/// What the handler of events needs to know, and what it leaves behind.
#[derive(Debug, Default)]
struct Seen {
    plan: Plan,
    /// Watched directories that were removed or renamed: their watch is dead.
    gone: Vec<PathBuf>,
    /// Events were lost.
    lost: bool,
}

impl Hints {
    /// Leaves a hint.
    pub(crate) fn give(&self) {
        self.look.notify_one();
    }

    /// Waits for a hint; comes back at once where one was given since the last time.
    pub(crate) async fn noticed(&self) {
        self.look.notified().await;
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, event: notify::Result<Event>) {
        let Ok(event) = event else {
            self.seen().lost = true;
            return self.give();
        };
        // Reading raises these: to look because of them would be to look for ever.
        if matches!(event.kind, EventKind::Access(_)) {
            return;
        }
        let removal =
            matches!(event.kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(RenameMode::From)));
        let lost = event.need_rescan();
        let seen = &mut *self.seen();
        if lost || event.paths.iter().any(|path| seen.plan.concerns(path)) {
            self.look.notify_one();
        }
        seen.lost |= lost;
        if removal {
            seen.gone.extend(event.paths.into_iter().filter(|path| seen.plan.watches(path)));
        }
    }
}

/// How often a plan is made anew before the next look.
const ROUNDS: usize = 4;

/// The watches of one follower. Dropping it ends them all.
#[derive(Debug)]
pub(crate) struct Watches {
    /// What the watches are for, in a warning.
    purpose: &'static str,
    hints: Arc<Hints>,
    watcher: Option<RecommendedWatcher>,
    /// Each watched directory with the device and inode that the watch holds.
    armed: BTreeMap<PathBuf, (u64, u64)>,
    /// Without events a file system is polled only.
    wanted: bool,
    warned: bool,
    /// Set while the watcher is spoken to. It panics where its thread is gone, and would again each time.
    broken: bool,
}

impl Watches {
    pub(crate) fn new(purpose: &'static str, hints: Arc<Hints>, wanted: bool) -> Self {
        Self { purpose, hints, watcher: None, armed: BTreeMap::new(), wanted, warned: false, broken: false }
    }

    /// Makes the watches those of the plan of now; a directory that was replaced by another of the same name is watched anew. Whether all
    /// of it is watched: what is not, is polled. Blocks for a moment.
    pub(crate) fn arm(&mut self, plan: impl Fn() -> Plan) -> bool {
        if !self.wanted || self.broken {
            return false;
        }
        self.broken = true;
        let result = self.arm_until_steady(plan);
        self.broken = false;
        match &result {
            Err(error) if !self.warned => {
                self.warned = true;
                tracing::warn!(of = self.purpose, %error, "file system events are not to be had; the files are polled");
            }
            Err(error) => tracing::debug!(of = self.purpose, %error, "file system events are not to be had"),
            Ok(()) => self.warned = false,
        }
        result.is_ok()
    }

    /// Nobody tells of what changes between the making of a plan and its watches: so a plan is made again, until one asks for nothing new.
    fn arm_until_steady(&mut self, plan: impl Fn() -> Plan) -> notify::Result<()> {
        for _ in 0..ROUNDS {
            if !self.try_arm(plan())? {
                return Ok(());
            }
        }
        // Swapped faster than it can be planned for: the next look tries again.
        self.hints.give();
        Ok(())
    }

    /// Whether this plan was another than the one before, or a watch had to be made anew.
    fn try_arm(&mut self, plan: Plan) -> notify::Result<bool> {
        let wanted: Vec<PathBuf> = plan.directories().map(Path::to_owned).collect();
        // The new plan first: an event that comes while the watches change must find it.
        let (mut changed, gone, lost) = {
            let mut seen = self.hints.seen();
            let before = std::mem::replace(&mut seen.plan, plan);
            (before != seen.plan, std::mem::take(&mut seen.gone), std::mem::take(&mut seen.lost))
        };
        let hints = self.hints.clone();
        let watcher = match &mut self.watcher {
            Some(watcher) => watcher,
            None => self.watcher.insert(notify::recommended_watcher(move |event| hints.take(event))?),
        };
        let is_stale = |path: &PathBuf, inode: &(u64, u64)| {
            lost || !wanted.contains(path)
                || gone.iter().any(|gone| path.starts_with(gone))
                || identity(path).as_ref() != Some(inode)
        };
        let stale: Vec<PathBuf> =
            self.armed.iter().filter(|(path, inode)| is_stale(path, inode)).map(|(path, _)| path.clone()).collect();
        changed |= !stale.is_empty();
        for path in stale {
            self.armed.remove(&path);
            // It may be dead already, which is what we want.
            let _ = watcher.unwatch(&path);
        }
        let mut first_error = Ok(());
        for path in wanted {
            let Some(inode) = identity(&path).filter(|_| !self.armed.contains_key(&path)) else {
                continue;
            };
            match watcher.watch(&path, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.armed.insert(path, inode);
                    changed = true;
                }
                // Gone since the plan was made: its directory is watched and has said so.
                Err(error) if matches!(error.kind, notify::ErrorKind::PathNotFound) => {}
                Err(error) => first_error = first_error.and(Err(error)),
            }
        }
        first_error.map(|()| changed)
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let metadata = path.symlink_metadata().ok()?;
    Some((metadata.dev(), metadata.ino()))
}
