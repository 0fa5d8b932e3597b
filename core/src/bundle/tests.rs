//! Tests of the bundle on small synthetic files.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use super::manifest::*;
use super::*;

mod damage;
mod rules;

/// A folder of the test's own, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static N: AtomicU32 = AtomicU32::new(0);
        let name = format!("pbert-test-{}-{}", std::process::id(), N.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Folder(path)
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(&self.0)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn manifest() -> Manifest {
    let labels = ["negative", "positive"].map(String::from).to_vec();
    let mut tags = Head::new("slots", Task::TokenClassification, "slots", vec![]);
    tags.labels = ["O", "B-city", "I-city"].map(String::from).to_vec();
    tags.tagging = Some(Tagging::Bio);
    let mut sentiment = Head::new("sentiment", Task::TextClassification, "sentiment_logits", labels);
    sentiment.thresholds.insert("positive".into(), 0.1);
    sentiment.temperature = 1.3;
    sentiment.windowing = Some(Windowing { size: 64, stride: 48 });
    let output = SelfTestOutput { shape: vec![1, 2], bits: vec![(-0.5f32).to_bits(), 1f32.to_bits()] };
    Manifest {
        format_version: 1,
        features: vec![],
        model: ModelCard {
            name: "tiny".into(),
            version: "1.2".into(),
            license: "MIT".into(),
            parent_sha256: Some("ab".repeat(32)),
            recipe: Some(
                JsonText::new(&serde_json::json!({"steps": [1, 2.5, -3], "note": "q\"\u{e9}"})).unwrap(),
            ),
            ..ModelCard::default()
        },
        graph: EntryRef { entry: "model.onnx".into() },
        weights: EntryRef { entry: "weights.bin".into() },
        tokenizer: TokenizerRef { entry: "tokenizer.json".into(), max_length: 128 },
        heads: vec![sentiment, tags],
        default_head: Some("sentiment".into()),
        entries: BTreeMap::new(),
        activation_ranges: None,
        drift_baseline: None,
        validation: None,
        constants_sha256: None,
        self_test: vec![SelfTest {
            text: "good".into(),
            pair: None,
            ids: vec![101, 1363, 102],
            outputs: BTreeMap::from([("sentiment".to_string(), output)]),
        }],
    }
}

const GRAPH: &[u8] = b"\x08\x08:\x00";
const TOKENIZER: &[u8] = b"{}";

fn weights() -> Vec<u8> {
    (0..200u8).collect()
}

fn writer() -> BundleWriter<'static> {
    let mut w = BundleWriter::new(manifest());
    w.add("model.onnx", GRAPH).add("weights.bin", weights()).add("tokenizer.json", TOKENIZER);
    w
}

fn sample() -> Vec<u8> {
    writer().to_vec().unwrap()
}

fn open(bytes: &[u8]) -> Result<Bundle> {
    Bundle::open_bytes(bytes.to_vec(), &OpenOptions::default())
}

fn deferred() -> OpenOptions {
    OpenOptions { verify: Verify::DeferWeights, ..OpenOptions::default() }
}

/// SplitMix64 (Steele, Lea and Flood 2014): seeded numbers for the property tests.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }
}

#[test]
fn what_was_written_is_read() {
    let bytes = sample();
    let b = open(&bytes).unwrap();
    assert_eq!(b.size(), bytes.len() as u64);
    assert!(!b.is_mapped());
    let names: Vec<_> = b.entries().map(|e| e.name().to_string()).collect();
    assert_eq!(names, ["manifest.json", "model.onnx", "weights.bin", "tokenizer.json"]);
    assert_eq!(b.entry("model.onnx").unwrap().bytes(), GRAPH);
    assert_eq!(b.entry("tokenizer.json").unwrap().bytes(), TOKENIZER);
    assert_eq!(&*b.weights().unwrap(), &weights()[..]);
    assert_eq!(b.entry("other").err().unwrap().kind(), ErrorKind::NotFound);
    let mut expected = manifest();
    expected.entries = b.manifest().entries.clone();
    assert_eq!(*b.manifest(), expected);
    assert_eq!(expected.entries.len(), 3);
    for e in b.entries() {
        let align = if e.name() == "weights.bin" { 64 } else { 4 };
        assert_eq!(e.offset() % align, 0, "{}", e.name());
        assert_eq!(&bytes[e.offset() as usize..][..e.bytes().len()], e.bytes());
        assert_eq!(e.sha256().map(str::to_string), (e.name() != MANIFEST).then(|| sha256(e.bytes())));
    }
    let recipe: serde_json::Value = b.manifest().model.recipe.as_ref().unwrap().parse().unwrap();
    assert_eq!(recipe["steps"][1], 2.5);
    assert_eq!(b.manifest().head(None).unwrap().name, "sentiment");
    assert_eq!(b.manifest().head(Some("slots")).unwrap().labels.len(), 3);
    assert!(b.manifest().head(Some("none")).is_none());
    assert_eq!(b.fingerprint(), sha256(b.entry(MANIFEST).unwrap().bytes()));
}

#[test]
fn digests_match_published_values() {
    // The check value of CRC-32/ISO-HDLC, and the example "abc" of FIPS 180-4.
    assert_eq!(crc::crc32(b"123456789"), 0xcbf4_3926);
    assert_eq!(crc::crc32(b""), 0);
    assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    // Any split gives the same value as one piece.
    let data: Vec<u8> = (0..100u8).map(|i| i.wrapping_mul(37)).collect();
    for cut in 0..data.len() {
        let mut c = crc::Crc::new();
        c.update(&data[..cut]);
        c.update(&data[cut..]);
        assert_eq!(c.finish(), crc::crc32(&data));
    }
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let folder = Folder::new();
    let (a, b) = (folder.0.join("a.pbert"), folder.0.join("b.pbert"));
    writer().write_to(&a).unwrap();
    let mut w = BundleWriter::new(manifest());
    w.add("model.onnx", GRAPH);
    w.add_file("weights.bin", folder.file("w", &weights())).add("tokenizer.json", Cow::Borrowed(TOKENIZER));
    w.write_to(&b).unwrap();
    assert_eq!(std::fs::read(&a).unwrap(), sample());
    assert_eq!(std::fs::read(&b).unwrap(), sample());
    assert_eq!(folder.names(), ["a.pbert", "b.pbert", "w"]);
}

/// The worked example of `docs/bundle-format.md`. Version 1 is settled: its bytes never change.
#[test]
fn the_documented_example_is_what_is_written() {
    let text = r#"{"format_version":1,"model":{"name":"tiny","version":"1"},"graph":{"entry":"model.onnx"},
        "weights":{"entry":"weights.bin"},"tokenizer":{"entry":"tokenizer.json","max_length":8},
        "heads":[{"name":"h","task":"embedding","output":"o"}]}"#;
    let mut w = BundleWriter::new(serde_json::from_str(text).unwrap());
    w.add("model.onnx", &b"\x08\x08:\x00"[..])
        .add("weights.bin", &b"ABCDEFGH"[..])
        .add("tokenizer.json", TOKENIZER);
    let bytes = w.to_vec().unwrap();
    assert_eq!(bytes.len(), 1148);
    assert_eq!(sha256(&bytes), "865496fb6442ef7e1d877f047fa21fefb6ee9c5f5532610acbe25e6164d3b632");
}

#[test]
fn a_failed_write_leaves_the_old_file_alone() {
    let folder = Folder::new();
    let path = folder.file("a.pbert", b"old");
    let mut w = writer();
    w.add_file("more.bin", folder.0.join("missing"));
    assert_eq!(w.write_to(&path).unwrap_err().kind(), ErrorKind::NotFound);
    let mut w = writer();
    w.add("weights.bin", &b"twice"[..]);
    assert_eq!(w.write_to(&path).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(std::fs::read(&path).unwrap(), b"old");
    assert_eq!(folder.names(), ["a.pbert"]);
    // The target is a folder: the rename itself fails.
    let target = folder.0.join("d");
    std::fs::create_dir(&target).unwrap();
    std::fs::write(target.join("x"), b"x").unwrap();
    writer().write_to(&target).unwrap_err();
    assert_eq!(folder.names(), ["a.pbert", "d"]);
}

#[test]
fn paths_open_mapped_or_copied() {
    let folder = Folder::new();
    let path = folder.file("a.pbert", &sample());
    let mapped = Bundle::open_path(&path, &OpenOptions::default()).unwrap();
    assert!(mapped.is_mapped());
    let copy = OpenOptions { copy_into_memory: true, ..OpenOptions::default() };
    let copied = Bundle::open_path(&path, &copy).unwrap();
    assert!(!copied.is_mapped());
    assert_eq!(mapped.manifest(), copied.manifest());
    assert_eq!(&*mapped.weights().unwrap(), &*copied.weights().unwrap());
    let small = OpenOptions { max_size: 100, ..OpenOptions::default() };
    assert_eq!(Bundle::open_path(&path, &small).unwrap_err().kind(), ErrorKind::ResourceExhausted);
    assert_eq!(Bundle::open_bytes(sample(), &small).unwrap_err().kind(), ErrorKind::ResourceExhausted);
    let shared: Arc<[u8]> = sample().into();
    assert_eq!(&*Bundle::open_bytes(shared, &copy).unwrap().weights().unwrap(), &weights()[..]);
}

#[test]
fn weights_outlive_the_bundle_and_a_replaced_file() {
    let folder = Folder::new();
    let path = folder.file("a.pbert", &sample());
    let bundle = Bundle::open_path(&path, &deferred()).unwrap();
    let handle = bundle.weights().unwrap();
    let mut w = BundleWriter::new(manifest());
    w.add("model.onnx", GRAPH).add("weights.bin", vec![7; 9]).add("tokenizer.json", TOKENIZER);
    let thread = std::thread::spawn({
        let handle = handle.clone();
        move || (0..200).all(|_| handle[..] == weights()[..])
    });
    w.write_to(&path).unwrap();
    assert!(thread.join().unwrap());
    bundle.verify_weights().unwrap();
    let new = Bundle::open_path(&path, &OpenOptions::default()).unwrap();
    assert_eq!(&*new.weights().unwrap(), &[7; 9]);
    drop(bundle);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(handle[..], weights()[..]);
}

#[cfg(unix)]
#[test]
fn descriptors_open_at_any_offset() {
    use std::io::Seek;
    let folder = Folder::new();
    let bytes = sample();
    let copy = OpenOptions { copy_into_memory: true, ..OpenOptions::default() };
    for offset in [0usize, 1, 3, 4, 63, 4095, 4096, 4097, 70_001] {
        let mut file = vec![0x5a; offset];
        file.extend_from_slice(&bytes);
        file.extend_from_slice(b"after");
        let mut file = std::fs::File::open(folder.file("x", &file)).unwrap();
        for o in [&OpenOptions::default(), &copy] {
            let b = Bundle::open_fd(&file, offset as u64, bytes.len() as u64, o).unwrap();
            assert_eq!(b.is_mapped(), !o.copy_into_memory);
            assert_eq!(&*b.weights().unwrap(), &weights()[..]);
            assert_eq!(file.stream_position().unwrap(), 0);
            // One byte less, one more, and one beyond the end of the file.
            for (at, n) in [(offset, bytes.len() - 1), (offset, bytes.len() + 1), (offset + 6, bytes.len())] {
                let e = Bundle::open_fd(&file, at as u64, n as u64, o).unwrap_err();
                assert!(matches!(e.kind(), ErrorKind::DataLoss | ErrorKind::InvalidArgument), "{e}");
            }
            let e = Bundle::open_fd(&file, u64::MAX, 2, o).unwrap_err();
            assert_eq!(e.kind(), ErrorKind::DataLoss);
        }
    }
    let (pipe, _writer) = std::io::pipe().unwrap();
    assert_eq!(
        Bundle::open_fd(&pipe, 0, 10, &OpenOptions::default()).unwrap_err().kind(),
        ErrorKind::InvalidArgument
    );
}

#[test]
fn any_entries_come_back() {
    let mut rng = Rng(1);
    for round in 0..60 {
        let mut w = BundleWriter::new(manifest());
        let mut all = BTreeMap::new();
        let extra = ["a", "b/c.txt", "b/d-e_1", "license", "x.y.z", "0"];
        let extra = &extra[..rng.below(extra.len() + 1)];
        for name in ["tokenizer.json", "weights.bin", "model.onnx"].iter().chain(extra) {
            let n = [0, 1, 3, 63, 64, 65, 1000][rng.below(7)] + rng.below(5);
            let data: Vec<u8> = (0..n).map(|_| rng.below(256) as u8).collect();
            w.add(*name, data.clone());
            all.insert(name.to_string(), data);
        }
        let b = open(&w.to_vec().unwrap()).unwrap();
        assert_eq!(b.entries().count(), all.len() + 1, "round {round}");
        for (name, data) in &all {
            assert_eq!(b.entry(name).unwrap().bytes(), data, "{name}, round {round}");
        }
    }
}
