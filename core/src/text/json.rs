//! A bounded reader for `tokenizer.json`: the vocabulary streams straight into the map that the model
//! keeps, everything else becomes a small `Value` whose number of nodes is limited. The depth is limited by
//! `serde_json` (128).

use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use tokenizers::models::bpe::{Merges, Vocab};

use super::limits::*;
use crate::{Error, Result};

/// The parts of a file, bounded but not yet judged.
#[derive(Default)]
pub(super) struct File {
    pub truncation: Value,
    pub padding: Value,
    pub added: Vec<Added>,
    pub normalizer: Value,
    pub pre_tokenizer: Value,
    pub post_processor: Value,
    pub model: Model,
}

/// One entry of `added_tokens`.
#[derive(Deserialize)]
pub(super) struct Added {
    pub id: u32,
    pub content: String,
    #[serde(default)]
    pub single_word: bool,
    #[serde(default)]
    pub lstrip: bool,
    #[serde(default)]
    pub rstrip: bool,
    #[serde(default)]
    pub normalized: bool,
    #[serde(default)]
    pub special: bool,
}

/// The `model` object: its vocabulary and merges apart from its settings.
#[derive(Default)]
pub(super) struct Model {
    pub settings: Map<String, Value>,
    pub vocab: Option<Vocab>,
    /// Highest id in `vocab`.
    pub max_id: u32,
    pub merges: Option<Merges>,
}

/// Reads `bytes` within the limits.
pub(super) fn read(bytes: &[u8]) -> Result<File> {
    if bytes.len() > MAX_FILE_BYTES {
        return Err(Error::exhausted(format!(
            "`tokenizer.json` has {} bytes, the limit is {MAX_FILE_BYTES}",
            bytes.len()
        )));
    }
    let budget = Cell::new(MAX_NODES);
    let mut de = serde_json::Deserializer::from_slice(bytes);
    let file =
        de.deserialize_map(FileVisitor { budget: &budget }).and_then(|f| de.end().map(|()| f)).map_err(
            |e| Error::data_loss(format!("`tokenizer.json` cannot be read: {}", shorten(&e.to_string()))),
        )?;
    Ok(file)
}

/// A message for people must not carry a megabyte of the file along.
pub(super) fn shorten(s: &str) -> String {
    match s.char_indices().nth(200) {
        Some((i, _)) => format!("{}…", &s[..i]),
        None => s.to_owned(),
    }
}

struct FileVisitor<'b> {
    budget: &'b Cell<usize>,
}

impl<'de> Visitor<'de> for FileVisitor<'_> {
    type Value = File;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the object of a `tokenizer.json`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<File, A::Error> {
        let mut file = File::default();
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            let value = Bounded(self.budget);
            match key.as_str() {
                "truncation" => file.truncation = map.next_value_seed(value)?,
                "padding" => file.padding = map.next_value_seed(value)?,
                "normalizer" => file.normalizer = map.next_value_seed(value)?,
                "pre_tokenizer" => file.pre_tokenizer = map.next_value_seed(value)?,
                "post_processor" => file.post_processor = map.next_value_seed(value)?,
                "added_tokens" => file.added = map.next_value_seed(AddedSeed)?,
                "model" => file.model = map.next_value_seed(ModelSeed { budget: self.budget })?,
                "version" => {
                    let v: String = map.next_value()?;
                    if v != "1.0" {
                        return Err(de::Error::custom("`version` is not \"1.0\""));
                    }
                }
                // The decoder turns ids into text, which nothing here does.
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            }
            if !seen.insert(key) {
                return Err(de::Error::custom("a key of the file appears twice"));
            }
        }
        if !seen.contains("model") {
            return Err(de::Error::missing_field("model"));
        }
        Ok(file)
    }
}

/// `null` or a list of [`Added`].
struct AddedSeed;

impl<'de> DeserializeSeed<'de> for AddedSeed {
    type Value = Vec<Added>;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Vec<Added>, D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for AddedSeed {
    type Value = Vec<Added>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of added tokens")
    }

    fn visit_unit<E>(self) -> Result<Vec<Added>, E> {
        Ok(Vec::new())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<Added>, A::Error> {
        let mut out: Vec<Added> = Vec::new();
        while let Some(a) = seq.next_element::<Added>()? {
            if out.len() == MAX_ADDED {
                return Err(de::Error::custom(format!("more than {MAX_ADDED} added tokens")));
            }
            check_token(&a.content, a.id)?;
            out.push(a);
        }
        Ok(out)
    }
}

fn check_token<E: de::Error>(token: &str, id: u32) -> Result<(), E> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(E::custom(format!("a token of {} bytes, the limit is {MAX_TOKEN_BYTES}", token.len())));
    }
    if id > MAX_ID {
        return Err(E::custom(format!("token id {id} is above the limit {MAX_ID}")));
    }
    Ok(())
}

struct ModelSeed<'b> {
    budget: &'b Cell<usize>,
}

impl<'de> DeserializeSeed<'de> for ModelSeed<'_> {
    type Value = Model;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Model, D::Error> {
        d.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ModelSeed<'_> {
    type Value = Model;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the `model` object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Model, A::Error> {
        let mut model = Model::default();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "vocab" if model.vocab.is_none() => {
                    let (vocab, max_id) = map.next_value_seed(VocabSeed)?;
                    model.vocab = Some(vocab);
                    model.max_id = max_id;
                }
                "merges" if model.merges.is_none() => model.merges = Some(map.next_value_seed(MergesSeed)?),
                _ => {
                    let value = map.next_value_seed(Bounded(self.budget))?;
                    if model.settings.insert(key, value).is_some() {
                        return Err(de::Error::custom("a key of `model` appears twice"));
                    }
                }
            }
        }
        Ok(model)
    }
}

/// A vocabulary as WordPiece, WordLevel and BPE write it: `{token: id}`.
struct VocabSeed;

impl<'de> DeserializeSeed<'de> for VocabSeed {
    type Value = (Vocab, u32);
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Self::Value, D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for VocabSeed {
    type Value = (Vocab, u32);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a vocabulary object of tokens and ids (a list, as Unigram has it, is not supported)")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut vocab = Vocab::default();
        let mut used: Vec<u64> = Vec::new();
        let mut max_id = 0;
        while let Some((token, id)) = map.next_entry::<String, u32>()? {
            check_token(&token, id)?;
            if vocab.len() == MAX_VOCAB {
                return Err(de::Error::custom(format!("more than {MAX_VOCAB} tokens in the vocabulary")));
            }
            let (word, bit) = (id as usize / 64, 1u64 << (id % 64));
            if used.len() <= word {
                used.resize(word + 1, 0);
            }
            if used[word] & bit != 0 {
                return Err(de::Error::custom(format!("two tokens of the vocabulary share id {id}")));
            }
            used[word] |= bit;
            max_id = max_id.max(id);
            if vocab.insert(token, id).is_some() {
                return Err(de::Error::custom(format!(
                    "the token with id {id} appears twice in the vocabulary"
                )));
            }
        }
        Ok((vocab, max_id))
    }
}

/// Merges of BPE, as `"a b"` (older files) or `["a", "b"]`.
struct MergesSeed;

impl<'de> DeserializeSeed<'de> for MergesSeed {
    type Value = Merges;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Merges, D::Error> {
        d.deserialize_seq(self)
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Merge {
    Pair(String, String),
    Text(String),
}

impl<'de> Visitor<'de> for MergesSeed {
    type Value = Merges;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of merges")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Merges, A::Error> {
        let mut out = Merges::new();
        while let Some(m) = seq.next_element::<Merge>()? {
            if out.len() == MAX_MERGES {
                return Err(de::Error::custom(format!("more than {MAX_MERGES} merges")));
            }
            let (a, b) = match m {
                Merge::Pair(a, b) => (a, b),
                Merge::Text(s) if s.starts_with("#version") => continue,
                Merge::Text(s) => match s.split_once(' ') {
                    Some((a, b)) if !b.contains(' ') => (a.to_owned(), b.to_owned()),
                    _ => return Err(de::Error::custom(format!("merge {} is not two tokens", out.len()))),
                },
            };
            if a.is_empty() || b.is_empty() || a.len().max(b.len()) > MAX_TOKEN_BYTES {
                return Err(de::Error::custom(format!("merge {} has an empty or too long token", out.len())));
            }
            out.push((a, b));
        }
        Ok(out)
    }
}

/// A `Value` that takes each of its nodes out of a budget.
struct Bounded<'b>(&'b Cell<usize>);

impl Bounded<'_> {
    fn spend<E: de::Error>(&self) -> Result<(), E> {
        match self.0.get().checked_sub(1) {
            Some(left) => {
                self.0.set(left);
                Ok(())
            }
            None => Err(E::custom(format!("the components hold more than {MAX_NODES} values"))),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Bounded<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Value, D::Error> {
        self.spend()?;
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Bounded<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }
    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(Value::String(v.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut out = Vec::new();
        while let Some(v) = seq.next_element_seed(Bounded(self.0))? {
            out.push(v);
        }
        Ok(Value::Array(out))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut out = Map::new();
        while let Some(k) = map.next_key::<String>()? {
            let v = map.next_value_seed(Bounded(self.0))?;
            if out.insert(k, v).is_some() {
                return Err(de::Error::custom("a key of a component appears twice"));
            }
        }
        Ok(Value::Object(out))
    }
}
