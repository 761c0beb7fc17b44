//! A connection of TLS 1.3 once its handshake is done: records with the application's bytes, and what else may come then, which is alerts, new keys
//! and tickets (RFC 8446 §4.6, §5, §6). rustls made the handshake and goes on to make the keys; the records are ours, so that bytes are encrypted and
//! decrypted where they are wanted.

#[cfg(test)]
mod tests;

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::kernel::KernelConnection;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::{
    AlertDescription, ConnectionTrafficSecrets, ContentType, Error, ExtractedSecrets, InvalidMessage, PeerMisbehaved,
    SupportedCipherSuite,
};

use super::Unsent;
use super::record::{self, HEADER, Invalid, MAX_CONTENT, Opened, Place, Protection};
use super::session::{Fault, Plaintext, Received, Say, Step, Work};

/// How many records in a row may come with nothing for the application: each costs us work. rustls and BoringSSL take as many.
const MAX_BARREN: u8 = 32;

/// The messages that may come once a handshake is done (RFC 8446 §4.6), of those that nobody asked for.
const NEW_SESSION_TICKET: u8 = 4;
const KEY_UPDATE: u8 = 24;

/// How long a key update is, as its header says it, and whether it asks for one in return (RFC 8446 §4.6.3).
const UPDATE_LENGTH: [u8; 3] = [0, 0, 1];
const NOT_REQUESTED: u8 = 0;
const REQUESTED: u8 = 1;

/// The level of an alert that ends a connection, and of one that does not; nobody heeds it any more (RFC 8446 §6).
const FATAL: u8 = 2;
const WARNING: u8 = 1;

/// Both directions of an established connection.
pub(super) struct Records {
    sending: Protection,
    receiving: Protection,
    keys: Keys,
    /// How many records one key may protect (RFC 8446 §5.5).
    limit: u64,
    /// The peer wants new keys of us before more of our bytes.
    owes_update: bool,
    message: Message,
    /// Records that came in a row with nothing for the application.
    barren: u8,
    /// We have said that nothing follows, and so nothing does, not even an alert (RFC 8446 §6.1).
    has_ended: bool,
}

/// rustls' part: the keys that follow on the present ones.
enum Keys {
    Server(KernelConnection<ServerConnectionData>),
    Client(KernelConnection<ClientConnectionData>),
}

/// The message that is coming in.
#[derive(Default)]
struct Message {
    /// Its first bytes, as far as they say something.
    begun: Vec<u8>,
    /// How much is left of one that is of no interest.
    unread: usize,
}

/// What ends the connection, and the alert that tells the peer of it; none answers an alert.
struct Breach(Option<AlertDescription>, Fault);

impl Records {
    /// Takes over a connection whose handshake is done, and whose peer is yet to be heard behind it.
    ///
    /// # Errors
    /// When rustls does not let go of it.
    pub(super) fn of_server(connection: UnbufferedServerConnection) -> Result<Self, Fault> {
        let (secrets, keys) = connection.dangerous_into_kernel_connection()?;
        Self::new(secrets, keys.negotiated_cipher_suite(), Keys::Server(keys))
    }

    /// As `of_server`.
    ///
    /// # Errors
    /// As `of_server`.
    pub(super) fn of_client(connection: UnbufferedClientConnection) -> Result<Self, Fault> {
        let (secrets, keys) = connection.dangerous_into_kernel_connection()?;
        Self::new(secrets, keys.negotiated_cipher_suite(), Keys::Client(keys))
    }

    fn new(secrets: ExtractedSecrets, suite: SupportedCipherSuite, keys: Keys) -> Result<Self, Fault> {
        let SupportedCipherSuite::Tls13(suite) = suite else { return Err(Fault::Unforeseen("records of TLS 1.2")) };
        Ok(Self {
            sending: Protection::new(secrets.tx)?,
            receiving: Protection::new(secrets.rx)?,
            keys,
            limit: suite.common.confidentiality_limit,
            owes_update: false,
            message: Message::default(),
            barren: 0,
            has_ended: false,
        })
    }

    /// Says what is to be said, or else hears one record.
    pub(super) fn step(&mut self, received: &mut Received<'_>, work: Work<'_, '_>) -> Result<Step, Fault> {
        match work.say {
            Say::Nothing => self.hear(received, work.plaintext).map_err(|Breach(alert, fault)| {
                // That it ends does not hang on whether the peer can be told.
                let alert = alert.filter(|_| !self.has_ended);
                let _ = alert.map(|alert| self.seal(ContentType::Alert, &[FATAL, alert.into()], work.outgoing));
                fault
            }),
            Say::Bytes(bytes) => {
                for content in bytes.chunks(MAX_CONTENT) {
                    self.renew_if_due(work.outgoing)?;
                    self.seal(ContentType::ApplicationData, content, work.outgoing)?;
                }
                Ok(Step::Said)
            }
            Say::End => {
                self.renew_if_due(work.outgoing)?;
                self.seal(ContentType::Alert, &[WARNING, AlertDescription::CloseNotify.into()], work.outgoing)?;
                self.has_ended = true;
                Ok(Step::Said)
            }
        }
    }

    fn seal(&mut self, kind: ContentType, content: &[u8], outgoing: &mut Unsent) -> Result<(), Fault> {
        let sealed = self.sending.seal(kind, content, outgoing.room());
        outgoing.add(sealed.ok_or(Fault::Unforeseen("more room for ciphertext"))?);
        Ok(())
    }

    /// Says that the next record has new keys, and takes them, where the peer asked for that or the old ones have one record left.
    fn renew_if_due(&mut self, outgoing: &mut Unsent) -> Result<(), Fault> {
        if std::mem::take(&mut self.owes_update) || self.sending.sequence() >= self.limit.saturating_sub(1) {
            let [high, middle, low] = UPDATE_LENGTH;
            self.seal(ContentType::Handshake, &[KEY_UPDATE, high, middle, low, NOT_REQUESTED], outgoing)?;
            self.sending = Protection::new(self.keys.next_sending()?)?;
        }
        Ok(())
    }

    fn hear(&mut self, received: &mut Received<'_>, mut plaintext: Plaintext<'_, '_>) -> Result<Step, Breach> {
        let Some(length) = record::length(received.rest())? else { return Ok(Step::Blocked) };
        let Some(record) = received.rest_mut().get_mut(..length) else { return Ok(Step::Blocked) };
        let room = plaintext.room(length);
        let Opened { kind, place, length: content } = self.receiving.open(record, room)?;
        let ciphertext = record.get(HEADER..).unwrap_or_default();
        let step = match (kind, place) {
            (ContentType::ApplicationData, _) if content > 0 && !self.message.is_under_way() => {
                match place {
                    Place::Room => plaintext.add(content),
                    Place::Ciphertext => plaintext.take(ciphertext.get(..content).unwrap_or_default()),
                }
                self.barren = 0;
                Ok(Step::Some)
            }
            (_, Place::Room) => self.heed(kind, plaintext.room(content).get(..content).unwrap_or_default()),
            (_, Place::Ciphertext) => self.heed(kind, ciphertext.get(..content).unwrap_or_default()),
        };
        received.done_with(length);
        step
    }

    /// Takes in a record that has nothing for the application.
    fn heed(&mut self, kind: ContentType, content: &[u8]) -> Result<Step, Breach> {
        self.barren += 1;
        if self.barren > MAX_BARREN {
            return Err(PeerMisbehaved::TooManyEmptyFragments.into());
        }
        match kind {
            // Only the application's records may be empty (RFC 8446 §5.4).
            ContentType::Handshake | ContentType::Alert if content.is_empty() => Err(unexpected(kind)),
            ContentType::Handshake => self.heed_messages(content),
            // Nothing comes between the parts of a message (RFC 8446 §5.1).
            _ if self.message.is_under_way() => Err(unexpected(kind)),
            ContentType::ApplicationData => Ok(Step::Some), // an empty one, which hides how much is said
            ContentType::Alert => heed_alert(content),
            _ => Err(unexpected(kind)),
        }
    }

    /// Takes in what belongs to the protocol of the handshake.
    fn heed_messages(&mut self, mut content: &[u8]) -> Result<Step, Breach> {
        while let Some((first, rest)) = content.split_first() {
            if self.message.unread > 0 {
                let passed = self.message.unread.min(content.len());
                self.message.unread -= passed;
                content = content.get(passed..).unwrap_or_default();
                continue;
            }
            content = rest;
            if let Some(is_requested) = self.message.read(*first, matches!(self.keys, Keys::Client(_)))? {
                // What followed in this record would be under keys that are over (RFC 8446 §5.1).
                if !content.is_empty() {
                    return Err(PeerMisbehaved::KeyEpochWithPendingFragment.into());
                }
                self.owes_update |= is_requested;
                self.receiving = Protection::new(self.keys.next_receiving()?)?;
            }
        }
        Ok(Step::Some)
    }
}

impl Keys {
    fn next_sending(&mut self) -> Result<(u64, ConnectionTrafficSecrets), Fault> {
        match self {
            Self::Server(keys) => Ok(keys.update_tx_secret()?),
            Self::Client(keys) => Ok(keys.update_tx_secret()?),
        }
    }

    fn next_receiving(&mut self) -> Result<(u64, ConnectionTrafficSecrets), Fault> {
        match self {
            Self::Server(keys) => Ok(keys.update_rx_secret()?),
            Self::Client(keys) => Ok(keys.update_rx_secret()?),
        }
    }
}

impl Message {
    fn is_under_way(&self) -> bool {
        self.unread > 0 || !self.begun.is_empty()
    }

    /// Reads one more byte. Once that makes a key update whole, tells whether it asks for one in return.
    fn read(&mut self, byte: u8, is_from_server: bool) -> Result<Option<bool>, Breach> {
        self.begun.push(byte);
        let update = match *self.begun {
            [KEY_UPDATE, ref length @ ..] if length.len() <= 3 && UPDATE_LENGTH.starts_with(length) => return Ok(None),
            [KEY_UPDATE, _, _, _, NOT_REQUESTED] => Ok(Some(false)),
            [KEY_UPDATE, _, _, _, REQUESTED] => Ok(Some(true)),
            [KEY_UPDATE, 0, 0, 1, _] => {
                Err(Breach::by(AlertDescription::IllegalParameter, InvalidMessage::InvalidKeyUpdate))
            }
            [KEY_UPDATE, ..] => Err(Breach::by(AlertDescription::DecodeError, InvalidMessage::InvalidKeyUpdate)),
            // No session is resumed, and what was for that is passed over.
            [NEW_SESSION_TICKET, high, middle, low] if is_from_server => {
                self.unread = usize::try_from(u32::from_be_bytes([0, high, middle, low])).unwrap_or(usize::MAX);
                Ok(None)
            }
            [NEW_SESSION_TICKET, ..] if is_from_server => return Ok(None),
            _ => Err(unexpected(ContentType::Handshake)),
        };
        self.begun = Vec::new();
        update
    }
}

/// Takes in an alert. Its level says nothing (RFC 8446 §6).
fn heed_alert(content: &[u8]) -> Result<Step, Breach> {
    let [_, alert] = content else {
        return Err(Breach::by(AlertDescription::DecodeError, InvalidMessage::MissingData("an alert of two bytes")));
    };
    match AlertDescription::from(*alert) {
        AlertDescription::CloseNotify => Ok(Step::Ended),
        AlertDescription::UserCanceled => Ok(Step::Some), // the end follows (RFC 8446 §6.1)
        alert => Err(Breach(None, Error::AlertReceived(alert).into())),
    }
}

fn unexpected(kind: ContentType) -> Breach {
    let expect_types = vec![ContentType::ApplicationData];
    Breach::by(AlertDescription::UnexpectedMessage, Error::InappropriateMessage { expect_types, got_type: kind })
}

impl Breach {
    fn by(alert: AlertDescription, error: impl Into<Error>) -> Self {
        Self(Some(alert), error.into().into())
    }
}

impl From<PeerMisbehaved> for Breach {
    fn from(what: PeerMisbehaved) -> Self {
        Self::by(AlertDescription::UnexpectedMessage, what)
    }
}

/// What is wrong with us, and not with the peer.
impl From<Fault> for Breach {
    fn from(fault: Fault) -> Self {
        Self(Some(AlertDescription::InternalError), fault)
    }
}

impl From<Invalid> for Breach {
    fn from(invalid: Invalid) -> Self {
        match invalid {
            Invalid::Unprotected(kind) => unexpected(kind),
            Invalid::Untyped => unexpected(ContentType::Unknown(0)),
            Invalid::TooLong => Self::by(AlertDescription::RecordOverflow, Error::PeerSentOversizedRecord),
            Invalid::Forged => Self::by(AlertDescription::BadRecordMac, Error::DecryptError),
        }
    }
}
