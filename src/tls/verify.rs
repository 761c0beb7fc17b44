//! What rustls asks us during a handshake: our certificate, and whether the peer's is good and its bearer allowed. The answers come from
//! the terms of that one handshake, so that the rustls configuration is built once and never again at a rotation.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use crate::credentials::Credentials;
use crate::policy::{Denial, Policy, Verdict};
use crate::spiffe::{self, CertificateFacts, Rejection, SpiffeId, Stage, UnixTime, Usage};

/// On what terms a peer is let in: one generation of our credentials, one policy, one bound.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Our own certificate, and the roots that a peer must lead to.
    pub credentials: Arc<Credentials>,
    /// Who is allowed.
    pub policy: Arc<Policy>,
    /// The most bytes of certificates that are looked at.
    pub max_peer_certificates: usize,
}

impl Terms {
    /// Decides on the bearer of `chain`, leaf first, at `now`: the leaf's rules, the roots of its own trust domain, the policy. That the peer
    /// holds the leaf's key is rustls' to prove.
    ///
    /// # Errors
    /// The first stage that fails.
    pub fn authenticate(
        &self,
        chain: &[CertificateDer<'_>],
        usage: Usage,
        now: UnixTime,
    ) -> Result<PeerIdentity, Box<Refusal>> {
        let bytes = chain.iter().map(|certificate| certificate.len()).sum::<usize>();
        if bytes > self.max_peer_certificates {
            let reason = Reason::TooLarge { bytes, limit: self.max_peer_certificates };
            return Err(Box::new(Refusal { reason, facts: None }));
        }
        let facts = || chain.first().and_then(|leaf| CertificateFacts::of(leaf));
        let refuse = |reason| Box::new(Refusal { reason, facts: facts() });
        let verified = spiffe::verify(chain, &self.credentials.bundles, usage, now)
            .map_err(|rejection| refuse(Reason::Rejected(rejection)))?;
        let decision = self.policy.decide(&verified.id);
        match decision.verdict {
            Verdict::Allowed { rule } => {
                let (id, valid_until, shadow) = (verified.id, verified.valid_until, decision.shadow);
                Ok(PeerIdentity(Arc::new(Proven { id, rule, valid_until, shadow })))
            }
            Verdict::Denied(denial) => Err(refuse(Reason::Denied { id: verified.id, denial, shadow: decision.shadow })),
        }
    }

    /// Whether `other` would decide as this does, at the same instant.
    pub fn same_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.credentials.bundles, &other.credentials.bundles) && Arc::ptr_eq(&self.policy, &other.policy)
    }
}

/// The proof that a peer was authenticated and allowed: only [`Terms::authenticate`] makes one. It is handed about, and weighs a pointer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity(Arc<Proven>);

#[derive(Debug, PartialEq, Eq)]
struct Proven {
    id: SpiffeId,
    rule: Arc<str>,
    valid_until: UnixTime,
    shadow: Option<Verdict>,
}

impl PeerIdentity {
    /// The peer's SPIFFE ID.
    pub fn id(&self) -> &SpiffeId {
        &self.0.id
    }

    /// The rule that lets it in.
    pub fn rule(&self) -> &Arc<str> {
        &self.0.rule
    }

    /// The first instant at which a certificate of its path expires.
    pub fn valid_until(&self) -> UnixTime {
        self.0.valid_until
    }

    /// What would have happened with the shadow rules enforced; only where that is a denial.
    pub fn shadow(&self) -> Option<&Verdict> {
        self.0.shadow.as_ref()
    }
}

/// A peer that was not let in, with all that an operator needs to know why. The peer learns the alert only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// What its leaf says; `None` where there is none to read.
    pub facts: Option<CertificateFacts>,
}

/// Why a peer was not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It presented more bytes of certificates than we look at.
    TooLarge {
        /// Presented.
        bytes: usize,
        /// Looked at.
        limit: usize,
    },
    /// Its chain proves nothing.
    Rejected(Rejection),
    /// Its chain is good, and the policy keeps its bearer out.
    Denied {
        /// The ID that its chain names. In a handshake it is told, and noted, only once the peer has proven that the key is its own.
        id: SpiffeId,
        /// The rule, or the nearest one.
        denial: Denial,
        /// What would have happened with the shadow rules enforced; only where that is to let it in.
        shadow: Option<Verdict>,
    },
}

impl Refusal {
    pub(super) fn no_certificate() -> Self {
        Self { reason: Reason::Rejected(Rejection::NoCertificate), facts: None }
    }

    /// Whose ID it proved, where it got so far.
    pub fn peer(&self) -> Option<&SpiffeId> {
        match &self.reason {
            Reason::Denied { id, .. } => Some(id),
            Reason::TooLarge { .. } | Reason::Rejected(_) => None,
        }
    }

    /// Where in the examination it was refused.
    pub fn stage(&self) -> Stage {
        match &self.reason {
            Reason::TooLarge { .. } => Stage::Certificate,
            Reason::Rejected(rejection) => rejection.stage(),
            Reason::Denied { .. } => Stage::Policy,
        }
    }

    /// The error that makes rustls send the right alert (RFC 8446 §6.2): access_denied by policy, unknown_ca, certificate_expired,
    /// bad_certificate for what is no SVID.
    fn for_rustls(&self) -> Error {
        Error::InvalidCertificate(match self.stage() {
            Stage::Certificate | Stage::Profile => CertificateError::BadEncoding,
            Stage::TrustDomain | Stage::Chain => CertificateError::UnknownIssuer,
            Stage::Validity => CertificateError::Expired,
            Stage::Policy => CertificateError::ApplicationVerificationFailure,
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Reason::TooLarge { bytes, limit } => {
                write!(f, "the peer presented {bytes} bytes of certificates; {limit} are looked at")
            }
            Reason::Rejected(rejection) => rejection.fmt(f),
            Reason::Denied { denial, .. } => denial.fmt(f),
        }
    }
}

impl std::error::Error for Refusal {}

/// One handshake: its terms, and what came of the examination. It travels beside the handshake's future, since rustls' verifier is
/// shared by all connections and can answer only with an error that has no room for the reason.
pub(super) struct Handshake {
    pub(super) terms: Arc<Terms>,
    pub(super) outcome: RefCell<Option<Result<PeerIdentity, Box<Refusal>>>>,
    /// A denial of an ID that the peer has yet to prove: whoever has a copy of a certificate must neither learn what its owner may do, nor be
    /// noted under the owner's name.
    denial: RefCell<Option<Box<Refusal>>>,
}

impl Handshake {
    pub(super) fn new(terms: Arc<Terms>) -> Self {
        Self { terms, outcome: RefCell::default(), denial: RefCell::default() }
    }

    /// Examines the chain, before the peer has signed with its key. An answer that hangs on whose the key is waits for [`Self::proven`].
    fn examine(&self, chain: &[CertificateDer<'_>], usage: Usage, now: UnixTime) -> Result<(), Error> {
        match self.terms.authenticate(chain, usage, now) {
            Err(refusal) if refusal.peer().is_some() => {
                self.denial.replace(Some(refusal));
                Ok(())
            }
            outcome => {
                let answer = outcome.as_ref().map(|_| ()).map_err(|refusal| refusal.for_rustls());
                self.outcome.replace(Some(outcome));
                answer
            }
        }
    }

    /// The peer has signed with the leaf's key: a denial can be told.
    fn proven(&self) -> Result<(), Error> {
        match self.denial.take() {
            Some(refusal) => {
                let answer = refusal.for_rustls();
                self.outcome.replace(Some(Err(refusal)));
                Err(answer)
            }
            None => Ok(()),
        }
    }
}

tokio::task_local! {
    pub(super) static HANDSHAKE: Handshake;
}

/// Presents the own certificate of the handshake's terms.
#[derive(Debug)]
pub(super) struct OwnCertificate;

impl OwnCertificate {
    fn current() -> Option<Arc<CertifiedKey>> {
        HANDSHAKE.try_with(|handshake| handshake.terms.credentials.svid.key.clone()).ok()
    }
}

impl ResolvesServerCert for OwnCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Self::current()
    }
}

impl ResolvesClientCert for OwnCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Self::current()
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Examines the peer by the handshake's terms, the same way on both sides; names and host names play no part. rustls asks for the certificate
/// first and for the signature of its key after it, in both versions and on both sides.
#[derive(Debug)]
pub(super) struct PeerVerifier {
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

impl PeerVerifier {
    fn examine(
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        usage: Usage,
        now: UnixTime,
    ) -> Result<(), Error> {
        let chain: Vec<_> =
            std::iter::once(leaf).chain(intermediates).map(|der| CertificateDer::from(&**der)).collect();
        in_handshake(|handshake| handshake.examine(&chain, usage, now))
    }
}

/// Asks the handshake that runs on this task.
fn in_handshake(ask: impl FnOnce(&Handshake) -> Result<(), Error>) -> Result<(), Error> {
    HANDSHAKE.try_with(ask).unwrap_or_else(|_| Err(Error::General("a handshake without terms".into())))
}

impl ClientCertVerifier for PeerVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // No hints: they would tell every stranger whom we trust, and make clients with another root send nothing.
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Self::examine(leaf, intermediates, Usage::Client, now).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let valid = rustls::crypto::verify_tls12_signature(message, leaf, signature, &self.algorithms)?;
        in_handshake(Handshake::proven).map(|()| valid)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let valid = rustls::crypto::verify_tls13_signature(message, leaf, signature, &self.algorithms)?;
        in_handshake(Handshake::proven).map(|()| valid)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Self::examine(leaf, intermediates, Usage::Server, now).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ClientCertVerifier::verify_tls12_signature(self, message, leaf, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ClientCertVerifier::verify_tls13_signature(self, message, leaf, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
