//! The C ABI of PocketBERT.

use std::ffi::{CStr, c_char};

/// The library's version, such as `0.1.0`: a static string, never freed.
#[unsafe(no_mangle)]
pub extern "C" fn pocketbert_version() -> *const c_char {
    const VERSION: &CStr =
        match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
            Ok(version) => version,
            Err(_) => c"",
        };
    VERSION.as_ptr()
}
