//! `pocketbert classify`.

use std::io::{BufWriter, IsTerminal, Write};
use std::sync::Arc;

use serde_json::json;

use super::args::Classify;
use super::io::{Lines, nothing_to_do, visible};
use super::progress::Progress;
use super::{Outcome, load};
use crate::tasks::{CallOptions, Classification, ClassifyOptions, TextClassifier};

pub fn classify(a: &Classify) -> Outcome {
    let one = a.text.as_deref().filter(|t| *t != "-");
    if a.text.is_none() && a.file.is_none() && std::io::stdin().is_terminal() {
        return Err(
            nothing_to_do("give a text, `-` for standard input, or `--file`; `--help` has examples").into()
        );
    }
    // A missing file of texts is told before a model is opened for it.
    let lines = match one {
        Some(_) => None,
        None => Some(Lines::open(a.file.as_deref())?),
    };
    let path = match &a.model {
        Some(p) => p.clone(),
        None => load::default_model()?,
    };
    let model = Arc::new(load::open(&path, &a.open, false)?);
    let classifier = TextClassifier::from_model(model, a.head.as_deref())?;
    let options = ClassifyOptions {
        // A person wants the likely labels, a program all of them.
        top_k: a.top_k.or((!a.json).then_some(5)),
        threshold: a.threshold,
        allow: a.allow.clone(),
        deny: a.deny.clone(),
        multi_label: a.multi_label.then_some(true),
        truncation: a.truncation.into(),
        call: CallOptions { threads: a.engine.threads, kernel: a.engine.kernel, ..CallOptions::default() },
        ..ClassifyOptions::default()
    };
    let mut out = BufWriter::new(std::io::stdout().lock());
    let head = classifier.head()?.name.clone();
    if let Some(text) = one {
        let answer = classifier.classify_with(text, &options)?;
        if a.json {
            write_json(&mut out, &head, &answer)?;
        } else {
            write_table(&mut out, &answer)?;
        }
        out.flush()?;
        return Ok(());
    }
    let Some(mut lines) = lines else { return Ok(()) };
    let progress = Progress::beside_answers("texts classified:");
    while let Some(text) = lines.next()? {
        let answer = classifier.classify_with(&text, &options).map_err(|e| lines.at(e))?;
        if a.json {
            write_json(&mut out, &head, &answer)?;
        } else {
            write_line(&mut out, &answer)?;
        }
        out.flush()?;
        progress.add(1);
    }
    Ok(())
}

fn write_json(out: &mut impl Write, head: &str, a: &Classification) -> Outcome {
    // `Value` would widen each f32 to a double and print that one's digits, so numbers are written as f32.
    #[derive(serde::Serialize)]
    struct Label<'a> {
        label: &'a str,
        index: usize,
        probability: f32,
        logit: f32,
    }
    let labels: Vec<_> = a
        .labels
        .iter()
        .map(|l| Label { label: &l.label, index: l.index, probability: l.probability, logit: l.logit })
        .collect();
    write!(out, "{{\"head\":{},\"labels\":{}", json!(head), serde_json::to_string(&labels)?)?;
    write!(out, ",\"logits\":{}", serde_json::to_string(&a.logits)?)?;
    let rest = (a.token_count, a.truncated, json!(a.model_version));
    writeln!(out, ",\"tokens\":{},\"truncated\":{},\"model_version\":{}}}", rest.0, rest.1, rest.2)?;
    Ok(())
}

/// One label a line.
fn write_table(out: &mut impl Write, a: &Classification) -> Outcome {
    let names: Vec<String> = a.labels.iter().map(|l| visible(&l.label)).collect();
    let width = names.iter().map(|n| n.chars().count()).max().unwrap_or(0);
    for (l, name) in a.labels.iter().zip(&names) {
        writeln!(out, "{name:width$}  {:.4}", l.probability)?;
    }
    if a.labels.is_empty() {
        writeln!(out, "(no label passes)")?;
    }
    if a.truncated {
        let _ = writeln!(std::io::stderr(), "pocketbert: the text was cut to {} tokens", a.token_count);
    }
    Ok(())
}

/// All labels on one line.
fn write_line(out: &mut impl Write, a: &Classification) -> Outcome {
    let parts: Vec<_> =
        a.labels.iter().map(|l| format!("{} {:.4}", visible(&l.label), l.probability)).collect();
    let cut = if a.truncated { "\t(cut)" } else { "" };
    writeln!(out, "{}{cut}", parts.join("\t"))?;
    Ok(())
}
