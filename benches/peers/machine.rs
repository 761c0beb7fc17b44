//! The machine: what it is, and how fast it can encrypt and copy at all.

use std::collections::BTreeMap;
use std::fs;
use std::hint::black_box;
use std::time::{Duration, Instant, SystemTime};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};

/// How long each rate is measured, after as long a warm-up.
const SPAN: Duration = Duration::from_millis(300);

/// A full record of TLS.
const RECORD: usize = 16 * 1024;

#[derive(Serialize, Deserialize)]
pub(crate) struct Machine {
    processor: String,
    processors: usize,
    kernel: String,
    memory: String,
    date: String,
    /// How many seconds of CPU a gigabyte takes.
    #[serde(rename = "seconds_per_gigabyte")]
    rates: BTreeMap<String, f64>,
}

impl Machine {
    pub(crate) fn examine() -> Self {
        let line = |path: &str, start: &str| {
            let text = fs::read_to_string(path).unwrap_or_default();
            let line = text.lines().find(|line| line.starts_with(start)).unwrap_or_default();
            line.rsplit(':').next().unwrap_or_default().trim().to_owned()
        };
        Self {
            processor: line("/proc/cpuinfo", "model name"),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: line("/proc/sys/kernel/osrelease", ""),
            memory: gibibytes(&line("/proc/meminfo", "MemTotal")),
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            rates: rates(),
        }
    }

    /// In sentences.
    pub(crate) fn text(&self) -> String {
        let Self { processor, processors, kernel, memory, date, .. } = self;
        let mut text =
            format!("{date}, {processor}, {processors} processors, {memory}, Linux {kernel}. One processor takes");
        for (index, (name, seconds)) in self.rates.iter().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            text.push_str(&format!("{separator} {seconds:.3} s per GB for {name}"));
        }
        text.push('.');
        text
    }
}

/// What the kernel tells as `24684092 kB`.
fn gibibytes(memory: &str) -> String {
    let kibibytes = memory.strip_suffix(" kB").and_then(|number| number.parse::<f64>().ok());
    kibibytes.map_or_else(|| memory.to_owned(), |kibibytes| format!("{:.1} GiB", kibibytes / f64::from(1 << 20)))
}

fn rates() -> BTreeMap<String, f64> {
    let mut rates = BTreeMap::new();
    if let Ok(key) = UnboundKey::new(&AES_256_GCM, &[7; 32]) {
        let key = LessSafeKey::new(key);
        let mut record = vec![0; RECORD];
        let seal = seconds_per_gigabyte(RECORD, || {
            let _ = black_box(key.seal_in_place_separate_tag(
                Nonce::assume_unique_for_key([0; 12]),
                Aad::empty(),
                &mut record,
            ));
        });
        rates.insert("AES-256-GCM, sealing records of 16 KiB in place".to_owned(), seal);
        let mut sealed = vec![0; RECORD];
        let _ = key.seal_in_place_append_tag(Nonce::assume_unique_for_key([0; 12]), Aad::empty(), &mut sealed);
        let original = sealed.clone();
        let opened = seconds_per_gigabyte(RECORD, || {
            // Opening destroys what is opened: a fresh copy each time.
            sealed.copy_from_slice(&original);
            let _ = black_box(key.open_in_place(Nonce::assume_unique_for_key([0; 12]), Aad::empty(), &mut sealed));
        });
        rates.insert("AES-256-GCM, opening records of 16 KiB, each copied once".to_owned(), opened);
    }
    for (name, size) in [("copying within the cache (64 KiB)", 64 << 10), ("copying in memory (64 MiB)", 64 << 20)] {
        let (from, mut to) = (vec![1_u8; size], vec![0_u8; size]);
        rates.insert(
            name.to_owned(),
            seconds_per_gigabyte(size, || black_box(&mut to).copy_from_slice(black_box(&from))),
        );
    }
    rates
}

/// The best of a few spans: what the machine can do when nobody disturbs it.
fn seconds_per_gigabyte(bytes: usize, mut work: impl FnMut()) -> f64 {
    let mut span = || {
        let begin = Instant::now();
        let mut times = 0_u32;
        while begin.elapsed() < SPAN {
            work();
            times += 1;
        }
        let gigabytes = f64::from(times) * f64::from(u32::try_from(bytes).unwrap_or(u32::MAX)) / 1e9;
        begin.elapsed().as_secs_f64() / gigabytes
    };
    span();
    (0..3).map(|_| span()).fold(f64::INFINITY, f64::min)
}
