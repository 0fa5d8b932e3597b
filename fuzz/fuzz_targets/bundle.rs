//! Bytes that claim to be a bundle. The first byte chooses how deep they go:
//!
//! - 0: they are opened as they are;
//! - 1: they are a manifest, which gets right hashes and a right container;
//! - 2: they are a container, whose checksums are put right;
//! - 3: the same, through a file: mapped, copied and by its descriptor.
//!
//! Whatever opens must give all its parts, and write back as a bundle with the same manifest.

#![no_main]

use std::fs::File;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use pocketbert::bundle::manifest::Task;
use pocketbert::bundle::{Bundle, BundleWriter, Head, JsonText, OpenOptions, Verify};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const PARTS: [(&str, &[u8], u16); 3] =
    [("model.onnx", b"\x08\x08:\x00", 4), ("weights.bin", b"ABCDEFGH", 64), ("tokenizer.json", b"{}", 4)];

fuzz_target!(|data: &[u8]| {
    let Some((mode, rest)) = data.split_first() else { return };
    match mode % 4 {
        0 => _ = open(rest.to_vec()),
        1 => _ = open(wrap(rest)),
        2 => _ = open(repair(rest.to_vec())),
        _ => {
            let bytes = repair(rest.to_vec());
            let good = open(bytes.clone());
            through_a_file(bytes, good);
        }
    }
});

/// A file gives what bytes in memory give, however it is opened.
fn through_a_file(bytes: Vec<u8>, good: bool) {
    static PATH: LazyLock<PathBuf> =
        LazyLock::new(|| std::env::temp_dir().join(format!("pocketbert-fuzz-{}.pbert", std::process::id())));
    let path = &*PATH;
    let shifted = [b"xyz", &bytes[..], b"end"].concat();
    for (all, offset) in [(&bytes, 0), (&shifted, 3)] {
        std::fs::write(path, all).expect("a temporary file");
        for copy_into_memory in [false, true] {
            let options = OpenOptions { copy_into_memory, ..OpenOptions::default() };
            let file = File::open(path).expect("the file just written");
            let by_fd = Bundle::open_fd(&file, offset, bytes.len() as u64, &options);
            assert_eq!(by_fd.is_ok(), good);
            assert!(Bundle::open_fd(&file, offset + 1, all.len() as u64, &options).is_err());
            if offset > 0 {
                continue;
            }
            let opened = Bundle::open_path(path, &options);
            assert_eq!(opened.is_ok(), good);
            let Ok(bundle) = opened else { continue };
            assert_eq!(bundle.is_mapped(), !copy_into_memory);
            assert_eq!(bundle.fingerprint(), by_fd.expect("opened just before").fingerprint());
            let small = OpenOptions { max_size: 16, ..options };
            assert!(Bundle::open_path(path, &small).is_err());
        }
    }
    // A folder is no file, and what is written can be read.
    assert!(Bundle::open_path(std::env::temp_dir(), &OpenOptions::default()).is_err());
    if let (true, Ok(bundle)) = (good, Bundle::open_bytes(bytes, &OpenOptions::default())) {
        let mut writer = BundleWriter::new(bundle.manifest().clone());
        for e in bundle.entries().skip(1) {
            writer.add(e.name(), e.bytes());
        }
        writer.write_to(path).expect("what was read can be written");
        let again = Bundle::open_path(path, &OpenOptions::default()).expect("what was written can be read");
        assert_eq!(
            format!("{again:?}"),
            format!("{:?}", Bundle::open_path(path, &OpenOptions::default()).unwrap())
        );
        assert_eq!(again.manifest(), bundle.manifest());
    }
}

/// Does it open? If so, all its parts are there.
fn open(bytes: Vec<u8>) -> bool {
    let late = OpenOptions { verify: Verify::DeferWeights, ..OpenOptions::default() };
    let late = Bundle::open_bytes(bytes.clone(), &late);
    let full = Bundle::open_bytes(bytes, &OpenOptions::default());
    let Ok(bundle) = late else {
        assert!(full.is_err(), "the full check accepts what the deferred one refuses");
        return false;
    };
    assert_eq!(bundle.verify_weights().is_ok(), full.is_ok());
    let mut writer = BundleWriter::new(bundle.manifest().clone());
    let mut end = 0;
    for (i, e) in bundle.entries().enumerate() {
        assert!(e.offset() > end, "entries overlap");
        assert_eq!(e.sha256().is_some(), i > 0);
        end = e.offset() + e.bytes().len() as u64;
        if i > 0 {
            writer.add(e.name(), e.bytes());
        }
    }
    assert!(end < bundle.size());
    assert!(bundle.weights().is_ok() && bundle.manifest().head(None).is_some());
    if full.is_ok() {
        let again = Bundle::open_bytes(
            writer.to_vec().expect("what was read can be written"),
            &OpenOptions::default(),
        );
        assert_eq!(again.expect("what was written can be read").manifest(), bundle.manifest());
    }
    assert!(bundle.entry("no such entry").is_err());
    let mut twice = bundle.manifest().clone();
    for json in [&twice.validation, &twice.drift_baseline, &twice.activation_ranges].into_iter().flatten() {
        let value: Value = json.parse().expect("JSON is JSON");
        assert!(JsonText::new(&value).is_ok() && format!("{json:?}").len() >= json.as_str().len());
    }
    twice.heads.push(Head::new(&twice.heads[0].name, Task::Embedding, "o", vec![]));
    assert!(BundleWriter::new(twice).to_vec().is_err());
    full.is_ok()
}

/// A bundle around a manifest. If it is a JSON object, it lists the entries rightly.
fn wrap(manifest: &[u8]) -> Vec<u8> {
    let mut manifest = manifest.to_vec();
    if let Ok(Value::Object(mut m)) = serde_json::from_slice(&manifest) {
        let hex = |d: &[u8]| Sha256::digest(d).iter().map(|b| format!("{b:02x}")).collect::<String>();
        let entries =
            PARTS.iter().map(|(n, d, _)| (n.to_string(), json!({"sha256": hex(d), "size": d.len()})));
        m.insert("entries".into(), Value::Object(entries.collect()));
        manifest = Value::Object(m).to_string().into_bytes();
    }
    let (mut out, mut directory) = (vec![], vec![]);
    for (name, data, align) in [("manifest.json", &manifest[..], 4)].into_iter().chain(PARTS) {
        let at = out.len();
        let mut common = vec![10, 0, 0, 0, 0, 0, 0, 0, 0x21, 0];
        common.extend(crc32(data).to_le_bytes());
        common.extend([(data.len() as u32).to_le_bytes(); 2].as_flattened());
        common.extend((name.len() as u16).to_le_bytes());
        let pad = (at + 36 + name.len()).wrapping_neg() % usize::from(align);
        out.extend(b"PK\x03\x04");
        out.extend(&common);
        out.extend((6 + pad as u16).to_le_bytes());
        out.extend(name.as_bytes());
        out.extend([0x35, 0xd9]);
        out.extend((2 + pad as u16).to_le_bytes());
        out.extend(align.to_le_bytes());
        out.resize(out.len() + pad, 0);
        out.extend(data);
        directory.extend(b"PK\x01\x02\x0a\0");
        directory.extend(common);
        directory.extend([0; 12]);
        directory.extend((at as u32).to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let at = out.len() as u32;
    out.extend(&directory);
    out.extend(b"PK\x05\x06\0\0\0\0\x04\0\x04\0");
    out.extend((directory.len() as u32).to_le_bytes());
    out.extend(at.to_le_bytes());
    out.extend([0, 0]);
    out
}

/// Walks the local headers, computes their checksums, and copies them to the central headers.
fn repair(mut bytes: Vec<u8>) -> Vec<u8> {
    let mut sums = vec![];
    let mut at = 0;
    while bytes.get(at..at + 4) == Some(b"PK\x03\x04") && sums.len() < 64 {
        let (Some(size), Some(name), Some(extra)) = (
            number(&bytes, at + 22..at + 26),
            number(&bytes, at + 26..at + 28),
            number(&bytes, at + 28..at + 30),
        ) else {
            break;
        };
        let start = at + 30 + name + extra;
        let Some(sum) = bytes.get(start..start.saturating_add(size)).map(crc32) else { break };
        bytes[at + 14..at + 18].copy_from_slice(&sum.to_le_bytes());
        sums.push(sum);
        at = start + size;
    }
    for sum in sums {
        let Some(name) = number(&bytes, at + 28..at + 30) else { break };
        let Some(field) = bytes.get_mut(at + 16..at + 20) else { break };
        field.copy_from_slice(&sum.to_le_bytes());
        at += 46 + name;
    }
    bytes
}

fn number(bytes: &[u8], range: Range<usize>) -> Option<usize> {
    Some(bytes.get(range)?.iter().rev().fold(0, |n, &b| n << 8 | usize::from(b)))
}

/// Bit by bit, to be another one than the library's.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, &b| {
        (0..8).fold(crc ^ u32::from(b), |c, _| if c & 1 == 1 { (c >> 1) ^ 0xedb8_8320 } else { c >> 1 })
    })
}
