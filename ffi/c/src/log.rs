//! What the library has to say, for the program's own log.

use std::cell::Cell;
use std::ffi::{c_char, c_void};
use std::sync::{PoisonError, RwLock};

use pocketbert::error::{Error, ErrorKind, Result};

use crate::args::Context;
use crate::boundary::call;
use crate::error::c_string;
use crate::status::pocketbert_status;

/// How important a line is.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum pocketbert_log_level {
    /// A call failed by a defect of this library.
    POCKETBERT_LOG_ERROR = 1,
    /// Something to look at: the input drifts, a self-test failed.
    POCKETBERT_LOG_WARN = 2,
    /// Models opened and closed.
    POCKETBERT_LOG_INFO = 3,
}

/// Gets a line: UTF-8 that ends in NUL, good until it returns. Never holds the text given to a model, nor a part of it.
/// Called on the thread that the event happened on, several at a time. It must not unwind and not set the log function.
#[allow(non_camel_case_types, reason = "the names are C's")]
pub type pocketbert_log_fn =
    Option<unsafe extern "C" fn(context: *mut c_void, level: i32, message: *const c_char)>;

struct Sink {
    log: unsafe extern "C" fn(*mut c_void, i32, *const c_char),
    context: Context,
    level: i32,
}

static SINK: RwLock<Option<Sink>> = RwLock::new(None);

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Sends lines up to `level` (a `pocketbert_log_level`) to `log`, for the whole process; NULL, as at first, sends them
/// nowhere. When it returns, the function that was set before is running nowhere and never runs again, so its context
/// may be freed. `POCKETBERT_FAILED_PRECONDITION` from inside a log function.
///
/// # Safety
/// `log` may be called with `context` on any thread until another one is set.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_set_log(
    level: i32,
    log: pocketbert_log_fn,
    context: *mut c_void,
) -> pocketbert_status {
    call("pocketbert_set_log", || -> Result<()> {
        if INSIDE.get() {
            return Err(Error::new(
                ErrorKind::FailedPrecondition,
                "a log function cannot set the log function",
            ));
        }
        if log.is_some() && !(1..=3).contains(&level) {
            return Err(Error::invalid(format!("`level` is {level}, which is no `pocketbert_log_level`")));
        }
        let sink = log.map(|log| Sink { log, context: Context(context), level });
        *SINK.write().unwrap_or_else(PoisonError::into_inner) = sink;
        Ok(())
    })
}

/// Says `line`, which holds nothing of a text.
pub(crate) fn say(level: pocketbert_log_level, line: &str) {
    if INSIDE.get() {
        return;
    }
    let sink = SINK.read().unwrap_or_else(PoisonError::into_inner);
    if let Some(sink) = sink.as_ref().filter(|s| level as i32 <= s.level) {
        let line = c_string(line);
        INSIDE.set(true);
        // SAFETY: the promise of whoever set it; the lock keeps it set meanwhile.
        unsafe { (sink.log)(sink.context.get(), level as i32, line.as_ptr()) };
        INSIDE.set(false);
    }
}
