//! TLS on the wire, below what a TLS library lets one do: hellos and records as bytes.

use std::sync::Arc;

use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::harness::{Peer, provider};

pub(crate) const FATAL: u8 = 2;

pub(crate) fn gate_name() -> ServerName<'static> {
    ServerName::try_from("gate.example").unwrap()
}

/// The first flight of a client as a TLS library writes it: one record.
pub(crate) fn hello(peer: &Peer) -> Vec<u8> {
    let mut connection = ClientConnection::new(Arc::new(peer.client_config(provider())), gate_name()).unwrap();
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes).unwrap();
    bytes
}

/// A plaintext record.
pub(crate) fn record(content: u8, version: [u8; 2], payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    [&[content, version[0], version[1], length[0], length[1]], payload].concat()
}

/// Everything until the end, however it ends.
pub(crate) async fn rest(socket: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = socket.read_to_end(&mut bytes).await;
    bytes
}
