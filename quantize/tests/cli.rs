//! The whole way from a small FP32 graph to a bundle with its proof, and what is said when something is wrong.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const WORDS: [&str; 27] = [
    "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s", "t", "u",
    "v", "w", "x", "y", "z", "!",
];

/// A new folder with the model, a tokenizer of one letter a word, heads and texts.
fn folder(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("pocketbert-quantize-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    let put = |name: &str, text: String| std::fs::write(dir.join(name), text).unwrap();
    let graph = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/forms/fp32-ts-17.onnx");
    std::fs::copy(graph, dir.join("model.onnx")).unwrap();
    let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
    let vocab: Vec<String> =
        special.iter().chain(&WORDS).enumerate().map(|(i, w)| format!("{w:?}:{i}")).collect();
    let added: Vec<String> = special
        .iter()
        .enumerate()
        .map(|(i, w)| {
            format!(
                r#"{{"id":{i},"content":{w:?},"single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}}"#
            )
        })
        .collect();
    put(
        "tokenizer.json",
        format!(
            r###"{{"version":"1.0","truncation":null,"padding":null,"added_tokens":[{}],
            "normalizer":{{"type":"BertNormalizer","clean_text":true,"handle_chinese_chars":true,"strip_accents":false,"lowercase":true}},
            "pre_tokenizer":{{"type":"BertPreTokenizer"}},
            "post_processor":{{"type":"TemplateProcessing",
              "single":[{{"SpecialToken":{{"id":"[CLS]","type_id":0}}}},{{"Sequence":{{"id":"A","type_id":0}}}},{{"SpecialToken":{{"id":"[SEP]","type_id":0}}}}],
              "pair":[{{"SpecialToken":{{"id":"[CLS]","type_id":0}}}},{{"Sequence":{{"id":"A","type_id":0}}}},{{"SpecialToken":{{"id":"[SEP]","type_id":0}}}},{{"Sequence":{{"id":"B","type_id":1}}}},{{"SpecialToken":{{"id":"[SEP]","type_id":1}}}}],
              "special_tokens":{{"[CLS]":{{"id":"[CLS]","ids":[2],"tokens":["[CLS]"]}},"[SEP]":{{"id":"[SEP]","ids":[3],"tokens":["[SEP]"]}}}}}},
            "decoder":null,
            "model":{{"type":"WordPiece","unk_token":"[UNK]","continuing_subword_prefix":"##","max_input_chars_per_word":100,"vocab":{{{}}}}}}}"###,
            added.join(","),
            vocab.join(",")
        ),
    );
    put(
        "heads.json",
        r#"[{"name":"mood","task":"text-classification","output":"logits","labels":["low","middle","high"]}]"#.into(),
    );
    let text = |i: usize| -> String {
        (0..3 + i % 9).map(|j| WORDS[(i * 7 + j * (i % 5 + 1)) % 26]).collect::<Vec<_>>().join(" ")
    };
    put("train.txt", (0..64).map(|i| text(i) + "\n").collect());
    let label = ["low", "middle", "high"];
    put("dev.tsv", (0..40).map(|i| format!("{}\t{}\n", text(100 + i), label[i % 3])).collect());
    put("test.tsv", (0..80).map(|i| format!("{}\t{}\n", text(200 + i), label[i * 2 % 3])).collect());
    put(
        "sets.json",
        r#"{"sets":[{"head":"mood","name":"dev","role":"dev","file":"dev.tsv","max_length":24},
                    {"head":"mood","name":"test","role":"test","file":"test.tsv","max_length":24}]}"#
            .into(),
    );
    dir
}

fn run(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pocketbert-quantize")).current_dir(dir).args(args).output().unwrap()
}

fn ok(dir: &Path, args: &[&str]) -> String {
    let o = run(dir, args);
    let text = String::from_utf8_lossy(&o.stderr).into_owned() + &String::from_utf8_lossy(&o.stdout);
    assert!(o.status.success(), "{args:?}: {text}");
    text
}

fn fails(dir: &Path, args: &[&str], says: &str) {
    let o = run(dir, args);
    let text = String::from_utf8_lossy(&o.stderr);
    assert_eq!(o.status.code(), Some(2), "{args:?}: {text}");
    assert!(text.contains(says), "{args:?}: {text}");
}

const MAKE: [&str; 10] = [
    "quantize",
    "model.onnx",
    "--heads",
    "heads.json",
    "--tokenizer",
    "tokenizer.json",
    "--name",
    "m",
    "--model-version",
    "1",
];

fn make<'a>(more: &[&'a str]) -> Vec<&'a str> {
    MAKE.iter().copied().chain(more.iter().copied()).collect()
}

#[test]
fn the_standard_onnx_answers_as_the_bundle() {
    let dir = folder("onnx");
    ok(&dir, &["calibrate", "model.onnx", "--texts", "train.txt", "--out", "c.bin"]);
    std::fs::create_dir(dir.join("s")).unwrap();
    std::fs::copy(dir.join("tokenizer.json"), dir.join("s/tokenizer.json")).unwrap();
    for activations in ["per-token", "per-token-symmetric", "static"] {
        // The products of attention are f32 in standard ONNX.
        let how = ["--activations", activations, "--attention", "false", "--calibration", "c.bin"];
        ok(&dir, &make(&[&how[..], &["--out", "a.pbert", "--onnx", "s/model.onnx"]].concat()));
        let beside = ["--heads", "heads.json", "--sets", "sets.json", "--gate", "flips<=0%, kl<=0"];
        let model = ["validate", "--reference", "a.pbert", "--model", "s/model.onnx"];
        ok(&dir, &[&model[..], &beside].concat());
        // It is int8 that is compared.
        let float = ["validate", "--reference", "model.onnx", "--model", "s/model.onnx"];
        assert_eq!(run(&dir, &[&float[..], &beside].concat()).status.code(), Some(1));
    }
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn from_a_graph_to_a_bundle_with_its_proof() {
    let dir = folder("way");
    ok(&dir, &["calibrate", "model.onnx", "--texts", "train.txt", "--samples", "48", "--out", "c.bin"]);
    let first = std::fs::read(dir.join("c.bin")).unwrap();
    ok(
        &dir,
        &[
            "calibrate",
            "model.onnx",
            "--texts",
            "train.txt",
            "--samples",
            "48",
            "--threads",
            "1",
            "--out",
            "c.bin",
        ],
    );
    assert!(std::fs::read(dir.join("c.bin")).unwrap() == first, "calibration depends on the threads");
    ok(&dir, &make(&["--preset", "closest", "--calibration", "c.bin", "--out", "a.pbert"]));
    // The recipe gives the same bytes.
    ok(
        &dir,
        &make(&["--recipe", "a.recipe.toml", "--calibration", "c.bin", "--threads", "1", "--out", "b.pbert"]),
    );
    assert!(std::fs::read(dir.join("a.pbert")).unwrap() == std::fs::read(dir.join("b.pbert")).unwrap());
    for range in ["min-max", "moving-average", "percentile", "mse", "entropy"] {
        ok(
            &dir,
            &make(&["--preset", "static", "--range", range, "--calibration", "c.bin", "--out", "s.pbert"]),
        );
    }
    ok(
        &dir,
        &[
            "fit",
            "a.pbert",
            "--sets",
            "sets.json",
            "--threshold",
            "mood:high",
            "--baseline",
            "--out",
            "f.pbert",
        ],
    );
    let judge = |gate: &str| {
        run(
            &dir,
            &[
                "validate",
                "--reference",
                "model.onnx",
                "--model",
                "f.pbert",
                "--sets",
                "sets.json",
                "--cache",
                "cache",
                "--slices",
                "all",
                "--gate",
                gate,
                "--json",
                "r.json",
                "--html",
                "r.html",
                "--calibration",
                "c.bin",
            ],
        )
    };
    let o = judge("flips<=50%, kl<=0.1");
    assert!(o.status.success(), "{}", String::from_utf8_lossy(&o.stderr));
    let result = std::fs::read_to_string(dir.join("r.json")).unwrap();
    // From the cache: the same result.
    assert!(judge("flips<=50%, kl<=0.1").status.success());
    assert_eq!(std::fs::read_to_string(dir.join("r.json")).unwrap(), result);
    let o = judge("kl<=0");
    assert_eq!(o.status.code(), Some(1), "int8 is not FP32");
    assert!(String::from_utf8_lossy(&o.stderr).contains("FAIL kl<=0"));
    assert!(std::fs::read_to_string(dir.join("r.html")).unwrap().contains("Fails 1 of 1 gates"));
    // A model beside itself differs in nothing.
    let same = ok(
        &dir,
        &[
            "validate",
            "--reference",
            "f.pbert",
            "--model",
            "f.pbert",
            "--sets",
            "sets.json",
            "--gate",
            "kl<=0, flips<=0%",
        ],
    );
    assert!(same.contains("0 flips of 120"), "{same}");
    ok(&dir, &["bundle", "make", "f.pbert", "--validation", "r.json", "--out", "v.pbert"]);
    assert!(ok(&dir, &["bundle", "verify", "v.pbert"]).contains("0 wrong"));
    ok(&dir, &["bundle", "unpack", "v.pbert", "parts"]);
    let manifest = std::fs::read_to_string(dir.join("parts/manifest.json")).unwrap();
    assert!(
        manifest.contains("\"flips_interval\"") && manifest.contains("\"thresholds\":{\"high\""),
        "{manifest}"
    );
    ok(&dir, &["bundle", "make", "parts", "--out", "w.pbert"]);
    assert!(std::fs::read(dir.join("v.pbert")).unwrap() == std::fs::read(dir.join("w.pbert")).unwrap());
    let table = ok(
        &dir,
        &[
            "sensitivity",
            "model.onnx",
            "--tokenizer",
            "tokenizer.json",
            "--texts",
            "train.txt",
            "--calibration",
            "c.bin",
        ],
    );
    assert!(table.contains("all layers in int8"), "{table}");
    // Nothing half-written lies around.
    let left: Vec<_> = std::fs::read_dir(&dir)
        .unwrap()
        .filter_map(|e| e.unwrap().file_name().into_string().ok())
        .filter(|n| n.contains(".part") || n.contains(".tmp"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn what_is_wrong_is_said_before_long_work() {
    let dir = folder("wrong");
    let put = |name: &str, text: &str| std::fs::write(dir.join(name), text).unwrap();
    put("empty.txt", "\n\n");
    put("few.txt", "a b\nc d\n");
    fails(&dir, &["calibrate", "model.onnx", "--texts", "empty.txt", "--out", "c.bin"], "holds no text");
    fails(&dir, &["calibrate", "model.onnx", "--texts", "few.txt", "--out", "c.bin"], "too few to calibrate");
    assert!(!dir.join("c.bin").exists());
    fails(&dir, &make(&["--preset", "closest", "--out", "a.pbert"]), "--calibration");
    put("c.bin", "no calibration");
    fails(
        &dir,
        &make(&["--preset", "closest", "--calibration", "c.bin", "--out", "a.pbert"]),
        "no calibration file",
    );
    fails(&dir, &make(&["--loud", "10", "--out", "a.pbert"]), "multiple of 64");
    let int8 = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/forms/dynamic-ts-17.onnx");
    std::fs::copy(int8, dir.join("int8.onnx")).unwrap();
    let mut again = make(&["--out", "a.pbert"]);
    again[1] = "int8.onnx";
    fails(&dir, &again, "quantized already");
    assert!(!dir.join("a.pbert").exists());
    ok(&dir, &make(&["--out", "a.pbert"]));
    put("odd.tsv", "a b\tlow\nc d\tnowhere\n");
    put("odd.json", r#"{"sets":[{"head":"mood","name":"odd","role":"test","file":"odd.tsv"}]}"#);
    let judge =
        |sets: &'static str| ["validate", "--reference", "a.pbert", "--model", "a.pbert", "--sets", sets];
    fails(&dir, &judge("odd.json"), "no label `nowhere`");
    put("head.json", r#"{"sets":[{"head":"taste","name":"odd","role":"test","file":"odd.tsv"}]}"#);
    fails(&dir, &judge("head.json"), "no head `taste`");
    let mut gate = judge("sets.json").to_vec();
    gate.extend(["--gate", "speed<=1"]);
    fails(&dir, &gate, "known are");
    fails(&dir, &["bundle", "unpack", "a.pbert", "."], "exists already");
    std::fs::remove_dir_all(&dir).unwrap();
}
