//! The products: where each is found, what it can do, and how it is started at one end of mutual TLS in its best plain configuration.

mod envoy;
mod ghostunnel;
mod haproxy;
mod nginx;
mod stunnel;
mod svidgate;

pub(crate) use nginx::{HTTP as NGINX_HTTP, PREAMBLE as NGINX_PREAMBLE};

/// One cipher for all, the cheapest that every TLS 1.3 has: what OpenSSL prefers by itself costs it more. Envoy prefers this one.
const CIPHER: &str = "TLS_AES_128_GCM_SHA256";

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;
use clap::ValueEnum;

use crate::credentials::{Credentials, Holder};
use crate::options::Options;
use crate::{floor, process};

/// Who takes part.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Product {
    /// What is measured
    Svidgate,
    /// Envoy
    Envoy,
    /// HAProxy
    Haproxy,
    /// nginx
    Nginx,
    /// ghostunnel
    Ghostunnel,
    /// stunnel
    Stunnel,
    /// tokio and rustls with nothing around them
    Floor,
}

/// What both proxies take the bytes for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Bytes.
    Tcp,
    /// Requests, HTTP/1.1 throughout.
    Http,
    /// Requests, HTTP/2 throughout.
    Http2,
}

/// The end of mutual TLS at which a proxy stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Mutual TLS in, plaintext out.
    Inbound,
    /// Plaintext in, mutual TLS out.
    Outbound,
}

/// One proxy to be started.
pub(crate) struct Hop<'a> {
    pub(crate) side: Side,
    pub(crate) mode: Mode,
    pub(crate) listen: SocketAddr,
    pub(crate) target: SocketAddr,
    /// A directory of its own.
    pub(crate) home: &'a Path,
    pub(crate) credentials: &'a Credentials,
    pub(crate) workers: u64,
    /// Rules of the policy, where a product has one; the last is the one that lets the client in.
    pub(crate) rules: u64,
}

impl Hop<'_> {
    /// Whom the proxy is.
    fn own(&self) -> &Holder {
        match self.side {
            Side::Inbound => &self.credentials.server,
            Side::Outbound => &self.credentials.client,
        }
    }

    /// Whom it shall find at the other end.
    fn other(&self) -> &Holder {
        match self.side {
            Side::Inbound => &self.credentials.client,
            Side::Outbound => &self.credentials.server,
        }
    }

    /// Writes a configuration into the proxy's directory.
    fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.home.join(name);
        std::fs::write(&path, text).with_context(|| format!("`{}` cannot be written", path.display()))?;
        Ok(path)
    }
}

/// A product that is on this machine.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) product: Product,
    pub(crate) program: PathBuf,
    pub(crate) version: String,
}

impl Peer {
    /// Finds a product; the error tells how to get it.
    pub(crate) fn find(product: Product, options: &Options) -> Result<Self, String> {
        let program = match product {
            Product::Svidgate => options.svidgate.clone(),
            Product::Envoy => options.envoy.clone().or_else(envoy::find),
            Product::Haproxy => process::find("haproxy"),
            Product::Nginx => process::find("nginx"),
            Product::Ghostunnel => options.ghostunnel.clone().or_else(|| process::find("ghostunnel")),
            Product::Stunnel => process::find("stunnel4").or_else(|| process::find("stunnel")),
            Product::Floor => std::env::current_exe().ok(),
        };
        let program = program.filter(|program| program.is_file()).ok_or_else(|| product.how_to_get())?;
        let version = product.version(&program).unwrap_or_default();
        Ok(Self { product, program, version })
    }

    pub(crate) fn name(&self) -> &'static str {
        self.product.name()
    }

    /// The command that stands at one end.
    pub(crate) fn command(&self, hop: &Hop<'_>) -> anyhow::Result<Command> {
        let mut command = Command::new(&self.program);
        match self.product {
            Product::Svidgate => svidgate::configure(&mut command, hop)?,
            Product::Envoy => envoy::configure(&mut command, hop)?,
            Product::Haproxy => haproxy::configure(&mut command, hop)?,
            Product::Nginx => nginx::configure(&mut command, hop)?,
            Product::Ghostunnel => ghostunnel::configure(&mut command, hop),
            Product::Stunnel => stunnel::configure(&mut command, hop)?,
            Product::Floor => {
                let side = if hop.side == Side::Inbound { "inbound" } else { "outbound" };
                command.args([floor::VERB, side, &hop.listen.to_string(), &hop.target.to_string()]);
                command.arg(hop.own().plain()).arg(hop.workers.to_string());
            }
        }
        Ok(command)
    }
}

impl Product {
    /// The product of a name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::value_variants().iter().copied().find(|product| product.name() == name)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Svidgate => "svidgate",
            Self::Envoy => "Envoy",
            Self::Haproxy => "HAProxy",
            Self::Nginx => "nginx",
            Self::Ghostunnel => "ghostunnel",
            Self::Stunnel => "stunnel",
            Self::Floor => "floor",
        }
    }

    /// Why a product cannot take part in a mode; `None` where it can.
    pub(crate) fn lacks(self, mode: Mode) -> Option<&'static str> {
        match (self, mode) {
            (Self::Ghostunnel | Self::Stunnel | Self::Floor, Mode::Http | Mode::Http2) => Some("no parser of HTTP"),
            (Self::Nginx, Mode::Tcp) if nginx::stream_module().is_none() => {
                Some("no stream module: the Debian package libnginx-mod-stream has it")
            }
            _ => None,
        }
    }

    /// What a reader of its figures must know of its configuration.
    pub(crate) fn remark(self) -> &'static str {
        match self {
            Self::Svidgate => {
                "SPIFFE ID checked on both sides; its log at its default level, one line for each connection"
            }
            Self::Envoy => "SPIFFE ID checked on both sides, passed on as x-forwarded-client-cert",
            Self::Haproxy => {
                "cannot check a SPIFFE ID: the authority alone inbound, authority and name outbound; no identity passed on"
            }
            Self::Nginx => {
                "cannot check a SPIFFE ID: the authority alone inbound, authority and name outbound; no identity passed on; HTTP/2 to the target through grpc_pass"
            }
            Self::Ghostunnel => "SPIFFE ID checked on both sides, and the name outbound; GOMAXPROCS for workers",
            Self::Stunnel => {
                "cannot check a SPIFFE ID: the authority alone inbound, authority and name outbound; a thread for each connection"
            }
            Self::Floor => "no SPIFFE ID, no policy, no limit, no log: authority and name only",
        }
    }

    fn how_to_get(self) -> String {
        match self {
            Self::Svidgate => "`--svidgate` names no file".to_owned(),
            Self::Envoy => envoy::HOW_TO_GET.to_owned(),
            Self::Haproxy => "install the Debian package haproxy".to_owned(),
            Self::Nginx => "install the Debian packages nginx-light and libnginx-mod-stream".to_owned(),
            Self::Ghostunnel => "put a `ghostunnel` on the PATH or name one with --ghostunnel FILE".to_owned(),
            Self::Stunnel => "install the Debian package stunnel4".to_owned(),
            Self::Floor => "the bench cannot find itself".to_owned(),
        }
    }

    fn version(self, program: &Path) -> Option<String> {
        let flag = match self {
            Self::Floor => return Some(format!("rustls, tokio of svidgate {}", env!("CARGO_PKG_VERSION"))),
            Self::Haproxy | Self::Nginx => "-v",
            Self::Stunnel => "-version",
            Self::Svidgate | Self::Envoy | Self::Ghostunnel => "--version",
        };
        let output = Command::new(program).arg(flag).stdin(Stdio::null()).output().ok()?;
        let printed = [output.stdout, output.stderr].concat();
        let printed = String::from_utf8_lossy(&printed).into_owned();
        let line = printed.lines().find(|line| line.chars().any(|c| c.is_ascii_digit()))?;
        // The first word with a number in dots.
        let words = line.split([' ', '/', ',']);
        let mut numbers = words.filter(|word| word.contains('.') && word.starts_with(|c: char| c.is_ascii_digit()));
        Some(numbers.next().unwrap_or(line).to_owned())
    }
}
