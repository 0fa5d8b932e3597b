//! The vector of a text of any length.

use super::{EmbedOptions, Pooled, TextEmbedder, encode_options};
use crate::error::{Error, Result};
use crate::kernels::{self, with_default_float_env};
use crate::tasks::vector::Embedding;
use crate::tasks::window::{Long, LongOptions, Merger, WindowMerge, run_windows};
use crate::text::Window;

impl TextEmbedder {
    /// The vector of a text of any length: those of its windows, merged as `long.merge` says, and divided by the
    /// length if single vectors are. A prefix stands before the first window. `options.truncation` does not matter.
    ///
    /// # Errors
    /// Those of [`embed_with`](TextEmbedder::embed_with), and `InvalidArgument` for a vote and for windows that
    /// cannot be: see [`Tokenizer::windows`](crate::text::Tokenizer::windows).
    pub fn embed_long(&self, text: &str, options: &EmbedOptions, long: &LongOptions) -> Result<Embedding> {
        self.session.observe(1, |model, head| {
            let how = Pooled::new(model, head, options)?;
            let mut parts = Parts::new(&how, long.merge)?;
            let prefix = super::prefix(head, options);
            let joined;
            let text = match prefix {
                "" => text,
                p => {
                    joined = format!("{p}{text}");
                    joined.as_str()
                }
            };
            let whose = (head.name.as_str(), encode_options(model, head, options).max_length);
            let call = &options.call;
            let read = run_windows(model, whose, &[head.index], Long::Text(text), long, call, |w, rows| {
                parts.add(w, rows.first().copied().unwrap_or_default())
            })?;
            self.session.saw(&read.seen(None, &[]));
            parts.finish()
        })
    }
}

/// The vectors of a text's windows, merged as they come.
pub(in crate::tasks) struct Parts<'a> {
    how: &'a Pooled,
    merged: Merger,
}

impl<'a> Parts<'a> {
    /// # Errors
    /// `InvalidArgument` for a vote.
    pub(in crate::tasks) fn new(how: &'a Pooled, merge: WindowMerge) -> Result<Parts<'a>> {
        if merge == WindowMerge::Vote {
            return Err(Error::invalid("vectors cannot vote: merge windows by `mean`, `weighted` or `max`"));
        }
        Ok(Parts { how, merged: Merger::new(merge, how.channels) })
    }

    /// The rows of window `w`.
    pub(in crate::tasks) fn add(&mut self, w: &Window, rows: &[f32]) -> Result<()> {
        self.merged.add(self.how.pool(rows)?, w.own.len());
        Ok(())
    }

    /// The vector of the text.
    pub(in crate::tasks) fn finish(self) -> Result<Embedding> {
        let (how, mut v) = (self.how, self.merged.finish());
        if how.normalize && v.iter().all(|x| x.is_finite()) {
            with_default_float_env(|| kernels::l2_normalize(how.isa, &mut v, how.channels))?;
        }
        how.keep(v)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::VectorFormat;

    #[test]
    fn long_texts_have_the_mean_of_their_windows() {
        let e = TextEmbedder::open(concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny.pbert")).unwrap();
        let options = EmbedOptions::default();
        let short = "play some jazz";
        let one = e.embed_long(short, &options, &LongOptions::default()).unwrap();
        assert!((one.cosine(&e.embed(short).unwrap()).unwrap() - 1.0).abs() < 1e-6);
        // Two windows without overlap: 6 and 3 tokens.
        let text = "play book the weather in for add play book";
        let long = |merge| LongOptions { window: Some(8), stride: Some(6), merge, ..LongOptions::default() };
        let parts = ["play book the weather in for", "add play book"].map(|p| e.embed(p).unwrap().values());
        for (merge, weights) in [(WindowMerge::Weighted, [6.0, 3.0]), (WindowMerge::Mean, [1.0, 1.0])] {
            let got = e.embed_long(text, &options, &long(merge)).unwrap();
            let sum = |i: usize| weights[0] * f64::from(parts[0][i]) + weights[1] * f64::from(parts[1][i]);
            let norm = (0..parts[0].len()).map(|i| sum(i).powi(2)).sum::<f64>().sqrt();
            for (i, x) in got.values().iter().enumerate() {
                assert!((f64::from(*x) - sum(i) / norm).abs() < 1e-6);
            }
        }
        assert!(e.embed_long(text, &options, &long(WindowMerge::Vote)).is_err());
        let i8 = EmbedOptions { format: VectorFormat::I8, dims: Some(16), ..EmbedOptions::default() };
        assert_eq!(e.embed_long(text, &i8, &long(WindowMerge::Mean)).unwrap().dims(), 16);
    }
}
