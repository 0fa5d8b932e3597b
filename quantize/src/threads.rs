//! The same work on several threads.

use pocketbert::{Error, Result};

/// Runs `work` on `n` threads at once, this one among them; the first error ends it.
pub fn each(n: usize, work: impl Fn() -> Result<()> + Sync) -> Result<()> {
    std::thread::scope(|s| {
        let others: Vec<_> = (1..n.max(1)).map(|_| s.spawn(&work)).collect();
        let first = work();
        others.into_iter().fold(first, |all, t| {
            all.and(t.join().unwrap_or_else(|_| Err(Error::internal("a panic in a worker thread"))))
        })
    })
}
