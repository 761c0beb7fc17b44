//! What becomes of what a look saw: the store, the status, and one line in the log where something changed.

use std::time::Duration;

use super::super::{CredentialsError, Finding, Loaded, Source};
use super::follow::Follower;
use super::status::{Age, CredentialStatus};
use crate::spiffe::{Leaf, UnixTime};

impl Follower {
    /// What is in use is what is on disk.
    pub(super) fn same(&self, now: UnixTime) {
        let was_bad = self.status.borrow().error.is_some();
        if was_bad {
            tracing::info!("the credentials on disk are the ones in use again");
        }
        self.status.send_if_modified(|status| {
            status.unchanged += 1;
            status.last_look = Some(now.as_secs());
            status.clear_error();
            was_bad
        });
    }

    pub(super) fn good(&mut self, loaded: Loaded, fingerprint: u64, now: UnixTime) {
        let Loaded { credentials, layout, place, directory, findings } = loaded;
        self.accepted = Some(fingerprint);
        if self.identity.source == Source::WellKnown {
            self.chosen = Some(place);
        }
        let (id, valid_until) = (credentials.svid.id.clone(), credentials.svid.valid_until);
        self.aging_from = credentials.svid.chain().first().and_then(|leaf| aging_from(leaf));
        let before = self.store.current().map(|current| current.svid.id.clone());
        let is_new = self.store.replace(credentials);
        if is_new {
            tracing::info!(
                spiffe.local.id = %id,
                credentials.layout = %layout,
                credentials.directory = %directory.display(),
                credentials.valid_until = valid_until.as_secs(),
                credentials.generation = self.status.borrow().generation + 1,
                "new credentials are in use"
            );
        } else {
            tracing::debug!(spiffe.local.id = %id, "the credentials were rewritten without a change");
        }
        if let Some(before) = before.filter(|before| *before != id) {
            tracing::warn!(spiffe.local.id = %id, spiffe.local.id.before = %before, "our own SPIFFE ID has changed");
        }
        self.tell_findings(&findings);
        self.status.send_modify(|status| {
            status.layout = Some(layout);
            status.directory = Some(directory);
            status.spiffe_id = Some(id);
            status.valid_until = Some(valid_until.as_secs());
            status.findings = findings;
            status.last_look = Some(now.as_secs());
            status.clear_error();
            if is_new {
                status.last_change = Some(now.as_secs());
                status.generation += 1;
                status.accepted += 1;
                status.age = Age::Fresh;
            } else {
                status.unchanged += 1;
            }
        });
    }

    /// Says what is new among the findings: they stay the same over most rotations.
    fn tell_findings(&self, findings: &[Finding]) {
        let status = self.status.borrow();
        for finding in findings.iter().filter(|finding| !status.findings.contains(finding)) {
            tracing::warn!(credentials.finding = finding.code(), detail = %finding, "a finding in the credentials");
        }
    }

    /// The last good credentials stay. The same reason is told once.
    pub(super) fn bad(&self, error: &CredentialsError, now: UnixTime) {
        let known = self.is_known(error);
        let held = self.store.current().is_some();
        match (known, error.is_waiting(), held) {
            (true, ..) => tracing::debug!(error = %error, "the credentials on disk are still not good"),
            (false, true, false) => tracing::warn!(error = %error, "waiting for credentials"),
            (false, _, true) => {
                tracing::error!(error = %error, error.type = error.reason(), "the credentials on disk are not good; the last good ones stay in use");
            }
            (false, false, false) => {
                tracing::error!(error = %error, error.type = error.reason(), "the credentials on disk are not good, and there are no others");
            }
        }
        self.status.send_if_modified(|status| {
            status.refused += 1;
            status.last_look = Some(now.as_secs());
            status.error = Some(error.to_string());
            status.error_reason = Some(error.reason());
            status.waiting = error.is_waiting();
            !known
        });
    }

    /// Raises an alarm when the credentials grow old without newer ones, and when they have expired: once each.
    pub(super) fn tell_age(&self, now: UnixTime) {
        let Some(current) = self.store.current() else { return };
        let age = age(self.aging_from, current.svid.valid_until, now);
        if !self.status.send_if_modified(|status| std::mem::replace(&mut status.age, age) != age) {
            return;
        }
        let (id, valid_until) = (&current.svid.id, current.svid.valid_until.as_secs());
        match age {
            Age::Fresh => {}
            Age::Aging => {
                tracing::warn!(spiffe.local.id = %id, credentials.valid_until = valid_until, "two thirds of the own certificate's life have gone and no newer one has come");
            }
            Age::Expired => {
                tracing::error!(spiffe.local.id = %id, credentials.valid_until = valid_until, "the own certificate has expired and no newer one has come; it is no longer presented");
            }
        }
    }
}

impl CredentialStatus {
    fn clear_error(&mut self) {
        (self.error, self.error_reason, self.waiting) = (None, None, false);
    }
}

/// Two thirds of the leaf's life.
fn aging_from(leaf: &[u8]) -> Option<UnixTime> {
    let leaf = Leaf::check(leaf).ok()?;
    let (from, until) = (leaf.not_before.as_secs(), leaf.not_after.as_secs());
    Some(UnixTime::since_unix_epoch(Duration::from_secs(from + until.saturating_sub(from) / 3 * 2)))
}

fn age(aging_from: Option<UnixTime>, valid_until: UnixTime, now: UnixTime) -> Age {
    if now > valid_until {
        Age::Expired
    } else if aging_from.is_some_and(|mark| now > mark) {
        Age::Aging
    } else {
        Age::Fresh
    }
}
