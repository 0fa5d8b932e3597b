//! The library itself: version, facts for a support ticket, logging.

use std::sync::atomic::{AtomicBool, Ordering};

use pocketbert::kernels::Isa;

use crate::error::{Result, guard, invalid};

/// `JNI_OnLoad` ran.
pub(crate) static JNI_LOADED: AtomicBool = AtomicBool::new(false);

/// The library's version.
#[uniffi::export]
pub fn library_version() -> Result<String> {
    guard(|| Ok(env!("CARGO_PKG_VERSION").to_string()))
}

/// Whether a JVM loaded the library and ran `JNI_OnLoad`.
#[uniffi::export]
pub fn jni_loaded() -> Result<bool> {
    guard(|| Ok(JNI_LOADED.load(Ordering::Acquire)))
}

/// Facts for a support ticket as a JSON object: version, target, kernels. Names no text and no file.
#[uniffi::export]
pub fn diagnostics_json() -> Result<String> {
    guard(|| {
        let names: Vec<&str> = Isa::available().iter().map(|i| i.name()).collect();
        Ok(serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "os": std::env::consts::OS,
            "arch": std::env::consts::ARCH,
            "kernel": Isa::best().name(),
            "kernels": names,
            "cores": std::thread::available_parallelism().map_or(0, usize::from),
            "tokenizer_panics": pocketbert::text::caught_panics(),
            "jni": JNI_LOADED.load(Ordering::Acquire),
        })
        .to_string())
    })
}

/// How much is logged: `off` (at first), `error`, `warn`, `info`, `debug` or `trace`. On Android it goes to logcat
/// with the tag `PocketBERT`, elsewhere nowhere, unless `set_log_sink` was called. No level ever logs a text.
#[uniffi::export]
pub fn set_log_level(level: String) -> Result<()> {
    guard(|| {
        let level: log::LevelFilter = level.parse().map_err(|_| {
            invalid(format!(
                "unknown log level `{level}`: use `off`, `error`, `warn`, `info`, `debug` or `trace`"
            ))
        })?;
        crate::log_sink::install();
        log::set_max_level(level);
        Ok(())
    })
}

/// Panics on purpose, the way that a defect would.
#[cfg(feature = "dangerous-fault-injection")]
#[uniffi::export]
pub fn dangerous_panic(text: String) -> Result<()> {
    guard(|| {
        // The message quotes the text, as panics on string slices do.
        assert!(text.is_empty(), "injected: {text}");
        Ok(())
    })
}
