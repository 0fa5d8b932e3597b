//! Ranking: documents by how well they fit a query.

use std::ffi::c_char;

use pocketbert::error::{Error, Result};
use pocketbert::tasks::{Ranked, RerankOptions};

use crate::args::{self, Out, Sized, element, pocketbert_text};
use crate::boundary::call;
use crate::call::{
    call_options, pocketbert_call_options, pocketbert_window_options, some, truncation, window_options,
};
use crate::error::Failure;
use crate::handle::{self, Kind, Object};
use crate::model::{of, pocketbert_model};
use crate::status::pocketbert_status;

/// How to rank. Fill it with `pocketbert_rerank_options_default`.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct pocketbert_rerank_options {
    /// `sizeof(pocketbert_rerank_options)`.
    pub struct_size: u32,
    /// At most this many documents, the best; 0, the default, for all.
    pub top_k: u32,
    /// A `pocketbert_truncation`.
    pub truncation: i32,
    /// The most tokens of a text (of query and document together, where the model reads them so); 0, the default: the
    /// model's.
    pub max_length: u32,
    /// The head's name: one that makes vectors, tells entailment or gives one value; NULL for the bundle's choice.
    pub head: *const c_char,
    /// Read documents in windows, of any length, and merge their scores, usually by `POCKETBERT_MERGE_MAX`; NULL, the
    /// default, to cut what is too long. Progress counts the bytes of all documents.
    pub window: *const pocketbert_window_options,
    /// Threads, kernels, stopping; NULL for the defaults.
    pub call: *const pocketbert_call_options,
}

// SAFETY: numbers and pointers; the size is first.
unsafe impl Sized for pocketbert_rerank_options {
    const NAME: &'static str = "pocketbert_rerank_options";
    fn standard() -> Self {
        pocketbert_rerank_options {
            struct_size: size_of::<Self>() as u32,
            top_k: 0,
            truncation: 0,
            max_length: 0,
            head: std::ptr::null(),
            window: std::ptr::null(),
            call: std::ptr::null(),
        }
    }
}

/// Fills in the defaults: all documents.
///
/// # Safety
/// `options` is good for writing.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_rerank_options_default(
    options: *mut pocketbert_rerank_options,
) -> pocketbert_status {
    // SAFETY: the caller's promise.
    call("pocketbert_rerank_options_default", || unsafe { args::standard(options) })
}

/// Documents, or vectors, in their order.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[derive(Debug)]
pub struct pocketbert_ranking {
    _private: (),
}

/// What a `pocketbert_ranking` stands for.
#[derive(Debug)]
pub(crate) struct Ranking(pub(crate) Vec<Ranked>);

impl Object for Ranking {
    type C = pocketbert_ranking;
    const KIND: Kind = Kind::Ranking;
}

/// Ranks `count` documents by a query, the best first, of equals the earlier one: `*result`, to be freed with
/// `pocketbert_ranking_free`. `options` may be NULL.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_rerank(
    model: *const pocketbert_model,
    query: *const c_char,
    query_length: usize,
    documents: *const pocketbert_text,
    count: usize,
    options: *const pocketbert_rerank_options,
    result: *mut *mut pocketbert_ranking,
) -> pocketbert_status {
    call("pocketbert_rerank", || -> Result<(), Failure> {
        let m = of(model)?;
        // SAFETY: the caller's promise.
        let (out, o) = unsafe { (Out::new("result", result)?, args::options(options)?) };
        // SAFETY: the caller's promise.
        let (call, head) = unsafe { (call_options(o.call)?, args::name("head", o.head)?) };
        // SAFETY: the caller's promise.
        let long = unsafe { window_options(o.window) }?;
        // SAFETY: the caller's promise.
        let (query, documents) = unsafe {
            (args::text("query", query, query_length)?, args::texts("documents", documents, count)?)
        };
        let options = RerankOptions {
            top_k: some(o.top_k),
            truncation: truncation(o.truncation)?,
            max_length: some(o.max_length),
            call: call.options.clone(),
        };
        out.set(handle::insert(Ranking(m.engine.rerank(
            head,
            query,
            &documents,
            &options,
            long.as_ref(),
        )?))?);
        Ok(())
    })
}

/// Writes how many there are.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_ranking_count(
    ranking: *const pocketbert_ranking,
    count: *mut usize,
) -> pocketbert_status {
    call("pocketbert_ranking_count", || {
        let r = handle::get::<Ranking>(ranking)?;
        // SAFETY: the caller's promise.
        unsafe { Out::new("count", count) }?.set(r.0.len());
        Ok::<_, Error>(())
    })
}

/// Writes the index, among what was given, of number `rank`, and its score: a cosine, a probability that the query
/// entails the document, or the value of the model's head. 0 is the best.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_ranking_get(
    ranking: *const pocketbert_ranking,
    rank: usize,
    index: *mut usize,
    score: *mut f32,
) -> pocketbert_status {
    call("pocketbert_ranking_get", || {
        let r = handle::get::<Ranking>(ranking)?;
        // SAFETY: the caller's promise.
        let (index, score) = unsafe { (Out::new("index", index)?, Out::new("score", score)?) };
        let found = element("rank", &r.0, rank)?;
        index.set(found.index);
        score.set(found.score);
        Ok::<_, Error>(())
    })
}

/// Frees a ranking.
#[unsafe(no_mangle)]
pub extern "C" fn pocketbert_ranking_free(ranking: *mut pocketbert_ranking) -> pocketbert_status {
    call("pocketbert_ranking_free", || handle::remove::<Ranking>(ranking).map(drop))
}
