//! Labels, options, batches and threads of the classifier.

use std::time::Instant;

use super::super::session::TOKENS_PER_RUN;
use super::*;
use crate::cancel::CancelToken;

fn head() -> ClassifierHead {
    ClassifierHead {
        name: "h".into(),
        output: "h".into(),
        index: 0,
        labels: ["a", "b", "c", "d"].map(String::from).to_vec(),
        multi_label: false,
        regression: false,
        thresholds: vec![],
        temperature: 1.0,
        max_length: None,
    }
}

fn scored(head: &ClassifierHead, o: &ClassifyOptions, logits: &[f32]) -> Result<Vec<Scored>> {
    let keep = Keep::new(head, o)?;
    let p = keep.probabilities(head, logits)?;
    Ok(keep.pick(head, &p, logits))
}

fn labels(head: &ClassifierHead, o: &ClassifyOptions, logits: &[f32]) -> Result<Vec<String>> {
    Ok(scored(head, o, logits)?.into_iter().map(|s| s.label).collect())
}

fn list(names: &[&str]) -> Vec<String> {
    names.iter().map(|n| n.to_string()).collect()
}

#[test]
fn labels_come_by_probability_then_index_and_options_thin_them() {
    let logits = [1.0, 3.0, 1.0, -2.0];
    let ask = |o: ClassifyOptions| labels(&head(), &o, &logits).unwrap();
    let default = ClassifyOptions::default;
    assert_eq!(ask(default()), ["b", "a", "c", "d"]);
    assert_eq!(ask(ClassifyOptions { top_k: Some(2), ..default() }), ["b", "a"]);
    assert_eq!(ask(ClassifyOptions { allow: list(&["d", "c"]), ..default() }), ["c", "d"]);
    assert_eq!(ask(ClassifyOptions { deny: list(&["b"]), top_k: Some(1), ..default() }), ["a"]);
    // Softmax gives a 0.106; the logistic function 0.731.
    let half = ClassifyOptions { threshold: Some(0.5), ..default() };
    assert_eq!(ask(half.clone()), ["b"]);
    assert_eq!(ask(ClassifyOptions { multi_label: Some(true), ..half }), ["b", "a", "c"]);
}

#[test]
fn a_tuned_multi_label_head_uses_its_thresholds() {
    let tuned =
        ClassifierHead { multi_label: true, thresholds: vec![0.8, 0.9, 0.7, f32::NEG_INFINITY], ..head() };
    let logits = [1.0, 3.0, 1.0, -2.0];
    assert_eq!(labels(&tuned, &ClassifyOptions::default(), &logits).unwrap(), ["b", "c", "d"]);
    let all = ClassifyOptions { threshold: Some(0.0), ..ClassifyOptions::default() };
    assert_eq!(labels(&tuned, &all, &logits).unwrap().len(), 4);
    let softmax = ClassifyOptions { multi_label: Some(false), ..ClassifyOptions::default() };
    assert_eq!(labels(&tuned, &softmax, &logits).unwrap().len(), 4);
}

#[test]
fn a_regression_head_gives_its_value() {
    let h = ClassifierHead { regression: true, labels: list(&["score"]), temperature: 2.0, ..head() };
    let got = scored(&h, &ClassifyOptions::default(), &[-7.5]).unwrap();
    assert_eq!((got[0].probability, got[0].logit), (-7.5, -7.5));
}

#[test]
fn contradictory_options_and_broken_values_are_errors() {
    let kind = |o: ClassifyOptions, l: &[f32]| labels(&head(), &o, l).unwrap_err().kind();
    let fine = [0.0; 4];
    let default = ClassifyOptions::default;
    for o in [
        ClassifyOptions { allow: list(&["a"]), deny: list(&["b"]), ..default() },
        ClassifyOptions { allow: list(&["nope"]), ..default() },
        ClassifyOptions { deny: list(&["nope"]), ..default() },
        ClassifyOptions { top_k: Some(0), ..default() },
        ClassifyOptions { threshold: Some(1.5), ..default() },
        ClassifyOptions { threshold: Some(f32::NAN), ..default() },
    ] {
        assert_eq!(kind(o, &fine), ErrorKind::InvalidArgument);
    }
    assert_eq!(kind(default(), &[0.0, f32::NAN, 0.0, 0.0]), ErrorKind::OutOfRange);
    assert_eq!(kind(default(), &[0.0, f32::INFINITY, 0.0, 0.0]), ErrorKind::OutOfRange);
}

#[test]
fn runs_stop_when_asked_and_batches_equal_single_runs() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny.pbert");
    let c = TextClassifier::open(path).unwrap();
    let cancel = CancelToken::new();
    cancel.cancel();
    let stopped = ClassifyOptions {
        call: CallOptions { cancel: Some(cancel.clone()), ..CallOptions::default() },
        ..ClassifyOptions::default()
    };
    assert_eq!(c.classify_with("x", &stopped).unwrap_err().kind(), ErrorKind::Cancelled);
    cancel.reset();
    assert!(c.classify_with("x", &stopped).is_ok());
    let late = ClassifyOptions {
        call: CallOptions { deadline: Some(Instant::now()), ..CallOptions::default() },
        ..ClassifyOptions::default()
    };
    assert_eq!(c.classify_with("x", &late).unwrap_err().kind(), ErrorKind::DeadlineExceeded);

    // More tokens than one run takes, of all lengths.
    let long = "a word or two ".repeat(200);
    let texts: Vec<&str> = (0..40).map(|i| &long[..i * 70]).collect();
    let all = c.classify_batch(&texts).unwrap();
    assert!(all.iter().map(|a| a.token_count).sum::<usize>() > TOKENS_PER_RUN);
    for (text, a) in texts.iter().zip(&all) {
        assert_eq!(a, &c.classify(text).unwrap());
    }
    assert!(all[39].truncated && all[39].token_count == c.model().unwrap().info().max_length);
    assert!(c.classify_batch(&[]).unwrap().is_empty());
}

#[test]
fn threads_share_one_classifier() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny.pbert");
    let c = TextClassifier::deferred(path, &OpenOptions::default(), None);
    let texts = ["one", "and two", "three more words"];
    let answers: Vec<_> = std::thread::scope(|s| {
        let threads: Vec<_> = (0..3)
            .map(|i| {
                s.spawn({
                    let c = &c;
                    move || c.classify(texts[i])
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap().unwrap()).collect()
    });
    assert_eq!(answers, c.classify_batch(&texts).unwrap());
}
