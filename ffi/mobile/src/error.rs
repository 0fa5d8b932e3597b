//! Errors, and the one place where panics end.

use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use pocketbert::{Error, ErrorKind};

/// An error as facades get it: they turn `code` into exceptions of their own.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Error)]
pub enum MobileError {
    /// `code` is [`ErrorKind`]'s number, `reason` a sentence for developers that never quotes a text.
    Failed {
        /// The kind's number.
        code: i32,
        /// What is wrong, and what to do.
        reason: String,
    },
}

/// `Result` with [`MobileError`].
pub type Result<T> = std::result::Result<T, MobileError>;

impl MobileError {
    /// The kind's number.
    pub fn code(&self) -> i32 {
        let MobileError::Failed { code, .. } = self;
        *code
    }
}

impl fmt::Display for MobileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MobileError::Failed { reason, .. } = self;
        f.write_str(reason)
    }
}

impl std::error::Error for MobileError {}

impl From<Error> for MobileError {
    fn from(e: Error) -> Self {
        MobileError::Failed { code: e.kind() as i32, reason: e.message().to_string() }
    }
}

thread_local! {
    /// Where the last panic of this thread was.
    static PLACE: Cell<Option<(&'static str, u32)>> = const { Cell::new(None) };
}

/// Runs `f`; a panic in it is an error of kind `Internal` that names the source line and not the panic's message,
/// since that may quote a text.
pub fn guard<T>(f: impl FnOnce() -> pocketbert::Result<T>) -> Result<T> {
    quiet_panics();
    // `f` is not used again, and everything shared below it is either immutable or behind locks that forgive poison.
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(result) => Ok(result?),
        Err(_) => {
            let place = PLACE.take().map_or(String::new(), |(file, line)| format!(" at {file}:{line}"));
            // Not in the hook: a log sink that panics there would end the process.
            log::error!("panic{place}");
            Err(Error::internal(format!("a panic inside the library{place}: please report it")).into())
        }
    }
}

/// Replaces the hook that prints panics, messages included, to standard error. A Rust library inside an app has a
/// standard library of its own, so no one else's panics are concerned.
fn quiet_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if cfg!(test) {
            return;
        }
        std::panic::set_hook(Box::new(|info| {
            if let Some(at) = info.location() {
                // File names of the build are no secret; the text that was read is.
                let file = Box::leak(short(at.file()).to_string().into_boxed_str());
                PLACE.set(Some((file, at.line())));
            }
        }));
    });
}

/// The last two parts of a path.
fn short(path: &str) -> &str {
    match path.rmatch_indices('/').nth(1) {
        Some((i, _)) => path.get(i + 1..).unwrap_or(path),
        None => path,
    }
}

/// An error for a wrong argument.
pub fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidArgument, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_without_its_message() {
        let e = guard::<()>(|| panic!("secret text")).unwrap_err();
        assert_eq!(e.code(), ErrorKind::Internal as i32);
        assert!(!e.to_string().contains("secret"), "{e}");
    }

    #[test]
    fn errors_keep_kind_and_message() {
        let e = guard::<()>(|| Err(invalid("`x` is 0"))).unwrap_err();
        assert_eq!((e.code(), e.to_string().as_str()), (3, "`x` is 0"));
    }

    #[test]
    fn paths_are_cut() {
        assert_eq!((short("/home/me/core/src/a.rs"), short("a.rs")), ("src/a.rs", "a.rs"));
    }
}
