//! Addresses as people write them: `HOST:PORT`, `:PORT`, `[::1]:PORT`, `unix:/path`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    /// A TCP address. `[::]` takes IPv4 too.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
}

/// Where connections go to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// An address.
    Address(SocketAddr),
    /// A name, resolved for each new connection.
    Name {
        /// The DNS name.
        host: String,
        /// The port.
        port: u16,
        /// Only addresses of the loopback are connected to: the bytes are plaintext.
        loopback_only: bool,
    },
    /// A unix socket.
    Unix(PathBuf),
}

impl ListenAddress {
    /// Whether nobody outside this machine can connect to it.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => is_loopback(address.ip()),
            Self::Unix(_) => true,
        }
    }
}

/// Loopback, an IPv4 one mapped into IPv6 included.
pub fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

impl std::fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name { host, port, .. } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
