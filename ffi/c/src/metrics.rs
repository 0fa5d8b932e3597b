//! Numbers of what a model does: times, sizes, errors, drift. Never a word of a text.

use std::ffi::{c_char, c_void};

use pocketbert::error::{Error, ErrorKind};
use pocketbert::metrics::{Baseline, DriftOptions, DriftReport, to_json, to_prometheus};

use crate::args::{self, Context, Out};
use crate::boundary::call;
use crate::call::one_of;
use crate::error::{Failure, c_string};
use crate::log::{self, pocketbert_log_level};
use crate::model::{of, pocketbert_model, task};
use crate::status::pocketbert_status;
use crate::string::{give, pocketbert_string};

/// How metrics are written.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[repr(i32)]
#[derive(Clone, Copy, Debug)]
pub enum pocketbert_metrics_format {
    /// A JSON array of one object per task and head; times in nanoseconds.
    POCKETBERT_METRICS_JSON = 0,
    /// The Prometheus text exposition format, version 0.0.4; times in seconds.
    POCKETBERT_METRICS_PROMETHEUS = 1,
}

/// A window of texts differs from the bundle's baseline.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct pocketbert_drift {
    /// Number of the window, from 1.
    pub window: u64,
    /// Texts in it.
    pub texts: u64,
    /// The largest score of an axis, in parts of its limit: above 1 is drift.
    pub score: f64,
    /// All of it in words: a string that is good until the function returns.
    pub summary: *const c_char,
}

/// Told of drift: on the thread whose text ended the window, after its answer is there. It must not unwind.
#[allow(non_camel_case_types, reason = "the names are C's")]
pub type pocketbert_drift_fn =
    Option<unsafe extern "C" fn(context: *mut c_void, drift: *const pocketbert_drift)>;

/// Writes the numbers of all tasks of a model that were asked so far, in `format` (a `pocketbert_metrics_format`):
/// `*text`, to be freed with `pocketbert_string_free`.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_model_metrics(
    model: *const pocketbert_model,
    format: i32,
    text: *mut *mut pocketbert_string,
) -> pocketbert_status {
    call("pocketbert_model_metrics", || -> Result<(), Failure> {
        let m = of(model)?;
        // SAFETY: the caller's promise.
        let out = unsafe { Out::new("text", text) }?;
        let write = one_of("format", format, &[to_json as fn(&[_]) -> String, to_prometheus])?;
        let snapshots: Vec<_> = m.engine.all_metrics().iter().map(|m| m.snapshot()).collect();
        give(out, &write(&snapshots))
    })
}

/// Begins (`enabled` not 0, as at first) or stops counting for `task` and `head` (NULL for the bundle's choice), and sets
/// below which probability an answer counts as one of low confidence (0 to 1; at first 0.5).
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_model_count(
    model: *const pocketbert_model,
    task: i32,
    head: *const c_char,
    enabled: i32,
    low_confidence: f32,
) -> pocketbert_status {
    call("pocketbert_model_count", || {
        // SAFETY: the caller's promise.
        let head = unsafe { args::name("head", head) }?;
        let metrics = of(model)?.engine.metrics(self::task(task)?, head)?;
        metrics.set_low_confidence(low_confidence)?;
        metrics.enable(enabled != 0);
        Ok::<_, Error>(())
    })
}

/// Compares what comes in with the bundle's baseline for `task` and `head` (NULL for the bundle's choice), in windows of
/// `window` texts (0 for the default), and calls `on_drift` for each that differs. Once per task and head;
/// `POCKETBERT_FAILED_PRECONDITION` after that, `POCKETBERT_NOT_FOUND` if the bundle has no baseline for it.
///
/// # Safety
/// `on_drift` may be called with `context` until the model is closed and its last call is over.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_model_watch_drift(
    model: *const pocketbert_model,
    task: i32,
    head: *const c_char,
    window: u64,
    on_drift: pocketbert_drift_fn,
    context: *mut c_void,
) -> pocketbert_status {
    call("pocketbert_model_watch_drift", || {
        // SAFETY: the caller's promise.
        let head = unsafe { args::name("head", head) }?;
        let m = of(model)?;
        let Some(told) = on_drift else { return Err(Error::invalid("`on_drift` is NULL")) };
        let metrics = m.engine.metrics(self::task(task)?, head)?;
        let baseline = Baseline::of(m.engine.model()?)?;
        let baseline =
            baseline.ok_or_else(|| Error::new(ErrorKind::NotFound, "the bundle has no drift baseline"))?;
        let mut options = DriftOptions::default();
        if window > 0 {
            options.window = window;
        }
        let context = Context(context);
        metrics.watch(&baseline, &options, move |r: &DriftReport| {
            log::say(
                pocketbert_log_level::POCKETBERT_LOG_WARN,
                "the input drifts from the bundle's baseline",
            );
            let summary = c_string(&r.to_string());
            let drift = pocketbert_drift {
                window: r.window,
                texts: r.texts,
                score: r.score(),
                summary: summary.as_ptr(),
            };
            // SAFETY: the caller's promise: a function of this type, good with this context.
            unsafe { told(context.get(), &drift) }
        })
    })
}
