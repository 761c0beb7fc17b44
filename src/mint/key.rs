//! The keys of throwaway certificates, in every kind and encoding that a real writer may use.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{KeyPair, RsaKeySize, SignatureAlgorithm};
use x509_parser::asn1_rs::{Any, FromDer as _, OctetString};
use zeroize::Zeroizing;

use super::MintError;

/// The kind of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyAlgorithm {
    /// ECDSA over P-256, as the platform's.
    #[default]
    P256,
    /// ECDSA over P-384.
    P384,
    /// RSA of 2,048 bits.
    Rsa2048,
    /// RSA of 4,096 bits.
    Rsa4096,
    /// Ed25519.
    Ed25519,
}

impl KeyAlgorithm {
    /// Makes a key.
    ///
    /// # Errors
    /// When the random number generator fails.
    pub fn generate(self) -> Result<KeyPair, MintError> {
        let of = |algorithm: &'static SignatureAlgorithm| KeyPair::generate_for(algorithm);
        let rsa = |size| KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size);
        Ok(match self {
            Self::P256 => of(&rcgen::PKCS_ECDSA_P256_SHA256),
            Self::P384 => of(&rcgen::PKCS_ECDSA_P384_SHA384),
            Self::Rsa2048 => rsa(RsaKeySize::_2048),
            Self::Rsa4096 => rsa(RsaKeySize::_4096),
            Self::Ed25519 => of(&rcgen::PKCS_ED25519),
        }?)
    }

    /// The DER of the curve's object identifier, for EC keys.
    fn curve(self) -> Option<&'static [u8]> {
        match self {
            Self::P256 => Some(&[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07]),
            Self::P384 => Some(&[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22]),
            Self::Rsa2048 | Self::Rsa4096 | Self::Ed25519 => None,
        }
    }
}

/// How a key is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyEncoding {
    /// `PRIVATE KEY` (RFC 5958): any kind.
    #[default]
    Pkcs8,
    /// `EC PRIVATE KEY` (RFC 5915): EC keys only. Seen on real machines.
    Sec1,
    /// `RSA PRIVATE KEY` (RFC 8017): RSA keys only.
    Pkcs1,
}

impl KeyEncoding {
    pub(super) fn pem(self, key: &KeyPair, algorithm: KeyAlgorithm) -> Result<Zeroizing<String>, MintError> {
        let pkcs8 = Zeroizing::new(key.serialize_der());
        match (self, algorithm.curve()) {
            (Self::Pkcs8, _) if algorithm == KeyAlgorithm::Ed25519 => {
                let first_version = first_version(&pkcs8).ok_or(MintError::Encoding)?;
                Ok(pem_block("PRIVATE KEY", &first_version))
            }
            (Self::Pkcs8, _) => Ok(pem_block("PRIVATE KEY", &pkcs8)),
            (Self::Sec1, Some(curve)) => {
                let sec1 = sec1(&pkcs8, curve).ok_or(MintError::Encoding)?;
                Ok(pem_block("EC PRIVATE KEY", &sec1))
            }
            (Self::Pkcs1, None) if algorithm != KeyAlgorithm::Ed25519 => {
                let inner = private_key(&pkcs8).ok_or(MintError::Encoding)?;
                Ok(pem_block("RSA PRIVATE KEY", inner))
            }
            (Self::Sec1 | Self::Pkcs1, _) => Err(MintError::Encoding),
        }
    }
}

/// The third field of a PKCS#8 document: the key in the encoding of its own kind.
fn private_key(pkcs8: &[u8]) -> Option<&[u8]> {
    let (_, document) = Any::from_der(pkcs8).ok()?;
    let (rest, _version) = Any::from_der(document.data).ok()?;
    let (rest, _algorithm) = Any::from_der(rest).ok()?;
    let (_, key) = Any::from_der(rest).ok()?;
    Some(key.data)
}

/// The document without its public key, as version 1: OpenSSL 3.0 reads no other.
fn first_version(pkcs8: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (_, document) = Any::from_der(pkcs8).ok()?;
    let (fields, _version) = Any::from_der(document.data).ok()?;
    let (rest, _algorithm) = Any::from_der(fields).ok()?;
    let (public_key, _key) = Any::from_der(rest).ok()?;
    let fields = fields.strip_suffix(public_key)?;
    Some(tlv(0x30, &Zeroizing::new([&[0x02, 0x01, 0x00], fields].concat())))
}

/// The RFC 5915 form of an EC key. PKCS#8 names the curve outside of it; a file of its own must name it inside.
fn sec1(pkcs8: &[u8], curve: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (_, document) = Any::from_der(private_key(pkcs8)?).ok()?;
    let (after_version, _version) = Any::from_der(document.data).ok()?;
    let (public_key, _secret) = OctetString::from_der(after_version).ok()?;
    let up_to_secret = document.data.strip_suffix(public_key)?;
    let curve = tlv(0xa0, curve);
    let public_key = match Any::from_der(public_key) {
        // The curve may stand there already.
        Ok((rest, first)) if first.header.tag().0 == 0 => rest,
        _ => public_key,
    };
    Some(tlv(0x30, &Zeroizing::new([up_to_secret, &curve, public_key].concat())))
}

/// One DER element.
fn tlv(tag: u8, content: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut der = Zeroizing::new(vec![tag]);
    let length = content.len().to_be_bytes();
    let significant: Vec<u8> = length.into_iter().skip_while(|byte| *byte == 0).collect();
    match (content.len(), u8::try_from(significant.len())) {
        (..128, _) => der.extend(significant.last().or(Some(&0))),
        (_, bytes) => {
            der.push(0x80 | bytes.unwrap_or(0));
            der.extend(significant);
        }
    }
    der.extend(content);
    der
}

/// A PEM block (RFC 7468): 64 characters a line.
pub(super) fn pem_block(label: &str, der: &[u8]) -> Zeroizing<String> {
    let mut pem = Zeroizing::new(format!("-----BEGIN {label}-----\n"));
    // 48 bytes are 64 characters.
    for line in der.chunks(48) {
        STANDARD.encode_string(line, &mut pem);
        pem.push('\n');
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    pem
}
