//! HTTP on the connections of a listener.

#[cfg_attr(not(test), expect(dead_code, unused_imports, reason = "wired in next"))]
mod gate;
