//! svidgate
pub mod app;
pub mod cli;
pub mod config;
pub mod credentials;
pub mod metrics;
pub mod mint;
pub mod policy;
pub mod proxy;
pub mod shutdown;
pub mod spiffe;
pub mod tls;
mod watch;
