//! svidgate
pub mod cli;
pub mod config;
pub mod credentials;
pub mod mint;
pub mod policy;
pub mod spiffe;
