//! Following credentials on disk: every writer's sequence, call by call, and what must never happen meanwhile.

mod harness;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use harness::{HOUR, authority, generation, generation_lasting, identity, until};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use svidgate::credentials::{
    Age, CredentialStatus, CredentialStore, CredentialWatcher, Identity, Layout, Source, Surroundings, Unusable,
};
use svidgate::mint::{Authority, Generation, Writer, WriterStyle, bundle_map};
use svidgate::spiffe::{SpiffeId, TrustDomain, UnixTime};
use tokio_util::sync::CancellationToken;

const ID: &str = "spiffe://prod.example/ns/shop/sa/web";
const OTHER_ID: &str = "spiffe://prod.example/ns/shop/sa/other";

const STYLES: [WriterStyle; 5] = [
    WriterStyle::GceMetadata,
    WriterStyle::Gce,
    WriterStyle::Kubernetes,
    WriterStyle::SpiffeHelper,
    WriterStyle::Istio,
];

/// A directory with a watcher that follows credentials in it.
struct Following {
    root: tempfile::TempDir,
    store: Arc<CredentialStore>,
    watcher: CredentialWatcher,
}

impl Following {
    fn new() -> Self {
        Self::with(Surroundings::default(), identity)
    }

    fn with(surroundings: Surroundings, identity: impl Fn(&Path) -> Identity) -> Self {
        let root = tempfile::tempdir().unwrap();
        let store = Arc::new(CredentialStore::default());
        let identity = identity(&place(&root));
        let watcher = CredentialWatcher::start_in(surroundings, identity, store.clone(), &CancellationToken::new());
        Self { root, store, watcher }
    }

    fn place(&self) -> PathBuf {
        place(&self.root)
    }

    fn writer(&self, style: WriterStyle) -> Writer {
        Writer::new(self.place(), style)
    }

    fn status(&self) -> CredentialStatus {
        self.watcher.status()
    }

    fn uses(&self, generation: &Generation) -> bool {
        self.leaf().is_some_and(|leaf| leaf == leaf_of(generation))
    }

    fn leaf(&self) -> Option<CertificateDer<'static>> {
        self.store.current().map(|current| current.svid.chain()[0].clone())
    }

    async fn until_uses(&self, generation: &Generation) {
        until("the generation is in use", || self.uses(generation)).await;
    }

    async fn until_quiet(&self) {
        let mut looks = 0;
        loop {
            let status = self.status();
            let seen = status.accepted + status.refused + status.unchanged;
            if seen == looks && seen > 0 {
                return;
            }
            looks = seen;
            tokio::time::sleep(Duration::from_millis(120)).await;
        }
    }
}

fn place(root: &tempfile::TempDir) -> PathBuf {
    root.path().join("secrets/workload-spiffe-credentials")
}

fn leaf_of(generation: &Generation) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(generation.certificates.as_bytes()).unwrap()
}

fn without_events() -> Surroundings {
    Surroundings { events: false, ..Surroundings::default() }
}

#[tokio::test]
async fn every_writers_rotation_is_followed() {
    let authority = authority("prod.example");
    for style in STYLES {
        let following = Following::new();
        let writer = following.writer(style);
        for count in 1..=5 {
            let next = generation(&authority, ID);
            let written = Instant::now();
            writer.write(&next).unwrap();
            following.until_uses(&next).await;
            println!("{style:?} {count}: {:?}", written.elapsed());
            until("the status tells it", || following.status().generation == count).await;
        }
        let status = following.status();
        assert!(status.events, "{style:?}");
        assert_eq!(status.error, None, "{style:?}");
        assert_eq!(status.spiffe_id.unwrap().to_string(), ID);
    }
}
