//! Labels of your own for a text of any length.

use std::borrow::Borrow;
use std::rc::Rc;

use super::{ZeroShot, ZeroShotClassifier, ZeroShotOptions, chosen, judged, sentences};
use crate::error::{Error, Result};
use crate::metrics::Seen;
use crate::tasks::session::run_stream;
use crate::tasks::window::{Long, LongOptions, Merger, TOKENS_PER_LONG_RUN, WindowMerge};
use crate::text::{Encoding, Window};

/// A window with one label's sentence.
struct Pair {
    window: Rc<Window>,
    encoding: Encoding,
}

impl Borrow<Encoding> for Pair {
    fn borrow(&self) -> &Encoding {
        &self.encoding
    }
}

impl ZeroShotClassifier {
    /// Which of `labels` fit a text of any length. It is read in windows, the same ones for every label (they have
    /// room for the longest label's sentence); each is judged like a short text, and the labels' probabilities are
    /// merged as [`LongOptions::merge`] says. Scores are merged the same way (by the mean for a vote).
    /// `options.truncation` does not matter.
    ///
    /// ```
    /// use pocketbert::tasks::LongOptions;
    /// use pocketbert::{ZeroShotClassifier, ZeroShotOptions};
    /// # fn main() -> pocketbert::Result<()> {
    /// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny.pbert");
    /// let classifier = ZeroShotClassifier::open(path)?;
    /// let text = "will it rain tomorrow in Paris? ".repeat(100);
    /// let (options, long) = (ZeroShotOptions::default(), LongOptions::default());
    /// let answer = classifier.classify_long(&text, &["get weather", "play music"], &options, &long)?;
    /// assert_eq!(answer.top().unwrap().label, "get weather");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`classify_with`](ZeroShotClassifier::classify_with), and `InvalidArgument` for windows that cannot
    /// be: see [`Tokenizer::windows`](crate::text::Tokenizer::windows).
    pub fn classify_long(
        &self,
        text: &str,
        labels: &[&str],
        options: &ZeroShotOptions,
        long: &LongOptions,
    ) -> Result<ZeroShot> {
        self.session.observe(1, |model, head| {
            let sentences = sentences(labels, options)?;
            let limits = [options.max_length, head.max_length];
            let most = limits.into_iter().flatten().fold(model.info().max_length, usize::min);
            let (stop, tokenizer) = (options.call.stop(), model.tokenizer()?);
            let afters = tokenizer.afters(sentences.iter().map(String::as_str), most)?;
            let whole = Long::Before(text, &afters);
            let windows = long.windows(model, &head.name, most, &whole)?;
            let pairs = windows.flat_map(|w| {
                let (window, error) = match stop.check().and(w) {
                    Ok(w) => (Some(Rc::new(w)), None),
                    Err(e) => (None, Some(Err(e))),
                };
                let pairs = window.into_iter().flat_map(|window| {
                    let afters = &afters;
                    (0..labels.len()).map(move |i| {
                        let encoding = tokenizer.beside(&window, afters, i)?;
                        Ok(Pair { window: window.clone(), encoding })
                    })
                });
                error.into_iter().chain(pairs).collect::<Vec<_>>()
            });
            let vote = long.merge == WindowMerge::Vote;
            let mut merged = Merger::new(long.merge, labels.len());
            let mut logits = Merger::new(if vote { WindowMerge::Mean } else { long.merge }, 2 * labels.len());
            let mut scores: Vec<[f32; 2]> = Vec::with_capacity(labels.len());
            let (mut windows, mut unknown, mut tokens) = (0, 0, 0);
            run_stream(
                model,
                &[head.index],
                pairs,
                &options.call,
                TOKENS_PER_LONG_RUN,
                |pair: Pair, rows| {
                    scores.push(head.pair(rows.first().copied().unwrap_or_default())?);
                    tokens += pair.encoding.len();
                    if scores.len() < labels.len() {
                        return Ok(());
                    }
                    let w = &pair.window;
                    let p = judged(&scores, head.temperature, options);
                    logits.add(scores.drain(..).flatten(), w.own.len());
                    match vote {
                        true => merged.add(votes(&p, options), 1),
                        false => merged.add(p, w.own.len()),
                    }
                    windows += 1;
                    let own = w.encoding.ids.get(w.own.clone()).unwrap_or_default();
                    unknown += own.iter().filter(|&&id| Some(id) == tokenizer.unk_id()).count();
                    long.report(windows, w, &whole)?;
                    stop.check()
                },
            )?;
            if windows == 0 {
                return Err(Error::internal("a text without a window"));
            }
            let (p, logits) = (merged.finish(), logits.finish());
            let scores: Vec<[f32; 2]> = logits.as_chunks().0.to_vec();
            let labels = chosen(labels, &scores, &p, options);
            let confidence = labels.first().map(|l| l.probability);
            self.session.saw(&Seen { tokens, unknown, truncated: false, confidence, labels: &[] });
            Ok(ZeroShot { labels, truncated: false, model_version: model.info().version.clone() })
        })
    }
}

/// 1 for the labels that win a window: the best, or each that passes by itself.
fn votes(p: &[f32], o: &ZeroShotOptions) -> Vec<f32> {
    if o.multi_label || p.len() == 1 {
        let least = o.threshold.unwrap_or(0.5);
        return p.iter().map(|&p| f32::from(u8::from(p >= least))).collect();
    }
    // Of equals the first, as everywhere.
    let top = (0..p.len()).rev().max_by(|&a, &b| p[a].total_cmp(&p[b]));
    (0..p.len()).map(|i| f32::from(u8::from(Some(i) == top))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cancel::CancelToken;
    use crate::error::ErrorKind;
    use crate::tasks::{CallOptions, Progress};
    use std::sync::{Arc, Mutex};

    const LABELS: [&str; 3] = ["music", "weather forecasts for cities", "restaurants"];

    fn tiny() -> ZeroShotClassifier {
        ZeroShotClassifier::open(concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny.pbert")).unwrap()
    }

    #[test]
    fn a_text_that_fits_has_its_usual_answer() {
        let c = tiny();
        for text in ["", "play some jazz", "will it rain in Zürich tomorrow 😀"] {
            for multi_label in [false, true] {
                let options = ZeroShotOptions { multi_label, ..ZeroShotOptions::default() };
                let one = c.classify_with(text, &LABELS, &options).unwrap();
                for (_, merge) in WindowMerge::ALL.into_iter().filter(|m| m.0 != "vote") {
                    let long = LongOptions { merge, ..LongOptions::default() };
                    assert_eq!(c.classify_long(text, &LABELS, &options, &long).unwrap(), one, "{merge:?}");
                }
            }
        }
    }

    #[test]
    fn windows_are_judged_like_texts_and_merged() {
        let c = tiny();
        // Words of one token each, so that windows are known texts: six and three tokens, without overlap.
        let text = "play book the weather in for add play book";
        let parts = ["play book the weather in for", "add play book"];
        let tokenizer = c.model().unwrap().tokenizer().unwrap();
        let sentence = |l: &str| super::super::TEMPLATE.replace("{}", l);
        let longest = LABELS.iter().map(|l| {
            let e = tokenizer.encode(&sentence(l), None, &Default::default()).unwrap();
            e.len() - 2
        });
        let window = longest.max().unwrap() + 3 + 6;
        let singles = parts.map(|p| c.classify(p, &LABELS).unwrap());
        let of = |a: &ZeroShot, i: usize| a.labels.iter().find(|l| l.index == i).unwrap().clone();
        for (name, merge) in WindowMerge::ALL {
            let long = LongOptions { window: Some(window), stride: Some(6), merge, ..LongOptions::default() };
            let got = c.classify_long(text, &LABELS, &ZeroShotOptions::default(), &long).unwrap();
            for i in 0..LABELS.len() {
                let [a, b] = [of(&singles[0], i), of(&singles[1], i)];
                let merge = |a: f32, b: f32| match name {
                    "max" => a.max(b),
                    "weighted" => (6.0 * a + 3.0 * b) / 9.0,
                    _ => (a + b) / 2.0,
                };
                let wins = singles.iter().filter(|s| s.labels[0].index == i).count();
                let want = match name {
                    "vote" => wins as f32 / 2.0,
                    _ => merge(a.probability, b.probability),
                };
                let found = of(&got, i);
                assert!((found.probability - want).abs() < 1e-6, "{name} {i}");
                assert!((found.entailment - merge(a.entailment, b.entailment)).abs() < 1e-5, "{name} {i}");
            }
        }
    }

    #[test]
    fn progress_is_told_and_a_stop_and_bad_windows_are_errors() {
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
        let free = ZeroShotOptions::default();
        c.classify_long(&text, &LABELS, &free, &long).unwrap();
        let all = std::mem::take(&mut *told.lock().unwrap());
        assert!(all.len() > 10 && all.windows(2).all(|p| p[0].done < p[1].done));
        assert_eq!(all[all.len() - 1].done, text.len());
        cancel.reset();
        let call = CallOptions { cancel: Some(cancel), ..CallOptions::default() };
        let options = ZeroShotOptions { call, ..ZeroShotOptions::default() };
        let e = c.classify_long(&text, &LABELS, &options, &long).unwrap_err();
        assert_eq!((e.kind(), told.lock().unwrap().len()), (ErrorKind::Cancelled, 3));
        for (window, stride, word) in
            [(Some(8), None, "label's sentence"), (Some(64), Some(60), "skip"), (Some(9999), None, "longer")]
        {
            let long = LongOptions { window, stride, ..LongOptions::default() };
            let e = c.classify_long("x", &LABELS, &free, &long).unwrap_err();
            assert!(e.kind() == ErrorKind::InvalidArgument && e.message().contains(word), "{e}");
        }
    }
}
