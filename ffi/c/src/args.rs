//! Arguments from C: texts, arrays, outputs, options. Everything is checked before it is used; what cannot be checked
//! (that a pointer is good for so many bytes) is a rule of the header.

use std::ffi::{CStr, c_char};

use pocketbert::error::{Error, Result};
use pocketbert::tasks::TextInput;

use crate::error::Failure;

/// A text: `length` bytes of UTF-8, which may hold NUL. A `length` of `POCKETBERT_NUL_TERMINATED` stands for "up to
/// the first NUL". As an output, `data` also ends in NUL, which `length` does not count.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct pocketbert_text {
    /// The bytes. May be NULL if `length` is 0.
    pub data: *const c_char,
    /// How many.
    pub length: usize,
}

/// The length of a text that ends in NUL.
pub const POCKETBERT_NUL_TERMINATED: usize = usize::MAX;

/// The text `what` at `data`.
///
/// # Safety
/// `data` is good for reading `length` bytes (up to a NUL if that is asked for) for `'a`.
pub(crate) unsafe fn text<'a>(what: &str, data: *const c_char, length: usize) -> Result<&'a str> {
    if length == 0 {
        return Ok("");
    }
    if data.is_null() {
        return Err(Error::invalid(format!("`{what}` is NULL")));
    }
    let bytes = if length == POCKETBERT_NUL_TERMINATED {
        // SAFETY: the caller's promise: a NUL follows.
        unsafe { CStr::from_ptr(data) }.to_bytes()
    } else if length > isize::MAX as usize {
        return Err(Error::invalid(format!("`{what}` has an impossible length")));
    } else {
        // SAFETY: the caller's promise; the length fits.
        unsafe { std::slice::from_raw_parts(data.cast::<u8>(), length) }
    };
    std::str::from_utf8(bytes).map_err(|e| {
        Error::invalid(format!("`{what}` is not UTF-8 from byte {} on: convert it first", e.valid_up_to()))
    })
}

/// The C string `what`, which may be absent.
///
/// # Safety
/// As [`text`] of one that ends in NUL.
pub(crate) unsafe fn name<'a>(what: &str, data: *const c_char) -> Result<Option<&'a str>> {
    match data.is_null() {
        true => Ok(None),
        // SAFETY: the caller's promise.
        false => unsafe { text(what, data, POCKETBERT_NUL_TERMINATED) }.map(Some),
    }
}

/// The array `what`.
///
/// # Safety
/// `data` is good for reading `count` elements for `'a`.
pub(crate) unsafe fn array<'a, T>(what: &str, data: *const T, count: usize) -> Result<&'a [T]> {
    if count == 0 {
        return Ok(&[]);
    }
    if data.is_null() {
        return Err(Error::invalid(format!("`{what}` is NULL, but its count is not 0")));
    }
    if !data.is_aligned() || count.checked_mul(size_of::<T>()).is_none_or(|n| n > isize::MAX as usize) {
        return Err(Error::invalid(format!("`{what}` is not aligned, or has an impossible count")));
    }
    // SAFETY: the caller's promise; aligned, not NULL, and no larger than an object can be.
    Ok(unsafe { std::slice::from_raw_parts(data, count) })
}

/// The buffer `what`.
///
/// # Safety
/// `data` is good for writing `count` elements for `'a`, and nothing else uses it meanwhile.
pub(crate) unsafe fn buffer<'a, T>(what: &str, data: *mut T, count: usize) -> Result<&'a mut [T]> {
    // SAFETY: the caller's promise.
    unsafe { array(what, data.cast_const(), count) }?;
    match count {
        0 => Ok(&mut []),
        // SAFETY: the caller's promise; `array` checked the pointer and the size.
        n => Ok(unsafe { std::slice::from_raw_parts_mut(data, n) }),
    }
}

/// The texts `what`.
///
/// # Safety
/// As [`array`], and [`text`] for each element.
pub(crate) unsafe fn texts<'a>(
    what: &str,
    data: *const pocketbert_text,
    count: usize,
) -> Result<Vec<&'a str>, Failure> {
    // SAFETY: the caller's promise.
    let all = unsafe { array(what, data, count) }?;
    let mut texts = vec![];
    texts
        .try_reserve_exact(all.len())
        .map_err(|_| Error::exhausted(format!("no memory for {count} texts")))?;
    for (i, t) in all.iter().enumerate() {
        // SAFETY: the caller's promise.
        let t = unsafe { text(what, t.data, t.length) };
        texts.push(t.map_err(|e| Failure::from(e).within(format!("element {i}")))?);
    }
    Ok(texts)
}

/// The C strings `what`.
///
/// # Safety
/// As [`array`], and [`name`] for each element.
pub(crate) unsafe fn names<'a>(what: &str, data: *const *const c_char, count: usize) -> Result<Vec<&'a str>> {
    // SAFETY: the caller's promise.
    let all = unsafe { array(what, data, count) }?;
    let one = |(i, &p): (usize, &*const c_char)| {
        // SAFETY: the caller's promise.
        let name = unsafe { name(what, p) }?;
        name.ok_or_else(|| Error::invalid(format!("element {i} of `{what}` is NULL")))
    };
    all.iter().enumerate().map(one).collect()
}

/// Texts with what stands beside each; `pairs` may be NULL.
///
/// # Safety
/// As [`texts`].
pub(crate) unsafe fn inputs<'a>(
    data: *const pocketbert_text,
    pairs: *const pocketbert_text,
    count: usize,
) -> Result<Vec<TextInput<'a>>, Failure> {
    // SAFETY: the caller's promise.
    let first = unsafe { texts("texts", data, count) }?;
    if pairs.is_null() {
        return Ok(first.into_iter().map(TextInput::from).collect());
    }
    // SAFETY: the caller's promise.
    let second = unsafe { texts("pairs", pairs, count) }?;
    Ok(first.into_iter().zip(second).map(TextInput::from).collect())
}

/// Where an output goes.
#[derive(Debug)]
pub(crate) struct Out<T>(*mut T);

impl<T> Out<T> {
    /// The output `what`.
    ///
    /// # Safety
    /// `at` is good for writing one `T` until the call returns.
    pub(crate) unsafe fn new(what: &str, at: *mut T) -> Result<Out<T>> {
        match at.is_null() || !at.is_aligned() {
            true => Err(Error::invalid(format!("the output `{what}` is NULL or not aligned"))),
            false => Ok(Out(at)),
        }
    }

    /// Writes it: the last thing that a call does.
    pub(crate) fn set(self, value: T) {
        // SAFETY: `new`'s promise.
        unsafe { self.0.write(value) };
    }
}

/// An options struct: plain data whose first field is its size.
///
/// # Safety
/// `#[repr(C)]`, its first field is `struct_size: u32`, and every field may have any bits (numbers, pointers and
/// optional function pointers).
pub(crate) unsafe trait Sized: Copy {
    const NAME: &'static str;
    /// All fields at their defaults, the size filled in.
    fn standard() -> Self;
}

/// Reads options: NULL means the defaults. A struct of a newer version is read if what this version does not know
/// is zero.
///
/// # Safety
/// `at` is NULL, or good for reading as many bytes as its first field says.
pub(crate) unsafe fn options<T: Sized>(at: *const T) -> Result<T> {
    if at.is_null() {
        return Ok(T::standard());
    }
    let (name, own) = (T::NAME, size_of::<T>());
    if !at.is_aligned() {
        return Err(Error::invalid(format!("the `{name}` is not aligned")));
    }
    // SAFETY: the caller's promise; the first field is a u32.
    let size = unsafe { at.cast::<u32>().read() } as usize;
    if size < own || size > 1 << 16 {
        return Err(Error::invalid(format!(
            "`struct_size` of the `{name}` is {size}, not {own}: fill it with `{name}_default`"
        )));
    }
    // SAFETY: the caller's promise: `size` bytes can be read.
    let rest = unsafe { std::slice::from_raw_parts(at.cast::<u8>().add(own), size - own) };
    if rest.iter().any(|&b| b != 0) {
        return Err(Error::invalid(format!(
            "the `{name}` has options of a newer version of the library that this one does not know"
        )));
    }
    // SAFETY: the caller's promise, and the trait's: any bits are a `T`.
    Ok(unsafe { at.read() })
}

/// Fills in defaults.
///
/// # Safety
/// `at` is good for writing a `T`.
pub(crate) unsafe fn standard<T: Sized>(at: *mut T) -> Result<()> {
    // SAFETY: the caller's promise.
    unsafe { Out::new("options", at) }?.set(T::standard());
    Ok(())
}

/// Strings of a result, one after another, each with a NUL behind it: one allocation, and pointers that C can use.
#[derive(Debug, Default)]
pub(crate) struct Strings(Vec<u8>);

/// Where a string is in [`Strings`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct At {
    start: usize,
    length: usize,
}

impl Strings {
    pub(crate) fn push(&mut self, s: &str) -> Result<At> {
        let at = At { start: self.0.len(), length: s.len() };
        self.0
            .try_reserve(s.len() + 1)
            .map_err(|_| Error::exhausted("no memory for the strings of a result"))?;
        self.0.extend_from_slice(s.as_bytes());
        self.0.push(0);
        Ok(at)
    }

    /// The string, for as long as `self` lives and nothing is pushed.
    pub(crate) fn get(&self, at: At) -> pocketbert_text {
        let bytes = self.0.get(at.start..at.start + at.length + 1).unwrap_or(&[0]);
        pocketbert_text { data: bytes.as_ptr().cast(), length: bytes.len() - 1 }
    }

    /// The same, by its NUL.
    pub(crate) fn c_str(&self, at: At) -> *const c_char {
        self.get(at).data
    }
}

/// Element `index` of a result.
pub(crate) fn element<'a, T>(what: &str, all: &'a [T], index: usize) -> Result<&'a T> {
    all.get(index).ok_or_else(|| {
        let n = all.len();
        Error::new(pocketbert::ErrorKind::NotFound, format!("there is no {what} {index}: there are {n}"))
    })
}

/// A pointer that goes to a callback as it came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context(pub *mut std::ffi::c_void);

// SAFETY: it is only handed back to the program that gave it, which promises that its callbacks may run on any thread.
unsafe impl Send for Context {}
// SAFETY: as for `Send`.
unsafe impl Sync for Context {}

impl Context {
    /// A method, so that closures capture the whole.
    pub(crate) fn get(self) -> *mut std::ffi::c_void {
        self.0
    }
}
