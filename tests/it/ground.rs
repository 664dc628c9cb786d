//! What every test stands on: waiting with a deadline, saying that something is missing, free ports, seeded chance.

use std::future::Future;
use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Asks `probe` every 20 ms until it answers; panics with `what` when `limit` has passed.
pub async fn until<T, F: Future<Output = Option<T>>>(limit: Duration, what: &str, mut probe: impl FnMut() -> F) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(start.elapsed() < limit, "waited {limit:?} in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Says that a test could not run for want of something optional, on stderr and in the list that `tests/run` prints.
pub fn skipped(why: &str) {
    let name = std::thread::current().name().unwrap_or("?").to_owned();
    eprintln!("skipped: {name}: {why}");
    if let Some(list) = std::env::var_os("MODELWATCH_SKIPS") {
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(list).unwrap();
        file.write_all(format!("{name}: {why}\n").as_bytes()).unwrap();
    }
}

/// As `skipped`, for what `tests/setup` installs: where CI is set its absence is a failure.
pub fn missing(tool: &str) {
    assert!(std::env::var_os("CI").is_none(), "{tool} is missing; tests/setup should have installed it");
    skipped(&format!("{tool} is missing; run tests/setup"));
}

/// A program of PATH, or one that `tests/setup` put into target/tools.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    places.push(PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target/tools")));
    places.into_iter().map(|dir| dir.join(name)).find(|file| file.is_file())
}

pub fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0)
}

/// A port for a server that stops and comes back on it: below the range that `bind(0)` draws from, so nobody takes it meanwhile.
pub fn stable_port() -> u16 {
    let mut chance = Chance::from_clock();
    loop {
        let port = 20_000 + chance.below(12_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// SplitMix64: small, seeded, the same everywhere.
#[derive(Clone)]
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn from_clock() -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        Self(now.as_nanos() as u64 ^ (u64::from(std::process::id()) << 40))
    }

    /// MODELWATCH_SEED, or a new seed; shown by the runner when the test fails.
    pub fn announced() -> Self {
        let seed = std::env::var("MODELWATCH_SEED").ok().map_or_else(|| Self::from_clock().next(), |text| text.parse().unwrap());
        eprintln!("seed: MODELWATCH_SEED={seed}");
        Self(seed)
    }

    #[allow(clippy::should_implement_trait, reason = "not an iterator: it never ends")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn percent(&mut self, share: u64) -> bool {
        self.below(100) < share
    }

    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }

    pub fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from))
    }
}
