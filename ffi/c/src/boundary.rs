//! The one place where a call comes in from C and goes back.
//!
//! No panic crosses: unwinding into C is undefined behaviour, and Rust ends the process to prevent it. Every
//! exported function that does more than read a constant runs inside [`call`], which catches a panic and turns it
//! into `POCKETBERT_INTERNAL`. This needs `panic = "unwind"`, the default; a build with `abort` is refused.
//!
//! The float environment is ours inside: rounding to nearest, denormal numbers kept, as every answer's bits are
//! defined. The caller has its own back on return.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pocketbert::error::{Error, Result};
use pocketbert::kernels::with_default_float_env;

use crate::error::{Failure, note};
use crate::status::pocketbert_status;

#[cfg(not(panic = "unwind"))]
compile_error!("build with panic = \"unwind\": a panic could not be caught at the C boundary");

/// Runs `work`, the body of the exported `function`. A failure is noted for `pocketbert_error_message`; a success
/// leaves an older note alone.
pub(crate) fn call<E: Into<Failure>>(
    function: &'static str,
    work: impl FnOnce() -> Result<(), E>,
) -> pocketbert_status {
    let work = || {
        #[cfg(any(test, feature = "dangerous-test-hooks"))]
        crate::hooks::fault(function);
        work().map_err(Into::into)
    };
    // What `work` captured is dropped or unreachable after a panic, and locks below ignore poison.
    match with_default_float_env(|| catch_unwind(AssertUnwindSafe(work))) {
        Ok(Ok(())) => pocketbert_status::POCKETBERT_OK,
        Ok(Err(failure)) => fail(function, failure),
        Err(payload) => {
            // The payload may quote what was being worked on, so it is not told. Dropping it may panic once more: what
            // that throws is left alone.
            if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
                std::mem::forget(second);
            }
            fail(
                function,
                Error::internal("a defect in the library: a panic was caught, the call has no effect").into(),
            )
        }
    }
}

fn fail(function: &'static str, failure: Failure) -> pocketbert_status {
    let status = pocketbert_status::of(failure.kind());
    // Memory may be what ran out; then the status has to do.
    let _ = catch_unwind(AssertUnwindSafe(|| note(function, failure)));
    status
}

/// [`call`] for functions that give a value, and `otherwise` where they cannot.
pub(crate) fn value<T>(otherwise: T, work: impl FnOnce() -> Option<T>) -> T {
    catch_unwind(AssertUnwindSafe(work)).ok().flatten().unwrap_or(otherwise)
}
