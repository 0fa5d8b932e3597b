//! Files and texts that must be refused, each by an error that names what is wrong.

use super::*;

/// Every file here must be refused with this kind, by a message that names this.
#[test]
fn hostile_files_are_refused_by_name() {
    use ErrorKind::{DataLoss, ResourceExhausted, Unimplemented};
    let deep = (0..20).fold(json!({"type": "NFC"}), |v, _| json!({"type": "Sequence", "normalizers": [v]}));
    let long = json!({"type": "Sequence", "normalizers": vec![json!({"type": "NFC"}); 40]});
    let grow = |n: usize| {
        let one = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"});
        json!({"type": "Sequence", "normalizers": vec![one; n]})
    };
    let split =
        json!({"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": false});
    let replace = json!({"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": ""});
    let twice = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true});
    let cases: Vec<(&str, Value, ErrorKind, &str)> = vec![
        ("/version", "2.0".into(), DataLoss, "version"),
        ("/normalizer", json!([]), DataLoss, "normalizer"),
        ("/normalizer", json!({"lowercase": true}), DataLoss, "type"),
        (
            "/normalizer",
            json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
            Unimplemented,
            "Precompiled",
        ),
        ("/normalizer", replace, Unimplemented, "Replace"),
        ("/normalizer", deep, ResourceExhausted, "nests"),
        ("/normalizer", long, ResourceExhausted, "chains"),
        ("/normalizer", grow(4), ResourceExhausted, "Replace"),
        ("/normalizer", json!({"type": "Prepend", "prepend": "x".repeat(17)}), DataLoss, "prepend"),
        ("/normalizer/clean_text", "yes".into(), DataLoss, "clean_text"),
        ("/normalizer", Value::Array(vec![0.into(); 30_000]), DataLoss, "20000"),
        ("/pre_tokenizer", split, Unimplemented, "regular expression"),
        (
            "/pre_tokenizer",
            json!({"type": "Split", "pattern": {"String": ""}, "behavior": "Isolated", "invert": false}),
            DataLoss,
            "pattern",
        ),
        ("/pre_tokenizer", json!({"type": "FixedLength", "length": 0}), Unimplemented, "FixedLength"),
        ("/pre_tokenizer", json!({"type": "UnicodeScripts"}), Unimplemented, "UnicodeScripts"),
        ("/pre_tokenizer", json!({"type": "Sequence", "pretokenizers": [twice, twice]}), DataLoss, "twice"),
        ("/pre_tokenizer", json!({"type": "Metaspace", "replacement": "ab"}), DataLoss, "replacement"),
        ("/pre_tokenizer", json!({"type": "Punctuation", "behavior": "Sometimes"}), DataLoss, "behavior"),
        ("/post_processor/single", json!([]), DataLoss, "single"),
        ("/post_processor/single/0/SpecialToken/id", "[X]".into(), DataLoss, "single"),
        ("/post_processor/special_tokens/[CLS]/ids", json!([999_999]), DataLoss, "999999"),
        (
            "/post_processor/special_tokens/[CLS]/ids",
            Value::Array(vec![2.into(); 65]),
            ResourceExhausted,
            "pieces",
        ),
        ("/post_processor", json!({"type": "Mystery"}), Unimplemented, "Mystery"),
        ("/model/type", "Unigram".into(), Unimplemented, "Unigram"),
        ("/model/vocab", json!([["a", -1.0]]), DataLoss, "vocabulary"),
        ("/model/vocab", json!({}), DataLoss, "vocab"),
        ("/model/vocab/the", 5.into(), DataLoss, "share id 5"),
        ("/model/vocab/the", (-1).into(), DataLoss, "-1"),
        ("/model/vocab/the", 4_000_000_000u32.into(), DataLoss, "limit"),
        ("/model/unk_token", "[WHAT]".into(), DataLoss, "unk_token"),
        ("/model/unk_token", Value::Null, DataLoss, "unk_token"),
        ("/model/max_input_chars_per_word", 1_000_000.into(), DataLoss, "max_input_chars_per_word"),
        ("/model/continuing_subword_prefix", "#".repeat(5000).into(), DataLoss, "continuing_subword_prefix"),
        ("/added_tokens/0/content", "".into(), DataLoss, "empty"),
        ("/added_tokens/0/content", "x".repeat(2000).into(), DataLoss, "2000"),
        ("/added_tokens/0/id", 77.into(), DataLoss, "says id 77"),
    ];
    for (at, value, kind, word) in cases {
        let mut file = bert();
        *file.pointer_mut(at).unwrap_or_else(|| panic!("{at}")) = value;
        let e = open(&file).expect_err(at);
        assert_eq!(e.kind(), kind, "{at}: {e}");
        assert!(e.message().contains(word), "{at}: {e}");
        assert!(e.message().len() < 600, "{at}");
    }
    assert!(open(&bert()).is_ok(), "the file itself is good");

    let cases = [
        ("/model/merges", json!(["a c"]), DataLoss, "merge 0"),
        ("/model/merges", json!(["a"]), DataLoss, "two tokens"),
        ("/model/merges", json!([["", "a"]]), DataLoss, "empty"),
        // The crate slices the second token by the prefix's length.
        ("/model/continuing_subword_prefix", "ĠĠĠ".into(), DataLoss, "merge 0"),
    ];
    for (at, value, kind, word) in cases {
        let mut file = bpe();
        *file.pointer_mut(at).unwrap() = value;
        let e = open(&file).expect_err(at);
        assert_eq!(e.kind(), kind, "{at}: {e}");
        assert!(e.message().contains(word), "{at}: {e}");
    }
    assert_eq!(caught_panics(), 0);
}

#[test]
fn damaged_bytes_are_refused() {
    let good = bert().to_string();
    for at in (0..good.len()).step_by(7).filter(|&at| good.is_char_boundary(at)) {
        let e = Tokenizer::from_bytes(&good.as_bytes()[..at]).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::DataLoss, "{at}");
    }
    let doubled = good.replacen("\"version\"", "\"model\":{\"type\":\"BPE\"},\"version\"", 1);
    let whole = [
        b"".to_vec(),
        b"null".to_vec(),
        b"[]".to_vec(),
        b"{}".to_vec(),
        b"\xff{}".to_vec(),
        doubled.into_bytes(),
    ];
    for bytes in whole {
        assert_eq!(Tokenizer::from_bytes(&bytes).unwrap_err().kind(), ErrorKind::DataLoss);
    }
    let nested = format!("{{\"normalizer\":{}", "[".repeat(100_000));
    assert_eq!(Tokenizer::from_bytes(nested.as_bytes()).unwrap_err().kind(), ErrorKind::DataLoss);
    let huge = vec![b' '; MAX_FILE_BYTES + 1];
    assert_eq!(Tokenizer::from_bytes(&huge).unwrap_err().kind(), ErrorKind::ResourceExhausted);
}

#[test]
fn texts_over_a_limit_are_refused() {
    let tok = open(&bert()).unwrap();
    let run = "a".repeat((2 << 20) + 1);
    assert_eq!(
        tok.encode(&run, None, &EncodeOptions::default()).unwrap_err().kind(),
        ErrorKind::ResourceExhausted
    );
    let huge = " ".repeat(MAX_TEXT_BYTES + 1);
    assert_eq!(
        tok.encode(&huge, None, &EncodeOptions::default()).unwrap_err().kind(),
        ErrorKind::ResourceExhausted
    );
    assert_eq!(
        tok.encode_words(&[&huge], &EncodeOptions::default()).unwrap_err().kind(),
        ErrorKind::ResourceExhausted
    );
}
