//! Following credentials leaks nothing: counted over the whole process, so this binary has one test.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stdout,
    reason = "clippy knows tests by their attribute; the functions around them are tests too"
)]

mod harness;

use std::fs;
use std::sync::Arc;

use harness::{authority, generation, identity, until};
use svidgate::credentials::{CredentialStore, CredentialWatcher};
use svidgate::mint::{Writer, WriterStyle};
use tokio_util::sync::CancellationToken;

const ID: &str = "spiffe://prod.example/ns/shop/sa/web";

/// inotify itself, and what its thread waits with.
const MOST_DESCRIPTORS: usize = 4;

/// Open descriptors, and inotify watches.
fn held() -> (usize, usize) {
    let descriptors: Vec<_> = fs::read_dir("/proc/self/fdinfo").unwrap().flatten().collect();
    let infos = descriptors.iter().filter_map(|entry| fs::read_to_string(entry.path()).ok());
    let watches = infos.map(|info| info.lines().filter(|line| line.starts_with("inotify ")).count()).sum();
    (descriptors.len(), watches)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_descriptor_and_no_watch_is_leaked_by_hundreds_of_rotations() {
    let authority = authority("prod.example");
    let generations = [generation(&authority, ID), generation(&authority, ID)];
    let before = held();
    for style in [
        WriterStyle::Gce,
        WriterStyle::GceMetadata,
        WriterStyle::Kubernetes,
        WriterStyle::SpiffeHelper,
        WriterStyle::Istio,
    ] {
        let root = tempfile::tempdir().unwrap();
        let writer = Writer::new(root.path().join("secrets/credentials"), style);
        let store = Arc::new(CredentialStore::default());
        let watcher = CredentialWatcher::start(identity(writer.path()), store.clone(), &CancellationToken::new());
        let rotate = async |times: usize| {
            for turn in 0..times {
                writer.write(&generations[turn % 2]).unwrap();
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
            // The last one is always another than the one before, and is waited for.
            writer.write(&generations[0]).unwrap();
            writer.write(&generations[1]).unwrap();
            let leaf = || store.current().map(|current| current.svid.chain()[0].clone());
            let expected = harness::leaf_of(&generations[1]);
            until("the last generation is in use", || leaf().is_some_and(|leaf| leaf == expected)).await;
        };
        rotate(10).await;
        // The directory of the link, or of the directory itself, and what it leads to; in a volume also what `..data` leads to.
        let watches = if style == WriterStyle::Kubernetes { 3 } else { 2 };
        let few = || held().0 <= before.0 + MOST_DESCRIPTORS && held().1 == watches;
        until("few descriptors and watches are held", few).await;
        rotate(200).await;
        until("few descriptors and watches are held still", few).await;
        drop(watcher);
        until("nothing is held any more", || held() == before).await;
    }
}
