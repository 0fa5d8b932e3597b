//! Ranking documents of any length.

use super::{Ranked, RerankHead, RerankOptions, Reranker, best};
use crate::error::{Error, Result};
use crate::tasks::embed::{self, Pooled, Role};
use crate::tasks::window::{Long, LongOptions, Merger, Of, WindowMerge, run_windows_of_all};

impl Reranker {
    /// Ranks documents of any length: each is read in windows, every window is scored like a short document, and
    /// the scores are merged as `long.merge` says. Ask for [`WindowMerge::Max`] if a document is as good as its best
    /// passage, which is what a search wants; [`WindowMerge::Mean`] and the default, `Weighted`, judge it as a whole.
    ///
    /// By vectors a score is the cosine of the query's vector and the window's. A pair head reads the query with each
    /// window. A bundle's document prefix stands before the first window. Documents that fit have, whatever the
    /// merge, the score that [`rank_with`](Self::rank_with) gives them, bit for bit. Windows of several documents
    /// are packed into runs; progress counts the windows and bytes of all of them. `options.truncation` says what to
    /// keep of the query only.
    ///
    /// ```
    /// use pocketbert::tasks::{LongOptions, RerankOptions, Reranker, WindowMerge};
    /// # fn main() -> pocketbert::Result<()> {
    /// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny.pbert");
    /// let ranker = Reranker::open(path)?;
    /// let music = "add this song to my playlist. ".repeat(40);
    /// let both = format!("{music} will it rain in Paris tomorrow? {music}");
    /// let long = LongOptions { window: Some(32), merge: WindowMerge::Max, ..LongOptions::default() };
    /// let best = ranker.rank_long("is it going to rain", &[&music, &both], &RerankOptions::default(), &long)?;
    /// assert_eq!(best[0].index, 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`rank_with`](Self::rank_with); `InvalidArgument` for a vote, for a query that leaves a pair head no
    /// room, and for windows that cannot be: see [`Tokenizer::windows`](crate::text::Tokenizer::windows).
    pub fn rank_long(
        &self,
        query: &str,
        documents: &[&str],
        options: &RerankOptions,
        long: &LongOptions,
    ) -> Result<Vec<Ranked>> {
        options.check()?;
        if long.merge == WindowMerge::Vote {
            return Err(Error::invalid("scores cannot vote: merge windows by `max`, `mean` or `weighted`"));
        }
        self.session.observe(documents.len(), |model, head| {
            let mut merged: Vec<Merger> = documents.iter().map(|_| Merger::new(long.merge, 1)).collect();
            let mut add = |of: &Of, score: f32| {
                if let Some(m) = merged.get_mut(of.text) {
                    m.add([score], of.window.own.len());
                }
            };
            let call = &options.call;
            let read = match head {
                RerankHead::Embedding(h) => {
                    let query = self.query(model, h, query, options)?;
                    let embed = options.embed(Role::Document);
                    let how = Pooled::new(model, h, &embed)?;
                    let prefix = embed::prefix(h, &embed);
                    let joined: Vec<String> = match prefix {
                        "" => vec![],
                        p => documents.iter().map(|d| format!("{p}{d}")).collect(),
                    };
                    let texts: Vec<Long> = match prefix {
                        "" => documents.iter().map(|d| Long::Text(d)).collect(),
                        _ => joined.iter().map(|d| Long::Text(d)).collect(),
                    };
                    let whose = (h.name.as_str(), embed::encode_options(model, h, &embed).max_length);
                    run_windows_of_all(model, whose, &[h.index], &texts, long, call, |of, rows| {
                        let vector = how.vector(rows.first().copied().unwrap_or_default())?;
                        add(of, query.cosine(&vector)?);
                        Ok(())
                    })?
                }
                RerankHead::Pair(p) => {
                    let texts: Vec<Long> = documents.iter().map(|d| Long::Pair(query, d)).collect();
                    let whose = (p.name.as_str(), p.most(model, options));
                    run_windows_of_all(model, whose, &[p.index], &texts, long, call, |of, rows| {
                        add(of, p.score(rows.first().copied().unwrap_or_default())?);
                        Ok(())
                    })?
                }
            };
            for r in &read {
                self.session.saw(&r.seen(None, &[]));
            }
            let score =
                |(index, m): (usize, Merger)| Some(Ranked { index, score: m.finish().first().copied()? });
            let ranked = merged.into_iter().enumerate().filter_map(score).collect();
            Ok(best(ranked, options.top_k.unwrap_or(usize::MAX)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cancel::CancelToken;
    use crate::error::ErrorKind;
    use crate::model::{Model, OpenOptions};
    use crate::tasks::{CallOptions, LongProgress, Progress};
    use std::sync::{Arc, Mutex};

    const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny.pbert");
    const QUERY: &str = "will it rain tomorrow";

    fn rankers() -> [Reranker; 2] {
        let model = Arc::new(Model::open(TINY, &OpenOptions::default()).unwrap());
        [None, Some("entail")].map(|head| Reranker::from_model(model.clone(), head).unwrap())
    }

    /// Words of one token each, so that windows are known texts.
    fn words(n: usize) -> Vec<&'static str> {
        let all = ["play", "book", "the", "weather", "in", "for", "add"];
        (0..n).map(|i| all[i * i % 7]).collect()
    }

    fn score(ranked: &[Ranked], index: usize) -> f32 {
        ranked.iter().find(|r| r.index == index).unwrap().score
    }

    #[test]
    fn documents_have_the_merged_scores_of_their_windows() {
        let options = RerankOptions::default();
        let (room, stride) = (20, 13);
        for (r, specials) in rankers().iter().zip([2, 3]) {
            let model = r.model().unwrap();
            let query = match r.head().unwrap() {
                RerankHead::Pair(_) => {
                    model.tokenizer().unwrap().encode(QUERY, None, &Default::default()).unwrap().len() - 2
                }
                RerankHead::Embedding(_) => 0,
            };
            let documents = [words(55).join(" "), "add this song".to_string(), words(47).join(" ")];
            let refs: Vec<&str> = documents.iter().map(String::as_str).collect();
            for merge in [WindowMerge::Max, WindowMerge::Mean, WindowMerge::Weighted] {
                let long = LongOptions {
                    window: Some(room + specials + query),
                    stride: Some(stride),
                    merge,
                    ..LongOptions::default()
                };
                let got = r.rank_long(QUERY, &refs, &options, &long).unwrap();
                assert!(
                    got.is_sorted_by(|a, b| a.score > b.score || (a.score == b.score && a.index < b.index))
                );
                for (i, d) in refs.iter().enumerate() {
                    let all: Vec<&str> = d.split(' ').collect();
                    let starts =
                        (0..).step_by(stride).take_while(|s| *s == 0 || s + room - stride < all.len());
                    let parts: Vec<String> =
                        starts.map(|s| all[s..all.len().min(s + room)].join(" ")).collect();
                    let n = parts.len();
                    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
                    let each = r.rank(QUERY, &parts).unwrap();
                    let each: Vec<f64> = (0..n).map(|p| score(&each, p).into()).collect();
                    let own = |p: usize| match p {
                        0 if n == 1 => all.len(),
                        // Overlaps of 7 are shared as 4 and 3.
                        0 => stride + 4,
                        p if p + 1 == n => all.len() - p * stride - 4,
                        _ => stride,
                    };
                    assert_eq!((0..n).map(own).sum::<usize>(), all.len());
                    let want = match merge {
                        WindowMerge::Max => each.iter().copied().fold(f64::MIN, f64::max),
                        WindowMerge::Mean => each.iter().sum::<f64>() / n as f64,
                        _ => (0..n).map(|p| own(p) as f64 * each[p]).sum::<f64>() / all.len() as f64,
                    };
                    assert_eq!(score(&got, i), want as f32, "document {i}, {merge:?}");
                    // In company as alone.
                    assert_eq!(r.rank_long(QUERY, &[d], &options, &long).unwrap()[0].score, score(&got, i));
                }
            }
            // What fits is ranked as usual.
            let short = ["add this song", "", "book a table for two in Zürich 😀"];
            let long = LongOptions { merge: WindowMerge::Max, ..LongOptions::default() };
            assert_eq!(r.rank_long(QUERY, &short, &options, &long).unwrap(), r.rank(QUERY, &short).unwrap());
            assert!(r.rank_long(QUERY, &[], &options, &long).unwrap().is_empty());
        }
    }

    #[test]
    fn progress_runs_over_all_documents_and_may_stop_the_call() {
        for r in rankers() {
            let documents = [words(200).join(" "), "add".into(), words(90).join(" ")];
            let refs: Vec<&str> = documents.iter().map(String::as_str).collect();
            let total: usize = refs.iter().map(|d| d.len()).sum();
            let told = Arc::new(Mutex::new(vec![]));
            let cancel = CancelToken::new();
            let progress = Progress::new({
                let (told, cancel) = (told.clone(), cancel.clone());
                move |p: LongProgress| {
                    told.lock().unwrap().push(p);
                    if p.windows == 3 {
                        cancel.cancel();
                    }
                }
            });
            let long = LongOptions { window: Some(24), progress: Some(progress), ..LongOptions::default() };
            r.rank_long(QUERY, &refs, &RerankOptions::default(), &long).unwrap();
            let all = std::mem::take(&mut *told.lock().unwrap());
            assert!(all.windows(2).all(|p| p[0].done < p[1].done && p[0].windows + 1 == p[1].windows));
            assert!(all.iter().all(|p| p.total == total) && all.last().unwrap().done == total);
            cancel.reset();
            let call = CallOptions { cancel: Some(cancel), ..CallOptions::default() };
            let options = RerankOptions { call, ..RerankOptions::default() };
            let e = r.rank_long(QUERY, &refs, &options, &long).unwrap_err();
            assert_eq!((e.kind(), told.lock().unwrap().len()), (ErrorKind::Cancelled, 3));
        }
    }

    #[test]
    fn what_cannot_be_is_told() {
        for r in rankers() {
            let error = |options: &RerankOptions, long: &LongOptions| {
                let e = r.rank_long(QUERY, &["x"], options, long).unwrap_err();
                assert_eq!(e.kind(), ErrorKind::InvalidArgument, "{e}");
                e.message().to_string()
            };
            let (options, default) = (RerankOptions::default(), LongOptions::default());
            assert!(
                error(&options, &LongOptions { merge: WindowMerge::Vote, ..default.clone() })
                    .contains("vote")
            );
            assert!(error(&options, &LongOptions { window: Some(2), ..default.clone() }).contains("room"));
            assert!(
                error(&options, &LongOptions { window: Some(9999), ..default.clone() }).contains("longer")
            );
            let none = RerankOptions { top_k: Some(0), ..RerankOptions::default() };
            assert!(error(&none, &default).contains("top_k"));
        }
    }
}
