//! A door for `benches/micro.rs` alone: what the headers of a request cost is to be measured, and the modules that build them are private.

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Version, header};
use rustls::pki_types::CertificateDer;

use super::forwarded::{self, Hop, Ids};
use super::headers::Headers;
use super::hygiene;
use super::identity::{IdentityNames, PeerHeaders};
use crate::config::IdentityHeaders;
use crate::spiffe::SpiffeId;

/// What is made once for a client's connection, to be set on each of its requests. Not for use.
#[derive(Debug)]
pub struct RequestHeaders {
    peer: PeerHeaders,
    hop: Hop,
    ids: Ids,
}

impl RequestHeaders {
    /// For the peer with `id` at `client` that presented `chain`, leaf first, to us with the ID `ours`.
    pub fn new(
        config: &IdentityHeaders,
        chain: &[CertificateDer<'_>],
        id: &SpiffeId,
        ours: &SpiffeId,
        client: IpAddr,
    ) -> Self {
        let names = Arc::new(IdentityNames::new(config));
        let peer = PeerHeaders::new(names, config, chain, id, ours);
        Self { peer, hop: Hop::new(Some(client), "https", 8443), ids: Ids::default() }
    }

    /// Headers as a client sends them.
    pub fn sent(map: HeaderMap) -> Headers {
        map.into()
    }

    /// Makes of the headers that came those that the application gets, in the order in which a request's story does it.
    pub fn build(&self, headers: &mut Headers, rule: &str) {
        hygiene::hop_by_hop(headers);
        self.peer.apply(headers, rule);
        let host = headers.get(&header::HOST).cloned().unwrap_or(const { HeaderValue::from_static("") });
        forwarded::follow(headers, &self.hop, &host, None, Version::HTTP_11, &self.ids);
    }
}
