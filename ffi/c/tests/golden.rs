//! The golden cases of every task, asked through the C ABI: the bits that Rust gives, and the same refusals.

use std::ffi::{CStr, CString, c_char};
use std::path::{Path, PathBuf};
use std::ptr::{null, null_mut};

use pocketbert_c::pocketbert_status::{self, POCKETBERT_OK};
use pocketbert_c::*;
use serde_json::{Value, json};

/// What C would keep alive during a call: strings, and arrays of pointers to them.
#[derive(Default)]
struct Keep {
    strings: Vec<CString>,
    names: Vec<Vec<*const c_char>>,
    texts: Vec<Vec<pocketbert_text>>,
}

impl Keep {
    fn string(&mut self, v: &Value) -> *const c_char {
        let Some(s) = v.as_str() else { return null() };
        self.strings.push(CString::new(s).expect("a name without NUL"));
        self.strings.last().map_or(null(), |s| s.as_ptr())
    }

    fn names(&mut self, v: &Value) -> (*const *const c_char, usize) {
        let Some(all) = v.as_array() else { return (null(), 0) };
        let names: Vec<_> = all.iter().map(|s| self.string(s)).collect();
        self.names.push(names);
        self.names.last().map_or((null(), 0), |n| (n.as_ptr(), n.len()))
    }

    /// Texts are given with their length, since some hold NUL; they live in `v`.
    fn texts<'a>(&mut self, texts: impl IntoIterator<Item = &'a str>) -> (*const pocketbert_text, usize) {
        let one = |t: &str| pocketbert_text { data: t.as_ptr().cast(), length: t.len() };
        self.texts.push(texts.into_iter().map(one).collect());
        self.texts.last().map_or((null(), 0), |t| (t.as_ptr(), t.len()))
    }
}

fn bits(x: f32) -> String {
    format!("{:08x}", x.to_bits())
}

fn str_of(p: *const c_char) -> String {
    // SAFETY: strings of the library end in NUL and live while the result does.
    unsafe { CStr::from_ptr(p) }.to_str().expect("UTF-8").to_string()
}

/// Calls an accessor that writes one struct.
macro_rules! read {
    ($f:ident($($arg:expr),*)) => {{
        let mut out = std::mem::MaybeUninit::uninit();
        // SAFETY: a place for what the function writes; it is read only if it was written.
        unsafe {
            assert_eq!($f($($arg,)* out.as_mut_ptr()), POCKETBERT_OK, "{}", stringify!($f));
            out.assume_init()
        }
    }};
}

fn number(o: &Value, name: &str) -> Option<u32> {
    o[name].as_u64().map(|n| n as u32)
}

fn float(o: &Value, name: &str) -> f32 {
    o[name].as_f64().map_or(f32::NAN, |x| x as f32)
}

fn choice(o: &Value, name: &str) -> i32 {
    o[name].as_bool().map_or(0, |b| if b { 1 } else { 2 })
}

fn word(o: &Value, name: &str, all: &[&str]) -> i32 {
    let Some(w) = o[name].as_str() else { return 0 };
    all.iter().position(|a| *a == w).unwrap_or_else(|| panic!("`{w}` is not known")) as i32
}

fn truncation(o: &Value) -> i32 {
    word(o, "truncation", &["head", "tail", "head-tail", "refuse"])
}

fn place(p: &pocketbert_place) -> [Value; 3] {
    let span = |s: &pocketbert_span| json!([s.start, s.end]);
    [span(&p.bytes), span(&p.chars), span(&p.utf16)]
}

struct Classes(*mut pocketbert_classification);
struct Spans(*mut pocketbert_tags);
struct Found(*mut pocketbert_answers);
struct Vectors(*mut pocketbert_vectors);

fn classification(r: Classes) -> Vec<Value> {
    let n: usize = read!(pocketbert_classification_count(r.0));
    let one = |i| {
        let item: pocketbert_classification_item = read!(pocketbert_classification_get(r.0, i));
        let label = |k| {
            let l: pocketbert_label = read!(pocketbert_classification_label(r.0, i, k));
            json!({"label": str_of(l.name), "index": l.index, "probability": bits(l.probability), "logit": bits(l.logit)})
        };
        let labels: Vec<_> = (0..item.labels).map(label).collect();
        json!({"labels": labels, "tokens": item.tokens, "truncated": item.truncated != 0})
    };
    let all = (0..n).map(one).collect();
    assert_eq!(pocketbert_classification_free(r.0), POCKETBERT_OK);
    all
}

fn tags(r: Spans, words: bool) -> Vec<Value> {
    let n: usize = read!(pocketbert_tags_count(r.0));
    let one = |i| {
        let item: pocketbert_tags_item = read!(pocketbert_tags_get(r.0, i));
        let entity = |k| {
            let e: pocketbert_entity = read!(pocketbert_tags_entity(r.0, i, k));
            let [bytes, chars, utf16] = place(&e.place);
            let mut v = json!({"label": str_of(e.label), "score": bits(e.score), "bytes": bytes, "chars": chars, "utf16": utf16});
            if words {
                v["words"] = json!([e.words.start, e.words.end]);
            }
            v
        };
        let entities: Vec<_> = (0..item.entities).map(entity).collect();
        json!({"entities": entities, "tokens": item.tokens, "truncated": item.truncated != 0})
    };
    let all = (0..n).map(one).collect();
    assert_eq!(pocketbert_tags_free(r.0), POCKETBERT_OK);
    all
}

fn answers(r: Found) -> Vec<Value> {
    let n: usize = read!(pocketbert_answers_count(r.0));
    let one = |i| {
        let item: pocketbert_answers_item = read!(pocketbert_answers_get(r.0, i));
        let answer = |k| {
            let a: pocketbert_answer_span = read!(pocketbert_answers_span(r.0, i, k));
            let [bytes, chars, utf16] = place(&a.place);
            json!({"score": bits(a.score), "logit": bits(a.logit), "bytes": bytes, "chars": chars, "utf16": utf16})
        };
        let answers: Vec<_> = (0..item.answers).map(answer).collect();
        json!({"answers": answers, "no_answer": item.no_answer != 0, "null_margin": bits(item.null_margin),
               "null_score": bits(item.null_score), "windows": item.windows})
    };
    let all = (0..n).map(one).collect();
    assert_eq!(pocketbert_answers_free(r.0), POCKETBERT_OK);
    all
}

fn vectors(r: Vectors) -> Vec<Value> {
    let n: usize = read!(pocketbert_vectors_count(r.0));
    let one = |i| {
        let v: pocketbert_vector = read!(pocketbert_vectors_get(r.0, i));
        let mut values = vec![0f32; v.dims];
        // SAFETY: the buffer is as long as it says.
        let status = unsafe { pocketbert_vectors_values(r.0, i, values.as_mut_ptr(), v.dims) };
        assert_eq!(status, POCKETBERT_OK);
        let cosine: f32 = read!(pocketbert_vectors_cosine(r.0, 0, r.0, i));
        let format = ["f32", "f16", "i8"][v.format as usize];
        json!({"format": format, "values": values.into_iter().map(bits).collect::<Vec<_>>(), "cosine": bits(cosine)})
    };
    let all = (0..n).map(one).collect();
    assert_eq!(pocketbert_vectors_free(r.0), POCKETBERT_OK);
    all
}

/// What a case is answered through C, or how it is refused.
fn ask(model: *const pocketbert_model, case: &Value, kernel: i32) -> Result<Vec<Value>, pocketbert_status> {
    let (o, k) = (&case["options"], &mut Keep::default());
    let head = k.string(&case["head"]);
    let mut call: pocketbert_call_options = read!(pocketbert_call_options_default());
    call.kernel = kernel;
    let mut window: pocketbert_window_options = read!(pocketbert_window_options_default());
    let long = &case["long"];
    window.window = number(long, "window").unwrap_or(0);
    window.stride = number(long, "stride").unwrap_or(0);
    window.merge = word(long, "merge", &["weighted", "mean", "max", "vote"]);
    let window: *const pocketbert_window_options = if long.is_null() { null() } else { &window };
    let call: *const pocketbert_call_options = &call;
    let list = |v: &'_ Value| -> Vec<String> {
        v.as_array().into_iter().flatten().filter_map(|t| t.as_str().map(String::from)).collect()
    };
    let (texts, labels) = (list(&case["texts"]), list(&case["labels"]));
    let pairs: Vec<Vec<String>> = case["pairs"].as_array().into_iter().flatten().map(list).collect();
    let words: Vec<Vec<String>> = case["words"].as_array().into_iter().flatten().map(list).collect();
    let (t, n) = k.texts(texts.iter().map(String::as_str));
    let first = k.texts(pairs.iter().map(|p| p[0].as_str())).0;
    let second = k.texts(pairs.iter().map(|p| p[1].as_str())).0;
    let ok = |status| if status == POCKETBERT_OK { Ok(()) } else { Err(status) };
    let mut all = vec![];
    // SAFETY: in all of these: arguments are those of a careful caller, kept in `k` and the locals above.
    match case["task"].as_str().expect("a task") {
        "classify" => {
            let mut c: pocketbert_classify_options = read!(pocketbert_classify_options_default());
            c.top_k = number(o, "top_k").unwrap_or(0);
            c.threshold = float(o, "threshold");
            c.multi_label = choice(o, "multi_label");
            c.truncation = truncation(o);
            c.max_length = number(o, "max_length").unwrap_or(0);
            (c.allow, c.allow_count) = k.names(&o["allow"]);
            (c.deny, c.deny_count) = k.names(&o["deny"]);
            (c.head, c.window, c.call) = (head, window, call);
            let mut r = null_mut();
            if n > 0 || pairs.is_empty() {
                // SAFETY: as above.
                ok(unsafe { pocketbert_classify_batch(model, t, null(), n, &c, &mut r) })?;
                all.extend(classification(Classes(r)));
            }
            if !pairs.is_empty() {
                // SAFETY: as above.
                ok(unsafe { pocketbert_classify_batch(model, first, second, pairs.len(), &c, &mut r) })?;
                all.extend(classification(Classes(r)));
            }
        }
        "tag" => {
            let mut c: pocketbert_tag_options = read!(pocketbert_tag_options_default());
            c.aggregation = word(o, "aggregation", &["first", "none", "simple", "average", "max"]);
            c.scheme = word(o, "scheme", &["", "bio", "iob2", "bilou", "none"]);
            c.threshold = float(o, "threshold");
            c.truncation = truncation(o);
            c.max_length = number(o, "max_length").unwrap_or(0);
            (c.ignore, c.ignore_count) = k.names(&o["ignore"]);
            (c.head, c.window, c.call) = (head, window, call);
            let mut r = null_mut();
            if n > 0 || words.is_empty() {
                // SAFETY: as above.
                ok(unsafe { pocketbert_tag_batch(model, t, n, &c, &mut r) })?;
                all.extend(tags(Spans(r), false));
            }
            for w in &words {
                let (w, n) = k.texts(w.iter().map(String::as_str));
                // SAFETY: as above.
                ok(unsafe { pocketbert_tag_words(model, w, n, &c, &mut r) })?;
                all.extend(tags(Spans(r), true));
            }
        }
        "answer" => {
            let mut c: pocketbert_answer_options = read!(pocketbert_answer_options_default());
            c.top_k = number(o, "top_k").unwrap_or(c.top_k);
            c.max_tokens = number(o, "max_tokens").unwrap_or(c.max_tokens);
            c.whole_words = o["whole_words"].as_bool().map_or(c.whole_words, u32::from);
            c.no_answer = float(o, "no_answer");
            (c.head, c.window, c.call) = (head, window, call);
            let mut r = null_mut();
            // SAFETY: as above.
            ok(unsafe { pocketbert_answer_batch(model, first, second, pairs.len(), &c, &mut r) })?;
            all.extend(answers(Found(r)));
        }
        "summarize" => {
            let mut c: pocketbert_summary_options = read!(pocketbert_summary_options_default());
            c.sentences = number(o, "sentences").unwrap_or(c.sentences);
            c.centrality = word(o, "centrality", &["centroid", "lexrank", "lead"]);
            (c.head, c.call) = (head, call);
            let mut r = null_mut();
            // SAFETY: as above.
            ok(unsafe { pocketbert_summarize_batch(model, t, n, &c, &mut r) })?;
            for i in 0..n {
                let (mut count, mut of) = (0, 0);
                // SAFETY: places of ours.
                assert_eq!(unsafe { pocketbert_summary_get(r, i, &mut count, &mut of) }, POCKETBERT_OK);
                let sentence = |j| {
                    let s: pocketbert_sentence = read!(pocketbert_summary_sentence(r, i, j));
                    let [bytes, chars, utf16] = place(&s.place);
                    json!({"index": s.index, "score": bits(s.score), "bytes": bytes, "chars": chars, "utf16": utf16})
                };
                all.push(json!({"sentences": (0..count).map(sentence).collect::<Vec<_>>(), "of": of}));
            }
            assert_eq!(pocketbert_summary_free(r), POCKETBERT_OK);
        }
        "embed" => {
            let mut c: pocketbert_embed_options = read!(pocketbert_embed_options_default());
            c.pooling = word(o, "pooling", &["", "cls", "mean", "max"]);
            c.normalize = choice(o, "normalize");
            c.dims = number(o, "dims").unwrap_or(0);
            c.format = word(o, "format", &["f32", "f16", "i8"]);
            c.role = word(o, "role", &["text", "query", "document"]);
            c.prefix = k.string(&o["prefix"]);
            c.truncation = truncation(o);
            c.max_length = number(o, "max_length").unwrap_or(0);
            (c.head, c.window, c.call) = (head, window, call);
            let mut r = null_mut();
            // SAFETY: as above.
            ok(unsafe { pocketbert_embed_batch(model, t, n, &c, &mut r) })?;
            all.extend(vectors(Vectors(r)));
        }
        "rerank" => {
            let mut c: pocketbert_rerank_options = read!(pocketbert_rerank_options_default());
            c.top_k = number(o, "top_k").unwrap_or(0);
            c.truncation = truncation(o);
            c.max_length = number(o, "max_length").unwrap_or(0);
            (c.head, c.window, c.call) = (head, window, call);
            let query = case["query"].as_str().expect("a query");
            let mut r = null_mut();
            // SAFETY: as above.
            ok(unsafe { pocketbert_rerank(model, query.as_ptr().cast(), query.len(), t, n, &c, &mut r) })?;
            let count: usize = read!(pocketbert_ranking_count(r));
            for i in 0..count {
                let (mut index, mut score) = (0, 0.0);
                // SAFETY: places of ours.
                assert_eq!(unsafe { pocketbert_ranking_get(r, i, &mut index, &mut score) }, POCKETBERT_OK);
                all.push(json!({"index": index, "score": bits(score)}));
            }
            assert_eq!(pocketbert_ranking_free(r), POCKETBERT_OK);
        }
        "fill-mask" => {
            let mut c: pocketbert_fill_mask_options = read!(pocketbert_fill_mask_options_default());
            c.top_k = number(o, "top_k").unwrap_or(c.top_k);
            c.truncation = truncation(o);
            c.max_length = number(o, "max_length").unwrap_or(0);
            (c.targets, c.target_count) = k.names(&o["targets"]);
            (c.head, c.window, c.call) = (head, window, call);
            let mut r = null_mut();
            // SAFETY: as above.
            ok(unsafe { pocketbert_fill_mask_batch(model, t, n, &c, &mut r) })?;
            for i in 0..n {
                let item: pocketbert_mask_fill_item = read!(pocketbert_mask_fill_get(r, i));
                let mask = |m| {
                    let (mut span, mut count) = (pocketbert_span::default(), 0);
                    // SAFETY: places of ours.
                    let status = unsafe { pocketbert_mask_fill_mask(r, i, m, &mut span, &mut count) };
                    assert_eq!(status, POCKETBERT_OK);
                    let candidate = |j| {
                        let c: pocketbert_candidate = read!(pocketbert_mask_fill_candidate(r, i, m, j));
                        json!({"token": str_of(c.token), "id": c.id, "probability": bits(c.probability),
                               "logit": bits(c.logit), "filled": str_of(c.filled.data)})
                    };
                    json!({"bytes": [span.start, span.end], "candidates": (0..count).map(candidate).collect::<Vec<_>>()})
                };
                let masks: Vec<_> = (0..item.masks).map(mask).collect();
                all.push(json!({"masks": masks, "tokens": item.tokens, "truncated": item.truncated != 0}));
            }
            assert_eq!(pocketbert_mask_fill_free(r), POCKETBERT_OK);
        }
        "zero-shot" => {
            let mut c: pocketbert_zero_shot_options = read!(pocketbert_zero_shot_options_default());
            c.top_k = number(o, "top_k").unwrap_or(0);
            c.threshold = float(o, "threshold");
            c.multi_label = u32::from(o["multi_label"].as_bool() == Some(true));
            c.truncation = truncation(o);
            c.max_length = number(o, "max_length").unwrap_or(0);
            c.sentence = k.string(&o["template"]);
            (c.head, c.window, c.call) = (head, window, call);
            let (labels, label_count) = k.texts(labels.iter().map(String::as_str));
            let mut r = null_mut();
            // SAFETY: as above.
            ok(unsafe { pocketbert_zero_shot_batch(model, t, n, labels, label_count, &c, &mut r) })?;
            for i in 0..n {
                let (mut count, mut truncated) = (0, 0);
                // SAFETY: places of ours.
                let status = unsafe { pocketbert_zero_shot_labels_get(r, i, &mut count, &mut truncated) };
                assert_eq!(status, POCKETBERT_OK);
                let label = |j| {
                    let l: pocketbert_zero_shot_label = read!(pocketbert_zero_shot_labels_label(r, i, j));
                    json!({"label": str_of(l.name), "index": l.index, "probability": bits(l.probability),
                           "entailment": bits(l.entailment), "contradiction": bits(l.contradiction)})
                };
                all.push(
                    json!({"labels": (0..count).map(label).collect::<Vec<_>>(), "truncated": truncated != 0}),
                );
            }
            assert_eq!(pocketbert_zero_shot_labels_free(r), POCKETBERT_OK);
        }
        "analyze" => {
            let mut c: pocketbert_analyze_options = read!(pocketbert_analyze_options_default());
            c.top_k = number(o, "top_k").unwrap_or(0);
            c.truncation = truncation(o);
            c.max_length = number(o, "max_length").unwrap_or(0);
            (c.heads, c.head_count) = k.names(&o["heads"]);
            c.question = k.string(&o["question"]);
            (c.window, c.call) = (window, call);
            let mut r = null_mut();
            // SAFETY: as above.
            ok(unsafe { pocketbert_analyze_batch(model, t, n, &c, &mut r) })?;
            for i in 0..n {
                let item: pocketbert_analysis_item = read!(pocketbert_analysis_get(r, i));
                let head = |h| {
                    let (mut name, mut task) = (null(), 0);
                    // SAFETY: places of ours.
                    let status = unsafe { pocketbert_analysis_head(r, i, h, &mut name, &mut task) };
                    assert_eq!(status, POCKETBERT_OK);
                    let (task, mut answer) = match task {
                        0 => (
                            "classify",
                            classification(Classes(read!(pocketbert_analysis_classification(r, i, h)))),
                        ),
                        1 => ("tag", tags(Spans(read!(pocketbert_analysis_tags(r, i, h))), false)),
                        2 => ("answer", answers(Found(read!(pocketbert_analysis_answers(r, i, h))))),
                        4 => ("embed", vectors(Vectors(read!(pocketbert_analysis_vectors(r, i, h))))),
                        other => panic!("task {other}"),
                    };
                    json!({"head": str_of(name), "task": task, "answer": answer.pop()})
                };
                let heads: Vec<_> = (0..item.heads).map(head).collect();
                all.push(json!({"heads": heads, "tokens": item.tokens, "truncated": item.truncated != 0}));
            }
            assert_eq!(pocketbert_analysis_free(r), POCKETBERT_OK);
        }
        other => panic!("task `{other}`"),
    }
    Ok(all)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Cases that C cannot ask: there 0 means "all" where Rust refuses it, and a call has either single texts or pairs.
fn is_rusts_alone(case: &Value) -> bool {
    let all = case["options"]["top_k"] == 0 && case["task"] != "answer" && case["task"] != "fill-mask";
    all || case["texts"].is_array() && case["pairs"].is_array()
}

fn check(name: &str, kernels: &[i32]) {
    let path =
        CString::new(root().join(format!("models/{name}.pbert")).to_str().expect("a path")).expect("a path");
    // SAFETY: a path that ends in NUL, no options.
    let model: *mut pocketbert_model = {
        let mut m = null_mut();
        // SAFETY: a path that ends in NUL, no options, a place of ours.
        let status = unsafe { pocketbert_model_open(path.as_ptr(), null(), &mut m) };
        assert_eq!(status, POCKETBERT_OK, "{}", str_of(pocketbert_error_message()));
        m
    };
    let cases =
        std::fs::read_to_string(root().join(format!("tests/golden/{name}-tasks.jsonl"))).expect("cases");
    let mut asked = 0;
    for &kernel in kernels {
        for line in cases.lines() {
            let case: Value = serde_json::from_str(line).expect("a case");
            if is_rusts_alone(&case) {
                continue;
            }
            let id = &case["id"];
            match (ask(model, &case, kernel), case["error"]["kind"].as_str()) {
                (Ok(got), None) => assert_eq!(json!(got), case["answers"], "{id} on kernel {kernel}"),
                (Err(status), Some(kind)) => {
                    assert_eq!(str_of(pocketbert_status_name(status as i32)), kind, "{id}");
                    let (message, wanted) = (str_of(pocketbert_error_message()), &case["error"]["message"]);
                    assert!(message.ends_with(wanted.as_str().expect("a message")), "{id}: {message}");
                }
                (got, wanted) => panic!("{id}: {got:?}, but {wanted:?} was expected"),
            }
            asked += 1;
        }
    }
    assert!(asked >= 15, "only {asked} cases");
    assert_eq!(pocketbert_model_close(model), POCKETBERT_OK);
    assert_eq!(pocketbert_handle_count(), 0);
}

#[test]
fn every_case_has_rusts_bits() {
    let here: Vec<i32> = (1..=8).filter(|&k| pocketbert_kernel_available(k) == 1).collect();
    check("tiny", &here);
    check("everyday", &[pocketbert_kernel_best()]);
}
