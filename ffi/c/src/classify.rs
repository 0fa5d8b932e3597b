//! Classification: texts, or pairs of texts, to labels with probabilities.

use std::ffi::c_char;

use pocketbert::error::{Error, Result};
use pocketbert::tasks::{Classification, ClassifyOptions, TextInput};

use crate::args::{self, At, Out, Sized, Strings, element, pocketbert_text};
use crate::boundary::call;
use crate::call::{
    Call, call_options, choice, number, pocketbert_call_options, pocketbert_window_options, some, truncation,
    window_options,
};
use crate::error::Failure;
use crate::handle::{self, Kind, Object};
use crate::model::{of, pocketbert_model};
use crate::status::pocketbert_status;

/// How to classify. Fill it with `pocketbert_classify_options_default`.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct pocketbert_classify_options {
    /// `sizeof(pocketbert_classify_options)`.
    pub struct_size: u32,
    /// Keep at most this many labels, the most probable; 0, the default, for all.
    pub top_k: u32,
    /// Leave out labels that are less probable than this, 0 to 1 (any number for a regression). NaN, the default: the
    /// bundle's threshold of each label, where it has one. 0: none.
    pub threshold: f32,
    /// A `pocketbert_choice`: judge every label by itself instead of all against each other.
    pub multi_label: i32,
    /// A `pocketbert_truncation`.
    pub truncation: i32,
    /// The most tokens of a text, special tokens included; 0, the default: the model's.
    pub max_length: u32,
    /// The head's name; NULL for the bundle's choice.
    pub head: *const c_char,
    /// Only these labels: `allow_count` names. Not together with `deny`.
    pub allow: *const *const c_char,
    /// How many.
    pub allow_count: usize,
    /// All labels but these: `deny_count` names.
    pub deny: *const *const c_char,
    /// How many.
    pub deny_count: usize,
    /// Read texts of any length in windows; NULL: a text that is too long is cut. Not for pairs.
    pub window: *const pocketbert_window_options,
    /// Threads, kernels, stopping; NULL for the defaults.
    pub call: *const pocketbert_call_options,
}

// SAFETY: numbers and pointers; the size is first.
unsafe impl Sized for pocketbert_classify_options {
    const NAME: &'static str = "pocketbert_classify_options";
    fn standard() -> Self {
        pocketbert_classify_options {
            struct_size: size_of::<Self>() as u32,
            top_k: 0,
            threshold: f32::NAN,
            multi_label: 0,
            truncation: 0,
            max_length: 0,
            head: std::ptr::null(),
            allow: std::ptr::null(),
            allow_count: 0,
            deny: std::ptr::null(),
            deny_count: 0,
            window: std::ptr::null(),
            call: std::ptr::null(),
        }
    }
}

/// Fills in the defaults: all labels, as the bundle says.
///
/// # Safety
/// `options` is good for writing.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_classify_options_default(
    options: *mut pocketbert_classify_options,
) -> pocketbert_status {
    // SAFETY: the caller's promise.
    call("pocketbert_classify_options_default", || unsafe { args::standard(options) })
}

/// Answers of `pocketbert_classify`, one per text.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[derive(Debug)]
pub struct pocketbert_classification {
    _private: (),
}

/// The answer for one text.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct pocketbert_classification_item {
    /// Labels that passed the options, for `pocketbert_classification_label`.
    pub labels: usize,
    /// The logits of all labels by index, good until the result is freed.
    pub logits: *const f32,
    /// How many.
    pub logit_count: usize,
    /// Tokens that the model saw, special tokens included.
    pub tokens: usize,
    /// Not 0: the text was cut to fit.
    pub truncated: i32,
    /// Zero.
    pub reserved: i32,
}

/// A label and how probable it is.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct pocketbert_label {
    /// The label, good until the result is freed.
    pub name: *const c_char,
    /// Its number in the head.
    pub index: usize,
    /// 0 to 1, calibrated if the bundle has a temperature. Of a regression the value itself.
    pub probability: f32,
    /// What the model gave, before temperature and softmax.
    pub logit: f32,
}

/// Classifications with strings that C can read.
#[derive(Debug)]
pub(crate) struct Classified {
    pub(crate) answers: Vec<Classification>,
    strings: Strings,
    names: Vec<Vec<At>>,
}

impl Object for Classified {
    type C = pocketbert_classification;
    const KIND: Kind = Kind::Classification;
}

impl Classified {
    pub(crate) fn new(answers: Vec<Classification>) -> Result<Classified> {
        let mut strings = Strings::default();
        let names = answers.iter().map(|a| a.labels.iter().map(|l| strings.push(&l.label)).collect());
        let names = names.collect::<Result<_>>()?;
        Ok(Classified { answers, strings, names })
    }
}

/// Options as the engine has them.
///
/// # Safety
/// As [`args::options`], for all that they point to.
unsafe fn read(o: &pocketbert_classify_options) -> Result<(ClassifyOptions, Call)> {
    // SAFETY: the caller's promise.
    let (allow, deny) = unsafe {
        (args::names("allow", o.allow, o.allow_count)?, args::names("deny", o.deny, o.deny_count)?)
    };
    // SAFETY: the caller's promise.
    let call = unsafe { call_options(o.call) }?;
    let owned = |names: Vec<&str>| names.into_iter().map(str::to_string).collect();
    let options = ClassifyOptions {
        top_k: some(o.top_k),
        threshold: number(o.threshold),
        allow: owned(allow),
        deny: owned(deny),
        multi_label: choice("multi_label", o.multi_label)?,
        truncation: truncation(o.truncation)?,
        max_length: some(o.max_length),
        call: call.options.clone(),
    };
    Ok((options, call))
}

/// # Safety
/// As [`args::options`], for all that they point to.
unsafe fn classify(
    model: *const pocketbert_model,
    inputs: impl FnOnce() -> Result<Vec<TextInput<'static>>, Failure>,
    options: *const pocketbert_classify_options,
    result: *mut *mut pocketbert_classification,
) -> Result<(), Failure> {
    let m = of(model)?;
    // SAFETY: the caller's promise.
    let (out, o) = unsafe { (Out::new("result", result)?, args::options(options)?) };
    // SAFETY: the caller's promise.
    let (options, _call) = unsafe { read(&o) }?;
    // SAFETY: the caller's promise.
    let (head, long) = unsafe { (args::name("head", o.head)?, window_options(o.window)?) };
    let answers = m.engine.classify(head, &inputs()?, &options, long.as_ref())?;
    out.set(handle::insert(Classified::new(answers)?)?);
    Ok(())
}

/// Classifies one text: `*result`, to be freed with `pocketbert_classification_free`. Empty text has an answer like any
/// other. `options` may be NULL.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_classify(
    model: *const pocketbert_model,
    text: *const c_char,
    length: usize,
    options: *const pocketbert_classify_options,
    result: *mut *mut pocketbert_classification,
) -> pocketbert_status {
    call("pocketbert_classify", || {
        // SAFETY: the caller's promise; the text is used during the call alone.
        let inputs = || Ok(vec![unsafe { args::text("text", text, length) }?.into()]);
        // SAFETY: the caller's promise.
        unsafe { classify(model, inputs, options, result) }
    })
}

/// Classifies `count` texts, or with `pairs` (which may be NULL) as many pairs of texts that the model reads together;
/// each answer is, bit for bit, the one that the text gets alone. With no text the result has no answer.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_classify_batch(
    model: *const pocketbert_model,
    texts: *const pocketbert_text,
    pairs: *const pocketbert_text,
    count: usize,
    options: *const pocketbert_classify_options,
    result: *mut *mut pocketbert_classification,
) -> pocketbert_status {
    call("pocketbert_classify_batch", || {
        // SAFETY: the caller's promise; the texts are used during the call alone.
        let inputs = || unsafe { args::inputs(texts, pairs, count) };
        // SAFETY: the caller's promise.
        unsafe { classify(model, inputs, options, result) }
    })
}

/// Writes how many answers there are.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_classification_count(
    result: *const pocketbert_classification,
    count: *mut usize,
) -> pocketbert_status {
    call("pocketbert_classification_count", || {
        let r = handle::get::<Classified>(result)?;
        // SAFETY: the caller's promise.
        unsafe { Out::new("count", count) }?.set(r.answers.len());
        Ok::<_, Error>(())
    })
}

/// Writes answer `item`.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_classification_get(
    result: *const pocketbert_classification,
    item: usize,
    answer: *mut pocketbert_classification_item,
) -> pocketbert_status {
    call("pocketbert_classification_get", || {
        let r = handle::get::<Classified>(result)?;
        // SAFETY: the caller's promise.
        let out = unsafe { Out::new("answer", answer) }?;
        let a = element("answer", &r.answers, item)?;
        out.set(pocketbert_classification_item {
            labels: a.labels.len(),
            logits: a.logits.as_ptr(),
            logit_count: a.logits.len(),
            tokens: a.token_count,
            truncated: i32::from(a.truncated),
            reserved: 0,
        });
        Ok::<_, Error>(())
    })
}

/// Writes label number `rank` of answer `item`; 0 is the most probable.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_classification_label(
    result: *const pocketbert_classification,
    item: usize,
    rank: usize,
    label: *mut pocketbert_label,
) -> pocketbert_status {
    call("pocketbert_classification_label", || {
        let r = handle::get::<Classified>(result)?;
        // SAFETY: the caller's promise.
        let out = unsafe { Out::new("label", label) }?;
        let l = element("label", &element("answer", &r.answers, item)?.labels, rank)?;
        let name = *element("label", element("answer", &r.names, item)?, rank)?;
        out.set(pocketbert_label {
            name: r.strings.c_str(name),
            index: l.index,
            probability: l.probability,
            logit: l.logit,
        });
        Ok::<_, Error>(())
    })
}

/// Frees a result, and all that was read from it.
#[unsafe(no_mangle)]
pub extern "C" fn pocketbert_classification_free(
    result: *mut pocketbert_classification,
) -> pocketbert_status {
    call("pocketbert_classification_free", || handle::remove::<Classified>(result).map(drop))
}
