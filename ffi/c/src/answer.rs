//! Question answering: stretches of a context of any length.

use std::ffi::c_char;

use pocketbert::error::{Error, Result};
use pocketbert::tasks::{AnswerOptions, Answers};

use crate::args::{self, Out, Sized, element, pocketbert_text};
use crate::boundary::call;
use crate::call::{
    Call, call_options, number, pocketbert_call_options, pocketbert_window_options, window_options,
};
use crate::error::Failure;
use crate::handle::{self, Kind, Object};
use crate::model::{of, pocketbert_model};
use crate::spans::pocketbert_place;
use crate::status::pocketbert_status;

/// How to answer. Fill it with `pocketbert_answer_options_default`.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct pocketbert_answer_options {
    /// `sizeof(pocketbert_answer_options)`.
    pub struct_size: u32,
    /// At most this many answers that do not overlap, 1 to 100. Default 1.
    pub top_k: u32,
    /// The longest answer in tokens, before it is widened to whole words. Default 30.
    pub max_tokens: u32,
    /// Not 0, the default: widen answers to whole words. 0 for languages without spaces.
    pub whole_words: u32,
    /// There is no answer if the null answer's score is above the best one's by more than this. NaN, the default: as
    /// the bundle says.
    pub no_answer: f32,
    /// Zero.
    pub reserved: u32,
    /// The head's name; NULL for the bundle's choice.
    pub head: *const c_char,
    /// How contexts are read that do not fit beside the question; NULL for the defaults.
    pub window: *const pocketbert_window_options,
    /// Threads, kernels, stopping; NULL for the defaults.
    pub call: *const pocketbert_call_options,
}

// SAFETY: numbers and pointers; the size is first.
unsafe impl Sized for pocketbert_answer_options {
    const NAME: &'static str = "pocketbert_answer_options";
    fn standard() -> Self {
        let o = AnswerOptions::default();
        pocketbert_answer_options {
            struct_size: size_of::<Self>() as u32,
            top_k: o.top_k as u32,
            max_tokens: o.max_tokens as u32,
            whole_words: u32::from(o.whole_words),
            no_answer: f32::NAN,
            reserved: 0,
            head: std::ptr::null(),
            window: std::ptr::null(),
            call: std::ptr::null(),
        }
    }
}

/// Fills in the defaults: one answer of at most 30 tokens, in whole words.
///
/// # Safety
/// `options` is good for writing.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_answer_options_default(
    options: *mut pocketbert_answer_options,
) -> pocketbert_status {
    // SAFETY: the caller's promise.
    call("pocketbert_answer_options_default", || unsafe { args::standard(options) })
}

/// What `pocketbert_answer` found, one item per question.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[derive(Debug)]
pub struct pocketbert_answers {
    _private: (),
}

/// What was found for one question.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct pocketbert_answers_item {
    /// Answers, for `pocketbert_answers_span`; also where `no_answer` says not to trust them.
    pub answers: usize,
    /// Windows in which the context was read.
    pub windows: usize,
    /// Not 0: the context does not answer the question, by the threshold.
    pub no_answer: i32,
    /// The null answer's logits less the best answer's: what the threshold is compared with.
    pub null_margin: f32,
    /// The null answer's score, the least over all windows.
    pub null_score: f32,
    /// Zero.
    pub reserved: i32,
}

/// A stretch of the context that may answer the question.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct pocketbert_answer_span {
    /// Where it is in the context.
    pub place: pocketbert_place,
    /// Probability of its start times that of its end, 0 to 1.
    pub score: f32,
    /// The logits of start and end, added. Answers are ranked by it.
    pub logit: f32,
}

/// What a `pocketbert_answers` stands for.
#[derive(Debug)]
pub(crate) struct Found(pub(crate) Vec<Answers>);

impl Object for Found {
    type C = pocketbert_answers;
    const KIND: Kind = Kind::Answers;
}

/// # Safety
/// As [`args::options`], for all that they point to.
unsafe fn read(o: &pocketbert_answer_options) -> Result<(AnswerOptions, Call)> {
    // SAFETY: the caller's promise.
    let (call, long) = unsafe { (call_options(o.call)?, window_options(o.window)?) };
    let options = AnswerOptions {
        top_k: o.top_k as usize,
        max_tokens: o.max_tokens as usize,
        whole_words: o.whole_words != 0,
        no_answer: number(o.no_answer),
        long: long.unwrap_or_default(),
        call: call.options.clone(),
    };
    Ok((options, call))
}

/// # Safety
/// As [`args::options`], for all that they point to.
unsafe fn answer(
    model: *const pocketbert_model,
    pairs: impl FnOnce() -> Result<Vec<(&'static str, &'static str)>, Failure>,
    options: *const pocketbert_answer_options,
    result: *mut *mut pocketbert_answers,
) -> Result<(), Failure> {
    let m = of(model)?;
    // SAFETY: the caller's promise.
    let (out, o) = unsafe { (Out::new("result", result)?, args::options(options)?) };
    // SAFETY: the caller's promise.
    let ((options, _call), head) = unsafe { (read(&o)?, args::name("head", o.head)?) };
    let found = m.engine.answer(head, &pairs()?, &options)?;
    out.set(handle::insert(Found(found))?);
    Ok(())
}

/// Answers one question from a context of any length: `*result`, to be freed with `pocketbert_answers_free`. `options`
/// may be NULL.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_answer(
    model: *const pocketbert_model,
    question: *const c_char,
    question_length: usize,
    context: *const c_char,
    context_length: usize,
    options: *const pocketbert_answer_options,
    result: *mut *mut pocketbert_answers,
) -> pocketbert_status {
    call("pocketbert_answer", || {
        // SAFETY: the caller's promise; the texts are used during the call alone.
        let pairs = || unsafe {
            let question = args::text("question", question, question_length)?;
            Ok(vec![(question, args::text("context", context, context_length)?)])
        };
        // SAFETY: the caller's promise.
        unsafe { answer(model, pairs, options, result) }
    })
}

/// Answers `count` questions, each from its own context.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_answer_batch(
    model: *const pocketbert_model,
    questions: *const pocketbert_text,
    contexts: *const pocketbert_text,
    count: usize,
    options: *const pocketbert_answer_options,
    result: *mut *mut pocketbert_answers,
) -> pocketbert_status {
    call("pocketbert_answer_batch", || {
        // SAFETY: the caller's promise; the texts are used during the call alone.
        let pairs = || unsafe {
            let questions = args::texts("questions", questions, count)?;
            Ok(questions.into_iter().zip(args::texts("contexts", contexts, count)?).collect())
        };
        // SAFETY: the caller's promise.
        unsafe { answer(model, pairs, options, result) }
    })
}

/// Writes how many items there are.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_answers_count(
    result: *const pocketbert_answers,
    count: *mut usize,
) -> pocketbert_status {
    call("pocketbert_answers_count", || {
        let r = handle::get::<Found>(result)?;
        // SAFETY: the caller's promise.
        unsafe { Out::new("count", count) }?.set(r.0.len());
        Ok::<_, Error>(())
    })
}

/// Writes what was found for question `item`.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_answers_get(
    result: *const pocketbert_answers,
    item: usize,
    found: *mut pocketbert_answers_item,
) -> pocketbert_status {
    call("pocketbert_answers_get", || {
        let r = handle::get::<Found>(result)?;
        // SAFETY: the caller's promise.
        let out = unsafe { Out::new("found", found) }?;
        let a = element("item", &r.0, item)?;
        out.set(pocketbert_answers_item {
            answers: a.answers.len(),
            windows: a.windows,
            no_answer: i32::from(a.no_answer),
            null_margin: a.null_margin,
            null_score: a.null_score,
            reserved: 0,
        });
        Ok::<_, Error>(())
    })
}

/// Writes answer number `rank` to question `item`; 0 is the best.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_answers_span(
    result: *const pocketbert_answers,
    item: usize,
    rank: usize,
    span: *mut pocketbert_answer_span,
) -> pocketbert_status {
    call("pocketbert_answers_span", || {
        let r = handle::get::<Found>(result)?;
        // SAFETY: the caller's promise.
        let out = unsafe { Out::new("span", span) }?;
        let a = element("answer", &element("item", &r.0, item)?.answers, rank)?;
        let place = pocketbert_place::new(a.bytes, a.chars, a.utf16);
        out.set(pocketbert_answer_span { place, score: a.score, logit: a.logit });
        Ok::<_, Error>(())
    })
}

/// Frees a result.
#[unsafe(no_mangle)]
pub extern "C" fn pocketbert_answers_free(result: *mut pocketbert_answers) -> pocketbert_status {
    call("pocketbert_answers_free", || handle::remove::<Found>(result).map(drop))
}
