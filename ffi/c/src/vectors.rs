//! Embeddings: vectors of texts, in three formats, and their comparison.

use std::ffi::c_char;

use pocketbert::bundle::manifest::Pooling;
use pocketbert::error::{Error, Result};
use pocketbert::tasks::{EmbedOptions, Embedding, Ranked, Role, VectorFormat, nearest};

use crate::args::{self, Out, Sized, element, pocketbert_text};
use crate::boundary::call;
use crate::call::{
    Call, call_options, choice, one_of, pocketbert_call_options, pocketbert_window_options, some, truncation,
    window_options,
};
use crate::error::Failure;
use crate::handle::{self, Kind, Object};
use crate::model::{of, pocketbert_model};
use crate::rerank::{Ranking, pocketbert_ranking};
use crate::status::pocketbert_status;

/// How the numbers of a vector are kept.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[repr(i32)]
#[derive(Clone, Copy, Debug)]
pub enum pocketbert_vector_format {
    /// Four bytes each.
    POCKETBERT_F32 = 0,
    /// Two bytes each.
    POCKETBERT_F16 = 1,
    /// One byte each, and one scale per vector.
    POCKETBERT_I8 = 2,
}

/// How rows of tokens become one vector.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[repr(i32)]
#[derive(Clone, Copy, Debug)]
pub enum pocketbert_pooling {
    /// As the bundle says, else the mean.
    POCKETBERT_POOL_AS_BUNDLE = 0,
    /// The first token's row.
    POCKETBERT_POOL_CLS = 1,
    /// The mean over the tokens.
    POCKETBERT_POOL_MEAN = 2,
    /// The largest value of each dimension.
    POCKETBERT_POOL_MAX = 3,
}

/// What a text is; some models want other words put in front of a query than of what is searched.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[repr(i32)]
#[derive(Clone, Copy, Debug)]
pub enum pocketbert_role {
    /// Nothing is put in front.
    POCKETBERT_ROLE_TEXT = 0,
    /// The bundle's prefix of a query.
    POCKETBERT_ROLE_QUERY = 1,
    /// The bundle's prefix of a document.
    POCKETBERT_ROLE_DOCUMENT = 2,
}

/// How to embed. Fill it with `pocketbert_embed_options_default`.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct pocketbert_embed_options {
    /// `sizeof(pocketbert_embed_options)`.
    pub struct_size: u32,
    /// A `pocketbert_pooling`.
    pub pooling: i32,
    /// A `pocketbert_choice`: divide the vector by its length.
    pub normalize: i32,
    /// Keep this many dimensions, the first; 0, the default, for all.
    pub dims: u32,
    /// A `pocketbert_vector_format`.
    pub format: i32,
    /// A `pocketbert_role`.
    pub role: i32,
    /// A `pocketbert_truncation`.
    pub truncation: i32,
    /// The most tokens of a text, special tokens included; 0, the default: the model's.
    pub max_length: u32,
    /// Put in front of the text instead of the role's prefix; NULL for that.
    pub prefix: *const c_char,
    /// The head's name; NULL for the bundle's choice.
    pub head: *const c_char,
    /// Read texts of any length in windows; NULL: a text that is too long is cut.
    pub window: *const pocketbert_window_options,
    /// Threads, kernels, stopping; NULL for the defaults.
    pub call: *const pocketbert_call_options,
}

// SAFETY: numbers and pointers; the size is first.
unsafe impl Sized for pocketbert_embed_options {
    const NAME: &'static str = "pocketbert_embed_options";
    fn standard() -> Self {
        pocketbert_embed_options {
            struct_size: size_of::<Self>() as u32,
            pooling: 0,
            normalize: 0,
            dims: 0,
            format: 0,
            role: 0,
            truncation: 0,
            max_length: 0,
            prefix: std::ptr::null(),
            head: std::ptr::null(),
            window: std::ptr::null(),
            call: std::ptr::null(),
        }
    }
}

/// Fills in the defaults: all dimensions in f32, as the bundle says.
///
/// # Safety
/// `options` is good for writing.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_embed_options_default(
    options: *mut pocketbert_embed_options,
) -> pocketbert_status {
    // SAFETY: the caller's promise.
    call("pocketbert_embed_options_default", || unsafe { args::standard(options) })
}

/// Vectors, which know what model made them: those of different models cannot be compared.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[derive(Debug)]
pub struct pocketbert_vectors {
    _private: (),
}

/// A vector.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct pocketbert_vector {
    /// Dimensions.
    pub dims: usize,
    /// A `pocketbert_vector_format`.
    pub format: i32,
    /// Not 0: it was divided by its length.
    pub unit: i32,
    /// Of `POCKETBERT_I8` the steps, good until the vectors are freed; else NULL.
    pub steps: *const i8,
    /// The size of a step; else 1.
    pub scale: f32,
    /// Zero.
    pub reserved: i32,
}

/// What a `pocketbert_vectors` stands for.
#[derive(Debug)]
pub(crate) struct Vectors(pub(crate) Vec<Embedding>);

impl Object for Vectors {
    type C = pocketbert_vectors;
    const KIND: Kind = Kind::Vectors;
}

impl Vectors {
    fn at(&self, index: usize) -> Result<&Embedding> {
        element("vector", &self.0, index)
    }
}

fn format(value: i32) -> Result<VectorFormat> {
    one_of("format", value, &[VectorFormat::F32, VectorFormat::F16, VectorFormat::I8])
}

/// # Safety
/// As [`args::options`], for all that they point to.
unsafe fn read(o: &pocketbert_embed_options) -> Result<(EmbedOptions, Call)> {
    // SAFETY: the caller's promise.
    let (call, prefix) = unsafe { (call_options(o.call)?, args::name("prefix", o.prefix)?) };
    let pooling = [None, Some(Pooling::Cls), Some(Pooling::Mean), Some(Pooling::Max)];
    let options = EmbedOptions {
        pooling: one_of("pooling", o.pooling, &pooling)?,
        normalize: choice("normalize", o.normalize)?,
        dims: some(o.dims),
        format: format(o.format)?,
        role: one_of("role", o.role, &[Role::Text, Role::Query, Role::Document])?,
        prefix: prefix.map(str::to_string),
        truncation: truncation(o.truncation)?,
        max_length: some(o.max_length),
        call: call.options.clone(),
    };
    Ok((options, call))
}

/// # Safety
/// As [`args::options`], for all that they point to.
unsafe fn embed(
    model: *const pocketbert_model,
    texts: impl FnOnce() -> Result<Vec<&'static str>, Failure>,
    options: *const pocketbert_embed_options,
    result: *mut *mut pocketbert_vectors,
) -> Result<(), Failure> {
    let m = of(model)?;
    // SAFETY: the caller's promise.
    let (out, o) = unsafe { (Out::new("result", result)?, args::options(options)?) };
    // SAFETY: the caller's promise.
    let (options, _call) = unsafe { read(&o) }?;
    // SAFETY: the caller's promise.
    let (head, long) = unsafe { (args::name("head", o.head)?, window_options(o.window)?) };
    let vectors = m.engine.embed(head, &texts()?, &options, long.as_ref())?;
    out.set(handle::insert(Vectors(vectors))?);
    Ok(())
}

/// Makes the vector of one text: `*result`, to be freed with `pocketbert_vectors_free`. `options` may be NULL.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_embed(
    model: *const pocketbert_model,
    text: *const c_char,
    length: usize,
    options: *const pocketbert_embed_options,
    result: *mut *mut pocketbert_vectors,
) -> pocketbert_status {
    call("pocketbert_embed", || {
        // SAFETY: the caller's promise; the text is used during the call alone.
        let texts = || Ok(vec![unsafe { args::text("text", text, length) }?]);
        // SAFETY: the caller's promise.
        unsafe { embed(model, texts, options, result) }
    })
}

/// Makes the vectors of `count` texts; each is, bit for bit, the one that the text gets alone.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_embed_batch(
    model: *const pocketbert_model,
    texts: *const pocketbert_text,
    count: usize,
    options: *const pocketbert_embed_options,
    result: *mut *mut pocketbert_vectors,
) -> pocketbert_status {
    call("pocketbert_embed_batch", || {
        // SAFETY: the caller's promise; the texts are used during the call alone.
        let texts = || unsafe { args::texts("texts", texts, count) };
        // SAFETY: the caller's promise.
        unsafe { embed(model, texts, options, result) }
    })
}

/// Writes how many vectors there are.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_vectors_count(
    vectors: *const pocketbert_vectors,
    count: *mut usize,
) -> pocketbert_status {
    call("pocketbert_vectors_count", || {
        let v = handle::get::<Vectors>(vectors)?;
        // SAFETY: the caller's promise.
        unsafe { Out::new("count", count) }?.set(v.0.len());
        Ok::<_, Error>(())
    })
}

/// Writes what vector `index` is.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_vectors_get(
    vectors: *const pocketbert_vectors,
    index: usize,
    vector: *mut pocketbert_vector,
) -> pocketbert_status {
    call("pocketbert_vectors_get", || {
        let v = handle::get::<Vectors>(vectors)?;
        // SAFETY: the caller's promise.
        let out = unsafe { Out::new("vector", vector) }?;
        let e = v.at(index)?;
        let (steps, scale) = e.steps().map_or((std::ptr::null(), 1.0), |(s, scale)| (s.as_ptr(), scale));
        let format = match e.format() {
            VectorFormat::F32 => pocketbert_vector_format::POCKETBERT_F32,
            VectorFormat::F16 => pocketbert_vector_format::POCKETBERT_F16,
            VectorFormat::I8 => pocketbert_vector_format::POCKETBERT_I8,
        };
        out.set(pocketbert_vector {
            dims: e.dims(),
            format: format as i32,
            unit: i32::from(e.is_unit()),
            steps,
            scale,
            reserved: 0,
        });
        Ok::<_, Error>(())
    })
}

/// Writes the numbers of vector `index` as floats to `values`, which has room for `capacity`. Too little room is
/// `POCKETBERT_INVALID_ARGUMENT`.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_vectors_values(
    vectors: *const pocketbert_vectors,
    index: usize,
    values: *mut f32,
    capacity: usize,
) -> pocketbert_status {
    call("pocketbert_vectors_values", || {
        let v = handle::get::<Vectors>(vectors)?;
        let e = v.at(index)?;
        // SAFETY: the caller's promise.
        let out = unsafe { args::buffer("values", values, capacity) }?;
        let out = out.get_mut(..e.dims()).ok_or_else(|| room("values", capacity, e.dims()))?;
        out.copy_from_slice(&e.values());
        Ok::<_, Error>(())
    })
}

fn room(what: &str, capacity: usize, needed: usize) -> Error {
    Error::invalid(format!("`{what}` has room for {capacity}: {needed} are needed"))
}

/// Writes to `*size` how many bytes vector `index` takes when it is stored, and with `bytes` not NULL the bytes
/// (little-endian, the same on every CPU). If `capacity` is less than that, nothing is written and the status is
/// `POCKETBERT_INVALID_ARGUMENT`; so ask with `bytes` of NULL first.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_vectors_store(
    vectors: *const pocketbert_vectors,
    index: usize,
    bytes: *mut u8,
    capacity: usize,
    size: *mut usize,
) -> pocketbert_status {
    call("pocketbert_vectors_store", || {
        let v = handle::get::<Vectors>(vectors)?;
        // SAFETY: the caller's promise.
        let size = unsafe { Out::new("size", size) }?;
        let all = v.at(index)?.to_bytes();
        if !bytes.is_null() {
            // SAFETY: the caller's promise.
            let out = unsafe { args::buffer("bytes", bytes, capacity) }?;
            out.get_mut(..all.len()).ok_or_else(|| room("bytes", capacity, all.len()))?.copy_from_slice(&all);
        }
        size.set(all.len());
        Ok::<_, Error>(())
    })
}

/// Reads `count` stored vectors, one after another in `length` bytes, which are checked: `*vectors`, to be freed with
/// `pocketbert_vectors_free`. All must have the same size.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_vectors_load(
    bytes: *const u8,
    length: usize,
    count: usize,
    vectors: *mut *mut pocketbert_vectors,
) -> pocketbert_status {
    call("pocketbert_vectors_load", || {
        // SAFETY: the caller's promise.
        let (out, bytes) = unsafe { (Out::new("vectors", vectors)?, args::array("bytes", bytes, length)?) };
        if count == 0 || !length.is_multiple_of(count) || length == 0 {
            return Err(Error::invalid(format!("{length} bytes are not {count} vectors of one size")));
        }
        let all = bytes.chunks_exact(length / count).map(Embedding::from_bytes).collect::<Result<_>>()?;
        out.set(handle::insert(Vectors(all))?);
        Ok(())
    })
}

/// Makes the same vectors with their first `dims` dimensions (0: all) in `format` (a `pocketbert_vector_format`):
/// `*result`, to be freed with `pocketbert_vectors_free`.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_vectors_convert(
    vectors: *const pocketbert_vectors,
    dims: usize,
    format: i32,
    result: *mut *mut pocketbert_vectors,
) -> pocketbert_status {
    call("pocketbert_vectors_convert", || {
        let v = handle::get::<Vectors>(vectors)?;
        // SAFETY: the caller's promise.
        let out = unsafe { Out::new("result", result) }?;
        let format = self::format(format)?;
        let one = |e: &Embedding| match dims {
            0 => e.to_format(format),
            n => e.truncated(n)?.to_format(format),
        };
        out.set(handle::insert(Vectors(v.0.iter().map(one).collect::<Result<_>>()?))?);
        Ok::<_, Error>(())
    })
}

/// Writes the cosine of the angle between vector `a_index` of `a` and vector `b_index` of `b`, -1 to 1.
/// `POCKETBERT_INVALID_ARGUMENT` for vectors of different models or dimensions.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_vectors_cosine(
    a: *const pocketbert_vectors,
    a_index: usize,
    b: *const pocketbert_vectors,
    b_index: usize,
    cosine: *mut f32,
) -> pocketbert_status {
    call("pocketbert_vectors_cosine", || {
        let (a, b) = (handle::get::<Vectors>(a)?, handle::get::<Vectors>(b)?);
        // SAFETY: the caller's promise.
        let out = unsafe { Out::new("cosine", cosine) }?;
        out.set(a.at(a_index)?.cosine(b.at(b_index)?)?);
        Ok::<_, Error>(())
    })
}

/// Writes the scalar product, otherwise as `pocketbert_vectors_cosine`.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_vectors_dot(
    a: *const pocketbert_vectors,
    a_index: usize,
    b: *const pocketbert_vectors,
    b_index: usize,
    dot: *mut f32,
) -> pocketbert_status {
    call("pocketbert_vectors_dot", || {
        let (a, b) = (handle::get::<Vectors>(a)?, handle::get::<Vectors>(b)?);
        // SAFETY: the caller's promise.
        let out = unsafe { Out::new("dot", dot) }?;
        out.set(a.at(a_index)?.dot(b.at(b_index)?)?);
        Ok::<_, Error>(())
    })
}

/// Ranks `candidates` by their cosine with vector `index` of `query`, at most `top_k` of them (0: all): `*ranking`, to be
/// freed with `pocketbert_ranking_free`.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_vectors_nearest(
    query: *const pocketbert_vectors,
    index: usize,
    candidates: *const pocketbert_vectors,
    top_k: usize,
    ranking: *mut *mut pocketbert_ranking,
) -> pocketbert_status {
    call("pocketbert_vectors_nearest", || {
        let (q, c) = (handle::get::<Vectors>(query)?, handle::get::<Vectors>(candidates)?);
        // SAFETY: the caller's promise.
        let out = unsafe { Out::new("ranking", ranking) }?;
        let top_k = if top_k == 0 { usize::MAX } else { top_k };
        let best = nearest(q.at(index)?, &c.0, top_k)?;
        let ranked = best.into_iter().map(|(index, score)| Ranked { index, score }).collect();
        out.set(handle::insert(Ranking(ranked))?);
        Ok::<_, Error>(())
    })
}

/// Frees vectors.
#[unsafe(no_mangle)]
pub extern "C" fn pocketbert_vectors_free(vectors: *mut pocketbert_vectors) -> pocketbert_status {
    call("pocketbert_vectors_free", || handle::remove::<Vectors>(vectors).map(drop))
}
