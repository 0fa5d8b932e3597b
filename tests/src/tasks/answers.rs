//! Answers as JSON: every float by its bits.

use pocketbert::tasks::{Analysis, Answers, HeadAnswer, MaskFill, Summary, Tagged, ZeroShot};
use pocketbert::text::Span;
use pocketbert::{Classification, Embedding, Error, Result};
use serde_json::{Value, json};

/// The IEEE 754 bits of `x` in hexadecimal.
pub fn bits(x: f32) -> String {
    format!("{:08x}", x.to_bits())
}

fn span(s: Span) -> [usize; 2] {
    [s.start, s.end]
}

pub fn classification(c: &Classification) -> Value {
    let label = |l: &pocketbert::Scored| json!({"label": l.label, "index": l.index, "probability": bits(l.probability), "logit": bits(l.logit)});
    let labels: Value = c.labels.iter().map(label).collect();
    json!({"labels": labels, "tokens": c.token_count, "truncated": c.truncated})
}

pub fn tagged(t: &Tagged) -> Value {
    let entity = |e: &pocketbert::tasks::Entity| {
        let mut v = json!({
            "label": e.label, "score": bits(e.score),
            "bytes": span(e.bytes), "chars": span(e.chars), "utf16": span(e.utf16),
        });
        if let Some(w) = e.words {
            v["words"] = json!(span(w));
        }
        v
    };
    let entities: Value = t.entities.iter().map(entity).collect();
    json!({"entities": entities, "tokens": t.token_count, "truncated": t.truncated})
}

pub fn found(a: &Answers) -> Value {
    let one = |a: &pocketbert::tasks::Answer| {
        json!({
            "score": bits(a.score), "logit": bits(a.logit),
            "bytes": span(a.bytes), "chars": span(a.chars), "utf16": span(a.utf16),
        })
    };
    let answers: Value = a.answers.iter().map(one).collect();
    json!({
        "answers": answers, "no_answer": a.no_answer, "null_margin": bits(a.null_margin),
        "null_score": bits(a.null_score), "windows": a.windows,
    })
}

pub fn summary(s: &Summary) -> Value {
    let one = |s: &pocketbert::tasks::SummarySentence| {
        json!({
            "index": s.index, "score": bits(s.score),
            "bytes": span(s.bytes), "chars": span(s.chars), "utf16": span(s.utf16),
        })
    };
    let sentences: Value = s.sentences.iter().map(one).collect();
    json!({"sentences": sentences, "of": s.of})
}

/// A vector with its cosine to the first of the request.
pub fn embedding(v: &Embedding, cosine: f32) -> Value {
    let values: Vec<String> = v.values().into_iter().map(bits).collect();
    json!({"format": v.format().name(), "values": values, "cosine": bits(cosine)})
}

pub fn masks(m: &MaskFill) -> Value {
    let candidate = |c: &pocketbert::tasks::Candidate| {
        json!({
            "token": c.token, "id": c.id, "probability": bits(c.probability), "logit": bits(c.logit),
            "filled": c.filled,
        })
    };
    let mask = |m: &pocketbert::tasks::FilledMask| {
        let candidates: Value = m.candidates.iter().map(candidate).collect();
        json!({"bytes": span(m.span), "candidates": candidates})
    };
    let masks: Value = m.masks.iter().map(mask).collect();
    json!({"masks": masks, "tokens": m.token_count, "truncated": m.truncated})
}

pub fn zero_shot(z: &ZeroShot) -> Value {
    let label = |l: &pocketbert::tasks::ZeroShotLabel| {
        json!({
            "label": l.label, "index": l.index, "probability": bits(l.probability),
            "entailment": bits(l.entailment), "contradiction": bits(l.contradiction),
        })
    };
    let labels: Value = z.labels.iter().map(label).collect();
    json!({"labels": labels, "truncated": z.truncated})
}

/// What the heads say, each as its own task does (a vector has the cosine with itself).
pub fn analysis(a: &Analysis) -> Result<Value> {
    let head = |h: &pocketbert::tasks::HeadAnalysis| {
        let (task, answer) = match &h.answer {
            HeadAnswer::Labels(c) => ("classify", classification(c)),
            HeadAnswer::Tags(t) => ("tag", tagged(t)),
            HeadAnswer::Vector(v) => ("embed", embedding(v, v.cosine(v)?)),
            HeadAnswer::Answers(q) => ("answer", found(q)),
            _ => return Err(Error::internal(format!("head `{}`: an answer of a new kind", h.head))),
        };
        Ok(json!({"head": h.head, "task": task, "answer": answer}))
    };
    let heads = a.heads.iter().map(head).collect::<Result<Value>>()?;
    Ok(json!({"heads": heads, "tokens": a.token_count, "truncated": a.truncated}))
}
