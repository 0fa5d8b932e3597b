//! Runs over the masks of texts, and from scores to candidates.

use super::{Candidate, FillMaskHead, FillMaskOptions, FilledMask};
use crate::error::{Error, ErrorKind, Result};
use crate::kernels::{Isa, math, with_default_float_env};
use crate::model::{Batch, Model, RunOptions};
use crate::tasks::observe::StageClock;
use crate::tasks::session::TOKENS_PER_RUN;
use crate::text::{Encoding, Span, Tokenizer};

/// Scores that one run computes at most (64 MiB), where texts can be split over runs.
const VALUES_PER_RUN: usize = 1 << 24;

/// What one mask, or several, are seen with.
pub(super) struct Masked {
    pub encoding: Encoding,
    /// Tokens of it that are masks to be filled.
    pub masks: Vec<i64>,
    /// The bytes of the text to show with a candidate in place.
    pub shown: Span,
}

/// A call: what every one of its runs needs.
pub(super) struct Fill<'a> {
    pub model: &'a Model,
    pub head: &'a FillMaskHead,
    pub tokenizer: &'a Tokenizer,
    /// Ids to choose from; none: all.
    pub targets: Vec<u32>,
    pub options: &'a FillMaskOptions,
}

impl Fill<'_> {
    /// Runs the head on `items`, several in one run where they are short; `sink` gets each, in order, with the place
    /// and the scores of each of its masks.
    ///
    /// # Errors
    /// Those of `items`, [`Plan::run`](crate::model::Plan::run) and `sink`.
    pub(super) fn run_each(
        &self,
        items: impl Iterator<Item = Result<Masked>>,
        mut sink: impl FnMut(Masked, &mut dyn Iterator<Item = Result<(i64, &[f32])>>) -> Result<()>,
    ) -> Result<()> {
        let (head, stop) = (self.head, self.options.call.stop());
        let mut items = items.peekable();
        while items.peek().is_some() {
            stop.check()?;
            let mut batch = Batch::new();
            let (mut picks, mut rows, mut held) = (vec![], 0, vec![]);
            while let Some(item) = items.next_if(|item| match item {
                Ok(Masked { encoding: e, masks, .. }) => {
                    let more = if head.picked { masks.len() } else { e.len() };
                    let full = batch.ids.len() + e.len() > TOKENS_PER_RUN
                        || (rows + more).saturating_mul(head.vocab) > VALUES_PER_RUN;
                    held.is_empty() || !full
                }
                Err(_) => true,
            }) {
                let item = item?;
                let Masked { encoding: e, masks, .. } = &item;
                rows += if head.picked { masks.len() } else { e.len() };
                let first = batch.ids.len() as i64;
                picks.extend(masks.iter().map(|m| first + m));
                let types: Vec<i64> = e.type_ids.iter().map(|&t| i64::from(t)).collect();
                batch.push(e.ids.iter().map(|&i| i64::from(i)), Some(&types), None);
                held.push(item);
            }
            batch.picks = Some(picks);
            let run = RunOptions {
                isa: self.options.call.kernel.unwrap_or_else(Isa::best),
                threads: self.options.call.threads.max(1),
                stop: stop.clone(),
                stats: None,
            };
            let mut clock = StageClock::start();
            let outputs = self.model.plan().run(&batch, &[head.index], run)?;
            clock.ran();
            let output = outputs.first().ok_or_else(|| Error::internal("a run without an output"))?;
            let picks = batch.picks.unwrap_or_default();
            // The row of each mask: its place among the picks, or its token.
            let mut rows = picks.iter().enumerate().map(|(i, &p)| if head.picked { i } else { p as usize });
            for item in held {
                let masks = item.masks.clone();
                let mut scores = masks.into_iter().map(|m| {
                    let row = rows.next().and_then(|r| output.data.chunks_exact(head.vocab).nth(r));
                    row.map(|row| (m, row)).ok_or_else(|| Error::internal("fewer rows than masks"))
                });
                sink(item, &mut scores)?;
            }
            clock.decoded();
        }
        Ok(())
    }

    /// The answer for the mask at token `place` of `seen`, whose offsets count in `text`.
    pub(super) fn answer(
        &self,
        text: &str,
        seen: &Masked,
        (place, row): (i64, &[f32]),
    ) -> Result<FilledMask> {
        let span = seen.encoding.offsets.get(place as usize).copied().unwrap_or_default();
        let (shown, start) = (seen.shown.of(text).unwrap_or_default(), seen.shown.start);
        let within = Span::new(span.start.saturating_sub(start), span.end.saturating_sub(start));
        Ok(FilledMask { span, candidates: self.candidates(row, shown, within)? })
    }

    fn candidates(&self, logits: &[f32], text: &str, span: Span) -> Result<Vec<Candidate>> {
        let (head, tokenizer, top_k) = (self.head, self.tokenizer, self.options.top_k);
        let mut max = f32::NEG_INFINITY;
        for &x in logits {
            if !x.is_finite() {
                return Err(Error::new(
                    ErrorKind::OutOfRange,
                    format!(
                        "head `{}` gave a score that is not finite: the model's weights overflow",
                        head.name
                    ),
                ));
            }
            max = max.max(x);
        }
        let mut best: Vec<u32> = match &self.targets[..] {
            [] => (0..logits.len() as u32).filter(|&id| tokenizer.token(id).is_some()).collect(),
            t => t.to_vec(),
        };
        let order = |a: &u32, b: &u32| {
            let at = |id: &u32| logits.get(*id as usize).copied().unwrap_or(f32::NEG_INFINITY);
            at(b).total_cmp(&at(a)).then(a.cmp(b))
        };
        if best.len() > top_k {
            best.select_nth_unstable_by(top_k, order);
            best.truncate(top_k);
        }
        best.sort_by(order);
        best.dedup();
        // Exponentials in f32 by our own function, summed in f64 from the first to the last: 30,000 addends in f32 would
        // cost two digits.
        let exp = |x: f32| math::exp((x - max) / head.temperature);
        let sum: f64 = with_default_float_env(|| logits.iter().map(|&x| f64::from(exp(x))).sum());
        let one = |id: u32| {
            let logit = logits.get(id as usize).copied().unwrap_or(f32::NEG_INFINITY);
            let probability = with_default_float_env(|| (f64::from(exp(logit)) / sum) as f32);
            let token = tokenizer.token(id).unwrap_or_default();
            Candidate { filled: fill(text, span, &token), token, id, probability, logit }
        };
        Ok(best.into_iter().map(one).collect())
    }
}

/// How sure a text's answer is, for metrics: the best candidate of its first mask.
pub(super) fn sureness(filled: &[FilledMask]) -> Option<f32> {
    filled.first().and_then(|m| Some(m.candidates.first()?.probability))
}

/// That `which` has nothing to fill.
pub(super) fn no_mask(which: &str, tokenizer: &Tokenizer) -> Result<Error> {
    let mask = mask_token(tokenizer)?;
    Ok(Error::invalid(format!("{which} has no mask: write `{mask}` where a token is missing")))
}

/// What stands for a missing token.
pub(super) fn mask_token(t: &Tokenizer) -> Result<String> {
    t.mask_id()
        .and_then(|id| t.token(id))
        .ok_or_else(|| Error::internal("the mask token was checked to exist"))
}

/// The ids of the targets.
pub(super) fn targets(t: &Tokenizer, head: &FillMaskHead, wanted: &[String]) -> Result<Vec<u32>> {
    let id = |w: &String| {
        t.token_id(w).filter(|&id| (id as usize) < head.vocab).ok_or_else(|| {
            Error::invalid(format!(
                "target `{w}` is no token of the vocabulary: `tokenize` shows how a word is split"
            ))
        })
    };
    wanted.iter().map(id).collect()
}

/// `text` with `token` in place of `span`; what WordPiece marks as going on a word is joined to it.
pub(super) fn fill(text: &str, span: Span, token: &str) -> String {
    let before = text.get(..span.start).unwrap_or_default();
    let after = text.get(span.end..).unwrap_or_default();
    match token.strip_prefix("##") {
        Some(rest) => format!("{}{rest}{after}", before.trim_end()),
        // Byte-level BPE writes a space before a word as `Ġ`, SentencePiece as `▁`.
        None => format!("{before}{}{after}", token.trim_start_matches(['Ġ', '▁'])),
    }
}
