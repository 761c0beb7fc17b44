//! `svidgate identity mint`: throwaway credentials in a platform's layout, once or again and again.

use std::fs;
use std::future::Future;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail, ensure};
use clap::ValueEnum;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::out::out;
use crate::credentials::{Identity, Source, inspect, load};
use crate::mint::{Authority, COMMON_NAME, Generation, Writer, WriterStyle, bundle_map};
use crate::spiffe::{SpiffeId, TrustDomain, UnixTime};

/// The directory beside the credentials that holds the authorities, one for each trust domain.
const AUTHORITIES: &str = "throwaway-authorities";

/// Says to whoever looks into the directory what lies there.
const NOTICE: &str = "NOT-FOR-PRODUCTION.txt";

/// The most authorities that are looked at: all stand in every bundle map.
const MAX_AUTHORITIES: usize = 256;

/// Makes throwaway credentials for trying things out, NOT for production
///
/// The authority of the trust domain is kept in `throwaway-authorities/` beside DIR, so that workloads minted side by side trust each
/// other. Its key lies in a file: whoever can read it is anyone in that trust domain.
#[derive(Debug, clap::Args)]
pub(crate) struct Mint {
    /// Where the credentials go; in the Compute Engine layouts DIR becomes a symbolic link, as it is there
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
    /// Whose credentials, such as `spiffe://prod.example/ns/web/sa/api`
    #[arg(long, value_name = "SPIFFE-ID", value_parser = workload)]
    pub id: SpiffeId,
    /// Whose files and whose way of replacing them
    #[arg(long, value_enum, default_value_t)]
    pub layout: MintLayout,
    /// How long the credentials last
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = humantime::parse_duration)]
    pub lifetime: Duration,
    /// Keeps replacing them this often, until Ctrl-C
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub rotate_every: Option<Duration>,
}

/// The layouts that can be minted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum MintLayout {
    /// Compute Engine, the current agent: a bundle map of every trust domain minted side by side
    #[default]
    Gce,
    /// Compute Engine in metadata mode: PEM roots of the own trust domain
    GceMetadata,
    /// A Kubernetes volume: tls.key, tls.crt, ca.crt through `..data`
    Kubernetes,
    /// spiffe-helper: rewritten in place
    SpiffeHelper,
}

impl MintLayout {
    fn style(self) -> WriterStyle {
        match self {
            Self::Gce => WriterStyle::Gce,
            Self::GceMetadata => WriterStyle::GceMetadata,
            Self::Kubernetes => WriterStyle::Kubernetes,
            Self::SpiffeHelper => WriterStyle::SpiffeHelper,
        }
    }

    /// Whether the directory is a symbolic link that each rotation replaces.
    fn is_link(self) -> bool {
        matches!(self, Self::Gce | Self::GceMetadata)
    }
}

/// An ID that an X.509-SVID may have and whose trust domain may be a directory's name.
fn workload(text: &str) -> Result<SpiffeId, String> {
    let id = SpiffeId::parse_lenient(text).map_err(|error| error.to_string())?;
    if id.path().is_empty() {
        return Err(format!("it names a trust domain, not a workload: add a path, as in `{id}/ns/web/sa/api`"));
    }
    match id.trust_domain().as_str() {
        "." | ".." => Err("this trust domain cannot be the name of a directory".to_owned()),
        _ => Ok(id),
    }
}

/// Mints, and with `--rotate-every` goes on until SIGINT or SIGTERM.
///
/// # Errors
/// When the credentials cannot be made or written, or what was written cannot be used.
pub(crate) fn mint(args: &Mint) -> anyhow::Result<ExitCode> {
    let workshop = Workshop::open(args)?;
    let mut out = out();
    workshop.first(&mut out)?;
    if let Some(period) = args.rotate_every {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
            let stop = async {
                tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
            };
            workshop.rotate(period, stop, &mut out).await
        })?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Where one workload's credentials are made.
pub(super) struct Workshop {
    id: SpiffeId,
    lifetime: Duration,
    layout: MintLayout,
    authorities: PathBuf,
    writer: Writer,
}

impl Workshop {
    /// Looks whether the place is fit, and writes nothing yet.
    pub(super) fn open(args: &Mint) -> anyhow::Result<Self> {
        let directory = std::path::absolute(&args.directory)?;
        let parent = directory.parent().filter(|_| directory.file_name().is_some());
        let Some(parent) = parent else {
            bail!("{} can hold no credentials: give a directory with a name", directory.display())
        };
        ensure!(!args.lifetime.is_zero(), "--lifetime must be longer than nothing");
        if let Some(period) = args.rotate_every {
            ensure!(
                !period.is_zero() && period < args.lifetime,
                "--rotate-every must be longer than nothing and shorter than --lifetime: the credentials would expire in between"
            );
        }
        refuse_foreign(&directory, args.layout)?;
        Ok(Self {
            id: args.id.clone(),
            lifetime: args.lifetime,
            layout: args.layout,
            authorities: parent.join(AUTHORITIES),
            writer: Writer::new(directory, args.layout.style()),
        })
    }

    /// Mints for the first time, looks whether the result can be used, and tells.
    pub(super) fn first(&self, out: &mut dyn Write) -> anyhow::Result<()> {
        let trusted = self.write()?;
        let directory = self.writer.path();
        let identity = Identity { source: Source::Directory(directory.to_owned()), ..Identity::default() };
        load(&identity, UnixTime::now()).context("what was written cannot be used")?;
        let names: Vec<&str> = trusted.iter().map(TrustDomain::as_str).collect();
        writeln!(out, "NOT FOR PRODUCTION: throwaway credentials, the authority's key lies in a file")?;
        writeln!(out, "{}", self.id)?;
        writeln!(out, "  written to  {}", directory.display())?;
        writeln!(out, "  valid       until {}", self.until())?;
        writeln!(out, "  trusts      {}", names.join(", "))?;
        writeln!(out, "  authority   {}", self.authorities.join(self.id.trust_domain().as_str()).display())?;
        if self.layout == MintLayout::Gce && trusted.len() > 1 {
            writeln!(out, "Workloads minted before learn of a new trust domain when they are minted again or rotate.")?;
        }
        Ok(())
    }

    /// Writes new credentials every `period` until `stop`. One that fails is told, and the ones before stay.
    pub(super) async fn rotate(
        &self,
        period: Duration,
        stop: impl Future<Output = ()>,
        out: &mut dyn Write,
    ) -> anyhow::Result<()> {
        writeln!(out, "rotating every {}, until Ctrl-C", humantime::format_duration(period))?;
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => return Ok(()),
                () = tokio::time::sleep(period) => {}
            }
            let now = humantime::format_rfc3339_seconds(SystemTime::now());
            match self.write() {
                Ok(_) => writeln!(out, "{now} rotated, valid until {}", self.until())?,
                Err(error) => writeln!(out, "{now} not rotated: {error:#}")?,
            }
        }
    }

    /// Issues and writes once. Returns the trust domains that the workload then trusts.
    fn write(&self) -> anyhow::Result<Vec<TrustDomain>> {
        let own = Authority::kept_in(&self.authorities.join(self.id.trust_domain().as_str()), self.id.trust_domain())?;
        mark(&self.authorities)?;
        let issued = own.issue(&self.id, self.lifetime)?;
        let all = match self.layout {
            MintLayout::Gce => authorities_in(&self.authorities)?,
            MintLayout::GceMetadata | MintLayout::Kubernetes | MintLayout::SpiffeHelper => vec![own],
        };
        let own_roots = all.iter().filter(|authority| authority.trust_domain() == self.id.trust_domain());
        let roots: String = own_roots.map(Authority::root_pem).collect();
        let generation = Generation::new(issued, roots, bundle_map(&all.iter().collect::<Vec<_>>()));
        let write = self.writer.write(&generation);
        write.with_context(|| format!("the credentials cannot be written to {}", self.writer.path().display()))?;
        Ok(all.iter().map(|authority| authority.trust_domain().clone()).collect())
    }

    /// When credentials made now expire.
    fn until(&self) -> String {
        match SystemTime::now().checked_add(self.lifetime) {
            Some(at) => {
                format!("{} ({})", humantime::format_rfc3339_seconds(at), humantime::format_duration(self.lifetime))
            }
            None => humantime::format_duration(self.lifetime).to_string(),
        }
    }
}

/// Every authority kept in a directory, by name.
fn authorities_in(directory: &Path) -> anyhow::Result<Vec<Authority>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| format!("{} cannot be read", directory.display()))? {
        let name = entry?.file_name();
        names.extend(name.to_str().and_then(|name| TrustDomain::parse(name).ok()));
        ensure!(
            names.len() <= MAX_AUTHORITIES,
            "{} holds more than {MAX_AUTHORITIES} authorities: remove some",
            directory.display()
        );
    }
    names.sort();
    let loaded = names.iter().map(|name| Ok(Authority::load(&directory.join(name.as_str()))?));
    loaded.filter_map(Result::transpose).collect()
}

/// Leaves word beside the credentials.
fn mark(authorities: &Path) -> anyhow::Result<()> {
    let path = authorities.join(NOTICE);
    let text = "Made by `svidgate identity mint` for trying things out. NOT FOR PRODUCTION: the keys of the authorities lie in these\n\
                directories, and whoever can read one is anyone in its trust domain.\n";
    fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))
}

/// Never writes over what was not minted here: real credentials, or a directory where the layout wants a link.
fn refuse_foreign(directory: &Path, layout: MintLayout) -> anyhow::Result<()> {
    let Ok(metadata) = fs::symlink_metadata(directory) else { return Ok(()) };
    let shown = directory.display();
    if layout.is_link() {
        ensure!(
            metadata.is_symlink(),
            "{shown} is there and no symbolic link, as it is on Compute Engine: remove it, or give another"
        );
    }
    let identity = Identity { source: Source::Directory(directory.to_owned()), ..Identity::default() };
    let found = inspect(&identity, &[], UnixTime::now());
    let minted = found.chain.first().is_some_and(|leaf| leaf.issuer.contains(COMMON_NAME));
    let empty = fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_none());
    ensure!(
        minted || empty,
        "{shown} is there and holds no credentials minted here: they may be real ones; give another directory"
    );
    Ok(())
}
