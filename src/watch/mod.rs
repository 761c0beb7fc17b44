//! Changes in the file system, as hints: each one means no more than "look again".

mod events;
mod plan;

use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

pub(crate) use events::{Hints, Watches};
pub(crate) use plan::Plan;

/// How often a file is looked at though nothing reports a change: not every file system has events.
const POLL: Duration = Duration::from_secs(10);

/// Between two readings that must agree, so that a file that is just being written is not taken for done.
const SETTLE: Duration = Duration::from_millis(50);

/// The most of a file that is compared.
const MAX_BYTES: u64 = 4 << 20;

/// Follows the content of one file, through every link on its path.
#[derive(Debug)]
pub(crate) struct FileWatch {
    path: PathBuf,
    hints: Arc<Hints>,
    watches: Arc<Mutex<Watches>>,
    hasher: RandomState,
    /// The fingerprint of the content that was last told of; `None` for a file that could not be read.
    known: Option<u64>,
}

impl FileWatch {
    /// Takes the content of now for known.
    pub(crate) fn new(path: &Path) -> Self {
        let hints = Arc::new(Hints::default());
        let hasher = RandomState::new();
        Self {
            path: path.to_owned(),
            watches: Arc::new(Mutex::new(Watches::new("configuration file", hints.clone(), true))),
            hints,
            known: fingerprint(path, &hasher),
            hasher,
        }
    }

    /// Waits until the file's content is another, and stays so for a moment.
    pub(crate) async fn changed(&mut self) {
        loop {
            let first = self.look().await;
            if first == self.known {
                // Armed before the look: what changes after it has left a hint.
                let _ = timeout(POLL, self.hints.noticed()).await;
                continue;
            }
            sleep(SETTLE).await;
            if self.look().await == first {
                self.known = first;
                return;
            }
        }
    }

    async fn look(&self) -> Option<u64> {
        let (path, watches, hasher) = (self.path.clone(), self.watches.clone(), self.hasher.clone());
        let look = spawn_blocking(move || {
            watches.lock().unwrap_or_else(PoisonError::into_inner).arm(|| Plan::of_file(&path));
            fingerprint(&path, &hasher)
        });
        look.await.unwrap_or(self.known)
    }
}

fn fingerprint(path: &Path, hasher: &RandomState) -> Option<u64> {
    // A pipe or a device would block: what is no file has no content.
    let file = path.metadata().ok().filter(|metadata| metadata.is_file()).and_then(|_| File::open(path).ok())?;
    let mut content = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut content).ok()?;
    Some(hasher.hash_one(content))
}
