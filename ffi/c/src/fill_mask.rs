//! Tokens for the gaps of a text.

use std::ffi::c_char;

use pocketbert::error::{Error, Result};
use pocketbert::tasks::{FillMaskOptions, MaskFill};

use crate::args::{self, At, Out, Sized, Strings, element, pocketbert_text};
use crate::boundary::call;
use crate::call::{
    call_options, pocketbert_call_options, pocketbert_window_options, some, truncation, window_options,
};
use crate::error::Failure;
use crate::handle::{self, Kind, Object};
use crate::model::{of, pocketbert_model};
use crate::spans::pocketbert_span;
use crate::status::pocketbert_status;

/// How to fill masks. Fill it with `pocketbert_fill_mask_options_default`.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct pocketbert_fill_mask_options {
    /// `sizeof(pocketbert_fill_mask_options)`.
    pub struct_size: u32,
    /// Candidates per mask, at least 1. Default 5.
    pub top_k: u32,
    /// A `pocketbert_truncation`.
    pub truncation: i32,
    /// The most tokens of a text, special tokens included; 0, the default: the model's.
    pub max_length: u32,
    /// Only these tokens, spelled as in the vocabulary: `target_count` names.
    pub targets: *const *const c_char,
    /// How many; 0, the default, for the whole vocabulary.
    pub target_count: usize,
    /// The head's name; NULL for the bundle's choice.
    pub head: *const c_char,
    /// Read texts of any length in windows; NULL: a text that is too long is cut.
    pub window: *const pocketbert_window_options,
    /// Threads, kernels, stopping; NULL for the defaults.
    pub call: *const pocketbert_call_options,
}

// SAFETY: numbers and pointers; the size is first.
unsafe impl Sized for pocketbert_fill_mask_options {
    const NAME: &'static str = "pocketbert_fill_mask_options";
    fn standard() -> Self {
        pocketbert_fill_mask_options {
            struct_size: size_of::<Self>() as u32,
            top_k: FillMaskOptions::default().top_k as u32,
            truncation: 0,
            max_length: 0,
            targets: std::ptr::null(),
            target_count: 0,
            head: std::ptr::null(),
            window: std::ptr::null(),
            call: std::ptr::null(),
        }
    }
}

/// Fills in the defaults: five candidates from the whole vocabulary.
///
/// # Safety
/// `options` is good for writing.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_fill_mask_options_default(
    options: *mut pocketbert_fill_mask_options,
) -> pocketbert_status {
    // SAFETY: the caller's promise.
    call("pocketbert_fill_mask_options_default", || unsafe { args::standard(options) })
}

/// Answers of `pocketbert_fill_mask`, one per text.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[derive(Debug)]
pub struct pocketbert_mask_fill {
    _private: (),
}

/// The answer for one text.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct pocketbert_mask_fill_item {
    /// Masks, in the order of the text.
    pub masks: usize,
    /// Tokens that the model saw, special tokens included.
    pub tokens: usize,
    /// Not 0: the text was cut to fit; masks in what was cut off are not among `masks`.
    pub truncated: i32,
    /// Zero.
    pub reserved: i32,
}

/// A token that may stand where the mask is. Strings are good until the result is freed.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct pocketbert_candidate {
    /// The token as the vocabulary spells it.
    pub token: *const c_char,
    /// The text with this mask replaced; other masks stay.
    pub filled: pocketbert_text,
    /// The token's id.
    pub id: u32,
    /// 0 to 1, over the whole vocabulary.
    pub probability: f32,
    /// What the model gave.
    pub logit: f32,
    /// Zero.
    pub reserved: i32,
}

#[derive(Debug)]
struct Filled {
    answers: Vec<MaskFill>,
    strings: Strings,
    /// By text, mask and candidate: token, and filled text.
    places: Vec<Vec<Vec<(At, At)>>>,
}

impl Object for Filled {
    type C = pocketbert_mask_fill;
    const KIND: Kind = Kind::MaskFill;
}

impl Filled {
    fn new(answers: Vec<MaskFill>) -> Result<Filled> {
        let mut s = Strings::default();
        let mut places = vec![];
        for a in &answers {
            let mut masks = vec![];
            for m in &a.masks {
                let one = m.candidates.iter().map(|c| Ok((s.push(&c.token)?, s.push(&c.filled)?)));
                masks.push(one.collect::<Result<_>>()?);
            }
            places.push(masks);
        }
        Ok(Filled { answers, strings: s, places })
    }
}

/// # Safety
/// As [`args::options`], for all that they point to.
unsafe fn fill(
    model: *const pocketbert_model,
    texts: impl FnOnce() -> Result<Vec<&'static str>, Failure>,
    options: *const pocketbert_fill_mask_options,
    result: *mut *mut pocketbert_mask_fill,
) -> Result<(), Failure> {
    let m = of(model)?;
    // SAFETY: the caller's promise.
    let (out, o) = unsafe { (Out::new("result", result)?, args::options(options)?) };
    // SAFETY: the caller's promise.
    let (call, head) = unsafe { (call_options(o.call)?, args::name("head", o.head)?) };
    // SAFETY: the caller's promise.
    let long = unsafe { window_options(o.window) }?;
    // SAFETY: the caller's promise.
    let targets = unsafe { args::names("targets", o.targets, o.target_count) }?;
    let options = FillMaskOptions {
        top_k: o.top_k as usize,
        targets: targets.into_iter().map(str::to_string).collect(),
        truncation: truncation(o.truncation)?,
        max_length: some(o.max_length),
        call: call.options.clone(),
    };
    let answers = m.engine.fill_mask(head, &texts()?, &options, long.as_ref())?;
    out.set(handle::insert(Filled::new(answers)?)?);
    Ok(())
}

/// Fills the masks of one text, each for itself: `*result`, to be freed with `pocketbert_mask_fill_free`. What a mask is
/// spelled like, `pocketbert_mask_token` says. `options` may be NULL.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_fill_mask(
    model: *const pocketbert_model,
    text: *const c_char,
    length: usize,
    options: *const pocketbert_fill_mask_options,
    result: *mut *mut pocketbert_mask_fill,
) -> pocketbert_status {
    call("pocketbert_fill_mask", || {
        // SAFETY: the caller's promise; the text is used during the call alone.
        let texts = || Ok(vec![unsafe { args::text("text", text, length) }?]);
        // SAFETY: the caller's promise.
        unsafe { fill(model, texts, options, result) }
    })
}

/// Fills the masks of `count` texts; each answer is, bit for bit, the one that the text gets alone.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_fill_mask_batch(
    model: *const pocketbert_model,
    texts: *const pocketbert_text,
    count: usize,
    options: *const pocketbert_fill_mask_options,
    result: *mut *mut pocketbert_mask_fill,
) -> pocketbert_status {
    call("pocketbert_fill_mask_batch", || {
        // SAFETY: the caller's promise; the texts are used during the call alone.
        let texts = || unsafe { args::texts("texts", texts, count) };
        // SAFETY: the caller's promise.
        unsafe { fill(model, texts, options, result) }
    })
}

/// Writes how many answers there are.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_mask_fill_count(
    result: *const pocketbert_mask_fill,
    count: *mut usize,
) -> pocketbert_status {
    call("pocketbert_mask_fill_count", || {
        let r = handle::get::<Filled>(result)?;
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
pub unsafe extern "C" fn pocketbert_mask_fill_get(
    result: *const pocketbert_mask_fill,
    item: usize,
    answer: *mut pocketbert_mask_fill_item,
) -> pocketbert_status {
    call("pocketbert_mask_fill_get", || {
        let r = handle::get::<Filled>(result)?;
        // SAFETY: the caller's promise.
        let out = unsafe { Out::new("answer", answer) }?;
        let a = element("answer", &r.answers, item)?;
        out.set(pocketbert_mask_fill_item {
            masks: a.masks.len(),
            tokens: a.token_count,
            truncated: i32::from(a.truncated),
            reserved: 0,
        });
        Ok::<_, Error>(())
    })
}

/// Writes the bytes of mask `mask` of text `item`, and how many candidates it has.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_mask_fill_mask(
    result: *const pocketbert_mask_fill,
    item: usize,
    mask: usize,
    span: *mut pocketbert_span,
    candidates: *mut usize,
) -> pocketbert_status {
    call("pocketbert_mask_fill_mask", || {
        let r = handle::get::<Filled>(result)?;
        // SAFETY: the caller's promise.
        let (span, candidates) = unsafe { (Out::new("span", span)?, Out::new("candidates", candidates)?) };
        let m = element("mask", &element("answer", &r.answers, item)?.masks, mask)?;
        span.set(m.span.into());
        candidates.set(m.candidates.len());
        Ok::<_, Error>(())
    })
}

/// Writes candidate number `rank` for mask `mask` of text `item`; 0 is the most probable.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_mask_fill_candidate(
    result: *const pocketbert_mask_fill,
    item: usize,
    mask: usize,
    rank: usize,
    candidate: *mut pocketbert_candidate,
) -> pocketbert_status {
    call("pocketbert_mask_fill_candidate", || {
        let r = handle::get::<Filled>(result)?;
        // SAFETY: the caller's promise.
        let out = unsafe { Out::new("candidate", candidate) }?;
        let m = element("mask", &element("answer", &r.answers, item)?.masks, mask)?;
        let c = element("candidate", &m.candidates, rank)?;
        let places = element("mask", element("answer", &r.places, item)?, mask)?;
        let (token, filled) = *element("candidate", places, rank)?;
        out.set(pocketbert_candidate {
            token: r.strings.c_str(token),
            filled: r.strings.get(filled),
            id: c.id,
            probability: c.probability,
            logit: c.logit,
            reserved: 0,
        });
        Ok::<_, Error>(())
    })
}

/// Frees a result, and all that was read from it.
#[unsafe(no_mangle)]
pub extern "C" fn pocketbert_mask_fill_free(result: *mut pocketbert_mask_fill) -> pocketbert_status {
    call("pocketbert_mask_fill_free", || handle::remove::<Filled>(result).map(drop))
}
