//! HTTP: what is asked, what goes on, and what we answer ourselves.
#![cfg_attr(not(test), expect(dead_code, reason = "wired in next"))]

mod answer;
mod forwarded;
mod hygiene;
mod identity;
mod target;
