//! Status codes, numbered as `absl::StatusCode`.

use std::ffi::c_char;

use pocketbert::ErrorKind;

/// How a call ended. The numbers are those of `absl::StatusCode` and gRPC; a number never changes its meaning.
/// Treat a number that you do not know as a failure.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum pocketbert_status {
    /// It worked; outputs are written.
    POCKETBERT_OK = 0,
    /// A cancel token was tripped.
    POCKETBERT_CANCELLED = 1,
    /// NULL, a stale handle, text that is not UTF-8, an option out of range, a name the model does not know.
    POCKETBERT_INVALID_ARGUMENT = 3,
    /// `timeout_ms` passed.
    POCKETBERT_DEADLINE_EXCEEDED = 4,
    /// A file, head or index does not exist.
    POCKETBERT_NOT_FOUND = 5,
    /// The operating system refused access to a file.
    POCKETBERT_PERMISSION_DENIED = 7,
    /// A limit on memory, size or handles was reached.
    POCKETBERT_RESOURCE_EXHAUSTED = 8,
    /// The model is not in the state that the call needs, or lacks a head or tokenizer for it.
    POCKETBERT_FAILED_PRECONDITION = 9,
    /// A text is too long where cutting it was forbidden, or a number outside what the format holds.
    POCKETBERT_OUT_OF_RANGE = 11,
    /// The model, or the call, needs something that this version does not have.
    POCKETBERT_UNIMPLEMENTED = 12,
    /// A defect of this library. The process and all handles stay usable.
    POCKETBERT_INTERNAL = 13,
    /// A file is damaged, cut short or was altered.
    POCKETBERT_DATA_LOSS = 15,
}

impl pocketbert_status {
    pub(crate) fn of(kind: ErrorKind) -> pocketbert_status {
        use pocketbert_status::*;
        match kind {
            ErrorKind::Cancelled => POCKETBERT_CANCELLED,
            ErrorKind::InvalidArgument => POCKETBERT_INVALID_ARGUMENT,
            ErrorKind::DeadlineExceeded => POCKETBERT_DEADLINE_EXCEEDED,
            ErrorKind::NotFound => POCKETBERT_NOT_FOUND,
            ErrorKind::PermissionDenied => POCKETBERT_PERMISSION_DENIED,
            ErrorKind::ResourceExhausted => POCKETBERT_RESOURCE_EXHAUSTED,
            ErrorKind::FailedPrecondition => POCKETBERT_FAILED_PRECONDITION,
            ErrorKind::OutOfRange => POCKETBERT_OUT_OF_RANGE,
            ErrorKind::Unimplemented => POCKETBERT_UNIMPLEMENTED,
            ErrorKind::DataLoss => POCKETBERT_DATA_LOSS,
            // `ErrorKind` may grow; a kind without a code of its own is a defect here.
            _ => POCKETBERT_INTERNAL,
        }
    }
}

/// The name of a status as absl spells it, such as `NOT_FOUND`; `UNKNOWN` for a number that is none. A static
/// string. Safe in a signal handler.
#[unsafe(no_mangle)]
pub extern "C" fn pocketbert_status_name(status: i32) -> *const c_char {
    let name = match status {
        0 => c"OK",
        1 => c"CANCELLED",
        3 => c"INVALID_ARGUMENT",
        4 => c"DEADLINE_EXCEEDED",
        5 => c"NOT_FOUND",
        7 => c"PERMISSION_DENIED",
        8 => c"RESOURCE_EXHAUSTED",
        9 => c"FAILED_PRECONDITION",
        11 => c"OUT_OF_RANGE",
        12 => c"UNIMPLEMENTED",
        13 => c"INTERNAL",
        15 => c"DATA_LOSS",
        _ => c"UNKNOWN",
    };
    name.as_ptr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_those_of_the_engine() {
        let kinds = [
            ErrorKind::Cancelled,
            ErrorKind::InvalidArgument,
            ErrorKind::DeadlineExceeded,
            ErrorKind::NotFound,
            ErrorKind::PermissionDenied,
            ErrorKind::ResourceExhausted,
            ErrorKind::FailedPrecondition,
            ErrorKind::OutOfRange,
            ErrorKind::Unimplemented,
            ErrorKind::Internal,
            ErrorKind::DataLoss,
        ];
        for kind in kinds {
            let status = pocketbert_status::of(kind);
            assert_eq!(status as i32, kind as i32);
            // SAFETY: the function gives static strings that end in NUL.
            let name = unsafe { std::ffi::CStr::from_ptr(pocketbert_status_name(status as i32)) };
            assert_eq!(name.to_str(), Ok(kind.name()));
        }
    }
}
