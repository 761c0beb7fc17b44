//! An authority on disk, so that more workloads of its trust domain can be made later.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rcgen::{Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::authority::{Authority, Signer, Validity};
use super::key::{KeyAlgorithm, KeyEncoding, pem_block};
use super::{COMMON_NAME, MintError};
use crate::spiffe::{CertificateFacts, TrustBundle, TrustDomain};

/// Key and certificate of the root, in one file.
const ROOT: &str = "throwaway-root-ca.pem";
/// Key and certificate of the subordinate authority, in one file.
const SUBORDINATE: &str = "throwaway-subordinate-ca.pem";
/// Says to whoever looks into the directory what lies there.
const NOTICE: &str = "NOT-FOR-PRODUCTION.txt";

/// More than any file of ours has.
const MAX_FILE_BYTES: u64 = 64 * 1024;

impl Authority {
    /// Keeps the authority in a new directory (mode 0700; the files have mode 0600), whole or not at all.
    ///
    /// # Errors
    /// When a file cannot be written, or `directory` is there and not empty: an authority is never replaced.
    pub fn save(&self, directory: &Path) -> Result<(), MintError> {
        let parent = directory.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(file(parent, "made"))?;
        let beside = tempfile::Builder::new().prefix(".new-").tempdir_in(parent).map_err(file(parent, "written"))?;
        let notice = format!(
            "{COMMON_NAME}\n\nThe keys of the throwaway authority for trust domain `{}`. Whoever has them is anyone in it.\n",
            self.trust_domain()
        );
        write(&beside.path().join(NOTICE), notice.as_bytes())?;
        write(&beside.path().join(SUBORDINATE), self.subordinate.pem()?.as_bytes())?;
        write(&beside.path().join(ROOT), self.root.pem()?.as_bytes())?;
        fs::rename(beside.path(), directory).map_err(file(directory, "written"))?;
        let _ = beside.keep();
        Ok(())
    }

    /// The authority that is kept in `directory`, made now where none is. Of two makers at one time one wins, for both.
    ///
    /// # Errors
    /// When it cannot be read or written, or speaks for another trust domain.
    pub fn kept_in(directory: &Path, trust_domain: &TrustDomain) -> Result<Self, MintError> {
        if Self::load(directory)?.is_none() {
            let saved = Self::new(trust_domain.clone())?.save(directory);
            if Self::load(directory)?.is_none() {
                saved?;
            }
        }
        match Self::load(directory)? {
            Some(kept) if kept.trust_domain() == trust_domain => Ok(kept),
            _ => Err(MintError::Corrupt { path: directory.join(ROOT), reason: "it is that of another trust domain" }),
        }
    }

    /// Reads an authority that was kept in `directory`; `None` where none was.
    ///
    /// # Errors
    /// When a file cannot be read, or is not what was written.
    pub fn load(directory: &Path) -> Result<Option<Self>, MintError> {
        let path = directory.join(ROOT);
        if !path.try_exists().map_err(file(&path, "read"))? {
            return Ok(None);
        }
        let root = Signer::load(&path)?;
        let corrupt = |reason| MintError::Corrupt { path: path.clone(), reason };
        let trust_domain = trust_domain(&root).ok_or_else(|| corrupt("its certificate names no trust domain"))?;
        let (bundle, _) = TrustBundle::from_pem(pem_block("CERTIFICATE", &root.certificate).as_bytes())
            .map_err(|_| corrupt("its certificate may not sign"))?;
        let kept = bundle.roots().first();
        let kept = kept.ok_or_else(|| corrupt("its certificate may not sign"))?;
        let validity = Validity { not_before: kept.not_before(), not_after: kept.not_after() };
        let subordinate = Signer::load(&directory.join(SUBORDINATE))?;
        Ok(Some(Self::of(trust_domain, validity, root, subordinate)))
    }
}

impl Signer {
    fn pem(&self) -> Result<Zeroizing<String>, MintError> {
        let mut pem = KeyEncoding::Pkcs8.pem(self.issuer.key(), KeyAlgorithm::P256)?;
        pem.push_str(&pem_block("CERTIFICATE", &self.certificate));
        Ok(pem)
    }

    fn load(path: &Path) -> Result<Self, MintError> {
        let corrupt = |reason| MintError::Corrupt { path: path.to_owned(), reason };
        let pem = read(path)?;
        let certificate = CertificateDer::from_pem_slice(&pem).map_err(|_| corrupt("it holds no certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| corrupt("it holds no key"))?;
        let key = KeyPair::try_from(&key).map_err(|_| corrupt("its key cannot be used"))?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key);
        Ok(Self { issuer: issuer.map_err(|_| corrupt("its certificate cannot be used"))?, certificate })
    }
}

/// The trust domain in the root's SPIFFE ID.
fn trust_domain(root: &Signer) -> Option<TrustDomain> {
    let facts = CertificateFacts::of(&root.certificate)?;
    let name = facts.sans.first()?.strip_prefix("URI:spiffe://")?;
    TrustDomain::parse(name).ok()
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, MintError> {
    let mut bytes = Zeroizing::new(Vec::new());
    let opened = fs::File::open(path).map_err(file(path, "read"))?;
    opened.take(MAX_FILE_BYTES).read_to_end(&mut bytes).map_err(file(path, "read"))?;
    Ok(bytes)
}

/// For the owner only.
fn write(path: &Path, content: &[u8]) -> Result<(), MintError> {
    let mut options = OpenOptions::new();
    let opened = options.write(true).create_new(true).mode(0o600).open(path);
    opened.and_then(|mut out| out.write_all(content)).map_err(file(path, "written"))
}

fn file(path: &Path, deed: &'static str) -> impl FnOnce(io::Error) -> MintError {
    let path = path.to_owned();
    move |error| MintError::File { path, deed, error }
}
