//! Where the bytes of a bundle come from: a mapping, memory, or part of a file descriptor.
//!
//! All `unsafe` of the bundle is here: the call that maps a file, and the one that lets go of read pages.
//!
//! A mapping shows the file as it is, not as it was. Replacing a file by rename is safe, as the mapping keeps
//! the old one. Writing into a mapped file changes what is read; cutting it short makes later reads fault
//! (SIGBUS), which no check can exclude. So update bundles by rename only, and where that cannot be promised
//! copy the file into memory.

use std::fs::File;
use std::io::Read;
use std::ops::{Deref, Range};
use std::path::Path;
use std::sync::Arc;

use memmap2::{Mmap, MmapOptions};

use crate::error::{Error, ErrorKind, Result};
use crate::memory;

/// Who owns the bytes.
enum Backing {
    Map(Mmap),
    Owned(Vec<u8>),
    Shared(Arc<[u8]>),
    Foreign(Arc<dyn AsRef<[u8]> + Send + Sync>),
}

/// Read-only bytes that stay where they are for as long as a clone exists. Cloning copies no bytes.
#[derive(Clone)]
pub struct Source(Arc<Backing>);

impl Source {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        match &*self.0 {
            Backing::Map(m) => m,
            Backing::Owned(v) => v,
            Backing::Shared(s) => s,
            Backing::Foreign(f) => (**f).as_ref(),
        }
    }

    /// The bytes of `owner`, which is kept until nothing reads them any more: memory that is not ours, such as a model
    /// linked into a program. `as_ref` must always give the same bytes.
    pub fn from_owner(owner: Arc<dyn AsRef<[u8]> + Send + Sync>) -> Source {
        Source(Arc::new(Backing::Foreign(owner)))
    }

    /// Whether the bytes are a mapping of a file (clean pages that the system can drop and read again).
    pub fn is_mapped(&self) -> bool {
        matches!(&*self.0, Backing::Map(_))
    }

    /// The bytes `range`, which lie inside, part by part. Of a mapped file each part leaves resident memory again,
    /// so that reading all of a large file once costs time but no memory.
    pub(super) fn stream(&self, range: Range<usize>, mut read: impl FnMut(&[u8])) {
        const PART: usize = 1 << 20;
        let Some(bytes) = self.bytes().get(range.clone()) else { return };
        for (i, part) in bytes.chunks(PART).enumerate() {
            read(part);
            #[cfg(all(unix, not(miri)))]
            if let Backing::Map(m) = &*self.0 {
                let start = range.start + i * PART;
                // SAFETY: the mapping is of a file and read-only, so nothing is lost: a later read brings the same
                // bytes from the file again. The range is inside the mapping. It is a hint; a failure does no harm.
                let _ = unsafe {
                    m.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, part.len())
                };
            }
        }
    }

    /// Opens a regular file: mapped, or read into memory if `copy`. Files over `max` bytes are refused.
    pub fn open(path: &Path, copy: bool, max: u64) -> Result<Source> {
        let (mut file, size) = open_regular(path, max)?;
        let io = |e: std::io::Error| Error::io(path.display(), &e);
        if !copy {
            return map_range(&file, 0, size).map_err(io);
        }
        let len = usize::try_from(size).map_err(|_| too_large(size))?;
        let mut bytes = reserve(len)?;
        // `take`: a file that grows meanwhile must not take more memory than was checked.
        file.by_ref().take(size).read_to_end(&mut bytes).map_err(io)?;
        if bytes.len() != len {
            return Err(Error::data_loss(format!(
                "`{}` became shorter while it was read: replace files by rename, do not write into them",
                path.display()
            )));
        }
        Ok(Source::from(bytes))
    }

    /// `length` bytes at `offset` of an open file: mapped, or read into memory if `copy`. The descriptor's
    /// file position is neither used nor moved, and the descriptor may be closed afterwards.
    #[cfg(unix)]
    pub fn open_fd(
        fd: std::os::fd::BorrowedFd<'_>,
        offset: u64,
        length: u64,
        copy: bool,
        max: u64,
    ) -> Result<Source> {
        use std::os::unix::fs::FileExt;
        let io = |e: std::io::Error| Error::io("file descriptor", &e);
        let file = File::from(fd.try_clone_to_owned().map_err(io)?);
        let meta = file.metadata().map_err(io)?;
        if !meta.is_file() {
            return Err(Error::invalid("the file descriptor is not a regular file: it cannot be mapped"));
        }
        if length > max {
            return Err(too_large(length));
        }
        // Pages past the end of a file fault when they are touched.
        if offset.checked_add(length).is_none_or(|end| end > meta.len()) {
            return Err(Error::data_loss(format!(
                "{length} bytes at offset {offset} are outside the file of {} bytes: was it truncated?",
                meta.len()
            )));
        }
        if !copy {
            return map_range(&file, offset, length).map_err(io);
        }
        let len = usize::try_from(length).map_err(|_| too_large(length))?;
        let mut bytes = reserve(len)?;
        bytes.resize(len, 0);
        file.read_exact_at(&mut bytes, offset).map_err(io)?;
        Ok(Source::from(bytes))
    }
}

impl From<Vec<u8>> for Source {
    fn from(bytes: Vec<u8>) -> Self {
        Source(Arc::new(Backing::Owned(bytes)))
    }
}

impl From<Arc<[u8]>> for Source {
    fn from(bytes: Arc<[u8]>) -> Self {
        Source(Arc::new(Backing::Shared(bytes)))
    }
}

impl AsRef<[u8]> for Source {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Source({} bytes, mapped: {})", self.bytes().len(), self.is_mapped())
    }
}

/// A part of a [`Source`] that keeps the whole alive: a `'static` handle on bytes, cheap to clone, that can
/// outlive the bundle it came from.
#[derive(Clone)]
pub struct WeightsBytes {
    source: Source,
    range: Range<usize>,
}

impl WeightsBytes {
    /// `range` must lie inside `source`; otherwise `None`.
    pub(super) fn new(source: Source, range: Range<usize>) -> Option<Self> {
        source.bytes().get(range.clone())?;
        Some(WeightsBytes { source, range })
    }
}

impl Deref for WeightsBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // In range since `new`, and the bytes never change their length.
        self.source.bytes().get(self.range.clone()).unwrap_or(&[])
    }
}

impl WeightsBytes {
    /// [`Source::stream`] of all of it.
    pub(super) fn stream(&self, read: impl FnMut(&[u8])) {
        self.source.stream(self.range.clone(), read);
    }
}

impl AsRef<[u8]> for WeightsBytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl std::fmt::Debug for WeightsBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WeightsBytes({:?} of {:?})", self.range, self.source)
    }
}

/// Maps a whole regular file, whatever its format (see the module's words on files that change). An empty
/// file gives an empty slice.
pub fn map_file(path: &Path) -> Result<Arc<dyn AsRef<[u8]> + Send + Sync>> {
    Ok(Arc::new(Source::open(path, false, u64::MAX)?))
}

/// Opens a regular file and tells its size. Looks before it opens, since opening a pipe would wait for a
/// writer.
fn open_regular(path: &Path, max: u64) -> Result<(File, u64)> {
    let io = |e: std::io::Error| Error::io(path.display(), &e);
    let check = |meta: &std::fs::Metadata| -> Result<()> {
        if meta.is_dir() {
            Err(Error::invalid(format!("`{}` is a folder, not a file", path.display())))
        } else if !meta.is_file() {
            Err(Error::invalid(format!("`{}` is not a regular file: it cannot be mapped", path.display())))
        } else {
            Ok(())
        }
    };
    check(&std::fs::metadata(path).map_err(io)?)?;
    let file = File::open(path).map_err(io)?;
    let meta = file.metadata().map_err(io)?;
    check(&meta)?;
    if meta.len() > max {
        return Err(too_large(meta.len()).context(format!("`{}`", path.display())));
    }
    Ok((file, meta.len()))
}

fn map_range(file: &File, offset: u64, length: u64) -> std::io::Result<Source> {
    if length == 0 {
        // Mapping nothing is an error on most systems.
        return Ok(Source::from(Vec::new()));
    }
    let length =
        usize::try_from(length).map_err(|_| std::io::Error::from(std::io::ErrorKind::OutOfMemory))?;
    // SAFETY: the caller checked that the range lies inside a regular file. The mapping is private and
    // read-only, and memmap2 rounds the offset down to a page. What remains, that nobody shortens or rewrites
    // the file meanwhile, is the documented condition of opening without a copy; no code here depends on two
    // reads of one byte being equal, as the structure is parsed once into owned values.
    let map = unsafe { MmapOptions::new().offset(offset).len(length).map(file)? };
    Ok(Source(Arc::new(Backing::Map(map))))
}

/// An empty vector with room for exactly `len` bytes, or an error instead of an abort.
fn reserve(len: usize) -> Result<Vec<u8>> {
    let mut v = Vec::new();
    memory::reserve(&mut v, len).map_err(|e| e.context("a copy of the file (mapped, it takes none)"))?;
    Ok(v)
}

fn too_large(size: u64) -> Error {
    Error::new(ErrorKind::ResourceExhausted, format!("{size} bytes are more than the limit allows"))
}
