//! One listener described by flags instead of a file: turned into the file's shape, so that the same rules hold, and into the text of
//! the file that says the same.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::fault::Spot;
use super::field::{Field, Many, Placed};
use super::file::{File, IdentityTable, InboundTable, OutboundTable, RuleTable};
use super::word::FilePath;

/// One listener as it was typed: nothing is checked yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// Which command it is.
    pub side: Side,
    /// `--listen`.
    pub listen: String,
    /// `--target`, in order.
    pub targets: Vec<String>,
    /// `--identity`.
    pub identity: Option<PathBuf>,
    /// `--allow` of inbound, `--expect` of outbound.
    pub peers: Vec<String>,
    /// `--server-name`, outbound only.
    pub server_name: Option<String>,
    /// `--protocol`.
    pub protocol: Option<String>,
    /// `--alpn`, most wanted first.
    pub alpn: Vec<String>,
    /// `--min-tls`.
    pub min_tls: Option<String>,
    /// `--allow-plaintext-network`.
    pub allow_plaintext_network: bool,
}

/// Which side of the listener is mutual TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Side {
    /// `svidgate inbound`.
    #[default]
    Inbound,
    /// `svidgate outbound`.
    Outbound,
}

const LISTEN: Spot = Spot::Flag("--listen");
const PLAINTEXT: Spot = Spot::Flag("--allow-plaintext-network");

impl Flags {
    /// The text of a configuration file that says the same.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.write_toml(&mut text);
        text
    }

    fn write_toml(&self, text: &mut String) -> std::fmt::Result {
        if let Some(dir) = &self.identity {
            writeln!(text, "[identity]\ndir = {}\n", quoted(&dir.display().to_string()))?;
        }
        match self.side {
            Side::Inbound => writeln!(text, "[[inbound]]")?,
            Side::Outbound => writeln!(text, "[[outbound]]")?,
        }
        writeln!(text, "listen = {}", quoted(&self.listen))?;
        writeln!(text, "target = {}", list(&self.targets))?;
        if self.side == Side::Outbound {
            writeln!(text, "expect = {}", list(&self.peers))?;
        }
        for (key, value) in
            [("server_name", &self.server_name), ("protocol", &self.protocol), ("min_tls", &self.min_tls)]
        {
            if let Some(value) = value {
                writeln!(text, "{key} = {}", quoted(value))?;
            }
        }
        if !self.alpn.is_empty() {
            writeln!(text, "alpn = {}", list(&self.alpn))?;
        }
        if self.allow_plaintext_network {
            writeln!(text, "allow_plaintext_network = true")?;
        }
        if self.side == Side::Inbound {
            writeln!(text, "\n[[inbound.rule]]\nname = \"allow\"\npeers = {}", list(&self.peers))?;
        }
        Ok(())
    }

    pub(super) fn file(&self) -> File {
        let identity = self.identity.as_ref().map(|dir| {
            let at = Spot::Flag("--identity");
            let dir = match dir.to_str() {
                Some(text) => Field::typed(at, text),
                // No file could say it, but the system takes it.
                None => Field::known(at, FilePath(dir.clone())),
            };
            let value = IdentityTable { dir, ..IdentityTable::default() };
            Placed { at, value }
        });
        let mut file = File { identity, ..File::default() };
        match self.side {
            Side::Inbound => file.inbound.push(Placed { at: LISTEN, value: self.inbound() }),
            Side::Outbound => file.outbound.push(Placed { at: LISTEN, value: self.outbound() }),
        }
        file
    }

    fn inbound(&self) -> InboundTable {
        let at = Spot::Flag("--allow");
        let value =
            RuleTable { name: Field::typed(at, "allow"), peers: Many::typed(at, &self.peers), ..RuleTable::default() };
        InboundTable {
            listen: Field::typed(LISTEN, &self.listen),
            target: Many::typed(Spot::Flag("--target"), &self.targets),
            protocol: optional("--protocol", self.protocol.as_deref()),
            alpn: Many::typed(Spot::Flag("--alpn"), &self.alpn),
            min_tls: optional("--min-tls", self.min_tls.as_deref()),
            allow_plaintext_network: Field::known(PLAINTEXT, self.allow_plaintext_network),
            rule: vec![Placed { at, value }],
            ..InboundTable::default()
        }
    }

    fn outbound(&self) -> OutboundTable {
        OutboundTable {
            listen: Field::typed(LISTEN, &self.listen),
            target: Many::typed(Spot::Flag("--target"), &self.targets),
            expect: Many::typed(Spot::Flag("--expect"), &self.peers),
            server_name: optional("--server-name", self.server_name.as_deref()),
            protocol: optional("--protocol", self.protocol.as_deref()),
            alpn: Many::typed(Spot::Flag("--alpn"), &self.alpn),
            min_tls: optional("--min-tls", self.min_tls.as_deref()),
            allow_plaintext_network: Field::known(PLAINTEXT, self.allow_plaintext_network),
            ..OutboundTable::default()
        }
    }
}

fn optional<T: super::field::Word>(flag: &'static str, text: Option<&str>) -> Field<T> {
    text.map_or_else(Field::default, |text| Field::typed(Spot::Flag(flag), text))
}

fn list(texts: &[String]) -> String {
    let quoted = texts.iter().map(|text| quoted(text)).collect::<Vec<_>>();
    format!("[{}]", quoted.join(", "))
}

/// A TOML basic string. JSON's escapes are all of TOML's, except that TOML wants DEL escaped too.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007F")
}
