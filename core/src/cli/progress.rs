//! A line on stderr that says what takes so long, on a terminal only.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Shows `what` and a count once it has lasted for a second, until dropped.
pub struct Progress {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    done: AtomicU64,
    over: Mutex<bool>,
    wake: Condvar,
}

impl Progress {
    /// Starts the clock. `total` is 0 if nobody knows it.
    pub fn new(what: impl Into<String>, total: u64) -> Progress {
        Progress::start(what.into(), total, true)
    }

    /// For work that prints answers as it goes: silent if they go to a terminal, where they are progress
    /// enough and a status line would get between them.
    pub fn beside_answers(what: impl Into<String>) -> Progress {
        Progress::start(what.into(), 0, !std::io::stdout().is_terminal())
    }

    fn start(what: String, total: u64, wanted: bool) -> Progress {
        let shared = Arc::new(Shared::default());
        let thread = (wanted && std::io::stderr().is_terminal()).then(|| {
            let shared = shared.clone();
            std::thread::Builder::new()
                .name("progress".into())
                .spawn(move || show(&shared, &what, total))
                .ok()
        });
        Progress { shared, thread: thread.flatten() }
    }

    /// Counts `n` more done.
    pub fn add(&self, n: u64) {
        self.shared.done.fetch_add(n, Ordering::Relaxed);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        *self.shared.over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.shared.wake.notify_all();
        if let Some(t) = self.thread.take() {
            let _ = t.join();
        }
    }
}

fn show(shared: &Shared, what: &str, total: u64) {
    let start = Instant::now();
    let mut wait = Duration::from_secs(1);
    let mut shown = false;
    let mut over = shared.over.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let (guard, _) =
            shared.wake.wait_timeout_while(over, wait, |over| !*over).unwrap_or_else(PoisonError::into_inner);
        over = guard;
        let mut err = std::io::stderr().lock();
        if *over {
            if shown {
                let _ = write!(err, "\r\x1b[K");
            }
            return;
        }
        let done = shared.done.load(Ordering::Relaxed);
        let count = match (done, total) {
            (0, _) => String::new(),
            (d, 0) => format!(" {d}"),
            (d, t) => format!(" {d} of {t}"),
        };
        let _ = write!(err, "\r\x1b[K{what}{count}, {} s", start.elapsed().as_secs());
        let _ = err.flush();
        shown = true;
        wait = Duration::from_millis(500);
    }
}
