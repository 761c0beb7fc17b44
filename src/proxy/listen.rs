//! Listening sockets: a backlog as long as the system allows, both address families, unix sockets that replace their own stale file and nothing
//! else.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use socket2::{Domain, Protocol, SockAddr, Socket as RawSocket, Type};
use tokio::net::{TcpListener, UnixListener};

use super::socket::Socket;
use crate::config::ListenAddress;

/// A socket that listens.
#[derive(Debug)]
pub(super) enum ListenSocket {
    Tcp(TcpListener),
    Unix(UnixSocket),
}

/// A listening unix socket; its file goes with it, unless someone else has put theirs in its place.
#[derive(Debug)]
pub(super) struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the file, which no other file has for as long as the socket is open.
    file: Option<(u64, u64)>,
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        if self.file == identity(&self.path) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::symlink_metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

impl ListenSocket {
    /// Binds and listens.
    pub(super) fn bind(address: &ListenAddress) -> io::Result<Self> {
        match address {
            ListenAddress::Tcp(address) => bind_tcp(*address).map(Self::Tcp),
            ListenAddress::Unix(path) => bind_unix(path).map(Self::Unix),
        }
    }

    /// The TCP address it is bound to; `None` for a unix socket.
    pub(super) fn address(&self) -> io::Result<Option<ListenAddress>> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(|address| Some(ListenAddress::Tcp(address))),
            Self::Unix(_) => Ok(None),
        }
    }

    /// The next connection, and its address if it has one.
    pub(super) async fn accept(&self, keepalive: Option<Duration>) -> io::Result<(Socket, Option<SocketAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                Ok((Socket::tcp(stream, keepalive), Some(address)))
            }
            Self::Unix(socket) => Ok((Socket::unix(socket.listener.accept().await?.0), None)),
        }
    }
}

/// Errors of accept that say that this one connection is gone already (accept(2)): the next one may be fine.
pub(super) fn is_about_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable};
    let gone = [ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable];
    gone.contains(&error.kind())
}

/// Whether the process, or the system, has no descriptor left for one more socket (accept(2), socket(2)).
pub(super) fn is_about_descriptors(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw);
    matches!(code, Some(Errno::EMFILE | Errno::ENFILE))
}

/// How long to wait before accepting again: 5 ms, doubled with each failure in a row, at most 1 s.
#[derive(Debug, Default)]
pub(super) struct Backoff(u32);

impl Backoff {
    pub(super) fn next(&mut self) -> Duration {
        let wait = Duration::from_millis(5 << self.0.min(8)).min(Duration::from_secs(1));
        self.0 += 1;
        wait
    }

    pub(super) fn reset(&mut self) {
        self.0 = 0;
    }
}

/// The kernel cuts this down to the system's maximum (listen(2), `net.core.somaxconn`): a burst of newcomers waits there, and is not sent away
/// to try again a second later.
const BACKLOG: i32 = i32::MAX;

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let any = address.is_ipv6() && address.ip().is_unspecified();
    let (socket, address) = match RawSocket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP)) {
        Ok(socket) => (socket, address),
        // Without IPv6 in the kernel, all interfaces are the IPv4 ones.
        Err(_) if any => {
            let socket = RawSocket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
            (socket, SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())))
        }
        Err(error) => return Err(error),
    };
    if any && address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn bind_unix(path: &Path) -> io::Result<UnixSocket> {
    remove_stale(path)?;
    let socket = RawSocket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = identity(path);
    socket.listen(BACKLOG)?;
    Ok(UnixSocket { listener: UnixListener::from_std(socket.into())?, path: path.to_owned(), file })
}

/// Removes a socket file on which nobody listens any more (as a kill -9 leaves it); any other file stays, and the bind will say so.
fn remove_stale(path: &Path) -> io::Result<()> {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    if is_socket && is_refused(path)? {
        std::fs::remove_file(path)?;
    }
    Ok(())
}

/// Whether nobody listens. Asked without waiting: whoever listens and does not accept would keep us.
fn is_refused(path: &Path) -> io::Result<bool> {
    let probe = RawSocket::new(Domain::UNIX, Type::STREAM, None)?;
    probe.set_nonblocking(true)?;
    let answer = probe.connect(&SockAddr::unix(path)?);
    Ok(answer.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused))
}
