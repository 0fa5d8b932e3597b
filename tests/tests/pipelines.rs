//! Tasks on small FP32 models beside what Hugging Face's pipelines answered with the same weights
//! (tests/data/pipelines/make.py): texts of many scripts, spans exactly, numbers within [`TOLERANCE`].

use std::collections::BTreeMap;
use std::sync::Arc;

use pocketbert::bundle::manifest::Pooling;
use pocketbert::model::Model;
use pocketbert::tasks::Aggregation;
use pocketbert::{
    ClassifyOptions, EmbedOptions, MaskFiller, TagOptions, TextClassifier, TextEmbedder, TokenClassifier,
    ZeroShotClassifier, ZeroShotOptions,
};
use pocketbert_tests::root;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Sums of floats in another order, through two layers: what differs at most.
const TOLERANCE: f64 = 2e-5;

fn open<T: DeserializeOwned>(task: &str, least: usize) -> (Arc<Model>, Vec<T>) {
    let folder = root().join("tests/data/pipelines").join(task);
    let model = Model::open(&folder, &Default::default()).unwrap();
    let answers = std::fs::read_to_string(folder.join("answers.jsonl")).unwrap();
    // The first line has the versions that answered.
    let answers: Vec<T> = answers.lines().skip(1).map(|l| serde_json::from_str(l).unwrap()).collect();
    assert!(answers.len() >= least);
    (Arc::new(model), answers)
}

fn near(a: f32, b: f64, what: &str) {
    assert!((f64::from(a) - b).abs() < TOLERANCE, "{what}: {a}, the pipeline {b}");
}

#[test]
fn classification() {
    #[derive(Deserialize)]
    struct Case {
        text: String,
        softmax: BTreeMap<String, f64>,
        sigmoid: BTreeMap<String, f64>,
    }
    let (model, cases) = open::<Case>("classify", 20);
    let c = TextClassifier::from_model(model, None).unwrap();
    for case in cases {
        for (multi_label, want) in [(false, case.softmax), (true, case.sigmoid)] {
            let o = ClassifyOptions { multi_label: Some(multi_label), ..ClassifyOptions::default() };
            let got = c.classify_with(&case.text, &o).unwrap();
            assert_eq!(got.labels.len(), want.len());
            got.labels.iter().for_each(|l| near(l.probability, want[&l.label], &case.text));
        }
    }
}

#[test]
fn tagging() {
    #[derive(Deserialize)]
    struct Case {
        text: String,
        aggregation: String,
        entities: Vec<(String, usize, usize, f64)>,
    }
    let (model, cases) = open::<Case>("tag", 100);
    let t = TokenClassifier::from_model(model, None).unwrap();
    let mut spans = 0;
    for case in cases {
        let (_, aggregation) = Aggregation::ALL.into_iter().find(|a| a.0 == case.aggregation).unwrap();
        let got = t.tag_with(&case.text, &TagOptions { aggregation, ..TagOptions::default() }).unwrap();
        let what = format!("{} {}", case.aggregation, case.text);
        let found: Vec<_> =
            got.entities.iter().map(|e| (e.label.as_str(), e.chars.start, e.chars.end)).collect();
        let want: Vec<_> = case.entities.iter().map(|(l, a, b, _)| (l.as_str(), *a, *b)).collect();
        assert_eq!(found, want, "{what}");
        for (e, (.., score)) in got.entities.iter().zip(&case.entities) {
            near(e.score, *score, &what);
            // The same place in all three units.
            let slice: String =
                case.text.chars().skip(e.chars.start).take(e.chars.end - e.chars.start).collect();
            let utf16: Vec<u16> = case.text.encode_utf16().collect();
            assert_eq!(e.of(&case.text), slice, "{what}");
            assert_eq!(String::from_utf16(&utf16[e.utf16.start..e.utf16.end]).unwrap(), slice, "{what}");
        }
        spans += found.len();
    }
    assert!(spans > 300, "{spans}");
}

#[test]
fn masks() {
    #[derive(Deserialize)]
    struct Case {
        text: String,
        candidates: Vec<(u32, String, f64)>,
    }
    let (model, cases) = open::<Case>("fill-mask", 20);
    let f = MaskFiller::from_model(model, None).unwrap();
    for case in cases {
        let got = f.fill(&case.text).unwrap();
        assert_eq!(got.masks.len(), 1);
        for (c, (id, token, score)) in got.masks[0].candidates.iter().zip(&case.candidates) {
            assert_eq!(
                (c.id, c.token.trim_start_matches("##")),
                (*id, token.trim_start_matches("##")),
                "{}",
                case.text
            );
            near(c.probability, *score, &case.text);
        }
    }
}

#[test]
fn labels_of_your_own() {
    #[derive(Deserialize)]
    struct Case {
        text: String,
        labels: Vec<String>,
        multi: bool,
        scores: BTreeMap<String, f64>,
    }
    let (model, cases) = open::<Case>("zero-shot", 40);
    let z = ZeroShotClassifier::from_model(model, None).unwrap();
    for case in cases {
        let template = "This is about {}.".to_string();
        let o = ZeroShotOptions { template, multi_label: case.multi, ..ZeroShotOptions::default() };
        let labels: Vec<&str> = case.labels.iter().map(String::as_str).collect();
        let got = z.classify_with(&case.text, &labels, &o).unwrap();
        assert_eq!(got.labels.len(), case.scores.len());
        got.labels.iter().for_each(|l| near(l.probability, case.scores[&l.label], &case.text));
    }
}

#[test]
fn vectors() {
    #[derive(Deserialize)]
    struct Case {
        text: String,
        cls: Vec<f64>,
        mean: Vec<f64>,
        max: Vec<f64>,
    }
    let (model, cases) = open::<Case>("embed", 20);
    let e = TextEmbedder::from_model(model, None).unwrap();
    for case in cases {
        for (pooling, want) in
            [(Pooling::Cls, &case.cls), (Pooling::Mean, &case.mean), (Pooling::Max, &case.max)]
        {
            let o = EmbedOptions { pooling: Some(pooling), ..EmbedOptions::default() };
            let got = e.embed_with(&case.text, &o).unwrap().values();
            assert_eq!(got.len(), want.len());
            got.iter().zip(want).for_each(|(g, w)| near(*g, *w, &case.text));
        }
    }
}
