//! Files: hashes, and writing so that nobody sees half a file.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use pocketbert::{Error, Result};
use sha2::{Digest, Sha256};

/// Writes beside `path` and renames, so that a file is whole or absent. Makes the folder.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    write_with(path, |f| f.write_all(bytes))
}

/// [`write_whole`] of what `fill` writes.
pub fn write_with(path: &Path, fill: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Result<()> {
    let io = |e: std::io::Error| Error::io(path.display(), &e);
    if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(io)?;
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = PathBuf::from(name);
    let write = || -> std::io::Result<()> {
        let mut f = std::io::BufWriter::new(std::fs::File::create(&part)?);
        fill(&mut f)?;
        f.into_inner().map_err(|e| e.into_error())?;
        std::fs::rename(&part, path)
    };
    let result = write();
    if result.is_err() {
        let _ = std::fs::remove_file(&part);
    }
    result.map_err(io)
}

/// The float model of `path`: the file itself, or in a hub folder (or its `onnx` folder) `model.onnx`, else the one
/// `model*.onnx` that is not quantized.
pub fn model_file(path: &Path) -> Result<PathBuf> {
    if !path.is_dir() {
        return Ok(path.to_path_buf());
    }
    let mut found = vec![];
    for folder in [path.to_path_buf(), path.join("onnx")] {
        for e in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let name = e.file_name().to_string_lossy().into_owned();
            let int8 = ["quant", "int8", "q4", "uint8", "bnb4"].iter().any(|q| name.contains(q));
            if name.starts_with("model") && name.ends_with(".onnx") && !int8 {
                found.push((name.len(), e.path()));
            }
        }
    }
    found.sort();
    found.into_iter().next().map(|(_, p)| p).ok_or_else(|| {
        Error::invalid(format!("`{}` holds no float `model*.onnx`: name the file", path.display()))
    })
}

/// An error now, before long work, if no file could be put at `path`.
pub fn writable(path: &Path) -> Result<()> {
    let io = |e: std::io::Error| Error::io(path.display(), &e);
    if path.is_dir() {
        return Err(Error::invalid(format!("`{}` is a folder: name a file", path.display())));
    }
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(io)?;
    let probe = folder.join(format!(".pocketbert-{}.part", std::process::id()));
    let made = std::fs::File::create(&probe).map_err(io);
    let _ = std::fs::remove_file(&probe);
    made.map(|_| ())
}

/// SHA-256 of a file, in hexadecimal.
pub fn sha256(path: &Path) -> Result<String> {
    let io = |e: std::io::Error| Error::io(path.display(), &e);
    let mut f = std::fs::File::open(path).map_err(io)?;
    let (mut h, mut buffer) = (Sha256::new(), vec![0u8; 1 << 20]);
    loop {
        match f.read(&mut buffer).map_err(io)? {
            0 => return Ok(hex(&h.finalize())),
            n => h.update(&buffer[..n]),
        }
    }
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
