//! The heads of a model, each read the way its own task reads it.

use std::sync::{Arc, OnceLock};

use super::{AnalyzeOptions, HeadAnswer};
use crate::bundle::manifest::Task;
use crate::error::{Error, ErrorKind, Result};
use crate::metrics::{Metrics, Seen};
use crate::model::Model;
use crate::tasks::answer::{AnswerOptions, QuestionAnswerer};
use crate::tasks::classify::{self, ClassifyOptions, Decoder};
use crate::tasks::embed::{self, EmbedHead, EmbedOptions, Pooled};
use crate::tasks::head::ClassifierHead;
use crate::tasks::observe::{TaskHead, saw};
use crate::tasks::token_classify::{self, Input, Tag, TagHead, TagOptions};
use crate::tasks::window::{Read, WindowMerge};
use crate::text::{EncodeOptions, Encoding, Window};

/// The heads that can answer, in the bundle's order.
#[derive(Debug)]
pub(super) struct Heads {
    pub(super) readers: Vec<Reader>,
    /// Heads that cannot, with what keeps them from it.
    pub(super) others: Vec<(String, &'static str)>,
}

/// A head with what its task needs to know of it.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) name: String,
    pub(super) task: Task,
    head: Kind,
    /// Of this head alone: sizes, confidence, drift. Times are the session's, since the run is shared.
    pub(super) metrics: Metrics,
}

#[derive(Debug)]
enum Kind {
    Labels(ClassifierHead),
    Tags(TagHead),
    Vector(EmbedHead),
    /// Made when it is first asked: it wants the shared model, and has numbers of its own.
    Question(OnceLock<QuestionAnswerer>),
}

impl TaskHead for Heads {
    const TASK: &'static str = "analyze";

    fn name(&self) -> &str {
        "all"
    }

    fn labels(&self) -> usize {
        0
    }
}

impl Heads {
    pub(super) fn find(model: &Model, _: Option<&str>) -> Result<Heads> {
        let mut heads = Heads { readers: vec![], others: vec![] };
        let labels = ClassifierHead::all(model)?;
        let tags = TagHead::all(model)?;
        let named: Vec<(String, Task)> = match model.bundle() {
            Some(b) => b.manifest().heads.iter().map(|h| (h.name.clone(), h.task)).collect(),
            None => {
                let classes = labels.iter().map(|h| (h.name.clone(), Task::TextClassification));
                classes.chain(tags.iter().map(|h| (h.name.clone(), Task::TokenClassification))).collect()
            }
        };
        for (name, task) in named {
            let head = match task {
                Task::TextClassification => labels.iter().find(|h| h.name == name).cloned().map(Kind::Labels),
                Task::TokenClassification => tags.iter().find(|h| h.name == name).cloned().map(Kind::Tags),
                Task::Embedding => Some(Kind::Vector(EmbedHead::find(model, Some(&name))?)),
                Task::QuestionAnswering => Some(Kind::Question(OnceLock::new())),
                _ => None,
            };
            let needs = match task {
                Task::FillMask => "needs a text with a mask",
                Task::ZeroShot => "needs labels to choose from",
                _ => "cannot be read",
            };
            match head {
                Some(head) => heads.readers.push(Reader::new(model, name, task, head)),
                None => heads.others.push((name, needs)),
            }
        }
        match heads.readers.is_empty() {
            false => Ok(heads),
            true => Err(Error::new(
                ErrorKind::FailedPrecondition,
                "the model has no head that can be asked for an analysis of a text",
            )),
        }
    }

    /// Indices of the readers that are asked for.
    pub(super) fn chosen(&self, names: &[String]) -> Result<Vec<usize>> {
        for (i, name) in names.iter().enumerate() {
            if names.iter().take(i).any(|n| n == name) {
                return Err(Error::invalid(format!("head `{name}` is asked for twice")));
            }
            if self.readers.iter().any(|r| r.name == *name) {
                continue;
            }
            if let Some((_, why)) = self.others.iter().find(|o| o.0 == *name) {
                return Err(Error::invalid(format!("head `{name}` {why}: use its own task")));
            }
            let all = self.readers.iter().map(|r| &r.name).chain(self.others.iter().map(|o| &o.0));
            let all: Vec<_> = all.map(|n| format!("`{n}`")).collect();
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("the model has no head `{name}`: choose of {}", all.join(", ")),
            ));
        }
        let wanted = |r: &Reader| names.is_empty() || names.contains(&r.name);
        Ok((0..self.readers.len()).filter(|&i| wanted(&self.readers[i])).collect())
    }

    /// The readers that answer a call, each with its part; without one those that have runs of their own.
    ///
    /// # Errors
    /// Those of [`chosen`](Self::chosen) and [`Reader::part`]; `InvalidArgument` for a head that needs a question.
    pub(super) fn asked<'a>(
        &'a self,
        model: &'a Model,
        o: &AnalyzeOptions,
        own: &'a Own,
    ) -> Result<Vec<(&'a Reader, Option<Part<'a>>)>> {
        let mut parts = vec![];
        for reader in self.chosen(&o.heads)?.into_iter().filter_map(|i| self.readers.get(i)) {
            let part = reader.part(model, own)?;
            if part.is_some() || o.question.is_some() {
                parts.push((reader, part));
            } else if o.heads.contains(&reader.name) {
                return Err(Error::invalid(format!("head `{}` needs a `question`", reader.name)));
            }
        }
        Ok(parts)
    }
}

impl Reader {
    fn new(model: &Model, name: String, task: Task, head: Kind) -> Reader {
        let (info, metrics) = (model.info(), Metrics::new("analyze"));
        let labels = match &head {
            Kind::Labels(h) => h.labels.len(),
            Kind::Tags(h) => h.labels.len(),
            Kind::Vector(_) | Kind::Question(_) => 0,
        };
        metrics.identify(&info.name, &info.version, &name, labels);
        Reader { name, task, head, metrics }
    }

    /// How its own task encodes texts, and turns rows into answers.
    /// `None` for one that has a run of its own.
    pub(super) fn part<'a>(&'a self, model: &'a Model, o: &'a Own) -> Result<Option<Part<'a>>> {
        let (output, encode, decode) = match &self.head {
            Kind::Labels(h) => {
                let d = Decoder::new(model, h, &o.classify)?;
                (h.index, classify::encode_options(model, h, &o.classify), Decode::Labels(d))
            }
            Kind::Tags(h) => {
                let tag = Tag::new(h, &o.tag)?;
                (h.index, tag.encode_options(model), Decode::Tags(tag))
            }
            Kind::Vector(h) => {
                let pooled = Pooled::new(model, h, &o.embed)?;
                (h.index, embed::encode_options(model, h, &o.embed), Decode::Vector(pooled))
            }
            Kind::Question(_) => return Ok(None),
        };
        Ok(Some(Part { output, encode, decode, done: false }))
    }

    /// Of a head that answers questions, its task.
    pub(super) fn answerer(&self, model: &Arc<Model>) -> Result<Option<&QuestionAnswerer>> {
        let Kind::Question(cell) = &self.head else { return Ok(None) };
        if let Some(q) = cell.get() {
            return Ok(Some(q));
        }
        let q = QuestionAnswerer::from_model(model.clone(), Some(&self.name))?;
        Ok(Some(cell.get_or_init(|| q)))
    }

    pub(super) fn metrics(&self) -> Metrics {
        match &self.head {
            Kind::Question(cell) => {
                cell.get().map_or_else(|| self.metrics.clone(), QuestionAnswerer::metrics)
            }
            _ => self.metrics.clone(),
        }
    }
}

/// A head in one call.
pub(super) struct Part<'a> {
    pub(super) output: usize,
    pub(super) encode: EncodeOptions,
    pub(super) decode: Decode<'a>,
    pub(super) done: bool,
}

/// Turns one head's rows into its answer, the way its own task does.
pub(super) enum Decode<'a> {
    Labels(Decoder<'a>),
    Tags(Tag<'a>),
    Vector(Pooled),
}

impl Decode<'_> {
    pub(super) fn answer(
        &self,
        rows: &[f32],
        text: &str,
        e: &Encoding,
        version: &str,
        metrics: &Metrics,
    ) -> Result<HeadAnswer> {
        match self {
            Decode::Labels(d) => Ok(HeadAnswer::Labels(d.answer(rows, e, |seen| saw(metrics, seen))?)),
            Decode::Tags(t) => {
                let tagged = t.answer(&Input::Text(text), e, &[rows], version, |seen| saw(metrics, seen))?;
                Ok(HeadAnswer::Tags(tagged))
            }
            Decode::Vector(p) => {
                saw(metrics, &Seen::of(e, None, &[]));
                Ok(HeadAnswer::Vector(p.vector(rows)?))
            }
        }
    }
}

/// One head's answers to the windows of a long text, merged the way its own task does.
pub(super) enum Parts<'a> {
    Labels(classify::long::Parts<'a>),
    Tags(token_classify::Parts<'a>),
    Vector(embed::long::Parts<'a>),
}

impl<'a> Part<'a> {
    /// What gathers the windows of `text`.
    ///
    /// # Errors
    /// `InvalidArgument` for a merge that the head cannot do.
    pub(super) fn parts(&'a self, name: &str, text: &'a str, merge: WindowMerge) -> Result<Parts<'a>> {
        Ok(match &self.decode {
            Decode::Labels(d) => Parts::Labels(classify::long::Parts::new(d, merge)),
            Decode::Tags(t) => Parts::Tags(token_classify::Parts::new(t, Input::Text(text))),
            Decode::Vector(p) => {
                let parts = embed::long::Parts::new(p, merge);
                Parts::Vector(parts.map_err(|e| e.context(format!("head `{name}`")))?)
            }
        })
    }
}

impl Parts<'_> {
    /// The rows of window `w`.
    pub(super) fn add(&mut self, w: &Window, rows: &[f32]) -> Result<()> {
        match self {
            Parts::Labels(p) => p.add(w, rows).map(|_| ()),
            Parts::Tags(p) => p.add(w, rows),
            Parts::Vector(p) => p.add(w, rows),
        }
    }

    /// The answer to the text.
    pub(super) fn finish(self, read: &Read, version: &str, metrics: &Metrics) -> Result<HeadAnswer> {
        Ok(match self {
            Parts::Labels(p) => HeadAnswer::Labels(p.finish(read, |seen| saw(metrics, seen))),
            Parts::Tags(p) => HeadAnswer::Tags(p.finish(read, version, |seen| saw(metrics, seen))),
            Parts::Vector(p) => {
                saw(metrics, &read.seen(None, &[]));
                HeadAnswer::Vector(p.finish()?)
            }
        })
    }
}

/// The options as each task has them.
pub(super) struct Own {
    pub(super) classify: ClassifyOptions,
    pub(super) tag: TagOptions,
    pub(super) embed: EmbedOptions,
    pub(super) answer: AnswerOptions,
}

impl AnalyzeOptions {
    pub(super) fn own(&self) -> Own {
        let (truncation, max_length) = (self.truncation, self.max_length);
        let call = || self.call.clone();
        Own {
            classify: ClassifyOptions {
                top_k: self.top_k,
                truncation,
                max_length,
                call: call(),
                ..Default::default()
            },
            tag: TagOptions { truncation, max_length, call: call(), ..Default::default() },
            embed: EmbedOptions { truncation, max_length, call: call(), ..Default::default() },
            answer: AnswerOptions { call: call(), ..Default::default() },
        }
    }
}
