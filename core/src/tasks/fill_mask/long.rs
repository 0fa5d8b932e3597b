//! Masks in a text of any length.

use super::decode::{Fill, Masked, no_mask, sureness, targets};
use super::{FillMaskOptions, FilledMask, MaskFill, MaskFiller};
use crate::error::{Error, Result};
use crate::metrics::Seen;
use crate::model::record::mask_places;
use crate::tasks::window::{Long, LongOptions};
use crate::text::{Span, Window};

impl MaskFiller {
    /// Fills the masks of a text of any length: each sees the window that shows most of its surroundings, and
    /// windows without a mask are not run at all. `long.merge` and `options.truncation` do not matter; a
    /// candidate's `filled` is the window's part of the text. `token_count` counts the text's tokens once, and no special tokens.
    ///
    /// ```
    /// use pocketbert::tasks::LongOptions;
    /// use pocketbert::{FillMaskOptions, MaskFiller};
    /// # fn main() -> pocketbert::Result<()> {
    /// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny.pbert");
    /// let filler = MaskFiller::open(path)?;
    /// let text = "play some jazz ".repeat(500) + "will it [MASK] in Paris";
    /// let answer = filler.fill_long(&text, &FillMaskOptions::default(), &LongOptions::default())?;
    /// assert_eq!(answer.masks.len(), 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`fill_with`](MaskFiller::fill_with), and `InvalidArgument` for windows that cannot be: see
    /// [`Tokenizer::windows`](crate::text::Tokenizer::windows).
    pub fn fill_long(&self, text: &str, options: &FillMaskOptions, long: &LongOptions) -> Result<MaskFill> {
        self.session.observe(1, |model, head| {
            options.call.check()?;
            let (stop, tokenizer) = (options.call.stop(), model.tokenizer()?);
            if options.top_k == 0 {
                return Err(Error::invalid("`top_k` is 0: ask for at least one candidate"));
            }
            let targets = targets(tokenizer, head, &options.targets)?;
            let limits = [options.max_length, head.max_length];
            let most = limits.into_iter().flatten().fold(model.info().max_length, usize::min);
            let whole = Long::Text(text);
            let windows = long.windows(model, &head.name, most, &whole)?;
            let (mut tokens, mut unknown, mut run_tokens) = (0, 0, 0);
            let masked = windows.filter_map(|w| {
                let told = |w: Window| long.report(w.index + 1, &w, &whole).map(|()| w);
                let w = match stop.check().and(w).and_then(told) {
                    Ok(w) => w,
                    Err(e) => return Some(Err(e)),
                };
                tokens = w.first + w.tokens.len();
                let own = w.encoding.ids.get(w.own.clone()).unwrap_or_default();
                unknown += own.iter().filter(|&&id| Some(id) == tokenizer.unk_id()).count();
                let owned = |p: &i64| usize::try_from(*p).is_ok_and(|p| w.own.contains(&p));
                let masks: Vec<i64> =
                    mask_places(tokenizer, &w.encoding.ids).into_iter().filter(owned).collect();
                if masks.is_empty() {
                    return None;
                }
                run_tokens += w.encoding.len();
                let shown = w.span();
                let start = if w.index == 0 { 0 } else { shown.start };
                let shown = Span::new(start, if w.last { text.len() } else { shown.end });
                Some(Ok(Masked { encoding: w.encoding, masks, shown }))
            });
            let mut filled: Vec<FilledMask> = vec![];
            let fill = Fill { model, head, tokenizer, targets, options };
            fill.run_each(masked, |seen, masks| {
                for m in masks {
                    filled.push(fill.answer(text, &seen, m?)?);
                }
                Ok(())
            })?;
            if filled.is_empty() {
                return Err(no_mask("the text", tokenizer)?);
            }
            let confidence = sureness(&filled);
            self.session.saw(&Seen {
                tokens: run_tokens,
                unknown,
                truncated: false,
                confidence,
                labels: &[],
            });
            Ok(MaskFill {
                masks: filled,
                token_count: tokens,
                truncated: false,
                model_version: model.info().version.clone(),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cancel::CancelToken;
    use crate::error::ErrorKind;
    use crate::tasks::{CallOptions, Progress};
    use std::sync::{Arc, Mutex};

    fn tiny() -> MaskFiller {
        MaskFiller::open(concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny.pbert")).unwrap()
    }

    #[test]
    fn masks_see_the_window_around_them() {
        let f = tiny();
        let (options, long) = (FillMaskOptions::default(), LongOptions::default());
        let short = "play some [MASK] music";
        assert_eq!(f.fill_long(short, &options, &long).unwrap().masks, f.fill(short).unwrap().masks);
        // Words of one token each, so that the windows are known texts: six tokens, three further each time.
        let text = "play book the weather in for add [MASK] book the weather in for add";
        let long = LongOptions { window: Some(8), stride: Some(3), ..LongOptions::default() };
        let got = f.fill_long(text, &options, &long).unwrap();
        assert_eq!((got.token_count, got.masks.len()), (14, 1));
        assert_eq!(got.masks[0].span.of(text), Some("[MASK]"));
        // The mask is in two windows; one of them owns it, and fills it as if it were the text.
        let alone = f.fill("weather in for add [MASK] book").unwrap().masks[0].candidates.clone();
        let other = f.fill("add [MASK] book the weather in").unwrap().masks[0].candidates.clone();
        assert!([alone, other].contains(&got.masks[0].candidates), "{:?}", got.masks[0].candidates);
    }

    #[test]
    fn every_mask_is_answered_once_and_windows_without_one_are_not_run() {
        let f = tiny();
        let told = Arc::new(Mutex::new(0));
        let progress = Progress::new({
            let told = told.clone();
            move |p| *told.lock().unwrap() = p.windows
        });
        let long = LongOptions { window: Some(32), progress: Some(progress), ..LongOptions::default() };
        let text = format!("{}[MASK] {}[MASK] end", "[MASK] jazz ".repeat(40), "play some jazz ".repeat(300));
        let got = f.fill_long(&text, &FillMaskOptions::default(), &long).unwrap();
        assert_eq!(got.masks.len(), 42);
        assert!(got.masks.windows(2).all(|m| m[0].span.end <= m[1].span.start));
        assert!(*told.lock().unwrap() > 60);
        let seen = f.metrics().snapshot().tokens.sum();
        assert!(seen < 600, "{seen} tokens were run");
    }

    #[test]
    fn no_mask_bad_windows_and_a_stop_are_errors() {
        let f = tiny();
        let options = FillMaskOptions::default();
        let kind = |text: &str, o: &FillMaskOptions, long: &LongOptions| {
            f.fill_long(text, o, long).unwrap_err().kind()
        };
        let default = LongOptions::default();
        assert_eq!(kind(&"no gap ".repeat(900), &options, &default), ErrorKind::InvalidArgument);
        let skip = LongOptions { window: Some(16), stride: Some(15), ..LongOptions::default() };
        assert_eq!(kind("[MASK]", &options, &skip), ErrorKind::InvalidArgument);
        let cancel = CancelToken::new();
        cancel.cancel();
        let call = CallOptions { cancel: Some(cancel), ..CallOptions::default() };
        let stopped = FillMaskOptions { call, ..FillMaskOptions::default() };
        assert_eq!(kind("[MASK]", &stopped, &default), ErrorKind::Cancelled);
    }
}
