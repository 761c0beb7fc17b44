//! Whether names resolve: asked of the system's resolver for many names at once, within one deadline.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// All names together. The system's resolver may take longer for one name that no server answers.
const DEADLINE: Duration = Duration::from_secs(10);
const THREADS: usize = 16;

/// The addresses of each name, or why there are none. Names that were not answered in time are reported so.
pub(super) fn resolve(names: BTreeSet<String>) -> BTreeMap<String, Result<Vec<IpAddr>, String>> {
    let deadline = Instant::now() + DEADLINE;
    let late = |name: &String| (name.clone(), Err(format!("no answer within {} s", DEADLINE.as_secs())));
    let mut answers = names.iter().map(late).collect::<BTreeMap<_, _>>();
    let threads = names.len().min(THREADS);
    let queue = Arc::new(Mutex::new(names.into_iter()));
    let (sender, receiver) = channel();
    // Nobody waits for these: `getaddrinfo` cannot be told to stop, the end of the process ends it.
    for _ in 0..threads {
        let (queue, sender) = (queue.clone(), sender.clone());
        std::thread::spawn(move || {
            while let Some(name) = next(&queue) {
                let found = (name.as_str(), 0).to_socket_addrs();
                let found =
                    found.map(|all| all.map(|address| address.ip()).collect()).map_err(|error| error.to_string());
                if sender.send((name, found)).is_err() {
                    return;
                }
            }
        });
    }
    drop(sender);
    loop {
        match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok((name, found)) => answers.insert(name, found),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return answers,
        };
    }
}

fn next(queue: &Mutex<impl Iterator<Item = String>>) -> Option<String> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).next()
}
