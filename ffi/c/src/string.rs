//! `pocketbert_string`: a text that the library made.

use crate::args::{At, Out, Strings, pocketbert_text};
use crate::boundary::call;
use crate::error::Failure;
use crate::handle::{self, Kind, Object};
use crate::status::pocketbert_status;
use pocketbert::error::{Error, Result};

/// A text that the library made, such as metrics.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[derive(Debug)]
pub struct pocketbert_string {
    _private: (),
}

struct Made {
    strings: Strings,
    at: At,
}

impl Object for Made {
    type C = pocketbert_string;
    const KIND: Kind = Kind::Text;
}

/// Hands `text` to C.
pub(crate) fn give(out: Out<*mut pocketbert_string>, text: &str) -> Result<(), Failure> {
    let mut strings = Strings::default();
    let at = strings.push(text)?;
    out.set(handle::insert(Made { strings, at })?);
    Ok(())
}

/// Writes where the text is. It ends in NUL, and is good until the string is freed.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_string_get(
    string: *const pocketbert_string,
    text: *mut pocketbert_text,
) -> pocketbert_status {
    call("pocketbert_string_get", || {
        let s = handle::get::<Made>(string)?;
        // SAFETY: the caller's promise.
        unsafe { Out::new("text", text) }?.set(s.strings.get(s.at));
        Ok::<_, Error>(())
    })
}

/// Frees a string.
#[unsafe(no_mangle)]
pub extern "C" fn pocketbert_string_free(string: *mut pocketbert_string) -> pocketbert_status {
    call("pocketbert_string_free", || handle::remove::<Made>(string).map(drop))
}
