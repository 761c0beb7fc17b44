//! How many connections and handshakes a listener has room for. The room outlives a change of configuration: no reload lets more in than the
//! limits allow.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::Limits;

/// The room of one listener.
#[derive(Debug)]
pub(super) struct Room {
    connections: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
}

/// The right to exist, and the right to make a handshake.
pub(super) struct Permits {
    pub(super) connection: OwnedSemaphorePermit,
    pub(super) handshake: OwnedSemaphorePermit,
}

impl Room {
    pub(super) fn new(limits: &Limits) -> Self {
        let semaphore = |size: usize| Arc::new(Semaphore::new(size.min(Semaphore::MAX_PERMITS)));
        Self { connections: semaphore(limits.max_connections), handshakes: semaphore(limits.max_handshakes) }
    }

    /// Waits until there is room for one more.
    pub(super) async fn permits(&self) -> Option<Permits> {
        let connection = self.connections.clone().acquire_owned().await.ok()?;
        let handshake = self.handshakes.clone().acquire_owned().await.ok()?;
        Some(Permits { connection, handshake })
    }

    /// Makes the room that had the size of `before` as large as `after` says.
    pub(super) fn resize(&self, before: &Limits, after: &Limits) {
        resize(&self.connections, before.max_connections, after.max_connections);
        resize(&self.handshakes, before.max_handshakes, after.max_handshakes);
    }
}

/// What is in use beyond a smaller size is taken away as it comes back; whoever waits for room waits behind that.
fn resize(room: &Arc<Semaphore>, before: usize, after: usize) {
    let (before, after) = (before.min(Semaphore::MAX_PERMITS), after.min(Semaphore::MAX_PERMITS));
    room.add_permits(after.saturating_sub(before));
    let excess = before.saturating_sub(after);
    let in_use = u32::try_from(excess - room.forget_permits(excess)).unwrap_or(u32::MAX);
    if in_use > 0 {
        let room = room.clone();
        tokio::spawn(async move { room.acquire_many_owned(in_use).await.map(OwnedSemaphorePermit::forget) });
    }
}
