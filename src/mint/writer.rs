//! Writes credentials into a directory as the platforms' own writers do, system call by system call: what follows a rotation here
//! follows it there.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use zeroize::Zeroizing;

use super::Issued;

/// The text of every file that a layout may hold.
#[derive(Clone)]
pub struct Generation {
    /// The chain in PEM, leaf first.
    pub certificates: String,
    /// The key in PEM.
    pub private_key: Zeroizing<String>,
    /// The roots of the own trust domain in PEM.
    pub ca_certificates: String,
    /// The SPIFFE bundle map.
    pub trust_bundles: String,
}

impl Generation {
    /// An SVID with those whom its owner trusts: PEM roots of its own trust domain, and a bundle map.
    pub fn new(issued: Issued, ca_certificates: String, trust_bundles: String) -> Self {
        Self { certificates: issued.certificates, private_key: issued.private_key, ca_certificates, trust_bundles }
    }
}

/// Whose way of writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriterStyle {
    /// The Compute Engine agent in metadata mode: the first generation file by file in the live directory, later ones beside it, then
    /// the link renamed over.
    GceMetadata,
    /// The current Compute Engine agent: each generation beside the last, then the link removed and the new one renamed in its place.
    /// For a moment the path does not exist.
    Gce,
    /// The kubelet: files are links through `..data`, which is swapped.
    Kubernetes,
    /// spiffe-helper: each file truncated and written in place, one after the other.
    SpiffeHelper,
    /// Each file beside the old one and renamed over it, as Istio's agent and careful scripts do.
    Istio,
}

/// Writes one generation after the other to the same path.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    style: WriterStyle,
}

impl Writer {
    /// A writer to `path`: the link in the Compute Engine styles, a directory in the others. Nothing is written yet.
    pub fn new(path: impl Into<PathBuf>, style: WriterStyle) -> Self {
        Self { path: path.into(), style }
    }

    /// The path that a reader is given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes `generation` and takes the one before away.
    ///
    /// # Errors
    /// What the system says; whatever was written so far stays, as it would with the platform's writer.
    pub fn write(&self, generation: &Generation) -> io::Result<()> {
        match self.style {
            WriterStyle::GceMetadata if self.path.symlink_metadata().is_err() => self.first_fill(generation),
            WriterStyle::GceMetadata => self.swap_link(generation, Swap::RenameOver),
            WriterStyle::Gce => self.swap_link(generation, Swap::UnlinkThenRename),
            WriterStyle::Kubernetes => self.swap_data(generation),
            WriterStyle::SpiffeHelper => self.rewrite_in_place(generation),
            WriterStyle::Istio => self.rename_each(generation),
        }
    }

    /// The files of this style, in the order in which its writer writes them.
    fn files<'a>(&self, generation: &'a Generation) -> Vec<(&'static str, &'a str)> {
        let Generation { certificates, private_key, ca_certificates, trust_bundles } = generation;
        match self.style {
            WriterStyle::GceMetadata => vec![
                ("config_status", "{\"state\": \"svidgate throwaway credentials\"}\n"),
                ("certificates.pem", certificates),
                ("private_key.pem", private_key),
                ("ca_certificates.pem", ca_certificates),
            ],
            WriterStyle::Gce => vec![
                ("private_key.pem", private_key),
                ("certificates.pem", certificates),
                ("trust_bundles.json", trust_bundles),
            ],
            WriterStyle::Kubernetes => {
                vec![("ca.crt", ca_certificates), ("tls.crt", certificates), ("tls.key", private_key)]
            }
            WriterStyle::SpiffeHelper => {
                vec![("svid.pem", certificates), ("svid_key.pem", private_key), ("svid_bundle.pem", ca_certificates)]
            }
            WriterStyle::Istio => {
                vec![("key.pem", private_key), ("cert-chain.pem", certificates), ("root-cert.pem", ca_certificates)]
            }
        }
    }

    /// The link stands before the files do: a reader sees them arrive one by one.
    fn first_fill(&self, generation: &Generation) -> io::Result<()> {
        let contents = self.beside("contents")?;
        make_directory(&contents)?;
        let mut files = self.files(generation).into_iter();
        if let Some((name, text)) = files.next() {
            write_new(&contents.join(name), text)?;
        }
        symlink(&contents, &self.path)?;
        files.try_for_each(|(name, text)| write_new(&contents.join(name), text))
    }

    fn swap_link(&self, generation: &Generation, swap: Swap) -> io::Result<()> {
        let before = fs::read_link(&self.path).ok();
        let contents = self.beside("contents")?;
        make_directory(&contents)?;
        for (name, text) in self.files(generation) {
            write_new(&contents.join(name), text)?;
        }
        let link = self.beside("symlink")?;
        symlink(&contents, &link)?;
        if swap == Swap::UnlinkThenRename && before.is_some() {
            fs::remove_file(&self.path)?;
        }
        fs::rename(&link, &self.path)?;
        before.map_or(Ok(()), remove)
    }

    /// The kubelet's atomic writer: a time-stamped directory, `..data_tmp` renamed over `..data`, links for new names, the old directory
    /// removed.
    fn swap_data(&self, generation: &Generation) -> io::Result<()> {
        make_directory(&self.path)?;
        let data = self.path.join("..data");
        let before = fs::read_link(&data).ok();
        let stamp = PathBuf::from(format!("..{}", now()));
        make_directory(&self.path.join(&stamp))?;
        let files = self.files(generation);
        for (name, text) in &files {
            write_new(&self.path.join(&stamp).join(name), text)?;
        }
        let link = self.path.join("..data_tmp");
        symlink(&stamp, &link)?;
        fs::rename(&link, &data)?;
        for (name, _) in &files {
            match symlink(Path::new("..data").join(name), self.path.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        before.map_or(Ok(()), |before| remove(self.path.join(before)))
    }

    fn rewrite_in_place(&self, generation: &Generation) -> io::Result<()> {
        make_directory(&self.path)?;
        self.files(generation).into_iter().try_for_each(|(name, text)| {
            let mut file = options(name).create(true).truncate(true).open(self.path.join(name))?;
            file.write_all(text.as_bytes())
        })
    }

    fn rename_each(&self, generation: &Generation) -> io::Result<()> {
        make_directory(&self.path)?;
        self.files(generation).into_iter().try_for_each(|(name, text)| {
            let new = self.path.join(format!(".{name}.new"));
            write_new(&new, text)?;
            fs::rename(&new, self.path.join(name))
        })
    }

    /// A time-stamped path beside the link, named after it as the agent does: `workload-spiffe-credentials` has
    /// `workload-spiffe-contents-...` and `workload-spiffe-symlink-...`.
    fn beside(&self, what: &str) -> io::Result<PathBuf> {
        let (Some(parent), Some(name)) = (self.path.parent(), self.path.file_name()) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path of a link has a name and a directory"));
        };
        let name = name.to_string_lossy();
        let stem = name.strip_suffix("-credentials").unwrap_or(&name);
        fs::create_dir_all(parent)?;
        let absolute = parent.canonicalize()?;
        Ok(absolute.join(format!("{stem}-{what}-{}", now())))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Swap {
    RenameOver,
    UnlinkThenRename,
}

fn now() -> humantime::Rfc3339Timestamp {
    humantime::format_rfc3339_nanos(SystemTime::now())
}

/// Removes the generation before; it may be gone already.
fn remove(directory: PathBuf) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn make_directory(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(path)
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut file = options(&name).create(true).truncate(true).open(path)?;
    file.write_all(text.as_bytes())
}

/// Platforms leave the key readable for everybody; throwaway ones need not.
fn options(name: &str) -> fs::OpenOptions {
    let mode = if name.contains("key") { 0o600 } else { 0o644 };
    let mut options = File::options();
    options.write(true).mode(mode);
    options
}
