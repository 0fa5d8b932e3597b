//! From tokens with probabilities to spans of the text.

use super::decode::{Decoder, Found, Labels, Place};
use super::{Entity, TagHead, TagOptions, Tagged};
use crate::error::{Error, ErrorKind, Result};
use crate::metrics::Seen;
use crate::model::Model;
use crate::tasks::score::probabilities;
use crate::text::{EncodeOptions, Encoding, Span, SpanMapper};

#[derive(Clone, Copy)]
pub(in crate::tasks) enum Input<'a> {
    Text(&'a str),
    Words(&'a [&'a str]),
}

impl Input<'_> {
    /// Where each word starts in the words joined by spaces; empty for a text.
    pub(super) fn bases(&self) -> Vec<usize> {
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
pub(in crate::tasks) struct Tag<'a> {
    head: &'a TagHead,
    options: &'a TagOptions,
    pub(super) labels: Labels,
}

impl<'a> Tag<'a> {
    pub(in crate::tasks) fn new(head: &'a TagHead, options: &'a TagOptions) -> Result<Tag<'a>> {
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
    pub(in crate::tasks) fn encode_options(&self, model: &Model) -> EncodeOptions {
        EncodeOptions {
            max_length: self.most(model),
            truncation: self.options.truncation,
            ..EncodeOptions::default()
        }
    }

    /// The answer to what encoding `e` holds; `saw` gets what metrics may know of it.
    pub(in crate::tasks) fn answer(
        &self,
        input: &Input,
        e: &Encoding,
        rows: &[&[f32]],
        version: &str,
        saw: impl FnOnce(&Seen),
    ) -> Result<Tagged> {
        let mut decoder = self.decoder();
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

    pub(super) fn decoder(&self) -> Decoder<'_> {
        Decoder::new(&self.labels, &self.head.labels, self.options.aggregation)
    }

    /// The longest input.
    pub(super) fn most(&self, model: &Model) -> usize {
        let limits = [self.options.max_length, self.head.max_length];
        limits.into_iter().flatten().fold(model.info().max_length, usize::min)
    }

    /// Hands the tokens `range` of `e` to the decoder.
    pub(super) fn feed(
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

    pub(super) fn entities(&self, found: Vec<Found>, input: &Input) -> Vec<Entity> {
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
    pub(super) fn given(&self, entities: &[Entity]) -> Vec<usize> {
        let of = |l: &String, kind: &str| l == kind || l.get(2..) == Some(kind);
        entities.iter().filter_map(|e| self.head.labels.iter().position(|l| of(l, &e.label))).collect()
    }
}
