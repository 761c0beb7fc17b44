//! The demo's stage: a trust domain in a temporary directory, an old application, and a proxy on either side of the mutual TLS.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::task::JoinHandle;

use super::traffic;
use crate::app::{App, Drained, Handle};
use crate::config::{Config, Flags, ListenAddress, Side};
use crate::mint::{Authority, Generation, Writer, WriterStyle, bundle_map};
use crate::spiffe::{SpiffeId, TrustDomain};

/// The trust domain of the demo.
pub(super) const TRUST_DOMAIN: &str = "demo.example";
/// Who calls.
pub(super) const CALLER: &str = "spiffe://demo.example/ns/shop/sa/web";
/// Who answers.
pub(super) const SERVICE: &str = "spiffe://demo.example/ns/shop/sa/orders";

const LIFETIME: Duration = Duration::from_secs(60 * 60);

/// How long a rotation may take to be followed before the demo gives up on it.
const PATIENCE: Duration = Duration::from_secs(5);

/// The stage.
pub(super) struct World {
    directory: tempfile::TempDir,
    /// Whose roots are in the bundle; the last one issues.
    authorities: Vec<Authority>,
    /// The last authority's root is trusted already, and does not issue yet.
    waiting: bool,
    inbound: Proxy,
    outbound: Proxy,
    application: SocketAddr,
}

/// One of the two proxies.
pub(super) struct Proxy {
    id: SpiffeId,
    writer: Writer,
    flags: Flags,
    address: SocketAddr,
    handle: Handle,
    serving: JoinHandle<Drained>,
}

impl World {
    pub(super) async fn create() -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("svidgate-demo-").tempdir()?;
        let authority = Authority::new(trust_domain()?)?;
        let application = traffic::application().await?;
        let inbound = Proxy::start(directory.path(), "orders", SERVICE, &authority, |identity| Flags {
            side: Side::Inbound,
            listen: "127.0.0.1:0".into(),
            targets: vec![application.to_string()],
            identity: Some(identity),
            peers: vec![CALLER.into()],
            ..Flags::default()
        })
        .await?;
        let door = inbound.address;
        let outbound = Proxy::start(directory.path(), "web", CALLER, &authority, |identity| Flags {
            side: Side::Outbound,
            listen: "127.0.0.1:0".into(),
            targets: vec![door.to_string()],
            identity: Some(identity),
            peers: vec![SERVICE.into()],
            ..Flags::default()
        })
        .await?;
        Ok(Self { directory, authorities: vec![authority], waiting: false, inbound, outbound, application })
    }

    /// Where the caller's requests go in.
    pub(super) fn entrance(&self) -> SocketAddr {
        self.outbound.address
    }

    /// Where mutual TLS is asked for.
    pub(super) fn door(&self) -> SocketAddr {
        self.inbound.address
    }

    pub(super) fn application(&self) -> SocketAddr {
        self.application
    }

    pub(super) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What a reader would type to run both proxies by hand, on the ports of now.
    pub(super) fn commands(&self) -> [String; 2] {
        [self.inbound.command(), self.outbound.command()]
    }

    /// The authority that issues now.
    pub(super) fn issuer(&self) -> Option<&Authority> {
        if self.waiting { self.authorities.first() } else { self.authorities.last() }
    }

    /// The authority that has been trusted longest.
    pub(super) fn oldest(&self) -> Option<&Authority> {
        self.authorities.first()
    }

    /// Whose roots are trusted now.
    pub(super) fn authorities(&self) -> impl Iterator<Item = &Authority> {
        self.authorities.iter()
    }

    fn bundle(&self) -> String {
        bundle_map(&self.authorities().collect::<Vec<_>>())
    }

    pub(super) fn add_root(&mut self) -> anyhow::Result<()> {
        self.authorities.push(Authority::new(trust_domain()?)?);
        self.waiting = true;
        Ok(())
    }

    pub(super) fn issue_from_new_root(&mut self) {
        self.waiting = false;
    }

    pub(super) fn is_replacing_root(&self) -> bool {
        self.authorities.len() > 1
    }

    pub(super) fn remove_old_root(&mut self) {
        self.authorities.drain(..self.authorities.len().saturating_sub(1));
    }

    /// Rotates both sides' credentials on disk with the current agent's sequence of system calls, and waits until both use them. Returns how
    /// long each took from the swap on.
    pub(super) async fn rotate(&self) -> anyhow::Result<[Duration; 2]> {
        let mut took = [Duration::ZERO; 2];
        let issuer = self.issuer().context("no authority is left")?;
        for (proxy, took) in [&self.inbound, &self.outbound].into_iter().zip(&mut took) {
            let generation = generation(issuer, &proxy.id, self.bundle())?;
            let before = proxy.handle.credentials().current();
            let mut credentials = proxy.handle.credentials().subscribe();
            proxy.writer.write(&generation).context("the credentials cannot be written")?;
            let swapped = Instant::now();
            let changed = credentials.wait_for(|now| match (now, &before) {
                (Some(now), Some(before)) => !now.same_as(before),
                (now, _) => now.is_some(),
            });
            tokio::time::timeout(PATIENCE, changed).await.context("a rotation was not followed")??;
            *took = swapped.elapsed();
            proxy.handle.ready().await;
        }
        Ok(took)
    }

    pub(super) async fn stop(self) {
        for proxy in [self.outbound, self.inbound] {
            proxy.handle.stop().await;
            proxy.handle.stop().await;
            let _ = proxy.serving.await;
        }
    }
}

impl Proxy {
    async fn start(
        directory: &Path,
        name: &str,
        id: &str,
        authority: &Authority,
        flags: impl FnOnce(PathBuf) -> Flags,
    ) -> anyhow::Result<Self> {
        let home = directory.join(name);
        std::fs::create_dir(&home)?;
        let writer = Writer::new(home.join("workload-spiffe-credentials"), WriterStyle::Gce);
        let id = SpiffeId::parse(id)?;
        writer.write(&generation(authority, &id, bundle_map(&[authority]))?)?;
        let flags = flags(writer.path().to_owned());
        let app = App::bind(Config::from_flags(&flags)?)?;
        let Some(ListenAddress::Tcp(address)) = app.addresses().into_iter().next() else {
            anyhow::bail!("a proxy of the demo has no address");
        };
        let handle = app.handle();
        let serving = tokio::spawn(app.serve());
        tokio::time::timeout(PATIENCE, handle.ready()).await.context("the credentials are not read")?;
        Ok(Self { id, writer, flags, address, handle, serving })
    }

    fn command(&self) -> String {
        let Flags { side, targets, peers, .. } = &self.flags;
        let (verb, patterns) = match side {
            Side::Inbound => ("inbound", "allow"),
            Side::Outbound => ("outbound", "expect"),
        };
        format!(
            "svidgate {verb} --listen {} --target {} \\\n      --identity {} \\\n      --{patterns} {}",
            self.address,
            targets.join(" "),
            self.writer.path().display(),
            peers.join(" "),
        )
    }
}

/// The credentials of one side, from one authority, with a bundle.
pub(super) fn generation(authority: &Authority, id: &SpiffeId, bundle: String) -> anyhow::Result<Generation> {
    Ok(Generation::new(authority.issue(id, LIFETIME)?, authority.root_pem(), bundle))
}

fn trust_domain() -> anyhow::Result<TrustDomain> {
    Ok(TrustDomain::parse(TRUST_DOMAIN)?)
}
