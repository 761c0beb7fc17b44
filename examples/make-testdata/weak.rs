//! signatures too weak to count. rcgen makes none, so the `openssl` command signs.

use std::io::Write as _;
use std::process::{Command, Stdio};

use rcgen::{Issuer, PublicKeyData, SignatureAlgorithm, SigningKey, SubjectPublicKeyInfo};

use super::workshop::{Case, Der, WORKLOAD, World, ca_params, leaf_params, reject};

/// sha256WithRSAEncryption and sha1WithRSAEncryption (RFC 8017 appendix C) differ in their last byte.
const SHA256_WITH_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b];
const SHA1_WITH_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x05];

pub(crate) fn cases(world: &World) -> Vec<Case> {
    let short = chain(world, OpensslKey::new("1024", "-sha256"));
    let sha1 = chain(world, OpensslKey::new("2048", "-sha1")).into_iter().map(|der| as_sha1(&der).into()).collect();
    vec![
        reject(
            "x-16-signed-by-rsa-1024",
            "no path to a root of its own trust domain: a signature on the chain was not made by its issuer's key",
            short,
            world.trust(),
        ),
        reject(
            "x-16-signed-with-sha-1",
            "no path to a root of its own trust domain: a signature on the chain is of a kind that is not accepted",
            sha1,
            world.trust(),
        ),
    ]
}

fn chain(world: &World, key: OpensslKey) -> Vec<Der> {
    let params = ca_params("prod.example", "weak subordinate", 0);
    let authority = world.root.sign(&params, &key.public);
    let leaf_key = rcgen::KeyPair::generate().unwrap();
    let leaf = leaf_params(WORKLOAD).signed_by(&leaf_key, &Issuer::new(params, key)).unwrap();
    vec![leaf.der().clone(), authority]
}

/// The name of the algorithm in place of the stronger one, wherever it stands.
fn as_sha1(der: &[u8]) -> Vec<u8> {
    let mut der = der.to_vec();
    let at = |der: &[u8]| der.windows(SHA256_WITH_RSA.len()).position(|window| window == SHA256_WITH_RSA);
    while let Some(start) = at(&der) {
        der[start..start + SHA1_WITH_RSA.len()].copy_from_slice(SHA1_WITH_RSA);
    }
    der
}

/// An RSA key that `openssl` holds.
struct OpensslKey {
    private_pem: Vec<u8>,
    public: SubjectPublicKeyInfo,
    digest: &'static str,
}

impl OpensslKey {
    fn new(bits: &str, digest: &'static str) -> Self {
        let private_pem = openssl(&["genrsa", bits], b"");
        let spki = openssl(&["rsa", "-pubout", "-outform", "DER"], &private_pem);
        Self { private_pem, public: SubjectPublicKeyInfo::from_der(&spki).unwrap(), digest }
    }
}

impl PublicKeyData for OpensslKey {
    fn der_bytes(&self) -> &[u8] {
        self.public.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_RSA_SHA256
    }
}

impl SigningKey for OpensslKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let directory = tempfile::tempdir().unwrap();
        let key = directory.path().join("key.pem");
        std::fs::write(&key, &self.private_pem).unwrap();
        let message = if self.digest == "-sha1" { as_sha1(message) } else { message.to_vec() };
        Ok(openssl(&["dgst", self.digest, "-sign", key.to_str().unwrap()], &message))
    }
}

fn openssl(arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut command = Command::new("openssl");
    let command = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "openssl {arguments:?}");
    output.stdout
}
