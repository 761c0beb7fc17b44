//! For how long a server may be sent requests on a connection that was made before.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

use super::*;
use crate::config::OnExpiry;
use crate::credentials::{Identity, Source, load};
use crate::mint::{Authority, Generation, Writer, WriterStyle, bundle_map};
use crate::policy::{Pattern, Policy, Rule};
use crate::spiffe::{TrustDomain, Usage};

const ID: &str = "spiffe://prod.example/web";

fn credentials(authority: &Authority, lifetime: Duration) -> Arc<Credentials> {
    let issued = authority.issue(&SpiffeId::parse(ID).unwrap(), lifetime).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let writer = Writer::new(directory.path().join("credentials"), WriterStyle::Gce);
    writer.write(&Generation::new(issued, authority.root_pem(), bundle_map(&[authority]))).unwrap();
    let identity = Identity { source: Source::Directory(writer.path().to_owned()), ..Identity::default() };
    Arc::new(load(&identity, UnixTime::now()).unwrap().credentials)
}

fn terms(credentials: &Arc<Credentials>, expect: &str) -> Arc<Terms> {
    let expect = vec![Pattern::parse(expect).unwrap()];
    let policy = Arc::new(Policy::new(vec![Rule::allow("expect", expect)]));
    Arc::new(Terms { credentials: credentials.clone(), policy, max_peer_certificates: 1 << 16 })
}

/// A server that holds what we hold.
fn server(terms: &Arc<Terms>) -> Server {
    let chain: Arc<[_]> = terms.credentials.svid.chain().into();
    let peer = terms.authenticate(&chain, Usage::Server, UnixTime::now()).unwrap();
    let (on_expiry, chain) = (OnExpiry::Close, Some(chain));
    Server::new(Standing { terms: terms.clone(), peer, usage: Usage::Server, on_expiry, chain })
}

fn authority() -> Authority {
    Authority::new(TrustDomain::parse("prod.example").unwrap()).unwrap()
}

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn after_a_rotation_old_connections_are_given_up_one_by_one_within_a_minute() {
    let authority = authority();
    let before = terms(&credentials(&authority, HOUR), ID);
    let mut after = (*terms(&credentials(&authority, HOUR), ID)).clone();
    after.policy = before.policy.clone();
    let (after, now) = (Arc::new(after), Instant::now());
    let mut given_up_at_half_time = 0;
    for _ in 0..100 {
        let server = server(&before);
        assert!(server.takes_requests(&before, now + HOUR), "before the rotation");
        server.takes_requests(&after, now);
        given_up_at_half_time += usize::from(!server.takes_requests(&after, now + SUPERSEDED / 2));
        assert!(!server.takes_requests(&after, now + SUPERSEDED));
        assert!(server.review(&after).is_ok(), "what is under way goes on");
    }
    assert!((10..=90).contains(&given_up_at_half_time), "{given_up_at_half_time} of 100");
}

#[test]
fn a_connection_takes_no_request_shortly_before_our_certificate_on_it_expires() {
    let authority = authority();
    let now = Instant::now();
    let soon_over = terms(&credentials(&authority, MARGIN / 2), ID);
    assert!(!server(&soon_over).takes_requests(&soon_over, now));
    let lasting = terms(&credentials(&authority, MARGIN * 2), ID);
    assert!(server(&lasting).takes_requests(&lasting, now));
}

#[test]
fn a_server_takes_no_request_while_it_is_not_expected_and_again_once_it_is() {
    let credentials = credentials(&authority(), HOUR);
    let (expected, other) = (terms(&credentials, ID), terms(&credentials, "spiffe://prod.example/other"));
    let (server, now) = (server(&expected), Instant::now());
    for _ in 0..2 {
        assert!(server.review(&expected).is_ok() && server.takes_requests(&expected, now));
        for _ in 0..2 {
            assert!(server.review(&other).is_err() && !server.takes_requests(&other, now));
        }
    }
}
