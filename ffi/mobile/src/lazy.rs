//! A task on a model that may not be open yet, and what all tasks have in common.

use std::sync::{Arc, OnceLock};

use pocketbert::LoadState;
use pocketbert::metrics::{Metrics, Snapshot};

use crate::model::Model;

/// How far something is from answering at full speed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum ModelState {
    /// Not opened yet; the first call will.
    Unloaded,
    /// A thread is opening it.
    Loading,
    /// Open.
    Loaded,
    /// It has answered once.
    Prewarmed,
}

impl From<LoadState> for ModelState {
    fn from(s: LoadState) -> Self {
        match s {
            LoadState::Unloaded => ModelState::Unloaded,
            LoadState::Loading => ModelState::Loading,
            LoadState::Prewarmed => ModelState::Prewarmed,
            _ => ModelState::Loaded,
        }
    }
}

/// A task of core as this module uses it.
pub(crate) trait CoreTask: Sized {
    /// On an open model.
    fn make(model: Arc<pocketbert::model::Model>, head: Option<&str>) -> pocketbert::Result<Self>;
    fn state(&self) -> LoadState;
    fn prewarm(&self) -> pocketbert::Result<()>;
    fn metrics(&self) -> Metrics;
    fn snapshots(&self) -> Vec<Snapshot> {
        vec![self.metrics().snapshot()]
    }
}

/// A task that is made when it is first needed.
#[derive(Debug)]
pub(crate) struct Lazy<T> {
    model: Arc<Model>,
    head: Option<String>,
    task: OnceLock<T>,
}

impl<T: CoreTask> Lazy<T> {
    /// On `model`. If that is open the task is made here, so that a wrong head is told at once.
    pub fn new(model: Arc<Model>, head: Option<String>) -> pocketbert::Result<Lazy<T>> {
        let lazy = Lazy { model, head, task: OnceLock::new() };
        if lazy.model.is_open() {
            lazy.get()?;
        }
        Ok(lazy)
    }

    /// The task, made now if need be.
    pub fn get(&self) -> pocketbert::Result<&T> {
        if let Some(t) = self.task.get() {
            return Ok(t);
        }
        let task = T::make(self.model.open()?.clone(), self.head.as_deref())?;
        // Two threads may come here together: one of the tasks is dropped, and costs nothing.
        Ok(self.task.get_or_init(|| task))
    }

    pub fn state(&self) -> ModelState {
        match self.task.get() {
            Some(t) => t.state().into(),
            None => self.model.load_state(),
        }
    }
}

/// Implements [`CoreTask`] for a task of core that has the usual methods.
macro_rules! core_task {
    ($core:ty) => {
        impl crate::lazy::CoreTask for $core {
            fn make(
                model: std::sync::Arc<pocketbert::model::Model>,
                head: Option<&str>,
            ) -> pocketbert::Result<Self> {
                <$core>::from_model(model, head)
            }
            fn state(&self) -> pocketbert::LoadState {
                <$core>::state(self)
            }
            fn prewarm(&self) -> pocketbert::Result<()> {
                <$core>::prewarm(self)
            }
            fn metrics(&self) -> pocketbert::metrics::Metrics {
                <$core>::metrics(self)
            }
        }
    };
}

/// The exported methods that every task has, for an object that is a tuple struct over [`Lazy`].
macro_rules! common_methods {
    ($object:ident) => {
        #[uniffi::export]
        impl $object {
            /// A task on `model`; `head` names one of its heads, absent: the usual one.
            #[uniffi::constructor]
            pub fn create(
                model: std::sync::Arc<crate::model::Model>,
                head: Option<String>,
            ) -> crate::Result<std::sync::Arc<Self>> {
                crate::error::guard(|| Ok(std::sync::Arc::new($object(crate::lazy::Lazy::new(model, head)?))))
            }

            /// Opens the model if it is not open yet.
            pub fn load(&self) -> crate::Result<()> {
                crate::error::guard(|| self.0.get().map(|_| ()))
            }

            /// Opens the model if need be and answers something short, so that the next call is a warm one.
            pub fn prewarm(&self) -> crate::Result<()> {
                crate::error::guard(|| crate::lazy::CoreTask::prewarm(self.0.get()?))
            }

            /// How far it is from answering at full speed.
            pub fn state(&self) -> crate::Result<crate::lazy::ModelState> {
                crate::error::guard(|| Ok(self.0.state()))
            }

            /// The numbers of this object as a JSON array of snapshots.
            pub fn metrics_json(&self) -> crate::Result<String> {
                crate::error::guard(|| crate::metrics::json(self.0.get()?))
            }

            /// The same in the Prometheus text format.
            pub fn metrics_prometheus(&self) -> crate::Result<String> {
                crate::error::guard(|| crate::metrics::prometheus(self.0.get()?))
            }

            /// Counts from now on, or stops counting; answers less sure than `low_confidence` count as such.
            pub fn configure_metrics(&self, enabled: bool, low_confidence: Option<f32>) -> crate::Result<()> {
                crate::error::guard(|| crate::metrics::configure(self.0.get()?, enabled, low_confidence))
            }

            /// Compares what comes in with the bundle's baseline from now on; `false` if it has none.
            pub fn watch_drift(&self, window: Option<i64>, threshold: Option<f64>) -> crate::Result<bool> {
                crate::error::guard(|| {
                    crate::metrics::watch(self.0.get()?, self.0.model()?, window, threshold)
                })
            }

            /// The latest window that was compared.
            pub fn drift(&self) -> crate::Result<Option<crate::metrics::Drift>> {
                crate::error::guard(|| Ok(crate::metrics::drift(self.0.get()?)))
            }
        }
    };
}

pub(crate) use {common_methods, core_task};

impl<T: CoreTask> Lazy<T> {
    /// The open model.
    pub fn model(&self) -> pocketbert::Result<&Arc<pocketbert::model::Model>> {
        self.model.open()
    }
}
