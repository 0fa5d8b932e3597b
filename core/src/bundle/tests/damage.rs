//! Damaged, cut, foreign and forged files: always an error that names what is wrong.

use super::*;

/// The error of opening, by every way of opening in memory; deferring may only forgive the weights.
fn fails(bytes: &[u8], what: impl std::fmt::Display) -> Error {
    match open(bytes) {
        Ok(_) => panic!("{what}: opened"),
        Err(e) => e,
    }
}

#[test]
fn every_flipped_byte_is_found() {
    let good = sample();
    let weights = {
        let b = open(&good).unwrap();
        let e = b.entry("weights.bin").unwrap();
        e.offset() as usize..e.offset() as usize + e.bytes().len()
    };
    let mut bytes = good.clone();
    for i in 0..good.len() {
        for flip in [1u8, 0x80, 0xff, 0x20] {
            bytes[i] ^= flip;
            fails(&bytes, format_args!("byte {i} xor {flip:#x}"));
            let late = Bundle::open_bytes(bytes.clone(), &deferred());
            assert_eq!(late.is_ok(), weights.contains(&i), "byte {i}");
            if let Ok(b) = late {
                assert_eq!(b.verify_weights().unwrap_err().kind(), ErrorKind::DataLoss);
            }
            bytes[i] = good[i];
        }
    }
}

#[test]
fn every_length_but_the_right_one_fails() {
    let good = sample();
    for n in 0..good.len() {
        let e = fails(&good[..n], format_args!("cut to {n}"));
        assert!(matches!(e.kind(), ErrorKind::DataLoss | ErrorKind::InvalidArgument), "{n}: {e}");
    }
    for tail in [&b"\0"[..], b"PK", &good, &[0; 22]] {
        let mut long = good.clone();
        long.extend_from_slice(tail);
        fails(&long, "with a tail");
    }
    for i in 0..good.len() {
        let mut other = good.clone();
        other.remove(i);
        // Removing one of two equal neighbours gives the same bytes as removing the other: still shorter.
        fails(&other, format_args!("without byte {i}"));
        let mut other = good.clone();
        other.insert(i, 0);
        fails(&other, format_args!("with a byte before {i}"));
    }
}

#[test]
fn random_damage_never_panics() {
    let good = sample();
    let mut rng = Rng(7);
    for round in 0..4000 {
        let mut bytes = good.clone();
        for _ in 0..1 + rng.below(4) {
            let i = rng.below(bytes.len());
            match rng.below(3) {
                0 => bytes[i] = rng.below(256) as u8,
                // Interesting numbers over two or four bytes, as sizes and offsets are.
                1 => {
                    let v = [0u32, 1, 0xffff, 0x7fff_ffff, u32::MAX, good.len() as u32][rng.below(6)];
                    for (b, v) in bytes[i..].iter_mut().zip(v.to_le_bytes()) {
                        *b = v;
                    }
                }
                _ => {
                    let j = rng.below(bytes.len());
                    bytes.swap(i, j);
                }
            }
        }
        assert_eq!(open(&bytes).is_ok(), bytes == good, "round {round}");
    }
}

#[test]
fn messages_say_what_a_file_seems_to_be() {
    let zip_head = |name: &[u8]| {
        let mut z = b"PK\x03\x04".to_vec();
        z.resize(26, 0);
        z.extend_from_slice(&(name.len() as u16).to_le_bytes());
        z.extend_from_slice(&[0, 0]);
        z.extend_from_slice(name);
        z
    };
    let mut tar = vec![b'a'; 600];
    tar[257..262].copy_from_slice(b"ustar");
    let cases: &[(&[u8], ErrorKind, &str)] = &[
        (b"", ErrorKind::DataLoss, "empty"),
        (&zip_head(b"word/document.xml"), ErrorKind::InvalidArgument, "`word/document.xml`"),
        (&zip_head(b"manifest.json"), ErrorKind::DataLoss, "truncated"),
        (b"PK\x03\x04\x0a", ErrorKind::DataLoss, "truncated"),
        (b"PK\x05\x06", ErrorKind::InvalidArgument, "empty ZIP"),
        (b"\x08\x07\x12\x07pytorch", ErrorKind::InvalidArgument, "ONNX"),
        (b"\x08\x08\x3a\x90\x01", ErrorKind::InvalidArgument, "ONNX"),
        (b"\x40\0\0\0\0\0\0\0{\"a\":{}}", ErrorKind::InvalidArgument, "safetensors"),
        (b"\x1f\x8b\x08", ErrorKind::InvalidArgument, "gzip"),
        (b"GGUF\x03", ErrorKind::InvalidArgument, "GGUF"),
        (b"\x1c\0\0\0TFL3", ErrorKind::InvalidArgument, "TensorFlow Lite"),
        (b"version https://git-lfs.github.com/spec/v1\n", ErrorKind::InvalidArgument, "Git LFS"),
        (b"\n<!DOCTYPE html>", ErrorKind::InvalidArgument, "HTML"),
        (b"{\"format_version\":1}", ErrorKind::InvalidArgument, "JSON"),
        (&tar, ErrorKind::InvalidArgument, "tar"),
        (&[0; 100], ErrorKind::InvalidArgument, "zero bytes"),
        (b"hello", ErrorKind::InvalidArgument, "unknown"),
    ];
    for (bytes, kind, word) in cases {
        let e = fails(bytes, word);
        assert_eq!(e.kind(), *kind, "{e}");
        assert!(e.message().contains(word), "{e} lacks {word}");
    }
    let folder = Folder::new();
    let e = Bundle::open_path(&folder.0, &OpenOptions::default()).unwrap_err();
    assert!(e.kind() == ErrorKind::InvalidArgument && e.message().contains("folder"), "{e}");
    let e = Bundle::open_path(folder.0.join("none"), &OpenOptions::default()).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotFound);
    let empty = folder.file("empty.pbert", b"");
    let e = Bundle::open_path(&empty, &OpenOptions::default()).unwrap_err();
    assert!(e.message().contains("empty.pbert") && e.message().contains("0 bytes"), "{e}");
}

/// Name, data and alignment of an entry.
type Part<'a> = (&'a str, &'a [u8], u16);

/// An archive of raw parts: what a forger would write, with right checksums.
fn forge(entries: &[Part<'_>]) -> Vec<u8> {
    let (mut out, mut directory) = (vec![], vec![]);
    for (name, data, align) in entries {
        let at = out.len() as u32;
        let mut common = vec![10, 0, 0, 0, 0, 0, 0, 0, 0x21, 0];
        common.extend(crc::crc32(data).to_le_bytes());
        common.extend((data.len() as u32).to_le_bytes());
        common.extend((data.len() as u32).to_le_bytes());
        common.extend((name.len() as u16).to_le_bytes());
        let pad = container::padding(u64::from(at), name.len(), *align) as u16;
        out.extend(b"PK\x03\x04");
        out.extend(&common);
        out.extend((6 + pad).to_le_bytes());
        out.extend(name.as_bytes());
        out.extend([0x35, 0xd9]);
        out.extend((2 + pad).to_le_bytes());
        out.extend(align.to_le_bytes());
        out.resize(out.len() + usize::from(pad), 0);
        out.extend(*data);
        directory.extend(b"PK\x01\x02\x0a\0");
        directory.extend(&common);
        directory.extend([0; 12]);
        directory.extend(at.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let at = out.len() as u32;
    out.extend(&directory);
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend((entries.len() as u16).to_le_bytes());
    out.extend((entries.len() as u16).to_le_bytes());
    out.extend((directory.len() as u32).to_le_bytes());
    out.extend(at.to_le_bytes());
    out.extend([0, 0]);
    out
}

#[test]
fn forged_structures_are_named() {
    let b = open(&sample()).unwrap();
    let m: &'static [u8] = b.entry(MANIFEST).unwrap().bytes().to_vec().leak();
    let w: &'static [u8] = weights().leak();
    let all: Vec<Part<'static>> = vec![
        (MANIFEST, m, 4),
        ("model.onnx", GRAPH, 4),
        ("weights.bin", w, 64),
        ("tokenizer.json", TOKENIZER, 4),
    ];
    // The forger's bytes are the writer's, so that the cases below differ in one thing each.
    assert_eq!(forge(&all), sample());
    let with = |f: &dyn Fn(&mut Vec<Part<'static>>)| {
        let mut e = all.clone();
        f(&mut e);
        fails(&forge(&e), "forged").message().to_string()
    };
    let cases = [
        (with(&|e| e.push(e[1])), "twice"),
        (with(&|e| e.push(("note.txt", b"x", 4))), "`note.txt` is not in the manifest"),
        (with(&|e| e.truncate(3)), "`tokenizer.json`, which the bundle lacks"),
        (with(&|e| e[2].2 = 4), "aligned to 4"),
        (with(&|e| e[2].2 = 128), "alignment 128"),
        (with(&|e| e.swap(0, 1)), "not `manifest.json`"),
        (with(&|e| e[3].1 = b"{ }"), "has 3 bytes, but the manifest says 2"),
        (with(&|e| e[3].1 = b"[]"), "SHA-256"),
        (with(&|e| e[2].1 = &w[1..]), "199 bytes"),
        (with(&|e| e.push(("../x", b"", 4))), "`../x` is not allowed"),
        (with(&|e| e.push(("/x", b"", 4))), "not allowed"),
        (with(&|e| e.push(("a//b", b"", 4))), "not allowed"),
        (with(&|e| e.push(("Readme", b"", 4))), "not allowed"),
        (with(&|e| e.push(("", b"", 4))), "not allowed"),
        (with(&|e| e.push(("model.onnx/x", b"", 4))), "a file and a folder"),
    ];
    for (message, part) in cases {
        assert!(message.contains(part), "`{message}` lacks `{part}`");
    }
    let names: Vec<String> = (0..65).map(|i| format!("e{i}")).collect();
    let mut many = all.clone();
    many.extend(names.iter().map(|n| (n.as_str(), &b""[..], 4)));
    assert!(fails(&forge(&many), "many").message().contains("69 entries"));
}
