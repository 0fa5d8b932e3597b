//! The surface that Kotlin and Swift call gives core's answers, stops when told, and never panics.

use std::sync::Arc;

use pocketbert::model::Model as CoreModel;
use pocketbert_mobile::analyze::{AnalyzeOptions, Analyzer, HeadAnswer};
use pocketbert_mobile::classify::{ClassifyOptions, TextClassifier};
use pocketbert_mobile::embed::{EmbedOptions, Role, TextEmbedder};
use pocketbert_mobile::lazy::ModelState;
use pocketbert_mobile::model::OpenOptions;
use pocketbert_mobile::rerank::{RerankOptions, Reranker};
use pocketbert_mobile::summarize::{Centrality, Summarizer, SummaryOptions};
use pocketbert_mobile::tag::{Aggregation, TagOptions, TokenClassifier};
use pocketbert_mobile::vector::{VectorFormat, vector_convert, vector_cosine, vector_nearest, vector_read};
use pocketbert_mobile::zero_shot::{ZeroShotClassifier, ZeroShotOptions};
use pocketbert_mobile::{CallOptions, CancelToken, Model, TextPair, TooLong};

const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/tiny.pbert");
const TEXT: &str = "😀 book a table for two in Paris";

fn model() -> Arc<Model> {
    Model::from_path(TINY.into(), OpenOptions::default()).unwrap()
}

fn core() -> Arc<CoreModel> {
    Arc::new(CoreModel::open(TINY, &Default::default()).unwrap())
}

fn call() -> CallOptions {
    CallOptions { threads: 1, ..CallOptions::default() }
}

fn classify() -> ClassifyOptions {
    ClassifyOptions { call: call(), ..ClassifyOptions::default() }
}

fn tags() -> TagOptions {
    TagOptions {
        aggregation: Aggregation::First,
        scheme: None,
        ignore: None,
        threshold: None,
        too_long: TooLong::KeepStart,
        max_tokens: None,
        call: call(),
    }
}

fn embed() -> EmbedOptions {
    EmbedOptions {
        pooling: None,
        normalize: None,
        dims: None,
        format: VectorFormat::F32,
        role: Role::Text,
        prefix: None,
        too_long: TooLong::KeepStart,
        max_tokens: None,
        call: call(),
    }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

#[test]
fn classification_has_the_bits_of_core() {
    let ours = TextClassifier::create(model(), None).unwrap();
    let theirs = pocketbert::TextClassifier::from_model(core(), None).unwrap();
    let (a, b) = (ours.classify(TEXT.into(), classify()).unwrap(), theirs.classify(TEXT).unwrap());
    assert_eq!(floats(&a.logits), b.logits);
    let labels = ours.labels().unwrap();
    let named: Vec<_> = a.labels.iter().map(|l| (labels[l.index as usize].as_str(), l.probability)).collect();
    let core: Vec<_> = b.labels.iter().map(|l| (l.label.as_str(), l.probability)).collect();
    assert_eq!(named, core);
    let batch = ours.classify_batch(vec!["rain".into(), TEXT.into()], classify()).unwrap();
    assert_eq!(batch[1], a);
    let pair = TextPair { text: "a".into(), pair: "b".into() };
    assert_eq!(
        floats(&ours.classify_pairs(vec![pair], classify()).unwrap()[0].logits),
        theirs.classify_pair("a", "b", &Default::default()).unwrap().logits
    );
    let long = ours.classify_long("rain ".repeat(900), classify(), Default::default()).unwrap();
    assert!(long.token_count > 500 && !long.truncated);
    let json = ours.metrics_json().unwrap();
    assert!(json.contains("\"calls\":4") && !json.contains("Paris"), "{json}");
}

#[test]
fn spans_are_in_both_units() {
    let tagged = TokenClassifier::create(model(), None).unwrap().tag(TEXT.into(), tags()).unwrap();
    let city = tagged.entities.iter().find(|e| e.label == "city").unwrap();
    assert_eq!(&TEXT[city.span.byte_start as usize..city.span.byte_end as usize], "Paris");
    let units: Vec<u16> = TEXT.encode_utf16().collect();
    let slice = &units[city.span.utf16_start as usize..city.span.utf16_end as usize];
    assert_eq!(String::from_utf16(slice).unwrap(), "Paris");
    // The emoji is four bytes and two code units.
    assert_eq!(city.span.byte_start - city.span.utf16_start, 2);
    let tokens = model().tokenize(TEXT.into(), TooLong::KeepStart, None).unwrap();
    assert!(tokens.tokens[0].special && tokens.tokens.iter().any(|t| t.span == city.span));
}

#[test]
fn vectors_have_the_bits_of_core() {
    let embedder = TextEmbedder::create(model(), None).unwrap();
    let v = embedder.embed(TEXT.into(), embed()).unwrap();
    let theirs = pocketbert::TextEmbedder::from_model(core(), None).unwrap().embed(TEXT).unwrap();
    assert_eq!((floats(&v.values), v.stored.clone()), (theirs.values(), theirs.to_bytes()));
    assert_eq!(vector_read(v.stored.clone()).unwrap(), v);
    let small = vector_convert(v.stored.clone(), VectorFormat::I8).unwrap();
    assert!(small.stored.len() < v.stored.len() / 2);
    assert!(vector_cosine(small.stored, v.stored.clone()).unwrap() > 0.99);
    let other = embedder.embed("add this to my playlist".into(), embed()).unwrap();
    let found = vector_nearest(v.stored.clone(), vec![other.stored, v.stored], 1).unwrap();
    assert_eq!(found[0].index, 1);
    assert_eq!(vector_read(vec![1, 2, 3]).unwrap_err().code(), 15);
}

#[test]
fn the_other_tasks_answer() {
    let m = model();
    let rank = RerankOptions { top_k: None, too_long: TooLong::KeepStart, max_tokens: None, call: call() };
    let documents = ["play a song", "table at a restaurant"].map(String::from).to_vec();
    let ranked = Reranker::create(m.clone(), None).unwrap().rank(TEXT.into(), documents, rank).unwrap();
    assert_eq!(ranked[0].index, 1);
    let options = SummaryOptions { sentences: 1, centrality: Centrality::Centroid, call: call() };
    let text = "It rains in Rome. It rains a lot in Rome today. My cat sleeps.";
    let summary = Summarizer::create(m.clone(), None).unwrap().summarize(text.into(), options).unwrap();
    assert_eq!((summary.of, summary.sentences.len()), (3, 1));
    let zero = ZeroShotOptions {
        template: None,
        multi_label: false,
        top_k: Some(1),
        threshold: None,
        too_long: TooLong::KeepStart,
        max_tokens: None,
        call: call(),
    };
    let labels = ["get weather", "play music"].map(String::from).to_vec();
    let answer = ZeroShotClassifier::create(m.clone(), None)
        .unwrap()
        .classify("will it rain tomorrow".into(), labels, zero)
        .unwrap();
    assert_eq!(answer.labels[0].index, 0);
    let analyzer = Analyzer::create(m, None).unwrap();
    let options = AnalyzeOptions {
        heads: vec![],
        top_k: None,
        question: None,
        too_long: TooLong::KeepStart,
        max_tokens: None,
        call: call(),
    };
    let a = analyzer.analyze(TEXT.into(), options).unwrap();
    assert_eq!(a.heads.len(), analyzer.heads().unwrap().len());
    assert!(
        a.heads
            .iter()
            .any(|h| matches!(&h.answer, HeadAnswer::Tags { tagged } if !tagged.entities.is_empty()))
    );
}

#[test]
fn calls_stop() {
    let c = TextClassifier::create(model(), None).unwrap();
    let token = CancelToken::create().unwrap();
    token.cancel().unwrap();
    let mut options = classify();
    options.call.cancel = Some(token);
    assert_eq!(c.classify(TEXT.into(), options).unwrap_err().code(), 1);
    let mut options = classify();
    options.call.deadline_ms = Some(0);
    assert_eq!(c.classify(TEXT.into(), options).unwrap_err().code(), 4);
}

#[test]
fn models_open_from_everywhere() {
    let bytes = std::fs::read(TINY).unwrap();
    let expected = model().info().unwrap();
    assert_eq!(Model::from_bytes(bytes.clone(), OpenOptions::default()).unwrap().info().unwrap(), expected);
    #[cfg(unix)]
    {
        use std::io::Write;
        use std::os::fd::AsRawFd;
        // In the middle of another file, at an offset that is no multiple of anything.
        let path = std::env::temp_dir().join(format!("pocketbert-mobile-{}.bin", std::process::id()));
        let mut file = std::fs::File::create_new(&path).unwrap();
        file.write_all(&[7; 4321]).unwrap();
        file.write_all(&bytes).unwrap();
        file.write_all(&[7; 99]).unwrap();
        let file = std::fs::File::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let open = |fd, offset, length, defer| {
            Model::from_descriptor(fd, offset, length, OpenOptions { defer, ..OpenOptions::default() })
        };
        let (fd, length) = (file.as_raw_fd(), bytes.len() as i64);
        let later = open(fd, 4321, length, true).unwrap();
        drop(file);
        assert_eq!(later.state().unwrap(), ModelState::Unloaded);
        assert_eq!(later.info().unwrap(), expected);
        for (fd, offset, length) in [(-1, 0, 1), (fd, -1, 1), (fd, 0, -1), (1 << 30, 0, 1)] {
            assert!(open(fd, offset, length, false).is_err());
        }
    }
    let code = |m: pocketbert_mobile::Result<Arc<Model>>| m.unwrap_err().code();
    assert_eq!(code(Model::from_path("/no/such.pbert".into(), OpenOptions::default())), 5);
    assert_eq!(code(Model::from_bytes(bytes[..500].to_vec(), OpenOptions::default())), 15);
}

#[test]
fn states_in_order() {
    let m = Model::from_path(TINY.into(), OpenOptions { defer: true, ..OpenOptions::default() }).unwrap();
    let c = TextClassifier::create(m.clone(), None).unwrap();
    assert_eq!(c.state().unwrap(), ModelState::Unloaded);
    c.load().unwrap();
    assert_eq!((c.state().unwrap(), m.state().unwrap()), (ModelState::Loaded, ModelState::Loaded));
    c.prewarm().unwrap();
    assert_eq!(c.state().unwrap(), ModelState::Prewarmed);
    m.trim_memory().unwrap();
    c.classify(TEXT.into(), classify()).unwrap();
    assert_eq!(TextClassifier::create(m, Some("nonsense".into())).unwrap_err().code(), 5);
}

#[test]
fn the_bundle_tests_itself() {
    let t = model().self_test().unwrap();
    assert!(t.passed && t.cases > 0 && t.values > 0, "{t:?}");
}

#[test]
fn diagnostics_are_json() {
    let d = pocketbert_mobile::library::diagnostics_json().unwrap();
    let v: serde_json::Value = serde_json::from_str(&d).unwrap();
    assert_eq!(v["version"], env!("CARGO_PKG_VERSION"));
    assert!(pocketbert_mobile::library::set_log_level("loud".into()).is_err());
}

#[cfg(feature = "dangerous-fault-injection")]
#[test]
fn a_panic_is_an_error() {
    let e = pocketbert_mobile::library::dangerous_panic("my secret".into()).unwrap_err();
    assert_eq!(e.code(), 13);
    assert!(e.to_string().contains("library.rs:") && !e.to_string().contains("secret"), "{e}");
}
