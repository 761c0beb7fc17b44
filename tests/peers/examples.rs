//! The examples of HTTP, each run with the peers that it is for.
