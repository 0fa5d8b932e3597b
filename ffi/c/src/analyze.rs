//! Several heads at once, for one run of the encoder.

use std::ffi::c_char;

use pocketbert::error::{Error, Result};
use pocketbert::tasks::{Analysis, AnalyzeOptions, HeadAnalysis, HeadAnswer};

use crate::answer::{Found, pocketbert_answers};
use crate::args::{self, At, Out, Sized, Strings, element, pocketbert_text};
use crate::boundary::call;
use crate::call::{
    call_options, pocketbert_call_options, pocketbert_window_options, some, truncation, window_options,
};
use crate::classify::{Classified, pocketbert_classification};
use crate::error::Failure;
use crate::handle::{self, Kind, Object};
use crate::model::{of, pocketbert_model, task_number};
use crate::status::pocketbert_status;
use crate::tag::{Tags, pocketbert_tags};
use crate::vectors::{Vectors, pocketbert_vectors};

/// How to analyze. Fill it with `pocketbert_analyze_options_default`.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct pocketbert_analyze_options {
    /// `sizeof(pocketbert_analyze_options)`.
    pub struct_size: u32,
    /// Keep at most this many labels of a classification; 0, the default, for all.
    pub top_k: u32,
    /// A `pocketbert_truncation`.
    pub truncation: i32,
    /// The most tokens of a text, special tokens included; 0, the default: the model's.
    pub max_length: u32,
    /// Ask these heads only: `head_count` names.
    pub heads: *const *const c_char,
    /// How many; 0, the default, for all that can answer.
    pub head_count: usize,
    /// Ask this of the texts, too, with the heads that answer questions; NULL for no question.
    pub question: *const c_char,
    /// Read texts in windows, of any length; NULL, the default, to cut what is too long.
    pub window: *const pocketbert_window_options,
    /// Threads, kernels, stopping; NULL for the defaults.
    pub call: *const pocketbert_call_options,
}

// SAFETY: numbers and pointers; the size is first.
unsafe impl Sized for pocketbert_analyze_options {
    const NAME: &'static str = "pocketbert_analyze_options";
    fn standard() -> Self {
        pocketbert_analyze_options {
            struct_size: size_of::<Self>() as u32,
            top_k: 0,
            truncation: 0,
            max_length: 0,
            heads: std::ptr::null(),
            head_count: 0,
            question: std::ptr::null(),
            window: std::ptr::null(),
            call: std::ptr::null(),
        }
    }
}

/// Fills in the defaults: every head, no question.
///
/// # Safety
/// `options` is good for writing.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_analyze_options_default(
    options: *mut pocketbert_analyze_options,
) -> pocketbert_status {
    // SAFETY: the caller's promise.
    call("pocketbert_analyze_options_default", || unsafe { args::standard(options) })
}

/// Answers of `pocketbert_analyze`: per text and head.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[derive(Debug)]
pub struct pocketbert_analysis {
    _private: (),
}

/// The answers for one text.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct pocketbert_analysis_item {
    /// Heads that answered.
    pub heads: usize,
    /// Tokens that the model saw, special tokens included.
    pub tokens: usize,
    /// Not 0: the text was cut to fit.
    pub truncated: i32,
    /// Zero.
    pub reserved: i32,
}

#[derive(Debug)]
struct Analyses {
    answers: Vec<Analysis>,
    strings: Strings,
    names: Vec<Vec<At>>,
}

impl Object for Analyses {
    type C = pocketbert_analysis;
    const KIND: Kind = Kind::Analysis;
}

impl Analyses {
    fn new(answers: Vec<Analysis>) -> Result<Analyses> {
        let mut strings = Strings::default();
        let names = answers.iter().map(|a| a.heads.iter().map(|h| strings.push(&h.head)).collect());
        let names = names.collect::<Result<_>>()?;
        Ok(Analyses { answers, strings, names })
    }

    fn head(&self, item: usize, head: usize) -> Result<&HeadAnalysis> {
        element("head", &element("answer", &self.answers, item)?.heads, head)
    }
}

/// # Safety
/// As [`args::options`], for all that they point to.
unsafe fn analyze(
    model: *const pocketbert_model,
    texts: impl FnOnce() -> Result<Vec<&'static str>, Failure>,
    options: *const pocketbert_analyze_options,
    result: *mut *mut pocketbert_analysis,
) -> Result<(), Failure> {
    let m = of(model)?;
    // SAFETY: the caller's promise.
    let (out, o) = unsafe { (Out::new("result", result)?, args::options(options)?) };
    // SAFETY: the caller's promise.
    let (call, heads) = unsafe { (call_options(o.call)?, args::names("heads", o.heads, o.head_count)?) };
    // SAFETY: the caller's promise.
    let (question, long) = unsafe { (args::name("question", o.question)?, window_options(o.window)?) };
    let options = AnalyzeOptions {
        heads: heads.into_iter().map(str::to_string).collect(),
        top_k: some(o.top_k),
        question: question.map(str::to_string),
        truncation: truncation(o.truncation)?,
        max_length: some(o.max_length),
        call: call.options.clone(),
    };
    let answers = m.engine.analyze(&texts()?, &options, long.as_ref())?;
    out.set(handle::insert(Analyses::new(answers)?)?);
    Ok(())
}

/// Asks heads about one text: `*result`, to be freed with `pocketbert_analysis_free`. `options` may be NULL.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_analyze(
    model: *const pocketbert_model,
    text: *const c_char,
    length: usize,
    options: *const pocketbert_analyze_options,
    result: *mut *mut pocketbert_analysis,
) -> pocketbert_status {
    call("pocketbert_analyze", || {
        // SAFETY: the caller's promise; the text is used during the call alone.
        let texts = || Ok(vec![unsafe { args::text("text", text, length) }?]);
        // SAFETY: the caller's promise.
        unsafe { analyze(model, texts, options, result) }
    })
}

/// Asks heads about `count` texts; each answer is, bit for bit, the one that the text gets alone.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_analyze_batch(
    model: *const pocketbert_model,
    texts: *const pocketbert_text,
    count: usize,
    options: *const pocketbert_analyze_options,
    result: *mut *mut pocketbert_analysis,
) -> pocketbert_status {
    call("pocketbert_analyze_batch", || {
        // SAFETY: the caller's promise; the texts are used during the call alone.
        let texts = || unsafe { args::texts("texts", texts, count) };
        // SAFETY: the caller's promise.
        unsafe { analyze(model, texts, options, result) }
    })
}

/// Writes how many answers there are.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_analysis_count(
    result: *const pocketbert_analysis,
    count: *mut usize,
) -> pocketbert_status {
    call("pocketbert_analysis_count", || {
        let r = handle::get::<Analyses>(result)?;
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
pub unsafe extern "C" fn pocketbert_analysis_get(
    result: *const pocketbert_analysis,
    item: usize,
    answer: *mut pocketbert_analysis_item,
) -> pocketbert_status {
    call("pocketbert_analysis_get", || {
        let r = handle::get::<Analyses>(result)?;
        // SAFETY: the caller's promise.
        let out = unsafe { Out::new("answer", answer) }?;
        let a = element("answer", &r.answers, item)?;
        out.set(pocketbert_analysis_item {
            heads: a.heads.len(),
            tokens: a.token_count,
            truncated: i32::from(a.truncated),
            reserved: 0,
        });
        Ok::<_, Error>(())
    })
}

/// Writes the name of head `head` in answer `item` (good until the result is freed) and its task (a `pocketbert_task`),
/// which says which of the next functions gives its answer.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_analysis_head(
    result: *const pocketbert_analysis,
    item: usize,
    head: usize,
    name: *mut *const c_char,
    task: *mut i32,
) -> pocketbert_status {
    call("pocketbert_analysis_head", || {
        let r = handle::get::<Analyses>(result)?;
        // SAFETY: the caller's promise.
        let (name, task) = unsafe { (Out::new("name", name)?, Out::new("task", task)?) };
        let h = r.head(item, head)?;
        name.set(r.strings.c_str(*element("head", element("answer", &r.names, item)?, head)?));
        task.set(task_number(h.task));
        Ok::<_, Error>(())
    })
}

fn other(h: &HeadAnalysis, what: &str) -> Error {
    Error::invalid(format!("head `{}` gives no {what}: see its task", h.head))
}

/// Makes a result of one item of a head that classifies: `*answer`, to be freed like any other.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_analysis_classification(
    result: *const pocketbert_analysis,
    item: usize,
    head: usize,
    answer: *mut *mut pocketbert_classification,
) -> pocketbert_status {
    call("pocketbert_analysis_classification", || {
        let r = handle::get::<Analyses>(result)?;
        // SAFETY: the caller's promise.
        let out = unsafe { Out::new("answer", answer) }?;
        let h = r.head(item, head)?;
        let HeadAnswer::Labels(a) = &h.answer else { return Err(other(h, "labels")) };
        out.set(handle::insert(Classified::new(vec![a.clone()])?)?);
        Ok(())
    })
}

/// The same of a head that tags.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_analysis_tags(
    result: *const pocketbert_analysis,
    item: usize,
    head: usize,
    answer: *mut *mut pocketbert_tags,
) -> pocketbert_status {
    call("pocketbert_analysis_tags", || {
        let r = handle::get::<Analyses>(result)?;
        // SAFETY: the caller's promise.
        let out = unsafe { Out::new("answer", answer) }?;
        let h = r.head(item, head)?;
        let HeadAnswer::Tags(a) = &h.answer else { return Err(other(h, "tags")) };
        out.set(handle::insert(Tags::new(vec![a.clone()])?)?);
        Ok(())
    })
}

/// The same of a head that makes vectors.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_analysis_vectors(
    result: *const pocketbert_analysis,
    item: usize,
    head: usize,
    answer: *mut *mut pocketbert_vectors,
) -> pocketbert_status {
    call("pocketbert_analysis_vectors", || {
        let r = handle::get::<Analyses>(result)?;
        // SAFETY: the caller's promise.
        let out = unsafe { Out::new("answer", answer) }?;
        let h = r.head(item, head)?;
        let HeadAnswer::Vector(a) = &h.answer else { return Err(other(h, "vector")) };
        out.set(handle::insert(Vectors(vec![a.clone()]))?);
        Ok(())
    })
}

/// The same of a head that answers questions.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_analysis_answers(
    result: *const pocketbert_analysis,
    item: usize,
    head: usize,
    answer: *mut *mut pocketbert_answers,
) -> pocketbert_status {
    call("pocketbert_analysis_answers", || {
        let r = handle::get::<Analyses>(result)?;
        // SAFETY: the caller's promise.
        let out = unsafe { Out::new("answer", answer) }?;
        let h = r.head(item, head)?;
        let HeadAnswer::Answers(a) = &h.answer else { return Err(other(h, "answers")) };
        out.set(handle::insert(Found(vec![a.clone()]))?);
        Ok(())
    })
}

/// Frees a result. What was made of its heads stays.
#[unsafe(no_mangle)]
pub extern "C" fn pocketbert_analysis_free(result: *mut pocketbert_analysis) -> pocketbert_status {
    call("pocketbert_analysis_free", || handle::remove::<Analyses>(result).map(drop))
}
