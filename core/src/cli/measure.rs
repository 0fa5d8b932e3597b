//! What bench reads from the operating system: CPU time and memory.

use std::time::{Duration, Instant};

/// CPU time of all threads of this process so far; `None` where the system has no such clock.
#[cfg(unix)]
pub fn cpu_time() -> Option<Duration> {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `t` is a valid timespec that the call fills; the clock's number is a constant of the platform.
    let rc = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut t) };
    if rc != 0 {
        return None;
    }
    Some(Duration::new(u64::try_from(t.tv_sec).ok()?, u32::try_from(t.tv_nsec).ok()?))
}

/// CPU time of all threads of this process so far; `None` where the system has no such clock.
#[cfg(not(unix))]
pub fn cpu_time() -> Option<Duration> {
    None
}

/// Wall and CPU time of a stretch of work.
pub struct Clock {
    wall: Instant,
    cpu: Option<Duration>,
}

/// What a [`Clock`] read, in milliseconds.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Times {
    pub wall_ms: f64,
    pub cpu_ms: Option<f64>,
}

impl Clock {
    pub fn start() -> Clock {
        Clock { cpu: cpu_time(), wall: Instant::now() }
    }

    pub fn stop(&self) -> Times {
        let wall = self.wall.elapsed();
        let spent = self.cpu.zip(cpu_time()).map(|(a, b)| b.saturating_sub(a));
        Times { wall_ms: ms(wall), cpu_ms: spent.map(ms) }
    }
}

impl Times {
    /// Both stretches together.
    pub fn plus(self, other: Times) -> Times {
        let sum = |a: f64, b: f64| ((a + b) * 1e6).round() / 1e6;
        Times {
            wall_ms: sum(self.wall_ms, other.wall_ms),
            cpu_ms: self.cpu_ms.zip(other.cpu_ms).map(|(a, b)| sum(a, b)),
        }
    }
}

/// Milliseconds, to the nanosecond: as a fraction, so that it prints in few digits.
fn ms(d: Duration) -> f64 {
    d.as_nanos() as f64 / 1e6
}

/// Memory of this process in bytes; `None` where the system does not tell.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub struct Memory {
    /// Pages in memory, those of mapped files too.
    pub resident: Option<u64>,
    /// Pages that only this process has and that cannot be dropped.
    pub private_dirty: Option<u64>,
}

/// Reads `/proc/self/smaps_rollup` (Linux).
pub fn memory() -> Memory {
    let Ok(text) = std::fs::read_to_string("/proc/self/smaps_rollup") else { return Memory::default() };
    let field = |name: &str| {
        let line = text.lines().find(|l| l.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()?.checked_mul(1024)
    };
    Memory { resident: field("Rss:"), private_dirty: field("Private_Dirty:") }
}

/// The value below which `percent` of `sorted` lie (nearest rank).
pub fn percentile(sorted: &[f64], percent: f64) -> f64 {
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let v: Vec<f64> = (1..=20).map(f64::from).collect();
        assert_eq!([0.0, 50.0, 95.0, 99.0, 100.0].map(|p| percentile(&v, p)), [1.0, 10.0, 19.0, 20.0, 20.0]);
        assert_eq!(percentile(&[7.0], 50.0), 7.0);
        assert!(percentile(&[], 50.0).is_nan());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn memory_and_cpu_are_read() {
        let (m, c) = (memory(), cpu_time());
        assert!(
            m.resident > m.private_dirty && m.private_dirty > Some(0) && c > Some(Duration::ZERO),
            "{m:?} {c:?}"
        );
    }
}
