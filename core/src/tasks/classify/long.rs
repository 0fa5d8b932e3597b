//! Classifying a text of any length.

use super::{Classification, ClassifyOptions, Decoder, TextClassifier, encode_options};
use crate::error::Result;
use crate::metrics::Seen;
use crate::tasks::window::{Long, LongOptions, Merger, Read, WindowMerge, run_windows};
use crate::text::{Span, Window};

/// One window of a long text.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowLabel {
    /// Bytes of the text that the window shows.
    pub bytes: Span,
    /// Index of the most probable label.
    pub index: usize,
    /// Its probability (the value itself for a regression head).
    pub probability: f32,
}

impl TextClassifier {
    /// Classifies a text of any length by windows; `options.truncation` does not matter.
    ///
    /// Probabilities are merged as [`LongOptions::merge`] says, and then filtered as the options say. Logits are
    /// merged the same way (by the mean for a vote). `token_count` counts the text's tokens once, and no special
    /// tokens. Memory does not depend on the text's length.
    ///
    /// # Errors
    /// Those of [`classify_with`](TextClassifier::classify_with), and `InvalidArgument` for windows that cannot
    /// be: see [`Tokenizer::windows`](crate::text::Tokenizer::windows).
    pub fn classify_long(
        &self,
        text: &str,
        options: &ClassifyOptions,
        long: &LongOptions,
    ) -> Result<Classification> {
        self.classify_windows(text, options, long, |_| ())
    }

    /// [`classify_long`](TextClassifier::classify_long), which also hands the answer of each window to `each`:
    /// which part of a book is it that is spam?
    ///
    /// # Errors
    /// As [`classify_long`](TextClassifier::classify_long).
    pub fn classify_windows(
        &self,
        text: &str,
        options: &ClassifyOptions,
        long: &LongOptions,
        mut each: impl FnMut(WindowLabel),
    ) -> Result<Classification> {
        self.session.observe(1, |model, head| {
            let decoder = Decoder::new(model, head, options)?;
            let most = encode_options(model, head, options).max_length;
            let (whose, outputs, call) = ((head.name.as_str(), most), [head.index], &options.call);
            let mut parts = Parts::new(&decoder, long.merge);
            let read = run_windows(model, whose, &outputs, Long::Text(text), long, call, |w, rows| {
                each(parts.add(w, rows.first().copied().unwrap_or_default())?);
                Ok(())
            })?;
            Ok(parts.finish(&read, |seen| self.session.saw(seen)))
        })
    }
}

/// What the windows of a text say, merged as they come.
pub(in crate::tasks) struct Parts<'a> {
    decoder: &'a Decoder<'a>,
    vote: bool,
    merged: Merger,
    logits: Merger,
}

impl<'a> Parts<'a> {
    pub(in crate::tasks) fn new(decoder: &'a Decoder<'a>, merge: WindowMerge) -> Parts<'a> {
        let labels = decoder.head.labels.len();
        let vote = merge == WindowMerge::Vote;
        let logits = Merger::new(if vote { WindowMerge::Mean } else { merge }, labels);
        Parts { decoder, vote, merged: Merger::new(merge, labels), logits }
    }

    /// The logits of window `w`.
    pub(in crate::tasks) fn add(&mut self, w: &Window, row: &[f32]) -> Result<WindowLabel> {
        let Decoder { head, keep, .. } = self.decoder;
        let p = keep.probabilities(head, row)?;
        // Of equals the first, as everywhere.
        let top = (0..p.len()).rev().max_by(|&a, &b| p[a].total_cmp(&p[b])).unwrap_or(0);
        let probability = p.get(top).copied().unwrap_or(0.0);
        self.logits.add(row.iter().copied(), w.own.len());
        if self.vote && !keep.regression {
            let (_, given) = keep.judge(head, &p);
            self.merged.add((0..p.len()).map(|i| f32::from(u8::from(given.contains(&i)))), 1);
        } else {
            self.merged.add(p, w.own.len());
        }
        Ok(WindowLabel { bytes: w.span(), index: top, probability })
    }

    /// The answer to the text; `saw` gets what metrics may know of it.
    pub(in crate::tasks) fn finish(self, read: &Read, saw: impl FnOnce(&Seen)) -> Classification {
        let Decoder { head, keep, version } = self.decoder;
        let (p, logits) = (self.merged.finish(), self.logits.finish());
        let (confidence, given) = keep.judge(head, &p);
        saw(&read.seen(confidence, &given));
        Classification {
            labels: keep.pick(head, &p, &logits),
            logits,
            token_count: read.text_tokens,
            truncated: false,
            model_version: version.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cancel::CancelToken;
    use crate::error::ErrorKind;
    use crate::tasks::{CallOptions, Progress};
    use std::sync::{Arc, Mutex};

    fn tiny() -> TextClassifier {
        TextClassifier::open(concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny.pbert")).unwrap()
    }

    #[test]
    fn a_text_that_fits_has_its_usual_answer() {
        let c = tiny();
        let options = ClassifyOptions::default();
        for text in ["", "play some jazz", "will it rain in Zürich tomorrow 😀"] {
            let one = c.classify(text).unwrap();
            for (_, merge) in WindowMerge::ALL.into_iter().filter(|m| m.0 != "vote") {
                let long = LongOptions { merge, ..LongOptions::default() };
                let got = c.classify_long(text, &options, &long).unwrap();
                assert_eq!((&got.labels, &got.logits), (&one.labels, &one.logits), "{merge:?}");
                assert_eq!(got.token_count, one.token_count - 2);
            }
        }
    }

    #[test]
    fn windows_are_answered_like_texts_and_merged() {
        let c = tiny();
        // Words of one token each, so that windows are known texts.
        let words: Vec<&str> = ["play", "book", "the", "weather", "in", "for", "add"].repeat(9);
        let text = words.join(" ");
        let tokens = c.classify_long(&text, &ClassifyOptions::default(), &LongOptions::default()).unwrap();
        assert_eq!(tokens.token_count, words.len());
        let (window, stride) = (22, 13);
        let mut parts = vec![];
        let mut at = 0;
        loop {
            let end = (at + window - 2).min(words.len());
            parts.push(words[at..end].join(" "));
            if end == words.len() {
                break;
            }
            at += stride;
        }
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let singles = c.classify_batch(&parts).unwrap();
        let label =
            |i: usize, index: usize| singles[i].labels.iter().find(|l| l.index == index).unwrap().probability;
        for (name, merge) in WindowMerge::ALL {
            let long =
                LongOptions { window: Some(window), stride: Some(stride), merge, ..LongOptions::default() };
            let mut seen = vec![];
            let got =
                c.classify_windows(&text, &ClassifyOptions::default(), &long, |w| seen.push(w)).unwrap();
            assert_eq!(seen.len(), parts.len());
            for (w, (part, single)) in seen.iter().zip(parts.iter().zip(&singles)) {
                assert_eq!(w.bytes.of(&text), Some(*part));
                assert_eq!((w.index, w.probability), (single.labels[0].index, single.labels[0].probability));
            }
            for l in &got.labels {
                let each: Vec<f64> = (0..parts.len()).map(|i| label(i, l.index).into()).collect();
                let n = parts.len() as f64;
                let want = match name {
                    "mean" => each.iter().sum::<f64>() / n,
                    "max" => each.iter().copied().fold(0.0, f64::max),
                    "vote" => singles.iter().filter(|s| s.labels[0].index == l.index).count() as f64 / n,
                    _ => {
                        // 20 tokens a window, overlaps of 7 shared as 4 and 3.
                        let own = |i: usize| match i {
                            0 => 17,
                            i if i + 1 == parts.len() => words.len() - i * stride - 4,
                            _ => 13,
                        };
                        assert_eq!((0..parts.len()).map(own).sum::<usize>(), words.len());
                        (0..parts.len()).map(|i| own(i) as f64 * each[i]).sum::<f64>() / words.len() as f64
                    }
                };
                assert!((f64::from(l.probability) - want).abs() < 1e-6, "{name} {}: {want}", l.label);
            }
        }
    }

    #[test]
    fn progress_is_told_and_may_stop_the_call() {
        let c = tiny();
        let text = "will it rain tomorrow? ".repeat(300);
        let told = Arc::new(Mutex::new(vec![]));
        let cancel = CancelToken::new();
        let progress = Progress::new({
            let (told, cancel) = (told.clone(), cancel.clone());
            move |p| {
                told.lock().unwrap().push(p);
                if p.windows == 3 {
                    cancel.cancel();
                }
            }
        });
        let long = LongOptions { window: Some(64), progress: Some(progress), ..LongOptions::default() };
        let free = c.classify_long(&text, &ClassifyOptions::default(), &long).unwrap();
        let all = std::mem::take(&mut *told.lock().unwrap());
        assert!(all.len() > 10 && free.token_count > 1000);
        assert!(all.windows(2).all(|p| p[0].done < p[1].done && p[0].windows + 1 == p[1].windows));
        assert_eq!((all[all.len() - 1].done, all[0].total), (text.len(), text.len()));
        cancel.reset();
        let call = CallOptions { cancel: Some(cancel), ..CallOptions::default() };
        let options = ClassifyOptions { call, ..ClassifyOptions::default() };
        assert_eq!(c.classify_long(&text, &options, &long).unwrap_err().kind(), ErrorKind::Cancelled);
        assert_eq!(told.lock().unwrap().len(), 3);
    }

    #[test]
    fn windows_that_cannot_be_are_errors() {
        let c = tiny();
        for (window, stride, word) in [
            (Some(2), None, "no room"),
            (Some(20), Some(19), "skip"),
            (None, Some(0), "nowhere"),
            (Some(9999), None, "longer"),
        ] {
            let long = LongOptions { window, stride, ..LongOptions::default() };
            let e = c.classify_long("x", &ClassifyOptions::default(), &long).unwrap_err();
            assert_eq!(e.kind(), ErrorKind::InvalidArgument);
            assert!(e.message().contains(word), "{e}");
        }
    }
}
