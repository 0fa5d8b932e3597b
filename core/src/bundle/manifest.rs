//! The manifest: what a bundle is, what its heads mean, and the hashes of its entries.
//!
//! These are plain data; `check.rs` holds the rules that they must keep. A reader ignores fields it
//! does not know. What it must not ignore is announced in [`Manifest::features`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::json::{JsonText, unique_map};

/// The manifest's entry, always the first.
pub const MANIFEST: &str = "manifest.json";
/// The one version of the format.
pub const FORMAT_VERSION: u32 = 1;
/// Features that this reader knows; version 1.0 of the format has none.
pub const FEATURES: &[&str] = &[];

/// `manifest.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Always [`FORMAT_VERSION`].
    pub format_version: u32,
    /// Names of what a reader must understand to read this bundle rightly; an unknown one refuses the bundle.
    #[serde(default)]
    pub features: Vec<String>,
    /// Whose model this is.
    pub model: ModelCard,
    /// Where the ONNX graph is.
    pub graph: EntryRef,
    /// Where the weights are: the graph's external data.
    pub weights: EntryRef,
    /// Where the tokenizer is, and how long inputs may be.
    pub tokenizer: TokenizerRef,
    /// What the model can do: at least one head, names unique.
    pub heads: Vec<Head>,
    /// The head that is used when none is named; without it, the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_head: Option<String>,
    /// Hash and size of every entry but the manifest, by name. [`super::BundleWriter`] fills it.
    #[serde(default, deserialize_with = "unique_map")]
    pub entries: BTreeMap<String, EntryInfo>,
    /// Ranges of the activations at calibration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation_ranges: Option<JsonText>,
    /// Statistics of the answers on the validation data, to notice drift in the field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift_baseline: Option<JsonText>,
    /// How the int8 model compared with its FP32 original.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<JsonText>,
    /// SHA-256 over the constants of the graph, node by node, as the operators read them
    /// ([`crate::model::constants_sha256`]): a second witness of the weights, which a changed entry with a
    /// renewed hash does not satisfy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub constants_sha256: Option<String>,
    /// Texts with their ids and the bits of their outputs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub self_test: Vec<SelfTest>,
}

impl Manifest {
    /// The head named `name`, or without a name the default head.
    pub fn head(&self, name: Option<&str>) -> Option<&Head> {
        match name.or(self.default_head.as_deref()) {
            Some(name) => self.heads.iter().find(|h| h.name == name),
            None => self.heads.first(),
        }
    }
}

/// The model's name, origin and terms.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelCard {
    /// A short name, not empty.
    pub name: String,
    /// The maker's version of the model, not empty. Answers carry it.
    pub version: String,
    /// Licence, best as an SPDX expression.
    #[serde(default)]
    pub license: String,
    /// What it is, for people.
    #[serde(default)]
    pub description: String,
    /// The architecture, such as `distilbert`.
    #[serde(default)]
    pub family: String,
    /// SHA-256 of the FP32 file it was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_sha256: Option<String>,
    /// How it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipe: Option<JsonText>,
}

/// The name of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryRef {
    /// Name in the container.
    pub entry: String,
}

/// The tokenizer's entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenizerRef {
    /// Name in the container.
    pub entry: String,
    /// The most tokens of one input, special tokens included.
    pub max_length: usize,
}

/// Hash and size of an entry's data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryInfo {
    /// SHA-256 as 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// Size in bytes.
    pub size: u64,
}

/// One thing the model can do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// Unique name.
    pub name: String,
    /// What its output means.
    pub task: Task,
    /// Name of the graph's output it reads.
    pub output: String,
    /// Label of each output channel, unique, in order.
    #[serde(default)]
    pub labels: Vec<String>,
    /// How the channels become probabilities.
    #[serde(default)]
    pub problem_type: ProblemType,
    /// By label, the least score that counts as a yes.
    #[serde(default, deserialize_with = "unique_map", skip_serializing_if = "BTreeMap::is_empty")]
    pub thresholds: BTreeMap<String, f32>,
    /// Logits are divided by it before they become probabilities; finite and positive.
    #[serde(default = "one")]
    pub temperature: f32,
    /// The most tokens of one input, where it is less than the tokenizer's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_length: Option<usize>,
    /// How longer texts are read in windows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub windowing: Option<Windowing>,
    /// How labels of tokens join to spans.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tagging: Option<Tagging>,
    /// How rows of tokens become one vector; absent: the output is one vector per text already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pooling: Option<Pooling>,
    /// Whether the vector is divided by its length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalize: Option<bool>,
    /// Of a question answering head that learned from questions without an answer: there is none if the null
    /// answer's logits exceed the best answer's by more than this. Finite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_answer: Option<f32>,
    /// Text put in front of inputs of an embedding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefixes: Option<Prefixes>,
    /// What it does, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
}

impl Head {
    /// A head with defaults for all but its name, task, output and labels.
    pub fn new(name: impl Into<String>, task: Task, output: impl Into<String>, labels: Vec<String>) -> Head {
        Head {
            name: name.into(),
            task,
            output: output.into(),
            labels,
            problem_type: ProblemType::default(),
            thresholds: BTreeMap::new(),
            temperature: 1.0,
            max_length: None,
            windowing: None,
            tagging: None,
            pooling: None,
            normalize: None,
            no_answer: None,
            prefixes: None,
            description: String::new(),
        }
    }
}

fn one() -> f32 {
    1.0
}

/// What a head's output means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// One row of scores per text.
    TextClassification,
    /// One row of scores per token.
    TokenClassification,
    /// Start and end scores per token.
    QuestionAnswering,
    /// A vector per text, or per token to be pooled.
    Embedding,
    /// A row of scores over the vocabulary per token.
    FillMask,
    /// Entailment scores of a pair of texts.
    ZeroShot,
}

/// How scores become probabilities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProblemType {
    /// One label holds: softmax.
    #[default]
    SingleLabel,
    /// Each label holds or not: sigmoid.
    MultiLabel,
    /// The scores are the answer.
    Regression,
}

/// How labels of tokens join to spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tagging {
    /// `O`, `B-…` begins, `I-…` goes on.
    Bio,
    /// BIO with `L-…` for the last and `U-…` for the only token.
    Bilou,
    /// Labels stand alone.
    None,
}

/// How rows of tokens become one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pooling {
    /// The first token's row.
    Cls,
    /// The mean over the tokens, special ones included.
    Mean,
    /// The largest value of each channel.
    Max,
}

/// Windows over a long text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Windowing {
    /// Tokens of a window, special tokens included.
    pub size: usize,
    /// Tokens from the start of one window to the start of the next, `1..=size`.
    pub stride: usize,
}

/// Text put in front of inputs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prefixes {
    /// Before a query.
    #[serde(default)]
    pub query: String,
    /// Before a document.
    #[serde(default)]
    pub document: String,
}

/// A text with the answer that every CPU must give, bit for bit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SelfTest {
    /// The text.
    pub text: String,
    /// The second text of a pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pair: Option<String>,
    /// The token ids, special tokens included.
    pub ids: Vec<u32>,
    /// By head, its raw output (logits, not probabilities).
    #[serde(deserialize_with = "unique_map")]
    pub outputs: BTreeMap<String, SelfTestOutput>,
}

/// An output tensor, exactly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelfTestOutput {
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values in row-major order: IEEE 754 binary32 bits, each as eight lower-case hexadecimal digits.
    #[serde(with = "super::json::bits")]
    pub bits: Vec<u32>,
}
