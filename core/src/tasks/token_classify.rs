//! [`TokenClassifier`]: names, slots, parts of speech: labelled spans of a text.

mod decode;
mod head;
mod spans;

use std::path::Path;
use std::sync::Arc;

pub use self::head::TagHead;

use self::decode::Decoder;
pub(super) use self::spans::{Input, Tag};
use super::load::LoadState;
use super::session::{CallOptions, Session, run_each};
use super::window::{Long, LongOptions, Read, run_windows};
use crate::error::{Error, Result};
use crate::metrics::{Metrics, Seen};
use crate::model::{Model, OpenOptions};
use crate::text::{Span, Truncation, Window};

/// How labels of tokens become labels of spans: the strategies of Hugging Face's pipeline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Aggregation {
    /// Every token that is not outside, with its full label.
    None,
    /// Neighbouring tokens of one kind are joined. A span may begin or end inside a word.
    Simple,
    /// A word has the label of its first token; what most taggers, ours too, were trained for.
    #[default]
    First,
    /// A word has the label that is most probable on average over its tokens.
    Average,
    /// A word has the label of its surest token.
    Max,
}

impl Aggregation {
    /// All of them, by name.
    pub const ALL: [(&'static str, Aggregation); 5] = [
        ("none", Aggregation::None),
        ("simple", Aggregation::Simple),
        ("first", Aggregation::First),
        ("average", Aggregation::Average),
        ("max", Aggregation::Max),
    ];
}

/// What the first letters of labels mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TagScheme {
    /// `B-` begins a span and `I-` goes on; an `I-` of another kind than what stands before it begins one, too.
    Bio,
    /// The same, strictly: an `I-` that goes on with nothing is outside.
    Iob2,
    /// `B-` begins, `I-` goes on, `L-` ends, `U-` is a span of one (also written `E-` and `S-`).
    Bilou,
    /// Labels stand for themselves; neighbours with the same label are one span.
    None,
}

/// How to tag. `TagOptions::default()` joins words by their first token and leaves `O` out.
#[derive(Clone, Debug)]
pub struct TagOptions {
    /// How tokens become spans.
    pub aggregation: Aggregation,
    /// What the labels' prefixes mean. `None`: as the bundle says, else what the labels look like.
    pub scheme: Option<TagScheme>,
    /// Labels, with or without prefix, that make no span.
    pub ignore: Vec<String>,
    /// Leave out spans with a smaller score than this (0 to 1).
    pub threshold: Option<f32>,
    /// What to keep of a text that is too long.
    pub truncation: Truncation,
    /// Most tokens of a text, special tokens included; never more than the model takes. `None`: the model's.
    pub max_length: Option<usize>,
    /// Threads, kernels, cancellation, deadline.
    pub call: CallOptions,
}

impl Default for TagOptions {
    fn default() -> Self {
        TagOptions {
            aggregation: Aggregation::default(),
            scheme: None,
            ignore: vec!["O".into()],
            threshold: None,
            truncation: Truncation::Head,
            max_length: None,
            call: CallOptions::default(),
        }
    }
}

/// A labelled stretch of the text.
///
/// There is no word in here on purpose: what the tokenizer made of it (lower case, no accents) is not what the text
/// says. Take the slice: [`Entity::of`].
#[derive(Clone, Debug, PartialEq)]
pub struct Entity {
    /// The kind (`person`); the label as it is (`B-person`) for [`Aggregation::None`].
    pub label: String,
    /// The mean probability of its words (of its tokens for [`Aggregation::Simple`]).
    pub score: f32,
    /// Where it is, in bytes. After `tag_words`: in the words joined by one space.
    pub bytes: Span,
    /// The same in characters (code points; indices of a Python `str`).
    pub chars: Span,
    /// The same in UTF-16 code units (Java, Kotlin, JavaScript, `NSString`).
    pub utf16: Span,
    /// After `tag_words`: which of the words, else `None`.
    pub words: Option<Span>,
}

impl Entity {
    /// The slice of `text`, the text that was tagged.
    pub fn of<'t>(&self, text: &'t str) -> &'t str {
        self.bytes.of(text).unwrap_or("")
    }
}

/// The answer for one text.
#[derive(Clone, Debug, PartialEq)]
pub struct Tagged {
    /// Spans in the order of the text; they do not overlap.
    pub entities: Vec<Entity>,
    /// Tokens that the model saw, special tokens included (of a long text: the text's tokens, each once).
    pub token_count: usize,
    /// The text was cut to fit.
    pub truncated: bool,
    /// The model's version; empty where it has none.
    pub model_version: String,
}

/// Tags texts with one head of a model.
///
/// `Send + Sync`: share it by reference or `Arc`. Answers are the same bits on every CPU, kernel, number of threads
/// and batch.
///
/// ```
/// use pocketbert::TokenClassifier;
/// # fn main() -> pocketbert::Result<()> {
/// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny.pbert");
/// let tagger = TokenClassifier::open(path)?;
/// let text = "book a table for two in Paris";
/// let answer = tagger.tag(text)?;
/// let city = answer.entities.iter().find(|e| e.label == "city").unwrap();
/// assert_eq!(city.of(text), "Paris");
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct TokenClassifier {
    session: Session<TagHead>,
}

impl TokenClassifier {
    /// Opens the model at `path` and takes its default tagging head.
    ///
    /// # Errors
    /// Those of [`Model::open`] and [`TagHead::find`].
    pub fn open(path: impl AsRef<Path>) -> Result<TokenClassifier> {
        let t = TokenClassifier::deferred(path, &OpenOptions::default(), None);
        t.load()?;
        Ok(t)
    }

    /// A tagger that opens `path` at its first call, or at [`load`](Self::load) or [`prewarm`](Self::prewarm).
    pub fn deferred(path: impl AsRef<Path>, options: &OpenOptions, head: Option<&str>) -> TokenClassifier {
        TokenClassifier { session: Session::deferred(path.as_ref(), options, head, TagHead::find) }
    }

    /// A tagger on a model that is open already; `head` as in [`TagHead::find`].
    pub fn from_model(model: Arc<Model>, head: Option<&str>) -> Result<TokenClassifier> {
        Ok(TokenClassifier { session: Session::from_model(model, head, TagHead::find)? })
    }

    /// Opens the model if it is not open yet.
    pub fn load(&self) -> Result<()> {
        self.session.ready().map(|_| ())
    }

    /// Opens the model if need be and answers a short text, so that the next call is a warm one.
    pub fn prewarm(&self) -> Result<()> {
        match self.state() {
            LoadState::Prewarmed => self.load(),
            _ => self.tag("warm").map(|_| ()),
        }
    }

    /// How far the tagger is from answering at full speed.
    pub fn state(&self) -> LoadState {
        self.session.state()
    }

    /// The numbers of this object.
    pub fn metrics(&self) -> Metrics {
        self.session.metrics().clone()
    }

    /// The model, opened now if it was not yet.
    pub fn model(&self) -> Result<&Arc<Model>> {
        self.session.model()
    }

    /// The head, with its labels.
    pub fn head(&self) -> Result<&TagHead> {
        self.session.ready().map(|(_, h)| h)
    }

    /// Tags `text` with the default options.
    pub fn tag(&self, text: &str) -> Result<Tagged> {
        self.tag_with(text, &TagOptions::default())
    }

    /// Tags `text`.
    ///
    /// # Errors
    /// `InvalidArgument` for a threshold that is no probability or an `ignore` that the head lacks; `Cancelled` and
    /// `DeadlineExceeded` as the options ask; those of [`Tokenizer::encode`](crate::text::Tokenizer::encode).
    pub fn tag_with(&self, text: &str, options: &TagOptions) -> Result<Tagged> {
        one(self.tag_batch_with(&[text], options)?)
    }

    /// Tags all of `texts` with the default options; answers come in their order.
    pub fn tag_batch(&self, texts: &[&str]) -> Result<Vec<Tagged>> {
        self.tag_batch_with(texts, &TagOptions::default())
    }

    /// Tags all of `texts`; each answer is, bit for bit, the one that the text gets alone.
    ///
    /// # Errors
    /// As [`tag_with`](Self::tag_with); there are no partial results.
    pub fn tag_batch_with(&self, texts: &[&str], options: &TagOptions) -> Result<Vec<Tagged>> {
        let inputs: Vec<Input> = texts.iter().map(|t| Input::Text(t)).collect();
        self.answer(&inputs, options)
    }

    /// Tags a text that is split into words already. Spans are those of the words joined by one space, and each
    /// entity says which words it has.
    ///
    /// # Errors
    /// As [`tag_with`](Self::tag_with).
    pub fn tag_words(&self, words: &[&str], options: &TagOptions) -> Result<Tagged> {
        one(self.answer(&[Input::Words(words)], options)?)
    }

    /// Tags a text of any length by windows; `options.truncation` does not matter. Each token has the label that
    /// the window gives it which shows more of its surroundings, so spans reach over windows' edges and none comes
    /// twice.
    ///
    /// # Errors
    /// Those of [`tag_with`](Self::tag_with), and `InvalidArgument` for windows that cannot be: see
    /// [`Tokenizer::windows`](crate::text::Tokenizer::windows).
    pub fn tag_long(&self, text: &str, options: &TagOptions, long: &LongOptions) -> Result<Tagged> {
        self.long(Input::Text(text), options, long)
    }

    /// [`tag_long`](Self::tag_long) of words: see [`tag_words`](Self::tag_words).
    ///
    /// # Errors
    /// As [`tag_long`](Self::tag_long).
    pub fn tag_words_long(&self, words: &[&str], options: &TagOptions, long: &LongOptions) -> Result<Tagged> {
        self.long(Input::Words(words), options, long)
    }

    fn answer(&self, inputs: &[Input], options: &TagOptions) -> Result<Vec<Tagged>> {
        self.session.observe(inputs.len(), |model, head| {
            let tag = Tag::new(head, options)?;
            let stop = options.call.stop();
            let encode = tag.encode_options(model);
            let tokenizer = model.tokenizer()?;
            let mut encodings = Vec::with_capacity(inputs.len());
            for i in inputs {
                stop.check()?;
                encodings.push(match i {
                    Input::Text(t) => tokenizer.encode(t, None, &encode)?,
                    Input::Words(w) => tokenizer.encode_words(w, &encode)?,
                });
            }
            let mut answers = Vec::with_capacity(inputs.len());
            run_each(model, &[head.index], &encodings, &options.call, |i, rows| {
                let version = &model.info().version;
                answers.push(tag.answer(&inputs[i], &encodings[i], rows, version, |s| self.session.saw(s))?);
                Ok(())
            })?;
            Ok(answers)
        })
    }

    fn long(&self, input: Input, options: &TagOptions, long: &LongOptions) -> Result<Tagged> {
        self.session.observe(1, |model, head| {
            let tag = Tag::new(head, options)?;
            let text = match input {
                Input::Text(t) => Long::Text(t),
                Input::Words(w) => Long::Words(w),
            };
            let whose = (head.name.as_str(), tag.most(model));
            let mut parts = Parts::new(&tag, input);
            let read = run_windows(model, whose, &[head.index], text, long, &options.call, |w, rows| {
                parts.add(w, rows.first().copied().unwrap_or_default())
            })?;
            Ok(parts.finish(&read, &model.info().version, |seen| self.session.saw(seen)))
        })
    }
}

/// The labels of a text's windows, joined to spans as they come.
pub(super) struct Parts<'a> {
    tag: &'a Tag<'a>,
    input: Input<'a>,
    bases: Vec<usize>,
    decoder: Decoder<'a>,
}

impl<'a> Parts<'a> {
    pub(super) fn new(tag: &'a Tag<'a>, input: Input<'a>) -> Parts<'a> {
        Parts { tag, input, bases: input.bases(), decoder: tag.decoder() }
    }

    /// The rows of window `w`.
    pub(super) fn add(&mut self, w: &Window, rows: &[f32]) -> Result<()> {
        self.tag.feed(&mut self.decoder, &w.encoding, w.own.clone(), &[rows], &self.bases)
    }

    /// The answer to the text; `saw` gets what metrics may know of it.
    pub(super) fn finish(self, read: &Read, version: &str, saw: impl FnOnce(&Seen)) -> Tagged {
        let entities = self.tag.entities(self.decoder.finish(), &self.input);
        saw(&read.seen(None, &self.tag.given(&entities)));
        Tagged {
            entities,
            token_count: read.text_tokens,
            truncated: false,
            model_version: version.to_string(),
        }
    }
}

fn one(mut answers: Vec<Tagged>) -> Result<Tagged> {
    answers.pop().ok_or_else(|| Error::internal("a run without an answer"))
}

#[cfg(test)]
mod tests;
