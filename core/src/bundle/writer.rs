//! Writes bundles: the same input gives the same bytes, and never half a file.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use sha2::{Digest, Sha256};

use super::container::{
    self, ALIGN_ID, CENTRAL_LEN, CENTRAL_SIG, DATE, END_LEN, END_SIG, ENTRY_ALIGN, EXTRA_MIN, LOCAL_LEN,
    LOCAL_SIG, MAX_ENTRIES, MAX_FILE, VERSION, WEIGHTS_ALIGN, check_name, nested, padding,
};
use super::crc::Crc;
use super::manifest::{EntryInfo, MANIFEST, Manifest};
use super::{Bundle, OpenOptions, Verify, check, hex, json};
use crate::error::{Error, ErrorKind, Result};

/// Bytes that are hashed and written at a time.
const CHUNK: usize = 256 << 10;

/// Where the data of an entry comes from. A file is read twice, a chunk at a time: once for its hash, once
/// to copy it.
#[derive(Clone, Debug)]
pub enum EntryData<'a> {
    /// Bytes in memory.
    Bytes(Cow<'a, [u8]>),
    /// A file that does not change meanwhile (that is checked).
    File(PathBuf),
}

/// Collects a manifest and entries, and writes them as a bundle.
///
/// Entries come in the order in which they were added, after the manifest.
#[derive(Clone, Debug)]
pub struct BundleWriter<'a> {
    manifest: Manifest,
    entries: Vec<(String, EntryData<'a>)>,
}

/// What the first pass learns of an entry.
#[derive(PartialEq)]
struct Digested {
    sha256: String,
    crc: u32,
    size: u64,
}

/// One entry as it will be written.
struct Planned<'p, 'a> {
    name: &'p str,
    data: &'p EntryData<'a>,
    digest: Digested,
    align: u16,
    offset: u64,
}

impl<'a> BundleWriter<'a> {
    /// Begins a bundle. `manifest.entries` is filled in by the writer; what it held is dropped.
    pub fn new(manifest: Manifest) -> Self {
        BundleWriter { manifest, entries: vec![] }
    }

    /// Adds an entry's bytes.
    pub fn add(&mut self, name: impl Into<String>, bytes: impl Into<Cow<'a, [u8]>>) -> &mut Self {
        self.entries.push((name.into(), EntryData::Bytes(bytes.into())));
        self
    }

    /// Adds a file as an entry.
    pub fn add_file(&mut self, name: impl Into<String>, path: impl Into<PathBuf>) -> &mut Self {
        self.entries.push((name.into(), EntryData::File(path.into())));
        self
    }

    /// The bundle in memory.
    pub fn to_vec(&self) -> Result<Vec<u8>> {
        let mut out = vec![];
        self.write(&mut out)?;
        Ok(out)
    }

    /// Writes the bundle to `path`, replacing what is there in one step: readers see the old file or the new
    /// one, and bundles that are open keep the old. The data is on disk when it returns. On an error `path`
    /// is as it was and nothing is left beside it.
    pub fn write_to(&self, path: impl AsRef<Path>) -> Result<()> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let path = path.as_ref();
        let name = path
            .file_name()
            .ok_or_else(|| Error::invalid(format!("`{}` does not end in a file name", path.display())))?;
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut temp = std::ffi::OsString::from(".");
        temp.push(name);
        temp.push(format!(".{}.{}.tmp", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed)));
        let temp = folder.join(temp);
        let file = File::create_new(&temp).map_err(|e| Error::io(temp.display(), &e))?;
        let done = self
            .write_file(file, &temp)
            .and_then(|()| std::fs::rename(&temp, path).map_err(|e| Error::io(path.display(), &e)));
        if done.is_err() {
            // The error that is returned says more than one from here would.
            let _ = std::fs::remove_file(&temp);
        }
        done?;
        sync_folder(folder)
    }

    fn write_file(&self, file: File, temp: &Path) -> Result<()> {
        let io = |e: std::io::Error| Error::io(temp.display(), &e);
        let mut out = BufWriter::with_capacity(CHUNK, file);
        self.write(&mut out)?;
        let file = out.into_inner().map_err(|e| io(e.into_error()))?;
        file.sync_all().map_err(io)?;
        // The reader has the last word on what is a bundle. The weights were hashed while they were copied.
        let options = OpenOptions { verify: Verify::DeferWeights, ..OpenOptions::default() };
        Bundle::open_path(temp, &options).map(|_| ())
    }

    fn write(&self, out: &mut dyn Write) -> Result<()> {
        let io = |e: std::io::Error| Error::io("bundle", &e);
        let mut manifest = self.manifest.clone();
        manifest.entries.clear();
        check::content(&manifest).map_err(invalid)?;
        let mut planned = vec![];
        for (i, (name, data)) in self.entries.iter().enumerate() {
            self.check_entry(i, name)?;
            let digest = digest(data, &mut |_| Ok(()))?;
            let info = EntryInfo { sha256: digest.sha256.clone(), size: digest.size };
            manifest.entries.insert(name.clone(), info);
            let align = if *name == manifest.weights.entry { WEIGHTS_ALIGN } else { ENTRY_ALIGN };
            planned.push(Planned { name, data, digest, align, offset: 0 });
        }
        let mut json = serde_json::to_vec(&manifest)
            .map_err(|e| Error::invalid(format!("the manifest cannot be written: {e}")))?;
        json.push(b'\n');
        if json.len() > check::MAX_MANIFEST {
            return Err(Error::invalid(format!("the manifest has {} bytes, too many", json.len())));
        }
        json::check_size(&json).map_err(invalid)?;
        let json = EntryData::Bytes(json.into());
        let first = digest(&json, &mut |_| Ok(()))?;
        planned
            .insert(0, Planned { name: MANIFEST, data: &json, digest: first, align: ENTRY_ALIGN, offset: 0 });
        let mut at = 0u64;
        let mut entries = vec![];
        for p in &mut planned {
            p.offset = at;
            let pad = padding(at, p.name.len(), p.align);
            let start = at + (LOCAL_LEN + p.name.len() + EXTRA_MIN + pad) as u64;
            at = start.checked_add(p.digest.size).filter(|&n| n <= MAX_FILE).ok_or_else(over)?;
            entries.push(container::Entry {
                name: p.name.to_string(),
                crc: p.digest.crc,
                align: p.align,
                data: usize::try_from(start).map_err(|_| over())?..usize::try_from(at).map_err(|_| over())?,
            });
        }
        let directory: u64 = planned.iter().map(|p| (CENTRAL_LEN + p.name.len()) as u64).sum();
        if at + directory + END_LEN as u64 > MAX_FILE {
            return Err(over());
        }
        check::against_container(&manifest, &entries).map_err(invalid)?;
        for p in &planned {
            out.write_all(&p.local_header()).map_err(io)?;
            let again = digest(p.data, &mut |chunk| out.write_all(chunk).map_err(io))?;
            if again != p.digest {
                return Err(Error::new(
                    ErrorKind::FailedPrecondition,
                    format!("the file for entry `{}` changed while it was copied", p.name),
                ));
            }
        }
        for p in &planned {
            out.write_all(&p.central_header()).map_err(io)?;
        }
        let mut end = Vec::with_capacity(END_LEN);
        put32(&mut end, END_SIG);
        put16(&mut end, &[0, 0, planned.len() as u16, planned.len() as u16]);
        put32(&mut end, directory as u32);
        put32(&mut end, at as u32);
        put16(&mut end, &[0]);
        out.write_all(&end).map_err(io)?;
        out.flush().map_err(io)
    }

    fn check_entry(&self, index: usize, name: &str) -> Result<()> {
        check_name(name.as_bytes()).map_err(invalid)?;
        if index + 1 >= MAX_ENTRIES {
            return Err(Error::invalid(format!("more than {MAX_ENTRIES} entries with the manifest")));
        }
        if name == MANIFEST {
            return Err(Error::invalid(format!("`{MANIFEST}` is written by the writer itself")));
        }
        let clash = |other: &str| other == name || nested(other, name) || nested(name, other);
        let others = self.entries.iter().take(index).map(|(n, _)| n.as_str()).chain([MANIFEST]);
        match others.into_iter().find(|o| clash(o)) {
            Some(o) => Err(Error::invalid(format!("entry `{name}` clashes with entry `{o}`"))),
            None => Ok(()),
        }
    }
}

impl Planned<'_, '_> {
    /// The fields that both headers share. Sizes fit 32 bits: the file was checked to.
    fn common(&self, out: &mut Vec<u8>) {
        put16(out, &[VERSION, 0, 0, 0, DATE]);
        put32(out, self.digest.crc);
        put32(out, self.digest.size as u32);
        put32(out, self.digest.size as u32);
        put16(out, &[self.name.len() as u16]);
    }

    fn local_header(&self) -> Vec<u8> {
        let pad = padding(self.offset, self.name.len(), self.align);
        let mut out = vec![];
        put32(&mut out, LOCAL_SIG);
        self.common(&mut out);
        put16(&mut out, &[(EXTRA_MIN + pad) as u16]);
        out.extend_from_slice(self.name.as_bytes());
        put16(&mut out, &[ALIGN_ID, (EXTRA_MIN - 4 + pad) as u16, self.align]);
        out.resize(out.len() + pad, 0);
        out
    }

    fn central_header(&self) -> Vec<u8> {
        let mut out = vec![];
        put32(&mut out, CENTRAL_SIG);
        put16(&mut out, &[VERSION]);
        self.common(&mut out);
        put16(&mut out, &[0, 0, 0, 0, 0, 0]);
        put32(&mut out, self.offset as u32);
        out.extend_from_slice(self.name.as_bytes());
        out
    }
}

fn put16(out: &mut Vec<u8>, values: &[u16]) {
    out.extend(values.iter().flat_map(|v| v.to_le_bytes()));
}

fn put32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// Hashes an entry's data and hands it on in chunks.
fn digest(data: &EntryData<'_>, each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<Digested> {
    let (mut sha, mut crc, mut size) = (Sha256::new(), Crc::new(), 0u64);
    let mut take = |chunk: &[u8]| {
        sha.update(chunk);
        crc.update(chunk);
        size += chunk.len() as u64;
        // A file that never ends (a device) must not fill the disk.
        if size > MAX_FILE { Err(over()) } else { each(chunk) }
    };
    match data {
        EntryData::Bytes(b) => b.chunks(CHUNK).try_for_each(&mut take)?,
        EntryData::File(path) => {
            let io = |e: std::io::Error| Error::io(path.display(), &e);
            let mut file = File::open(path).map_err(io)?;
            let mut buffer = vec![0; CHUNK];
            loop {
                match file.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(n) => take(buffer.get(..n).unwrap_or(&[]))?,
                    Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(e) => return Err(io(e)),
                }
            }
        }
    }
    Ok(Digested { sha256: hex(&sha.finalize()), crc: crc.finish(), size })
}

/// What the reader would call damage is a wrong argument here.
fn invalid(e: Error) -> Error {
    Error::invalid(e.message())
}

fn over() -> Error {
    Error::exhausted("the bundle would have 4 GiB or more, over the format's limit")
}

/// Makes the rename last through a power cut, where the system can.
fn sync_folder(folder: &Path) -> Result<()> {
    if cfg!(unix) {
        let io = |e: std::io::Error| Error::io(folder.display(), &e);
        File::open(folder).and_then(|f| f.sync_all()).map_err(io)?;
    }
    Ok(())
}
