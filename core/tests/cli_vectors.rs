//! `embed`, `rerank`, `fill-mask` and `zero-shot` as scripts see them, on the tiny model.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny.pbert");

/// Exit status, stdout, stderr.
fn pocketbert(args: &[&str], input: &str) -> (i32, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_pocketbert"))
        .args(args)
        .env("POCKETBERT_MODEL", MODEL)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may end without reading everything.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let done = child.wait_with_output().unwrap();
    let text = |b: Vec<u8>| String::from_utf8(b).unwrap();
    (done.status.code().unwrap(), text(done.stdout), text(done.stderr))
}

fn good(args: &[&str], input: &str) -> String {
    let (code, out, err) = pocketbert(args, input);
    assert_eq!(code, 0, "{args:?}: {err}");
    out
}

fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))
}

#[test]
fn vectors_come_as_json_lines_in_three_formats() {
    let lines = good(&["embed", "-"], "play some jazz\n\nwill it rain\n");
    let lines: Vec<Value> = lines.lines().map(json).collect();
    assert_eq!(lines.len(), 3);
    for l in &lines {
        assert_eq!(l["values"].as_array().unwrap().len(), 128);
        assert_eq!(l["origin"], lines[0]["origin"]);
    }
    let small = json(&good(&["embed", "play some jazz", "--format", "i8", "--dims", "16"], ""));
    assert_eq!((&small["dims"], &small["format"]), (&Value::from(16), &Value::from("i8")));
    let scale = small["scale"].as_f64().unwrap();
    let length: f64 =
        small["values"].as_array().unwrap().iter().map(|q| (q.as_f64().unwrap() * scale).powi(2)).sum();
    assert!((length - 1.0).abs() < 0.05, "{length}");
    let compare = |a: &str, b: &str| -> f64 {
        json(&good(&["embed", "--json", "--compare", a, b], ""))["cosine"].as_f64().unwrap()
    };
    assert_eq!(compare("same words", "same words"), 1.0);
    assert!(compare("will it rain", "is it going to snow") > compare("will it rain", "play some jazz"));
}

#[test]
fn documents_are_ranked_from_arguments_and_standard_input() {
    let documents = ["play some jazz", "will it rain tomorrow", "book a table"];
    let by_arguments = good(&[&["rerank", "weather tomorrow", "--json"][..], &documents].concat(), "");
    let by_lines = good(&["rerank", "weather tomorrow", "--json", "-"], &documents.join("\n"));
    assert_eq!(by_arguments, by_lines);
    let ranked: Vec<Value> = by_lines.lines().map(json).collect();
    assert_eq!(ranked.len(), 3);
    assert_eq!(ranked[0]["document"], documents[1]);
    let first = good(&["rerank", "weather tomorrow", "-", "--top-k", "1"], &documents.join("\n"));
    assert!(first.lines().count() == 1 && first.ends_with("  2  will it rain tomorrow\n"), "{first}");
    let pairs =
        good(&["rerank", "will it rain", "--head", "entail", "--json", "This text is about music."], "");
    assert!((0.0..=1.0).contains(&json(&pairs)["score"].as_f64().unwrap()));
}

#[test]
fn long_documents_are_ranked_by_their_best_window() {
    let music = "add this song to my playlist. ".repeat(30);
    let documents = format!("{music}\n{music} will it rain in Paris tomorrow? {music}\nplay some jazz");
    let ranked = |more: &[&str]| -> Vec<Value> {
        let out = good(&[&["rerank", "weather tomorrow", "--json", "-"], more].concat(), &documents);
        out.lines().map(json).collect()
    };
    let best = ranked(&["--long", "--window", "32"]);
    assert_eq!(best[0]["index"], 1);
    let mean = ranked(&["--long", "--window", "32", "--merge", "mean"]);
    let score = |all: &[Value], index: usize| {
        let found = all.iter().find(|r| r["index"] == index);
        found.unwrap()["score"].as_f64().unwrap()
    };
    assert!(score(&mean, 1) < score(&best, 1));
    // What fits in a window has the usual score.
    assert_eq!(score(&best, 2), score(&ranked(&[]), 2));
    for (bad, why) in [(&["--merge", "vote"][..], "vote"), (&["--window", "2"], "room")] {
        let (code, _, err) = pocketbert(&[&["rerank", "x", "y", "--long"], bad].concat(), "");
        assert!(code == 2 && err.contains(why), "{err}");
    }
    assert_eq!(pocketbert(&["rerank", "x", "y", "--window", "9"], "").0, 2);
}

#[test]
fn masks_are_filled_and_targets_chosen() {
    let a = json(&good(&["fill-mask", "will it [MASK] in [MASK]", "--json", "--top-k", "3"], ""));
    let masks = a["masks"].as_array().unwrap();
    assert_eq!(masks.len(), 2);
    assert_eq!((&masks[0]["start"], &masks[0]["end"]), (&Value::from(8), &Value::from(14)));
    assert!(masks.iter().all(|m| m["candidates"].as_array().unwrap().len() == 3));
    let table = good(&["fill-mask", "play some [MASK]", "--targets", "music,rain"], "");
    assert_eq!(table.lines().count(), 2);
    assert!(table.contains("play some music"));
    let lines = good(&["fill-mask", "-"], "play [MASK]\nwill it [MASK] in [MASK]\n");
    assert_eq!(lines.lines().count(), 2);
}

#[test]
fn labels_are_those_of_the_command_line() {
    let a = json(&good(
        &["zero-shot", "will it rain tomorrow", "--labels", "play music, get weather", "--json"],
        "",
    ));
    assert_eq!(a["labels"][0]["label"], "get weather");
    let p: f64 = a["labels"].as_array().unwrap().iter().map(|l| l["probability"].as_f64().unwrap()).sum();
    assert!((p - 1.0).abs() < 1e-5);
    let lines = good(&["zero-shot", "-", "--labels", "a,b", "--multi-label", "--top-k", "1"], "x\ny\n");
    assert_eq!(lines.lines().count(), 2);
}

#[test]
fn bad_input_is_status_2_and_says_what_to_do() {
    for (args, says) in [
        (&["embed", "x", "--dims", "129"][..], "`dims` must be 1 to 128"),
        (&["embed", "x", "--format", "f64"], "`f32`, `f16` or `i8`"),
        (&["embed", "x", "--head", "nope"], "`embed`"),
        (&["embed", "x", "--pooling", "max"], "pooled in the model's graph"),
        (&["rerank", "x", "y", "--head", "slots"], "cannot rank"),
        (&["fill-mask", "no gap here"], "write `[MASK]`"),
        (&["fill-mask", "[MASK]", "--targets", "antidisestablishment"], "no token of the vocabulary"),
        (&["fill-mask", "[MASK]", "--head", "spam"], "choose one of `fill_mask`"),
        (&["zero-shot", "x", "--labels", "a,a"], "twice"),
        (&["zero-shot", "x", "--labels", "a", "--template", "t"], "where the label goes"),
        (&["zero-shot", "x"], "--labels"),
    ] {
        let (code, out, err) = pocketbert(args, "");
        assert!(code == 2 && out.is_empty() && err.contains(says), "{args:?}: {code} {out} {err}");
    }
    let (code, _, err) = pocketbert(&["fill-mask", "-"], "a [MASK]\nnone\n");
    assert!(code == 2 && err.contains("standard input, line 2"), "{err}");
    for command in ["embed", "rerank", "fill-mask", "zero-shot"] {
        assert!(good(&[command, "--help"], "").contains("Examples:"));
    }
}
