//! Counting, exports and drift.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use super::*;
use crate::model::Model;
use crate::{CallOptions, CancelToken, ClassifyOptions, TextClassifier};

fn tiny() -> TextClassifier {
    TextClassifier::open(concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny.pbert")).unwrap()
}

/// The golden texts whose name begins with one of `sources`.
fn texts(sources: &[&str]) -> Vec<String> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/texts.jsonl");
    let lines = std::fs::read_to_string(file).unwrap();
    let rows = lines.lines().map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap());
    let text = |r: serde_json::Value| r["text"].as_str().unwrap().to_string();
    rows.filter(|r| sources.iter().any(|s| r["id"].as_str().unwrap().starts_with(s))).map(text).collect()
}

#[test]
fn calls_are_counted_by_stage_and_the_cold_one_is_apart() {
    let c = tiny();
    c.metrics().set_low_confidence(1.0).unwrap();
    let long = "word ".repeat(1000);
    c.classify_batch(&["cold"]).unwrap();
    c.classify_batch(&["one", &long, "\u{10a31}"]).unwrap();
    c.classify_batch(&["two"]).unwrap();
    c.classify_batch(&[]).unwrap();
    let s = c.metrics().snapshot();
    assert_eq!((s.calls, s.texts, s.tokens.count(), s.truncated, s.judged), (3, 5, 5, 1, 5));
    assert_eq!((s.task.as_str(), s.head.as_str()), ("text-classification", "intent"));
    assert_eq!((&s.model, &s.version), (&c.model().unwrap().info().name, &c.model().unwrap().info().version));
    assert!(s.unknown_tokens >= 1 && s.low_confidence >= 1 && s.load.is_some());
    let cold = s.cold.unwrap();
    assert!(cold.run > std::time::Duration::ZERO && cold.total >= cold.tokenise + cold.run + cold.decode);
    for (stage, d) in s.warm.stages() {
        assert_eq!(d.count(), 2, "{stage}");
    }
    let parts = s.warm.tokenise.sum() + s.warm.run.sum() + s.warm.decode.sum();
    assert!(parts <= s.warm.total.sum() + 2 && s.warm.run.sum() > s.warm.total.sum() / 10);
    assert_eq!(s.truncation_rate(), Some(0.2));
    assert!(c.metrics().set_low_confidence(f32::NAN).is_err());
}

#[test]
fn errors_are_counted_by_kind_and_leave_the_rest_alone() {
    let c = tiny();
    let cancel = CancelToken::new();
    cancel.cancel();
    let call = CallOptions { cancel: Some(cancel), ..CallOptions::default() };
    let stopped = ClassifyOptions { call, ..ClassifyOptions::default() };
    assert!(c.classify_with("x", &stopped).is_err());
    assert!(c.classify_with("x", &ClassifyOptions { top_k: Some(0), ..Default::default() }).is_err());
    assert!(c.classify_with("x", &ClassifyOptions { top_k: Some(0), ..Default::default() }).is_err());
    let s = c.metrics().snapshot();
    assert_eq!(s.errors, BTreeMap::from([("CANCELLED", 1), ("INVALID_ARGUMENT", 2)]));
    assert_eq!((s.calls, s.texts, s.cold), (0, 0, None));
    // Opening fails, too.
    let gone = TextClassifier::deferred("/no/such/file.pbert", &Default::default(), None);
    assert!(gone.classify("x").is_err());
    assert_eq!(gone.metrics().snapshot().errors, BTreeMap::from([("NOT_FOUND", 1)]));
}

#[test]
fn switched_off_nothing_is_counted() {
    let c = tiny();
    c.metrics().enable(false);
    let answer = c.classify("play some jazz").unwrap();
    let _ = c.classify_with("x", &ClassifyOptions { top_k: Some(0), ..Default::default() });
    let s = c.metrics().snapshot();
    assert_eq!((s.calls, s.texts, s.tokens.count(), s.judged, s.errors.len()), (0, 0, 0, 0, 0));
    assert_eq!(c.state(), crate::LoadState::Prewarmed);
    c.metrics().enable(true);
    assert_eq!(c.classify("play some jazz").unwrap(), answer);
    assert_eq!(c.metrics().snapshot().calls, 1);
}

#[test]
fn threads_count_together() {
    let c = tiny();
    std::thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| (0..10).for_each(|_| drop(c.classify("play some jazz").unwrap())));
        }
    });
    let s = c.metrics().snapshot();
    assert_eq!((s.calls, s.texts, s.judged), (40, 40, 40));
    assert_eq!(s.warm.total.count() + u64::from(s.cold.is_some()), 40);
}

#[test]
fn no_export_holds_text() {
    let c = tiny();
    let marked = ["Kreuzotter7 plays jazz", "zebrafink \u{1f98a} spoon", "Kreuzotter7"];
    c.metrics().collect_baseline().unwrap();
    for t in marked {
        c.classify(t).unwrap();
        c.classify_pair(t, t, &Default::default()).unwrap();
        let _ = c.classify_with(t, &ClassifyOptions { allow: vec![t.into()], ..Default::default() });
    }
    let s = c.metrics().snapshot();
    let all = [
        to_json(std::slice::from_ref(&s)),
        to_prometheus(std::slice::from_ref(&s)),
        format!("{:?}", s.attributes()),
        format!("{s:?} {:?} {c:?}", c.metrics()),
        serde_json::to_string(&c.metrics().baseline().unwrap()).unwrap(),
    ];
    for page in all {
        assert!(!page.is_empty());
        for word in ["reuzotter", "zebrafink", "spoon", "\u{1f98a}"] {
            assert!(!page.contains(word), "{word}: {page}");
        }
    }
}

/// Name, labels and value of every sample, and the type of every family, by the rules of the exposition format.
type Sample = (String, BTreeMap<String, String>, f64);

fn parse(page: &str) -> (Vec<Sample>, HashMap<String, String>) {
    let (mut samples, mut types, mut helped) = (vec![], HashMap::new(), HashSet::new());
    let word = |s: &str| s.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !s.is_empty();
    assert!(page.ends_with('\n'));
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(word(name) && !help.is_empty() && helped.insert(name.to_string()), "{line}");
            continue;
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind) && helped.contains(name), "{line}");
            assert!(types.insert(name.to_string(), kind.to_string()).is_none(), "{line}");
            continue;
        }
        let (name, rest) = line.split_once('{').unwrap();
        let mut labels = BTreeMap::new();
        let mut rest = rest;
        loop {
            let (label, after) = rest.split_once("=\"").unwrap();
            assert!(word(label), "{line}");
            let (mut value, mut chars) = (String::new(), after.char_indices());
            let end = loop {
                match chars.next().unwrap() {
                    (i, '"') => break i,
                    (_, '\\') => value.push(match chars.next().unwrap().1 {
                        'n' => '\n',
                        c @ ('\\' | '"') => c,
                        c => panic!("escape {c}: {line}"),
                    }),
                    (_, c) => value.push(c),
                }
            };
            assert!(labels.insert(label.to_string(), value).is_none(), "{line}");
            match after[end + 1..].strip_prefix(',') {
                Some(more) => rest = more,
                None => {
                    rest = after[end + 1..].strip_prefix("} ").unwrap();
                    break;
                }
            }
        }
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .filter_map(|s| name.strip_suffix(s))
            .find(|f| types.get(*f).is_some_and(|t| t == "histogram"));
        let kind = types.get(family.unwrap_or(name)).unwrap_or_else(|| panic!("no type: {line}"));
        assert!(kind != "counter" || name.ends_with("_total"), "{line}");
        samples.push((name.to_string(), labels, rest.parse().unwrap()));
    }
    (samples, types)
}

#[test]
fn the_prometheus_page_keeps_the_rules_of_the_format() {
    let c = tiny();
    for t in ["play some jazz", "rain in Paris", "rate this book", "what a day"] {
        c.classify(t).unwrap();
    }
    let _ = c.classify_with("x", &ClassifyOptions { top_k: Some(0), ..Default::default() });
    let mut odd = c.metrics().snapshot();
    odd.head = "a \"quoted\\name\"\nof two lines".into();
    // The same series twice is one: a page must not hold a sample twice.
    let page = to_prometheus(&[c.metrics().snapshot(), odd.clone(), c.metrics().snapshot()]);
    let (samples, types) = parse(&page);
    let mut names = HashSet::new();
    for (name, labels, value) in &samples {
        assert!(names.insert((name, labels)), "twice: {name} {labels:?}");
        assert!(value.is_finite() && *value >= 0.0);
    }
    let get = |name: &str, head: &str| -> Vec<f64> {
        let fits = |s: &&Sample| s.0 == format!("pocketbert_{name}") && s.1["head"] == head;
        samples.iter().filter(fits).map(|s| s.2).collect()
    };
    assert_eq!(get("calls_total", "intent"), [8.0]);
    assert_eq!(get("calls_total", &odd.head), [4.0]);
    assert_eq!(get("errors_total", "intent"), [2.0]);
    assert!(types.values().filter(|t| *t == "histogram").count() == 2);
    // Buckets are cumulative, the last is everything, and agrees with the count.
    let mut last: HashMap<(String, BTreeMap<String, String>), (f64, f64)> = HashMap::new();
    for (name, labels, value) in samples.iter().filter(|s| s.0.ends_with("_bucket")) {
        let mut key = labels.clone();
        let le: f64 = key.remove("le").unwrap().parse().unwrap();
        let family = name.trim_end_matches("_bucket").to_string();
        let before = last.insert((family, key), (le, *value));
        assert!(before.is_none_or(|(l, v)| l < le && v <= *value), "{name} {labels:?}");
    }
    assert_eq!(last.len(), 10);
    for ((family, labels), (le, n)) in last {
        let of = |part: &str| {
            samples.iter().find(|s| s.0 == format!("{family}_{part}") && s.1 == labels).unwrap().2
        };
        assert_eq!((le, n), (f64::INFINITY, of("count")));
        assert!(n == 0.0 || of("sum") > 0.0);
    }
}

#[test]
fn json_and_attributes_tell_what_the_snapshot_holds() {
    let c = tiny();
    c.classify_batch(&["play some jazz", "rain in Paris"]).unwrap();
    c.classify("rain in Paris").unwrap();
    let s = c.metrics().snapshot();
    let v: serde_json::Value = serde_json::from_str(&to_json(std::slice::from_ref(&s))).unwrap();
    assert_eq!(
        (&v[0]["calls"], &v[0]["texts"], &v[0]["warm_ns"]["run"]["count"]),
        (&2.into(), &3.into(), &1.into())
    );
    assert_eq!(v[0]["warm_ns"]["total"]["p95"], s.warm.total.quantile(0.95).unwrap());
    let a: HashMap<String, AttributeValue> = s.attributes().into_iter().collect();
    assert_eq!(a["gen_ai.operation.name"], AttributeValue::Text("text_classification".into()));
    assert_eq!(a["gen_ai.usage.input_tokens"], AttributeValue::I64(s.tokens.sum() as i64));
    assert_eq!(a["gen_ai.request.model"], AttributeValue::Text(s.model.clone()));
    assert!(a.contains_key("pocketbert.total.duration.p99") && !a.contains_key("pocketbert.drift.score"));
    let name =
        |n: &String| n.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "._".contains(c));
    assert!(a.keys().all(name), "{a:?}");
    let empty = Metrics::new("x").snapshot();
    assert!(to_json(std::slice::from_ref(&empty)).contains("\"cold_ns\":null"));
    parse(&to_prometheus(&[empty]));
}

/// Reports of a classifier that is calibrated on `known` and then gets `later`, in windows of `window` texts.
fn watched(known: &[String], later: &[String], window: u64) -> (Vec<DriftReport>, Option<DriftReport>) {
    static REPORTS: Mutex<Vec<DriftReport>> = Mutex::new(vec![]);
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    REPORTS.lock().unwrap().clear();
    let c = tiny();
    c.metrics().collect_baseline().unwrap();
    for t in known {
        c.classify(t).unwrap();
    }
    let mut b = Baseline::default();
    b.insert("intent", c.metrics().baseline().unwrap());
    let json = b.to_json().unwrap();
    let b = Baseline::read(&json, c.model().unwrap().bundle().unwrap().manifest()).unwrap();
    let field = TextClassifier::from_model(c.model().unwrap().clone(), None).unwrap();
    let options = DriftOptions { window, ..DriftOptions::default() };
    let note = |r: &DriftReport| REPORTS.lock().unwrap().push(r.clone());
    field.metrics().watch(&b, &options, note).unwrap();
    assert!(field.metrics().watch(&b, &options, |_| ()).is_err());
    for t in later {
        field.classify(t).unwrap();
    }
    let all = REPORTS.lock().unwrap().clone();
    (all, field.metrics().snapshot().drift)
}

#[test]
fn texts_of_the_same_kind_raise_no_alarm_and_others_do() {
    let voice = texts(&["snips", "clinc", "banking", "sms", "wnut"]);
    assert!(voice.len() >= 110, "{}", voice.len());
    let (even, odd): (Vec<_>, Vec<_>) = voice.iter().cloned().enumerate().partition(|(i, _)| i % 2 == 0);
    let strip = |v: Vec<(usize, String)>| v.into_iter().map(|(_, t)| t).collect::<Vec<_>>();
    let (even, odd) = (strip(even), strip(odd));
    // A window of texts like those of the baseline.
    let (alarms, last) = watched(&even, &odd, odd.len() as u64);
    let last = last.unwrap();
    assert_eq!((alarms.len(), last.texts, last.window), (0, odd.len() as u64, 1), "{last}");
    assert_eq!(last.axes.len(), 4);
    // Other languages and scripts: tokens, unknown ones, and with them the rest.
    let foreign: Vec<String> = texts(&["script", "emoji", "marks"]).into_iter().cycle().take(60).collect();
    let (alarms, last) = watched(&voice, &foreign, 60);
    assert_eq!(alarms.len(), 1);
    assert!(alarms[0].drifted() && last.unwrap().score() > 0.2, "{}", alarms[0]);
    // The same texts, four times as long.
    let longer: Vec<String> = odd.iter().map(|t| [t.as_str(); 4].join(" ")).collect();
    let (alarms, _) = watched(&even, &longer, 50);
    assert!(!alarms.is_empty(), "{} texts", longer.len());
    let length = alarms[0].axes.iter().find(|a| a.axis == Axis::TokenLength).unwrap();
    assert!(length.drifted() && length.psi > 1.0 && length.js > 0.3 && length.js <= 1.0);
    // One label alone.
    let one = texts(&["snips"]).into_iter().filter(|t| t.to_lowercase().starts_with("add")).cycle();
    let (alarms, _) = watched(&voice, &one.take(60).collect::<Vec<_>>(), 60);
    assert!(alarms[0].axes.iter().any(|a| a.axis == Axis::LabelMix && a.drifted()), "{}", alarms[0]);
}

fn counts(tokens: usize) -> Seen<'static> {
    Seen { tokens, unknown: 0, truncated: false, confidence: Some(0.97), labels: &[1] }
}

fn collected(seen: impl Iterator<Item = usize>, labels: usize) -> HeadBaseline {
    let c = drift::Counts::new(labels);
    seen.for_each(|t| assert!(c.add(&counts(t)) > 0));
    c.read()
}

#[test]
fn a_callback_that_panics_loses_no_answer_and_comes_once_per_window() {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let base = collected((0..200).map(|i| 5 + i % 9), 2);
    let m = DriftMonitor::new(&base, &DriftOptions { window: 50, threshold: 0.2 }, |_| {
        CALLS.fetch_add(1, Relaxed);
        panic!("the app's own");
    })
    .unwrap();
    let mut judged = 0;
    for i in 0..250 {
        if m.add(&counts(300)) {
            assert_eq!((i + 1) % 50, 0);
            judged += usize::from(m.judge().is_some());
        }
    }
    assert_eq!((judged, CALLS.load(Relaxed), m.last().unwrap().window), (5, 5, 5));
    assert_eq!(m.judge(), None);
}

#[test]
fn many_threads_share_a_monitor_and_no_text_is_lost() {
    let base = collected((0..1000).map(|i| 5 + i % 9), 2);
    let m = DriftMonitor::new(&base, &DriftOptions { window: 100, threshold: 0.2 }, |_| ()).unwrap();
    let judged = Mutex::new(0);
    std::thread::scope(|s| {
        for t in 0..4usize {
            let (m, judged) = (&m, &judged);
            s.spawn(move || {
                for i in 0..1000 {
                    if m.add(&counts(5 + (i + t) % 9))
                        && let Some(r) = m.judge()
                    {
                        assert!(!r.drifted(), "{r}");
                        *judged.lock().unwrap() += r.texts;
                    }
                }
            });
        }
    });
    let judged = *judged.lock().unwrap();
    assert!((2000..=4000).contains(&judged), "{judged}");
}

#[test]
fn the_index_is_that_of_the_definition() {
    let side = |t: [u64; 3]| {
        let mut token_length = vec![0; 18];
        token_length[..3].copy_from_slice(&t);
        let n = t.iter().sum();
        let unknown_rate = [vec![n], vec![0; 6]].concat();
        HeadBaseline { texts: n, token_length, unknown_rate, ..HeadBaseline::default() }
    };
    let r = DriftReport::compare(&side([5000, 3000, 2000]), &side([2500, 2500, 5000]), 0.2);
    let (p, q) = ([0.5, 0.3, 0.2f64], [0.25, 0.25, 0.5f64]);
    let psi: f64 = p.iter().zip(q).map(|(p, q)| (q - p) * (q / p).ln()).sum();
    let kl = |p: f64, m: f64| p * (p / m).log2();
    let js: f64 = p.iter().zip(q).map(|(&p, q)| (kl(p, (p + q) / 2.0) + kl(q, (p + q) / 2.0)) / 2.0).sum();
    assert!((r.axes[0].psi - psi).abs() < 2e-3 && (r.axes[0].js - js).abs() < 1e-3, "{r:?}");
    // Nothing unknown on either side: nothing to tell.
    assert!(r.axes[1].psi < 1e-12 && r.axes.len() == 2);
    // Where it is more than the threshold, the limit is the 99.9 % quantile of χ²: 16.27 for the 3 degrees of freedom
    // of 4 groups. Its approximation is 2 % too strict here.
    let few = DriftReport::compare(&side([50, 30, 20]), &side([25, 25, 50]), 0.01);
    assert!((few.axes[0].limit - 16.27 * 2.0 / 100.0).abs() < 0.008, "{few:?}");
}

#[test]
fn options_and_baselines_out_of_range_are_errors() {
    let good = collected(5..60, 2);
    let try_options =
        |window, threshold| DriftMonitor::new(&good, &DriftOptions { window, threshold }, |_| ());
    assert!(try_options(50, 0.1).is_ok());
    for (w, t) in [(49, 0.1), (1_000_001, 0.1), (50, 0.0), (50, f64::NAN), (50, f64::INFINITY)] {
        assert_eq!(try_options(w, t).unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
    let c = tiny();
    let manifest = c.model().unwrap().bundle().unwrap().manifest();
    let mut b = Baseline::default();
    b.insert("intent", collected(5..60, 7));
    let text = b.to_json().unwrap().as_str().to_string();
    let read = |t: &str| {
        let json: crate::bundle::JsonText = serde_json::from_str(t).unwrap();
        Baseline::read(&json, manifest)
    };
    assert_eq!(read(&text).unwrap(), b);
    // Fields that a later writer adds are ignored, as everywhere in the manifest.
    assert_eq!(read(&text.replacen('{', "{\"more\":1,", 1)).unwrap(), b);
    let broken = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}: {text}");
        read(&text.replacen(from, to, 1)).unwrap_err()
    };
    for (from, to) in [
        ("\"intent\"", "\"slots\""),
        ("\"intent\"", "\"nobody\""),
        ("\"texts\":55", "\"texts\":0"),
        ("\"texts\":55", "\"texts\":54"),
        ("\"texts\":55", "\"texts\":-1"),
        ("\"texts\":55", "\"texts\":1e99"),
        ("\"token_length\":[", "\"token_length\":[0,"),
        ("\"unknown_rate\":[55", "\"unknown_rate\":[18446744073709551615,1,18446744073709551615"),
        ("\"unknown_rate\":[", "\"unknown\":["),
        ("\"confidence\":[", "\"confidence\":[99,"),
        ("\"labels\":[", "\"labels\":[0,"),
    ] {
        assert_eq!(broken(from, to).kind(), ErrorKind::DataLoss, "{to}");
    }
    assert_eq!(broken("\"version\":1", "\"version\":2").kind(), ErrorKind::Unimplemented);
    assert_eq!(read("[1]").unwrap_err().kind(), ErrorKind::DataLoss);
    // Nothing is known of a model that is not open, or of a head without a baseline.
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny.pbert");
    let closed = TextClassifier::deferred(path, &Default::default(), None);
    assert_eq!(closed.metrics().collect_baseline().unwrap_err().kind(), ErrorKind::FailedPrecondition);
    let spam = TextClassifier::deferred(path, &Default::default(), Some("spam"));
    spam.load().unwrap();
    let e = spam.metrics().watch(&b, &DriftOptions::default(), |_| ()).unwrap_err();
    assert!(e.kind() == ErrorKind::NotFound && e.message().contains("`intent`"), "{e}");
    let plain: Option<Baseline> = Baseline::of(&Model::open(path, &Default::default()).unwrap()).unwrap();
    assert_eq!(plain, None);
}
