//! `pocketbert_model`: opening, closing, facts, self-test, load state.

use std::ffi::{c_char, c_void};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use pocketbert::bundle::source::Source;
use pocketbert::bundle::{Bundle, OpenOptions as BundleOptions};
use pocketbert::error::{Error, Result};
use pocketbert::memory;
use pocketbert::model::{Model, OpenOptions};

use crate::args::{self, Context, Out, Sized, Strings, element};
use crate::boundary::call;
use crate::engine::{Engine, Real, Task};
use crate::error::Failure;
use crate::handle::{self, Kind, Object};
use crate::ids::Ids;
use crate::log::{self, pocketbert_log_level};
use crate::status::pocketbert_status;

/// A model: weights, tokenizer, and what its tasks keep between calls. One serves any number of threads at a time.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[derive(Debug)]
pub struct pocketbert_model {
    _private: (),
}

/// What a `pocketbert_model` stands for.
pub(crate) struct ModelObject {
    pub(crate) engine: Box<dyn Engine>,
    facts: OnceLock<Facts>,
    ids: Mutex<Vec<Ids>>,
}

impl Object for ModelObject {
    type C = pocketbert_model;
    const KIND: Kind = Kind::Model;
}

impl ModelObject {
    pub(crate) fn new(engine: impl Engine + 'static) -> ModelObject {
        ModelObject { engine: Box::new(engine), facts: OnceLock::new(), ids: Mutex::default() }
    }

    fn ids(&self) -> std::sync::MutexGuard<'_, Vec<Ids>> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Room for a call's ids.
    pub(crate) fn take_ids(&self) -> Ids {
        self.ids().pop().unwrap_or_default()
    }

    /// For the next call.
    pub(crate) fn give_ids(&self, ids: Ids) {
        let mut all = self.ids();
        if ids.kept() && all.try_reserve(1).is_ok() {
            all.push(ids);
        }
    }
}

/// The engine of a handle.
pub(crate) fn of(model: *const pocketbert_model) -> Result<Arc<ModelObject>> {
    handle::get::<ModelObject>(model)
}

/// How to open a model. Fill it with `pocketbert_open_options_default`.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct pocketbert_open_options {
    /// `sizeof(pocketbert_open_options)`.
    pub struct_size: u32,
    /// Not 0: read the file into memory instead of mapping it, for files that may be changed in place, cut short or
    /// become unreadable while the model is open. Default 0.
    pub copy: u32,
    /// Not 0: do not check the weights' hash now (`pocketbert_model_verify` does). Everything else is always checked.
    /// Default 0.
    pub defer_hash: u32,
    /// Not 0: open at the first call, at `pocketbert_model_load` or `_prewarm`; `pocketbert_model_open` then returns at
    /// once, and they report what is wrong. Only of a path. Default 0.
    pub defer_open: u32,
    /// The most bytes that the model may hold: what would take more is `POCKETBERT_RESOURCE_EXHAUSTED` before it
    /// allocates, and the model answers on. Counted are a file that is copied into memory, what opening copies out of
    /// it, and for each run its values and working memory, which is kept for the next run. Not counted are mapped and
    /// borrowed bytes, graph and vocabulary (some megabytes), working memory of further threads of a call, texts,
    /// and results. 0, the default: no limit of ours.
    pub memory_limit: u64,
}

// SAFETY: numbers; the size is first.
unsafe impl Sized for pocketbert_open_options {
    const NAME: &'static str = "pocketbert_open_options";
    fn standard() -> Self {
        let struct_size = size_of::<Self>() as u32;
        pocketbert_open_options { struct_size, copy: 0, defer_hash: 0, defer_open: 0, memory_limit: 0 }
    }
}

/// Fills in the defaults: mapped, checked, opened at once, no limit.
///
/// # Safety
/// `options` is good for writing.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_open_options_default(
    options: *mut pocketbert_open_options,
) -> pocketbert_status {
    // SAFETY: the caller's promise.
    call("pocketbert_open_options_default", || unsafe { args::standard(options) })
}

/// Told that the library no longer reads memory that it borrowed.
#[allow(non_camel_case_types, reason = "the names are C's")]
pub type pocketbert_release_fn = Option<unsafe extern "C" fn(context: *mut c_void)>;

/// Reads a model from wherever the program keeps it: an archive, encrypted storage, an external flash chip.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct pocketbert_loader {
    /// `sizeof(pocketbert_loader)`.
    pub struct_size: u32,
    /// Zero.
    pub reserved: u32,
    /// Bytes of the bundle.
    pub size: u64,
    /// Given to the functions.
    pub context: *mut c_void,
    /// Puts up to `length` bytes from `offset` on into `buffer` and gives their number; 0 or less is a failure. Called
    /// on the opening thread, `offset` growing, until all bytes are there. It must not unwind.
    pub read: Option<
        unsafe extern "C" fn(context: *mut c_void, offset: u64, buffer: *mut c_void, length: usize) -> i64,
    >,
    /// Called once after the last read, whether opening works or not (but not if an argument is refused before any
    /// read); NULL for none. It must not unwind.
    pub close: Option<unsafe extern "C" fn(context: *mut c_void)>,
}

// SAFETY: numbers, a pointer and optional function pointers; the size is first.
unsafe impl Sized for pocketbert_loader {
    const NAME: &'static str = "pocketbert_loader";
    fn standard() -> Self {
        pocketbert_loader {
            struct_size: size_of::<Self>() as u32,
            reserved: 0,
            size: 0,
            context: std::ptr::null_mut(),
            read: None,
            close: None,
        }
    }
}

/// Fills in the size, and zero elsewhere.
///
/// # Safety
/// `loader` is good for writing.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_loader_default(loader: *mut pocketbert_loader) -> pocketbert_status {
    // SAFETY: the caller's promise.
    call("pocketbert_loader_default", || unsafe { args::standard(loader) })
}

struct How {
    model: OpenOptions,
    defer_open: bool,
}

impl How {
    /// Room for the bytes of a bundle.
    fn room(&self, length: usize) -> Result<Vec<u8>> {
        if let Some(limit) = self.model.memory_limit.filter(|&limit| length > limit) {
            return Err(Error::exhausted(format!(
                "a bundle of {length} bytes is over the `memory_limit` of {limit}"
            )));
        }
        memory::with_room(length)
    }
}

/// # Safety
/// As [`args::options`].
unsafe fn how(options: *const pocketbert_open_options) -> Result<How> {
    // SAFETY: the caller's promise.
    let o = unsafe { args::options(options) }?;
    Ok(How {
        model: OpenOptions {
            copy_into_memory: o.copy != 0,
            defer_weights_hash: o.defer_hash != 0,
            // What a `usize` cannot say is no limit.
            memory_limit: usize::try_from(o.memory_limit).ok().filter(|&limit| limit != 0),
            ..OpenOptions::default()
        },
        defer_open: o.defer_open != 0,
    })
}

fn publish(out: Out<*mut pocketbert_model>, engine: Real) -> Result<()> {
    out.set(handle::insert(ModelObject::new(engine))?);
    log::say(pocketbert_log_level::POCKETBERT_LOG_INFO, "a model was opened");
    Ok(())
}

/// Opens the model at `path` (UTF-8 or the system's bytes; a `.pbert` bundle, an `.onnx` file, or a folder with both
/// `model*.onnx` and `tokenizer.json`): `*model`, to be closed with `pocketbert_model_close`. `options` may be NULL.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_model_open(
    path: *const c_char,
    options: *const pocketbert_open_options,
    model: *mut *mut pocketbert_model,
) -> pocketbert_status {
    call("pocketbert_model_open", || {
        // SAFETY: the caller's promise.
        let (out, how) = unsafe { (Out::new("model", model)?, how(options)?) };
        // SAFETY: the caller's promise.
        let path = unsafe { path_of(path) }?;
        let engine = match how.defer_open {
            true => Real::deferred(Box::new(move || Model::open(&path, &how.model))),
            false => Real::open(Model::open(&path, &how.model)?),
        };
        publish(out, engine)
    })
}

/// # Safety
/// As [`args::name`].
unsafe fn path_of(path: *const c_char) -> Result<PathBuf> {
    if path.is_null() {
        return Err(Error::invalid("`path` is NULL"));
    }
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        // SAFETY: the caller's promise: it ends in NUL.
        let bytes = unsafe { std::ffi::CStr::from_ptr(path) }.to_bytes();
        Ok(PathBuf::from(std::ffi::OsStr::from_bytes(bytes)))
    }
    #[cfg(not(unix))]
    {
        // SAFETY: the caller's promise.
        let path = unsafe { args::name("path", path) }?;
        Ok(PathBuf::from(path.unwrap_or_default()))
    }
}

/// Opens a bundle from memory, which is copied.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_model_open_bytes(
    bytes: *const u8,
    length: usize,
    options: *const pocketbert_open_options,
    model: *mut *mut pocketbert_model,
) -> pocketbert_status {
    call("pocketbert_model_open_bytes", || {
        // SAFETY: the caller's promise.
        let (out, how) = unsafe { (Out::new("model", model)?, how(options)?) };
        // SAFETY: the caller's promise.
        let bytes = unsafe { args::array("bytes", bytes, length) }?;
        let mut copy = how.room(length)?;
        copy.extend_from_slice(bytes);
        publish(out, Real::open(Model::open_bytes(copy, &how.model)?))
    })
}

/// Memory that is somebody else's until it is dropped.
struct Borrowed {
    bytes: &'static [u8],
    release: pocketbert_release_fn,
    context: Context,
}

impl AsRef<[u8]> for Borrowed {
    fn as_ref(&self) -> &[u8] {
        self.bytes
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        if let Some(release) = self.release {
            // SAFETY: the promise of whoever lent the memory: a function of this type, good with this context.
            unsafe { release(self.context.get()) }
        }
    }
}

/// Opens a bundle from memory, which is used where it is: a model in flash that is linked into the program or mapped by
/// it. The bytes must stay readable and unchanged until `release` (NULL for memory that always stays) is called with
/// `context`: once, when the model is closed and its last call is over, on the thread that does the last of it. If
/// opening fails, `release` is called before this function returns, unless an argument is refused.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_model_open_borrowed(
    bytes: *const u8,
    length: usize,
    release: pocketbert_release_fn,
    context: *mut c_void,
    options: *const pocketbert_open_options,
    model: *mut *mut pocketbert_model,
) -> pocketbert_status {
    call("pocketbert_model_open_borrowed", || {
        // SAFETY: the caller's promise.
        let (out, how) = unsafe { (Out::new("model", model)?, how(options)?) };
        // SAFETY: the caller's promise: readable until `release` is called, which happens when this is dropped.
        let bytes: &'static [u8] = unsafe { args::array("bytes", bytes, length) }?;
        let lent = Borrowed { bytes, release, context: Context(context) };
        // Only whole bundles from memory: an ONNX file would need its tokenizer from elsewhere.
        let source = Source::from_owner(Arc::new(lent));
        publish(out, Real::open(Model::open_bundle(&how.model, |o| Bundle::open_bytes(source, o))?))
    })
}

/// Opens the bundle in `length` bytes at `offset` of an open regular file, such as an uncompressed asset of an Android
/// package. The file position is neither used nor moved; the descriptor stays the caller's and may be closed
/// afterwards. `POCKETBERT_UNIMPLEMENTED` on systems without descriptors (Windows).
///
/// # Safety
/// The rules at the top of the header; `fd` is open.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_model_open_fd(
    fd: i32,
    offset: u64,
    length: u64,
    options: *const pocketbert_open_options,
    model: *mut *mut pocketbert_model,
) -> pocketbert_status {
    call("pocketbert_model_open_fd", || {
        // SAFETY: the caller's promise.
        let (out, how) = unsafe { (Out::new("model", model)?, how(options)?) };
        if fd < 0 {
            return Err(Error::invalid(format!("{fd} is no file descriptor")));
        }
        #[cfg(unix)]
        {
            // SAFETY: the caller's promise: it is open during the call.
            let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
            let open = |o: &BundleOptions| Bundle::open_fd(fd, offset, length, o);
            publish(out, Real::open(Model::open_bundle(&how.model, open)?))
        }
        #[cfg(not(unix))]
        {
            let _ = (out, how, offset, length);
            Err(Error::unimplemented("this system has no file descriptors: open by path"))
        }
    })
}

/// Opens a bundle that `loader` reads into memory.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_model_open_loader(
    loader: *const pocketbert_loader,
    options: *const pocketbert_open_options,
    model: *mut *mut pocketbert_model,
) -> pocketbert_status {
    call("pocketbert_model_open_loader", || {
        // SAFETY: the caller's promise.
        let (out, how) = unsafe { (Out::new("model", model)?, how(options)?) };
        if loader.is_null() {
            return Err(Error::invalid("the `loader` is NULL"));
        }
        // SAFETY: the caller's promise.
        let l = unsafe { args::options(loader) }?;
        let read = l.read.ok_or_else(|| Error::invalid("the loader has no `read`"))?;
        struct Close(pocketbert_loader);
        impl Drop for Close {
            fn drop(&mut self) {
                if let Some(close) = self.0.close {
                    // SAFETY: the caller's promise: a function of this type, good with its context.
                    unsafe { close(self.0.context) }
                }
            }
        }
        let closing = Close(l);
        let size = usize::try_from(l.size).ok().filter(|_| l.size <= BundleOptions::default().max_size);
        let size =
            size.ok_or_else(|| Error::exhausted(format!("a bundle of {} bytes is too large", l.size)))?;
        let mut bytes = how.room(size)?;
        bytes.resize(size, 0);
        let mut done = 0;
        while let Some(rest) = bytes.get_mut(done..).filter(|r| !r.is_empty()) {
            // SAFETY: the caller's promise; the buffer is as long as it says.
            let n = unsafe { read(l.context, done as u64, rest.as_mut_ptr().cast(), rest.len()) };
            match usize::try_from(n) {
                Ok(n) if n > 0 && n <= rest.len() => done += n,
                _ => return Err(Error::data_loss(format!("the loader gave {n} at byte {done} of {size}"))),
            }
        }
        drop(closing);
        publish(out, Real::open(Model::open_bytes(bytes, &how.model)?))
    })
}

/// Closes a model. Its handle is no handle from now on, on every thread; calls that are under way end as if nothing had
/// happened, and the last of them (or this function, if there is none) frees the memory. Results and vectors outlive it.
#[unsafe(no_mangle)]
pub extern "C" fn pocketbert_model_close(model: *mut pocketbert_model) -> pocketbert_status {
    call("pocketbert_model_close", || {
        drop(handle::remove::<ModelObject>(model)?);
        log::say(pocketbert_log_level::POCKETBERT_LOG_INFO, "a model was closed");
        Ok::<_, Error>(())
    })
}

/// Tasks, for what is kept per task and head.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[repr(i32)]
#[derive(Clone, Copy, Debug)]
pub enum pocketbert_task {
    /// Labels of texts.
    POCKETBERT_TASK_CLASSIFY = 0,
    /// Labelled spans.
    POCKETBERT_TASK_TAG = 1,
    /// Answers to questions.
    POCKETBERT_TASK_ANSWER = 2,
    /// Main sentences.
    POCKETBERT_TASK_SUMMARIZE = 3,
    /// Vectors.
    POCKETBERT_TASK_EMBED = 4,
    /// Documents by a query.
    POCKETBERT_TASK_RERANK = 5,
    /// Tokens for gaps.
    POCKETBERT_TASK_FILL_MASK = 6,
    /// Labels that come with the call; as the task of a head: entailment.
    POCKETBERT_TASK_ZERO_SHOT = 7,
    /// Several heads at once.
    POCKETBERT_TASK_ANALYZE = 8,
}

pub(crate) fn task(task: i32) -> Result<Task> {
    use Task::*;
    crate::call::one_of(
        "task",
        task,
        &[Classify, Tag, Answer, Summarize, Embed, Rerank, FillMask, ZeroShot, Analyze],
    )
}

/// The number of a head's task.
pub(crate) fn task_number(task: pocketbert::bundle::manifest::Task) -> i32 {
    use pocketbert::bundle::manifest::Task as Head;
    let task = match task {
        Head::TextClassification => pocketbert_task::POCKETBERT_TASK_CLASSIFY,
        Head::TokenClassification => pocketbert_task::POCKETBERT_TASK_TAG,
        Head::QuestionAnswering => pocketbert_task::POCKETBERT_TASK_ANSWER,
        Head::Embedding => pocketbert_task::POCKETBERT_TASK_EMBED,
        Head::FillMask => pocketbert_task::POCKETBERT_TASK_FILL_MASK,
        Head::ZeroShot => pocketbert_task::POCKETBERT_TASK_ZERO_SHOT,
    };
    task as i32
}

/// How far a model is from answering at full speed.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[repr(i32)]
#[derive(Clone, Copy, Debug)]
pub enum pocketbert_load_state {
    /// Not open yet; the first call opens it.
    POCKETBERT_UNLOADED = 0,
    /// A thread is opening it.
    POCKETBERT_LOADING = 1,
    /// Open; weights may not be in memory yet, so the first call is slower.
    POCKETBERT_LOADED = 2,
    /// It has answered.
    POCKETBERT_PREWARMED = 3,
}

/// Writes a `pocketbert_load_state` to `*state`. Does not wait for a thread that opens the model.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_model_state(
    model: *const pocketbert_model,
    state: *mut i32,
) -> pocketbert_status {
    call("pocketbert_model_state", || {
        let m = of(model)?;
        // SAFETY: the caller's promise.
        unsafe { Out::new("state", state) }?.set(m.engine.state() as i32);
        Ok::<_, Error>(())
    })
}

/// Opens a model that was to be opened later; other calls wait. Does nothing if it is open.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn pocketbert_model_load(model: *const pocketbert_model) -> pocketbert_status {
    call("pocketbert_model_load", || of(model)?.engine.load())
}

/// Answers something short with `task` (a `pocketbert_task`) and its head `head` (NULL for the bundle's choice), so that
/// the next call is a warm one.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_model_prewarm(
    model: *const pocketbert_model,
    task: i32,
    head: *const c_char,
) -> pocketbert_status {
    call("pocketbert_model_prewarm", || {
        // SAFETY: the caller's promise.
        let head = unsafe { args::name("head", head) }?;
        of(model)?.engine.prewarm(self::task(task)?, head)
    })
}

/// Facts of a model. Strings live until the model is closed; they are never NULL.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct pocketbert_model_facts {
    /// Its name.
    pub name: *const c_char,
    /// Its version; empty where it has none.
    pub version: *const c_char,
    /// 64 hexadecimal digits that name these weights.
    pub fingerprint: *const c_char,
    /// The most tokens of one text, special tokens included.
    pub max_length: usize,
    /// Entries of the vocabulary.
    pub vocabulary: usize,
    /// Heads, for `pocketbert_model_head`; 0 if it is no bundle.
    pub heads: usize,
    /// Outputs, for `pocketbert_model_output`.
    pub outputs: usize,
}

/// A head of a bundle. Strings live until the model is closed.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct pocketbert_head {
    /// Its name.
    pub name: *const c_char,
    /// What it does, for people; may be empty.
    pub description: *const c_char,
    /// A `pocketbert_task`.
    pub task: i32,
    /// Not 0 for the head that is used when none is named.
    pub is_default: i32,
    /// Labels, for `pocketbert_model_label`.
    pub labels: usize,
}

/// An output of the graph, for `pocketbert_run_ids`. The string lives until the model is closed.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct pocketbert_model_output {
    /// Its name.
    pub name: *const c_char,
    /// Values per row.
    pub channels: usize,
    /// Not 0: a row per token; else a row per sequence.
    pub per_token: i32,
    /// Zero.
    pub reserved: i32,
}

/// Facts with strings that C can read.
struct Facts {
    strings: Strings,
    name: args::At,
    version: args::At,
    fingerprint: args::At,
    max_length: usize,
    vocabulary: usize,
    heads: Vec<HeadFacts>,
    outputs: Vec<(args::At, usize, bool)>,
}

struct HeadFacts {
    name: args::At,
    description: args::At,
    task: i32,
    is_default: bool,
    labels: Vec<args::At>,
}

impl Facts {
    fn of(model: &Model) -> Result<Facts> {
        let mut s = Strings::default();
        let info = model.info();
        let (name, version) = (s.push(&info.name)?, s.push(&info.version)?);
        let fingerprint = s.push(model.fingerprint())?;
        let mut heads = vec![];
        if let Some(bundle) = model.bundle() {
            let m = bundle.manifest();
            let default = m.head(None).map(|h| &h.name);
            for h in &m.heads {
                heads.push(HeadFacts {
                    name: s.push(&h.name)?,
                    description: s.push(&h.description)?,
                    task: task_number(h.task),
                    is_default: default == Some(&h.name),
                    labels: h.labels.iter().map(|l| s.push(l)).collect::<Result<_>>()?,
                });
            }
        }
        let outputs = model.plan().outputs().iter();
        let outputs: Result<_> = outputs.map(|o| Ok((s.push(&o.name)?, o.channels, o.per_token))).collect();
        Ok(Facts {
            name,
            version,
            fingerprint,
            max_length: info.max_length,
            vocabulary: info.vocab,
            heads,
            outputs: outputs?,
            strings: s,
        })
    }
}

/// The facts of a model, opened now if need be. They live as long as the handle.
fn facts(m: &ModelObject) -> Result<&Facts> {
    match m.facts.get() {
        Some(f) => Ok(f),
        None => {
            let made = Facts::of(m.engine.model()?)?;
            Ok(m.facts.get_or_init(|| made))
        }
    }
}

/// Writes the model's facts; opens it if need be.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_model_get_facts(
    model: *const pocketbert_model,
    facts: *mut pocketbert_model_facts,
) -> pocketbert_status {
    call("pocketbert_model_get_facts", || {
        let m = of(model)?;
        // SAFETY: the caller's promise.
        let out = unsafe { Out::new("facts", facts) }?;
        let f = self::facts(&m)?;
        out.set(pocketbert_model_facts {
            name: f.strings.c_str(f.name),
            version: f.strings.c_str(f.version),
            fingerprint: f.strings.c_str(f.fingerprint),
            max_length: f.max_length,
            vocabulary: f.vocabulary,
            heads: f.heads.len(),
            outputs: f.outputs.len(),
        });
        Ok::<_, Error>(())
    })
}

/// Writes the facts of head `index` of a bundle.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_model_get_head(
    model: *const pocketbert_model,
    index: usize,
    head: *mut pocketbert_head,
) -> pocketbert_status {
    call("pocketbert_model_get_head", || {
        let m = of(model)?;
        // SAFETY: the caller's promise.
        let out = unsafe { Out::new("head", head) }?;
        let f = facts(&m)?;
        let h = element("head", &f.heads, index)?;
        out.set(pocketbert_head {
            name: f.strings.c_str(h.name),
            description: f.strings.c_str(h.description),
            task: h.task,
            is_default: i32::from(h.is_default),
            labels: h.labels.len(),
        });
        Ok::<_, Error>(())
    })
}

/// Writes label `index` of head `head`: a string that lives until the model is closed.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_model_get_label(
    model: *const pocketbert_model,
    head: usize,
    index: usize,
    label: *mut *const c_char,
) -> pocketbert_status {
    call("pocketbert_model_get_label", || {
        let m = of(model)?;
        // SAFETY: the caller's promise.
        let out = unsafe { Out::new("label", label) }?;
        let f = facts(&m)?;
        let h = element("head", &f.heads, head)?;
        out.set(f.strings.c_str(*element("label", &h.labels, index)?));
        Ok::<_, Error>(())
    })
}

/// Writes the facts of output `index` of the graph.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_model_get_output(
    model: *const pocketbert_model,
    index: usize,
    output: *mut pocketbert_model_output,
) -> pocketbert_status {
    call("pocketbert_model_get_output", || {
        let m = of(model)?;
        // SAFETY: the caller's promise.
        let out = unsafe { Out::new("output", output) }?;
        let f = facts(&m)?;
        let (name, channels, per_token) = *element("output", &f.outputs, index)?;
        let name = f.strings.c_str(name);
        out.set(pocketbert_model_output { name, channels, per_token: i32::from(per_token), reserved: 0 });
        Ok::<_, Error>(())
    })
}

/// Checks the weights' hash of a bundle that was opened with `defer_hash`; `POCKETBERT_DATA_LOSS` if it is wrong.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn pocketbert_model_verify(model: *const pocketbert_model) -> pocketbert_status {
    call("pocketbert_model_verify", || of(model)?.engine.model()?.verify_weights())
}

/// Runs the bundle's recorded cases on every kernel that this CPU has and compares all bits; `POCKETBERT_DATA_LOSS` at the
/// first that differs, `POCKETBERT_FAILED_PRECONDITION` if there are no cases.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn pocketbert_model_self_test(model: *const pocketbert_model) -> pocketbert_status {
    call("pocketbert_model_self_test", || -> Result<(), Failure> {
        let m = of(model)?;
        crate::self_test::run(m.engine.model()?)
    })
}

/// Gives back the scratch memory that finished calls keep for the next ones; a later call takes it anew. Call it when the
/// program is put in the background or memory is short.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn pocketbert_model_trim(model: *const pocketbert_model) -> pocketbert_status {
    call("pocketbert_model_trim", || of(model)?.engine.trim())
}
