//! The ways a handshake ends without a proven peer.

use std::io;

use rustls::{AlertDescription, Error, InvalidMessage};

use super::Refusal;

/// Why a handshake gave no connection.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// We refused the peer.
    #[error("the peer was refused: {0}")]
    Refused(#[source] Box<Refusal>),
    /// The peer refused us, or gave up.
    #[error("the peer ended the handshake with the alert {}", alert_name(*.0))]
    Alert(AlertDescription),
    /// It took longer than the handshake timeout.
    #[error("the handshake was not finished in time")]
    Timeout,
    /// The peer's bytes are no TLS.
    #[error("the bytes are no TLS; was plaintext sent to the TLS port?")]
    NotTls,
    /// The two sides have nothing in common, or the peer broke the protocol.
    #[error("the handshake failed: {0}")]
    Tls(#[source] Error),
    /// The connection broke.
    #[error("the connection ended during the handshake: {0}")]
    Io(#[source] io::Error),
}

impl HandshakeError {
    /// Whether the peer was told why with an alert, which it shall hear before the end of the connection.
    pub fn was_told(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::NotTls | Self::Tls(_))
    }
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        match rustls_error(&error) {
            Some(Error::NoCertificatesPresented) => Self::Refused(Box::new(Refusal::no_certificate())),
            Some(Error::AlertReceived(alert)) => Self::Alert(*alert),
            Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => Self::NotTls,
            Some(tls) => Self::Tls(tls.clone()),
            None => Self::Io(error),
        }
    }
}

/// The rustls error inside an I/O error, if there is one.
fn rustls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}

/// The alert that a peer sent on an established connection. In TLS 1.3 a server's refusal reaches its client here, since the client's
/// handshake ends before the server has looked at its certificate.
pub fn received_alert(error: &io::Error) -> Option<AlertDescription> {
    match rustls_error(error) {
        Some(Error::AlertReceived(alert)) => Some(*alert),
        _ => None,
    }
}

/// The alert's name in the IANA registry, such as `access_denied`; its number where it has none.
pub fn alert_name(alert: AlertDescription) -> String {
    let Some(camel) = alert.as_str() else {
        return u8::from(alert).to_string();
    };
    let mut name = String::new();
    let mut after_lower = false;
    for letter in camel.chars() {
        if after_lower && letter.is_ascii_uppercase() {
            name.push('_');
        }
        after_lower = letter.is_ascii_lowercase();
        name.push(letter.to_ascii_lowercase());
    }
    name
}
