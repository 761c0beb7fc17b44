//! Peers of other families on both ends of HTTP listeners: curl, nghttp and h2load, gRPC and WebSocket in Python, nginx as the application.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

#[path = "../harness/mod.rs"]
mod harness;

mod curl;
mod events;
mod examples;
mod grpc;
mod http2;
mod nginx;
mod sides;
mod tools;
mod websocket;
