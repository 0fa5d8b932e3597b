//! What tasks answer: golden lines that every language can read and answer. `golden/README.md` has the format.

mod answers;
mod request;

use std::sync::Arc;

use pocketbert::kernels::Isa;
use pocketbert::model::Model;
use pocketbert::tasks::{Analyzer, Summarizer, SummaryOptions};
use pocketbert::{
    Error, MaskFiller, QuestionAnswerer, Reranker, Result, TextClassifier, TextEmbedder, TokenClassifier,
    ZeroShotClassifier,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use request::{Long, Options, Request};

use answers::bits;

/// A request and what it is answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskCase {
    /// What is asked.
    #[serde(flatten)]
    pub request: Request,
    /// One answer per text, pair or list of words; of a reranking one per document that is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<Value>,
    /// Instead of answers: the kind of the error, and its message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Value>,
}

/// The cases of `golden/<model>-tasks.jsonl`.
pub fn cases(model: &str) -> Result<Vec<TaskCase>> {
    super::lines(&format!("{model}-tasks.jsonl"))
}

/// The case with the answers of `model` on `isa`.
pub fn answer(model: &Arc<Model>, r: &Request, isa: Isa) -> TaskCase {
    match ask(model, r, isa) {
        Ok(a) => TaskCase { request: r.clone(), answers: Some(a), error: None },
        Err(e) => {
            let error = json!({"kind": e.kind().name(), "message": e.message()});
            TaskCase { request: r.clone(), answers: None, error: Some(error) }
        }
    }
}

fn ask(model: &Arc<Model>, r: &Request, isa: Isa) -> Result<Value> {
    let (m, head, o) = (model.clone(), r.head.as_deref(), &r.options);
    let texts: Vec<&str> = r.texts.iter().map(String::as_str).collect();
    let pairs: Vec<(&str, &str)> = r.pairs.iter().map(|[a, b]| (a.as_str(), b.as_str())).collect();
    let each = |f: &dyn Fn(&str) -> Result<Value>| texts.iter().map(|t| f(t)).collect::<Result<Value>>();
    match r.task.as_str() {
        "classify" => {
            let c = TextClassifier::from_model(m, head)?;
            let options = o.classify(isa)?;
            if let Some(long) = &r.long {
                let long = long.options()?;
                return each(&|t| Ok(answers::classification(&c.classify_long(t, &options, &long)?)));
            }
            let all = texts.iter().map(|t| (*t).into()).chain(pairs.iter().map(|p| (*p).into()));
            let all = c.classify_inputs(&all.collect::<Vec<_>>(), &options)?;
            Ok(all.iter().map(answers::classification).collect())
        }
        "tag" => {
            let t = TokenClassifier::from_model(m, head)?;
            let options = o.tag(isa)?;
            if !r.words.is_empty() {
                let one = |w: &Vec<String>| {
                    let w: Vec<&str> = w.iter().map(String::as_str).collect();
                    Ok(answers::tagged(&t.tag_words(&w, &options)?))
                };
                return r.words.iter().map(one).collect();
            }
            match &r.long {
                Some(long) => {
                    let long = long.options()?;
                    each(&|text| Ok(answers::tagged(&t.tag_long(text, &options, &long)?)))
                }
                None => Ok(t.tag_batch_with(&texts, &options)?.iter().map(answers::tagged).collect()),
            }
        }
        "answer" => {
            let q = QuestionAnswerer::from_model(m, head)?;
            let options = o.answer(r.long.as_ref(), isa)?;
            Ok(q.answer_batch_with(&pairs, &options)?.iter().map(answers::found).collect())
        }
        "summarize" => {
            let s = Summarizer::from_model(m, head)?;
            let options: SummaryOptions = o.summarize(isa)?;
            each(&|t| Ok(answers::summary(&s.summarize(t, &options)?)))
        }
        "embed" => {
            let e = TextEmbedder::from_model(m, head)?;
            let options = o.embed(isa)?;
            let all = match &r.long {
                Some(long) => {
                    let long = long.options()?;
                    texts.iter().map(|t| e.embed_long(t, &options, &long)).collect::<Result<Vec<_>>>()?
                }
                None => e.embed_batch_with(&texts, &options)?,
            };
            let cosine = |v: &pocketbert::Embedding| all.first().map_or(Ok(0.0), |first| first.cosine(v));
            all.iter().map(|v| Ok(answers::embedding(v, cosine(v)?))).collect()
        }
        "rerank" => {
            let ranker = Reranker::from_model(m, head)?;
            let (query, options) = (r.query.as_deref().unwrap_or_default(), o.rerank(isa)?);
            let ranked = match &r.long {
                Some(long) => ranker.rank_long(query, &texts, &options, &long.options()?)?,
                None => ranker.rank_with(query, &texts, &options)?,
            };
            Ok(ranked.iter().map(|x| json!({"index": x.index, "score": bits(x.score)})).collect())
        }
        "fill-mask" => {
            let f = MaskFiller::from_model(m, head)?;
            let options = o.fill_mask(isa)?;
            if let Some(long) = &r.long {
                let long = long.options()?;
                return each(&|t| Ok(answers::masks(&f.fill_long(t, &options, &long)?)));
            }
            Ok(f.fill_batch_with(&texts, &options)?.iter().map(answers::masks).collect())
        }
        "zero-shot" => {
            let z = ZeroShotClassifier::from_model(m, head)?;
            let labels: Vec<&str> = r.labels.iter().map(String::as_str).collect();
            let options = o.zero_shot(isa)?;
            if let Some(long) = &r.long {
                let long = long.options()?;
                return each(&|t| Ok(answers::zero_shot(&z.classify_long(t, &labels, &options, &long)?)));
            }
            let all = z.classify_batch_with(&texts, &labels, &options)?;
            Ok(all.iter().map(answers::zero_shot).collect())
        }
        "analyze" => {
            let a = Analyzer::from_model(m)?;
            let options = o.analyze(isa)?;
            if let Some(long) = &r.long {
                let long = long.options()?;
                return each(&|t| answers::analysis(&a.analyze_long(t, &options, &long)?));
            }
            let all = a.analyze_batch_with(&texts, &options)?;
            all.iter().map(answers::analysis).collect()
        }
        other => Err(Error::invalid(format!("`{other}` is no task of these cases"))),
    }
}
