//! Stopping a run: a token that any thread may trip, and a deadline.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::error::{Error, ErrorKind, Result};

/// A switch that stops every run it was given to, at the next operator (about a sixth of a layer).
///
/// Clones share one switch. Any thread, and a signal handler too, may call [`CancelToken::cancel`]: it is
/// one atomic store. A tripped token stays tripped until [`CancelToken::reset`].
#[derive(Clone, Debug, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// A token that is not tripped.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trips the switch. Calling it twice, or with no run going on, is harmless.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Makes the token usable again; runs that already saw it tripped still end.
    pub fn reset(&self) {
        self.0.store(false, Ordering::Release);
    }

    /// Is the switch tripped?
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Why a run may have to stop.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// Tripped by somebody.
    pub cancel: Option<CancelToken>,
    /// Passed by the clock.
    pub deadline: Option<Instant>,
}

impl Stop {
    /// An error if the run has to stop now.
    pub fn check(&self) -> Result<()> {
        if self.cancel.as_ref().is_some_and(|c| c.is_cancelled()) {
            return Err(Error::new(ErrorKind::Cancelled, "the run was cancelled"));
        }
        if self.deadline.is_some_and(|d| Instant::now() >= d) {
            return Err(Error::new(
                ErrorKind::DeadlineExceeded,
                "the deadline passed before the run was done: allow more time, or shorten the text",
            ));
        }
        Ok(())
    }
}
