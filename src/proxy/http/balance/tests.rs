//! Which address is chosen, and for how long one is left alone, on clocks that are told.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail")]

use super::*;

fn target(text: &str) -> Target {
    text.parse().unwrap()
}

fn balancer(targets: &[&str]) -> Balancer {
    Balancer::new(targets.iter().map(|text| target(text)).collect(), Dialler::new(None), 8)
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn address(text: &str) -> Address {
    Address::Tcp(text.parse().unwrap())
}

#[test]
fn an_address_is_left_alone_after_failures_in_a_row_and_longer_each_time_it_is_tried_in_vain() {
    let (mut health, mut now) = (Health::default(), Instant::now());
    assert_eq!((health.failed(now), health.failed(now)), (None, None));
    let mut pauses = Vec::new();
    for _ in 0..8 {
        let pause = health.failed(now).unwrap();
        assert!(health.is_ejected(now) && health.is_ejected(now + pause - Duration::from_millis(1)));
        // What was under way when it was ejected says nothing new.
        assert!((0..100).all(|_| health.failed(now).is_none()));
        now += pause;
        assert!(!health.is_ejected(now));
        pauses.push(pause.as_secs());
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30, 30]);
}

#[test]
fn a_success_forgives_all_failures() {
    let balancer = balancer(&["127.0.0.1:1"]);
    let endpoint = &balancer.known()[0];
    for _ in 0..20 {
        endpoint.failed();
        endpoint.failed();
        assert!(!endpoint.is_ejected(Instant::now()));
        endpoint.succeeded();
    }
}

#[tokio::test]
async fn the_less_loaded_of_two_is_claimed() {
    let balancer = balancer(&["127.0.0.1:1", "127.0.0.1:2"]);
    let mut claims = Vec::new();
    for _ in 0..10 {
        claims.push(balancer.claim(&[], soon()).await.unwrap().0);
    }
    let loads = || balancer.known().iter().map(|endpoint| endpoint.load.load(Ordering::Relaxed)).collect::<Vec<_>>();
    assert_eq!(loads(), [5, 5]);
    claims.retain(|claim| claim.address == address("127.0.0.1:1"));
    assert_eq!(loads(), [5, 0]);
    for _ in 0..5 {
        claims.push(balancer.claim(&[], soon()).await.unwrap().0);
    }
    assert_eq!(loads(), [5, 5]);
    drop(claims);
    assert_eq!(loads(), [0, 0]);
}

#[tokio::test]
async fn of_many_each_gets_its_share() {
    let targets = (1..=7).map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>();
    let balancer = balancer(&targets.iter().map(String::as_str).collect::<Vec<_>>());
    let mut claims = Vec::new();
    for _ in 0..700 {
        claims.push(balancer.claim(&[], soon()).await.unwrap().0);
    }
    for endpoint in balancer.known() {
        let load = endpoint.load.load(Ordering::Relaxed);
        assert!((80..=120).contains(&load), "{} has {load} of 700", endpoint.address);
    }
}

#[tokio::test]
async fn what_is_ejected_is_claimed_only_where_nothing_else_is_left() {
    let balancer = balancer(&["127.0.0.1:1", "127.0.0.1:2"]);
    let endpoints = balancer.known();
    (0..FAILURES).for_each(|_| endpoints[0].failed());
    for _ in 0..20 {
        let (claim, others) = balancer.claim(&[], soon()).await.unwrap();
        assert_eq!((&claim.address, others), (&endpoints[1].address, 1));
    }
    let (claim, others) = balancer.claim(&endpoints[1..], soon()).await.unwrap();
    assert_eq!((&claim.address, others), (&endpoints[0].address, 0));
    (0..FAILURES).for_each(|_| endpoints[1].failed());
    assert!(balancer.claim(&[], soon()).await.is_ok());
    assert!(balancer.claim(&endpoints, soon()).await.is_err());
    assert!(!balancer.has_other_than(&endpoints) && balancer.has_other_than(&endpoints[..1]));
}

#[test]
fn addresses_that_stay_keep_their_connections_and_their_health() {
    let resolved = Resolved::new(target("orders.example:443"), 8);
    resolved.update(["10.0.0.1:443", "10.0.0.2:443", "10.0.0.1:443"].map(address).to_vec());
    let before = resolved.known().endpoints.clone();
    assert_eq!(before.len(), 2, "an address that is said twice is one");
    resolved.update(["10.0.0.3:443", "10.0.0.2:443"].map(address).to_vec());
    let after = resolved.known().endpoints.clone();
    assert!(Arc::ptr_eq(&after[1], &before[1]));
    assert_eq!(after[0].address, address("10.0.0.3:443"));
}

#[test]
fn a_name_is_looked_up_by_one_at_a_time_and_again_when_its_addresses_are_old() {
    let resolved = Resolved::new(target("orders.example:443"), 8);
    let now = Instant::now();
    assert!(resolved.begin_look_up(false, now) && !resolved.begin_look_up(true, now));
    resolved.end_look_up(Ok(vec![address("10.0.0.1:443")]), now);
    assert!(!resolved.begin_look_up(false, now + FRESH));
    let later = now + FRESH + Duration::from_millis(1);
    assert!(resolved.begin_look_up(false, later));
    resolved.end_look_up(Err(io::ErrorKind::NotFound.into()), later);
    assert_eq!(resolved.known().endpoints.len(), 1, "what is known stays where the resolver fails");
    assert!(!resolved.begin_look_up(false, later), "and it is not asked for each request");
    assert!(resolved.begin_look_up(true, later));
    assert!(!Resolved::new(target("10.0.0.1:443"), 8).begin_look_up(true, now));
}

#[tokio::test]
async fn a_name_that_means_this_machine_is_resolved_once_for_all_who_wait() {
    let balancer = Arc::new(balancer(&["localhost:443"]));
    let waiting = (0..20).map(|_| {
        let balancer = balancer.clone();
        tokio::spawn(async move { balancer.claim(&[], soon()).await.unwrap().0.address.to_string() })
    });
    for one in waiting.collect::<Vec<_>>() {
        assert!(["127.0.0.1:443", "[::1]:443"].contains(&&*one.await.unwrap()));
    }
}

#[tokio::test]
async fn a_lookup_that_takes_too_long_is_a_timeout_and_one_that_fails_tells_why() {
    let balancer = balancer(&["localhost:443"]);
    balancer.targets[0].known().is_being_looked_up = true;
    let error = balancer.claim(&[], Instant::now()).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    balancer.targets[0].end_look_up(Err(io::Error::other("no such name")), Instant::now());
    balancer.targets[0].known().is_being_looked_up = true;
    let waiting = balancer.claim(&[], soon());
    let failing = async {
        tokio::task::yield_now().await;
        balancer.targets[0].end_look_up(Err(io::Error::other("no such name")), Instant::now());
        balancer.looked_up.notify_waiters();
    };
    let (waited, ()) = tokio::join!(waiting, failing);
    assert_eq!(waited.unwrap_err().to_string(), "localhost:443: no such name");
}
