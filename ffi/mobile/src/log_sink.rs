//! The logger: to the app's language if it gave a sink, otherwise to logcat on Android and to nowhere elsewhere.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use log::{Log, Metadata, Record};

use crate::error::{Result, guard};

/// Takes what is logged. Called on any thread; must not call the library.
#[uniffi::export(with_foreign)]
pub trait LogSink: Send + Sync {
    /// One message: `level` is `error`, `warn`, `info`, `debug` or `trace`.
    fn write(&self, level: String, message: String);
}

/// The logger of this library: hands messages to the latest sink, or to the system where there is none.
pub(crate) struct ToSink(RwLock<Option<Arc<dyn LogSink>>>);

static LOGGER: OnceLock<ToSink> = OnceLock::new();

impl Log for ToSink {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // Only our own crates: what others log is not known to be free of texts.
        metadata.target().starts_with("pocketbert")
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let sink = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(sink) = sink else { return to_system(record) };
        let level = record.level().as_str().to_ascii_lowercase();
        let message = record.args().to_string();
        // An exception of the sink arrives as a panic. A log line must not end the call that wrote it.
        let _ = catch_unwind(AssertUnwindSafe(|| sink.write(level, message)));
    }

    fn flush(&self) {}
}

/// Logcat, with the tag `PocketBERT`.
#[cfg(target_os = "android")]
fn to_system(record: &Record<'_>) {
    static LOGCAT: OnceLock<android_logger::AndroidLogger> = OnceLock::new();
    let config =
        || android_logger::Config::default().with_tag("PocketBERT").with_max_level(log::LevelFilter::Trace);
    LOGCAT.get_or_init(|| android_logger::AndroidLogger::new(config())).log(record);
}

#[cfg(not(target_os = "android"))]
fn to_system(_: &Record<'_>) {}

/// Makes ours the process's logger; does nothing where one is set already.
pub(crate) fn install() -> &'static ToSink {
    let logger = LOGGER.get_or_init(|| ToSink(RwLock::new(None)));
    let _ = log::set_logger(logger);
    logger
}

/// Sends what is logged to `sink` from now on, in place of an earlier one. How much that is says `set_log_level`;
/// at first nothing.
#[uniffi::export]
pub fn set_log_sink(sink: Arc<dyn LogSink>) -> Result<()> {
    guard(|| {
        *install().0.write().unwrap_or_else(PoisonError::into_inner) = Some(sink);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Keep(Mutex<Vec<(String, String)>>);

    impl LogSink for Keep {
        fn write(&self, level: String, message: String) {
            assert!(message != "bad", "a sink that fails");
            self.0.lock().unwrap().push((level, message));
        }
    }

    #[test]
    fn the_latest_sink_gets_our_messages_and_may_fail() {
        let (first, second) = (Arc::new(Keep::default()), Arc::new(Keep::default()));
        set_log_sink(first.clone()).unwrap();
        set_log_sink(second.clone()).unwrap();
        let logger = LOGGER.get().unwrap();
        for (target, message) in [("pocketbert::model", "one"), ("tract_core", "two"), ("pocketbert", "bad")]
        {
            logger.log(
                &Record::builder()
                    .target(target)
                    .level(log::Level::Warn)
                    .args(format_args!("{message}"))
                    .build(),
            );
        }
        assert_eq!(*second.0.lock().unwrap(), [("warn".to_string(), "one".to_string())]);
        assert!(first.0.lock().unwrap().is_empty());
    }
}
