//! What the follower of the credentials last saw and did: for status output, metrics and readiness.

use std::path::PathBuf;

use serde::Serialize;

use super::super::{Finding, Layout};
use crate::spiffe::SpiffeId;

/// How the credentials stand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CredentialStatus {
    /// The layout of the credentials in use.
    pub layout: Option<Layout>,
    /// The directory that they were read from, links resolved.
    pub directory: Option<PathBuf>,
    /// Whose they are.
    pub spiffe_id: Option<SpiffeId>,
    /// When they expire, in seconds since 1970.
    pub valid_until: Option<u64>,
    /// How far their lifetime has gone.
    pub age: Age,
    /// What an operator should know of them.
    pub findings: Vec<Finding>,
    /// Why what lies on disk now is not in use; `None` when it is.
    pub error: Option<String>,
    /// The short name of that error.
    pub error_reason: Option<&'static str>,
    /// Whether the error is only that nothing is there yet.
    pub waiting: bool,
    /// When the credentials last changed, in seconds since 1970.
    pub last_change: Option<u64>,
    /// When the files were last looked at, in seconds since 1970.
    pub last_look: Option<u64>,
    /// How often the credentials have changed; 1 for the first.
    pub generation: u64,
    /// Looks that found new credentials.
    pub accepted: u64,
    /// Looks that found something that is not used.
    pub refused: u64,
    /// Looks that found what is in use already.
    pub unchanged: u64,
    /// Whether file system events are to be had; without, changes are seen by polling.
    pub events: bool,
}

/// How far the lifetime of the own leaf has gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Age {
    /// There are none, or less than two thirds have gone.
    #[default]
    Fresh,
    /// Two thirds have gone, and nothing newer came: the issuer is late.
    Aging,
    /// All of it has gone: nothing is presented any more.
    Expired,
}
