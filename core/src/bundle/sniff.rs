//! Says what a file seems to be when it is not a bundle.

use super::container::{LOCAL_LEN, LOCAL_SIG};
use super::manifest::MANIFEST;
use crate::error::{Error, Result};

/// Passes bytes that begin as a bundle does; otherwise the error says what they look like.
pub(super) fn check(bytes: &[u8]) -> Result<()> {
    if bytes.is_empty() {
        return Err(Error::data_loss("the file is empty (0 bytes): was a download cut off?"));
    }
    if bytes.starts_with(&LOCAL_SIG.to_le_bytes()) {
        let name_len = bytes.get(26..28).and_then(|b| b.try_into().ok()).map(u16::from_le_bytes);
        let Some(name) = name_len.and_then(|n| bytes.get(LOCAL_LEN..LOCAL_LEN + usize::from(n))) else {
            return Err(Error::data_loss("the file ends inside its first header: it is truncated"));
        };
        if name == MANIFEST.as_bytes() {
            return Ok(());
        }
        let name: String = name.iter().take(64).map(|b| b.escape_ascii().to_string()).collect();
        return Err(Error::invalid(format!(
            "this is a ZIP archive but not a bundle: its first entry is `{name}`, not `{MANIFEST}`"
        )));
    }
    let hint = match guess(bytes) {
        Some(what) => format!("it seems to be {what}"),
        None => "its first bytes are unknown".to_string(),
    };
    Err(Error::invalid(format!("this is not a PocketBERT bundle: {hint}")))
}

fn guess(b: &[u8]) -> Option<&'static str> {
    let text = b.trim_ascii_start();
    let html = |t: &[u8]| t.get(..t.len().min(9)).is_some_and(|h| h.eq_ignore_ascii_case(b"<!doctype"));
    Some(match b {
        [b'P', b'K', 5, 6, ..] => "an empty ZIP archive",
        [b'P', b'K', ..] => "a ZIP archive of another kind",
        [0x1f, 0x8b, ..] => "gzip data: decompress it first",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "zstd data: decompress it first",
        [b'B', b'Z', b'h', ..] => "bzip2 data: decompress it first",
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => "xz data: decompress it first",
        [b'G', b'G', b'U', b'F', ..] => "a GGUF model",
        [0x7f, b'E', b'L', b'F', ..] => "an ELF program or library",
        [_, _, _, _, b'T', b'F', b'L', b'3', ..] => "a TensorFlow Lite model",
        [_, _, _, _, _, _, _, _, b'{', b'"', ..] => "a safetensors file",
        _ if b.starts_with(b"version https://git-lfs") => "a Git LFS pointer: fetch the real file",
        _ if html(text) || text.starts_with(b"<html") => "an HTML page, perhaps a failed download",
        _ if b.get(257..262) == Some(b"ustar") => "a tar archive: unpack it first",
        // An ONNX file is a protobuf message that begins with the field `ir_version`, a small integer, and
        // goes on with another field of `ModelProto` (producer name, domain, graph, imports).
        [0x08, 1..=32, 0x12 | 0x1a | 0x22 | 0x3a | 0x42, ..] => "an ONNX model: open it as one",
        _ if text.starts_with(b"{") || text.starts_with(b"[") => "a JSON text",
        _ if b.iter().take(4096).all(|&b| b == 0) => {
            "nothing but zero bytes, as an unfinished download leaves"
        }
        _ => return None,
    })
}
