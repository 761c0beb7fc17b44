//! The throwaway credentials of a run: one authority, a client and a server, each in the layout that svidgate follows and in the files that its
//! peers want.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use rcgen::SanType;
use svidgate::mint::{
    Authority, Generation, Issued, KeyAlgorithm, Validity, Writer, WriterStyle, bundle_map, svid_params,
};
use svidgate::spiffe::{SpiffeId, TrustDomain};

/// The name in both certificates beside the SPIFFE ID, for peers that check nothing else.
pub(crate) const NAME: &str = "localhost";

const LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// Whoever holds an X.509-SVID in the bench.
pub(crate) struct Holder {
    pub(crate) id: SpiffeId,
    writer: Writer,
    plain: PathBuf,
}

impl Holder {
    /// The directory that svidgate follows.
    pub(crate) fn directory(&self) -> &Path {
        self.writer.path()
    }

    /// The directory of the plain files.
    pub(crate) fn plain(&self) -> &Path {
        &self.plain
    }

    /// The chain, leaf first.
    pub(crate) fn certificates(&self) -> PathBuf {
        self.plain.join("certificates.pem")
    }

    /// The key alone.
    pub(crate) fn key(&self) -> PathBuf {
        self.plain.join("key.pem")
    }

    /// Chain and key in one file.
    pub(crate) fn combined(&self) -> PathBuf {
        self.plain.join("combined.pem")
    }

    /// Whom the holder trusts.
    pub(crate) fn roots(&self) -> PathBuf {
        self.plain.join("roots.pem")
    }
}

/// The authority with the two who talk to each other.
pub(crate) struct Credentials {
    authority: Authority,
    /// Behind the outbound proxy; also the bench's own clients.
    pub(crate) client: Holder,
    /// Behind the inbound proxy.
    pub(crate) server: Holder,
}

impl Credentials {
    pub(crate) fn mint(home: &Path) -> anyhow::Result<Self> {
        let authority = Authority::new(TrustDomain::parse("bench.example")?)?;
        let holder = |name: &str| {
            let id = SpiffeId::parse(&format!("spiffe://bench.example/ns/bench/sa/{name}"))?;
            let writer = Writer::new(home.join(format!("{name}-credentials")), WriterStyle::Gce);
            anyhow::Ok(Holder { id, writer, plain: home.join(name) })
        };
        let credentials = Self { client: holder("client")?, server: holder("server")?, authority };
        for holder in [&credentials.client, &credentials.server] {
            let generation = credentials.generation(holder)?;
            holder.writer.write(&generation)?;
            let Generation { certificates, private_key, ca_certificates, .. } = &generation;
            fs::create_dir_all(&holder.plain)?;
            fs::write(holder.certificates(), certificates)?;
            fs::write(holder.key(), private_key.as_bytes())?;
            fs::write(holder.combined(), format!("{certificates}{}", **private_key))?;
            fs::write(holder.roots(), ca_certificates)?;
        }
        Ok(credentials)
    }

    /// Writes new certificates for both, as the Compute Engine agent does.
    pub(crate) fn rotate(&self) -> anyhow::Result<()> {
        for holder in [&self.client, &self.server] {
            holder.writer.write(&self.generation(holder)?).context("credentials cannot be rotated")?;
        }
        Ok(())
    }

    /// A fresh SVID on P-256 that also has a name, since not every peer can be told to look at SPIFFE IDs.
    fn generation(&self, holder: &Holder) -> anyhow::Result<Generation> {
        let key = KeyAlgorithm::P256.generate()?;
        let mut params = svid_params(&holder.id, Validity::from_now(LIFETIME))?;
        params.subject_alt_names.push(SanType::DnsName(NAME.try_into()?));
        let leaf = self.authority.sign(&params, &key)?;
        let certificates = [&leaf, self.authority.subordinate_der()].map(|der| pem(der)).join("\n");
        let issued = Issued { certificates, private_key: key.serialize_pem().into() };
        Ok(Generation::new(issued, self.authority.root_pem(), bundle_map(&[&self.authority])))
    }
}

/// A certificate as a block of PEM (RFC 7468): 64 characters a line.
fn pem(der: &[u8]) -> String {
    use base64::Engine as _;
    // 48 bytes are 64 characters.
    let lines = der.chunks(48).map(|line| base64::engine::general_purpose::STANDARD.encode(line));
    let lines: Vec<String> = lines.collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}
