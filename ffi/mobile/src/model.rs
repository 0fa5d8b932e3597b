//! An open model: where it comes from, what it is, and how it is opened.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use pocketbert::bundle::{Bundle, OpenOptions as BundleOptions, Verify};
use pocketbert::model::{Model as CoreModel, OpenOptions as CoreOptions};
use pocketbert::{Error, ErrorKind};

use crate::call::count;
use crate::error::{Result, guard, invalid};
use crate::lazy::ModelState;
use crate::self_test::{SelfTest, self_test};

/// How to open a model.
#[derive(Clone, Copy, Debug, Default, uniffi::Record)]
pub struct OpenOptions {
    /// Read the file into memory instead of mapping it.
    pub copy_into_memory: bool,
    /// Check the weights' hash later or never.
    pub defer_weights_hash: bool,
    /// Open at the first call instead of now.
    pub defer: bool,
}

/// One thing a model can do.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct HeadInfo {
    /// Its name.
    pub name: String,
    /// What it does, such as `text-classification`.
    pub task: String,
    /// Its labels by index; empty where it has none.
    pub labels: Vec<String>,
    /// What it does, for people.
    pub description: String,
}

/// Facts of an open model.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct ModelInfo {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its licence; empty where it says none.
    pub license: String,
    /// What it is, for people.
    pub description: String,
    /// 64 hexadecimal digits that name it.
    pub fingerprint: String,
    /// Most tokens of one text.
    pub max_length: i32,
    /// Rows of the word embedding table.
    pub vocabulary: i32,
    /// Size of the bundle in bytes; 0 for other files.
    pub bytes: i64,
    /// What it can do; empty for other files than bundles.
    pub heads: Vec<HeadInfo>,
}

/// Where the bytes are.
#[derive(Debug)]
enum Source {
    Path(String),
    /// Taken when it is opened.
    Bytes(Mutex<Option<Vec<u8>>>),
    #[cfg(unix)]
    Descriptor {
        fd: std::os::fd::OwnedFd,
        offset: u64,
        length: u64,
    },
}

/// A model that several tasks share; weights are in memory once.
#[derive(Debug, uniffi::Object)]
pub struct Model {
    source: Source,
    options: OpenOptions,
    model: OnceLock<Arc<CoreModel>>,
    opening: Mutex<()>,
    loading: AtomicBool,
}

impl Model {
    fn new(source: Source, options: OpenOptions) -> pocketbert::Result<Arc<Model>> {
        let model = Model {
            source,
            options,
            model: OnceLock::new(),
            opening: Mutex::new(()),
            loading: AtomicBool::new(false),
        };
        if !options.defer {
            model.open()?;
        }
        Ok(Arc::new(model))
    }

    /// The model, opened now if need be. Other callers wait; after a failure the next one tries again.
    pub(crate) fn open(&self) -> pocketbert::Result<&Arc<CoreModel>> {
        if let Some(m) = self.model.get() {
            return Ok(m);
        }
        let _one = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(m) = self.model.get() {
            return Ok(m);
        }
        self.loading.store(true, Ordering::Release);
        let opened = self.read();
        self.loading.store(false, Ordering::Release);
        let opened = Arc::new(opened?);
        Ok(self.model.get_or_init(|| opened))
    }

    fn read(&self) -> pocketbert::Result<CoreModel> {
        let o = CoreOptions {
            copy_into_memory: self.options.copy_into_memory,
            defer_weights_hash: self.options.defer_weights_hash,
            ..CoreOptions::default()
        };
        match &self.source {
            Source::Path(p) => CoreModel::open(p, &o),
            Source::Bytes(b) => {
                let bytes = b.lock().unwrap_or_else(PoisonError::into_inner).take();
                let bytes = bytes.ok_or_else(|| {
                    Error::new(
                        ErrorKind::FailedPrecondition,
                        "the bytes were no bundle when they were opened first: give them again",
                    )
                })?;
                CoreModel::open_bytes(bytes, &o)
            }
            #[cfg(unix)]
            Source::Descriptor { fd, offset, length } => {
                let verify = if o.defer_weights_hash { Verify::DeferWeights } else { Verify::Full };
                let options = BundleOptions {
                    copy_into_memory: o.copy_into_memory,
                    verify,
                    ..BundleOptions::default()
                };
                CoreModel::from_bundle(Bundle::open_fd(fd, *offset, *length, &options)?)
            }
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.model.get().is_some()
    }

    pub(crate) fn load_state(&self) -> ModelState {
        match (self.is_open(), self.loading.load(Ordering::Acquire)) {
            (true, _) => ModelState::Loaded,
            (_, true) => ModelState::Loading,
            _ => ModelState::Unloaded,
        }
    }
}

#[uniffi::export]
impl Model {
    /// Opens a bundle, an `.onnx` file or a folder with one.
    #[uniffi::constructor]
    pub fn from_path(path: String, options: OpenOptions) -> Result<Arc<Model>> {
        guard(|| Model::new(Source::Path(path), options))
    }

    /// Opens a bundle that is in memory.
    #[uniffi::constructor]
    pub fn from_bytes(bytes: Vec<u8>, options: OpenOptions) -> Result<Arc<Model>> {
        guard(|| Model::new(Source::Bytes(Mutex::new(Some(bytes))), options))
    }

    /// Opens `length` bytes at `offset` of an open file, such as an uncompressed asset of an APK: mapped, any offset
    /// will do. The descriptor is duplicated; the caller keeps its own and may close it when this returns.
    #[uniffi::constructor]
    pub fn from_descriptor(fd: i32, offset: i64, length: i64, options: OpenOptions) -> Result<Arc<Model>> {
        guard(|| descriptor(fd, offset, length, options))
    }

    /// Opens the model if it is not open yet.
    pub fn load(&self) -> Result<()> {
        guard(|| self.open().map(|_| ()))
    }

    /// Whether it is open.
    pub fn state(&self) -> Result<ModelState> {
        guard(|| Ok(self.load_state()))
    }

    /// What it is; opens it if need be.
    pub fn info(&self) -> Result<ModelInfo> {
        guard(|| {
            let m = self.open()?;
            let (info, manifest) = (m.info(), m.bundle().map(|b| b.manifest()));
            let heads = manifest.map_or(&[][..], |m| &m.heads[..]).iter().map(|h| HeadInfo {
                name: h.name.clone(),
                task: crate::analyze::task_name(h.task),
                labels: h.labels.clone(),
                description: h.description.clone(),
            });
            Ok(ModelInfo {
                name: info.name.clone(),
                version: info.version.clone(),
                license: manifest.map_or(String::new(), |m| m.model.license.clone()),
                description: manifest.map_or(String::new(), |m| m.model.description.clone()),
                fingerprint: m.fingerprint().to_string(),
                max_length: count(info.max_length),
                vocabulary: count(info.vocab),
                bytes: m.bundle().map_or(0, |b| i64::try_from(b.size()).unwrap_or(i64::MAX)),
                heads: heads.collect(),
            })
        })
    }

    /// Checks the weights' hash, where opening left it out.
    pub fn verify_weights(&self) -> Result<()> {
        guard(|| self.open()?.verify_weights())
    }

    /// Runs the bundle's test cases on every kernel of this CPU.
    pub fn self_test(&self) -> Result<SelfTest> {
        guard(|| self_test(self.open()?))
    }

    /// Gives back the scratch memory that idle runs keep for the next one. Harmless at any time; does not open.
    pub fn trim_memory(&self) -> Result<()> {
        guard(|| {
            if let Some(m) = self.model.get() {
                m.plan().trim();
            }
            Ok(())
        })
    }
}

#[cfg(unix)]
fn descriptor(fd: i32, offset: i64, length: i64, options: OpenOptions) -> pocketbert::Result<Arc<Model>> {
    use std::os::fd::BorrowedFd;
    let number = |name: &str, n: i64| {
        u64::try_from(n).map_err(|_| invalid(format!("`{name}` is {n}: it cannot be negative")))
    };
    let (offset, length) = (number("offset", offset)?, number("length", length)?);
    if fd < 0 {
        return Err(invalid(format!("{fd} is no file descriptor")));
    }
    // SAFETY: not -1, and the caller keeps it open during this call; where nothing is open under the number,
    // duplicating it fails and nothing else happens.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    let fd = borrowed.try_clone_to_owned().map_err(|e| Error::io(format!("file descriptor {fd}"), &e))?;
    Model::new(Source::Descriptor { fd, offset, length }, options)
}

#[cfg(not(unix))]
fn descriptor(_: i32, _: i64, _: i64, _: OpenOptions) -> pocketbert::Result<Arc<Model>> {
    Err(Error::unimplemented("file descriptors can be opened on Unix only: give a path"))
}
