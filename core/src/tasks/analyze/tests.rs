//! One run for several heads gives what each task gives alone.

use super::*;
use crate::cancel::CancelToken;
use crate::error::ErrorKind;
use crate::kernels::Isa;
use crate::metrics::{Baseline, DriftOptions};
use crate::tasks::{QuestionAnswerer, TextClassifier, TextEmbedder, TokenClassifier};

const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny.pbert");
const TEXTS: [&str; 5] = [
    "book a table for two in Paris",
    "",
    "WIN a FREE prize now, call 0800 1",
    "Zürich 日本 😀 e\u{301}",
    "x",
];

/// The answers of each task by itself.
fn alone(a: &Analyzer, text: &str) -> Vec<(String, HeadAnswer)> {
    let model = a.model().unwrap();
    let one = |name: &&str| {
        let task = model.bundle().unwrap().manifest().head(Some(name)).unwrap().task;
        let answer = match task {
            Task::TextClassification => {
                let c = TextClassifier::from_model(model.clone(), Some(name)).unwrap();
                HeadAnswer::Labels(c.classify(text).unwrap())
            }
            Task::TokenClassification => {
                let t = TokenClassifier::from_model(model.clone(), Some(name)).unwrap();
                HeadAnswer::Tags(t.tag(text).unwrap())
            }
            Task::Embedding => {
                let e = TextEmbedder::from_model(model.clone(), Some(name)).unwrap();
                HeadAnswer::Vector(e.embed(text).unwrap())
            }
            other => panic!("{other:?} has no comparison here"),
        };
        (name.to_string(), answer)
    };
    a.heads().unwrap().iter().map(one).collect()
}

#[test]
fn one_run_equals_each_task_alone_bit_for_bit() {
    let a = Analyzer::open(TINY).unwrap();
    let heads = a.heads().unwrap();
    for head in ["intent", "slots", "spam", "embed"] {
        assert!(heads.contains(&head), "{heads:?}");
    }
    let long = "one of many words ".repeat(400);
    let texts = [&TEXTS[..], &[long.as_str()]].concat();
    let all = a.analyze_batch_with(&texts, &AnalyzeOptions::default()).unwrap();
    for (text, got) in texts.iter().zip(&all) {
        let named: Vec<_> = got.heads.iter().map(|h| (h.head.clone(), h.answer.clone())).collect();
        assert_eq!(named, alone(&a, text), "{text:.40}");
        assert_eq!(got, &a.analyze(text).unwrap());
        let Some(HeadAnswer::Labels(c)) = got.head("intent") else { panic!("no labels") };
        assert_eq!((got.token_count, got.truncated), (c.token_count, c.truncated));
        assert_eq!(got.model_version, c.model_version);
    }
    assert!(all[5].truncated);
    // Threads and kernels change nothing.
    for kernel in Isa::available() {
        let call = CallOptions { threads: 2, kernel: Some(kernel), ..CallOptions::default() };
        let o = AnalyzeOptions { call, ..AnalyzeOptions::default() };
        assert_eq!(a.analyze_batch_with(&texts[..3], &o).unwrap(), all[..3]);
    }
}

#[test]
fn heads_can_be_chosen_and_bad_ones_are_told_apart() {
    let a = Analyzer::open(TINY).unwrap();
    let ask = |heads: &[&str]| {
        let heads = heads.iter().map(|h| h.to_string()).collect();
        a.analyze_with("play some jazz", &AnalyzeOptions { heads, ..AnalyzeOptions::default() })
    };
    let all = a.analyze("play some jazz").unwrap();
    let spam = ask(&["spam"]).unwrap();
    assert_eq!((spam.heads.len(), spam.head("spam")), (1, all.head("spam")));
    // In the bundle's order, whatever the caller's.
    let two: Vec<_> = ask(&["spam", "intent"]).unwrap().heads.into_iter().map(|h| h.head).collect();
    assert_eq!(two, ["intent", "spam"]);
    let e = ask(&["nope"]).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotFound);
    for name in ["`intent`", "`spam`", "`slots`", "`embed`"] {
        assert!(e.message().contains(name), "{e}");
    }
    assert_eq!(ask(&["spam", "spam"]).unwrap_err().kind(), ErrorKind::InvalidArgument);
    let none = AnalyzeOptions { top_k: Some(0), ..AnalyzeOptions::default() };
    assert_eq!(a.analyze_with("x", &none).unwrap_err().kind(), ErrorKind::InvalidArgument);
    for (name, why) in a.other_heads().unwrap() {
        assert!(!why.is_empty());
        assert_eq!(ask(&[name]).unwrap_err().kind(), ErrorKind::InvalidArgument, "{name}");
    }
    assert!(a.analyze_batch_with(&[], &AnalyzeOptions::default()).unwrap().is_empty());
}

#[test]
fn heads_that_need_a_question_are_asked_with_one_only() {
    // Any output with two values per token can answer; the tiny model has none, the default one has.
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/everyday.pbert");
    let model = Arc::new(Model::open(path, &OpenOptions::default()).unwrap());
    let a = Analyzer::from_model(model.clone()).unwrap();
    let text = "Ada Lovelace wrote the first program in 1843.";
    let plain = a.analyze(text).unwrap();
    assert!(plain.head("answer").is_none() && plain.head("sentiment").is_some());
    let o = AnalyzeOptions { question: Some("Who wrote it?".into()), ..AnalyzeOptions::default() };
    let asked = a.analyze_with(text, &o).unwrap();
    let alone = QuestionAnswerer::from_model(model, Some("answer")).unwrap();
    let expected = alone.answer("Who wrote it?", text).unwrap();
    assert_eq!(asked.head("answer"), Some(&HeadAnswer::Answers(expected)));
    assert!(plain.heads.iter().all(|h| asked.head(&h.head) == Some(&h.answer)));
    assert_eq!(asked.heads.len(), plain.heads.len() + 1);
    let named = AnalyzeOptions { heads: vec!["answer".into()], ..AnalyzeOptions::default() };
    let e = a.analyze_with(text, &named).unwrap_err();
    assert!(e.kind() == ErrorKind::InvalidArgument && e.message().contains("`question`"), "{e}");
    let empty = AnalyzeOptions { question: Some(" ".into()), ..AnalyzeOptions::default() };
    assert_eq!(a.analyze_with(text, &empty).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(a.head_metrics("answer").unwrap().snapshot().texts, 1);
}

#[test]
fn calls_stop_when_asked() {
    let a = Analyzer::deferred(TINY, &OpenOptions::default());
    assert_eq!(a.state(), LoadState::Unloaded);
    let cancel = CancelToken::new();
    cancel.cancel();
    let call = CallOptions { cancel: Some(cancel), ..CallOptions::default() };
    let stopped = AnalyzeOptions { call, ..AnalyzeOptions::default() };
    assert_eq!(a.analyze_with("x", &stopped).unwrap_err().kind(), ErrorKind::Cancelled);
    a.prewarm().unwrap();
    assert_eq!(a.state(), LoadState::Prewarmed);
    let missing = Analyzer::deferred("no/such/file.pbert", &OpenOptions::default());
    assert_eq!(missing.analyze("x").unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn numbers_are_the_calls_and_each_heads() {
    let a = Analyzer::open(TINY).unwrap();
    a.head_metrics("spam").unwrap().collect_baseline().unwrap();
    (0..40).for_each(|_| drop(a.analyze_batch_with(&TEXTS, &AnalyzeOptions::default()).unwrap()));
    let all = a.snapshots();
    assert_eq!(all.len(), 1 + a.heads().unwrap().len());
    assert_eq!((all[0].calls, all[0].texts, all[0].tokens.count()), (40, 200, 200));
    let spam = all.iter().find(|s| s.head == "spam").unwrap();
    assert_eq!((spam.judged, spam.tokens.count()), (200, 200));
    // The same texts again and again are no drift, others are.
    let counts = a.head_metrics("spam").unwrap().baseline().unwrap();
    assert_eq!(counts.texts, 200);
    let mut b = Baseline::default();
    b.insert("spam", counts);
    let o = DriftOptions { window: 50, threshold: 0.2 };
    a.head_metrics("spam").unwrap().watch(&b, &o, |_| ()).unwrap();
    let ask = |texts: &[&str]| {
        (0..10).for_each(|_| drop(a.analyze_batch_with(texts, &AnalyzeOptions::default()).unwrap()));
        a.head_metrics("spam").unwrap().snapshot().drift.unwrap()
    };
    assert!(!ask(&TEXTS).drifted());
    assert!(
        ask(&["many more words than there were before, and then some, and then a few more of them"; 5])
            .drifted()
    );
    assert!(a.head_metrics("nope").is_err());
}
