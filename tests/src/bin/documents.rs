//! Throughput of batches beside single calls, and of long documents in every task, with what memory grows by.
//!
//! `cargo run --release -p pocketbert-tests --bin documents -- batches everyday`
//! `cargo run --release -p pocketbert-tests --bin documents -- long 1 10` (megabytes)
//!
//! Times are CPU times of this thread, so that other work on the machine counts little. Memory is the largest resident
//! size during the call less the one before it, with the text in memory already and the model warm (Linux).

use std::sync::Arc;

use pocketbert::tasks::{AnalyzeOptions, Analyzer, HeadAnswer, LongOptions, Tagged, WindowMerge};
use pocketbert::{
    AnswerOptions, ClassifyOptions, EmbedOptions, Error, FillMaskOptions, MaskFiller, QuestionAnswerer,
    RerankOptions, Reranker, Result, TagOptions, TextClassifier, TextEmbedder, TokenClassifier,
    ZeroShotClassifier, ZeroShotOptions,
};
use pocketbert_tests::{model, texts};

fn field(file: &str, name: &str) -> f64 {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_default();
    line.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(f64::NAN)
}

/// Seconds that this thread was on a CPU.
fn cpu() -> f64 {
    field("/proc/thread-self/schedstat", "") / 1e9
}

/// CPU seconds and megabytes of `f`.
fn cost<T>(f: impl FnOnce() -> Result<T>) -> Result<(T, f64, f64)> {
    // Makes the largest size the present one.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    let (before, start) = (field("/proc/self/status", "VmRSS:"), cpu());
    let out = f()?;
    Ok((out, cpu() - start, (field("/proc/self/status", "VmHWM:") - before) / 1024.0))
}

fn batches(name: &str) -> Result<()> {
    let c = TextClassifier::from_model(Arc::new(model(name)?), Some("intent"))?;
    // 256 texts of 3 to 120 tokens, short ones most often, in a fixed order.
    let words = ["play", "the", "music", "in", "Paris", "for", "two", "at"];
    let long = |i: usize| if i % 8 == 5 { 118 } else { 1 + (i * 7919) % 24 };
    let all: Vec<String> =
        (0..256).map(|i| (0..long(i)).map(|k| words[(i + k) % 8]).collect::<Vec<_>>().join(" ")).collect();
    let refs: Vec<&str> = all.iter().map(String::as_str).collect();
    let tokens: usize = c.classify_batch(&refs)?.iter().map(|a| a.token_count).sum();
    let (mut one, mut many, mut stream, mut gain) = (vec![], vec![], vec![], vec![]);
    let options = ClassifyOptions::default();
    for _ in 0..5 {
        let (singles, a, _) = cost(|| refs.iter().map(|t| c.classify(t)).collect::<Result<Vec<_>>>())?;
        let (batch, b, _) = cost(|| c.classify_batch(&refs))?;
        let (streamed, s, _) = cost(|| c.stream(&refs, &options).collect::<Result<Vec<_>>>())?;
        if singles != batch || streamed != batch {
            return Err(Error::internal("a batch has other answers than single calls"));
        }
        one.push(a);
        many.push(b);
        stream.push(s);
        gain.push(a / b);
    }
    let median = |mut v: Vec<f64>| {
        v.sort_by(f64::total_cmp);
        v.get(v.len() / 2).copied().unwrap_or(f64::NAN)
    };
    let per_second = |s: f64| refs.len() as f64 / s;
    println!("{name}, `intent`: 256 texts of 3 to 120 tokens, {tokens} in all; equal bit for bit");
    println!("single calls {:.0} texts/s", per_second(median(one)));
    println!("one batch    {:.0} texts/s, {:.2} times as many", per_second(median(many)), median(gain));
    println!("stream       {:.0} texts/s", per_second(median(stream)));
    Ok(())
}

/// About `megabytes` of the golden texts, with a mask every 10 kB or so.
fn document(megabytes: usize) -> Result<String> {
    let lines: Vec<String> = texts()?.into_iter().map(|t| t.text).filter(|t| t.len() < 500).collect();
    let mut text = String::with_capacity((megabytes << 20) + 1024);
    let mut masked = 0;
    for line in lines.iter().cycle() {
        if text.len() >= megabytes << 20 {
            break;
        }
        text.push_str(line);
        if text.len() / 10_000 > masked {
            masked = text.len() / 10_000;
            text.push_str(" [MASK]");
        }
        text.push('\n');
    }
    Ok(text)
}

/// Bytes of spans.
fn spans(t: &Tagged) -> usize {
    let label: usize = t.entities.iter().map(|e| e.label.capacity()).sum();
    t.entities.capacity() * size_of::<pocketbert::tasks::Entity>() + label
}

fn long(sizes: &[usize]) -> Result<()> {
    let m = Arc::new(model("tiny")?);
    let classifier = TextClassifier::from_model(m.clone(), None)?;
    let tagger = TokenClassifier::from_model(m.clone(), None)?;
    let embedder = TextEmbedder::from_model(m.clone(), None)?;
    let filler = MaskFiller::from_model(m.clone(), None)?;
    let zero = ZeroShotClassifier::from_model(m.clone(), None)?;
    let analyzer = Analyzer::from_model(m.clone())?;
    let by_vectors = Reranker::from_model(m.clone(), None)?;
    let by_pairs = Reranker::from_model(m, Some("entail"))?;
    let answerer = QuestionAnswerer::from_model(Arc::new(model("everyday")?), None)?;
    let windows = LongOptions { window: Some(128), stride: Some(96), ..LongOptions::default() };
    // Each gives the bytes of its result, as far as they grow with the text.
    type Ask<'a> = Box<dyn Fn(&str, &LongOptions) -> Result<usize> + 'a>;
    let rerank = |r: &Reranker, t: &str, l: &LongOptions| {
        let long = LongOptions { merge: WindowMerge::Max, ..l.clone() };
        r.rank_long("will it rain", &[t, "play some jazz"], &RerankOptions::default(), &long).map(|_| 0)
    };
    let tasks: [(&str, Ask); 9] = [
        ("classify", Box::new(|t, l| classifier.classify_long(t, &ClassifyOptions::default(), l).map(|_| 0))),
        ("tag", Box::new(|t, l| Ok(spans(&tagger.tag_long(t, &TagOptions::default(), l)?)))),
        ("embed", Box::new(|t, l| embedder.embed_long(t, &EmbedOptions::default(), l).map(|_| 0))),
        (
            "fill-mask",
            Box::new(|t, l| {
                let filled = filler.fill_long(t, &FillMaskOptions::default(), l)?;
                Ok(filled.masks.iter().flat_map(|m| &m.candidates).map(|c| c.filled.capacity()).sum())
            }),
        ),
        (
            "zero-shot, 2 labels",
            Box::new(|t, l| {
                let labels = ["music", "weather"];
                zero.classify_long(t, &labels, &ZeroShotOptions::default(), l).map(|_| 0)
            }),
        ),
        (
            "analyze",
            Box::new(|t, l| {
                let analysis = analyzer.analyze_long(t, &AnalyzeOptions::default(), l)?;
                let spans = analysis.heads.iter().map(|h| match &h.answer {
                    HeadAnswer::Tags(t) => spans(t),
                    _ => 0,
                });
                Ok(spans.sum())
            }),
        ),
        ("rerank by vectors", Box::new(|t, l| rerank(&by_vectors, t, l))),
        ("rerank by pairs", Box::new(|t, l| rerank(&by_pairs, t, l))),
        (
            "answer (everyday)",
            Box::new(|t, l| {
                let options = AnswerOptions { long: l.clone(), ..AnswerOptions::default() };
                answerer.answer_with("Who?", t, &options).map(|_| 0)
            }),
        ),
    ];
    println!(
        "| task | size, MB | CPU s | MB/s | memory, MB | results among it, MB |\n|---|---|---|---|---|---|"
    );
    let warm = document(1)?.chars().take(20_000).collect::<String>();
    for (name, ask) in &tasks {
        ask(&warm, &windows)?;
        for &size in sizes {
            let text = document(size)?;
            let (results, seconds, memory) = cost(|| ask(&text, &windows))?;
            let (rate, results) = (size as f64 / seconds, results as f64 / 1e6);
            println!("| {name} | {size} | {seconds:.1} | {rate:.2} | {memory:+.1} | {results:.1} |");
        }
    }
    Ok(())
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number =
        |s: &String| s.parse().map_err(|_| Error::invalid(format!("`{s}` is no number of megabytes")));
    match args.split_first() {
        Some((what, rest)) if what == "batches" => batches(rest.first().map_or("everyday", String::as_str)),
        Some((what, rest)) if what == "long" => long(&rest.iter().map(number).collect::<Result<Vec<_>>>()?),
        _ => Err(Error::invalid("ask for `batches MODEL` or `long MEGABYTES…`")),
    }
}
