//! From the file's tables that stand for the whole process, `[identity]`, `[limits]` and `[log]`, to what they mean.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use super::fault::{Faults, Spot};
use super::field::{Field, Placed};
use super::file::{IdentityTable, LimitsTable, LogTable};
use super::quantity::{Count, Size, Time, TimeOrOff};
use super::word::FilePath;
use super::{AccessLog, Limits, Log};
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
        Some(TimeOrOff(time)) => time.map(|Time(time)| time),
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
        http: default.http,
    }
}

pub(super) fn log(table: Option<Placed<LogTable>>, faults: &mut Faults<'_>) -> Log {
    table.map_or_else(Log::default, |table| Log {
        format: table.value.format.value(faults),
        level: table.value.level.value(faults).map(|filter| filter.0),
        requests: AccessLog::default(),
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

fn within_or_off(field: Field<TimeOrOff>, range: &RangeInclusive<Time>, faults: &mut Faults<'_>) -> Option<TimeOrOff> {
    let Placed { at, value } = field.placed(faults)?;
    let is_good = value.0.is_none_or(|time| in_range(at, &time, range, faults));
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
