//! Following credentials on disk: every writer's sequence, call by call, and what must never happen meanwhile.
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
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use harness::{HOUR, authority, generation, generation_lasting, identity, leaf_of, until};
use rustls::pki_types::CertificateDer;
use svidgate::credentials::{
    Age, CredentialStatus, CredentialStore, CredentialWatcher, Identity, Layout, Source, Surroundings, Unusable,
};
use svidgate::mint::{Generation, Writer, WriterStyle, bundle_map};
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

#[test]
fn every_writer_leaves_one_generation_as_its_platform_does() {
    let authority = authority("prod.example");
    let names = |directory: &Path| {
        let mut names: Vec<_> =
            fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    for style in STYLES {
        let root = tempfile::tempdir().unwrap();
        let writer = Writer::new(place(&root), style);
        for _ in 0..3 {
            writer.write(&generation(&authority, ID)).unwrap();
        }
        let beside = names(place(&root).parent().unwrap());
        let inside = names(writer.path());
        match style {
            WriterStyle::Gce | WriterStyle::GceMetadata => {
                let target = fs::read_link(writer.path()).unwrap();
                assert!(target.is_absolute(), "{target:?}");
                assert_eq!(beside.len(), 2, "{beside:?}");
                assert!(beside[0].starts_with("workload-spiffe-contents-20"), "{beside:?}");
            }
            WriterStyle::Kubernetes => {
                assert_eq!(inside.len(), 5, "{inside:?}");
                assert_eq!(fs::read_link(writer.path().join("tls.key")).unwrap(), Path::new("..data/tls.key"));
            }
            WriterStyle::SpiffeHelper => assert_eq!(inside, ["svid.pem", "svid_bundle.pem", "svid_key.pem"]),
            WriterStyle::Istio => assert_eq!(inside, ["cert-chain.pem", "key.pem", "root-cert.pem"]),
        }
    }
}

#[tokio::test]
async fn a_first_fill_in_the_live_directory_is_waited_for_file_by_file() {
    let good = generation(&authority("prod.example"), ID);
    let following = Following::new();
    let contents = following.root.path().join("contents");
    fs::create_dir_all(&contents).unwrap();
    fs::create_dir_all(following.place().parent().unwrap()).unwrap();
    fs::write(contents.join("config_status"), "{}").unwrap();
    symlink(&contents, following.place()).unwrap();
    let files = [
        ("certificates.pem", good.certificates.as_str(), "certificates.pem"),
        ("private_key.pem", &good.private_key, "private_key.pem"),
        ("ca_certificates.pem", &good.ca_certificates, "ca_certificates.pem"),
    ];
    for (name, text, lacking) in files {
        until("the missing file is named", || following.status().error.is_some_and(|error| error.contains(lacking)))
            .await;
        let status = following.status();
        assert!(status.waiting, "{:?}", status.error);
        assert!(following.store.current().is_none());
        assert_eq!(following.store.usable(UnixTime::now()).unwrap_err(), Unusable::Missing);
        fs::write(contents.join(name), text).unwrap();
    }
    following.until_uses(&good).await;
    assert_eq!(following.status().layout, Some(Layout::GceMetadata));
}

#[tokio::test]
async fn while_the_link_is_gone_the_last_good_generation_stays() {
    let authority = authority("prod.example");
    let following = Following::new();
    let (first, second) = (generation(&authority, ID), generation(&authority, ID));
    let writer = following.writer(WriterStyle::Gce);
    writer.write(&first).unwrap();
    following.until_uses(&first).await;

    // The agent's defect: the live directory is deleted and the link left dangling.
    fs::remove_dir_all(fs::read_link(following.place()).unwrap()).unwrap();
    until("the loss is told", || following.status().error_reason == Some("not_there")).await;
    assert!(following.uses(&first));
    assert!(following.store.usable(UnixTime::now()).is_ok());
    let over_it = generation(&authority, ID);
    following.writer(WriterStyle::GceMetadata).write(&over_it).unwrap();
    following.until_uses(&over_it).await;
    // And the gap between unlink and rename, held open.
    fs::remove_file(following.place()).unwrap();
    following.until_quiet().await;
    assert!(following.uses(&over_it));

    writer.write(&second).unwrap();
    following.until_uses(&second).await;
    until("all is well again", || following.status().error.is_none()).await;
}

#[tokio::test]
async fn a_rewrite_in_place_that_stops_half_way_keeps_the_last_good_generation() {
    let authority = authority("prod.example");
    let following = Following::new();
    let (first, second) = (generation(&authority, ID), generation(&authority, ID));
    following.writer(WriterStyle::SpiffeHelper).write(&first).unwrap();
    following.until_uses(&first).await;
    let half = &second.certificates[..second.certificates.len() / 3];
    let steps = [
        ("svid.pem", "", "malformed"),
        ("svid.pem", half, "malformed"),
        ("svid.pem", &second.certificates, "key_mismatch"),
        ("svid_key.pem", "", "malformed"),
    ];
    for (name, text, reason) in steps {
        fs::write(following.place().join(name), text).unwrap();
        until("the reason is told", || following.status().error_reason == Some(reason)).await;
        assert!(following.uses(&first), "{name} {reason}");
    }
    fs::write(following.place().join("svid_key.pem"), second.private_key.as_bytes()).unwrap();
    following.until_uses(&second).await;
    assert_eq!(following.status().generation, 2);
}

#[tokio::test]
async fn bad_generations_change_nothing_and_the_next_good_one_counts() {
    let (authority, other) = (authority("prod.example"), authority("other.example"));
    let good = generation(&authority, ID);
    let following = Following::new();
    let writer = following.writer(WriterStyle::Gce);
    writer.write(&good).unwrap();
    following.until_uses(&good).await;
    let foreign = generation(&authority, ID);
    let bad: [(&str, Generation); 5] = [
        ("key_mismatch", Generation { private_key: foreign.private_key.clone(), ..good.clone() }),
        ("malformed", Generation { certificates: String::new(), ..good.clone() }),
        ("malformed", Generation { certificates: good.certificates.replace("-----END", "-----ENDE"), ..good.clone() }),
        ("trust_bundle", Generation { trust_bundles: "{".into(), ..good.clone() }),
        ("rejected", Generation { trust_bundles: bundle_map(&[&other]), ..good.clone() }),
    ];
    for (reason, generation) in &bad {
        let refused = following.status().refused;
        writer.write(generation).unwrap();
        until("it is refused", || {
            let status = following.status();
            status.error_reason == Some(*reason) && status.refused > refused
        })
        .await;
        assert!(following.uses(&good), "{reason}");
        assert_eq!(following.status().generation, 1);
    }
    let next = generation(&authority, ID);
    writer.write(&next).unwrap();
    following.until_uses(&next).await;
    until("the error is gone", || following.status().error.is_none()).await;
}

/// Every pair of leaf and roots that was ever written.
type Written = Vec<(CertificateDer<'static>, CertificateDer<'static>)>;

/// Generations whose trust changes with them: two authorities of one trust domain in turn.
fn turns(count: usize) -> (Vec<Generation>, Written) {
    let authorities = [authority("prod.example"), authority("prod.example")];
    let turn = |number: usize| &authorities[number % 2];
    let generations: Vec<_> = (0..count).map(|number| generation(turn(number), ID)).collect();
    let pairs = generations.iter().enumerate();
    let written = pairs.map(|(number, generation)| (leaf_of(generation), turn(number).root_der().clone())).collect();
    (generations, written)
}

/// Writes them one after the other while every generation that becomes visible is checked. Yields how many did.
async fn rotate(following: &Following, style: WriterStyle, count: usize, pause: Duration) -> usize {
    let (generations, written) = turns(count);
    let last = generations.last().unwrap().clone();
    let mut current = following.store.subscribe();
    let writer = following.writer(style);
    let writing = tokio::task::spawn_blocking(move || {
        for generation in generations {
            writer.write(&generation).unwrap();
            std::thread::sleep(pause);
        }
    });
    let mut seen = 0;
    while !following.uses(&last) {
        let changed = tokio::time::timeout(harness::PATIENCE, current.changed()).await;
        changed.expect("a change").unwrap();
        let credentials = current.borrow_and_update().clone().unwrap();
        credentials.svid.key.keys_match().unwrap();
        let own = TrustDomain::parse("prod.example").unwrap();
        let roots = credentials.bundles.get(&own).unwrap().roots();
        assert_eq!(roots.len(), 1);
        let pair = (credentials.svid.chain()[0].clone(), roots[0].der().clone());
        assert!(written.contains(&pair), "a generation that nobody wrote");
        seen += 1;
    }
    writing.await.unwrap();
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_quick_rotations_never_show_a_mixed_generation() {
    for style in STYLES {
        let following = Following::new();
        let seen = rotate(&following, style, 80, Duration::from_millis(3)).await;
        println!("{style:?}: {seen} of 80 generations seen");
        assert!(seen >= 1, "{style:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_swapped_a_hundred_times_a_second_is_kept_up_with() {
    for style in [WriterStyle::Gce, WriterStyle::GceMetadata, WriterStyle::Kubernetes] {
        let following = Following::new();
        let seen = rotate(&following, style, 60, Duration::from_millis(10)).await;
        println!("{style:?}: {seen} of 60 generations seen");
        assert!(seen >= 3, "{style:?}: only {seen} generations while it was swapped");
    }
}

#[tokio::test]
async fn a_refresh_of_the_same_bytes_is_no_rotation() {
    let good = generation(&authority("prod.example"), ID);
    for style in STYLES {
        let following = Following::new();
        let writer = following.writer(style);
        writer.write(&good).unwrap();
        following.until_uses(&good).await;
        following.until_quiet().await;
        let mut current = following.store.subscribe();
        current.mark_unchanged();
        let unchanged = following.status().unchanged;
        writer.write(&good).unwrap();
        until("the refresh is seen", || following.status().unchanged > unchanged).await;
        following.until_quiet().await;
        assert_eq!(following.status().generation, 1, "{style:?}");
        assert_eq!(following.status().accepted, 1, "{style:?}");
        assert!(!current.has_changed().unwrap(), "{style:?}");
    }
}

#[tokio::test]
async fn roots_in_another_order_are_no_rotation() {
    let (one, two) = (authority("prod.example"), authority("prod.example"));
    let mut good = generation(&one, ID);
    let following = Following::new();
    let writer = following.writer(WriterStyle::Kubernetes);
    good.ca_certificates = one.root_pem() + &two.root_pem();
    writer.write(&good).unwrap();
    following.until_uses(&good).await;
    following.until_quiet().await;
    let unchanged = following.status().unchanged;
    good.ca_certificates = two.root_pem() + &one.root_pem();
    writer.write(&good).unwrap();
    until("the rewrite is seen", || following.status().unchanged > unchanged).await;
    following.until_quiet().await;
    assert_eq!(following.status().generation, 1);
}

#[tokio::test]
async fn a_change_of_the_roots_alone_is_a_rotation_and_one_of_the_leaf_alone_keeps_the_bundles() {
    let (one, two) = (authority("prod.example"), authority("partner.example"));
    let following = Following::new();
    let writer = following.writer(WriterStyle::Gce);
    let first = generation(&one, ID);
    writer.write(&first).unwrap();
    following.until_uses(&first).await;
    let bundles = following.store.current().unwrap().bundles.clone();

    let wider = Generation { trust_bundles: bundle_map(&[&one, &two]), ..first };
    writer.write(&wider).unwrap();
    until("the roots are followed", || following.store.current().unwrap().bundles != bundles).await;
    let bundles = following.store.current().unwrap().bundles.clone();
    assert_eq!(bundles.iter().count(), 2);

    let next = Generation { trust_bundles: bundle_map(&[&one, &two]), ..generation(&one, ID) };
    writer.write(&next).unwrap();
    following.until_uses(&next).await;
    assert!(Arc::ptr_eq(&bundles, &following.store.current().unwrap().bundles));
}

#[tokio::test]
async fn polling_alone_follows_every_writer() {
    let authority = authority("prod.example");
    for style in STYLES {
        let following = Following::with(without_events(), |path| Identity {
            poll_interval: Duration::from_millis(30),
            ..identity(path)
        });
        for _ in 0..3 {
            let next = generation(&authority, ID);
            following.writer(style).write(&next).unwrap();
            following.until_uses(&next).await;
        }
        assert!(!following.status().events);
    }
}

#[tokio::test]
async fn a_look_can_be_asked_for() {
    let authority = authority("prod.example");
    let following = Following::with(without_events(), identity);
    let (first, second) = (generation(&authority, ID), generation(&authority, ID));
    following.writer(WriterStyle::Gce).write(&first).unwrap();
    following.until_uses(&first).await;
    following.writer(WriterStyle::Gce).write(&second).unwrap();
    following.watcher.look_now();
    following.until_uses(&second).await;
}

#[tokio::test]
async fn a_directory_removed_and_made_again_is_watched_anew() {
    let authority = authority("prod.example");
    let following = Following::new();
    for _ in 0..20 {
        let next = generation(&authority, ID);
        let _ = fs::remove_dir_all(following.place());
        following.writer(WriterStyle::Istio).write(&next).unwrap();
        following.until_uses(&next).await;
        // In place, in the directory of that name that is there now.
        let next = generation(&authority, ID);
        following.writer(WriterStyle::Istio).write(&next).unwrap();
        following.until_uses(&next).await;
    }
}

#[tokio::test]
async fn a_changed_link_anywhere_on_the_path_is_followed() {
    let authority = authority("prod.example");
    let root = tempfile::tempdir().unwrap();
    let (one, two) = (generation(&authority, ID), generation(&authority, ID));
    for (name, good) in [("one", &one), ("two", &two)] {
        Writer::new(root.path().join(name).join("deep/credentials"), WriterStyle::Istio).write(good).unwrap();
    }
    symlink("one", root.path().join("hop")).unwrap();
    symlink(root.path().join("hop"), root.path().join("start")).unwrap();
    let store = Arc::new(CredentialStore::default());
    let identity = identity(&root.path().join("start/deep/credentials"));
    let _watcher = CredentialWatcher::start(identity, store.clone(), &CancellationToken::new());
    let leaf = || store.current().map(|current| current.svid.chain()[0].clone());
    until("the first is in use", || leaf() == Some(leaf_of(&one))).await;
    symlink("two", root.path().join("next")).unwrap();
    fs::rename(root.path().join("next"), root.path().join("hop")).unwrap();
    until("the second is in use", || leaf() == Some(leaf_of(&two))).await;
    // In place, where the links lead to by now.
    let third = generation(&authority, ID);
    Writer::new(root.path().join("two/deep/credentials"), WriterStyle::Istio).write(&third).unwrap();
    until("the third is in use", || leaf() == Some(leaf_of(&third))).await;
}

#[tokio::test]
async fn explicit_files_behind_links_are_followed() {
    let authority = authority("prod.example");
    let root = tempfile::tempdir().unwrap();
    let volume = Writer::new(root.path().join("volume"), WriterStyle::Kubernetes);
    let (first, second) = (generation(&authority, ID), generation(&authority, ID));
    volume.write(&first).unwrap();
    let link = |name: &str| {
        symlink(root.path().join("volume").join(name), root.path().join(name)).unwrap();
        root.path().join(name)
    };
    let identity = Identity {
        source: Source::Files {
            certificates: link("tls.crt"),
            private_key: link("tls.key"),
            trust_bundle: link("ca.crt"),
        },
        poll_interval: HOUR,
        ..Identity::default()
    };
    let store = Arc::new(CredentialStore::default());
    let watcher = CredentialWatcher::start(identity, store.clone(), &CancellationToken::new());
    let leaf = || store.current().map(|current| current.svid.chain()[0].clone());
    until("the first is in use", || leaf() == Some(leaf_of(&first))).await;
    assert_eq!(watcher.status().layout, Some(Layout::Explicit));
    volume.write(&second).unwrap();
    until("the second is in use", || leaf() == Some(leaf_of(&second))).await;
}

#[tokio::test]
async fn another_spiffe_id_is_taken_unless_one_is_expected() {
    let authority = authority("prod.example");
    let (first, second) = (generation(&authority, ID), generation(&authority, OTHER_ID));
    let free = Following::new();
    let bound = Following::with(Surroundings::default(), |path| Identity {
        expected_id: Some(SpiffeId::parse(ID).unwrap()),
        ..identity(path)
    });
    for following in [&free, &bound] {
        following.writer(WriterStyle::Gce).write(&first).unwrap();
        following.until_uses(&first).await;
        following.writer(WriterStyle::Gce).write(&second).unwrap();
    }
    free.until_uses(&second).await;
    until("the other ID is refused", || bound.status().error_reason == Some("unexpected_id")).await;
    assert!(bound.uses(&first));
}

#[tokio::test]
async fn another_identity_can_be_followed_at_run_time() {
    let authority = authority("prod.example");
    let following = Following::new();
    let (first, second) = (generation(&authority, ID), generation(&authority, OTHER_ID));
    following.writer(WriterStyle::Gce).write(&first).unwrap();
    following.until_uses(&first).await;
    let elsewhere = following.root.path().join("elsewhere");
    following.watcher.follow(identity(&elsewhere));
    until("the new place is waited for", || following.status().waiting).await;
    assert!(following.uses(&first), "until the new ones are there");
    Writer::new(&elsewhere, WriterStyle::Istio).write(&second).unwrap();
    following.until_uses(&second).await;
    assert_eq!(following.status().layout, Some(Layout::Istio));
}

#[tokio::test]
async fn a_moments_absence_lets_no_other_well_known_place_in() {
    let authority = authority("prod.example");
    let root = tempfile::tempdir().unwrap();
    let places = vec![root.path().join("first"), root.path().join("second")];
    let writers: Vec<_> = places.iter().map(|place| Writer::new(place, WriterStyle::Gce)).collect();
    let (first, other, next) =
        (generation(&authority, ID), generation(&authority, OTHER_ID), generation(&authority, ID));
    let surroundings = Surroundings { well_known_places: places.clone(), events: true };
    let store = Arc::new(CredentialStore::default());
    let watcher =
        CredentialWatcher::start_in(surroundings, Identity::default(), store.clone(), &CancellationToken::new());
    let id = || store.current().map(|current| current.svid.id.to_string());
    let both = format!("none of {}, {} holds credentials yet", places[0].display(), places[1].display());
    until("both places are named", || watcher.status().error.is_some_and(|error| error.starts_with(&both))).await;
    writers[0].write(&first).unwrap();
    until("the first place is in use", || id().as_deref() == Some(ID)).await;
    writers[1].write(&other).unwrap();
    fs::remove_file(&places[0]).unwrap();
    until("its absence is told", || watcher.status().error_reason == Some("not_there")).await;
    assert_eq!(id().as_deref(), Some(ID));
    writers[0].write(&next).unwrap();
    until("its return is seen", || watcher.status().error.is_none()).await;
    assert_eq!(id().as_deref(), Some(ID));
}

#[tokio::test]
async fn an_alarm_is_raised_as_the_own_leaf_ages_and_expires() {
    let following = Following::new();
    // Valid from a minute ago: two thirds of its life have gone at once.
    let short = generation_lasting(&authority("prod.example"), ID, Duration::from_secs(3));
    following.writer(WriterStyle::Gce).write(&short).unwrap();
    following.until_uses(&short).await;
    until("it is called aging", || following.status().age == Age::Aging).await;
    until("it is called expired", || following.status().age == Age::Expired).await;
    assert_eq!(following.store.usable(UnixTime::now()).unwrap_err(), Unusable::Expired);
    let next = generation(&authority("prod.example"), ID);
    following.writer(WriterStyle::Gce).write(&next).unwrap();
    following.until_uses(&next).await;
    until("it is called fresh", || following.status().age == Age::Fresh).await;
}

#[tokio::test]
async fn dropping_the_watcher_or_cancelling_its_token_ends_the_following() {
    let authority = authority("prod.example");
    let token = CancellationToken::new();
    let root = tempfile::tempdir().unwrap();
    let store = Arc::new(CredentialStore::default());
    let watcher = CredentialWatcher::start(identity(root.path()), store.clone(), &token);
    until("it has looked", || watcher.status().refused > 0).await;
    let mut statuses = watcher.statuses();
    token.cancel();
    while statuses.changed().await.is_ok() {}
    drop(watcher);
    let watcher = CredentialWatcher::start(identity(root.path()), store.clone(), &CancellationToken::new());
    let mut statuses = watcher.statuses();
    drop(watcher);
    while statuses.changed().await.is_ok() {}
    Writer::new(root.path(), WriterStyle::Istio).write(&generation(&authority, ID)).unwrap();
    assert!(store.current().is_none());
}

/// What a subscriber was told, as text.
#[derive(Clone, Default)]
struct Told(Arc<std::sync::Mutex<Vec<u8>>>);

impl Told {
    fn count(&self, text: &str) -> usize {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap().matches(text).count()
    }
}

impl std::io::Write for Told {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// From now on, what this process logs. Once a process.
fn listen() -> Told {
    let told = Told::default();
    let writer = told.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    told
}

#[test]
fn the_same_failure_is_told_once_and_counted_each_time() {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    let output = run_ignored(&mut command, "log_lines_of_a_failure_that_stays");
    let text = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[tokio::test]
#[ignore = "needs the log of a process of its own; run by the test above"]
async fn log_lines_of_a_failure_that_stays() {
    let told = listen();
    let authority = authority("prod.example");
    let (good, foreign) = (generation(&authority, ID), generation(&authority, ID));
    let bad = Generation { private_key: foreign.private_key.clone(), ..good.clone() };
    let following = Following::new();
    let writer = following.writer(WriterStyle::Gce);
    until("it waits", || following.status().waiting).await;
    following.watcher.look_now();
    until("it waits still", || following.status().refused >= 2).await;
    assert_eq!(told.count("waiting for credentials"), 1);

    writer.write(&good).unwrap();
    following.until_uses(&good).await;
    until("the log names layout and ID", || told.count("new credentials are in use") == 1).await;
    assert_eq!(told.count("credentials.layout=gce "), 1);
    assert_eq!(told.count(&format!("spiffe.local.id={ID} ")), 1);

    for _ in 0..3 {
        let refused = following.status().refused;
        writer.write(&bad).unwrap();
        until("it is counted", || following.status().refused > refused).await;
    }
    assert_eq!(told.count("the last good ones stay in use"), 1);
    assert_eq!(told.count("error.type=\"key_mismatch\""), 1);
    writer.write(&good).unwrap();
    until("it is well again", || following.status().error.is_none()).await;
    assert_eq!(told.count("the credentials on disk are the ones in use again"), 1);
    assert_eq!(told.count(good.private_key.lines().nth(1).unwrap()), 0);
}

/// Runs a test of this binary that is ignored by itself, in a process that `command` starts.
fn run_ignored(command: &mut std::process::Command, name: &str) -> std::process::Output {
    command.args(["--exact", name, "--ignored", "--nocapture", "--test-threads=1"]).output().unwrap()
}

#[test]
fn where_inotify_is_exhausted_polling_takes_over_after_one_warning() {
    // A user namespace has limits of its own: nobody else's watches are touched.
    let limit = "echo 0 > /proc/sys/user/max_inotify_instances && exec \"$0\" \"$@\"";
    let mut command = std::process::Command::new("unshare");
    command.args(["--user", "--map-root-user", "sh", "-c", limit]).arg(std::env::current_exe().unwrap());
    let output = run_ignored(&mut command, "polling_follows_where_inotify_is_exhausted");
    let text = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    if text.contains("unshare: ") || text.contains("cannot create") {
        return println!("no user namespaces here: {text}");
    }
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[tokio::test]
#[ignore = "needs a process without inotify; run by the test above"]
async fn polling_follows_where_inotify_is_exhausted() {
    let told = listen();
    let authority = authority("prod.example");
    let following = Following::with(Surroundings::default(), |path| Identity {
        poll_interval: Duration::from_millis(30),
        ..identity(path)
    });
    for _ in 0..3 {
        let next = generation(&authority, ID);
        following.writer(WriterStyle::Gce).write(&next).unwrap();
        following.until_uses(&next).await;
    }
    assert!(!following.status().events);
    assert_eq!(told.count("file system events are not to be had"), 1);
}
