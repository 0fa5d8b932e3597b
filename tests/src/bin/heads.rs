//! What all heads in one run cost beside a run for each, and what counting costs.
//!
//! `cargo run --release -p pocketbert-tests --bin heads -- everyday [ROUNDS]`
//!
//! Everything is asked in turn, so that drift of the machine hits all alike; ratios are medians round by round.

use std::sync::Arc;
use std::time::Instant;

use pocketbert::bundle::manifest::Task;
use pocketbert::tasks::{AnalyzeOptions, Analyzer};
use pocketbert::{Result, TextClassifier};
use pocketbert_tests::model;

/// The best of a few runs: what is measured is a computation, and noise only ever adds.
const RUNS: usize = 5;

fn time(mut f: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..RUNS {
        let start = Instant::now();
        f()?;
        best = best.min(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(best)
}

fn median(mut v: Vec<f64>) -> f64 {
    v.sort_by(f64::total_cmp);
    v.get(v.len() / 2).copied().unwrap_or(f64::NAN)
}

/// `tokens` tokens, special tokens included: every word is one.
fn text(model: &pocketbert::model::Model, tokens: usize) -> Result<String> {
    let text = vec!["the"; tokens - 2].join(" ");
    let n = model.tokenizer()?.encode(&text, None, &Default::default())?.len();
    assert_eq!(n, tokens, "a word is not one token here");
    Ok(text)
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let rounds = args.get(1).and_then(|r| r.parse().ok()).unwrap_or(60);
    let model = Arc::new(model(args.first().map_or("everyday", String::as_str))?);
    let analyzer = Analyzer::from_model(model.clone())?;
    // Those that a text alone is enough for.
    let heads: Vec<String> = analyzer.analyze("warm")?.heads.into_iter().map(|h| h.head).collect();
    println!("heads: {}", heads.join(", "));
    println!("\n| tokens | all in one run, ms | one run each, ms | each / all | largest single head, ms |");
    println!("|---|---|---|---|---|");
    for tokens in [16, 64, 128] {
        let text = text(&model, tokens)?;
        let ask = |heads: Vec<String>| {
            let o = AnalyzeOptions { heads, ..AnalyzeOptions::default() };
            time(|| analyzer.analyze_with(&text, &o).map(drop))
        };
        ask(vec![])?;
        let (mut all, mut each, mut ratio, mut most) = (vec![], vec![], vec![], vec![]);
        for _ in 0..rounds {
            let together = ask(vec![])?;
            let apart: Vec<f64> = heads.iter().map(|h| ask(vec![h.clone()])).collect::<Result<_>>()?;
            let sum: f64 = apart.iter().sum();
            all.push(together);
            each.push(sum);
            ratio.push(sum / together);
            most.push(apart.into_iter().fold(0.0, f64::max));
        }
        println!(
            "| {tokens} | {:.2} | {:.2} | {:.2} | {:.2} |",
            median(all),
            median(each),
            median(ratio),
            median(most)
        );
    }
    let first = model.bundle().and_then(|b| {
        let heads = &b.manifest().heads;
        heads.iter().find(|h| h.task == Task::TextClassification).map(|h| h.name.clone())
    });
    let c = TextClassifier::from_model(model.clone(), first.as_deref())?;
    let text = text(&model, 16)?;
    let ask = |on: bool| {
        c.metrics().enable(on);
        time(|| c.classify(&text).map(drop))
    };
    ask(true)?;
    let (mut on, mut off, mut more) = (vec![], vec![], vec![]);
    for round in 0..rounds * 10 {
        // Who comes first changes, too.
        let (a, b) = match round % 2 {
            0 => (ask(true)?, ask(false)?),
            _ => {
                let b = ask(false)?;
                (ask(true)?, b)
            }
        };
        on.push(a * 1e3);
        off.push(b * 1e3);
        more.push(a / b - 1.0);
    }
    println!(
        "\ncounting, 16 tokens: {:.1} µs with, {:.1} µs without; {:+.2} % (median of {} pairs)",
        median(on),
        median(off),
        median(more) * 100.0,
        rounds * 10
    );
    Ok(())
}
