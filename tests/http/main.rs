//! HTTP through the gate: requests that carry the caller's identity, rules per method and path, refusals in words a client understands, and an
//! egress proxy for whole applications.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

#[path = "../harness/mod.rs"]
mod harness;

mod bodies;
mod follow;
mod frames;
mod framing;
mod identity;
mod inbound;
mod limits;
mod lines;
mod live;
mod logged;
mod outbound;
mod pressure;
mod retries;
mod reuse;
mod rotation;
mod routes;
mod rules;
mod scene;
mod streaming;
mod targets;
mod trust;
mod upgrades;
mod upstream;
