//! Small graphs in every form beside ONNX Runtime's answers (tests/data/forms/make.py), and what is refused.

use std::collections::BTreeMap;

use pocketbert::ErrorKind;
use pocketbert::kernels::Isa;
use pocketbert::model::{Batch, Model, OpenOptions};
use pocketbert_tests::{root, run};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    ids: Vec<i64>,
    types: Option<Vec<i64>>,
    outputs: BTreeMap<String, Vec<f32>>,
}

/// Largest difference that a form may show. The fully quantized ones take steps as wide as a hundredth, and a
/// value at the edge between two may fall to either side.
fn tolerance(file: &str) -> f32 {
    match file.split('-').next() {
        Some("fp16") => 2e-3,
        Some("qop") => 2e-2,
        _ => 2e-5,
    }
}

#[test]
fn answer_as_onnx_runtime_does() {
    let folder = root().join("tests/data/forms");
    let answers = std::fs::read(folder.join("answers.json")).unwrap();
    let answers: BTreeMap<String, Vec<Case>> = serde_json::from_slice(&answers).unwrap();
    assert!(answers.len() >= 12);
    for (file, cases) in answers {
        let options = OpenOptions { reference_semantics: true, ..OpenOptions::default() };
        let m = Model::open(folder.join(&file), &options).unwrap();
        for c in &cases {
            let mut b = Batch::new();
            b.push(c.ids.iter().copied(), c.types.as_deref(), None);
            for isa in [Isa::Generic, Isa::best()] {
                for o in run(&m, &b, isa, 1).unwrap() {
                    let want = &c.outputs[&o.info.name];
                    assert_eq!(o.data.len(), want.len(), "{file}");
                    for (a, b) in o.data.iter().zip(want) {
                        assert!(
                            (a - b).abs() <= tolerance(&file),
                            "{file} `{}`: {a} instead of {b}",
                            o.info.name
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn int8_forms_really_run_in_int8() {
    let folder = root().join("tests/data/forms");
    for file in ["dynamic-ts-17.onnx", "qdq-ts-17.onnx", "qop-ts-17.onnx"] {
        let m = Model::open(folder.join(file), &OpenOptions::default()).unwrap();
        let mut b = Batch::new();
        b.push([5, 6, 7], None, None);
        let mut stats = vec![];
        let mut options = pocketbert_tests::options(Isa::best(), 1);
        options.stats = Some(&mut stats);
        m.plan().run(&b, &[0], options).unwrap();
        // Query, key, value and output, the two of the feed-forward part, and the classifier. (ONNX Runtime's
        // QOperator quantizer left the layer before it in float.)
        let linears: Vec<_> = stats.iter().filter(|s| s.op == "Linear" && s.dtype == "i8").collect();
        assert!(linears.len() >= 5, "{file}: {} int8 layers", linears.len());
        for l in linears {
            assert!(
                l.kernels.iter().any(|(k, n)| k.starts_with("linear_i8/") && *n > 0),
                "{file} {:?}",
                l.kernels
            );
        }
    }
}

#[test]
fn what_is_no_encoder_is_refused_by_name() {
    let open = |bytes: &[u8]| Model::open_onnx_bytes(bytes, &OpenOptions::default()).unwrap_err();
    assert_eq!(open(b"").kind(), ErrorKind::DataLoss);
    assert_eq!(open(b"not a model at all").kind(), ErrorKind::DataLoss);
    let folder = root().join("tests/data/forms");
    let whole = std::fs::read(folder.join("fp32-ts-17.onnx")).unwrap();
    // Cut short: an error, unless the cut falls behind the graph and takes nothing that matters.
    let cuts: Vec<usize> = (0..whole.len()).step_by(whole.len() / 40).collect();
    let opened = cuts
        .iter()
        .filter(|&&cut| Model::open_onnx_bytes(&whole[..cut], &OpenOptions::default()).is_ok())
        .count();
    assert!(opened <= 1, "{opened} of {} cut files opened", cuts.len());
    // An operator under another name is not recognised, and the message says which.
    let mut renamed = whole.clone();
    for at in 0..whole.len() - 7 {
        if &whole[at..at + 7] == b"Softmax" {
            renamed[at..at + 7].copy_from_slice(b"Hardmax");
        }
    }
    let e = open(&renamed);
    assert_eq!(e.kind(), ErrorKind::Unimplemented);
    assert!(e.message().contains("Hardmax") || e.message().contains("attention"), "{e}");
}
