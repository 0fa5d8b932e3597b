//! What is asked, as it stands in a golden file, and as options of the SDK.

use pocketbert::bundle::manifest::Pooling;
use pocketbert::kernels::Isa;
use pocketbert::tasks::{
    Aggregation, AnalyzeOptions, Centrality, LongOptions, SummaryOptions, TagScheme, WindowMerge,
};
use pocketbert::text::Truncation;
use pocketbert::{
    AnswerOptions, CallOptions, ClassifyOptions, EmbedOptions, Error, FillMaskOptions, RerankOptions, Result,
    Role, TagOptions, VectorFormat, ZeroShotOptions,
};
use serde::{Deserialize, Serialize};

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Unique in its file.
    pub id: String,
    /// `classify`, `tag`, `answer`, `summarize`, `embed`, `rerank`, `fill-mask`, `zero-shot` or `analyze`.
    pub task: String,
    /// The head; none: the default of the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<String>,
    /// Texts; of a reranking the documents.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub texts: Vec<String>,
    /// Pairs of texts; of an answer question and context.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pairs: Vec<[String; 2]>,
    /// Texts that are split into words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub words: Vec<Vec<String>>,
    /// Of a reranking.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// Of zero-shot.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// Those that are not the defaults.
    #[serde(default)]
    pub options: Options,
    /// The text is read in windows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub long: Option<Long>,
}

macro_rules! options {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        #[allow(missing_docs)]
        pub struct $name { $(#[serde(skip_serializing_if = "Option::is_none")] pub $field: Option<$type>,)* }
    };
}

options! {
    /// Options of all tasks, by the names that they have in Rust; words by the names of the command line.
    Options {
        top_k: usize,
        threshold: f32,
        allow: Vec<String>,
        deny: Vec<String>,
        multi_label: bool,
        truncation: String,
        max_length: usize,
        aggregation: String,
        scheme: String,
        ignore: Vec<String>,
        max_tokens: usize,
        whole_words: bool,
        no_answer: f32,
        sentences: usize,
        centrality: String,
        pooling: String,
        normalize: bool,
        dims: usize,
        format: String,
        role: String,
        prefix: String,
        targets: Vec<String>,
        template: String,
        heads: Vec<String>,
        question: String,
    }
}

options! {
    /// How a long text is read.
    Long {
        window: usize,
        stride: usize,
        merge: String,
    }
}

/// The one of `all` that is called `name`; without a name the default.
fn named<T: Copy + Default>(name: Option<&String>, all: &[(&str, T)]) -> Result<T> {
    let Some(name) = name else { return Ok(T::default()) };
    let found = all.iter().find(|(n, _)| n == name).map(|(_, t)| *t);
    found.ok_or_else(|| Error::invalid(format!("`{name}` is not known to the golden cases")))
}

impl Long {
    /// As the SDK has it.
    pub fn options(&self) -> Result<LongOptions> {
        let merge = named(self.merge.as_ref(), &WindowMerge::ALL)?;
        Ok(LongOptions { window: self.window, stride: self.stride, merge, progress: None })
    }
}

fn call(isa: Isa) -> CallOptions {
    CallOptions { kernel: Some(isa), ..CallOptions::default() }
}

impl Options {
    fn cut(&self) -> Result<Truncation> {
        let all = [
            ("head", Truncation::Head),
            ("tail", Truncation::Tail),
            ("head-tail", Truncation::HeadTail),
            ("refuse", Truncation::Refuse),
        ];
        named(self.truncation.as_ref(), &all)
    }

    pub(super) fn classify(&self, isa: Isa) -> Result<ClassifyOptions> {
        Ok(ClassifyOptions {
            top_k: self.top_k,
            threshold: self.threshold,
            allow: self.allow.clone().unwrap_or_default(),
            deny: self.deny.clone().unwrap_or_default(),
            multi_label: self.multi_label,
            truncation: self.cut()?,
            max_length: self.max_length,
            call: call(isa),
        })
    }

    pub(super) fn tag(&self, isa: Isa) -> Result<TagOptions> {
        let schemes = [
            ("bio", Some(TagScheme::Bio)),
            ("iob2", Some(TagScheme::Iob2)),
            ("bilou", Some(TagScheme::Bilou)),
            ("none", Some(TagScheme::None)),
        ];
        let default = TagOptions::default();
        Ok(TagOptions {
            aggregation: named(self.aggregation.as_ref(), &Aggregation::ALL)?,
            scheme: named(self.scheme.as_ref(), &schemes)?,
            ignore: self.ignore.clone().unwrap_or(default.ignore),
            threshold: self.threshold,
            truncation: self.cut()?,
            max_length: self.max_length,
            call: call(isa),
        })
    }

    pub(super) fn answer(&self, long: Option<&Long>, isa: Isa) -> Result<AnswerOptions> {
        let default = AnswerOptions::default();
        Ok(AnswerOptions {
            top_k: self.top_k.unwrap_or(default.top_k),
            max_tokens: self.max_tokens.unwrap_or(default.max_tokens),
            whole_words: self.whole_words.unwrap_or(default.whole_words),
            no_answer: self.no_answer,
            long: long.map_or(Ok(default.long), Long::options)?,
            call: call(isa),
        })
    }

    pub(super) fn summarize(&self, isa: Isa) -> Result<SummaryOptions> {
        let sentences = self.sentences.unwrap_or(SummaryOptions::default().sentences);
        let centrality = named(self.centrality.as_ref(), &Centrality::ALL)?;
        Ok(SummaryOptions { sentences, centrality, call: call(isa) })
    }

    pub(super) fn embed(&self, isa: Isa) -> Result<EmbedOptions> {
        let poolings =
            [("cls", Some(Pooling::Cls)), ("mean", Some(Pooling::Mean)), ("max", Some(Pooling::Max))];
        let roles = [("text", Role::Text), ("query", Role::Query), ("document", Role::Document)];
        Ok(EmbedOptions {
            pooling: named(self.pooling.as_ref(), &poolings)?,
            normalize: self.normalize,
            dims: self.dims,
            format: self.format.as_deref().map_or(Ok(VectorFormat::F32), VectorFormat::parse)?,
            role: named(self.role.as_ref(), &roles)?,
            prefix: self.prefix.clone(),
            truncation: self.cut()?,
            max_length: self.max_length,
            call: call(isa),
        })
    }

    pub(super) fn rerank(&self, isa: Isa) -> Result<RerankOptions> {
        let (top_k, truncation, max_length) = (self.top_k, self.cut()?, self.max_length);
        Ok(RerankOptions { top_k, truncation, max_length, call: call(isa) })
    }

    pub(super) fn fill_mask(&self, isa: Isa) -> Result<FillMaskOptions> {
        Ok(FillMaskOptions {
            top_k: self.top_k.unwrap_or(FillMaskOptions::default().top_k),
            targets: self.targets.clone().unwrap_or_default(),
            truncation: self.cut()?,
            max_length: self.max_length,
            call: call(isa),
        })
    }

    pub(super) fn zero_shot(&self, isa: Isa) -> Result<ZeroShotOptions> {
        Ok(ZeroShotOptions {
            template: self.template.clone().unwrap_or(ZeroShotOptions::default().template),
            multi_label: self.multi_label.unwrap_or(false),
            top_k: self.top_k,
            threshold: self.threshold,
            truncation: self.cut()?,
            max_length: self.max_length,
            call: call(isa),
        })
    }

    pub(super) fn analyze(&self, isa: Isa) -> Result<AnalyzeOptions> {
        Ok(AnalyzeOptions {
            heads: self.heads.clone().unwrap_or_default(),
            top_k: self.top_k,
            question: self.question.clone(),
            truncation: self.cut()?,
            max_length: self.max_length,
            call: call(isa),
        })
    }
}
