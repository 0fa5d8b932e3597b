//! The manifest's rules, one by one.

use serde_json::{Value, json};

use super::*;

/// The sample manifest as JSON, changed by `f`, parsed again.
fn with(f: impl Fn(&mut Value)) -> Result<Manifest> {
    let mut v = serde_json::to_value(manifest()).unwrap();
    f(&mut v);
    check::parse(&serde_json::to_vec(&v).unwrap())
}

#[test]
fn the_sample_is_right() {
    assert_eq!(with(|_| ()).unwrap(), manifest());
    // Unknown fields are for later versions, and ignored.
    assert_eq!(with(|v| v["heads"][0]["new"] = json!({"x": [1]})).unwrap(), manifest());
}

#[test]
fn defaults_fill_what_is_left_out() {
    let m = with(|v| {
        v["heads"] = json!([{"name": "e", "task": "embedding", "output": "o"}]);
        for key in ["features", "default_head", "self_test", "entries"] {
            v.as_object_mut().unwrap().remove(key);
        }
        v["model"] = json!({"name": "n", "version": "1"});
    })
    .unwrap();
    assert_eq!(m.heads, [Head::new("e", Task::Embedding, "o", vec![])]);
    assert_eq!(m.head(None).unwrap().name, "e");
    assert_eq!((m.heads[0].temperature, m.heads[0].problem_type), (1.0, ProblemType::SingleLabel));
}

#[test]
fn newer_bundles_are_refused_by_name() {
    let e = with(|v| *v = json!({"format_version": 2, "heads": "of another form"})).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Unimplemented);
    assert!(e.message().contains("needs a newer PocketBERT") && e.message().contains("version 2"), "{e}");
    let e = with(|v| v["features"] = json!(["sparse-heads"])).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Unimplemented);
    assert!(e.message().contains("`sparse-heads`") && e.message().contains("newer PocketBERT"), "{e}");
}

#[test]
fn broken_rules_are_named() {
    type Change = fn(&mut Value);
    let cases: &[(Change, &str)] = &[
        (|v| v["format_version"] = json!(0), "`format_version` is 0"),
        (|v| drop(v.as_object_mut().unwrap().remove("format_version")), "format_version"),
        (|v| v["model"]["name"] = json!(""), "`model.name`"),
        (|v| v["model"]["version"] = json!("a\nb"), "`model.version`"),
        (|v| v["model"]["description"] = json!("x".repeat(65_537)), "`model.description`"),
        (|v| v["model"]["parent_sha256"] = json!("AB".repeat(32)), "parent_sha256"),
        (|v| v["tokenizer"]["max_length"] = json!(0), "`tokenizer.max_length` is 0"),
        (|v| v["tokenizer"]["max_length"] = json!(-1), "invalid value"),
        (|v| v["tokenizer"]["max_length"] = json!(1_048_577), "1048577"),
        (|v| v["graph"]["entry"] = json!("weights.bin"), "two roles"),
        (|v| v["graph"]["entry"] = json!("manifest.json"), "two roles"),
        (|v| v["graph"]["entry"] = json!("../m"), "not allowed"),
        (|v| v["heads"] = json!([]), "0 heads"),
        (|v| v["heads"] = json!(vec![v["heads"][0].clone(); 65]), "65 heads"),
        (|v| v["heads"][1]["name"] = json!("sentiment"), "`sentiment` is there twice"),
        (|v| v["heads"][0]["name"] = json!("x".repeat(513)), "`heads.name`"),
        (|v| v["heads"][0]["output"] = json!(""), "`output`"),
        (|v| v["heads"][0]["task"] = json!("poetry"), "poetry"),
        (|v| v["heads"][0]["labels"] = json!(["a", "a"]), "label `a` is there twice"),
        (|v| v["heads"][0]["labels"] = json!([]), "has no labels"),
        (|v| v["heads"][0]["labels"] = json!(["a", ""]), "`label`"),
        (|v| v["heads"][0]["labels"] = json!(["a".repeat(600)]), "`label`"),
        (
            |v| v["heads"][0]["labels"] = json!((0..65_537).map(|i| i.to_string()).collect::<Vec<_>>()),
            "65537 labels",
        ),
        (|v| v["heads"][0]["thresholds"] = json!({"other": 0.5}), "`other`, which is no label"),
        (|v| v["heads"][0]["thresholds"] = json!({"positive": 1.5}), "threshold of `positive`"),
        (|v| v["heads"][0]["thresholds"] = json!({"positive": 1e300}), "out of range"),
        (|v| v["heads"][0]["temperature"] = json!(0.0), "temperature is 0"),
        (|v| v["heads"][0]["temperature"] = json!(-1.0), "temperature is -1"),
        (|v| v["heads"][0]["temperature"] = json!(1e-60), "temperature is 0"),
        (|v| v["heads"][0]["temperature"] = json!(1e60), "out of range"),
        (|v| v["heads"][0]["max_length"] = json!(129), "over the tokenizer's 128"),
        (|v| v["heads"][0]["windowing"] = json!({"size": 8, "stride": 0}), "windowing of 8 by 0"),
        (|v| v["heads"][0]["windowing"] = json!({"size": 8, "stride": 9}), "windowing of 8 by 9"),
        (|v| v["heads"][0]["windowing"] = json!({"size": 129, "stride": 9}), "windowing of 129"),
        (|v| v["heads"][1]["labels"] = json!(["O", "city"]), "`city` does not fit"),
        (|v| v["heads"][1]["labels"] = json!(["O", "B-"]), "`B-` does not fit"),
        (|v| v["heads"][1]["labels"] = json!(["O", "U-city"]), "`U-city` does not fit"),
        (|v| v["default_head"] = json!("none"), "`none`, which is no head"),
        (|v| v["self_test"][0]["ids"] = json!([]), "self-test 0: 0 ids"),
        (|v| v["self_test"][0]["ids"] = json!(vec![1; 129]), "129 ids"),
        (|v| v["self_test"][0]["ids"] = json!([-1]), "invalid value"),
        (
            |v| v["self_test"][0]["outputs"]["x"] = v["self_test"][0]["outputs"]["sentiment"].clone(),
            "head `x`",
        ),
        (|v| v["self_test"][0]["outputs"]["sentiment"]["shape"] = json!([3]), "which its shape denies"),
        (
            |v| v["self_test"][0]["outputs"]["sentiment"]["shape"] = json!([1u64 << 63, 4]),
            "which its shape denies",
        ),
        (|v| v["self_test"][0]["outputs"]["sentiment"]["bits"] = json!(["3F800000", "0"]), "lower-case"),
        (|v| v["self_test"] = json!(vec![v["self_test"][0].clone(); 1025]), "1025 self-tests"),
    ];
    for (i, (change, part)) in cases.iter().enumerate() {
        let e = with(change).err().unwrap_or_else(|| panic!("case {i} ({part}) was accepted"));
        assert_eq!(e.kind(), ErrorKind::DataLoss, "{e}");
        assert!(e.message().contains(part), "case {i}: `{e}` lacks `{part}`");
    }
}

#[test]
fn a_regression_needs_no_labels_and_may_have_any_threshold() {
    with(|v| {
        v["heads"][0]["problem_type"] = json!("regression");
        v["heads"][0]["thresholds"] = json!({"positive": 17.5});
        v["heads"][1] = json!({"name": "r", "task": "text-classification", "output": "o",
                               "problem_type": "regression"});
    })
    .unwrap();
}

#[test]
fn text_that_is_no_json_or_too_much_of_it_fails() {
    let fails = |bytes: &[u8], part: &str| {
        let e = check::parse(bytes).unwrap_err();
        assert!(e.kind() == ErrorKind::DataLoss && e.message().contains(part), "`{e}` lacks `{part}`");
    };
    fails(b"", "EOF");
    fails(b"\xff\xfe{}", "expected value");
    fails(b"{\"format_version\":1", "EOF");
    fails(b"{} {}", "missing field");
    fails(&[b'['; 100], "deeper than 64");
    fails(&vec![b','; 300_000], "262144 values");
    fails(&vec![b' '; check::MAX_MANIFEST + 1], "at most 4194304");
    // Brackets and commas inside strings do not count; an escaped quote does not end one.
    json::check_size(format!("[\"{}\\\"{}\"]", "[".repeat(100), ",".repeat(300_000)).as_bytes()).unwrap();
    let text = serde_json::to_string(&manifest()).unwrap();
    fails(text.replacen("\"positive\":0.1", "\"positive\":0.1,\"positive\":0.2", 1).as_bytes(), "twice");
    fails(
        text.replacen("\"graph\":", "\"graph\":{\"entry\":\"a\"},\"graph\":", 1).as_bytes(),
        "duplicate field",
    );
    fails((text + "x").as_bytes(), "trailing characters");
}

#[test]
fn opaque_json_comes_back_as_it_was() {
    let values = [
        json!(null),
        json!(true),
        json!([]),
        json!({}),
        json!([[], {"a": []}, "q\"\\\u{1}\u{1f600}", -7, 18_446_744_073_709_551_615u64, 0.1, 1e300, -0.0]),
        json!({"b": 1, "a": {"": [null, false]}}),
    ];
    for v in values {
        let t = JsonText::new(&v).unwrap();
        assert_eq!(t.as_str(), serde_json::to_string(&v).unwrap());
        assert_eq!(t.parse::<Value>().unwrap(), v);
        assert_eq!(serde_json::to_value(&t).unwrap(), v);
    }
    assert_eq!(
        JsonText::new(&json!([1])).unwrap().parse::<String>().unwrap_err().kind(),
        ErrorKind::DataLoss
    );
}

#[test]
fn the_writer_refuses_what_the_reader_would() {
    let write = |m: Manifest, names: &[&'static str]| {
        let mut w = BundleWriter::new(m);
        for n in names {
            w.add(*n, &b"x"[..]);
        }
        w.to_vec()
    };
    let all = ["model.onnx", "weights.bin", "tokenizer.json"];
    write(manifest(), &all).unwrap();
    for names in [&all[..2], &["model.onnx", "weights.bin", "tokenizer.json", "../x"]] {
        assert_eq!(write(manifest(), names).unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
    for extra in ["manifest.json", "weights.bin", "weights.bin/x", "manifest.json/x"] {
        let e = write(manifest(), &[all[0], all[1], all[2], extra]).unwrap_err();
        assert!(
            e.kind() == ErrorKind::InvalidArgument
                && e.message().contains("weights") | e.message().contains(MANIFEST)
        );
    }
    let mut m = manifest();
    m.heads[0].temperature = f32::NAN;
    assert_eq!(write(m, &all).unwrap_err().kind(), ErrorKind::InvalidArgument);
    let mut m = manifest();
    m.features.push("unheard-of".into());
    assert_eq!(write(m, &all).unwrap_err().kind(), ErrorKind::InvalidArgument);
}
