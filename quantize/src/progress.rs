//! A line on stderr that says how far long work has come, on a terminal only.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Counts towards a total. Erases its line when dropped.
pub struct Bar {
    what: String,
    total: usize,
    start: Instant,
    state: Option<Mutex<(usize, Instant)>>,
}

/// A bar for `total` things.
pub fn bar(what: &str, total: usize) -> Bar {
    let start = Instant::now();
    let state = std::io::stderr().is_terminal().then(|| Mutex::new((0, start)));
    Bar { what: what.to_string(), total, start, state }
}

impl Bar {
    /// `n` more are done.
    pub fn add(&self, n: usize) {
        let Some(state) = &self.state else { return };
        let mut s = state.lock().unwrap_or_else(|e| e.into_inner());
        s.0 += n;
        if s.1.elapsed() < Duration::from_millis(200) {
            return;
        }
        s.1 = Instant::now();
        let share = s.0 as f64 / self.total.max(1) as f64;
        let full = (share * 30.0) as usize;
        let left = self.start.elapsed().as_secs_f64() * (1.0 / share.max(1e-9) - 1.0);
        let mut err = std::io::stderr().lock();
        let _ = write!(
            err,
            "\r\x1b[K{:<34} [{}{}] {} of {}, {left:.0} s left",
            self.what,
            "=".repeat(full.min(30)),
            " ".repeat(30usize.saturating_sub(full)),
            s.0,
            self.total
        );
        let _ = err.flush();
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if self.state.is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
