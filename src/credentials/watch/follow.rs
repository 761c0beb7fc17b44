//! The task that follows the credentials: when to look, how a look settles, and what becomes of what it saw.

use std::hash::RandomState;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};

use super::super::load::check;
use super::super::set::{FileSet, Reading};
use super::super::{CredentialStore, CredentialsError, Identity, Loaded, Source};
use super::Surroundings;
use super::status::CredentialStatus;
use crate::spiffe::UnixTime;
use crate::watch::{Hints, Plan, Watches};

/// Between the two readings that must agree: a writer in place needs less for one file, and a handshake may wait that long.
const SETTLE: Duration = Duration::from_millis(20);

/// How often a reading that was replaced meanwhile is started over. Whoever swaps faster than this has each reading taken as it is.
const ROUNDS: u32 = 3;

/// For how long a new failure is taken for the middle of a rotation.
const PATIENCE: Duration = Duration::from_millis(250);

/// Between two looks of that time; a hint ends it early.
const RETRY: Duration = Duration::from_millis(20);

/// The least between two looks, so that a storm of events cannot keep a core busy.
const REST: Duration = Duration::from_millis(3);

/// The most between two looks while there are no credentials to use.
const EAGER: Duration = Duration::from_secs(1);

/// What one look saw.
enum Look {
    /// The bytes that are in use already.
    Same,
    /// A whole good set, with the fingerprint of its bytes.
    Good(Box<Loaded>, u64),
}

pub(super) struct Follower {
    surroundings: Surroundings,
    identities: watch::Receiver<Identity>,
    pub(super) store: Arc<CredentialStore>,
    hints: Arc<Hints>,
    watches: Arc<Mutex<Watches>>,
    pub(super) status: watch::Sender<CredentialStatus>,
    hasher: RandomState,
    /// What is followed now.
    pub(super) identity: Identity,
    /// The fingerprint of the bytes that the credentials in use were read from.
    pub(super) accepted: Option<u64>,
    /// The well-known place that was taken.
    pub(super) chosen: Option<PathBuf>,
    /// From when the credentials count as aging.
    pub(super) aging_from: Option<UnixTime>,
}

impl Follower {
    pub(super) fn new(
        surroundings: Surroundings,
        identities: watch::Receiver<Identity>,
        store: Arc<CredentialStore>,
        hints: Arc<Hints>,
        status: watch::Sender<CredentialStatus>,
    ) -> Self {
        let identity = identities.borrow().clone();
        Self {
            watches: Arc::new(Mutex::new(Watches::new("credentials", hints.clone(), surroundings.events))),
            identity,
            surroundings,
            identities,
            store,
            hints,
            status,
            hasher: RandomState::new(),
            accepted: None,
            chosen: None,
            aging_from: None,
        }
    }

    /// Looks, waits for a reason to look again, and so on; ends when nobody can change the identity any more.
    pub(super) async fn run(mut self) {
        loop {
            self.look().await;
            sleep(REST).await;
            let pause = self.pause();
            tokio::select! {
                () = self.hints.noticed() => {}
                () = sleep(pause) => {}
                changed = self.identities.changed() => if changed.is_err() { return },
            }
        }
    }

    /// How long to wait when nothing happens: the polling interval, or until the credentials age.
    fn pause(&self) -> Duration {
        let interval = self.identity.poll_interval.max(REST);
        let Ok(current) = self.store.usable(UnixTime::now()) else {
            return interval.min(EAGER);
        };
        let now = UnixTime::now().as_secs();
        // A second later than the instant itself, whose whole second still counts.
        let marks = self.aging_from.into_iter().chain([current.svid.valid_until]);
        let next = marks.map(|mark| mark.as_secs() + 1).filter(|mark| *mark > now).min();
        next.map_or(interval, |mark| interval.min(Duration::from_secs(mark - now)))
    }

    /// Looks until the files are good, or are bad for longer than a rotation takes.
    async fn look(&mut self) {
        let identity = self.identities.borrow_and_update().clone();
        if identity != self.identity {
            (self.accepted, self.chosen) = (None, None);
            self.identity = identity;
        }
        let until = Instant::now() + PATIENCE;
        let looked = loop {
            match self.settled().await {
                Err(error) if Instant::now() < until && !self.is_known(&error) => {
                    sleep(REST).await;
                    let _ = timeout(RETRY, self.hints.noticed()).await;
                }
                looked => break looked,
            }
        };
        let now = UnixTime::now();
        match looked {
            Ok(Look::Same) => self.same(now),
            Ok(Look::Good(loaded, fingerprint)) => self.good(*loaded, fingerprint, now),
            Err(error) => self.bad(&error, now),
        }
        self.tell_age(now);
    }

    pub(super) fn is_known(&self, error: &CredentialsError) -> bool {
        self.status.borrow().error.as_deref() == Some(error.to_string().as_str())
    }

    /// Reads the set twice and takes it where both readings agree. Between them lies the time that a writer in place needs, unless these are
    /// the first, and the system says of both that nobody has written for longer than that: a process that starts on what lies there serves at once.
    async fn settled(&self) -> Result<Look, CredentialsError> {
        let source = self.source();
        let mut round = 1;
        loop {
            let (set, first) = self.read(source.clone()).await?;
            let fingerprint = first.fingerprint(&self.hasher);
            if self.accepted == Some(fingerprint) {
                return Ok(Look::Same);
            }
            let waited = self.accepted.is_some() || !first.is_quiet(UnixTime::now());
            if waited {
                sleep(SETTLE).await;
            }
            let (identity, last) = (self.identity.clone(), round >= ROUNDS);
            let settled = spawn_blocking(move || {
                let agreed = set
                    .read()
                    .is_ok_and(|second| second.same_as(&first) && (waited || second.is_quiet(UnixTime::now())));
                // Replaced as a whole while it was read: a generation of its own, only no longer the newest.
                let taken = agreed || (last && set.is_superseded());
                taken.then(|| check(&first, &identity, UnixTime::now()))
            });
            match settled.await.ok().flatten() {
                Some(checked) => return checked.map(|loaded| Look::Good(Box::new(loaded), fingerprint)),
                None if last => return Err(CredentialsError::Unsettled(place(&source))),
                None => round += 1,
            }
        }
    }

    /// Where to look: the configured source, or the well-known place once one was taken.
    fn source(&self) -> Source {
        match (&self.identity.source, &self.chosen) {
            (Source::WellKnown, Some(chosen)) => Source::Directory(chosen.clone()),
            (source, _) => source.clone(),
        }
    }

    /// Arms the watches first and reads then: a change between the two is seen by the watches.
    async fn read(&self, source: Source) -> Result<(FileSet, Reading), CredentialsError> {
        let (watches, places) = (self.watches.clone(), self.surroundings.well_known_places.clone());
        let armed = {
            let (source, places) = (source.clone(), places.clone());
            spawn_blocking(move || {
                watches.lock().unwrap_or_else(PoisonError::into_inner).arm(|| plan(&source, &places))
            })
        };
        // A panic in there (a thread that cannot be started) leaves us with polling.
        let events = armed.await.unwrap_or(false);
        self.status.send_if_modified(|status| std::mem::replace(&mut status.events, events) != events);
        let given = place(&source);
        let reading = spawn_blocking(move || {
            let set = FileSet::open(&source, &places)?;
            let reading = set.read()?;
            Ok((set, reading))
        });
        reading.await.unwrap_or(Err(CredentialsError::Unsettled(given)))
    }
}

/// What to watch for `source`.
fn plan(source: &Source, places: &[PathBuf]) -> Plan {
    let mut plan = Plan::default();
    match source {
        Source::WellKnown => places.iter().for_each(|place| plan.follow_directory(place)),
        Source::Directory(path) => plan.follow_directory(path),
        Source::Files { certificates, private_key, trust_bundle } => {
            for path in [certificates, private_key, trust_bundle] {
                plan.follow(path);
            }
        }
    }
    plan
}

fn place(source: &Source) -> PathBuf {
    match source {
        Source::WellKnown => PathBuf::from("the well-known places"),
        Source::Directory(path) | Source::Files { certificates: path, .. } => path.clone(),
    }
}
