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
            "--json",
            "s.json",
        ],
    );
    assert!(table.contains("their activations"), "{table}");
    let s: serde_json::Value = serde_json::from_slice(&std::fs::read(dir.join("s.json")).unwrap()).unwrap();
    assert!(
        s["parts"].as_array().unwrap().iter().all(|p| p[1]["kl"].as_f64().unwrap() > 0.0),
        "{}",
        s["parts"]
    );
    for l in s["layers"].as_array().unwrap() {
        let noise = |of: &str| 10f64.powf(-0.1 * l[of]["sqnr"].as_f64().unwrap());
        let halves = noise("weights") + noise("activations");
        assert!(noise("alone") < 4.0 * halves && noise("alone") > 0.25 * halves, "{l}");
        assert_eq!(l["input"]["model_histogram"].as_array().unwrap().len(), 96);
        assert!(l["range"][0].as_f64() < l["range"][1].as_f64());
    }
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
fn every_method_makes_a_bundle_and_its_recipe_replays_it() {
    let dir = folder("methods");
    // The same texts in every form give the same calibration of the inputs.
    let texts: Vec<String> =
        (0..40).map(|i| format!("{} {}", WORDS[i % 26], WORDS[(i * 7 + 3) % 26])).collect();
    let put = |name: &str, text: String| std::fs::write(dir.join(name), text).unwrap();
    let each = |f: &dyn Fn(&String) -> String| texts.iter().map(f).collect::<String>();
    put("t.txt", each(&|t| format!("{t}\n")));
    put("t.tsv", each(&|t| format!("{t}\tlow\n")));
    put("t.csv", each(&|t| format!("\"{t}\",low\n")));
    put("t.jsonl", each(&|t| format!("{{\"text\":\"{t}\"}}\n")));
    put("t.conll", each(&|t| t.replace(' ', "\tO\n") + "\tO\n\n"));
    let mut numbers = vec![];
    for form in ["txt", "tsv", "csv", "jsonl", "conll"] {
        let file = format!("t.{form}");
        ok(&dir, &["calibrate", "model.onnx", "--texts", &file, "--samples", "30", "--out", "c.bin"]);
        let bytes = std::fs::read(dir.join("c.bin")).unwrap();
        // Behind the head, which names the file's hash.
        let head = u64::from_le_bytes(bytes[8..16].try_into().unwrap()) as usize;
        numbers.push(bytes[16 + head..].to_vec());
    }
    assert!(numbers.iter().all(|n| n[..] == numbers[0][..] && n.len() > 1000));
    ok(
        &dir,
        &["calibrate", "model.onnx", "--texts", "t.txt", "--samples", "30", "--seed", "2", "--out", "d.bin"],
    );
    assert_ne!(std::fs::read(dir.join("d.bin")).unwrap(), std::fs::read(dir.join("c.bin")).unwrap());
    let mut made = vec![];
    for method in [
        "--rounding adaround",
        "--rounding gptq --act-order true",
        "--rounding nearest",
        "--bias-correction true",
        "--migrate 0.5",
        "--activations static-symmetric",
        "--activations static --range mse",
        "--attention false",
    ] {
        let how: Vec<&str> =
            method.split(' ').chain(["--calibration", "c.bin", "--out", "a.pbert"]).collect();
        ok(&dir, &make(&how));
        let bytes = std::fs::read(dir.join("a.pbert")).unwrap();
        let replay = ["--recipe", "a.recipe.toml", "--calibration", "c.bin", "--out", "b.pbert"];
        ok(&dir, &make(&replay));
        assert!(std::fs::read(dir.join("b.pbert")).unwrap() == bytes, "{method}");
        // The hashes of graph and weights: the manifest holds the recipe, so whole bundles always differ.
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let entries = text[text.find("\"entries\"").unwrap()..].split("}}").next().unwrap().to_string();
        assert!(entries.contains("sha256") && entries.contains("weights.bin"), "{entries}");
        assert!(!made.contains(&entries), "{method} changes nothing");
        made.push(entries);
    }
    // A half-precision model, and a folder's model, are inputs too.
    let half = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/forms/fp16-ts-17.onnx");
    std::fs::copy(half, dir.join("half.onnx")).unwrap();
    for (model, same) in [("half.onnx", false), (".", true)] {
        let mut how = make(&["--rounding", "nearest", "--out", "h.pbert"]);
        how[1] = model;
        ok(&dir, &how);
        let made_so = std::fs::read(dir.join("h.pbert")).unwrap();
        ok(&dir, &make(&["--rounding", "nearest", "--out", "n.pbert"]));
        assert_eq!(made_so == std::fs::read(dir.join("n.pbert")).unwrap(), same, "{model}");
    }
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_search_takes_the_cheapest_and_falls_back_only_when_forced() {
    let dir = folder("auto");
    ok(&dir, &["calibrate", "model.onnx", "--texts", "train.txt", "--out", "c.bin"]);
    let dev = r#"{"sets":[{"head":"mood","name":"dev","role":"dev","file":"dev.tsv","max_length":24}]}"#;
    std::fs::write(dir.join("dev.json"), dev).unwrap();
    let search = |sets: &str, gate: &str| -> (Option<i32>, toml::Value) {
        let how =
            ["--auto", "--calibration", "c.bin", "--attention", "false", "--sets", sets, "--gate", gate];
        let o = run(&dir, &make(&[&how[..], &["--out", "a.pbert"]].concat()));
        let text = String::from_utf8_lossy(&o.stderr).into_owned();
        assert_ne!(o.status.code(), Some(2), "{text}");
        let recipe = std::fs::read_to_string(dir.join("a.recipe.toml")).unwrap();
        (o.status.code(), toml::from_str(&recipe).unwrap())
    };
    let kl = |t: &toml::Value| t["kl"].as_float().unwrap();
    let layers = |r: &toml::Value| r["method"]["half"].as_array().unwrap().len();
    // Anything passes: the first that is tried is taken, and the test set was hashed and judged.
    let (code, r) = search("sets.json", "kl<=1");
    let tried = r["auto"]["tried"].as_array().unwrap();
    assert_eq!((code, tried.len(), layers(&r)), (Some(0), 1, 0));
    assert_eq!(r["auto"]["test"][0][0].as_str(), Some("test"));
    // Nothing passes: every method, then every layer.
    let (code, r) = search("dev.json", "kl<=0");
    assert_eq!(code, Some(1));
    let tried = r["auto"]["tried"].as_array().unwrap();
    let int8 = tried[..15].iter().map(kl).fold(f64::INFINITY, f64::min);
    let floats = kl(tried.last().unwrap());
    assert!(tried[15..].iter().all(|t| t["method"].as_str().unwrap().contains("in f16")));
    assert!(floats < 0.5 * int8, "{floats} {int8}");
    // Between the two: some layers leave int8, and the recipe says which and why.
    let (code, r) = search("dev.json", &format!("kl<={}", (floats + int8) / 2.0));
    assert_eq!(code, Some(0));
    assert!(layers(&r) > 0 && layers(&r) < tried.len() - 15);
    let first = r["method"]["half"][0].as_str().unwrap();
    assert!(r["auto"]["why"].as_str().unwrap().contains(first));
    // What was found is replayed to the same bytes.
    let bytes = std::fs::read(dir.join("a.pbert")).unwrap();
    ok(&dir, &make(&["--recipe", "a.recipe.toml", "--calibration", "c.bin", "--out", "b.pbert"]));
    assert!(std::fs::read(dir.join("b.pbert")).unwrap() == bytes);
    std::fs::remove_dir_all(dir).unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_and_an_interrupt_leave_nothing() {
    let dir = folder("disk");
    let tool = env!("CARGO_BIN_EXE_pocketbert-quantize");
    let before = |dir: &Path| {
        let mut names: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let clean = before(&dir);
    // A limit of 4 KiB a file stands for a full disk.
    for what in [
        &["calibrate", "model.onnx", "--texts", "train.txt", "--out", "c.bin"][..],
        &make(&["--out", "a.pbert", "--onnx", "a.onnx"]),
    ] {
        let limited = "trap '' XFSZ; ulimit -f 8; exec \"$@\"";
        let o = Command::new("sh")
            .current_dir(&dir)
            .args(["-c", limited, "sh", tool])
            .args(what)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&o.stderr).into_owned();
        assert_eq!(o.status.code(), Some(2), "{text}");
        assert!(text.contains("too large") || text.contains("exhausted"), "{text}");
        assert_eq!(before(&dir), clean, "{text}");
    }
    fails(&dir, &make(&["--out", "model.onnx/a.pbert"]), "model.onnx");
    fails(&dir, &make(&["--out", "."]), "is a folder");
    // Long work, and Ctrl-C in the middle of it.
    let line = "a b c d e f g h i j k l m n o p q r s t\n";
    std::fs::write(dir.join("long.txt"), line.repeat(20_000)).unwrap();
    let mut child = Command::new(tool)
        .current_dir(&dir)
        .args(["calibrate", "model.onnx", "--texts", "long.txt", "--samples", "20000", "--out", "c.bin"])
        .spawn()
        .unwrap();
    // Until it catches SIGINT, which is the second bit.
    let catches = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let mask = status.lines().find_map(|l| l.strip_prefix("SigCgt:")).unwrap().trim();
        u64::from_str_radix(mask, 16).unwrap() & 2 != 0
    };
    while !catches() {
        std::thread::yield_now();
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    std::fs::remove_file(dir.join("long.txt")).unwrap();
    assert_eq!(before(&dir), clean);
    std::fs::remove_dir_all(dir).unwrap();
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
    // All bits set are no number, wherever in the weights they fall.
    let mut broken = std::fs::read(dir.join("model.onnx")).unwrap();
    // Three quarters of the way into this file lie weights.
    let middle = broken.len() * 3 / 4;
    broken[middle..middle + 8].fill(0xff);
    std::fs::write(dir.join("nan.onnx"), broken).unwrap();
    again[1] = "nan.onnx";
    fails(&dir, &again, "not finite");
    let more: String = (0..5000).map(|i| format!(",\"w{i}\":{}", 32 + i)).collect();
    let tokenizer = std::fs::read_to_string(dir.join("tokenizer.json")).unwrap();
    put("large.json", &tokenizer.replace("\"!\":31", &format!("\"!\":31{more}")));
    let mut other = make(&["--out", "a.pbert"]);
    other[5] = "large.json";
    fails(&dir, &other, "do not belong together");
    fails(&dir, &make(&["--auto", "--out", "a.pbert"]), "--gate");
    put("none.json", r#"{"sets":[]}"#);
    let auto =
        ["--auto", "--calibration", "c.bin", "--gate", "kl<=1", "--sets", "none.json", "--out", "a.pbert"];
    fails(&dir, &make(&auto), "no dev set");
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
