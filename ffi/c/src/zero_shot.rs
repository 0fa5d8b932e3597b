//! Classification by labels that come with the call.

use std::ffi::c_char;

use pocketbert::error::{Error, Result};
use pocketbert::tasks::{ZeroShot, ZeroShotOptions};

use crate::args::{self, At, Out, Sized, Strings, element, pocketbert_text};
use crate::boundary::call;
use crate::call::{
    call_options, number, pocketbert_call_options, pocketbert_window_options, some, truncation,
    window_options,
};
use crate::error::Failure;
use crate::handle::{self, Kind, Object};
use crate::model::{of, pocketbert_model};
use crate::status::pocketbert_status;

/// How to classify by labels of the call. Fill it with `pocketbert_zero_shot_options_default`.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct pocketbert_zero_shot_options {
    /// `sizeof(pocketbert_zero_shot_options)`.
    pub struct_size: u32,
    /// Keep at most this many labels, the most probable; 0, the default, for all.
    pub top_k: u32,
    /// Leave out labels that are less probable than this, 0 to 1. NaN, the default: none.
    pub threshold: f32,
    /// Not 0: judge every label by itself instead of all against each other. Default 0.
    pub multi_label: u32,
    /// A `pocketbert_truncation`.
    pub truncation: i32,
    /// The most tokens of a text with its sentence; 0, the default: the model's.
    pub max_length: u32,
    /// The sentence that a label makes; `{}`, once, is where the label goes. NULL: "This text is about {}."
    pub sentence: *const c_char,
    /// The head's name; NULL for the bundle's choice.
    pub head: *const c_char,
    /// Read texts of any length in windows; NULL: a text that is too long is cut.
    pub window: *const pocketbert_window_options,
    /// Threads, kernels, stopping; NULL for the defaults.
    pub call: *const pocketbert_call_options,
}

// SAFETY: numbers and pointers; the size is first.
unsafe impl Sized for pocketbert_zero_shot_options {
    const NAME: &'static str = "pocketbert_zero_shot_options";
    fn standard() -> Self {
        pocketbert_zero_shot_options {
            struct_size: size_of::<Self>() as u32,
            top_k: 0,
            threshold: f32::NAN,
            multi_label: 0,
            truncation: 0,
            max_length: 0,
            sentence: std::ptr::null(),
            head: std::ptr::null(),
            window: std::ptr::null(),
            call: std::ptr::null(),
        }
    }
}

/// Fills in the defaults: one label holds, all are listed.
///
/// # Safety
/// `options` is good for writing.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_zero_shot_options_default(
    options: *mut pocketbert_zero_shot_options,
) -> pocketbert_status {
    // SAFETY: the caller's promise.
    call("pocketbert_zero_shot_options_default", || unsafe { args::standard(options) })
}

/// Answers of `pocketbert_zero_shot`, one per text.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[derive(Debug)]
pub struct pocketbert_zero_shot_labels {
    _private: (),
}

/// A label and how probable it is.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct pocketbert_zero_shot_label {
    /// The label as it was given, good until the result is freed.
    pub name: *const c_char,
    /// Its index among the labels that were given.
    pub index: usize,
    /// 0 to 1; over all labels they sum to 1, unless every label was judged by itself.
    pub probability: f32,
    /// The score of entailment.
    pub entailment: f32,
    /// The score of the opposite.
    pub contradiction: f32,
    /// Zero.
    pub reserved: i32,
}

#[derive(Debug)]
struct Judged {
    answers: Vec<ZeroShot>,
    strings: Strings,
    names: Vec<Vec<At>>,
}

impl Object for Judged {
    type C = pocketbert_zero_shot_labels;
    const KIND: Kind = Kind::ZeroShot;
}

impl Judged {
    fn new(answers: Vec<ZeroShot>) -> Result<Judged> {
        let mut strings = Strings::default();
        let names = answers.iter().map(|a| a.labels.iter().map(|l| strings.push(&l.label)).collect());
        let names = names.collect::<Result<_>>()?;
        Ok(Judged { answers, strings, names })
    }
}

/// # Safety
/// As [`args::options`], for all that they point to.
unsafe fn judge(
    model: *const pocketbert_model,
    texts: impl FnOnce() -> Result<Vec<&'static str>, Failure>,
    labels: (*const pocketbert_text, usize),
    options: *const pocketbert_zero_shot_options,
    result: *mut *mut pocketbert_zero_shot_labels,
) -> Result<(), Failure> {
    let m = of(model)?;
    // SAFETY: the caller's promise.
    let (out, o) = unsafe { (Out::new("result", result)?, args::options(options)?) };
    // SAFETY: the caller's promise.
    let (call, head) = unsafe { (call_options(o.call)?, args::name("head", o.head)?) };
    // SAFETY: the caller's promise.
    let long = unsafe { window_options(o.window) }?;
    // SAFETY: the caller's promise.
    let (sentence, labels) =
        unsafe { (args::name("sentence", o.sentence)?, args::texts("labels", labels.0, labels.1)?) };
    let mut options = ZeroShotOptions {
        multi_label: o.multi_label != 0,
        top_k: some(o.top_k),
        threshold: number(o.threshold),
        truncation: truncation(o.truncation)?,
        max_length: some(o.max_length),
        call: call.options.clone(),
        ..ZeroShotOptions::default()
    };
    if let Some(s) = sentence {
        options.template = s.to_string();
    }
    let answers = m.engine.zero_shot(head, &texts()?, &labels, &options, long.as_ref())?;
    out.set(handle::insert(Judged::new(answers)?)?);
    Ok(())
}

/// Says which of `label_count` labels fit one text: `*result`, to be freed with `pocketbert_zero_shot_labels_free`.
/// `options` may be NULL.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_zero_shot(
    model: *const pocketbert_model,
    text: *const c_char,
    length: usize,
    labels: *const pocketbert_text,
    label_count: usize,
    options: *const pocketbert_zero_shot_options,
    result: *mut *mut pocketbert_zero_shot_labels,
) -> pocketbert_status {
    call("pocketbert_zero_shot", || {
        // SAFETY: the caller's promise; the text is used during the call alone.
        let texts = || Ok(vec![unsafe { args::text("text", text, length) }?]);
        // SAFETY: the caller's promise.
        unsafe { judge(model, texts, (labels, label_count), options, result) }
    })
}

/// Says which of the labels fit each of `count` texts; each answer is, bit for bit, the one that the text gets alone.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_zero_shot_batch(
    model: *const pocketbert_model,
    texts: *const pocketbert_text,
    count: usize,
    labels: *const pocketbert_text,
    label_count: usize,
    options: *const pocketbert_zero_shot_options,
    result: *mut *mut pocketbert_zero_shot_labels,
) -> pocketbert_status {
    call("pocketbert_zero_shot_batch", || {
        // SAFETY: the caller's promise; the texts are used during the call alone.
        let texts = || unsafe { args::texts("texts", texts, count) };
        // SAFETY: the caller's promise.
        unsafe { judge(model, texts, (labels, label_count), options, result) }
    })
}

/// Writes how many answers there are.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_zero_shot_labels_count(
    result: *const pocketbert_zero_shot_labels,
    count: *mut usize,
) -> pocketbert_status {
    call("pocketbert_zero_shot_labels_count", || {
        let r = handle::get::<Judged>(result)?;
        // SAFETY: the caller's promise.
        unsafe { Out::new("count", count) }?.set(r.answers.len());
        Ok::<_, Error>(())
    })
}

/// Writes how many labels answer `item` has, and whether the text was cut for at least one of them (not 0).
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_zero_shot_labels_get(
    result: *const pocketbert_zero_shot_labels,
    item: usize,
    labels: *mut usize,
    truncated: *mut i32,
) -> pocketbert_status {
    call("pocketbert_zero_shot_labels_get", || {
        let r = handle::get::<Judged>(result)?;
        // SAFETY: the caller's promise.
        let (labels, truncated) = unsafe { (Out::new("labels", labels)?, Out::new("truncated", truncated)?) };
        let a = element("answer", &r.answers, item)?;
        labels.set(a.labels.len());
        truncated.set(i32::from(a.truncated));
        Ok::<_, Error>(())
    })
}

/// Writes label number `rank` of answer `item`; 0 is the most probable.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_zero_shot_labels_label(
    result: *const pocketbert_zero_shot_labels,
    item: usize,
    rank: usize,
    label: *mut pocketbert_zero_shot_label,
) -> pocketbert_status {
    call("pocketbert_zero_shot_labels_label", || {
        let r = handle::get::<Judged>(result)?;
        // SAFETY: the caller's promise.
        let out = unsafe { Out::new("label", label) }?;
        let l = element("label", &element("answer", &r.answers, item)?.labels, rank)?;
        let name = *element("label", element("answer", &r.names, item)?, rank)?;
        out.set(pocketbert_zero_shot_label {
            name: r.strings.c_str(name),
            index: l.index,
            probability: l.probability,
            entailment: l.entailment,
            contradiction: l.contradiction,
            reserved: 0,
        });
        Ok::<_, Error>(())
    })
}

/// Frees a result, and all that was read from it.
#[unsafe(no_mangle)]
pub extern "C" fn pocketbert_zero_shot_labels_free(
    result: *mut pocketbert_zero_shot_labels,
) -> pocketbert_status {
    call("pocketbert_zero_shot_labels_free", || handle::remove::<Judged>(result).map(drop))
}
