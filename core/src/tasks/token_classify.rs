//! [`TokenClassifier`]: names, slots, parts of speech: labelled spans of a text.

mod decode;

use std::path::Path;
use std::sync::Arc;

use self::decode::{Decoder, Found, Labels, Place};
use super::load::LoadState;
use super::observe::TaskHead;
use super::score::probabilities;
use super::session::{CallOptions, Session, run_each};
use super::window::{Long, LongOptions, run_windows};
use crate::bundle::manifest::{Tagging, Task};
use crate::error::{Error, ErrorKind, Result};
use crate::metrics::{Metrics, Seen};
use crate::model::{Model, OpenOptions};
use crate::text::{EncodeOptions, Encoding, Span, SpanMapper, Truncation};

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

/// A tagging head of a model: an output with one row per token, and what its values mean.
#[derive(Clone, Debug, PartialEq)]
pub struct TagHead {
    /// The head's name; the output's where the model is not a bundle.
    pub name: String,
    /// The graph output that it reads.
    pub output: String,
    /// Index of that output in [`Plan::outputs`](crate::model::Plan::outputs).
    pub index: usize,
    /// One label per value.
    pub labels: Vec<String>,
    /// What their first letters mean.
    pub scheme: TagScheme,
    /// What logits are divided by before they become probabilities.
    pub temperature: f32,
    /// Most tokens of a text, where it is less than the model's.
    pub max_length: Option<usize>,
}

impl TaskHead for TagHead {
    const TASK: &'static str = "token-classification";

    fn name(&self) -> &str {
        &self.name
    }

    fn labels(&self) -> usize {
        self.labels.len()
    }
}

impl TagHead {
    /// The head `name` of `model`; without a name its default head if that tags, else the first that does. Of a
    /// plain ONNX model: an output with one row per token and as many values as `config.json` names labels.
    ///
    /// # Errors
    /// `NotFound` for a name that the model lacks (the message lists those it has), `InvalidArgument` for a head of
    /// another task, `FailedPrecondition` for a model that does not tag, `DataLoss` for a bundle or `config.json`
    /// that contradicts the graph.
    pub fn find(model: &Model, name: Option<&str>) -> Result<TagHead> {
        let heads = TagHead::all(model)?;
        let default = model.bundle().and_then(|b| b.manifest().default_head.as_deref());
        let wanted = name.or_else(|| default.filter(|d| heads.iter().any(|h| h.name == *d)));
        if let Some(h) = heads.iter().find(|h| wanted.is_none_or(|w| w == h.name)) {
            return Ok(h.clone());
        }
        let others = model.bundle().map_or(&[][..], |b| &b.manifest().heads[..]);
        Err(super::head::missing("tag tokens", name, heads.iter().map(|h| h.name.as_str()), others))
    }

    /// All tagging heads of `model`, in the bundle's order.
    ///
    /// # Errors
    /// `DataLoss` for a bundle or `config.json` that contradicts the graph.
    pub fn all(model: &Model) -> Result<Vec<TagHead>> {
        let outputs = model.plan().outputs();
        let Some(bundle) = model.bundle() else {
            let named = &model.info().labels;
            let tokens = outputs.iter().enumerate().filter(|(_, o)| o.per_token && !o.flat);
            if let Some((_, o)) = tokens.clone().find(|(_, o)| o.name == "logits")
                && !named.is_empty()
                && named.len() != o.channels
            {
                return Err(Error::data_loss(format!(
                    "`config.json` names {} labels, but output `{}` has {} values: correct its `id2label`",
                    named.len(),
                    o.name,
                    o.channels
                )));
            }
            let fits =
                tokens.filter(|(_, o)| named.len() == o.channels || (named.is_empty() && o.name == "logits"));
            let head = |(index, o): (usize, &crate::model::OutputInfo)| {
                let labels = match named.is_empty() {
                    true => (0..o.channels).map(|i| format!("LABEL_{i}")).collect(),
                    false => named.clone(),
                };
                TagHead {
                    name: o.name.clone(),
                    output: o.name.clone(),
                    index,
                    scheme: decode::guess(&labels),
                    labels,
                    temperature: 1.0,
                    max_length: None,
                }
            };
            return Ok(fits.map(head).collect());
        };
        let mut heads = vec![];
        for h in bundle.manifest().heads.iter().filter(|h| h.task == Task::TokenClassification) {
            let found = outputs.iter().enumerate().find(|(_, o)| o.name == h.output && o.per_token);
            let Some((index, o)) = found.filter(|(_, o)| o.channels == h.labels.len()) else {
                return Err(Error::data_loss(format!(
                    "head `{}` tags tokens with {} labels, but output `{}` has no such rows",
                    h.name,
                    h.labels.len(),
                    h.output
                )));
            };
            let scheme = match h.tagging {
                Some(Tagging::Bio) => TagScheme::Bio,
                Some(Tagging::Bilou) => TagScheme::Bilou,
                Some(Tagging::None) => TagScheme::None,
                None => decode::guess(&h.labels),
            };
            heads.push(TagHead {
                name: h.name.clone(),
                output: o.name.clone(),
                index,
                labels: h.labels.clone(),
                scheme,
                temperature: h.temperature,
                max_length: h.max_length,
            });
        }
        Ok(heads)
    }
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
            let bases = input.bases();
            let mut decoder = Decoder::new(&tag.labels, &head.labels, options.aggregation);
            let text = match input {
                Input::Text(t) => Long::Text(t),
                Input::Words(w) => Long::Words(w),
            };
            let whose = (head.name.as_str(), tag.most(model));
            let read = run_windows(model, whose, &[head.index], text, long, &options.call, |w, rows| {
                tag.feed(&mut decoder, &w.encoding, w.own.clone(), rows, &bases)
            })?;
            let entities = tag.entities(decoder.finish(), &input);
            self.session.saw(&Seen {
                tokens: read.run_tokens,
                unknown: read.unknown,
                truncated: false,
                confidence: None,
                labels: &tag.given(&entities),
            });
            Ok(Tagged {
                entities,
                token_count: read.text_tokens,
                truncated: false,
                model_version: model.info().version.clone(),
            })
        })
    }
}

fn one(mut answers: Vec<Tagged>) -> Result<Tagged> {
    answers.pop().ok_or_else(|| Error::internal("a run without an answer"))
}

#[derive(Clone, Copy)]
pub(super) enum Input<'a> {
    Text(&'a str),
    Words(&'a [&'a str]),
}

impl Input<'_> {
    /// Where each word starts in the words joined by spaces; empty for a text.
    fn bases(&self) -> Vec<usize> {
        let Input::Words(words) = self else { return vec![] };
        let mut at = 0usize;
        let start = |w: &&str| {
            let start = at;
            at = at.saturating_add(w.len()).saturating_add(1);
            start
        };
        words.iter().map(start).collect()
    }
}

/// The options, checked against the head.
pub(super) struct Tag<'a> {
    head: &'a TagHead,
    options: &'a TagOptions,
    labels: Labels,
}

impl<'a> Tag<'a> {
    pub(super) fn new(head: &'a TagHead, options: &'a TagOptions) -> Result<Tag<'a>> {
        if options.threshold.is_some_and(|t| !(0.0..=1.0).contains(&t)) {
            return Err(Error::invalid("`threshold` is a probability: give a number from 0 to 1"));
        }
        let known = |i: &&String| {
            i.as_str() == "O" || head.labels.iter().any(|l| l == *i || l.get(2..) == Some(i.as_str()))
        };
        if let Some(i) = options.ignore.iter().find(|i| !known(i)) {
            return Err(Error::invalid(format!("head `{}` has no label `{i}` to ignore", head.name)));
        }
        let labels = Labels::new(&head.labels, options.scheme.unwrap_or(head.scheme), &options.ignore);
        Ok(Tag { head, options, labels })
    }

    /// How texts are encoded.
    pub(super) fn encode_options(&self, model: &Model) -> EncodeOptions {
        EncodeOptions {
            max_length: self.most(model),
            truncation: self.options.truncation,
            ..EncodeOptions::default()
        }
    }

    /// The answer to what encoding `e` holds; `saw` gets what metrics may know of it.
    pub(super) fn answer(
        &self,
        input: &Input,
        e: &Encoding,
        rows: &[&[f32]],
        version: &str,
        saw: impl FnOnce(&Seen),
    ) -> Result<Tagged> {
        let mut decoder = Decoder::new(&self.labels, &self.head.labels, self.options.aggregation);
        self.feed(&mut decoder, e, 0..e.len(), rows, &input.bases())?;
        let entities = self.entities(decoder.finish(), input);
        saw(&Seen::of(e, None, &self.given(&entities)));
        Ok(Tagged {
            entities,
            token_count: e.len(),
            truncated: e.truncated.is_some(),
            model_version: version.to_string(),
        })
    }

    /// The longest input.
    fn most(&self, model: &Model) -> usize {
        let limits = [self.options.max_length, self.head.max_length];
        limits.into_iter().flatten().fold(model.info().max_length, usize::min)
    }

    /// Hands the tokens `range` of `e` to the decoder.
    fn feed(
        &self,
        decoder: &mut Decoder,
        e: &Encoding,
        range: std::ops::Range<usize>,
        rows: &[&[f32]],
        bases: &[usize],
    ) -> Result<()> {
        let row = rows.first().copied().unwrap_or_default();
        let n = self.head.labels.len();
        for i in range.filter(|&i| !e.special.get(i).copied().unwrap_or(true)) {
            let logits = row.get(i * n..(i + 1) * n).unwrap_or_default();
            if logits.is_empty() || logits.iter().any(|x| !x.is_finite()) {
                return Err(Error::new(
                    ErrorKind::OutOfRange,
                    format!(
                        "head `{}` gave a logit that is not finite: the model's weights overflow",
                        self.head.name
                    ),
                ));
            }
            let word = e.word_ids.get(i).copied().flatten().unwrap_or(0) as usize;
            let span = e.offsets.get(i).copied().unwrap_or_default();
            let base = bases.get(word).copied().unwrap_or(0);
            let bytes = Span::new(base.saturating_add(span.start), base.saturating_add(span.end));
            decoder.push(Place { bytes, word }, probabilities(logits, self.head.temperature, false));
        }
        Ok(())
    }

    fn entities(&self, found: Vec<Found>, input: &Input) -> Vec<Entity> {
        let joined;
        let (text, words) = match input {
            Input::Text(t) => (*t, false),
            Input::Words(w) => {
                joined = w.join(" ");
                (joined.as_str(), true)
            }
        };
        let least = self.options.threshold.unwrap_or(f32::NEG_INFINITY);
        let kept: Vec<Found> = found.into_iter().filter(|f| f.score >= least).collect();
        if kept.is_empty() {
            return vec![];
        }
        let map = SpanMapper::new(text);
        let mut entities: Vec<Entity> = Vec::with_capacity(kept.len());
        let mut kept = kept.into_iter().peekable();
        while let Some(f) = kept.next() {
            // A mark that the tokenizer dropped belongs to the letter before it.
            let limit = kept.peek().map_or(text.len(), |next| next.bytes.start);
            let bytes = f.bytes.with_marks(text, limit);
            entities.push(Entity {
                label: f.label,
                score: f.score,
                bytes,
                chars: map.chars(bytes),
                utf16: map.utf16(bytes),
                words: words.then(|| Span::new(f.words.0, f.words.1 + 1)),
            });
        }
        entities
    }

    /// For metrics: of each entity a label of the head, the first of its kind.
    fn given(&self, entities: &[Entity]) -> Vec<usize> {
        let of = |l: &String, kind: &str| l == kind || l.get(2..) == Some(kind);
        entities.iter().filter_map(|e| self.head.labels.iter().position(|l| of(l, &e.label))).collect()
    }
}

#[cfg(test)]
mod tests;
