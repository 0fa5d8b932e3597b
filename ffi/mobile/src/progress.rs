//! How far a long text is read, told to the app's language.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use pocketbert::tasks::{LongProgress as Core, Progress};
use pocketbert::{Error, ErrorKind};

use crate::call::count;

/// How far a long text is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Record)]
pub struct LongProgress {
    /// Windows answered.
    pub windows: i32,
    /// Bytes up to the end of the last of them.
    pub done: i64,
    /// Bytes of the text; of several texts, or of heads that read it in passes of their own, all of them.
    pub total: i64,
}

/// Told how far a long text is read: on the thread of the call, after each window.
#[uniffi::export(with_foreign)]
pub trait ProgressListener: Send + Sync {
    /// `false` ends the call with code 1. Must not throw: what it throws ends the call with code 13.
    fn progressed(&self, progress: LongProgress) -> bool;
}

impl From<Core> for LongProgress {
    fn from(p: Core) -> LongProgress {
        let bytes = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        LongProgress { windows: count(p.windows), done: bytes(p.done), total: bytes(p.total) }
    }
}

/// As core takes it.
pub(crate) fn core(listener: Arc<dyn ProgressListener>) -> Progress {
    Progress::or_stop(move |p| {
        // An exception of the listener arrives as a panic, whose message may quote a text: it ends here.
        match catch_unwind(AssertUnwindSafe(|| listener.progressed(p.into()))) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::new(ErrorKind::Cancelled, "the progress listener stopped the call")),
            Err(_) => Err(Error::internal("the progress listener failed")),
        }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::call::Windowing;
    use crate::classify::{ClassifyOptions, TextClassifier};
    use crate::model::{Model, OpenOptions};

    struct Listener {
        told: Mutex<Vec<LongProgress>>,
        /// Windows after which it stops, or fails.
        stop: i32,
        fail: i32,
    }

    impl ProgressListener for Listener {
        fn progressed(&self, progress: LongProgress) -> bool {
            assert!(progress.windows != self.fail, "secret text");
            self.told.lock().unwrap().push(progress);
            progress.windows != self.stop
        }
    }

    #[test]
    fn listeners_are_told_stop_calls_and_may_fail() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/tiny.pbert");
        let model = Model::from_path(path.into(), OpenOptions::default()).unwrap();
        let classifier = TextClassifier::create(model, None).unwrap();
        let text = "will it rain tomorrow? ".repeat(100);
        let ask = |stop, fail| {
            let listener = Arc::new(Listener { told: Mutex::new(vec![]), stop, fail });
            let windows =
                Windowing { window: Some(64), progress: Some(listener.clone()), ..Windowing::default() };
            let options = ClassifyOptions {
                call: crate::CallOptions { threads: 1, ..Default::default() },
                ..ClassifyOptions::default()
            };
            let answer = classifier.classify_long(text.clone(), options, windows);
            (answer, std::mem::take(&mut *listener.told.lock().unwrap()))
        };
        let (answer, told) = ask(-1, -1);
        assert!(answer.is_ok() && told.len() > 5);
        assert!(told.iter().all(|p| p.total == text.len() as i64));
        assert!(told.windows(2).all(|p| p[0].done < p[1].done && p[0].windows + 1 == p[1].windows));
        let (stopped, told) = ask(2, -1);
        assert_eq!((stopped.unwrap_err().code(), told.len()), (ErrorKind::Cancelled as i32, 2));
        let (failed, told) = ask(-1, 3);
        let e = failed.unwrap_err();
        assert_eq!((e.code(), told.len()), (ErrorKind::Internal as i32, 2));
        assert!(!e.to_string().contains("secret"), "{e}");
    }
}
