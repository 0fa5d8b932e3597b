//! Whether a model is there yet, and how long calls took.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::model::{Model, OpenOptions};

/// How far a task object is from answering at full speed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum LoadState {
    /// The file was not opened yet; the first call will.
    Unloaded,
    /// A thread is opening it.
    Loading,
    /// It is open; weights may not be in memory yet, so the first call is slower.
    Loaded,
    /// It has answered once.
    Prewarmed,
}

impl LoadState {
    /// The name in lower case.
    pub fn name(self) -> &'static str {
        match self {
            LoadState::Unloaded => "unloaded",
            LoadState::Loading => "loading",
            LoadState::Loaded => "loaded",
            LoadState::Prewarmed => "prewarmed",
        }
    }
}

/// Times of one task object. The first call pays for what comes in lazily (pages of the weights, the plan,
/// scratch memory), so it is never mixed with the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Opening the model; `None` if it was opened by somebody else.
    pub load: Option<Duration>,
    /// The cold call: the first one, or the one that `prewarm` made.
    pub first_call: Option<Duration>,
    /// Calls after the first.
    pub warm_calls: u64,
    /// Time of all of them together.
    pub warm_total: Duration,
    /// The slowest of them.
    pub warm_max: Duration,
    /// Texts answered, over all calls.
    pub texts: u64,
    /// Tokens of these texts.
    pub tokens: u64,
    /// Texts that were cut to fit.
    pub truncated: u64,
}

/// A model that may still have to be opened.
#[derive(Debug)]
pub(super) struct Slot {
    source: Option<(PathBuf, OpenOptions)>,
    model: OnceLock<Arc<Model>>,
    state: AtomicU8,
    opening: Mutex<()>,
    metrics: Mutex<Metrics>,
}

impl Slot {
    pub(super) fn unloaded(path: &Path, options: &OpenOptions) -> Slot {
        Slot {
            source: Some((path.to_path_buf(), options.clone())),
            model: OnceLock::new(),
            state: AtomicU8::new(LoadState::Unloaded as u8),
            opening: Mutex::new(()),
            metrics: Mutex::default(),
        }
    }

    pub(super) fn loaded(model: Arc<Model>) -> Slot {
        Slot {
            source: None,
            model: OnceLock::from(model),
            state: AtomicU8::new(LoadState::Loaded as u8),
            opening: Mutex::new(()),
            metrics: Mutex::default(),
        }
    }

    pub(super) fn state(&self) -> LoadState {
        match self.state.load(Ordering::Acquire) {
            0 => LoadState::Unloaded,
            1 => LoadState::Loading,
            2 => LoadState::Loaded,
            _ => LoadState::Prewarmed,
        }
    }

    /// The model, opened now if need be. Other callers wait; after a failure the next one tries again.
    pub(super) fn model(&self) -> Result<&Arc<Model>> {
        if let Some(m) = self.model.get() {
            return Ok(m);
        }
        let _one = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(m) = self.model.get() {
            return Ok(m);
        }
        let (path, options) = self
            .source
            .as_ref()
            .ok_or_else(|| crate::Error::internal("a task object has neither a model nor a path"))?;
        self.state.store(LoadState::Loading as u8, Ordering::Release);
        let start = Instant::now();
        match Model::open(path, options) {
            Ok(m) => {
                self.with_metrics(|x| x.load = Some(start.elapsed()));
                let m = self.model.get_or_init(|| Arc::new(m));
                self.state.store(LoadState::Loaded as u8, Ordering::Release);
                Ok(m)
            }
            Err(e) => {
                self.state.store(LoadState::Unloaded as u8, Ordering::Release);
                Err(e)
            }
        }
    }

    pub(super) fn metrics(&self) -> Metrics {
        self.with_metrics(|m| m.clone())
    }

    /// Books a call that answered.
    pub(super) fn called(&self, time: Duration, texts: usize, tokens: usize, truncated: usize) {
        self.with_metrics(|m| {
            if m.first_call.is_none() {
                m.first_call = Some(time);
            } else {
                m.warm_calls += 1;
                m.warm_total += time;
                m.warm_max = m.warm_max.max(time);
            }
            m.texts += texts as u64;
            m.tokens += tokens as u64;
            m.truncated += truncated as u64;
        });
        self.state.store(LoadState::Prewarmed as u8, Ordering::Release);
    }

    fn with_metrics<T>(&self, f: impl FnOnce(&mut Metrics) -> T) -> T {
        f(&mut self.metrics.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
