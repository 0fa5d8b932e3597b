//! Token classification: names, slots, parts of speech as labelled spans.

use std::ffi::c_char;

use pocketbert::error::{Error, Result};
use pocketbert::tasks::{Aggregation, TagOptions, TagScheme, Tagged};

use crate::args::{self, At, Out, Sized, Strings, element, pocketbert_text};
use crate::boundary::call;
use crate::call::{
    Call, call_options, number, one_of, pocketbert_call_options, pocketbert_window_options, some, truncation,
    window_options,
};
use crate::engine::Engine;
use crate::error::Failure;
use crate::handle::{self, Kind, Object};
use crate::model::{of, pocketbert_model};
use crate::spans::{pocketbert_place, pocketbert_span};
use crate::status::pocketbert_status;

/// How labels of tokens become labels of spans.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[repr(i32)]
#[derive(Clone, Copy, Debug)]
pub enum pocketbert_aggregation {
    /// A word has the label of its first token.
    POCKETBERT_AGGREGATE_FIRST = 0,
    /// Every token that is not outside, with its full label.
    POCKETBERT_AGGREGATE_NONE = 1,
    /// Neighbouring tokens of one kind are joined; a span may begin or end inside a word.
    POCKETBERT_AGGREGATE_SIMPLE = 2,
    /// A word has the label that is most probable on average over its tokens.
    POCKETBERT_AGGREGATE_AVERAGE = 3,
    /// A word has the label of its surest token.
    POCKETBERT_AGGREGATE_MAX = 4,
}

/// What the first letters of labels mean.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[repr(i32)]
#[derive(Clone, Copy, Debug)]
pub enum pocketbert_tag_scheme {
    /// As the bundle says, else what the labels look like.
    POCKETBERT_SCHEME_AS_BUNDLE = 0,
    /// `B-` begins a span, `I-` goes on or begins one.
    POCKETBERT_SCHEME_BIO = 1,
    /// The same, strictly: an `I-` that goes on with nothing is outside.
    POCKETBERT_SCHEME_IOB2 = 2,
    /// `B-` begins, `I-` goes on, `L-` ends, `U-` is a span of one.
    POCKETBERT_SCHEME_BILOU = 3,
    /// Labels stand for themselves.
    POCKETBERT_SCHEME_NONE = 4,
}

/// How to tag. Fill it with `pocketbert_tag_options_default`.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct pocketbert_tag_options {
    /// `sizeof(pocketbert_tag_options)`.
    pub struct_size: u32,
    /// A `pocketbert_aggregation`.
    pub aggregation: i32,
    /// A `pocketbert_tag_scheme`.
    pub scheme: i32,
    /// Leave out spans with a smaller score than this, 0 to 1. NaN, the default: none.
    pub threshold: f32,
    /// A `pocketbert_truncation`.
    pub truncation: i32,
    /// The most tokens of a text, special tokens included; 0, the default: the model's.
    pub max_length: u32,
    /// The head's name; NULL for the bundle's choice.
    pub head: *const c_char,
    /// Labels that make no span: `ignore_count` names. NULL, the default: `O` alone.
    pub ignore: *const *const c_char,
    /// How many.
    pub ignore_count: usize,
    /// Read texts of any length in windows; NULL: a text that is too long is cut.
    pub window: *const pocketbert_window_options,
    /// Threads, kernels, stopping; NULL for the defaults.
    pub call: *const pocketbert_call_options,
}

// SAFETY: numbers and pointers; the size is first.
unsafe impl Sized for pocketbert_tag_options {
    const NAME: &'static str = "pocketbert_tag_options";
    fn standard() -> Self {
        pocketbert_tag_options {
            struct_size: size_of::<Self>() as u32,
            aggregation: 0,
            scheme: 0,
            threshold: f32::NAN,
            truncation: 0,
            max_length: 0,
            head: std::ptr::null(),
            ignore: std::ptr::null(),
            ignore_count: 0,
            window: std::ptr::null(),
            call: std::ptr::null(),
        }
    }
}

/// Fills in the defaults: words by their first token, `O` left out.
///
/// # Safety
/// `options` is good for writing.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_tag_options_default(
    options: *mut pocketbert_tag_options,
) -> pocketbert_status {
    // SAFETY: the caller's promise.
    call("pocketbert_tag_options_default", || unsafe { args::standard(options) })
}

/// Answers of `pocketbert_tag`, one per text.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[derive(Debug)]
pub struct pocketbert_tags {
    _private: (),
}

/// The answer for one text.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct pocketbert_tags_item {
    /// Spans, for `pocketbert_tags_entity`.
    pub entities: usize,
    /// Tokens that the model saw, special tokens included.
    pub tokens: usize,
    /// Not 0: the text was cut to fit.
    pub truncated: i32,
    /// Zero.
    pub reserved: i32,
}

/// A labelled stretch of a text. There is no word in it: take the slice of your text.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct pocketbert_entity {
    /// The kind, such as `city`; good until the result is freed.
    pub label: *const c_char,
    /// Where it is. After `pocketbert_tag_words`: in the words joined by one space.
    pub place: pocketbert_place,
    /// After `pocketbert_tag_words`: which of the words; else 0 to 0.
    pub words: pocketbert_span,
    /// The mean probability of its words (with `POCKETBERT_AGGREGATE_SIMPLE` of its tokens).
    pub score: f32,
    /// Zero.
    pub reserved: i32,
}

/// Tags with strings that C can read.
#[derive(Debug)]
pub(crate) struct Tags {
    answers: Vec<Tagged>,
    strings: Strings,
    labels: Vec<Vec<At>>,
}

impl Object for Tags {
    type C = pocketbert_tags;
    const KIND: Kind = Kind::Tags;
}

impl Tags {
    pub(crate) fn new(answers: Vec<Tagged>) -> Result<Tags> {
        let mut strings = Strings::default();
        let labels = answers.iter().map(|a| a.entities.iter().map(|e| strings.push(&e.label)).collect());
        let labels = labels.collect::<Result<_>>()?;
        Ok(Tags { answers, strings, labels })
    }
}

/// # Safety
/// As [`args::options`], for all that they point to.
unsafe fn read(o: &pocketbert_tag_options) -> Result<(TagOptions, Call)> {
    use Aggregation as A;
    // SAFETY: the caller's promise.
    let (call, names) = unsafe { (call_options(o.call)?, args::names("ignore", o.ignore, o.ignore_count)?) };
    let schemes =
        [None, Some(TagScheme::Bio), Some(TagScheme::Iob2), Some(TagScheme::Bilou), Some(TagScheme::None)];
    let ignore = match o.ignore.is_null() {
        true => vec!["O".to_string()],
        false => names.into_iter().map(str::to_string).collect(),
    };
    let options = TagOptions {
        aggregation: one_of(
            "aggregation",
            o.aggregation,
            &[A::First, A::None, A::Simple, A::Average, A::Max],
        )?,
        scheme: one_of("scheme", o.scheme, &schemes)?,
        ignore,
        threshold: number(o.threshold),
        truncation: truncation(o.truncation)?,
        max_length: some(o.max_length),
        call: call.options.clone(),
    };
    Ok((options, call))
}

/// # Safety
/// As [`args::options`], for all that they point to.
unsafe fn tag(
    model: *const pocketbert_model,
    options: *const pocketbert_tag_options,
    result: *mut *mut pocketbert_tags,
    ask: impl FnOnce(
        &dyn Engine,
        Option<&str>,
        &TagOptions,
        Option<&pocketbert::tasks::LongOptions>,
    ) -> Result<Vec<Tagged>, Failure>,
) -> Result<(), Failure> {
    let m = of(model)?;
    // SAFETY: the caller's promise.
    let (out, o) = unsafe { (Out::new("result", result)?, args::options(options)?) };
    // SAFETY: the caller's promise.
    let (options, _call) = unsafe { read(&o) }?;
    // SAFETY: the caller's promise.
    let (head, long) = unsafe { (args::name("head", o.head)?, window_options(o.window)?) };
    let answers = ask(&*m.engine, head, &options, long.as_ref())?;
    out.set(handle::insert(Tags::new(answers)?)?);
    Ok(())
}

/// Tags one text: `*result`, to be freed with `pocketbert_tags_free`. `options` may be NULL.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_tag(
    model: *const pocketbert_model,
    text: *const c_char,
    length: usize,
    options: *const pocketbert_tag_options,
    result: *mut *mut pocketbert_tags,
) -> pocketbert_status {
    call("pocketbert_tag", || {
        // SAFETY: the caller's promise.
        unsafe {
            tag(model, options, result, |e, head, o, long| {
                Ok(e.tag(head, &[args::text("text", text, length)?], o, long)?)
            })
        }
    })
}

/// Tags `count` texts; each answer is, bit for bit, the one that the text gets alone.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_tag_batch(
    model: *const pocketbert_model,
    texts: *const pocketbert_text,
    count: usize,
    options: *const pocketbert_tag_options,
    result: *mut *mut pocketbert_tags,
) -> pocketbert_status {
    call("pocketbert_tag_batch", || {
        // SAFETY: the caller's promise.
        unsafe {
            tag(model, options, result, |e, head, o, long| {
                Ok(e.tag(head, &args::texts("texts", texts, count)?, o, long)?)
            })
        }
    })
}

/// Tags one text that is split into `count` words already; each entity says which words it has.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_tag_words(
    model: *const pocketbert_model,
    words: *const pocketbert_text,
    count: usize,
    options: *const pocketbert_tag_options,
    result: *mut *mut pocketbert_tags,
) -> pocketbert_status {
    call("pocketbert_tag_words", || {
        // SAFETY: the caller's promise.
        unsafe {
            tag(model, options, result, |e, head, o, long| {
                Ok(vec![e.tag_words(head, &args::texts("words", words, count)?, o, long)?])
            })
        }
    })
}

/// Writes how many answers there are.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_tags_count(
    result: *const pocketbert_tags,
    count: *mut usize,
) -> pocketbert_status {
    call("pocketbert_tags_count", || {
        let r = handle::get::<Tags>(result)?;
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
pub unsafe extern "C" fn pocketbert_tags_get(
    result: *const pocketbert_tags,
    item: usize,
    answer: *mut pocketbert_tags_item,
) -> pocketbert_status {
    call("pocketbert_tags_get", || {
        let r = handle::get::<Tags>(result)?;
        // SAFETY: the caller's promise.
        let out = unsafe { Out::new("answer", answer) }?;
        let a = element("answer", &r.answers, item)?;
        out.set(pocketbert_tags_item {
            entities: a.entities.len(),
            tokens: a.token_count,
            truncated: i32::from(a.truncated),
            reserved: 0,
        });
        Ok::<_, Error>(())
    })
}

/// Writes span `index` of answer `item`; they are in the order of the text and do not overlap.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_tags_entity(
    result: *const pocketbert_tags,
    item: usize,
    index: usize,
    entity: *mut pocketbert_entity,
) -> pocketbert_status {
    call("pocketbert_tags_entity", || {
        let r = handle::get::<Tags>(result)?;
        // SAFETY: the caller's promise.
        let out = unsafe { Out::new("entity", entity) }?;
        let e = element("entity", &element("answer", &r.answers, item)?.entities, index)?;
        let label = *element("entity", element("answer", &r.labels, item)?, index)?;
        out.set(pocketbert_entity {
            label: r.strings.c_str(label),
            place: pocketbert_place::new(e.bytes, e.chars, e.utf16),
            words: e.words.unwrap_or_default().into(),
            score: e.score,
            reserved: 0,
        });
        Ok::<_, Error>(())
    })
}

/// Frees a result, and all that was read from it.
#[unsafe(no_mangle)]
pub extern "C" fn pocketbert_tags_free(result: *mut pocketbert_tags) -> pocketbert_status {
    call("pocketbert_tags_free", || handle::remove::<Tags>(result).map(drop))
}
