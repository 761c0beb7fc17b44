//! From the file's tables that stand for the whole process, `[identity]`, `[limits]` and `[log]`, to what they mean.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use super::fault::{Faults, Spot};
use super::field::{Field, Placed};
use super::file::{HttpLimitsTable, IdentityTable, LimitsTable, LogTable};
use super::quantity::{Count, OrOff, Size, Time};
use super::word::FilePath;
use super::{HttpLimits, Limits, Log};
use crate::credentials::{Identity, Source};

const POLL_INTERVAL: RangeInclusive<Time> = Time::millis(100)..=Time::secs(30);
const CONNECTIONS: RangeInclusive<Count> = Count(1)..=Count(1_000_000);
/// A handshake or a connection that takes longer is none.
const ATTEMPT: RangeInclusive<Time> = Time::millis(100)..=Time::secs(300);
/// rustls reads no handshake message above 64 KiB.
const CERTIFICATES: RangeInclusive<Size> = Size(2 << 10)..=Size(64 << 10);
const IDLE: RangeInclusive<Time> = Time::secs(1)..=Time::hours(30 * 24);
const HALF_CLOSE: RangeInclusive<Time> = Time::secs(1)..=Time::hours(24);
/// Linux takes at most 32,767 s (tcp(7), `TCP_KEEPIDLE`).
const KEEPALIVE: RangeInclusive<Time> = Time::secs(1)..=Time::hours(9);
const GRACE: RangeInclusive<Time> = Time::secs(0)..=Time::hours(1);
const DRAIN: RangeInclusive<Time> = Time::secs(0)..=Time::hours(24);
const THREADS: RangeInclusive<Count> = Count(1)..=Count(1024);

const HEAD: RangeInclusive<Size> = Size(4 << 10)..=Size(1 << 20);
const HEADERS: RangeInclusive<Count> = Count(1)..=Count(1000);
/// Saturating, for machines whose sizes end below it.
const BODY: RangeInclusive<Size> = Size(0)..=Size((1_usize << 30).saturating_mul(1024));
const ANSWER: RangeInclusive<Time> = Time::millis(100)..=Time::hours(24);
const KEEP_ALIVE: RangeInclusive<Time> = Time::secs(1)..=Time::hours(24);
const REQUESTS: RangeInclusive<Count> = Count(1)..=Count(1_000_000);
const STREAMS: RangeInclusive<Count> = Count(1)..=Count(10_000);
const STREAM_BUFFER: RangeInclusive<Size> = Size(16 << 10)..=Size(64 << 20);
/// HTTP/2 gives every connection a window of 65,535 bytes (RFC 9113 §6.9.2), which cannot be taken back.
const CONNECTION_BUFFER: RangeInclusive<Size> = Size(64 << 10)..=Size(512 << 20);
const UPSTREAM_KEEP_ALIVE: RangeInclusive<Time> = Time::secs(1)..=Time::hours(1);
const IDLE_UPSTREAM: RangeInclusive<Count> = Count(0)..=Count(10_000);

pub(super) fn identity(table: Option<Placed<IdentityTable>>, faults: &mut Faults<'_>) -> Identity {
    let default = Identity::default();
    let Some(Placed { at, value: table }) = table else {
        return default;
    };
    let files = [table.certificates, table.private_key, table.trust_bundle];
    Identity {
        source: source(at, table.dir, files, faults).unwrap_or(default.source),
        trust_domain: table.trust_domain.value(faults),
        expected_id: table.expected_id.value(faults),
        poll_interval: within(table.poll_interval, &POLL_INTERVAL, faults).map_or(default.poll_interval, |time| time.0),
    }
}

/// The directory, or the three files; `None` where neither is named or something is wrong.
fn source(at: Spot, dir: Field<FilePath>, files: [Field<FilePath>; 3], faults: &mut Faults<'_>) -> Option<Source> {
    const KEYS: [&str; 3] = ["certificates", "private_key", "trust_bundle"];
    let hint = "name either `dir`, or all three of `certificates`, `private_key` and `trust_bundle`";
    let named = files.iter().filter(|file| file.is_present()).count();
    if dir.is_present() && named > 0 {
        faults.add_with_hint(at, "both a directory and single files are named", hint);
    } else if named > 0 {
        for (key, _) in KEYS.iter().zip(&files).filter(|(_, file)| !file.is_present()) {
            faults.add_with_hint(at, format!("`{key}` is missing"), hint);
        }
    }
    let [certificates, private_key, trust_bundle] = files.map(|file| path(file, faults));
    match path(dir, faults) {
        Some(dir) => Some(Source::Directory(dir)),
        None => {
            Some(Source::Files { certificates: certificates?, private_key: private_key?, trust_bundle: trust_bundle? })
        }
    }
}

fn path(field: Field<FilePath>, faults: &mut Faults<'_>) -> Option<PathBuf> {
    field.value(faults).map(|path| path.0)
}

pub(super) fn limits(table: Option<Placed<LimitsTable>>, faults: &mut Faults<'_>) -> Limits {
    let default = Limits::default();
    let Some(Placed { value: table, .. }) = table else {
        return default;
    };
    let mut count = |field, range, default| within(field, range, faults).map_or(default, |Count(count)| count);
    let max_connections = count(table.max_connections, &CONNECTIONS, default.max_connections);
    let max_handshakes = count(table.max_handshakes, &CONNECTIONS, default.max_handshakes);
    let mut time = |field, range, default| within(field, range, faults).map_or(default, |Time(time)| time);
    let handshake_timeout = time(table.handshake_timeout, &ATTEMPT, default.handshake_timeout);
    let connect_timeout = time(table.connect_timeout, &ATTEMPT, default.connect_timeout);
    let close_grace = time(table.close_grace, &GRACE, default.close_grace);
    let drain_timeout = time(table.drain_timeout, &DRAIN, default.drain_timeout);
    let mut or_off = |field, range, default| match within_or_off(field, range, faults) {
        Some(time) => time.map(|Time(time)| time),
        None => default,
    };
    Limits {
        max_connections,
        max_handshakes,
        handshake_timeout,
        connect_timeout,
        idle_timeout: or_off(table.idle_timeout, &IDLE, default.idle_timeout),
        half_close_timeout: or_off(table.half_close_timeout, &HALF_CLOSE, default.half_close_timeout),
        keepalive: or_off(table.keepalive, &KEEPALIVE, default.keepalive),
        close_grace,
        drain_timeout,
        max_peer_certificates: within(table.max_peer_certificates, &CERTIFICATES, faults)
            .map_or(default.max_peer_certificates, |Size(size)| size),
        worker_threads: within(table.worker_threads, &THREADS, faults).map(|Count(count)| count),
        http: http_limits(table.http, faults),
    }
}

fn http_limits(table: Option<Placed<HttpLimitsTable>>, faults: &mut Faults<'_>) -> HttpLimits {
    let default = HttpLimits::default();
    let Some(Placed { value: table, .. }) = table else {
        return default;
    };
    let buffers = table.connection_buffer.at().or_else(|| table.stream_buffer.at());
    let mut count = |field, range, default| within(field, range, faults).map_or(default, |Count(count)| count);
    let max_headers = count(table.max_headers, &HEADERS, default.max_headers);
    let max_streams = count(table.max_streams, &STREAMS, default.max_streams);
    let max_resets = count(table.max_resets, &STREAMS, default.max_resets);
    let max_idle_upstream = count(table.max_idle_upstream, &IDLE_UPSTREAM, default.max_idle_upstream);
    let mut size = |field, range, default| within(field, range, faults).map_or(default, |Size(size)| size);
    let max_header_bytes = size(table.max_header_bytes, &HEAD, default.max_header_bytes);
    let stream_buffer = size(table.stream_buffer, &STREAM_BUFFER, default.stream_buffer);
    let connection_buffer = size(table.connection_buffer, &CONNECTION_BUFFER, default.connection_buffer);
    if let Some(at) = buffers.filter(|_| connection_buffer < stream_buffer) {
        let (all, one) = (Size(connection_buffer), Size(stream_buffer));
        let message = format!("all streams of a connection may hold {all}, one of them {one}");
        faults.add_with_hint(at, message, "make `connection_buffer` at least `stream_buffer`");
    }
    let mut time = |field, range, default| within(field, range, faults).map_or(default, |Time(time)| time);
    let header_timeout = time(table.header_timeout, &ATTEMPT, default.header_timeout);
    let upstream_keep_alive = time(table.upstream_keep_alive, &UPSTREAM_KEEP_ALIVE, default.upstream_keep_alive);
    let mut or_off = |field, range, default| match within_or_off(field, range, faults) {
        Some(time) => time.map(|Time(time)| time),
        None => default,
    };
    HttpLimits {
        max_header_bytes,
        max_headers,
        header_timeout,
        request_timeout: or_off(table.request_timeout, &ANSWER, default.request_timeout),
        keep_alive: or_off(table.keep_alive, &KEEP_ALIVE, default.keep_alive),
        max_age: or_off(table.max_age, &IDLE, default.max_age),
        max_body: match within_or_off(table.max_body, &BODY, faults) {
            Some(size) => size.map(|Size(size)| size),
            None => default.max_body,
        },
        max_requests: match within_or_off(table.max_requests, &REQUESTS, faults) {
            Some(count) => count.map(|Count(count)| count),
            None => default.max_requests,
        },
        max_streams,
        max_resets,
        stream_buffer,
        connection_buffer,
        upstream_keep_alive,
        max_idle_upstream,
    }
}

pub(super) fn log(table: Option<Placed<LogTable>>, faults: &mut Faults<'_>) -> Log {
    table.map_or_else(Log::default, |table| Log {
        format: table.value.format.value(faults),
        level: table.value.level.value(faults).map(|filter| filter.0),
        requests: table.value.requests.value(faults).unwrap_or_default(),
    })
}

/// The value, if it is within `range`.
fn within<T>(field: Field<T>, range: &RangeInclusive<T>, faults: &mut Faults<'_>) -> Option<T>
where
    T: PartialOrd + fmt::Display,
{
    let Placed { at, value } = field.placed(faults)?;
    in_range(at, &value, range, faults).then_some(value)
}

/// The same for what can be switched off: then `Some(None)`.
#[expect(clippy::option_option, reason = "absent, off, and a value are three things")]
fn within_or_off<T>(field: Field<OrOff<T>>, range: &RangeInclusive<T>, faults: &mut Faults<'_>) -> Option<Option<T>>
where
    T: PartialOrd + fmt::Display,
{
    let Placed { at, value: OrOff(value) } = field.placed(faults)?;
    let is_good = value.as_ref().is_none_or(|quantity| in_range(at, quantity, range, faults));
    is_good.then_some(value)
}

fn in_range<T>(at: Spot, value: &T, range: &RangeInclusive<T>, faults: &mut Faults<'_>) -> bool
where
    T: PartialOrd + fmt::Display,
{
    let is_good = range.contains(value);
    if !is_good {
        let hint = format!("it may be from {} to {}", range.start(), range.end());
        faults.add_with_hint(at, format!("{value} is out of range"), hint);
    }
    is_good
}
