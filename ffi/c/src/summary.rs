//! Extractive summaries: a text's main sentences.

use std::ffi::c_char;

use pocketbert::error::{Error, Result};
use pocketbert::tasks::{Centrality, Summary, SummaryOptions};

use crate::args::{self, Out, Sized, element, pocketbert_text};
use crate::boundary::call;
use crate::call::{call_options, one_of, pocketbert_call_options};
use crate::error::Failure;
use crate::handle::{self, Kind, Object};
use crate::model::{of, pocketbert_model};
use crate::spans::pocketbert_place;
use crate::status::pocketbert_status;

/// How sentences are chosen.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[repr(i32)]
#[derive(Clone, Copy, Debug)]
pub enum pocketbert_centrality {
    /// Those nearest to the mean of all sentence vectors.
    POCKETBERT_CENTROID = 0,
    /// Those that a random walk over similar sentences visits most often.
    POCKETBERT_LEXRANK = 1,
    /// The first ones. Runs no model.
    POCKETBERT_LEAD = 2,
}

/// How to summarize. Fill it with `pocketbert_summary_options_default`.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct pocketbert_summary_options {
    /// `sizeof(pocketbert_summary_options)`.
    pub struct_size: u32,
    /// How many sentences to keep, at least 1. Default 3.
    pub sentences: u32,
    /// A `pocketbert_centrality`.
    pub centrality: i32,
    /// Zero.
    pub reserved: u32,
    /// The embedding head's name; NULL for the bundle's choice.
    pub head: *const c_char,
    /// Threads, kernels, stopping; NULL for the defaults.
    pub call: *const pocketbert_call_options,
}

// SAFETY: numbers and pointers; the size is first.
unsafe impl Sized for pocketbert_summary_options {
    const NAME: &'static str = "pocketbert_summary_options";
    fn standard() -> Self {
        pocketbert_summary_options {
            struct_size: size_of::<Self>() as u32,
            sentences: SummaryOptions::default().sentences as u32,
            centrality: 0,
            reserved: 0,
            head: std::ptr::null(),
            call: std::ptr::null(),
        }
    }
}

/// Fills in the defaults: three sentences.
///
/// # Safety
/// `options` is good for writing.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_summary_options_default(
    options: *mut pocketbert_summary_options,
) -> pocketbert_status {
    // SAFETY: the caller's promise.
    call("pocketbert_summary_options_default", || unsafe { args::standard(options) })
}

/// Summaries, one per text.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[derive(Debug)]
pub struct pocketbert_summary {
    _private: (),
}

/// A sentence of a summary.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct pocketbert_sentence {
    /// Its number in the text, from 0.
    pub index: usize,
    /// Where it is.
    pub place: pocketbert_place,
    /// How central it is; comparable within one text only.
    pub score: f32,
    /// Zero.
    pub reserved: i32,
}

/// What a `pocketbert_summary` stands for.
#[derive(Debug)]
struct Summaries(Vec<Summary>);

impl Object for Summaries {
    type C = pocketbert_summary;
    const KIND: Kind = Kind::Summary;
}

/// # Safety
/// As [`args::options`], for all that they point to.
unsafe fn summarize(
    model: *const pocketbert_model,
    texts: impl FnOnce() -> Result<Vec<&'static str>, Failure>,
    options: *const pocketbert_summary_options,
    result: *mut *mut pocketbert_summary,
) -> Result<(), Failure> {
    let m = of(model)?;
    // SAFETY: the caller's promise.
    let (out, o) = unsafe { (Out::new("result", result)?, args::options(options)?) };
    // SAFETY: the caller's promise.
    let (call, head) = unsafe { (call_options(o.call)?, args::name("head", o.head)?) };
    let ways = [Centrality::Centroid, Centrality::LexRank, Centrality::Lead];
    let options = SummaryOptions {
        sentences: o.sentences as usize,
        centrality: one_of("centrality", o.centrality, &ways)?,
        call: call.options.clone(),
    };
    let one = |t: &str| m.engine.summarize(head, t, &options);
    let summaries = texts()?.into_iter().map(one).collect::<Result<_>>()?;
    out.set(handle::insert(Summaries(summaries))?);
    Ok(())
}

/// Picks the main sentences of one text: `*result`, to be freed with `pocketbert_summary_free`. `options` may be NULL.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_summarize(
    model: *const pocketbert_model,
    text: *const c_char,
    length: usize,
    options: *const pocketbert_summary_options,
    result: *mut *mut pocketbert_summary,
) -> pocketbert_status {
    call("pocketbert_summarize", || {
        // SAFETY: the caller's promise; the text is used during the call alone.
        let texts = || Ok(vec![unsafe { args::text("text", text, length) }?]);
        // SAFETY: the caller's promise.
        unsafe { summarize(model, texts, options, result) }
    })
}

/// Picks the main sentences of each of `count` texts.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_summarize_batch(
    model: *const pocketbert_model,
    texts: *const pocketbert_text,
    count: usize,
    options: *const pocketbert_summary_options,
    result: *mut *mut pocketbert_summary,
) -> pocketbert_status {
    call("pocketbert_summarize_batch", || {
        // SAFETY: the caller's promise; the texts are used during the call alone.
        let texts = || unsafe { args::texts("texts", texts, count) };
        // SAFETY: the caller's promise.
        unsafe { summarize(model, texts, options, result) }
    })
}

/// Writes how many summaries there are.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_summary_count(
    result: *const pocketbert_summary,
    count: *mut usize,
) -> pocketbert_status {
    call("pocketbert_summary_count", || {
        let r = handle::get::<Summaries>(result)?;
        // SAFETY: the caller's promise.
        unsafe { Out::new("count", count) }?.set(r.0.len());
        Ok::<_, Error>(())
    })
}

/// Writes how many sentences summary `item` has, and of how many in the text.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_summary_get(
    result: *const pocketbert_summary,
    item: usize,
    sentences: *mut usize,
    of_sentences: *mut usize,
) -> pocketbert_status {
    call("pocketbert_summary_get", || {
        let r = handle::get::<Summaries>(result)?;
        // SAFETY: the caller's promise.
        let (a, b) = unsafe { (Out::new("sentences", sentences)?, Out::new("of_sentences", of_sentences)?) };
        let s = element("summary", &r.0, item)?;
        a.set(s.sentences.len());
        b.set(s.of);
        Ok::<_, Error>(())
    })
}

/// Writes sentence `index` of summary `item`; they are in the order of the text.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_summary_sentence(
    result: *const pocketbert_summary,
    item: usize,
    index: usize,
    sentence: *mut pocketbert_sentence,
) -> pocketbert_status {
    call("pocketbert_summary_sentence", || {
        let r = handle::get::<Summaries>(result)?;
        // SAFETY: the caller's promise.
        let out = unsafe { Out::new("sentence", sentence) }?;
        let s = element("sentence", &element("summary", &r.0, item)?.sentences, index)?;
        let place = pocketbert_place::new(s.bytes, s.chars, s.utf16);
        out.set(pocketbert_sentence { index: s.index, place, score: s.score, reserved: 0 });
        Ok::<_, Error>(())
    })
}

/// Frees a result.
#[unsafe(no_mangle)]
pub extern "C" fn pocketbert_summary_free(result: *mut pocketbert_summary) -> pocketbert_status {
    call("pocketbert_summary_free", || handle::remove::<Summaries>(result).map(drop))
}
