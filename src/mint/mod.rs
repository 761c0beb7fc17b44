//! Throwaway credentials: certificate authorities and X.509-SVIDs for trying things out, for the demo and for the tests.
//! Nothing here is fit for production: the authority's key lies in a file.

mod authority;
mod key;
mod store;
mod writer;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::spiffe::TrustDomain;
pub use authority::{Authority, Issue, Issued, Validity, authority_params, svid_params};
pub use key::{KeyAlgorithm, KeyEncoding};
pub use writer::{Generation, Writer, WriterStyle};

/// The common name of every authority made here: whoever meets one of its certificates reads what it is.
pub const COMMON_NAME: &str = "svidgate throwaway CA, not for production";

/// The SPIFFE bundle map, `trust_bundles.json`, of these authorities (SPIFFE Trust Domain and Bundle §5). Several authorities of one
/// trust domain become its several roots. The sequence number is the start of the newest root's validity, in seconds.
pub fn bundle_map(authorities: &[&Authority]) -> String {
    let mut keys: BTreeMap<&TrustDomain, Vec<Value>> = BTreeMap::new();
    let mut sequences: BTreeMap<&TrustDomain, u64> = BTreeMap::new();
    for authority in authorities {
        keys.entry(authority.trust_domain()).or_default().push(jwk(authority));
        let sequence = sequences.entry(authority.trust_domain()).or_default();
        *sequence = authority.validity().not_before.as_secs().max(*sequence);
    }
    let trust_domains: serde_json::Map<String, Value> = keys
        .into_iter()
        .zip(sequences.into_values())
        .map(|((name, keys), sequence)| (name.to_string(), json!({"spiffe_sequence": sequence, "keys": keys})))
        .collect();
    let mut text = format!("{:#}", json!({"trust_domains": trust_domains}));
    text.push('\n');
    text
}

/// A root as a JSON Web Key (X509-SVID §6): `kid` is not set, `x5c` holds the one certificate.
fn jwk(authority: &Authority) -> Value {
    let (x, y) = authority.root_point();
    json!({
        "kty": "EC",
        "crv": "P-256",
        "use": "x509-svid",
        "x": x,
        "y": y,
        "x5c": [STANDARD.encode(authority.root_der())],
    })
}

/// Why throwaway credentials could not be made.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// The key or the certificate could not be made.
    #[error("the certificate could not be made")]
    Certificate(#[from] rcgen::Error),
    /// An instant that no certificate can carry.
    #[error("the validity reaches beyond the year 9999: ask for a shorter lifetime")]
    Validity,
    /// Ed25519 has no SEC1 form.
    #[error("a key of this kind has no such encoding: SEC1 is for EC keys, PKCS#1 for RSA keys")]
    Encoding,
    /// A file of the authority could not be read or written.
    #[error("`{path}` cannot be {deed}")]
    File {
        /// The file or directory.
        path: PathBuf,
        /// Read, or written.
        deed: &'static str,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// A file of the authority is not what was written.
    #[error("`{path}` is no throwaway authority: {reason}; remove its directory to have a new one made")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is missing.
        reason: &'static str,
    },
}
