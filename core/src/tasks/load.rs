//! Whether a model is there yet.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use crate::error::Result;
use crate::metrics::Metrics;
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

/// A model that may still have to be opened.
#[derive(Debug)]
pub(super) struct Slot {
    source: Option<(PathBuf, OpenOptions)>,
    model: OnceLock<Arc<Model>>,
    state: AtomicU8,
    opening: Mutex<()>,
    metrics: Metrics,
}

impl Slot {
    pub(super) fn unloaded(path: &Path, options: &OpenOptions, metrics: Metrics) -> Slot {
        Slot {
            source: Some((path.to_path_buf(), options.clone())),
            model: OnceLock::new(),
            state: AtomicU8::new(LoadState::Unloaded as u8),
            opening: Mutex::new(()),
            metrics,
        }
    }

    pub(super) fn loaded(model: Arc<Model>, metrics: Metrics) -> Slot {
        Slot {
            source: None,
            model: OnceLock::from(model),
            state: AtomicU8::new(LoadState::Loaded as u8),
            opening: Mutex::new(()),
            metrics,
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
                self.metrics.loaded(start.elapsed());
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

    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// It has answered.
    pub(super) fn warmed(&self) {
        self.state.store(LoadState::Prewarmed as u8, Ordering::Release);
    }
}
