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

#[path = "cli/heads.rs"]
mod heads;

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

#[test]
fn run_gives_every_head_with_the_librarys_bits() {
    let model = Model::open(MODEL, &OpenOptions::default()).unwrap();
    let line = |t: &str| serde_json::json!({ "text": t }).to_string() + "\n";
    let answers = run(&TEXTS.map(line).concat(), &[]);
    let wanted: Vec<usize> = (0..model.plan().outputs().len()).collect();
    for (text, answer) in TEXTS.iter().zip(&answers) {
        let options = EncodeOptions { max_length: model.info().max_length, ..EncodeOptions::default() };
        let e = model.tokenizer().unwrap().encode(text, None, &options).unwrap();
        assert_eq!(answer["ids"], serde_json::json!([e.ids]));
        let mut batch = Batch::new();
        batch.push(e.ids.iter().map(|&i| i64::from(i)), None, None);
        let run = RunOptions { isa: Isa::Generic, threads: 1, stop: Stop::default(), stats: None };
        let outputs = model.plan().run(&batch, &wanted, run).unwrap();
        // A head that fills masks answers where there is a mask only.
        let heads = &model.bundle().unwrap().manifest().heads;
        let heads: Vec<_> = heads.iter().filter(|h| h.task != Task::FillMask).collect();
        assert_eq!(answer["outputs"].as_object().unwrap().len(), heads.len());
        for h in heads {
            let o = outputs.iter().find(|o| o.info.name == h.output).unwrap();
            let mut shape = vec![1];
            shape.extend(o.info.per_token.then_some(e.len()));
            shape.extend((!o.info.flat).then_some(o.info.channels));
            let got = &answer["outputs"][&h.name];
            assert_eq!(got["shape"], serde_json::json!(shape), "{}", h.name);
            assert_eq!(bits(&f32s(&got["data"])), bits(&o.data), "{} of {text:?}", h.name);
        }
    }
}

/// Rows of several lengths, padded and not, for one model.
fn rows() -> (String, Vec<Vec<i64>>) {
    let vocab = Model::open(MODEL, &OpenOptions::default()).unwrap().info().vocab as i64;
    let rows: Vec<Vec<i64>> =
        [3, 7, 1].iter().map(|&n| (0..n).map(|i| (i * 37 + n * 11 + 5) % vocab).collect()).collect();
    (serde_json::json!({ "ids": rows }).to_string() + "\n", rows)
}

#[test]
fn batches_padding_and_kernels_change_no_bit() {
    let (line, rows) = rows();
    let together = run(&line, &[]);
    let longest = rows.iter().map(Vec::len).max().unwrap();
    // Each row alone.
    for (i, row) in rows.iter().enumerate() {
        let alone = &run(&serde_json::json!({ "ids": [row] }).to_string(), &[])[0];
        for (name, one) in alone["outputs"].as_object().unwrap() {
            let all = &together[0]["outputs"][name];
            let data = f32s(&all["data"]);
            let width = data.len() / rows.len();
            let mine = &data[i * width..(i + 1) * width];
            let one = f32s(&one["data"]);
            assert_eq!(bits(&mine[..one.len()]), bits(&one), "{name}, row {i}");
            assert!(mine[one.len()..].iter().all(|x| x.to_bits() == 0), "{name}, row {i}: padding is zero");
        }
    }
    // The same with padding that is masked.
    let pad = |row: &Vec<i64>, with: i64| [row.clone(), vec![with; longest - row.len()]].concat();
    let ids: Vec<_> = rows.iter().map(|r| pad(r, 1)).collect();
    let mask: Vec<_> = rows.iter().map(|r| pad(&vec![1; r.len()], 0)).collect();
    let padded = run(&serde_json::json!({ "ids": ids, "mask": mask }).to_string(), &[]);
    assert_eq!(padded[0]["outputs"], together[0]["outputs"]);
    assert_eq!(padded[0]["ids"], serde_json::json!(ids));
    // Many lines, packed and split in every way.
    let many = format!("{line}{{\"text\": \"good\"}}\n{{\"text\": \"is it\", \"pair\": \"yes\"}}\n{line}");
    let plain = good(&["run", MODEL], &many);
    assert_eq!(plain.lines().count(), 4);
    for isa in Isa::available() {
        for (batch, threads) in [("1", "2"), ("2", "1"), ("100", "3")] {
            let args = ["run", MODEL, "--batch", batch, "--threads", threads, "--kernel", isa.name()];
            assert_eq!(good(&args, &many), plain, "{args:?}");
        }
    }
}

#[test]
fn a_masked_token_in_the_middle_counts_for_nobody_else() {
    let with = |id: i64| {
        let line = serde_json::json!({"ids": [[2, id, 3, 4]], "mask": [[1, 0, 1, 1]]});
        run(&line.to_string(), &[])[0]["outputs"].clone()
    };
    let (a, b) = (with(5), with(6));
    let head = TextClassifier::open(MODEL).unwrap().head().unwrap().name.clone();
    assert_eq!(a[&head], b[&head]);
    let open = run("{\"ids\": [[2, 5, 3, 4]]}", &[])[0]["outputs"].clone();
    assert_ne!(a[&head], open[&head]);
}

#[test]
fn a_text_that_was_cut_says_so() {
    let text = "word ".repeat(2000);
    let answer = &run(&serde_json::json!({ "text": text }).to_string(), &[])[0];
    let longest = Model::open(MODEL, &OpenOptions::default()).unwrap().info().max_length;
    assert_eq!(
        (answer["ids"][0].as_array().unwrap().len(), &answer["truncated"]),
        (longest, &Value::Bool(true))
    );
    let short = &run("{\"text\": \"word\"}", &[])[0];
    assert!(short.get("truncated").is_none());
    let d = pocketbert(&["classify", &text, "--model", MODEL], "");
    assert!(d.code == 0 && d.err.contains("cut to"), "{}", d.err);
}

#[test]
fn one_head_can_be_chosen() {
    let head = TextClassifier::open(MODEL).unwrap().head().unwrap().name.clone();
    let (all, one) = (run("{\"text\": \"hm\"}", &[]), run("{\"text\": \"hm\"}", &["--head", &head]));
    assert_eq!(one[0]["outputs"].as_object().unwrap().len(), 1);
    assert_eq!(one[0]["outputs"][&head], all[0]["outputs"][&head]);
}

#[test]
fn answers_stream() {
    for args in [&["run", MODEL][..], &["classify", "-", "--model", MODEL, "--json"]] {
        let mut child = start(args);
        let mut stdin = child.stdin.take().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        for text in ["one", "two two", "three"] {
            // The next line is written only when the last one is answered, so a program that waits hangs.
            writeln!(stdin, "{}", serde_json::json!({ "text": text })).unwrap();
            let mut line = String::new();
            out.read_line(&mut line).unwrap();
            assert!(json(&line).is_object());
        }
        drop(stdin);
        let mut rest = String::new();
        out.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "");
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
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
fn inspect_counts_what_ran() {
    let report = json(&good(&["inspect", MODEL, "--json"], ""));
    assert_eq!(report["bit_exact"], true);
    assert_eq!(report["kernel"], Isa::best().name());
    assert_eq!(report["file_bytes"], std::fs::metadata(MODEL).unwrap().len());
    let census = report["census"].as_array().unwrap();
    let count = |op: &str| census.iter().filter(|n| n["operator"] == op).count();
    assert!(count("SelfAttention") == 2 && count("FeedForward") == 2 && count("Linear") > 0);
    for n in census.iter().filter(|n| n["dtype"] == "i8" && n["operator"] != "Lookup") {
        let kernels = n["kernels"].as_object().unwrap();
        assert!(kernels.values().all(|c| c.as_u64() > Some(0)) && !kernels.is_empty(), "{n}");
        assert!(kernels.keys().all(|k| k.contains(Isa::best().name())), "{n}");
    }
    let counted: u64 =
        report["operators"].as_array().unwrap().iter().map(|o| o["count"].as_u64().unwrap()).sum();
    assert_eq!(counted, census.len() as u64);

    let text = pocketbert(&["inspect", MODEL], "");
    assert!(text.code == 0 && text.out.contains("bit_exact: yes"));
    // The generic kernel is slow, and that is said loudly.
    let slow = pocketbert(&["inspect", MODEL, "--kernel", "generic"], "");
    assert!(slow.code == 0 && slow.err.contains("WARNING") && slow.err.contains("generic"), "{}", slow.err);
}

#[test]
fn tokenize_shows_ids_spans_and_cuts() {
    let text = "Zürich isn't \u{1F600}\u{1F600}, zyzzyvas";
    let v = json(&good(&["tokenize", MODEL, text, "--json"], ""));
    let ids = run(&serde_json::json!({ "text": text }).to_string(), &[])[0]["ids"][0].clone();
    assert_eq!(v["ids"], ids);
    let spans = v["spans"].as_array().unwrap();
    let mut last = 0;
    for (i, s) in spans.iter().enumerate() {
        if v["special"][i] == true {
            continue;
        }
        let (from, to) = (s[0].as_u64().unwrap() as usize, s[1].as_u64().unwrap() as usize);
        assert!(from >= last && to > from && text.get(from..to).is_some(), "token {i}: {from}..{to}");
        last = from;
    }
    assert_eq!(v["truncated"], Value::Null);

    let words = ["one", "two", "three", "four", "five", "six"];
    let cut = json(&good(&["tokenize", MODEL, &words.join(" "), "--json", "--max-length", "5"], ""));
    assert_eq!(cut["ids"].as_array().unwrap().len(), 5);
    let gap = &cut["truncated"]["cuts"][0];
    assert_eq!(gap["end"], words.join(" ").len());
    let table = good(&["tokenize", MODEL, "--max-length", "5", "--truncation", "tail"], words.join(" "));
    assert!(table.contains("bytes 0.."), "{table}");
    // Nothing in a text may drive the terminal.
    assert!(!good(&["tokenize", MODEL, "a\u{1b}[31mb"], "").contains('\u{1b}'));
}

#[test]
fn bench_reports_and_gates() {
    let few = ["--lengths", "4,8", "--repeats", "12", "--batch", "2"];
    let ask = |more: &[&str]| pocketbert(&[&["bench", MODEL], &few[..], more].concat(), "");
    let report = json(&ask(&["--json"]).out);
    for (row, length) in report["lengths"].as_array().unwrap().iter().zip([4, 8]) {
        assert_eq!((&row["length"], &row["batch"], &row["runs"]), (&length.into(), &2.into(), &12.into()));
        let w = &row["wall_ms"];
        let order = ["min", "p50", "p95", "p99"].map(|k| w[k].as_f64().unwrap());
        assert!(order[0] > 0.0 && order.is_sorted(), "{w}");
    }
    assert_eq!(report["lengths"].as_array().unwrap().len(), 2);
    let wide = "p99<=1000s, mean@4<=1000s, open<=1000s, first<1000s";
    assert_eq!(ask(&["--gate", wide]).code, 0);
    let missed = ask(&["--gate", &format!("{wide}, p50@8<=0us")]);
    assert_eq!(missed.code, 1);
    assert!(missed.err.contains("p50@8<=0us") && !missed.err.contains("p99"), "{}", missed.err);
    if cfg!(target_os = "linux") {
        assert_eq!(ask(&["--gate", "rss<=1TB"]).code, 2, "no such unit");
        assert_eq!(ask(&["--gate", "rss<=1000GB, dirty<=1000GB, cpu95<=1000s"]).code, 0);
        assert_eq!(ask(&["--gate", "rss<=1KB"]).code, 1);
    }
    let file = temp("bench.txt", TEXTS.join("\n").as_bytes());
    let with = json(&ask(&["--json", "--file", str(&file)]).out);
    assert_eq!(with["file"]["texts"], TEXTS.len());
    let profile = json(ask(&["--json", "--profile"]).out.lines().next().unwrap());
    let sum = |part: &str, field: &str| {
        profile[part].as_array().unwrap().iter().map(|p| p[field].as_f64().unwrap()).sum::<f64>()
    };
    let nodes = profile["nodes"].as_array().unwrap().len() as f64;
    assert_eq!((sum("operators", "nodes"), sum("layers", "nodes")), (nodes, nodes));
}

#[test]
fn bench_answers_orders_in_turn() {
    let d = pocketbert(&["bench", MODEL, "--interactive"], "1x4 3\n2x8 1\npeak\n");
    assert_eq!(d.code, 0, "{}", d.err);
    let lines: Vec<_> = d.out.lines().map(json).collect();
    assert_eq!(lines.len(), 4);
    let peak = lines[3]["peak_gmacs"].as_f64();
    assert_eq!(peak.is_some_and(|p| p > 0.0), Isa::best() == Isa::Avx512Vnni, "{peak:?}");
    assert!(lines[0]["open"]["wall_ms"].as_f64() > Some(0.0) && lines[0]["memory"].is_object());
    for (line, n) in lines[1..3].iter().zip([3, 1]) {
        let times = ["wall_ms", "cpu_ms"].map(|k| line[k].as_array().unwrap().len());
        assert_eq!(times, [n, n]);
    }
    let bad = pocketbert(&["bench", MODEL, "--interactive"], "1x4 1\n1x4\n");
    assert!(bad.code == 2 && bad.out.lines().count() == 2 && bad.err.contains("line 2"), "{}", bad.err);
}

/// The tiny bundle written anew, with hashes that fit, after `change` has altered its weights.
fn remade(name: &str, change: impl Fn(&mut Vec<u8>, &ModelProto)) -> PathBuf {
    let bundle = Bundle::open_path(MODEL, &BundleOptions::default()).unwrap();
    let m = bundle.manifest().clone();
    let graph = ModelProto::decode(bundle.entry(&m.graph.entry).unwrap().bytes()).unwrap();
    let mut writer = BundleWriter::new(m.clone());
    for e in bundle.entries().skip(1) {
        let mut bytes = e.bytes().to_vec();
        if e.name() == m.weights.entry {
            change(&mut bytes, &graph);
        }
        writer.add(e.name(), bytes);
    }
    temp(name, &writer.to_vec().unwrap())
}

#[test]
fn self_test_finds_every_kind_of_change() {
    let fine = pocketbert(&["self-test", MODEL, "--json"], "");
    assert_eq!(fine.code, 0, "{}", fine.err);
    let report = json(&fine.out);
    assert!(
        report["passed"] == true && report["cases"].as_u64() > Some(0) && report["values"].as_u64() > Some(0)
    );
    assert_eq!(report["kernels"].as_array().unwrap().len(), Isa::available().len());

    let same = remade("same.pbert", |_, _| ());
    assert_eq!(pocketbert(&["self-test", str(&same)], "").code, 0);

    // One byte of the weights, hash and all else put right: only the answers tell.
    let changed = remade("rehashed.pbert", |weights, graph| {
        let graph = graph.graph.as_ref().unwrap();
        let linear = graph.node.iter().find(|n| n.op_type == "Linear").unwrap();
        let packed = graph.initializer.iter().find(|t| t.name == linear.input[1]).unwrap();
        let offset =
            packed.external_data.iter().find(|e| e.key == "offset").map_or("0", |e| e.value.as_str());
        weights[offset.parse::<usize>().unwrap()] ^= 0x40;
    });
    let d = pocketbert(&["self-test", str(&changed)], "");
    assert!(d.code == 1 && d.err.contains("other bits"), "{}: {}", d.code, d.err);
    assert_eq!(
        pocketbert(&["classify", "x", "--model", str(&changed)], "").code,
        0,
        "the file itself is sound"
    );

    // The same byte without a new hash, and a file cut short.
    let bytes = std::fs::read(MODEL).unwrap();
    let mut altered = bytes.clone();
    let middle = altered.len() / 2;
    altered[middle] ^= 1;
    for (name, bytes) in [("altered.pbert", &altered[..]), ("short.pbert", &bytes[..bytes.len() - 100])] {
        let path = temp(name, bytes);
        assert_eq!(pocketbert(&["self-test", str(&path)], "").code, 1, "{name}");
        assert_eq!(pocketbert(&["classify", "x", "--model", str(&path)], "").code, 2, "{name}");
    }
}

#[test]
fn a_bundle_without_cases_is_not_passed() {
    let bundle = Bundle::open_path(MODEL, &BundleOptions::default()).unwrap();
    let mut m = bundle.manifest().clone();
    m.self_test.clear();
    let mut writer = BundleWriter::new(m);
    for e in bundle.entries().skip(1) {
        writer.add(e.name(), e.bytes());
    }
    let path = temp("no-cases.pbert", &writer.to_vec().unwrap());
    let d = pocketbert(&["self-test", str(&path)], "");
    assert!(d.code == 1 && d.err.contains("no test cases"), "{}", d.err);
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
