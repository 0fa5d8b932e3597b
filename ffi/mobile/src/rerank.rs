//! Documents by a query.

use pocketbert::{RerankOptions as CoreOptions, Reranker as Core};

use crate::call::{CallOptions, TooLong, Windowing, count, opt_size, strs};
use crate::error::{Result, guard};
use crate::lazy::{Lazy, common_methods, core_task};

/// How to rank.
#[derive(Clone, Debug, uniffi::Record)]
pub struct RerankOptions {
    /// Keep the best; absent: all.
    pub top_k: Option<i32>,
    /// What to keep of a long text.
    pub too_long: TooLong,
    /// Most tokens.
    pub max_tokens: Option<i32>,
    /// How the call runs.
    pub call: CallOptions,
}

/// A document's place.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct Ranked {
    /// Its index among the documents.
    pub index: i32,
    /// How well it fits.
    pub score: f32,
}

impl RerankOptions {
    fn core(&self) -> pocketbert::Result<CoreOptions> {
        Ok(CoreOptions {
            top_k: opt_size("top_k", self.top_k)?,
            truncation: self.too_long.into(),
            max_length: opt_size("max_tokens", self.max_tokens)?,
            call: self.call.core()?,
        })
    }
}

fn places(ranked: &[pocketbert::tasks::Ranked]) -> Vec<Ranked> {
    ranked.iter().map(|r| Ranked { index: count(r.index), score: r.score }).collect()
}

core_task!(Core);

/// Ranks documents.
#[derive(Debug, uniffi::Object)]
pub struct Reranker(Lazy<Core>);

common_methods!(Reranker);

#[uniffi::export]
impl Reranker {
    /// The documents, the best first.
    pub fn rank(&self, query: String, documents: Vec<String>, options: RerankOptions) -> Result<Vec<Ranked>> {
        guard(|| Ok(places(&self.0.get()?.rank_with(&query, &strs(&documents), &options.core()?)?)))
    }

    /// Documents of any length, read in windows; the best first.
    pub fn rank_long(
        &self,
        query: String,
        documents: Vec<String>,
        options: RerankOptions,
        windows: Windowing,
    ) -> Result<Vec<Ranked>> {
        guard(|| {
            let (options, windows) = (options.core()?, windows.core()?);
            Ok(places(&self.0.get()?.rank_long(&query, &strs(&documents), &options, &windows)?))
        })
    }
}
