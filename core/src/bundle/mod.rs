//! The bundle: one `.pbert` file with a graph, its weights, its tokenizer and what they mean.
//!
//! A bundle is a ZIP archive in a canonical form (`docs/bundle-format.md` has every byte), so any ZIP tool
//! lists it, and it maps straight into memory. Opening parses the structure once, checks every rule of the
//! manifest and the SHA-256 of every entry, and never reads the structure again.
//!
//! Whatever the bytes, opening gives a [`Bundle`] or an error that names what is wrong. Its memory, beyond
//! the mapping or the copy, is bounded by the manifest's (at most 4 MiB and 262,144 values).
//!
//! # Files that change
//!
//! Update a bundle by writing a new file and renaming it over the old one, as [`BundleWriter::write_to`]
//! does: open bundles keep the old file. A file that is written in place while it is mapped changes under the
//! reader, and one that is cut short makes it fault (SIGBUS). On iOS a mapped page of a file in the data
//! protection class `NSFileProtectionComplete` faults once the device is locked: give the file
//! `NSFileProtectionCompleteUntilFirstUserAuthentication` or a weaker class. Where none of that can be
//! promised, set [`OpenOptions::copy_into_memory`].
//!
//! # Trust
//!
//! The hashes find damage, not malice: whoever can write the file can write its hashes. To pin a bundle,
//! compare [`Bundle::fingerprint`] with a value from elsewhere.

mod check;
mod container;
mod crc;
mod json;
pub mod manifest;
mod sniff;
pub mod source;
mod writer;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::error::{Error, ErrorKind, Result};
use container::Entry;
pub use json::JsonText;
use manifest::MANIFEST;
pub use manifest::{Head, Manifest};
pub use source::{Source, WeightsBytes};
pub use writer::{BundleWriter, EntryData};

/// Which hashes are checked at open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verify {
    /// All.
    #[default]
    Full,
    /// All but the weights': for a quick start. Call [`Bundle::verify_weights`] later.
    DeferWeights,
}

/// How to open a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenOptions {
    /// Read the file into memory instead of mapping it: for files that may be written in place, or become
    /// unreadable, while they are open. Bytes that are already in memory are never copied.
    pub copy_into_memory: bool,
    /// Which hashes to check.
    pub verify: Verify,
    /// Refuse larger files, in bytes. The format itself ends at 4 GiB.
    pub max_size: u64,
}

impl Default for OpenOptions {
    fn default() -> Self {
        OpenOptions { copy_into_memory: false, verify: Verify::Full, max_size: container::MAX_FILE }
    }
}

/// An open bundle. Cloning is cheap; clones share the bytes. `Send + Sync`.
#[derive(Clone)]
pub struct Bundle(Arc<Inner>);

struct Inner {
    source: Source,
    entries: Vec<Entry>,
    manifest: Manifest,
    weights: usize,
}

impl Bundle {
    /// Opens a file, mapped unless the options say otherwise.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] and the like for the file itself, [`ErrorKind::InvalidArgument`] for a folder
    /// or a file of another kind, [`ErrorKind::DataLoss`] for a damaged bundle,
    /// [`ErrorKind::Unimplemented`] for one that needs a newer version.
    pub fn open_path(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Bundle> {
        let path = path.as_ref();
        let source = Source::open(path, options.copy_into_memory, options.max_size)?;
        Self::open_source(source, options).map_err(|e| e.context(format!("`{}`", path.display())))
    }

    /// Opens a bundle that is in memory: a `Vec<u8>` or an `Arc<[u8]>`, which is kept and not copied.
    pub fn open_bytes(bytes: impl Into<Source>, options: &OpenOptions) -> Result<Bundle> {
        Self::open_source(bytes.into(), options)
    }

    /// Opens `length` bytes at `offset` of an open file, such as an uncompressed asset in an APK. Any offset
    /// will do. The descriptor's position is not moved, and it may be closed afterwards.
    #[cfg(unix)]
    pub fn open_fd(
        fd: impl std::os::fd::AsFd,
        offset: u64,
        length: u64,
        options: &OpenOptions,
    ) -> Result<Bundle> {
        let source = Source::open_fd(fd.as_fd(), offset, length, options.copy_into_memory, options.max_size)?;
        Self::open_source(source, options)
    }

    fn open_source(source: Source, options: &OpenOptions) -> Result<Bundle> {
        let bytes = source.bytes();
        if bytes.len() as u64 > options.max_size {
            return Err(Error::exhausted(format!(
                "the bundle has {} bytes; `max_size` allows {}",
                bytes.len(),
                options.max_size
            )));
        }
        let entries = container::parse(bytes)?;
        let data = |e: &Entry| bytes.get(e.data.clone()).unwrap_or(&[]);
        // The first entry's name is checked before all else, but only the directory's is binding.
        let first = entries.first().filter(|e| e.name == MANIFEST);
        let first = first.ok_or_else(|| Error::data_loss(format!("the first entry is not `{MANIFEST}`")))?;
        if first.data.len() > check::MAX_MANIFEST {
            return Err(Error::data_loss(format!("`{MANIFEST}` has {} bytes, too many", first.data.len())));
        }
        if crc::crc32(data(first)) != first.crc {
            return Err(altered(MANIFEST, "CRC-32"));
        }
        let manifest = check::parse(data(first))?;
        check::against_container(&manifest, &entries)?;
        let weights = entries.iter().position(|e| e.name == manifest.weights.entry);
        let weights = weights.ok_or_else(|| Error::internal("weights were checked to exist"))?;
        for (i, e) in entries.iter().enumerate().skip(1) {
            if i == weights {
                continue;
            }
            if crc::crc32(data(e)) != e.crc {
                return Err(altered(&e.name, "CRC-32"));
            }
            check_hash(&manifest, &e.name, data(e))?;
        }
        let bundle = Bundle(Arc::new(Inner { entries, manifest, weights, source }));
        if options.verify == Verify::Full {
            bundle.verify_weights()?;
        }
        Ok(bundle)
    }

    /// What the bundle says about itself.
    pub fn manifest(&self) -> &Manifest {
        &self.0.manifest
    }

    /// An entry by name.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub fn entry(&self, name: &str) -> Result<EntryView<'_>> {
        self.entries().find(|e| e.name() == name).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("the bundle has no entry `{}`", name.escape_debug()))
        })
    }

    /// All entries in file order, the manifest first.
    pub fn entries(&self) -> impl Iterator<Item = EntryView<'_>> {
        self.0.entries.iter().map(|entry| EntryView { bundle: &self.0, entry })
    }

    /// The weights, as a handle that keeps the file mapped for as long as it lives.
    pub fn weights(&self) -> Result<WeightsBytes> {
        let range = self.0.entries.get(self.0.weights).map(|e| e.data.clone());
        range
            .and_then(|r| WeightsBytes::new(self.0.source.clone(), r))
            .ok_or_else(|| Error::internal("weights were checked to be inside the file"))
    }

    /// Checks the weights' SHA-256, which [`Verify::DeferWeights`] left out. Reads all of them, each time it
    /// is called; it may run on any thread while the bundle is in use.
    ///
    /// # Errors
    /// [`ErrorKind::DataLoss`] if the weights are not those that the bundle was made with.
    pub fn verify_weights(&self) -> Result<()> {
        let mut h = Sha256::new();
        self.weights()?.stream(|part| h.update(part));
        same_hash(&self.0.manifest, &self.0.manifest.weights.entry, &hex(&h.finalize()))
    }

    /// The size of the whole bundle in bytes.
    pub fn size(&self) -> u64 {
        self.0.source.bytes().len() as u64
    }

    /// Whether the bytes are a mapping of a file.
    pub fn is_mapped(&self) -> bool {
        self.0.source.is_mapped()
    }

    /// The SHA-256 of the manifest, in hexadecimal. As the manifest holds the hashes of everything else, it
    /// names this content exactly.
    pub fn fingerprint(&self) -> String {
        sha256(self.entry(MANIFEST).map_or(&[][..], |e| e.bytes()))
    }
}

impl std::fmt::Debug for Bundle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let m = &self.0.manifest.model;
        write!(f, "Bundle({} {}, {:?})", m.name, m.version, self.0.source)
    }
}

/// One entry of a bundle.
#[derive(Clone, Copy)]
pub struct EntryView<'a> {
    bundle: &'a Inner,
    entry: &'a Entry,
}

impl<'a> EntryView<'a> {
    /// Its name.
    pub fn name(&self) -> &'a str {
        &self.entry.name
    }

    /// Its data.
    pub fn bytes(&self) -> &'a [u8] {
        self.bundle.source.bytes().get(self.entry.data.clone()).unwrap_or(&[])
    }

    /// Where its data begins, in bytes from the start of the bundle.
    pub fn offset(&self) -> u64 {
        self.entry.data.start as u64
    }

    /// Its SHA-256 as the manifest has it; the manifest's own is not in it.
    pub fn sha256(&self) -> Option<&'a str> {
        self.bundle.manifest.entries.get(&self.entry.name).map(|e| e.sha256.as_str())
    }
}

fn check_hash(m: &Manifest, name: &str, data: &[u8]) -> Result<()> {
    same_hash(m, name, &sha256(data))
}

fn same_hash(m: &Manifest, name: &str, hash: &str) -> Result<()> {
    match m.entries.get(name) {
        Some(info) if info.sha256 == hash => Ok(()),
        _ => Err(altered(name, "SHA-256")),
    }
}

fn altered(name: &str, what: &str) -> Error {
    Error::data_loss(format!(
        "entry `{name}` does not have its {what}: the bundle is damaged or was altered; get it again"
    ))
}

/// The SHA-256 of `bytes` as 64 lower-case hexadecimal digits.
fn sha256(bytes: &[u8]) -> String {
    let mut h = Sha256::new();
    h.update(bytes);
    hex(&h.finalize())
}

fn hex(bytes: &[u8]) -> String {
    let digit = |n: u8| char::from_digit(u32::from(n), 16).unwrap_or('0');
    bytes.iter().flat_map(|b| [digit(b >> 4), digit(b & 15)]).collect()
}
