//! Addresses as people write them: `HOST:PORT`, `:PORT`, `[::1]:PORT`, `unix:/path`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The longest path of a unix socket, in bytes (`sun_path` of unix(7), without the closing zero).
const MAX_UNIX_PATH: usize = 107;

/// The longest DNS name, in bytes (RFC 1035 §2.3.4).
const MAX_NAME: usize = 253;

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

    /// Whether both cannot be bound at once: the same address, or one of them is every address of that port. Port 0 is a new port
    /// each time and never clashes.
    pub fn clashes_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Unix(one), Self::Unix(other)) => one == other,
            (Self::Tcp(one), Self::Tcp(other)) if one.port() == other.port() && one.port() != 0 => {
                one.ip().to_canonical() == other.ip().to_canonical()
                    || covers(one.ip(), other.ip())
                    || covers(other.ip(), one.ip())
            }
            _ => false,
        }
    }
}

/// Whether listening on `any` takes connections to `ip`: `[::]` takes every address, `0.0.0.0` every IPv4 one.
fn covers(any: IpAddr, ip: IpAddr) -> bool {
    any == Ipv6Addr::UNSPECIFIED || (any == Ipv4Addr::UNSPECIFIED && ip.to_canonical().is_ipv4())
}

/// Loopback, an IPv4 one mapped into IPv6 included.
pub fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

/// `HOST:PORT` with an IP address, `:PORT` for every address of the machine, `localhost:PORT` for 127.0.0.1, or `unix:/path`.
impl FromStr for ListenAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (host, port) = match split(text)? {
            Split::Unix(path) => return Ok(Self::Unix(path)),
            Split::Tcp(host, port) => (host, port),
        };
        let ip = match host {
            Host::None => Ipv6Addr::UNSPECIFIED.into(),
            Host::Ip(ip) => ip,
            Host::Name(name) if is_localhost(name) => Ipv4Addr::LOCALHOST.into(),
            Host::Name(name) => return Err(AddressError::NameToListenOn(name.into())),
        };
        Ok(Self::Tcp(SocketAddr::new(ip, port)))
    }
}

/// `HOST:PORT` with a name or an IP address, or `unix:/path`.
impl FromStr for Target {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (host, port) = match split(text)? {
            Split::Unix(path) => return Ok(Self::Unix(path)),
            Split::Tcp(host, port) => (host, port),
        };
        if port == 0 {
            return Err(AddressError::Port("0".into()));
        }
        match host {
            Host::None => Err(AddressError::NoHost(port)),
            Host::Ip(ip) if ip.to_canonical().is_unspecified() => Err(AddressError::NoHost(port)),
            Host::Ip(ip) => Ok(Self::Address(SocketAddr::new(ip, port))),
            Host::Name(name) => Ok(Self::Name { host: check_name(name)?.into(), port, loopback_only: false }),
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name { host, port, .. } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Whether it is the name that means this machine (RFC 6761 §6.3).
pub(super) fn is_localhost(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost")
}

enum Split<'a> {
    Tcp(Host<'a>, u16),
    Unix(PathBuf),
}

enum Host<'a> {
    None,
    Ip(IpAddr),
    Name(&'a str),
}

fn split(text: &str) -> Result<Split<'_>, AddressError> {
    if let Some(path) = text.strip_prefix("unix:") {
        return unix_path(path).map(Split::Unix);
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        return Err(AddressError::Url { scheme: scheme.into(), authority: authority.into() });
    }
    if let Some(kind) = ["systemd", "launchd", "fd"].into_iter().find(|kind| is_prefix(kind, text)) {
        return Err(AddressError::Unsupported(kind));
    }
    if text.starts_with('/') {
        return Err(AddressError::BarePath(text.into()));
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (ip, port) = rest.split_once(']').ok_or_else(|| AddressError::Ipv6(text.into()))?;
            let ip = ip.parse::<Ipv6Addr>().map_err(|_| AddressError::Ipv6(text.into()))?;
            let port = port.strip_prefix(':').ok_or_else(|| AddressError::NoPort(text.into()))?;
            (Host::Ip(ip.into()), port)
        }
        None => {
            let (host, port) = text.rsplit_once(':').ok_or_else(|| AddressError::NoPort(text.into()))?;
            (bare_host(text, host)?, port)
        }
    };
    // `u16::from_str` alone would take `+80`.
    if port.is_empty() {
        return Err(AddressError::NoPort(text.into()));
    }
    let number = port.parse().ok().filter(|_| port.bytes().all(|byte| byte.is_ascii_digit()));
    Ok(Split::Tcp(host, number.ok_or_else(|| AddressError::Port(port.into()))?))
}

fn is_prefix(kind: &str, text: &str) -> bool {
    // `fd:80` could be a machine called `fd`; nobody means that.
    text.strip_prefix(kind).is_some_and(|rest| rest.starts_with(':'))
}

fn bare_host<'a>(text: &str, host: &'a str) -> Result<Host<'a>, AddressError> {
    if host.is_empty() {
        return Ok(Host::None);
    }
    if host.contains(':') {
        return Err(AddressError::Ipv6(text.into()));
    }
    Ok(host.parse::<Ipv4Addr>().map_or(Host::Name(host), |ip| Host::Ip(ip.into())))
}

fn unix_path(written: &str) -> Result<PathBuf, AddressError> {
    let path = written.strip_prefix("//").unwrap_or(written);
    if !path.starts_with('/') || path.ends_with('/') {
        return Err(AddressError::UnixPath(written.into()));
    }
    if path.len() > MAX_UNIX_PATH || path.contains('\0') {
        return Err(AddressError::LongUnixPath(path.len()));
    }
    Ok(Path::new(path).to_owned())
}

/// A DNS name as resolvers take it: labels of letters, digits, `-` and `_`, and not all digits at the end, which would be a
/// misspelt IPv4 address (RFC 1123 §2.1).
pub(super) fn check_name(name: &str) -> Result<&str, AddressError> {
    let bare = name.strip_suffix('.').unwrap_or(name);
    let last = bare.rsplit('.').next().unwrap_or_default();
    let is_good =
        bare.len() <= MAX_NAME && bare.split('.').all(is_label) && !last.bytes().all(|byte| byte.is_ascii_digit());
    if is_good { Ok(name) } else { Err(AddressError::Host(name.into())) }
}

/// One label of a DNS name.
pub(super) fn is_label(text: &str) -> bool {
    let mut bytes = text.bytes();
    (1..=63).contains(&text.len()) && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// Why a text is no address. [`AddressError::hint`] says what to write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// A URL.
    #[error("an address has no scheme: `{scheme}://` does not belong here")]
    Url {
        /// What stands before `://`.
        scheme: String,
        /// What stands after it, up to the path.
        authority: String,
    },
    /// A socket that somebody else opens.
    #[error("`{0}:` is not supported")]
    Unsupported(&'static str),
    /// A path without `unix:`.
    #[error("`{0}` has no port; is it the path of a unix socket?")]
    BarePath(String),
    /// A unix socket whose path is not absolute, or a directory.
    #[error("`{0}` is no absolute path of a unix socket")]
    UnixPath(String),
    /// More than the system takes.
    #[error("the path of a unix socket has at most {MAX_UNIX_PATH} bytes and no zero byte; this one has {0}")]
    LongUnixPath(usize),
    /// Several colons without brackets, or something else in brackets.
    #[error("`{0}` is no IPv6 address with a port")]
    Ipv6(String),
    /// Nothing after the host.
    #[error("`{0}` has no port")]
    NoPort(String),
    /// Something else after the colon.
    #[error("`{0}` is no port")]
    Port(String),
    /// A name for a listener.
    #[error("`{0}` is a name; a listener needs an IP address of this machine")]
    NameToListenOn(String),
    /// No host, or every address, for a target.
    #[error("a target needs a host to connect to")]
    NoHost(u16),
    /// No DNS name, no IP address.
    #[error("`{0}` is neither a DNS name nor an IP address")]
    Host(String),
}

impl AddressError {
    /// What to write instead.
    pub fn hint(&self) -> String {
        match self {
            Self::Url { authority, .. } if authority.contains(':') => format!("write `{authority}`"),
            Self::Url { authority, .. } => format!("write `{authority}:PORT`"),
            Self::Unsupported(_) => "write `HOST:PORT`, `:PORT` or `unix:/path`".into(),
            Self::BarePath(path) => format!("write `unix:{path}`"),
            Self::UnixPath(_) => "write `unix:/run/app/app.sock`".into(),
            Self::LongUnixPath(_) => "put the socket in a directory with a shorter path".into(),
            Self::Ipv6(_) => "brackets belong around an IPv6 address, as in `[::1]:8443`".into(),
            Self::NoPort(text) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
                format!("write `:{text}` to listen, `localhost:{text}` to connect")
            }
            Self::NoPort(text) => format!("write `{}:PORT`", text.trim_end_matches(':')),
            Self::Port(_) => "a port is a number from 1 to 65535; a listener may have 0 for any free one".into(),
            Self::NameToListenOn(_) => "write `:PORT` for every address, `localhost:PORT`, or an IP address".into(),
            Self::NoHost(port) => format!("write `localhost:{port}` for this machine"),
            Self::Host(_) => "write a name such as `db.internal:5432`, or an IP address".into(),
        }
    }
}
