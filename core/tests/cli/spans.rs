//! `tag`, `summarize`, `answer`, and long texts.

use super::*;
use pocketbert::tasks::LongOptions;
use pocketbert::{ClassifyOptions, TagOptions, TokenClassifier};

#[test]
fn tag_gives_what_the_library_gives() {
    let t = TokenClassifier::open(MODEL).unwrap();
    let texts = ["😀 will it rain in Paris", "", "play some jazz by Miles Davis"];
    let lines = good(&["tag", "-", "--model", MODEL, "--json"], texts.join("\n"));
    let lines: Vec<Value> = lines.lines().map(json).collect();
    assert_eq!(lines.len(), 3);
    for (text, line) in texts.iter().zip(&lines) {
        let want = t.tag(text).unwrap();
        let got = line["entities"].as_array().unwrap();
        assert_eq!(got.len(), want.entities.len());
        for (g, e) in got.iter().zip(&want.entities) {
            assert_eq!((g["label"].as_str(), g["text"].as_str()), (Some(e.label.as_str()), Some(e.of(text))));
            let two = |s: pocketbert::text::Span| serde_json::json!([s.start, s.end]);
            assert_eq!(
                (&g["bytes"], &g["chars"], &g["utf16"]),
                (&two(e.bytes), &two(e.chars), &two(e.utf16))
            );
        }
    }
    let table = good(&["tag", texts[0], "--model", MODEL], "");
    assert!(table.lines().any(|l| l.starts_with("city") && l.ends_with("Paris")), "{table}");
    assert_eq!(
        good(&["tag", "  Paris   rain ", "--words", "--model", MODEL, "--json"], "").lines().count(),
        1
    );
}

#[test]
fn a_file_is_one_long_text() {
    let text = "play some jazz by Miles Davis\nwill it rain in Paris\n".repeat(40);
    let file = temp("long.txt", text.as_bytes());
    let windows =
        ["--long", "--window", "100", "--stride", "50", "--model", MODEL, "--json", "--file", str(&file)];
    let with = |command: &'static str| json(&good(&[&[command][..], &windows].concat(), ""));
    let long = LongOptions { window: Some(100), stride: Some(50), ..LongOptions::default() };
    let want = TokenClassifier::open(MODEL).unwrap().tag_long(&text, &TagOptions::default(), &long).unwrap();
    assert_eq!(with("tag")["entities"].as_array().unwrap().len(), want.entities.len());
    let c = TextClassifier::open(MODEL).unwrap();
    let want = c.classify_long(&text, &ClassifyOptions::default(), &long).unwrap();
    assert_eq!(bits(&f32s(&with("classify")["logits"])), bits(&want.logits));
    for bad in [
        &["classify", "x", "--window", "9", "--model", MODEL][..],
        &["tag", "x", "--long", "--window", "9", "--stride", "8", "--model", MODEL],
        &["classify", "x", "--long", "--pair", "y", "--model", MODEL],
        &["tag", "x", "--aggregation", "best", "--model", MODEL],
    ] {
        assert_eq!(pocketbert(bad, "").code, 2, "{bad:?}");
    }
}

#[test]
fn summarize_picks_sentences_and_answer_needs_a_head() {
    let text = "It rains in Rome. It rains a lot in Rome today! My cat sleeps.";
    assert_eq!(
        good(&["summarize", text, "-n", "2", "--by", "lead", "--model", MODEL], ""),
        "It rains in Rome.\nIt rains a lot in Rome today!\n"
    );
    let got = json(&good(&["summarize", "-", "-n", "1", "--model", MODEL, "--json"], text));
    assert_eq!((got["of"].as_u64(), got["sentences"].as_array().unwrap().len()), (Some(3), 1));
    let none = pocketbert(&["answer", "When?", "In May.", "--model", MODEL], "");
    assert!(none.code == 2 && none.err.contains("answer questions"), "{}", none.err);
}
