//! Version and build facts.

use std::ffi::{CStr, CString, c_char};
use std::sync::OnceLock;

/// The header's version; compare with `pocketbert_version_number` if header and library may differ.
pub const POCKETBERT_VERSION_MAJOR: u32 = 0;
/// The second part.
pub const POCKETBERT_VERSION_MINOR: u32 = 1;
/// The third part.
pub const POCKETBERT_VERSION_PATCH: u32 = 0;
/// `major * 1000000 + minor * 1000 + patch`.
pub const POCKETBERT_VERSION_NUMBER: u32 = 1000;

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

/// The library's `POCKETBERT_VERSION_NUMBER`.
#[unsafe(no_mangle)]
pub extern "C" fn pocketbert_version_number() -> u32 {
    POCKETBERT_VERSION_NUMBER
}

/// How the library was built, as JSON: version, target, compiler, optimisation, instruction sets. A static string.
#[unsafe(no_mangle)]
pub extern "C" fn pocketbert_build_info() -> *const c_char {
    static INFO: OnceLock<CString> = OnceLock::new();
    let make = || {
        let kernels: Vec<_> = pocketbert::kernels::Isa::ALL.iter().map(|i| i.name()).collect();
        let info = serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "target": env!("POCKETBERT_TARGET"),
            "rustc": env!("POCKETBERT_RUSTC"),
            "opt_level": env!("POCKETBERT_OPT_LEVEL"),
            "debug_assertions": cfg!(debug_assertions),
            "test_hooks": cfg!(feature = "dangerous-test-hooks"),
            "kernels": kernels,
        });
        crate::error::c_string(&info.to_string())
    };
    crate::boundary::value(c"{}".as_ptr(), || Some(INFO.get_or_init(make).as_ptr()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_macros_are_the_crates_version() {
        let parts = [POCKETBERT_VERSION_MAJOR, POCKETBERT_VERSION_MINOR, POCKETBERT_VERSION_PATCH];
        assert_eq!(parts.map(|p| p.to_string()).join("."), env!("CARGO_PKG_VERSION"));
        assert_eq!(POCKETBERT_VERSION_NUMBER, parts[0] * 1_000_000 + parts[1] * 1_000 + parts[2]);
        // SAFETY: a static string that ends in NUL.
        let text = unsafe { CStr::from_ptr(pocketbert_version()) };
        assert_eq!(text.to_str(), Ok(env!("CARGO_PKG_VERSION")));
    }
}
