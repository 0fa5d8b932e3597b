//! Options that calls share: threads, kernels, stopping, windows.

use std::ffi::c_void;
use std::time::{Duration, Instant};

use pocketbert::error::{Error, Result};
use pocketbert::kernels::Isa;
use pocketbert::tasks::{CallOptions, LongOptions, LongProgress, Progress, WindowMerge};
use pocketbert::text::Truncation;

use crate::args::{self, Context, Sized};
use crate::cancel::{Held, pocketbert_cancel};

/// Yes, no, or what the bundle says.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[repr(i32)]
#[derive(Clone, Copy, Debug)]
pub enum pocketbert_choice {
    /// As the bundle says for the head.
    POCKETBERT_AS_BUNDLE = 0,
    /// Yes.
    POCKETBERT_YES = 1,
    /// No.
    POCKETBERT_NO = 2,
}

/// What is kept of a text that is too long for the model.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[repr(i32)]
#[derive(Clone, Copy, Debug)]
pub enum pocketbert_truncation {
    /// Its start.
    POCKETBERT_TRUNCATE_HEAD = 0,
    /// Its end.
    POCKETBERT_TRUNCATE_TAIL = 1,
    /// Half of the tokens from its start, the rest from its end.
    POCKETBERT_TRUNCATE_HEAD_TAIL = 2,
    /// Nothing: such a text is `POCKETBERT_OUT_OF_RANGE`.
    POCKETBERT_TRUNCATE_REFUSE = 3,
}

/// Sets of kernels. All give the same bits; they differ in speed.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[repr(i32)]
#[derive(Clone, Copy, Debug)]
pub enum pocketbert_kernel {
    /// The fastest that this CPU runs.
    POCKETBERT_KERNEL_BEST = 0,
    /// For any CPU.
    POCKETBERT_KERNEL_GENERIC = 1,
    /// x86-64 with AVX2.
    POCKETBERT_KERNEL_AVX2 = 2,
    /// x86-64 with AVX2 and AVX-VNNI.
    POCKETBERT_KERNEL_AVXVNNI = 3,
    /// x86-64 with AVX-512 and VNNI.
    POCKETBERT_KERNEL_AVX512VNNI = 4,
    /// 32-bit ARM with NEON.
    POCKETBERT_KERNEL_ARMV7_NEON = 5,
    /// 64-bit ARM.
    POCKETBERT_KERNEL_NEON = 6,
    /// 64-bit ARM with the dot-product extension.
    POCKETBERT_KERNEL_NEON_DOTPROD = 7,
    /// 64-bit ARM with the int8 matrix extension.
    POCKETBERT_KERNEL_NEON_I8MM = 8,
}

/// How windows of a long text become one answer.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[repr(i32)]
#[derive(Clone, Copy, Debug)]
pub enum pocketbert_merge {
    /// The mean, each window weighing as many tokens as belong to it.
    POCKETBERT_MERGE_WEIGHTED = 0,
    /// The mean over the windows.
    POCKETBERT_MERGE_MEAN = 1,
    /// Of each label the largest value.
    POCKETBERT_MERGE_MAX = 2,
    /// The share of windows in which the label wins. Not for vectors.
    POCKETBERT_MERGE_VOTE = 3,
}

/// How a call runs. None of it changes an answer. Fill it with `pocketbert_call_options_default`.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct pocketbert_call_options {
    /// `sizeof(pocketbert_call_options)`.
    pub struct_size: u32,
    /// Threads of one run, 1 to 256; they end with the call. Default 1: no thread is started.
    pub threads: u32,
    /// A `pocketbert_kernel`. Default `POCKETBERT_KERNEL_BEST`.
    pub kernel: i32,
    /// Zero.
    pub reserved: u32,
    /// The call ends with `POCKETBERT_DEADLINE_EXCEEDED` after so many milliseconds; 0 for never. Checked between
    /// operators, about a sixth of a layer.
    pub timeout_ms: u64,
    /// Stops the call from another thread or a signal handler; NULL for none.
    pub cancel: *const pocketbert_cancel,
}

// SAFETY: numbers and a pointer; the size is first.
unsafe impl Sized for pocketbert_call_options {
    const NAME: &'static str = "pocketbert_call_options";
    fn standard() -> Self {
        pocketbert_call_options {
            struct_size: size_of::<Self>() as u32,
            threads: 1,
            kernel: 0,
            reserved: 0,
            timeout_ms: 0,
            cancel: std::ptr::null(),
        }
    }
}

/// Fills in the defaults: one thread, the fastest kernels, never stopped.
///
/// # Safety
/// `options` is good for writing.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_call_options_default(
    options: *mut pocketbert_call_options,
) -> crate::status::pocketbert_status {
    // SAFETY: the caller's promise.
    crate::boundary::call("pocketbert_call_options_default", || unsafe { args::standard(options) })
}

/// How far a long text is read.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct pocketbert_progress {
    /// Windows answered.
    pub windows: usize,
    /// Bytes of the text up to the end of the last of them.
    pub done: usize,
    /// Bytes of the text.
    pub total: usize,
}

/// Told how far a long text is read: on the thread of the call, after each window. To stop the call, trip its
/// cancel token. It must not unwind (no C++ exception, no longjmp).
#[allow(non_camel_case_types, reason = "the names are C's")]
pub type pocketbert_progress_fn =
    Option<unsafe extern "C" fn(context: *mut c_void, progress: *const pocketbert_progress)>;

/// How a text longer than the model is read: in windows that overlap, whose answers are merged. Where a task's
/// options have no window options, a text that is too long is cut. Fill it with `pocketbert_window_options_default`.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct pocketbert_window_options {
    /// `sizeof(pocketbert_window_options)`.
    pub struct_size: u32,
    /// Tokens of one window, special tokens included; 0: as the bundle says, else the longest the head takes.
    pub window: u32,
    /// Tokens of the text from the start of one window to the start of the next; 0: as the bundle says, else half of
    /// what a window holds.
    pub stride: u32,
    /// A `pocketbert_merge`, for labels and vectors. Spans compete and are never merged.
    pub merge: i32,
    /// Told after each window; NULL for none.
    pub progress: pocketbert_progress_fn,
    /// Given to `progress`.
    pub progress_context: *mut c_void,
}

// SAFETY: numbers, a pointer and an optional function pointer; the size is first.
unsafe impl Sized for pocketbert_window_options {
    const NAME: &'static str = "pocketbert_window_options";
    fn standard() -> Self {
        pocketbert_window_options {
            struct_size: size_of::<Self>() as u32,
            window: 0,
            stride: 0,
            merge: 0,
            progress: None,
            progress_context: std::ptr::null_mut(),
        }
    }
}

/// Fills in the defaults.
///
/// # Safety
/// `options` is good for writing.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_window_options_default(
    options: *mut pocketbert_window_options,
) -> crate::status::pocketbert_status {
    // SAFETY: the caller's promise.
    crate::boundary::call("pocketbert_window_options_default", || unsafe { args::standard(options) })
}

/// Call options as the engine has them, and the hold on a cancel token that must last as long as the call.
pub(crate) struct Call {
    pub(crate) options: CallOptions,
    _held: Option<Held>,
}

fn unknown(option: &str, value: i32) -> Error {
    Error::invalid(format!("`{option}` is {value}, which is none of its values"))
}

/// # Safety
/// As [`args::options`].
pub(crate) unsafe fn call_options(at: *const pocketbert_call_options) -> Result<Call> {
    // SAFETY: the caller's promise.
    let o = unsafe { args::options(at) }?;
    if !(1..=256).contains(&o.threads) {
        return Err(Error::invalid(format!("`threads` is {}: give 1 to 256", o.threads)));
    }
    if o.reserved != 0 {
        return Err(Error::invalid("`reserved` of the `pocketbert_call_options` is not 0"));
    }
    let held = match o.cancel.is_null() {
        true => None,
        false => Some(Held::of(o.cancel)?),
    };
    let deadline = match o.timeout_ms {
        0 => None,
        // Further away than clocks go is never.
        ms => Instant::now().checked_add(Duration::from_millis(ms)),
    };
    let options = CallOptions {
        threads: o.threads as usize,
        kernel: kernel(o.kernel)?,
        cancel: held.as_ref().map(Held::token),
        deadline,
    };
    Ok(Call { options, _held: held })
}

/// The engine's instruction set of a `pocketbert_kernel`; `None` for the best.
pub(crate) fn kernel(kernel: i32) -> Result<Option<Isa>> {
    match kernel {
        0 => Ok(None),
        k => KERNELS
            .iter()
            .find(|(n, _)| *n == k)
            .map(|(_, isa)| Some(*isa))
            .ok_or_else(|| unknown("kernel", k)),
    }
}

/// The numbers of instruction sets. They never change.
pub(crate) const KERNELS: [(i32, Isa); 8] = [
    (1, Isa::Generic),
    (2, Isa::Avx2),
    (3, Isa::AvxVnni),
    (4, Isa::Avx512Vnni),
    (5, Isa::Armv7Neon),
    (6, Isa::Neon),
    (7, Isa::NeonDotprod),
    (8, Isa::NeonI8mm),
];

pub(crate) fn truncation(value: i32) -> Result<Truncation> {
    match value {
        0 => Ok(Truncation::Head),
        1 => Ok(Truncation::Tail),
        2 => Ok(Truncation::HeadTail),
        3 => Ok(Truncation::Refuse),
        v => Err(unknown("truncation", v)),
    }
}

pub(crate) fn choice(option: &str, value: i32) -> Result<Option<bool>> {
    match value {
        0 => Ok(None),
        1 => Ok(Some(true)),
        2 => Ok(Some(false)),
        v => Err(unknown(option, v)),
    }
}

/// One of `all` by its number, which is its place.
pub(crate) fn one_of<T: Copy>(option: &str, value: i32, all: &[T]) -> Result<T> {
    usize::try_from(value).ok().and_then(|v| all.get(v)).copied().ok_or_else(|| unknown(option, value))
}

/// 0 stands for "no limit of yours".
pub(crate) fn some(n: u32) -> Option<usize> {
    (n > 0).then_some(n as usize)
}

/// NaN stands for "as the bundle says".
pub(crate) fn number(x: f32) -> Option<f32> {
    (!x.is_nan()).then_some(x)
}

/// Window options as the engine has them; `None` for NULL.
///
/// # Safety
/// As [`args::options`]; the progress function may be called until the call returns.
pub(crate) unsafe fn window_options(at: *const pocketbert_window_options) -> Result<Option<LongOptions>> {
    if at.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's promise.
    let o = unsafe { args::options(at) }?;
    let merges = [WindowMerge::Weighted, WindowMerge::Mean, WindowMerge::Max, WindowMerge::Vote];
    let context = Context(o.progress_context);
    let progress = o.progress.map(|f| {
        Progress::new(move |p: LongProgress| {
            let progress = pocketbert_progress { windows: p.windows, done: p.done, total: p.total };
            // SAFETY: the caller's promise: a function of this type, good with this context until the call returns.
            unsafe { f(context.get(), &progress) }
        })
    });
    Ok(Some(LongOptions {
        window: some(o.window),
        stride: some(o.stride),
        merge: one_of("merge", o.merge, &merges)?,
        progress,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_other_sizes() {
        let mut o = pocketbert_call_options::standard();
        // SAFETY: a struct of ours.
        let read = |o: &pocketbert_call_options| unsafe { call_options(o) };
        assert_eq!(read(&o).unwrap().options.threads, 1);
        for size in [0, 4, o.struct_size - 1, u32::MAX] {
            o.struct_size = size;
            assert!(read(&o).is_err_and(|e| e.message().contains("struct_size")), "{size}");
        }
        // A newer version's struct is longer.
        #[repr(C)]
        struct Newer(pocketbert_call_options, u64);
        let mut newer = Newer(pocketbert_call_options::standard(), 0);
        newer.0.struct_size = size_of::<Newer>() as u32;
        // SAFETY: as long as it says.
        let read = |n: &Newer| unsafe { call_options((&raw const *n).cast()) };
        assert!(read(&newer).is_ok());
        newer.1 = 1;
        assert!(read(&newer).is_err_and(|e| e.message().contains("newer")));
        // SAFETY: NULL is allowed.
        assert!(unsafe { call_options(std::ptr::null()) }.is_ok());
    }

    #[test]
    fn values_out_of_range_are_refused() {
        let change = |f: fn(&mut pocketbert_call_options)| {
            let mut o = pocketbert_call_options::standard();
            f(&mut o);
            // SAFETY: a struct of ours.
            unsafe { call_options(&o) }.err().map(|e| e.kind())
        };
        use pocketbert::ErrorKind::InvalidArgument;
        assert_eq!(change(|o| o.threads = 0), Some(InvalidArgument));
        assert_eq!(change(|o| o.threads = 257), Some(InvalidArgument));
        assert_eq!(change(|o| o.kernel = 9), Some(InvalidArgument));
        assert_eq!(change(|o| o.kernel = -1), Some(InvalidArgument));
        assert_eq!(change(|o| o.reserved = 1), Some(InvalidArgument));
        assert_eq!(change(|o| o.cancel = std::ptr::without_provenance(8)), Some(InvalidArgument));
        assert_eq!(change(|o| o.timeout_ms = u64::MAX), None);
        assert!(truncation(4).is_err() && choice("x", 3).is_err() && one_of("x", -1, &[0]).is_err());
    }

    #[test]
    fn every_kernel_has_a_number() {
        assert_eq!(KERNELS.len(), Isa::ALL.len());
        assert!(Isa::ALL.iter().all(|i| KERNELS.iter().any(|k| k.1 == *i)));
    }
}
