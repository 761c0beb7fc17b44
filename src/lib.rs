//! svidgate: an mTLS reverse proxy for workload-to-workload traffic that lives on X.509-SVIDs from disk.
//!
//! This is the map. The [README](https://docs.rs/crate/svidgate) tells how to use it; the binary is a thin shell around this library.
//!
//! # The modules, highest layer first
//!
//! A module names only modules of lower layers, or its own; `tests/house.rs` keeps that true.
//!
//! | layer | module | what it is |
//! |---|---|---|
//! | 7 | `cli` | the command line: one file or folder per verb, and the only code that prints |
//! | 6 | `app` | the process: bind everything, serve, take a new configuration, drain |
//! | 5 | `proxy` | listeners and their connections: the story of a connection, the relay, HTTP requests, live connections, the record |
//! | 4 | `tls` | handshakes, and what rustls asks us in them; makes the proof of who the peer is |
//! | 3 | `config` | what the process shall do, already valid; read from a file or from flags |
//! | 3 | `mint` | throwaway authorities and credentials, written as the platforms' writers do |
//! | 2 | `credentials` | our own credentials: which files, read and checked as one set, followed on disk |
//! | 1 | `policy` | rules over SPIFFE IDs and requests, and decisions with their reason; the path of a request as policy and application see it; pure |
//! | 0 | `spiffe` | SPIFFE IDs, the rules for an X.509-SVID, trust bundles, path validation; pure |
//! | 0 | `metrics` | what is counted, with closed labels |
//! | 0 | `shutdown` | the signals, each with one meaning |
//! | 0 | `watch` | changes in the file system, as hints to look again |
//!
//! # One connection, inbound, in seven stops
//!
//! 1. [`proxy`] (`mod.rs`): permits, accept, record, spawn.
//! 2. `proxy/inbound.rs`: the story, a dozen lines that call the next stops in order.
//! 3. [`tls::Acceptor::accept`]: the handshake within its deadline, on the [`tls::Terms`] of that moment.
//! 4. [`tls::Terms::authenticate`]: the leaf's rules, a path to a root of the leaf's own trust domain, the policy. Yields a
//!    [`tls::PeerIdentity`], or a refusal that rustls turns into the right alert.
//! 5. `proxy/upstream.rs`: the next hop within its patience.
//! 6. `proxy/relay.rs` moves bytes for as long as `proxy/live.rs` lets the connection stand.
//! 7. `proxy/record.rs`: one line and one count, however it ended.
//!
//! Outbound is the same with 5 before 3.
//!
//! # One request, where requests are understood
//!
//! With `protocol = "http"` stops 5 and 6 are taken by each request, in `proxy/http/`:
//!
//! 1. `http1/`: a client speaks HTTP/1.1 with us, and we with a target: heads judged, bodies followed to their end. HTTP/2 is hyper's and h2's.
//! 2. `keep.rs`: one client's connection, from its first request to its last; all of its clocks.
//! 3. `request.rs`: the story of one request: `understood.rs`, the policy of that moment, `route.rs`, headers, answer.
//! 4. `forward.rs`: an endpoint (`balance.rs`), a connection to it (`pool.rs`, `connect.rs`), once more where nothing can be lost.
//! 5. `body.rs`: bodies both ways, nothing held back; `switch.rs` and `tunnel.rs` where other bytes follow than HTTP's: then stop 6 again.
//! 6. `access.rs`: one line and one count, however it ended (`exchange.rs` holds it open).
//!
//! # Invariants
//!
//! - A [`tls::PeerIdentity`] exists only for a peer that was authenticated and allowed: nothing behind stop 4 asks again, until the terms change
//!   or a certificate expires; then `proxy/live.rs` asks stop 4.
//! - A handshake sees one generation of credentials and one policy, from its first byte to its last.
//! - Roots belong to their trust domain; there is no set of roots for all.
//! - [`credentials::CredentialStore`] holds only sets that passed every check, and the last good one stays.
//! - A `Config` is valid as a whole; so is what replaces it while running.
//! - No idle connection holds a buffer of ours.
//! - The path that the policy decides on is the path that is sent on, to the byte; so are host and method.
//! - An upstream connection carries requests of one caller only, and only while its own peer would be let in again.
//!
//! # Decisions
//!
//! - **The examination travels beside the handshake.** rustls' verifier is shared by all connections and can answer only with an error that
//!   has no room for our reason. The terms of a handshake and its outcome therefore stand in a task-local beside the handshake's future, the
//!   verifier is stateless, and rustls' configuration is built once per listener. We would change this for a verifier with a context.
//! - **No resumption, in either version.** rustls does not ask the verifier about a resumed session: a ticket would outlive an expired
//!   certificate, a removed root or rule. It costs a full handshake each time; a cache bound to the generation of trust and policy, and
//!   examined again, could change our mind.
//! - **Extended key usage, criticality and the rest are strict.** Each SHOULD of the SPIFFE standards is decided in `certs-testdata/README.md`,
//!   with its test. Where a real issuer breaks one, we would rather give it a switch than a silent pass.
//! - **URI name constraints are refused, matching or not**, because rustls-webpki refuses them. It fails closed, `identity show` and `check`
//!   say so. We would change this with webpki.
//! - **Random numbers come from the kernel**, mixed with the processor's own; the third source that aws-lc would have, timing jitter, stays out of
//!   the build (`.cargo/config.toml` has the reasons). It took 50 ms before the first handshake. We would change this for machines that are
//!   resumed many times from one snapshot without saying so.
//! - **Buffers belong to the worker thread**, and are on loan while bytes are in flight. A connection at rest costs what rustls and the
//!   sockets cost.
//! - **The records of TLS 1.3 are ours, its handshake and its keys are rustls'** (`tls/record.rs`, `tls/records.rs`). A proxy is mostly records, and
//!   either interface of rustls 0.23 allocates and copies each of them once or twice. rustls makes the handshake, then gives out the traffic secrets and
//!   makes those that follow (its kernel-connection interface, meant for records that the kernel makes); the ciphers are aws-lc's. What is ours is the
//!   header, the padding, the count of records, and the few messages that may still come: 450 lines, held against the records of RFC 8448, against
//!   openssl and rustls, and against forgers. Four records come in with one call of the system, are decrypted into the buffer that goes out, and a
//!   connection at rest holds no buffer. `benches/README.md` has the figures. We would give it up for a rustls with external buffers (0.24 announces
//!   them). TLS 1.2, where it is allowed, stays rustls' all through.
//! - **A forced end is a reset.** Whatever ends a connection other than both of its ends must not look like the end of what was said. Three
//!   exceptions: a connection at rest for its idle timeout, with nothing in flight, is ended cleanly; a unix socket knows no reset; and neither does
//!   a tunnel on a stream of an HTTP/2 upstream, which hyper ends cleanly and gives no hold on. `proxy/stream.rs` has the hold on clients' streams.
//! - **HTTP/1.1 is spoken by us, HTTP/2 by hyper.** hyper takes what smuggling lives on (a length beside an encoding, bare line feeds), so each
//!   head was parsed twice, and its two state machines, with a channel for each body between them, were two thirds of a request's instructions.
//!   httparse and `http` stay; what is ours is the strict judgement that stood before hyper anyway, framing, and the order of things. A request
//!   and its answer are one turn of one task: 68,300 instructions became 50,100 at once. We would change this for a strict hyper at that price.
//! - **No HTTP/1.1 upstream connection has a task.** The request that is on it moves it on, so a request crosses no thread and wakes nobody; a
//!   waiting one is looked at when it is taken. HTTP/2 connections, which many share, have theirs.
//! - **An HTTP/2 connection and the work on its streams are one task** (`proxy/crew.rs`), on either side. A stream is not spawned, its wakes pass the
//!   scheduler by, and what several have to say goes into one record. One connection therefore keeps one processor busy at most, and a panic
//!   costs all of its streams.
//! - **One clock for each client's connection**: it looks at what is under way and cuts what is overdue or no longer allowed; a request sets no timer.
//! - **One configuration format, no control plane, no async traits of our own**: what is not here cannot break.

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
