//! The `pocketbert` binary as scripts see it, on the tiny model: answers, exit status, messages.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use pocketbert::bundle::manifest::Task;
use pocketbert::bundle::{Bundle, BundleWriter, OpenOptions as BundleOptions};
use pocketbert::cancel::Stop;
use pocketbert::kernels::Isa;
use pocketbert::model::{Batch, Model, OpenOptions, RunOptions};
use pocketbert::text::EncodeOptions;
use pocketbert::{LoadState, TextClassifier};
use prost::Message;
use serde_json::Value;
use tract_onnx::pb::ModelProto;

#[path = "cli/spans.rs"]
mod spans;

#[path = "cli/files.rs"]
mod files;

#[path = "cli/heads.rs"]
mod heads;

#[path = "cli/run.rs"]
mod run_command;

#[path = "cli/tools.rs"]
mod tools;

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny.pbert");
const TEXTS: [&str; 4] = ["what a lovely film", "", "Zürich 日本 😀 \u{301}", "a dull, endless mess"];

struct Done {
    code: i32,
    out: String,
    err: String,
}

/// Runs the binary with `input` on stdin. Whatever it does, it must neither panic nor die of a signal.
fn pocketbert(args: &[&str], input: impl AsRef<[u8]>) -> Done {
    let mut child = start(args);
    let mut stdin = child.stdin.take().unwrap();
    let input = input.as_ref().to_vec();
    // It may end without reading everything.
    let feed = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let done = child.wait_with_output().unwrap();
    feed.join().unwrap();
    let err = String::from_utf8(done.stderr).unwrap();
    let code = done.status.code().unwrap_or_else(|| panic!("killed by a signal: {args:?}: {err}"));
    assert!((0..=2).contains(&code) && !err.contains("panicked"), "{args:?}: {code}: {err}");
    Done { code, out: String::from_utf8(done.stdout).unwrap(), err }
}

fn start(args: &[&str]) -> std::process::Child {
    Command::new(env!("CARGO_BIN_EXE_pocketbert"))
        .args(args)
        .env_remove("POCKETBERT_MODEL")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn good(args: &[&str], input: impl AsRef<[u8]>) -> String {
    let d = pocketbert(args, input);
    assert_eq!(d.code, 0, "{args:?}: {}", d.err);
    d.out
}

fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))
}

fn run(input: &str, more: &[&str]) -> Vec<Value> {
    let args = [&["run", MODEL], more].concat();
    good(&args, input).lines().map(json).collect()
}

/// A file of this test in Cargo's folder for such.
fn temp(name: &str, bytes: &[u8]) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cli-{name}"));
    std::fs::write(&path, bytes).unwrap();
    path
}

fn str(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The f32 that a JSON number reads back as, through its own text.
fn f32s(v: &Value) -> Vec<f32> {
    v.as_array().unwrap().iter().map(|x| x.to_string().parse().unwrap()).collect()
}

fn bits(v: &[f32]) -> Vec<u32> {
    v.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn classify_gives_what_the_library_gives() {
    let classifier = TextClassifier::open(MODEL).unwrap();
    let expected = classifier.classify_batch(&TEXTS).unwrap();
    let lines = good(&["classify", "-", "--model", MODEL, "--json"], TEXTS.join("\n") + "\n");
    let answers: Vec<_> = lines.lines().map(json).collect();
    assert_eq!(answers.len(), TEXTS.len());
    let head = classifier.head().unwrap();
    for ((answer, e), text) in answers.iter().zip(&expected).zip(TEXTS) {
        assert_eq!(answer["head"], head.name.as_str());
        assert_eq!(bits(&f32s(&answer["logits"])), bits(&e.logits), "{text:?}");
        assert_eq!(answer["tokens"], e.token_count);
        assert_eq!(answer["model_version"], e.model_version.as_str());
        let labels: Vec<_> =
            answer["labels"].as_array().unwrap().iter().map(|l| l["label"].clone()).collect();
        assert_eq!(labels, e.labels.iter().map(|l| l.label.as_str()).collect::<Vec<_>>());
        let sum: f64 =
            answer["labels"].as_array().unwrap().iter().map(|l| l["probability"].as_f64().unwrap()).sum();
        assert!(head.multi_label || (sum - 1.0).abs() < 1e-5, "{sum}");
    }
    // One text as an argument, and a file, give the same as standard input.
    for (text, line) in TEXTS.iter().zip(lines.lines()) {
        assert_eq!(good(&["classify", text, "--model", MODEL, "--json"], "").trim_end(), line);
    }
    let file = temp("texts.txt", TEXTS.join("\r\n").as_bytes());
    assert_eq!(good(&["classify", "--file", str(&file), "--model", MODEL, "--json"], ""), lines);
}

#[test]
fn classify_options_choose_labels() {
    let classifier = TextClassifier::open(MODEL).unwrap();
    let all = classifier.classify(TEXTS[0]).unwrap();
    let (best, worst) = (&all.labels[0], all.labels.last().unwrap());
    let ask = |more: &[&str]| {
        let args = [&["classify", TEXTS[0], "--model", MODEL, "--json"], more].concat();
        let v = json(&good(&args, ""));
        v["labels"]
            .as_array()
            .unwrap()
            .iter()
            .map(|l| l["label"].as_str().unwrap().to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(ask(&["--top-k", "1"]), [best.label.as_str()]);
    assert_eq!(ask(&["--allow", &worst.label]), [worst.label.as_str()]);
    assert!(!ask(&["--deny", &best.label]).contains(&best.label));
    assert!(ask(&["--threshold", "1"]).is_empty());
    assert_eq!(ask(&["--head", &classifier.head().unwrap().name]).len(), all.labels.len());
    // A person sees the best label first, with its probability.
    let table = good(&["classify", TEXTS[0], "--model", MODEL], "");
    let first = table.lines().next().unwrap();
    assert!(
        first.starts_with(&best.label) && first.ends_with(&format!("{:.4}", best.probability)),
        "{table}"
    );
}

#[test]
fn the_default_model_comes_from_the_environment() {
    let ask = |value: &str| {
        Command::new(env!("CARGO_BIN_EXE_pocketbert"))
            .args(["classify", "x", "--json"])
            .env("POCKETBERT_MODEL", value)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    };
    let named = ask(MODEL);
    assert_eq!(named.status.code(), Some(0));
    assert_eq!(
        String::from_utf8(named.stdout).unwrap(),
        good(&["classify", "x", "--json", "--model", MODEL], "")
    );
    let missing = ask("no/such/model.pbert");
    assert_eq!(missing.status.code(), Some(2));
    assert!(String::from_utf8(missing.stderr).unwrap().contains("no/such/model.pbert"));
}

#[cfg(unix)]
#[test]
fn a_reader_that_leaves_is_no_error() {
    let mut child = start(&["run", MODEL]);
    let mut stdin = child.stdin.take().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    writeln!(stdin, "{{\"text\": \"one\"}}").unwrap();
    out.read_line(&mut String::new()).unwrap();
    drop(out);
    let _ = stdin.write_all("{\"text\": \"two\"}\n".repeat(3).as_bytes());
    drop(stdin);
    let done = child.wait_with_output().unwrap();
    assert_eq!((done.status.code(), done.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn bad_lines_end_with_2_after_the_good_ones_and_name_the_line() {
    let vocab = Model::open(MODEL, &OpenOptions::default()).unwrap().info().vocab;
    let secret = "SECRET";
    let cases = [
        ("{".to_string(), "not JSON"),
        (String::new(), "not a JSON object"),
        ("[\"text\"]".into(), "not a JSON object"),
        ("{}".into(), "either `text` or `ids`"),
        ("{\"text\": 1}".into(), "name or type"),
        (format!("{{\"ids\": \"{secret}\"}}"), "name or type"),
        (format!("{{\"{secret}\": 1}}"), "name or type"),
        ("{\"text\": \"a\", \"ids\": [[1]]}".into(), "either `text` or `ids`"),
        ("{\"text\": \"a\", \"mask\": [[1]]}".into(), "`mask`"),
        ("{\"ids\": [[1]], \"pair\": \"a\"}".into(), "`pair`"),
        ("{\"ids\": []}".into(), "no rows"),
        ("{\"ids\": [[1], []]}".into(), "row 1"),
        ("{\"ids\": [[-1]]}".into(), "holds -1"),
        (format!("{{\"ids\": [[{vocab}]]}}"), "vocabulary ends"),
        ("{\"ids\": [[99999999999999999999]]}".into(), "name or type"),
        ("{\"ids\": [[1, 2]], \"mask\": [[1]]}".into(), "`mask` must have"),
        ("{\"ids\": [[1, 2]], \"types\": [[0, 0], [0, 0]]}".into(), "`types` must have"),
        ("{\"ids\": [[1, 2]], \"mask\": [[1, 2]]}".into(), "0 and 1"),
        ("{\"ids\": [[1, 2]], \"mask\": [[0, 0]]}".into(), "every token"),
        (format!("{{\"ids\": [{:?}]}}", vec![1; 100_000]), "the model takes"),
        ("[".repeat(100_000), "not a JSON object"),
    ];
    for (line, message) in cases {
        for batch in ["1", "9"] {
            let shown = &line[..line.len().min(60)];
            let input = format!("{{\"text\": \"fine\"}}\n{line}\n{{\"text\": \"never\"}}\n");
            let d = pocketbert(&["run", MODEL, "--batch", batch], input);
            assert_eq!((d.code, d.out.lines().count()), (2, 1), "{shown}: {}", d.err);
            assert!(d.err.contains("line 2") && d.err.contains(message), "{shown}: {}", d.err);
            assert!(!d.err.contains(secret), "{}", d.err);
        }
    }
}

#[test]
fn bytes_that_are_no_text_are_bad_input() {
    for args in [&["run", MODEL][..], &["classify", "--model", MODEL], &["tokenize", MODEL]] {
        let d = pocketbert(args, b"\xff\xfe\n");
        assert_eq!(d.code, 2);
        assert!(d.err.contains("line 1") && d.err.contains("UTF-8"), "{}", d.err);
    }
}

#[test]
fn bad_usage_is_2_and_says_what_to_do() {
    let folder = env!("CARGO_TARGET_TMPDIR");
    let text = temp("no-model.pbert", b"this is not a model");
    let cases: &[(&[&str], &str)] = &[
        (&[], "Usage"),
        (&["frobnicate"], "frobnicate"),
        (&["run"], "MODEL"),
        (&["run", "no/such/file"], "no/such/file"),
        (&["run", folder], "model*.onnx"),
        (&["run", str(&text)], "no-model.pbert"),
        (&["inspect", str(&text)], "no-model.pbert"),
        (&["bench", str(&text)], "no-model.pbert"),
        (&["self-test", "no/such/file"], "no/such/file"),
        (&["run", MODEL, "--input", "no/such/lines"], "no/such/lines"),
        (&["run", MODEL, "--input", folder], "folder"),
        (&["run", MODEL, "--head", "frob"], "`frob`"),
        (&["run", MODEL, "--kernel", "frob"], "frob"),
        (&["run", MODEL, "--threads", "0"], "at least 1"),
        (&["run", MODEL, "--batch", "many"], "--batch"),
        (&["classify", "a", "--file", "b", "--model", MODEL], "cannot be used"),
        (&["classify", "a", "--allow", "x", "--deny", "y", "--model", MODEL], "cannot be used"),
        (&["classify", "a", "--allow", "frob", "--model", MODEL], "no label `frob`"),
        (&["classify", "a", "--head", "frob", "--model", MODEL], "no head `frob`"),
        (&["classify", "a", "--top-k", "0", "--model", MODEL], "top_k"),
        (&["classify", "a", "--threshold", "2", "--model", MODEL], "threshold"),
        (&["classify", "--file", "no/such/texts", "--model", MODEL], "no/such/texts"),
        (&["tokenize", MODEL, "a", "--max-length", "1"], "special tokens"),
        (&["tokenize", MODEL, "a b c d", "--max-length", "3", "--truncation", "refuse"], "shorten"),
        (&["bench", MODEL, "--lengths", "0"], "at least 1"),
        (&["bench", MODEL, "--lengths", "1000000"], "more than the model's"),
        (&["bench", MODEL, "--gate", "p95<=30"], "unit"),
        (&["bench", MODEL, "--gate", "p95@7<=30ms", "--lengths", "8"], "does not measure"),
        (&["bench", MODEL, "--gate", "per1000<=30s"], "does not measure"),
        (&["bench", MODEL, "--file", "no/such/texts"], "no/such/texts"),
    ];
    for (args, message) in cases {
        let d = pocketbert(args, "");
        assert_eq!(d.code, 2, "{args:?}: {}", d.err);
        assert!(d.err.contains(message), "{args:?}: {}", d.err);
        assert_eq!(d.out, "", "{args:?}");
    }
}

#[test]
fn help_teaches_by_example() {
    for command in ["classify", "run", "inspect", "tokenize", "bench", "self-test"] {
        let help = good(&[command, "--help"], "");
        assert!(help.contains("Examples:") && help.contains(&format!("pocketbert {command} ")), "{help}");
    }
    assert!(good(&["--help"], "").contains("Exit status"));
    assert!(good(&["--version"], "").contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn load_states_and_the_cold_call() {
    let c = TextClassifier::deferred(MODEL, &OpenOptions::default(), None);
    assert_eq!(c.state(), LoadState::Unloaded);
    c.load().unwrap();
    assert_eq!((c.state(), c.metrics().snapshot().cold), (LoadState::Loaded, None));
    c.prewarm().unwrap();
    c.prewarm().unwrap();
    let m = c.metrics().snapshot();
    assert!(m.load.is_some() && m.cold.is_some() && m.calls == 1 && m.texts == 1, "{m:?}");
    c.classify("warm now").unwrap();
    assert_eq!((c.state(), c.metrics().snapshot().warm.total.count()), (LoadState::Prewarmed, 1));

    let missing = TextClassifier::deferred("no/such/model.pbert", &OpenOptions::default(), None);
    assert!(missing.classify("x").is_err());
    assert_eq!(missing.state(), LoadState::Unloaded);
}
