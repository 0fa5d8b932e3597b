//! What every call of every task takes.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pocketbert::kernels::Isa;
use pocketbert::tasks::{LongOptions, WindowMerge};
use pocketbert::text::Truncation;

use crate::error::{Result, guard, invalid};
use crate::progress::{self, ProgressListener};

/// Stops calls from another thread.
#[derive(Debug, Default, uniffi::Object)]
pub struct CancelToken(pocketbert::CancelToken);

#[uniffi::export]
impl CancelToken {
    /// A token that is not tripped.
    #[uniffi::constructor]
    pub fn create() -> Result<Arc<CancelToken>> {
        guard(|| Ok(Arc::new(CancelToken::default())))
    }

    /// Trips it: runs that were given it end at their next operator, with code 1.
    pub fn cancel(&self) -> Result<()> {
        guard(|| {
            self.0.cancel();
            Ok(())
        })
    }

    /// Is it tripped?
    pub fn is_cancelled(&self) -> Result<bool> {
        guard(|| Ok(self.0.is_cancelled()))
    }
}

/// How a call runs; none of it changes an answer.
#[derive(Clone, Debug, Default, uniffi::Record)]
pub struct CallOptions {
    /// Threads, 1 to 64.
    pub threads: i32,
    /// Name of the kernels; absent: the fastest.
    pub kernel: Option<String>,
    /// Stops the call.
    pub cancel: Option<Arc<CancelToken>>,
    /// Milliseconds from now after which the call ends with code 4.
    pub deadline_ms: Option<i64>,
}

/// The most threads of a call.
pub const MAX_THREADS: i32 = 64;

impl CallOptions {
    /// As core takes them. The deadline counts from here.
    pub(crate) fn core(&self) -> pocketbert::Result<pocketbert::CallOptions> {
        let threads = usize::try_from(self.threads).ok().filter(|n| (1..=MAX_THREADS as usize).contains(n));
        let deadline = match self.deadline_ms.map(u64::try_from) {
            None => None,
            // A moment that the clock cannot hold never comes.
            Some(Ok(ms)) => Instant::now().checked_add(Duration::from_millis(ms)),
            Some(Err(_)) => return Err(invalid("the deadline is negative")),
        };
        Ok(pocketbert::CallOptions {
            threads: threads.ok_or_else(|| {
                invalid(format!("`threads` is {}: ask for 1 to {MAX_THREADS}", self.threads))
            })?,
            kernel: self.kernel.as_deref().map(Isa::parse).transpose()?,
            cancel: self.cancel.as_ref().map(|c| c.0.clone()),
            deadline,
        })
    }
}

/// What to do with a text that is longer than the model takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, uniffi::Enum)]
pub enum TooLong {
    /// Keep its start.
    #[default]
    KeepStart,
    /// Keep its end.
    KeepEnd,
    /// Keep both ends.
    KeepBothEnds,
    /// Answer with an error of code 11.
    Refuse,
}

impl From<TooLong> for Truncation {
    fn from(t: TooLong) -> Truncation {
        match t {
            TooLong::KeepStart => Truncation::Head,
            TooLong::KeepEnd => Truncation::Tail,
            TooLong::KeepBothEnds => Truncation::HeadTail,
            TooLong::Refuse => Truncation::Refuse,
        }
    }
}

/// How windows of a long text are merged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, uniffi::Enum)]
pub enum Merge {
    /// The mean.
    Mean,
    /// The mean, weighted by what belongs to each window.
    #[default]
    Weighted,
    /// The largest value.
    Max,
    /// The share of windows that a label wins.
    Vote,
}

/// How a long text is read in windows.
#[derive(Clone, Default, uniffi::Record)]
pub struct Windowing {
    /// Tokens of a window; absent: as the model says.
    pub window: Option<i32>,
    /// Tokens from one window to the next; absent: as the model says.
    pub stride: Option<i32>,
    /// How answers are merged.
    pub merge: Merge,
    /// Told after each window.
    #[uniffi(default = None)]
    pub progress: Option<Arc<dyn ProgressListener>>,
}

impl fmt::Debug for Windowing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Windowing { window, stride, merge, progress } = self;
        let progress = progress.is_some();
        write!(f, "Windowing({window:?}, {stride:?}, {merge:?}, progress: {progress})")
    }
}

impl Windowing {
    /// As core takes it.
    pub(crate) fn core(&self) -> pocketbert::Result<LongOptions> {
        Ok(LongOptions {
            window: opt_size("window", self.window)?,
            stride: opt_size("stride", self.stride)?,
            merge: match self.merge {
                Merge::Mean => WindowMerge::Mean,
                Merge::Weighted => WindowMerge::Weighted,
                Merge::Max => WindowMerge::Max,
                Merge::Vote => WindowMerge::Vote,
            },
            progress: self.progress.clone().map(progress::core),
        })
    }
}

/// Two texts that are read together.
#[derive(Clone, Debug, uniffi::Record)]
pub struct TextPair {
    /// The first.
    pub text: String,
    /// The second.
    pub pair: String,
}

/// A size from a language that has no unsigned numbers.
pub(crate) fn size(name: &str, n: i32) -> pocketbert::Result<usize> {
    usize::try_from(n).map_err(|_| invalid(format!("`{name}` is {n}: it cannot be negative")))
}

/// An optional size.
pub(crate) fn opt_size(name: &str, n: Option<i32>) -> pocketbert::Result<Option<usize>> {
    n.map(|n| size(name, n)).transpose()
}

/// A count for a language that has no unsigned numbers. Texts end far below its limit.
pub(crate) fn count(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

/// Little-endian floats.
pub(crate) fn float_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// The strings of a list.
pub(crate) fn strs(list: &[String]) -> Vec<&str> {
    list.iter().map(String::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_checked() {
        let good = CallOptions { threads: 2, deadline_ms: Some(i64::MAX), ..CallOptions::default() };
        assert_eq!(good.core().unwrap().threads, 2);
        for bad in [
            CallOptions { threads: 0, ..good.clone() },
            CallOptions { threads: -1, ..good.clone() },
            CallOptions { threads: 65, ..good.clone() },
            CallOptions { deadline_ms: Some(-1), ..good.clone() },
            CallOptions { kernel: Some("abacus".into()), ..good.clone() },
        ] {
            assert_eq!(bad.core().unwrap_err().kind(), pocketbert::ErrorKind::InvalidArgument);
        }
    }
}
