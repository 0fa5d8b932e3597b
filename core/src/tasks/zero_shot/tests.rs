use super::*;
use crate::cancel::CancelToken;

const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny.pbert");

#[test]
fn both_formulas_are_those_of_the_reference() {
    let (labels, scores) = (["a", "b", "c"], [[0.5, 1.0], [2.0, 1.0], [-1.0, 3.0]]);
    let ask = |o: &ZeroShotOptions| chosen(&labels, &scores, &judged(&scores, 1.0, o), o);
    let single = ask(&ZeroShotOptions::default());
    let sum: f64 = [1f64, 1.0, 3.0].iter().map(|x| x.exp()).sum();
    for (l, (label, logit)) in single.iter().zip([("c", 3f64), ("a", 1.0), ("b", 1.0)]) {
        assert_eq!(l.label, label);
        assert!((f64::from(l.probability) - logit.exp() / sum).abs() < 1e-6);
    }
    let multi = ask(&ZeroShotOptions { multi_label: true, ..ZeroShotOptions::default() });
    for (l, (label, gap)) in multi.iter().zip([("c", 4f64), ("a", 0.5), ("b", -1.0)]) {
        assert_eq!(l.label, label);
        assert!((f64::from(l.probability) - 1.0 / (1.0 + (-gap).exp())).abs() < 1e-6);
    }
    let half = ZeroShotOptions { multi_label: true, threshold: Some(0.5), ..ZeroShotOptions::default() };
    assert_eq!(ask(&half).len(), 2);
    assert_eq!(ask(&ZeroShotOptions { top_k: Some(1), ..ZeroShotOptions::default() }).len(), 1);
    // One label alone is judged by itself, or it would always be certain.
    let alone = judged(&scores[1..2], 1.0, &ZeroShotOptions::default());
    assert!(alone[0] < 0.3);
}

#[test]
fn batches_equal_single_calls() {
    let c = ZeroShotClassifier::open(TINY).unwrap();
    let labels = ["music", "weather", "restaurants"];
    let long = "will it rain in Paris ".repeat(100);
    let texts = ["", "play some jazz", &long];
    let all = c.classify_batch_with(&texts, &labels, &ZeroShotOptions::default()).unwrap();
    for (text, a) in texts.iter().zip(&all) {
        assert_eq!(a, &c.classify(text, &labels).unwrap());
        assert!((a.labels.iter().map(|l| l.probability).sum::<f32>() - 1.0).abs() < 1e-5);
    }
    assert!(all[2].truncated && !all[1].truncated);
    assert!(c.classify_batch_with(&[], &labels, &ZeroShotOptions::default()).unwrap().is_empty());
    // What a label is beside does not change its own score.
    let two = c.classify("play some jazz", &labels[..2]).unwrap();
    for l in &two.labels {
        let same = all[1].labels.iter().find(|x| x.label == l.label).unwrap();
        assert_eq!((same.entailment, same.contradiction), (l.entailment, l.contradiction));
    }
}

#[test]
fn bad_labels_and_options_are_errors() {
    let c = ZeroShotClassifier::open(TINY).unwrap();
    let default = ZeroShotOptions::default;
    let kind = |labels: &[&str], o: &ZeroShotOptions| c.classify_with("x", labels, o).unwrap_err().kind();
    for labels in [&[][..], &["a", ""], &["a", "b", "a"]] {
        assert_eq!(kind(labels, &default()), ErrorKind::InvalidArgument);
    }
    for o in [
        ZeroShotOptions { template: "about".into(), ..default() },
        ZeroShotOptions { template: "{} or {}".into(), ..default() },
        ZeroShotOptions { top_k: Some(0), ..default() },
        ZeroShotOptions { threshold: Some(f32::NAN), ..default() },
    ] {
        assert_eq!(kind(&["a"], &o), ErrorKind::InvalidArgument);
    }
    let cancel = CancelToken::new();
    cancel.cancel();
    let call = CallOptions { cancel: Some(cancel), ..CallOptions::default() };
    assert_eq!(kind(&["a"], &ZeroShotOptions { call, ..default() }), ErrorKind::Cancelled);
    let e = ZeroShotClassifier::from_model(c.model().unwrap().clone(), Some("slots")).unwrap_err();
    assert!(e.kind() == ErrorKind::InvalidArgument && e.message().contains("`entail`"), "{e}");
}
