//! The tokenizer against answers of others: see `tests/data/wordpiece/README.md`.

use std::io::Read;

use flate2::read::GzDecoder;
use pocketbert::text::{EncodeOptions, Encoding, Span, Tokenizer, Truncation};
use serde_json::Value;

fn unpack(name: &str) -> Vec<u8> {
    let path = format!("{}/../tests/data/wordpiece/{name}", env!("CARGO_MANIFEST_DIR"));
    let file = std::fs::File::open(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let mut out = Vec::new();
    GzDecoder::new(file).read_to_end(&mut out).unwrap();
    out
}

fn numbers(v: &Value) -> Vec<u64> {
    v.as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect()
}

#[test]
fn ten_thousand_questions_match() {
    let tok = Tokenizer::from_bytes(&unpack("bert-base-uncased.json.gz")).unwrap();
    let opts = EncodeOptions { add_special_tokens: false, ..Default::default() };
    let lines = String::from_utf8(unpack("questions.jsonl.gz")).unwrap();
    let mut count = 0;
    for line in lines.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let question = case[0].as_str().unwrap();
        let got = tok.encode(question, None, &opts).unwrap();
        let ids: Vec<u64> = got.ids.iter().map(|&i| i.into()).collect();
        assert_eq!(ids, numbers(&case[2]), "{question}");
        let tokens: Vec<String> = got.ids.iter().map(|&i| tok.token(i).unwrap()).collect();
        assert_eq!(tokens.join(" "), case[1].as_str().unwrap(), "{question}");
        assert_eq!(got.truncated, None);
        count += 1;
    }
    assert_eq!(count, 10_570);
}

/// The given case as we answer it, in the form of the vectors.
fn answer(e: &Encoding) -> Value {
    let or_null = |v: Option<u64>| v.map_or(Value::Null, Value::from);
    serde_json::json!({
        "ids": e.ids,
        "types": e.type_ids,
        "spans": e.offsets.iter().map(|s| [s.start, s.end]).collect::<Vec<_>>(),
        "special": e.special.iter().map(|&s| u8::from(s)).collect::<Vec<_>>(),
        "words": e.word_ids.iter().map(|w| or_null(w.map(u64::from))).collect::<Vec<_>>(),
        "sequences": e.sequence_ids.iter().map(|w| or_null(w.map(u64::from))).collect::<Vec<_>>(),
    })
}

#[test]
fn answers_equal_those_of_the_python_package() {
    let tok = Tokenizer::from_bytes(&unpack("bert-base-cased.json.gz")).unwrap();
    let cases: Vec<Value> = serde_json::from_slice(&unpack("cased.json.gz")).unwrap();
    assert_eq!(cases.len(), 683);
    let mut cut = 0;
    for case in &cases {
        let opts = EncodeOptions {
            max_length: case["max"].as_u64().map_or(usize::MAX, |n| n as usize),
            truncation: if case["side"] == "left" { Truncation::Tail } else { Truncation::Head },
            add_special_tokens: case["plain"] != true,
        };
        let got = match case["list"].as_array() {
            Some(words) => {
                let words: Vec<&str> = words.iter().map(|w| w.as_str().unwrap()).collect();
                tok.encode_words(&words, &opts)
            }
            None => tok.encode(case["text"].as_str().unwrap(), case["pair"].as_str(), &opts),
        };
        let got = got.unwrap();
        assert_eq!(answer(&got), case["want"], "{case}");
        cut += usize::from(got.truncated.is_some());
    }
    assert!(cut > 100, "only {cut} cases were truncated");
}

/// Vocabularies over many scripts, with custom tokens: cased, uncased, and with ideographs left together.
#[test]
fn mixed_scripts_match() {
    let file: Value = serde_json::from_slice(&unpack("mixed.json.gz")).unwrap();
    let texts: Vec<&str> = file["texts"].as_array().unwrap().iter().map(|t| t.as_str().unwrap()).collect();
    assert_eq!((texts.len(), file["kinds"].as_object().unwrap().len()), (360, 3));
    for (kind, v) in file["kinds"].as_object().unwrap() {
        let tok = Tokenizer::from_bytes(v["tokenizer"].to_string().as_bytes()).unwrap();
        let (mut unknown, mut custom) = (0, 0);
        for (i, (text, want)) in texts.iter().zip(v["answers"].as_array().unwrap()).enumerate() {
            let pair = (i % 3 == 2).then(|| texts[i - 1]);
            let got = tok.encode(text, pair, &EncodeOptions::default()).unwrap();
            let mut mine = answer(&got);
            for extra in ["special", "sequences"] {
                mine.as_object_mut().unwrap().remove(extra);
            }
            assert_eq!(&mine, want, "{kind}: {text:?}");
            unknown += got.unknown;
            custom += got.ids.iter().filter(|&&id| Some(id) == tok.token_id("<city>")).count();
        }
        assert!(unknown > 100 && custom > 5, "{kind}: {unknown} {custom}");
    }
}

#[test]
fn facts_of_the_files() {
    let tok = Tokenizer::from_bytes(&unpack("bert-base-cased.json.gz")).unwrap();
    assert_eq!(tok.model_kind(), "WordPiece");
    assert_eq!(tok.vocab_size(), 28_996);
    assert_eq!(tok.file_max_length(), Some(128));
    let ids = [tok.pad_id(), tok.unk_id(), tok.cls_id(), tok.sep_id(), tok.mask_id()];
    assert_eq!(ids, [0, 100, 101, 102, 103].map(Some));
    assert_eq!(
        (tok.special_tokens(false), tok.special_tokens(true), tok.max_type_id()),
        (Some(2), Some(3), 1)
    );
    // The 128 of the file is not applied.
    let long = "word ".repeat(300);
    assert_eq!(tok.encode(&long, None, &EncodeOptions::default()).unwrap().len(), 302);
}

/// A megabyte of each kind of text: the whole of it, its start and its end agree with each other.
#[test]
fn a_megabyte() {
    let tok = Tokenizer::from_bytes(&unpack("bert-base-cased.json.gz")).unwrap();
    let kinds = ["The quick brown fox, naïvely, jumps. ", "x", "中", "😀", "e\u{301}", "\u{0}", " \t\n", "!"];
    for kind in kinds {
        let text = kind.repeat((1 << 20) / kind.len());
        let opts =
            |max_length, truncation| EncodeOptions { max_length, truncation, add_special_tokens: false };
        let all = tok.encode(&text, None, &opts(usize::MAX, Truncation::Head)).unwrap();
        let keep = 100.min(all.len());
        let head = tok.encode(&text, None, &opts(100, Truncation::Head)).unwrap();
        let tail = tok.encode(&text, None, &opts(100, Truncation::Tail)).unwrap();
        let both = tok.encode(&text, None, &opts(100, Truncation::HeadTail)).unwrap();
        assert_eq!(head.ids, all.ids[..keep], "{kind:?}");
        assert_eq!(head.offsets, all.offsets[..keep], "{kind:?}");
        assert_eq!(tail.ids, all.ids[all.len() - keep..], "{kind:?}");
        assert_eq!(tail.offsets, all.offsets[all.len() - keep..], "{kind:?}");
        assert_eq!(tail.word_ids, all.word_ids[all.len() - keep..], "{kind:?}");
        if all.len() > 100 {
            assert_eq!(both.offsets[..50], all.offsets[..50], "{kind:?}");
            assert_eq!(both.offsets[50..], all.offsets[all.len() - 50..], "{kind:?}");
            let cut = both.truncated.unwrap();
            assert!(cut.exact);
            assert_eq!(cut.dropped_tokens, all.len() - 100);
            let gap = Span::new(all.offsets[49].end, all.offsets[all.len() - 50].start);
            assert_eq!((cut.cuts.len(), cut.cuts[0].bytes), (1, gap), "{kind:?}");
        } else {
            assert_eq!((both.ids, both.truncated), (all.ids, None), "{kind:?}");
        }
    }
}
