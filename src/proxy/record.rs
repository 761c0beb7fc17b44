//! One log line and one count for each connection, at its end, however it ends: also when its task is dropped.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::error::ConnectionError;
use crate::metrics::{Ended, Metrics, Moved, OfListener, Outcome, RefusedAt, Shadowed};
use crate::policy::Verdict;
use crate::spiffe::SpiffeId;
use crate::tls::{Agreed, PeerIdentity, Reason, Refusal};

/// What is known of one connection so far. Closing it, or dropping it, writes it down.
#[derive(Debug)]
pub(super) struct Record {
    metrics: Arc<Metrics>,
    listener: Arc<str>,
    direction: &'static str,
    /// `None` for a unix socket, whose peer has no address.
    client: Option<SocketAddr>,
    started: Instant,
    own_id: Option<SpiffeId>,
    peer: Option<PeerIdentity>,
    agreed: Option<Agreed>,
    target: Option<String>,
    /// Decrypted and encrypted.
    moved: (u64, u64),
    /// How many requests came, where requests are understood.
    requests: Option<usize>,
    closed: bool,
}

impl Record {
    pub(super) fn open(
        metrics: Arc<Metrics>,
        listener: Arc<str>,
        direction: &'static str,
        client: Option<SocketAddr>,
    ) -> Self {
        let label = OfListener { listener: listener.clone() };
        metrics.connections_opened.get_or_create(&label).inc();
        metrics.connections_active.get_or_create(&label).inc();
        Self {
            metrics,
            listener,
            direction,
            client,
            started: Instant::now(),
            own_id: None,
            peer: None,
            agreed: None,
            target: None,
            moved: (0, 0),
            requests: None,
            closed: false,
        }
    }

    /// Whom we are to the peer.
    pub(super) fn own_id(&mut self, id: &SpiffeId) {
        self.own_id = Some(id.clone());
    }

    /// Who the peer is, and what was agreed with it.
    pub(super) fn peer(&mut self, peer: &PeerIdentity, agreed: Agreed) {
        self.peer = Some(peer.clone());
        self.agreed = Some(agreed);
        if let Some(shadow) = peer.shadow() {
            self.shadow(peer.id(), shadow);
        }
    }

    /// Where the connection goes to.
    pub(super) fn target(&mut self, target: &impl ToString) {
        self.target = Some(target.to_string());
    }

    /// How many bytes were decrypted and encrypted, besides those told of before.
    pub(super) fn moved(&mut self, (decrypted, encrypted): (u64, u64)) {
        self.moved = (self.moved.0 + decrypted, self.moved.1 + encrypted);
    }

    /// How many requests came.
    pub(super) fn requests(&mut self, requests: usize) {
        self.requests = Some(requests);
    }

    /// The client's address; `None` on a unix socket.
    pub(super) fn client(&self) -> Option<SocketAddr> {
        self.client
    }

    /// Where it is counted.
    pub(super) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Writes the connection down.
    pub(super) fn close(mut self, result: Result<(), ConnectionError>) {
        match result {
            Ok(()) => self.write(Outcome::Completed, None),
            Err(error) => self.write(error.outcome(), Some(&error)),
        }
    }

    fn write(&mut self, outcome: Outcome, error: Option<&ConnectionError>) {
        self.closed = true;
        self.count(outcome);
        let refusal = error.and_then(ConnectionError::refusal);
        if let Some(refusal) = refusal {
            self.count_refusal(refusal);
        }
        let error = error.filter(|_| refusal.is_none());
        let facts = refusal.and_then(|refusal| refusal.facts.as_ref());
        let peer = refusal.and_then(Refusal::peer).or_else(|| self.peer.as_ref().map(PeerIdentity::id));
        let (decrypted, encrypted) = self.moved;
        // The level is part of a tracing call site, so the one line is written in three places, from one list of fields.
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    listener = &*self.listener,
                    direction = self.direction,
                    client.address = self.client.map(|address| address.ip().to_canonical().to_string()),
                    client.port = self.client.map(|address| address.port()),
                    spiffe.peer.id = peer.map(ToString::to_string),
                    spiffe.local.id = self.own_id.as_ref().map(ToString::to_string),
                    server.address = self.target.as_deref(),
                    tls.protocol.version = self.agreed.map(|agreed| agreed.version),
                    tls.curve = self.agreed.map(|agreed| agreed.group),
                    tls.cipher = self.agreed.map(|agreed| agreed.cipher),
                    bytes.decrypted = decrypted,
                    bytes.encrypted = encrypted,
                    http.requests = self.requests,
                    duration = self.started.elapsed().as_secs_f64(),
                    outcome = outcome.as_str(),
                    policy.rule = self.peer.as_ref().map(|peer| &**peer.rule()),
                    policy.decision = refusal.map(|_| "deny"),
                    policy.stage = refusal.map(|refusal| refusal.stage().as_str()),
                    policy.reason = refusal.map(tracing::field::display),
                    tls.peer.sans = facts.map(|facts| facts.sans.join(", ")),
                    tls.peer.subject = facts.map(|facts| &*facts.subject),
                    tls.peer.issuer = facts.map(|facts| &*facts.issuer),
                    tls.peer.serial = facts.map(|facts| &*facts.serial),
                    tls.peer.not_before = facts.map(|facts| &*facts.not_before),
                    tls.peer.not_after = facts.map(|facts| &*facts.not_after),
                    error = error.map(tracing::field::display),
                    "connection"
                )
            };
        }
        match outcome {
            Outcome::Probe => line!(debug),
            // Without an identity, what waits for one has been said once and loudly; health checks go on meanwhile.
            Outcome::Completed | Outcome::Broken | Outcome::Truncated | Outcome::Idle | Outcome::NoIdentity => {
                line!(info)
            }
            Outcome::Refused
            | Outcome::RefusedByPeer
            | Outcome::HandshakeFailed
            | Outcome::HandshakeTimeout
            | Outcome::Unreachable
            | Outcome::Revoked
            | Outcome::Forced
            | Outcome::Malformed
            | Outcome::Flooded
            | Outcome::Aborted => line!(warn),
        }
    }

    fn count(&self, outcome: Outcome) {
        let listener = || self.listener.clone();
        self.metrics.connections_active.get_or_create(&OfListener { listener: listener() }).dec();
        self.metrics.connections_closed.get_or_create(&Ended { listener: listener(), outcome }).inc();
        for (direction, bytes) in [("decrypted", self.moved.0), ("encrypted", self.moved.1)] {
            self.metrics.bytes.get_or_create(&Moved { listener: listener(), direction }).inc_by(bytes);
        }
    }

    fn count_refusal(&self, refusal: &Refusal) {
        let stage = refusal.stage().as_str();
        self.metrics.refusals.get_or_create(&RefusedAt { listener: self.listener.clone(), stage }).inc();
        if let Reason::Denied { id, shadow: Some(shadow), .. } = &refusal.reason {
            self.shadow(id, shadow);
        }
    }

    /// What the shadow rules would have done otherwise.
    fn shadow(&self, id: &SpiffeId, verdict: &Verdict) {
        let decision = if verdict.is_allowed() { "allow" } else { "deny" };
        self.metrics.shadow_decisions.get_or_create(&Shadowed { listener: self.listener.clone(), decision }).inc();
        tracing::info!(
            listener = &*self.listener,
            spiffe.peer.id = %id,
            policy.decision = decision,
            policy.reason = %verdict,
            "shadow rules would have decided otherwise"
        );
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.closed {
            self.write(Outcome::Aborted, None);
        }
    }
}
