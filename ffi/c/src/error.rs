//! What went wrong last on this thread: a message for a log line, and a stack for a support ticket.

use std::cell::RefCell;
use std::ffi::{CString, c_char};

use pocketbert::{Error, ErrorKind};

use crate::status::pocketbert_status;

/// An error on its way out, with what each layer knows, the outermost last.
#[derive(Debug)]
pub(crate) struct Failure {
    error: Error,
    frames: Vec<String>,
}

impl Failure {
    pub(crate) fn kind(&self) -> ErrorKind {
        self.error.kind()
    }

    /// With one more layer around it.
    pub(crate) fn within(mut self, frame: impl Into<String>) -> Failure {
        self.frames.push(frame.into());
        self
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure { error, frames: vec![] }
    }
}

struct Last {
    status: pocketbert_status,
    message: CString,
    stack: Vec<CString>,
}

thread_local! {
    static LAST: RefCell<Option<Last>> = const { RefCell::new(None) };
}

/// A C string; NULs, which names in a damaged file may hold, become U+FFFD.
pub(crate) fn c_string(s: &str) -> CString {
    CString::new(s.replace('\0', "\u{FFFD}")).unwrap_or_default()
}

/// Remembers `failure` of `function` as the calling thread's last error.
pub(crate) fn note(function: &'static str, failure: Failure) {
    let Failure { error, frames } = failure;
    let layers: Vec<String> = [function.to_string()]
        .into_iter()
        .chain(frames.into_iter().rev())
        .chain([error.message().into()])
        .collect();
    let last = Last {
        status: pocketbert_status::of(error.kind()),
        message: c_string(&layers.join(": ")),
        stack: layers.iter().map(|l| c_string(l)).collect(),
    };
    // Not there while the thread ends.
    let _ = LAST.try_with(|l| l.replace(Some(last)));
}

fn last<T>(otherwise: T, read: impl FnOnce(&Last) -> Option<T>) -> T {
    LAST.try_with(|l| l.try_borrow().ok().and_then(|l| l.as_ref().and_then(read)))
        .ok()
        .flatten()
        .unwrap_or(otherwise)
}

/// The status of the last call on this thread that failed; `POCKETBERT_OK` if none did. A call that succeeds leaves
/// it as it was, so cleaning up does not lose it.
#[unsafe(no_mangle)]
pub extern "C" fn pocketbert_error_status() -> pocketbert_status {
    last(pocketbert_status::POCKETBERT_OK, |l| Some(l.status))
}

/// What the last call on this thread that failed has to say: one line of UTF-8 that names the function, what was
/// wrong and what to do. It may quote names from a model file and options, never the text given to a model.
/// Never NULL; empty if no call failed. Valid until the next failure on this thread; do not free it.
#[unsafe(no_mangle)]
pub extern "C" fn pocketbert_error_message() -> *const c_char {
    last(c"".as_ptr(), |l| Some(l.message.as_ptr()))
}

/// How many entries `pocketbert_error_frame` has; 0 if no call failed.
#[unsafe(no_mangle)]
pub extern "C" fn pocketbert_error_depth() -> usize {
    last(0, |l| Some(l.stack.len()))
}

/// The error stack, for a support ticket: entry 0 is the function that was called, the last one the cause. NULL past
/// the end. Valid as long as `pocketbert_error_message`.
#[unsafe(no_mangle)]
pub extern "C" fn pocketbert_error_frame(index: usize) -> *const c_char {
    last(std::ptr::null(), |l| l.stack.get(index).map(|f| f.as_ptr()))
}

/// Forgets this thread's last error.
#[unsafe(no_mangle)]
pub extern "C" fn pocketbert_error_clear() {
    let _ = LAST.try_with(|l| l.try_borrow_mut().map(|mut l| *l = None));
}
