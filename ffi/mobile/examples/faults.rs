//! A library for the bindings' tests alone: functions that panic the way that a defect would.
#![allow(missing_docs, clippy::undocumented_unsafe_blocks)]

use pocketbert_mobile::error::guard;
// The scaffolding of the library; a second one would have the same symbols.
use pocketbert_mobile::MobileError;
pub use pocketbert_mobile::UniFfiTag;

/// Panics inside the guard that every exported function has. The message quotes the text, as panics on slices do.
#[uniffi::export]
pub fn guarded(text: String) -> Result<(), MobileError> {
    guard(|| {
        assert!(text.is_empty(), "injected: {text}");
        Ok(())
    })
}

/// Panics outside of it.
#[uniffi::export]
pub fn bare(text: String) -> Result<(), MobileError> {
    assert!(text.is_empty(), "injected: {text}");
    Ok(())
}
