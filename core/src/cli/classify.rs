//! `pocketbert classify`.

use std::io::{BufWriter, Write};
use std::sync::Arc;

use serde_json::json;

use super::args::Classify;
use super::feed::{Texts, stream};
use super::io::visible;
use super::{Outcome, load, metrics};
use crate::error::{Error, Result};
use crate::tasks::{CallOptions, Classification, ClassifyOptions, LongOptions, TextClassifier, TextInput};

pub fn classify(a: &Classify) -> Outcome {
    let one = a.text.as_deref().filter(|t| *t != "-");
    if one.is_none() && a.pair.is_some() {
        return Err(Error::invalid("`--pair` goes with one text; for lines of pairs use `--pairs`").into());
    }
    // A missing file of texts is told before a model is opened for it.
    let texts = match a.windows.long {
        true => None,
        false => Some(Texts::open(a.text.as_deref(), a.file.as_deref())?),
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
    let done = match texts {
        None => answer_long(a, &classifier, &options),
        Some(texts) => answer(a, texts, &classifier, &options),
    };
    metrics::write(a.metrics.as_deref(), &[classifier.metrics().snapshot()])?;
    done
}

/// All input as one text.
fn answer_long(a: &Classify, classifier: &TextClassifier, options: &ClassifyOptions) -> Outcome {
    if a.pair.is_some() || a.pairs {
        return Err(Error::invalid("`--long` reads one text, not pairs").into());
    }
    let text = super::window::whole(a.text.as_deref(), a.file.as_deref())?;
    let long = LongOptions { merge: a.merge, ..a.windows.options() };
    let answer = classifier.classify_long(&text, options, &long)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    match a.json {
        true => write_json(&mut out, &classifier.head()?.name, &answer)?,
        false => write_table(&mut out, &answer)?,
    }
    out.flush()?;
    Ok(())
}

fn answer(a: &Classify, texts: Texts, classifier: &TextClassifier, options: &ClassifyOptions) -> Outcome {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let head = &classifier.head()?.name;
    let many = texts.many();
    let run = |texts: &[&str]| {
        let input = |text| match a.pairs {
            true => pair_of(text),
            false => Ok(TextInput { text, pair: a.pair.as_deref() }),
        };
        let inputs = texts.iter().map(|t| input(t)).collect::<Result<Vec<_>>>()?;
        classifier.classify_inputs(&inputs, options)
    };
    texts.answer(
        "texts classified:",
        |feed| stream(feed, run),
        |_, answer| {
            match (a.json, many) {
                (true, _) => write_json(&mut out, head, &answer)?,
                (false, true) => write_line(&mut out, &answer)?,
                (false, false) => write_table(&mut out, &answer)?,
            }
            Ok(out.flush()?)
        },
    )
}

/// A line with two texts.
fn pair_of(line: &str) -> Result<TextInput<'_>> {
    let parts = line.split_once('\t').filter(|(_, pair)| !pair.contains('\t'));
    parts.map(TextInput::from).ok_or_else(|| {
        Error::invalid("with `--pairs` every line is two texts with one tab between them; this one is not")
    })
}

fn write_json(out: &mut impl Write, head: &str, a: &Classification) -> Outcome {
    writeln!(out, "{}", to_json(head, a)?)?;
    Ok(())
}

/// The answer of one head as a JSON object.
pub(super) fn to_json(head: &str, a: &Classification) -> Outcome<String> {
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
    let labels = serde_json::to_string(&labels)?;
    let logits = serde_json::to_string(&a.logits)?;
    Ok(format!(
        "{{\"head\":{},\"labels\":{labels},\"logits\":{logits},\"tokens\":{},\"truncated\":{},\"model_version\":{}}}",
        json!(head),
        a.token_count,
        a.truncated,
        json!(a.model_version)
    ))
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
