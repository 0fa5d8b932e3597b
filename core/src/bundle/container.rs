//! The container of a bundle: a ZIP archive in one canonical form, in which every byte has one right value.
//!
//! `docs/bundle-format.md` is the specification. Nothing here allocates more than the directory needs (at
//! most 64 names), and nothing is read twice.

use std::ops::Range;

use super::sniff;
use crate::error::{Error, Result};

/// The most entries of a bundle.
pub const MAX_ENTRIES: usize = 64;
/// The longest name of an entry, in bytes.
pub const MAX_NAME: usize = 128;
/// The largest bundle: every offset fits 32 bits, and the value that means "see ZIP64" is never needed.
pub const MAX_FILE: u64 = u32::MAX as u64 - 1;
/// Data of the weights begins at a multiple of this in the file.
pub const WEIGHTS_ALIGN: u16 = 64;
/// Data of every other entry begins at a multiple of this.
pub const ENTRY_ALIGN: u16 = 4;

pub(super) const LOCAL_SIG: u32 = 0x0403_4b50;
pub(super) const CENTRAL_SIG: u32 = 0x0201_4b50;
pub(super) const END_SIG: u32 = 0x0605_4b50;
pub(super) const LOCAL_LEN: usize = 30;
pub(super) const CENTRAL_LEN: usize = 46;
pub(super) const END_LEN: usize = 22;
/// "Version needed" 1.0: stored entries, no folders.
pub(super) const VERSION: u16 = 10;
/// 1 January 1980, midnight: the first moment a ZIP can express.
pub(super) const DATE: u16 = 0x0021;
/// Identifier of the extra field that aligns an entry's data; Android's `apksigner` uses the same.
pub(super) const ALIGN_ID: u16 = 0xd935;
/// Identifier, size and alignment: an extra field without padding.
pub(super) const EXTRA_MIN: usize = 6;

/// One entry: its name, checksum and place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub name: String,
    pub crc: u32,
    pub align: u16,
    pub data: Range<usize>,
}

/// How many zero bytes the extra field ends with so that data after a header at `at` is aligned.
pub(super) fn padding(at: u64, name: usize, align: u16) -> usize {
    let data = at + (LOCAL_LEN + name + EXTRA_MIN) as u64;
    let align = u64::from(align);
    ((align - data % align) % align) as usize
}

/// Little-endian fields read one after the other; past the end it reads `None`.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(n)?;
        self.0 = tail;
        Some(head)
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.take(2)?.try_into().ok()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }
}

/// Compares a field with the one value it may have.
fn want<T: PartialEq + std::fmt::LowerHex>(what: &str, field: &str, got: T, wanted: T) -> Result<()> {
    if got == wanted {
        return Ok(());
    }
    Err(Error::data_loss(format!(
        "{what}: field `{field}` is {got:#x} and must be {wanted:#x}: the bundle was altered or repacked"
    )))
}

fn cut(what: &str) -> Error {
    Error::data_loss(format!("{what} is cut short: the bundle is truncated"))
}

/// Reads the whole structure and checks every byte of it; entry data is not read.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Entry>> {
    sniff::check(bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(Error::exhausted(format!("{} bytes are more than a bundle can have", bytes.len())));
    }
    let (count, directory) = end_record(bytes)?;
    let mut fields = Fields(bytes.get(directory.clone()).ok_or_else(|| cut("the central directory"))?);
    let mut entries: Vec<Entry> = Vec::with_capacity(count);
    let mut at = 0usize;
    for i in 0..count {
        let central = central(&mut fields, i)?;
        if entries.iter().any(|e| e.name == central.name) {
            return Err(Error::data_loss(format!("entry `{}` is there twice", central.name)));
        }
        if let Some(e) =
            entries.iter().find(|e| nested(&e.name, &central.name) || nested(&central.name, &e.name))
        {
            return Err(Error::data_loss(format!(
                "entries `{}` and `{}`: a name cannot be a file and a folder",
                e.name, central.name
            )));
        }
        want(
            &format!("entry `{}`", central.name),
            "offset of the local header",
            central.offset as usize,
            at,
        )?;
        let entry = local(bytes, at, central)?;
        if entry.data.end > directory.start {
            return Err(Error::data_loss(format!(
                "entry `{}` reaches into the central directory",
                entry.name
            )));
        }
        at = entry.data.end;
        entries.push(entry);
    }
    if !fields.0.is_empty() {
        return Err(Error::data_loss("the central directory is longer than its entries"));
    }
    want("the end record", "offset of the central directory", directory.start, at)?;
    Ok(entries)
}

/// The last 22 bytes: how many entries, and where the central directory lies.
fn end_record(bytes: &[u8]) -> Result<(usize, Range<usize>)> {
    let what = "the end record";
    let missing = || {
        Error::data_loss(
            "the file ends without an end record: it is truncated, or something was appended; get it again",
        )
    };
    let start = bytes.len().checked_sub(END_LEN).ok_or_else(missing)?;
    let mut f = Fields(bytes.get(start..).unwrap_or(&[]));
    let short = || cut(what);
    if f.u32().ok_or_else(short)? != END_SIG {
        return Err(missing());
    }
    want(what, "number of this disk", f.u16().ok_or_else(short)?, 0)?;
    want(what, "disk of the directory", f.u16().ok_or_else(short)?, 0)?;
    let here = f.u16().ok_or_else(short)?;
    let count = f.u16().ok_or_else(short)?;
    want(what, "entries on this disk", here, count)?;
    let size = f.u32().ok_or_else(short)? as usize;
    let offset = f.u32().ok_or_else(short)? as usize;
    want(what, "comment length", f.u16().ok_or_else(short)?, 0)?;
    let count = usize::from(count);
    if count == 0 || count > MAX_ENTRIES {
        return Err(Error::data_loss(format!(
            "the bundle names {count} entries; 1 to {MAX_ENTRIES} are allowed"
        )));
    }
    // The directory must end where the end record begins, which also bounds both numbers.
    match offset.checked_add(size) {
        Some(end) if end == start => Ok((count, offset..end)),
        _ => Err(Error::data_loss(format!(
            "the central directory ({size} bytes at {offset}) does not end at the end record ({start})"
        ))),
    }
}

/// What the central directory says about an entry.
struct Central {
    name: String,
    crc: u32,
    size: u32,
    offset: u32,
}

fn central(f: &mut Fields<'_>, index: usize) -> Result<Central> {
    let what = format!("central directory, entry {index}");
    let short = || cut(&what);
    want(&what, "signature", f.u32().ok_or_else(short)?, CENTRAL_SIG)?;
    want(&what, "version made by", f.u16().ok_or_else(short)?, VERSION)?;
    let (crc, size, name_len) = common(f, &what)?;
    want(&what, "extra length", f.u16().ok_or_else(short)?, 0)?;
    want(&what, "comment length", f.u16().ok_or_else(short)?, 0)?;
    want(&what, "disk", f.u16().ok_or_else(short)?, 0)?;
    want(&what, "internal attributes", f.u16().ok_or_else(short)?, 0)?;
    want(&what, "external attributes", f.u32().ok_or_else(short)?, 0)?;
    let offset = f.u32().ok_or_else(short)?;
    let name = check_name(f.take(name_len).ok_or_else(short)?).map_err(|e| e.context(&what))?;
    Ok(Central { name, crc, size, offset })
}

/// The fields that the local and the central header share, from "version needed" to the name's length.
fn common(f: &mut Fields<'_>, what: &str) -> Result<(u32, u32, usize)> {
    let short = || cut(what);
    want(what, "version needed", f.u16().ok_or_else(short)?, VERSION)?;
    want(what, "flags", f.u16().ok_or_else(short)?, 0)?;
    want(what, "compression method", f.u16().ok_or_else(short)?, 0)?;
    want(what, "time", f.u16().ok_or_else(short)?, 0)?;
    want(what, "date", f.u16().ok_or_else(short)?, DATE)?;
    let crc = f.u32().ok_or_else(short)?;
    let packed = f.u32().ok_or_else(short)?;
    let size = f.u32().ok_or_else(short)?;
    want(what, "compressed size", packed, size)?;
    Ok((crc, size, usize::from(f.u16().ok_or_else(short)?)))
}

fn local(bytes: &[u8], at: usize, central: Central) -> Result<Entry> {
    let what = format!("entry `{}`", central.name);
    let short = || cut(&what);
    let mut f = Fields(bytes.get(at..).ok_or_else(short)?);
    want(&what, "signature", f.u32().ok_or_else(short)?, LOCAL_SIG)?;
    let (crc, size, name_len) = common(&mut f, &what)?;
    let extra_len = usize::from(f.u16().ok_or_else(short)?);
    want(&what, "crc-32", crc, central.crc)?;
    want(&what, "size", size, central.size)?;
    if f.take(name_len).ok_or_else(short)? != central.name.as_bytes() {
        return Err(Error::data_loss(format!("{what} has another name in its local header")));
    }
    let mut extra = Fields(f.take(extra_len).ok_or_else(short)?);
    want(&what, "extra field identifier", extra.u16().ok_or_else(short)?, ALIGN_ID)?;
    let extra_size = extra.u16().ok_or_else(short)?;
    let align = extra.u16().ok_or_else(short)?;
    if align != ENTRY_ALIGN && align != WEIGHTS_ALIGN {
        return Err(Error::data_loss(format!("{what}: alignment {align} is neither 4 nor 64")));
    }
    let pad = padding(at as u64, name_len, align);
    want(&what, "extra length", extra_len, EXTRA_MIN + pad)?;
    want(&what, "extra field size", usize::from(extra_size), EXTRA_MIN - 4 + pad)?;
    if extra.0.iter().any(|&b| b != 0) {
        return Err(Error::data_loss(format!("{what}: padding must be zero")));
    }
    let start = bytes.len() - f.0.len();
    let end = start.checked_add(size as usize).filter(|&e| e <= bytes.len()).ok_or_else(short)?;
    Ok(Entry { name: central.name, crc, align, data: start..end })
}

/// Checks an entry's name: lower-case ASCII letters, digits, `_`, `.`, `-`, with `/` between parts; no part
/// is empty, `.` or `..`. So a name means the same file on every system and stays inside its folder.
pub(super) fn check_name(name: &[u8]) -> Result<String> {
    let bad = || {
        Error::data_loss(format!(
            "entry name `{}` is not allowed: use a-z, 0-9, `_`, `.`, `-` and `/` between parts, at most \
             {MAX_NAME} bytes",
            name.iter().take(MAX_NAME).map(|b| b.escape_ascii().to_string()).collect::<String>()
        ))
    };
    let allowed = |b: &u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'/');
    if name.len() > MAX_NAME || !name.iter().all(allowed) {
        return Err(bad());
    }
    if name.split(|&b| b == b'/').any(|part| matches!(part, b"" | b"." | b"..")) {
        return Err(bad());
    }
    std::str::from_utf8(name).map(str::to_string).map_err(|_| bad())
}

/// Whether `inner` would lie in a folder named `outer`.
pub(super) fn nested(outer: &str, inner: &str) -> bool {
    inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'))
}
