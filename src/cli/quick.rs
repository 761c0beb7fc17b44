//! `svidgate inbound` and `svidgate outbound`: one listener without a configuration file.

use std::path::PathBuf;

use clap::Args;

use crate::config::{Config, ConfigError, Flags, Side};

/// The flags of `svidgate inbound`.
#[derive(Args, Clone, Debug)]
pub(super) struct Inbound {
    /// Where peers connect to with mutual TLS: HOST:PORT, :PORT for every address, or unix:/path
    #[arg(long, value_name = "ADDR")]
    listen: String,
    /// The service on this machine: HOST:PORT or unix:/path; several are tried in order. With `--protocol http`, h2c://HOST:PORT or
    /// h2c:unix:/path speaks HTTP/2 to it
    #[arg(long, value_name = "ADDR", required = true, num_args = 1..)]
    target: Vec<String>,
    /// Who may connect: a SPIFFE ID, `*` for one segment, a trailing `/**` for one or more
    #[arg(long, value_name = "PATTERN", required = true, num_args = 1..)]
    allow: Vec<String>,
    #[command(flatten)]
    both: Both,
    /// Allow a target that is not on this machine: its bytes cross the network unprotected
    #[arg(long)]
    allow_plaintext_network: bool,
}

/// The flags of `svidgate outbound`.
#[derive(Args, Clone, Debug)]
pub(super) struct Outbound {
    /// Where the application connects to in plaintext: localhost:PORT or unix:/path
    #[arg(long, value_name = "ADDR")]
    listen: String,
    /// The peer: HOST:PORT or unix:/path; several are tried in order
    #[arg(long, value_name = "HOST:PORT", required = true, num_args = 1..)]
    target: Vec<String>,
    /// Who must be at the other end: a SPIFFE ID, `*` for one segment, a trailing `/**` for one or more
    #[arg(long, value_name = "PATTERN", required = true, num_args = 1..)]
    expect: Vec<String>,
    /// The name sent as SNI; the target's name where not given. It takes no part in verification
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    #[command(flatten)]
    both: Both,
    /// Allow others than this machine to connect: their bytes cross the network unprotected
    #[arg(long)]
    allow_plaintext_network: bool,
}

/// What both have.
#[derive(Args, Clone, Debug)]
struct Both {
    /// The directory of our own credentials; without it the well-known places are tried
    #[arg(long, value_name = "DIR")]
    identity: Option<PathBuf>,
    /// What the bytes are: tcp or http [default: tcp]
    #[arg(long, value_name = "PROTOCOL")]
    protocol: Option<String>,
    /// The protocols of ALPN, most wanted first, such as `h2`; without it none is negotiated, or what HTTP needs with `--protocol http`
    #[arg(long, value_name = "NAME", num_args = 1..)]
    alpn: Vec<String>,
    /// The lowest version of TLS spoken: 1.2 or 1.3 [default: 1.3]
    #[arg(long, value_name = "VERSION")]
    min_tls: Option<String>,
}

impl Inbound {
    /// The configuration that the flags describe.
    pub(super) fn config(&self) -> Result<Config, ConfigError> {
        Config::from_flags(&self.flags())
    }

    fn flags(&self) -> Flags {
        Flags {
            side: Side::Inbound,
            listen: self.listen.clone(),
            targets: self.target.clone(),
            peers: self.allow.clone(),
            allow_plaintext_network: self.allow_plaintext_network,
            ..self.both.flags()
        }
    }
}

impl Outbound {
    /// The configuration that the flags describe.
    pub(super) fn config(&self) -> Result<Config, ConfigError> {
        Config::from_flags(&self.flags())
    }

    fn flags(&self) -> Flags {
        Flags {
            side: Side::Outbound,
            listen: self.listen.clone(),
            targets: self.target.clone(),
            peers: self.expect.clone(),
            server_name: self.server_name.clone(),
            allow_plaintext_network: self.allow_plaintext_network,
            ..self.both.flags()
        }
    }
}

impl Both {
    fn flags(&self) -> Flags {
        Flags {
            identity: self.identity.clone(),
            protocol: self.protocol.clone(),
            alpn: self.alpn.clone(),
            min_tls: self.min_tls.clone(),
            ..Flags::default()
        }
    }
}
