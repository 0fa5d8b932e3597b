//! `pocketbert analyze`: all heads of a model on one text, side by side.

use std::io::{BufWriter, Write};
use std::sync::Arc;

use serde_json::json;

use super::args::Analyze;
use super::feed::Texts;
use super::io::visible;
use super::terminal::{Look, Paint, bar, pad, shorten, width};
use super::{Outcome, classify, load, metrics, window};
use crate::tasks::{
    Analysis, AnalyzeOptions, Analyzer, CallOptions, Classification, HeadAnalysis, HeadAnswer, LongOptions,
};
use crate::tasks::{Answer, Answers, Embedding, Tagged};

/// Columns of a bar, where there is room.
const BAR: usize = 20;

pub fn analyze(a: &Analyze) -> Outcome {
    let texts = match a.windows.long {
        true => None,
        false => Some(Texts::open(a.text.as_deref(), a.file.as_deref())?),
    };
    let path = match &a.model {
        Some(p) => p.clone(),
        None => load::default_model()?,
    };
    let analyzer = Analyzer::from_model(Arc::new(load::open(&path, &a.open, false)?))?;
    let done = match texts {
        None => answer_long(a, &analyzer),
        Some(texts) => answer(a, texts, &analyzer),
    };
    metrics::write(a.metrics.as_deref(), &analyzer.snapshots())?;
    done
}

fn options(a: &Analyze) -> AnalyzeOptions {
    AnalyzeOptions {
        heads: a.heads.clone(),
        question: a.question.clone(),
        top_k: a.top_k.or((!a.json).then_some(3)),
        truncation: a.truncation.into(),
        call: CallOptions { threads: a.engine.threads, kernel: a.engine.kernel, ..CallOptions::default() },
        ..AnalyzeOptions::default()
    }
}

/// All input as one text.
fn answer_long(a: &Analyze, analyzer: &Analyzer) -> Outcome {
    let text = window::whole(a.text.as_deref(), a.file.as_deref())?;
    let long = LongOptions { merge: a.merge, ..a.windows.options() };
    let answer = analyzer.analyze_long(&text, &options(a), &long)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    match a.json {
        true => writeln!(out, "{}", to_json(&answer)?)?,
        false => out.write_all(picture(&text, &answer, Paint::stdout()).as_bytes())?,
    }
    out.flush()?;
    if !a.json && a.heads.is_empty() {
        tell_others(analyzer)?;
    }
    Ok(())
}

fn answer(a: &Analyze, texts: Texts, analyzer: &Analyzer) -> Outcome {
    let options = options(a);
    let paint = Paint::stdout();
    let mut out = BufWriter::new(std::io::stdout().lock());
    let (many, mut first) = (texts.many(), true);
    texts.answer(
        "texts analyzed:",
        |feed| analyzer.stream(feed, &options),
        |text, answer| {
            if !a.json && !std::mem::take(&mut first) {
                writeln!(out)?;
            }
            match a.json {
                true => writeln!(out, "{}", to_json(&answer)?)?,
                false => out.write_all(picture(text, &answer, paint).as_bytes())?,
            }
            Ok(out.flush()?)
        },
    )?;
    if !many && !a.json && a.heads.is_empty() {
        tell_others(analyzer)?;
    }
    Ok(())
}

/// Heads that were not asked, on stderr.
fn tell_others(analyzer: &Analyzer) -> Outcome {
    for (name, why) in analyzer.other_heads()? {
        let _ = writeln!(std::io::stderr(), "pocketbert: head `{}` was not asked: it {why}", visible(name));
    }
    Ok(())
}

/// One JSON object: heads by name, each as its own command writes it.
fn to_json(a: &Analysis) -> Outcome<String> {
    let mut heads = vec![];
    for h in &a.heads {
        let answer = match &h.answer {
            HeadAnswer::Labels(c) => classify::to_json(&h.head, c)?,
            HeadAnswer::Tags(t) => tags_json(&h.head, t)?,
            HeadAnswer::Vector(v) => vector_json(&h.head, v)?,
            HeadAnswer::Answers(q) => answers_json(&h.head, q)?,
        };
        heads.push(format!("{}:{answer}", json!(h.head)));
    }
    Ok(format!(
        "{{\"heads\":{{{}}},\"tokens\":{},\"truncated\":{},\"model_version\":{}}}",
        heads.join(","),
        a.token_count,
        a.truncated,
        json!(a.model_version)
    ))
}

/// The analysis for people.
fn picture(text: &str, a: &Analysis, paint: Paint) -> String {
    let mut out = String::new();
    let cut = if a.truncated { format!("cut to {} tokens", a.token_count) } else { String::new() };
    let room = paint.columns.saturating_sub(width(&cut) + 2);
    let start: String = text.chars().take(room.saturating_mul(4).saturating_add(64)).collect();
    let title = shorten(&visible(&start), room);
    out.push_str(&paint.paint(Look::Bold, &title));
    if !cut.is_empty() {
        out.push_str(&format!("  {}", paint.paint(Look::Dim, &cut)));
    }
    out.push('\n');
    let names: Vec<String> = a.heads.iter().map(|h| shorten(&visible(&h.head), paint.columns / 4)).collect();
    let left = names.iter().map(|n| width(n)).max().unwrap_or(0);
    for (h, name) in a.heads.iter().zip(&names) {
        // The name stands beside the first line only.
        let mut name = name.as_str();
        for line in lines(h, text, paint, paint.columns.saturating_sub(left + 4)) {
            let side = pad(std::mem::take(&mut name), left);
            out.push_str(&format!("  {}  {line}\n", paint.paint(Look::Dim, &side)));
        }
    }
    out
}

/// What one head says, in lines of at most `columns` columns.
fn lines(h: &HeadAnalysis, text: &str, paint: Paint, columns: usize) -> Vec<String> {
    match &h.answer {
        HeadAnswer::Labels(c) => labels(c, paint, columns),
        HeadAnswer::Tags(t) => tags(t, text, paint, columns),
        HeadAnswer::Answers(q) => answers(q, text, paint, columns),
        HeadAnswer::Vector(v) => vec![paint.paint(Look::Dim, &vector(v, columns))],
    }
}

/// Found stretches of the text, one a line, with their labels.
fn tags(t: &Tagged, text: &str, paint: Paint, columns: usize) -> Vec<String> {
    let spans: Vec<_> = t.entities.iter().map(|e| (e.of(text), e.score, e.label.as_str())).collect();
    stretches(&spans, paint, columns)
}

/// The best answers, one a line.
fn answers(q: &Answers, text: &str, paint: Paint, columns: usize) -> Vec<String> {
    let found = if q.no_answer { &[][..] } else { &q.answers[..] };
    let spans: Vec<_> = found.iter().map(|a| (a.of(text), a.score, "")).collect();
    stretches(&spans, paint, columns)
}

/// Stretches of the text with scores and labels, aligned.
fn stretches(spans: &[(&str, f32, &str)], paint: Paint, columns: usize) -> Vec<String> {
    if spans.is_empty() {
        return vec![paint.paint(Look::Dim, "(none)")];
    }
    // A score takes 5 columns and 2 before it; where nothing is left for a label, there is none.
    let half = (columns / 2).min(columns.saturating_sub(7)).max(1);
    let found: Vec<String> = spans.iter().map(|s| shorten(&visible(s.0), half)).collect();
    let wide = found.iter().map(|f| width(f)).max().unwrap_or(0);
    let line = |((_, score, label), f): (&(&str, f32, &str), &String)| {
        let gap = " ".repeat(wide - width(f));
        let score = format!("{score:.3}");
        let room = columns.saturating_sub(wide + 2 + score.len() + 2);
        let label = if room < 3 { String::new() } else { shorten(&visible(label), room) };
        let rest = format!("{score}  {label}");
        format!("{}{gap}  {}", paint.paint(Look::Span, f), paint.paint(Look::Dim, rest.trim_end()))
    };
    spans.iter().zip(&found).map(line).collect()
}

/// How many numbers, and the first of them.
fn vector(v: &Embedding, columns: usize) -> String {
    let values = v.values();
    let mut out = format!("{} numbers:", values.len());
    for x in &values {
        let next = format!(" {x:.3}");
        if width(&out) + next.len() + 2 > columns {
            break;
        }
        out.push_str(&next);
    }
    out.push_str(" …");
    shorten(&out, columns)
}

/// Spans in bytes, characters and UTF-16 units.
fn tags_json(head: &str, t: &Tagged) -> Outcome<String> {
    #[derive(serde::Serialize)]
    struct Part<'a> {
        label: &'a str,
        score: f32,
        bytes: [usize; 2],
        chars: [usize; 2],
        utf16: [usize; 2],
    }
    let two = |s: crate::text::Span| [s.start, s.end];
    let parts: Vec<_> = t
        .entities
        .iter()
        .map(|e| Part {
            label: &e.label,
            score: e.score,
            bytes: two(e.bytes),
            chars: two(e.chars),
            utf16: two(e.utf16),
        })
        .collect();
    Ok(format!(
        "{{\"head\":{},\"entities\":{},\"tokens\":{},\"truncated\":{},\"model_version\":{}}}",
        json!(head),
        serde_json::to_string(&parts)?,
        t.token_count,
        t.truncated,
        json!(t.model_version)
    ))
}

/// Answers to the question, the best first.
fn answers_json(head: &str, q: &Answers) -> Outcome<String> {
    #[derive(serde::Serialize)]
    struct Part {
        score: f32,
        logit: f32,
        bytes: [usize; 2],
        chars: [usize; 2],
        utf16: [usize; 2],
    }
    let two = |s: crate::text::Span| [s.start, s.end];
    let part = |a: &Answer| Part {
        score: a.score,
        logit: a.logit,
        bytes: two(a.bytes),
        chars: two(a.chars),
        utf16: two(a.utf16),
    };
    let parts: Vec<_> = q.answers.iter().map(part).collect();
    let parts = serde_json::to_string(&parts)?;
    Ok(format!(
        "{{\"head\":{},\"answers\":{parts},\"no_answer\":{},\"windows\":{},\"model_version\":{}}}",
        json!(head),
        q.no_answer,
        q.windows,
        json!(q.model_version)
    ))
}

fn vector_json(head: &str, v: &Embedding) -> Outcome<String> {
    let values = serde_json::to_string(&v.values())?;
    Ok(format!("{{\"head\":{},\"dims\":{},\"vector\":{values}}}", json!(head), v.dims()))
}

/// Bars with numbers, aligned; on a narrow terminal numbers alone.
fn labels(c: &Classification, paint: Paint, columns: usize) -> Vec<String> {
    if c.labels.is_empty() {
        return vec![paint.paint(Look::Dim, "(no label passes)")];
    }
    let number = |p: f32| format!("{p:.3}");
    let digits = c.labels.iter().map(|l| number(l.probability).len()).max().unwrap_or(0);
    let bars = if columns >= 24 + BAR + digits { BAR } else { 0 };
    let room = columns.saturating_sub(digits + 2 + if bars > 0 { bars + 2 } else { 0 });
    let names: Vec<String> = c.labels.iter().map(|l| shorten(&visible(&l.label), room.max(4))).collect();
    let wide = names.iter().map(|n| width(n)).max().unwrap_or(0).max(16.min(room));
    let line = |(i, (l, name)): (usize, (&crate::Scored, &String))| {
        let look = if i == 0 { Look::Bold } else { Look::Dim };
        let mut line = paint.paint(look, &pad(name, wide));
        line.push_str(&format!("  {:>digits$}", number(l.probability)));
        // A regression head's value is no share of anything.
        if bars > 0 && (0.0..=1.0).contains(&l.probability) {
            line.push_str(&format!("  {}", paint.paint(Look::Bar, bar(l.probability, bars).trim_end())));
        }
        line.trim_end().to_string()
    };
    c.labels.iter().zip(&names).enumerate().map(line).collect()
}
