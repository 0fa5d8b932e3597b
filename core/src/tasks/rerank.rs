//! [`Reranker`]: documents by how well they fit a query.

mod long;

use std::path::Path;
use std::sync::Arc;

use super::embed::{EmbedHead, EmbedOptions, Role, embed_all};
use super::load::LoadState;
use super::observe::TaskHead;
use super::session::{CallOptions, Session, run_each};
use super::vector::{Embedding, nearest};
use super::zero_shot::EntailmentHead;
use crate::bundle::manifest::Task;
use crate::error::{Error, ErrorKind, Result};
use crate::metrics::{Metrics, Seen};
use crate::model::{Model, OpenOptions};
use crate::text::{EncodeOptions, Truncation};

/// How to rank. The default: all documents, one thread.
#[derive(Clone, Debug, Default)]
pub struct RerankOptions {
    /// At most this many documents, the best. `None`: all. Zero is an error.
    pub top_k: Option<usize>,
    /// What to keep of a text that is too long.
    pub truncation: Truncation,
    /// Most tokens of a text (of query and document together for a pair head); never more than the model takes.
    pub max_length: Option<usize>,
    /// Threads, kernels, cancellation, deadline.
    pub call: CallOptions,
}

/// A document's place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranked {
    /// Its index among the documents that were given.
    pub index: usize,
    /// By embeddings the cosine with the query, -1 to 1; of a pair head with one value that value, with entailment
    /// labels the probability that the query entails the document.
    pub score: f32,
}

/// How scores are made.
#[derive(Clone, Debug, PartialEq)]
pub enum RerankHead {
    /// Query and document are embedded apart.
    Embedding(EmbedHead),
    /// Query and document go through the model together, as a pair.
    Pair(PairHead),
}

/// An output that scores a pair.
#[derive(Clone, Debug, PartialEq)]
pub struct PairHead {
    /// The head's name; the output's where the model is not a bundle.
    pub name: String,
    /// Index of the output in [`Plan::outputs`](crate::model::Plan::outputs).
    pub index: usize,
    /// Where the output has several values: those of entailment.
    pub entailment: Option<EntailmentHead>,
    /// Most tokens of a pair, where it is less than the model's.
    pub max_length: Option<usize>,
}

impl TaskHead for RerankHead {
    const TASK: &'static str = "rerank";

    fn name(&self) -> &str {
        match self {
            RerankHead::Embedding(h) => &h.name,
            RerankHead::Pair(p) => &p.name,
        }
    }

    fn labels(&self) -> usize {
        0
    }
}

impl RerankHead {
    /// Of a bundle the head `name`, which makes vectors, tells entailment, or gives one value per text (a
    /// regression); without a name its first embedding head. Of a plain ONNX model the output `name`, without a
    /// name one with a single value per text (a cross-encoder), else its vectors.
    ///
    /// # Errors
    /// Those of [`EmbedHead::find`]; `InvalidArgument` for a head that does none of it.
    pub fn find(model: &Model, name: Option<&str>) -> Result<RerankHead> {
        let outputs = model.plan().outputs();
        if let Some(bundle) = model.bundle() {
            let head = name.and_then(|n| bundle.manifest().heads.iter().find(|h| h.name == n));
            let Some(h) = head.filter(|h| h.task != Task::Embedding) else {
                return EmbedHead::find(model, name).map(RerankHead::Embedding);
            };
            let index = outputs.iter().position(|o| o.name == h.output);
            let index = index.ok_or_else(|| Error::data_loss(format!("head `{}` has no output", h.name)))?;
            let entailment = match h.task {
                Task::ZeroShot => Some(EntailmentHead::find(model, name)?),
                Task::TextClassification if outputs[index].channels == 1 && !outputs[index].per_token => None,
                _ => {
                    return Err(Error::invalid(format!(
                        "head `{}` cannot rank: choose one that makes vectors, tells entailment or gives one value",
                        h.name
                    )));
                }
            };
            return Ok(RerankHead::Pair(PairHead {
                name: h.name.clone(),
                index,
                entailment,
                max_length: h.max_length,
            }));
        }
        let single = outputs
            .iter()
            .position(|o| !o.per_token && !o.flat && o.channels == 1 && name.is_none_or(|n| n == o.name));
        match single {
            Some(index) => Ok(RerankHead::Pair(PairHead {
                name: outputs[index].name.clone(),
                index,
                entailment: None,
                max_length: None,
            })),
            None => EmbedHead::find(model, name).map(RerankHead::Embedding),
        }
    }
}

/// Ranks documents by a query, with vectors or with a pair head.
///
/// By vectors the documents can be embedded once and kept: see [`TextEmbedder`](super::embed::TextEmbedder) and
/// [`nearest`]. `Send + Sync`; the same bits everywhere.
///
/// ```
/// use pocketbert::Reranker;
/// # fn main() -> pocketbert::Result<()> {
/// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny.pbert");
/// let ranker = Reranker::open(path)?;
/// let documents = ["add this song to my playlist", "will it rain in Paris tomorrow"];
/// let best = ranker.rank("is it going to rain today", &documents)?;
/// assert_eq!(best[0].index, 1);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Reranker {
    session: Session<RerankHead>,
}

impl Reranker {
    /// Opens the model at `path`; the head as in [`RerankHead::find`].
    pub fn open(path: impl AsRef<Path>) -> Result<Reranker> {
        let r = Reranker::deferred(path, &OpenOptions::default(), None);
        r.load()?;
        Ok(r)
    }

    /// A ranker that opens `path` at its first call, or at [`load`](Self::load) or [`prewarm`](Self::prewarm).
    pub fn deferred(path: impl AsRef<Path>, options: &OpenOptions, head: Option<&str>) -> Reranker {
        Reranker { session: Session::deferred(path.as_ref(), options, head, RerankHead::find) }
    }

    /// A ranker on a model that is open already.
    pub fn from_model(model: Arc<Model>, head: Option<&str>) -> Result<Reranker> {
        Ok(Reranker { session: Session::from_model(model, head, RerankHead::find)? })
    }

    /// Opens the model if it is not open yet.
    pub fn load(&self) -> Result<()> {
        self.session.ready().map(|_| ())
    }

    /// Opens the model if need be and ranks a short text, so that the next call is a warm one.
    pub fn prewarm(&self) -> Result<()> {
        if self.state() == LoadState::Prewarmed {
            return self.load();
        }
        self.rank("warm", &["warm"]).map(|_| ())
    }

    /// How far the ranker is from answering at full speed.
    pub fn state(&self) -> LoadState {
        self.session.state()
    }

    /// The numbers of this object: times by stage, the cold first call apart, sizes, errors.
    pub fn metrics(&self) -> Metrics {
        self.session.metrics().clone()
    }

    /// The model, opened now if it was not yet.
    pub fn model(&self) -> Result<&Arc<Model>> {
        self.session.model()
    }

    /// The head.
    pub fn head(&self) -> Result<&RerankHead> {
        self.session.ready().map(|(_, h)| h)
    }

    /// All `documents`, the one that fits `query` best first; of equals the earlier one.
    pub fn rank(&self, query: &str, documents: &[&str]) -> Result<Vec<Ranked>> {
        self.rank_with(query, documents, &RerankOptions::default())
    }

    /// The best of `documents`. No document is no answer, and no error.
    ///
    /// # Errors
    /// `InvalidArgument` for `top_k` of 0; those of [`embed_with`](super::embed::TextEmbedder::embed_with).
    pub fn rank_with(&self, query: &str, documents: &[&str], options: &RerankOptions) -> Result<Vec<Ranked>> {
        options.check()?;
        let rank = |model: &Arc<Model>, head: &RerankHead| -> Result<Vec<Ranked>> {
            let top_k = options.top_k.unwrap_or(usize::MAX);
            let pair = match head {
                RerankHead::Embedding(h) => {
                    return self.by_vectors(model, h, query, documents, options, top_k);
                }
                RerankHead::Pair(p) => p,
            };
            let encode = EncodeOptions {
                max_length: pair.most(model, options),
                truncation: options.truncation,
                ..EncodeOptions::default()
            };
            let (stop, tokenizer) = (options.call.stop(), model.tokenizer()?);
            let mut encodings = Vec::with_capacity(documents.len());
            for d in documents {
                stop.check()?;
                encodings.push(tokenizer.encode(query, Some(d), &encode)?);
            }
            let mut ranked = Vec::with_capacity(documents.len());
            run_each(model, &[pair.index], &encodings, &options.call, |index, rows| {
                let score = pair.score(rows.first().copied().unwrap_or_default())?;
                ranked.push(Ranked { index, score });
                self.session.saw(&Seen::of(&encodings[index], None, &[]));
                Ok(())
            })?;
            Ok(best(ranked, top_k))
        };
        self.session.observe(documents.len(), rank)
    }

    fn by_vectors(
        &self,
        model: &Model,
        head: &EmbedHead,
        query: &str,
        documents: &[&str],
        options: &RerankOptions,
        top_k: usize,
    ) -> Result<Vec<Ranked>> {
        let q = self.query(model, head, query, options)?;
        let saw = |seen: &Seen| self.session.saw(seen);
        let d = embed_all(model, head, documents, &options.embed(Role::Document), saw)?;
        let best = nearest(&q, &d, top_k)?;
        Ok(best.into_iter().map(|(index, score)| Ranked { index, score }).collect())
    }

    fn query(&self, model: &Model, head: &EmbedHead, query: &str, o: &RerankOptions) -> Result<Embedding> {
        let q = embed_all(model, head, &[query], &o.embed(Role::Query), |seen| self.session.saw(seen))?.pop();
        q.ok_or_else(|| Error::internal("a query without a vector"))
    }
}

/// The best first, of equals the earlier one; at most `top_k`.
fn best(mut ranked: Vec<Ranked>, top_k: usize) -> Vec<Ranked> {
    ranked.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.index.cmp(&b.index)));
    ranked.truncate(top_k);
    ranked
}

impl RerankOptions {
    fn check(&self) -> Result<()> {
        match self.top_k {
            Some(0) => Err(Error::invalid("`top_k` is 0: ask for at least one document")),
            _ => Ok(()),
        }
    }

    fn embed(&self, role: Role) -> EmbedOptions {
        EmbedOptions {
            role,
            truncation: self.truncation,
            max_length: self.max_length,
            call: self.call.clone(),
            ..EmbedOptions::default()
        }
    }
}

impl PairHead {
    /// The longest pair.
    fn most(&self, model: &Model, options: &RerankOptions) -> usize {
        let length = [options.max_length, self.max_length].into_iter().flatten();
        length.fold(model.info().max_length, usize::min)
    }

    /// What the values of a pair say.
    fn score(&self, row: &[f32]) -> Result<f32> {
        let score = match &self.entailment {
            Some(e) => e.probability(row)?,
            None => row.first().copied().unwrap_or(f32::NAN),
        };
        match score.is_finite() {
            true => Ok(score),
            false => {
                Err(Error::new(ErrorKind::OutOfRange, "a score is not finite: the model's weights overflow"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::embed::TextEmbedder;
    use super::*;

    const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny.pbert");

    #[test]
    fn ranks_are_those_of_the_vectors() {
        let r = Reranker::open(TINY).unwrap();
        let documents = ["play some jazz", "what is the weather", "book a table for two", "play some jazz"];
        let all = r.rank("put on a jazz record", &documents).unwrap();
        let e = TextEmbedder::open(TINY).unwrap();
        let q = e.embed("put on a jazz record").unwrap();
        for d in &all {
            assert_eq!(d.score, q.cosine(&e.embed(documents[d.index]).unwrap()).unwrap());
        }
        assert!(all.is_sorted_by(|a, b| a.score > b.score || (a.score == b.score && a.index < b.index)));
        let two = RerankOptions { top_k: Some(2), ..RerankOptions::default() };
        assert_eq!(r.rank_with("put on a jazz record", &documents, &two).unwrap(), all[..2]);
        assert!(r.rank("anything", &[]).unwrap().is_empty());
        let none = RerankOptions { top_k: Some(0), ..RerankOptions::default() };
        assert_eq!(r.rank_with("x", &documents, &none).unwrap_err().kind(), ErrorKind::InvalidArgument);
        let model = r.model().unwrap().clone();
        let e = Reranker::from_model(model, Some("intent")).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::InvalidArgument);
    }

    #[test]
    fn a_pair_head_ranks_by_entailment() {
        let model = Arc::new(Model::open(TINY, &OpenOptions::default()).unwrap());
        let r = Reranker::from_model(model.clone(), Some("entail")).unwrap();
        let documents = ["This text is about music.", "This text is about the weather.", ""];
        let all = r.rank("will it rain tomorrow", &documents).unwrap();
        assert_eq!(all.len(), 3);
        assert!(all.is_sorted_by(|a, b| a.score >= b.score));
        for d in &all {
            let alone = r.rank("will it rain tomorrow", &[documents[d.index]]).unwrap();
            assert_eq!(alone[0].score, d.score);
        }
    }
}
