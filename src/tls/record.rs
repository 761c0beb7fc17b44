//! One direction of the record protection of TLS 1.3 (RFC 8446 §5.2): a content is sealed, or a record opened, from one buffer into another, with
//! no copy between. The keys, and when they change, are rustls' matter; the cipher is aws-lc's.

#[cfg(test)]
mod tests;

use std::fmt;

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce as AeadNonce, UnboundKey,
};
use rustls::crypto::cipher::{Iv, Nonce, make_tls13_aad};
use rustls::{ConnectionTrafficSecrets, ContentType};

use super::session::Fault;

/// What stands before a record's ciphertext: its type, a version that means nothing, and its length (RFC 8446 §5.1).
pub(super) const HEADER: usize = 5;

/// The authenticator of each of the three ciphers.
const TAG: usize = 16;

/// What a record has beside its content, where nothing pads it.
pub(super) const OVERHEAD: usize = HEADER + 1 + TAG;

/// The most content of one record (RFC 8446 §5.1).
pub(super) const MAX_CONTENT: usize = 1 << 14;

/// The most ciphertext of one record (RFC 8446 §5.2).
const MAX_CIPHERTEXT: usize = MAX_CONTENT + 256;

/// The protection of what goes one way.
pub(super) struct Protection {
    key: LessSafeKey,
    iv: Iv,
    /// Of the next record. No two records under one key have the same.
    sequence: u64,
}

/// What a record was found to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Opened {
    pub(super) kind: ContentType,
    pub(super) place: Place,
    /// Of the content.
    pub(super) length: usize,
}

/// Where the content of a record was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// At the front of the room that was offered for it.
    Room,
    /// In the place of the ciphertext, behind the header.
    Ciphertext,
}

/// Why a record is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Invalid {
    /// Not ciphertext, where nothing else may come.
    Unprotected(ContentType),
    /// Longer than a record may be.
    TooLong,
    /// Its authenticator is not that of its bytes.
    Forged,
    /// It has padding and no content, so not even a type.
    Untyped,
}

impl Protection {
    /// The protection with these secrets, from this record on.
    ///
    /// # Errors
    /// Where they are of a cipher that we do not have.
    pub(super) fn new((sequence, secrets): (u64, ConnectionTrafficSecrets)) -> Result<Self, Fault> {
        let (algorithm, key, iv): (&'static Algorithm, _, _) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key, iv),
            _ => return Err(Fault::Unforeseen("a cipher that we do not know")),
        };
        let key = UnboundKey::new(algorithm, key.as_ref()).map_err(|_| Fault::Unforeseen("a key of another length"))?;
        Ok(Self { key: LessSafeKey::new(key), iv, sequence })
    }

    /// The number of the next record, from 0 on under each key.
    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    fn nonce(&self) -> AeadNonce {
        AeadNonce::assume_unique_for_key(Nonce::new(&self.iv, self.sequence).0)
    }

    /// Puts a record with this content, [`MAX_CONTENT`] at most, at the front of `room`, and tells how long it is; `None` where it does not fit.
    pub(super) fn seal(&mut self, kind: ContentType, content: &[u8], room: &mut [u8]) -> Option<usize> {
        let header = make_tls13_aad(content.len().checked_add(OVERHEAD - HEADER)?);
        let (front, rest) = room.split_at_mut_checked(HEADER)?;
        let (ciphertext, rest) = rest.split_at_mut_checked(content.len())?;
        let (end, _) = rest.split_at_mut_checked(1 + TAG)?;
        front.copy_from_slice(&header);
        let sealed = self.key.seal_out_of_place_scatter(
            self.nonce(),
            Aad::from(header),
            content,
            ciphertext,
            &[kind.into()],
            end,
        );
        sealed.ok()?;
        self.sequence += 1;
        Some(OVERHEAD + content.len())
    }

    /// Opens a record, into `room` where that has room for all of it, or else in its place.
    ///
    /// # Errors
    /// Why it is none.
    pub(super) fn open(&mut self, record: &mut [u8], room: &mut [u8]) -> Result<Opened, Invalid> {
        let (header, ciphertext) = record.split_first_chunk_mut::<HEADER>().ok_or(Invalid::Forged)?;
        let header = &*header; // as it came: its authenticator covers it (RFC 8446 §5.2)
        let nonce = self.nonce();
        let inner = ciphertext.len().checked_sub(TAG).ok_or(Invalid::Forged)?;
        let (sealed, tag) = ciphertext.split_at_mut_checked(inner).ok_or(Invalid::Forged)?;
        let (opened, place) = match room.get_mut(..inner) {
            Some(room) => {
                let opened = self.key.open_separate_gather(nonce, Aad::from(header), sealed, tag, room);
                (opened.map(|()| room), Place::Room)
            }
            None => {
                let opened = self.key.open_in_place_separate_tag(nonce, Aad::from(header), tag, sealed);
                (opened, Place::Ciphertext)
            }
        };
        let opened = opened.map_err(|_| Invalid::Forged)?;
        self.sequence += 1;
        if inner > MAX_CONTENT + 1 {
            return Err(Invalid::TooLong); // padding counts (RFC 8446 §5.4)
        }
        // The type is the last byte that is not zero: what follows is padding (RFC 8446 §5.4).
        let length = opened.iter().rposition(|byte| *byte != 0).ok_or(Invalid::Untyped)?;
        let kind = opened.get(length).copied().unwrap_or_default().into();
        Ok(Opened { kind, place, length })
    }
}

/// How far the record extends whose beginning this is, whatever it is.
pub(super) fn extent(beginning: &[u8]) -> usize {
    let length = beginning.first_chunk::<HEADER>().map(|[.., high, low]| u16::from_be_bytes([*high, *low]));
    HEADER + length.map_or(0, usize::from)
}

/// How long the record is whose beginning this is, header included; `None` where that is not known yet.
///
/// # Errors
/// Where it is none that may come once keys are agreed on.
pub(super) fn length(beginning: &[u8]) -> Result<Option<usize>, Invalid> {
    match (beginning.first().copied().map(ContentType::from), extent(beginning)) {
        (Some(ContentType::ApplicationData), length) if length > HEADER + MAX_CIPHERTEXT => Err(Invalid::TooLong),
        (Some(ContentType::ApplicationData), length) => Ok((beginning.len() >= HEADER).then_some(length)),
        (Some(other), _) => Err(Invalid::Unprotected(other)),
        (None, _) => Ok(None),
    }
}

/// Nothing of the keys.
impl fmt::Debug for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Protection").field("sequence", &self.sequence).finish_non_exhaustive()
    }
}
