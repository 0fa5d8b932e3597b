//! One error type for the whole SDK: a stable [`ErrorKind`] for programs and a message for people.

use std::fmt;

/// What went wrong, in the numbering of `absl::StatusCode`, so that every language binding can map it.
///
/// The discriminants are part of the C ABI: a retired number is never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(i32)]
pub enum ErrorKind {
    /// The caller asked for the work to stop.
    Cancelled = 1,
    /// The caller passed something unusable: an option, a head name, a label list.
    InvalidArgument = 3,
    /// The deadline passed before the work was done.
    DeadlineExceeded = 4,
    /// A file, bundle entry or head does not exist.
    NotFound = 5,
    /// The operating system refused access.
    PermissionDenied = 7,
    /// A limit on memory, size or work was reached.
    ResourceExhausted = 8,
    /// The object is not in the state that the call needs.
    FailedPrecondition = 9,
    /// A value is outside the range that the model supports.
    OutOfRange = 11,
    /// The model uses something this version does not support.
    Unimplemented = 12,
    /// A defect in this library.
    Internal = 13,
    /// A file is damaged, truncated or was altered.
    DataLoss = 15,
}

impl ErrorKind {
    /// The canonical name, as in `absl::StatusCodeToString`.
    pub fn name(self) -> &'static str {
        match self {
            ErrorKind::Cancelled => "CANCELLED",
            ErrorKind::InvalidArgument => "INVALID_ARGUMENT",
            ErrorKind::DeadlineExceeded => "DEADLINE_EXCEEDED",
            ErrorKind::NotFound => "NOT_FOUND",
            ErrorKind::PermissionDenied => "PERMISSION_DENIED",
            ErrorKind::ResourceExhausted => "RESOURCE_EXHAUSTED",
            ErrorKind::FailedPrecondition => "FAILED_PRECONDITION",
            ErrorKind::OutOfRange => "OUT_OF_RANGE",
            ErrorKind::Unimplemented => "UNIMPLEMENTED",
            ErrorKind::Internal => "INTERNAL",
            ErrorKind::DataLoss => "DATA_LOSS",
        }
    }
}

/// An error: its kind, and a message that names the broken invariant and what to do about it.
///
/// Messages are lower-case sentences with names in backticks. They may quote names found in a model
/// file, never the text given to a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind` with `message`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error { kind, message: message.into() }
    }

    /// The kind, for programs.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The message, for people.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The same error with `what: ` in front of its message.
    pub fn context(self, what: impl fmt::Display) -> Self {
        Error { kind: self.kind, message: format!("{what}: {}", self.message) }
    }

    /// [`ErrorKind::InvalidArgument`].
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArgument, message)
    }

    /// [`ErrorKind::DataLoss`]: a damaged or altered file.
    pub fn data_loss(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::DataLoss, message)
    }

    /// [`ErrorKind::Unimplemented`].
    pub fn unimplemented(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unimplemented, message)
    }

    /// [`ErrorKind::ResourceExhausted`]: over a limit.
    pub fn exhausted(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::ResourceExhausted, message)
    }

    /// [`ErrorKind::Internal`]: a defect of this library.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// An I/O error on `path` as the nearest kind.
    pub fn io(path: impl fmt::Display, e: &std::io::Error) -> Self {
        let kind = match e.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            std::io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
            std::io::ErrorKind::OutOfMemory => ErrorKind::ResourceExhausted,
            std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::InvalidData => ErrorKind::DataLoss,
            _ => ErrorKind::FailedPrecondition,
        };
        Self::new(kind, format!("`{path}`: {e}"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
