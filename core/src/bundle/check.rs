//! The rules of a manifest. Every limit of format version 1 is here.

use std::collections::HashSet;

use super::container::{self, Entry, WEIGHTS_ALIGN};
use super::json;
use super::manifest::{
    FEATURES, FORMAT_VERSION, Head, MANIFEST, Manifest, ProblemType, SelfTest, Tagging, Task,
};
use crate::error::{Error, ErrorKind, Result};

/// The largest manifest.
pub const MAX_MANIFEST: usize = 4 << 20;
/// The largest graph: weights are apart.
pub const MAX_GRAPH: u64 = 16 << 20;
/// The largest tokenizer.
pub const MAX_TOKENIZER: u64 = 32 << 20;
/// The most heads.
pub const MAX_HEADS: usize = 64;
/// The most labels of a head.
pub const MAX_LABELS: usize = 65_536;
/// The longest name of a head or output, label, model name or version, in bytes.
pub const MAX_STRING: usize = 512;
/// The longest description, prefix or self-test text, in bytes.
pub const MAX_TEXT: usize = 64 << 10;
/// The most self-test cases.
pub const MAX_SELF_TESTS: usize = 1024;
/// The largest `max_length`, in tokens.
pub const MAX_TOKENS: usize = 1 << 20;

fn bad(message: impl Into<String>) -> Error {
    Error::data_loss(message)
}

/// Parses and checks a manifest, apart from what only the container tells.
pub(super) fn parse(bytes: &[u8]) -> Result<Manifest> {
    #[derive(serde::Deserialize)]
    struct Version {
        format_version: u64,
        #[serde(default)]
        features: Vec<String>,
    }
    let here = |e: Error| e.context(format!("`{MANIFEST}`"));
    let json = |e: serde_json::Error| here(bad(e.to_string()));
    if bytes.len() > MAX_MANIFEST {
        return Err(here(bad(format!("{} bytes; at most {MAX_MANIFEST} are allowed", bytes.len()))));
    }
    json::check_size(bytes).map_err(here)?;
    // What a later version changes may not parse as this one, so its number comes first.
    let v: Version = serde_json::from_slice(bytes).map_err(json)?;
    if v.format_version != u64::from(FORMAT_VERSION) {
        return Err(if v.format_version == 0 {
            here(bad("`format_version` is 0; the first version is 1"))
        } else {
            Error::unimplemented(format!(
                "this bundle has format version {}: it needs a newer PocketBERT (this one reads version \
                 {FORMAT_VERSION})",
                v.format_version
            ))
        });
    }
    known_features(&v.features)?;
    let manifest: Manifest = serde_json::from_slice(bytes).map_err(json)?;
    content(&manifest).map_err(here)?;
    Ok(manifest)
}

fn known_features(features: &[String]) -> Result<()> {
    match features.iter().find(|f| !FEATURES.contains(&f.as_str())) {
        Some(f) => Err(Error::unimplemented(format!(
            "this bundle uses the feature `{}`: it needs a newer PocketBERT",
            shorten(f)
        ))),
        None => Ok(()),
    }
}

/// The rules that need no container.
pub(super) fn content(m: &Manifest) -> Result<()> {
    if m.format_version != FORMAT_VERSION {
        return Err(bad(format!("`format_version` is {}, not {FORMAT_VERSION}", m.format_version)));
    }
    known_features(&m.features)?;
    name("model.name", &m.model.name)?;
    name("model.version", &m.model.version)?;
    for (what, text) in [
        ("model.license", &m.model.license),
        ("model.description", &m.model.description),
        ("model.family", &m.model.family),
    ] {
        text_len(what, text)?;
    }
    if let Some(hash) = &m.constants_sha256 {
        sha256_hex("constants_sha256", hash)?;
    }
    if let Some(hash) = &m.model.parent_sha256 {
        sha256_hex("model.parent_sha256", hash)?;
    }
    tokens("tokenizer.max_length", m.tokenizer.max_length)?;
    let roles = [&m.graph.entry, &m.weights.entry, &m.tokenizer.entry];
    for (i, role) in roles.iter().enumerate() {
        container::check_name(role.as_bytes())?;
        if *role == MANIFEST || roles.iter().take(i).any(|r| r == role) {
            return Err(bad(format!("entry `{role}` has two roles")));
        }
    }
    if m.heads.is_empty() || m.heads.len() > MAX_HEADS {
        return Err(bad(format!("{} heads; 1 to {MAX_HEADS} are allowed", m.heads.len())));
    }
    let mut names = HashSet::new();
    for h in &m.heads {
        name("heads.name", &h.name)?;
        if !names.insert(h.name.as_str()) {
            return Err(bad(format!("head `{}` is there twice", h.name)));
        }
        head(h, m).map_err(|e| e.context(format!("head `{}`", h.name)))?;
    }
    if let Some(d) = &m.default_head
        && !names.contains(d.as_str())
    {
        return Err(bad(format!("`default_head` names `{}`, which is no head", shorten(d))));
    }
    if m.self_test.len() > MAX_SELF_TESTS {
        return Err(bad(format!("{} self-tests; at most {MAX_SELF_TESTS} are allowed", m.self_test.len())));
    }
    for (i, t) in m.self_test.iter().enumerate() {
        self_test(t, m, &names).map_err(|e| e.context(format!("self-test {i}")))?;
    }
    Ok(())
}

fn head(h: &Head, m: &Manifest) -> Result<()> {
    name("output", &h.output)?;
    text_len("description", &h.description)?;
    if h.labels.len() > MAX_LABELS {
        return Err(bad(format!("{} labels; at most {MAX_LABELS} are allowed", h.labels.len())));
    }
    let mut labels = HashSet::with_capacity(h.labels.len());
    for l in &h.labels {
        name("label", l)?;
        if !labels.insert(l.as_str()) {
            return Err(bad(format!("label `{l}` is there twice")));
        }
    }
    let classifies = matches!(h.task, Task::TextClassification | Task::TokenClassification | Task::ZeroShot);
    let regression = h.problem_type == ProblemType::Regression;
    if classifies && !regression && h.labels.is_empty() {
        return Err(bad("has no labels, but its task needs them"));
    }
    for (label, &t) in &h.thresholds {
        if !labels.contains(label.as_str()) {
            return Err(bad(format!("threshold for `{}`, which is no label", shorten(label))));
        }
        if !t.is_finite() || (!regression && !(0.0..=1.0).contains(&t)) {
            return Err(bad(format!("threshold of `{label}` is {t}; it must be a probability, 0 to 1")));
        }
    }
    if !(h.temperature.is_finite() && h.temperature > 0.0) {
        return Err(bad(format!("temperature is {}; it must be finite and positive", h.temperature)));
    }
    if let Some(n) = h.max_length {
        tokens("max_length", n)?;
        if n > m.tokenizer.max_length {
            return Err(bad(format!("max_length {n} is over the tokenizer's {}", m.tokenizer.max_length)));
        }
    }
    if let Some(w) = h.windowing {
        let most = h.max_length.unwrap_or(m.tokenizer.max_length);
        if w.stride == 0 || w.stride > w.size || w.size > most {
            return Err(bad(format!(
                "windowing of {} by {}; needs 1 <= stride <= size <= {most}",
                w.size, w.stride
            )));
        }
    }
    if h.no_answer.is_some_and(|t| !t.is_finite()) {
        return Err(bad("`no_answer` is not finite"));
    }
    tagging(h)?;
    if let Some(p) = &h.prefixes {
        text_len("prefixes.query", &p.query)?;
        text_len("prefixes.document", &p.document)?;
    }
    Ok(())
}

fn tagging(h: &Head) -> Result<()> {
    let prefixes: &[&str] = match h.tagging {
        Some(Tagging::Bio) => &["B-", "I-"],
        Some(Tagging::Bilou) => &["B-", "I-", "L-", "U-"],
        Some(Tagging::None) | None => return Ok(()),
    };
    let fits = |l: &String| l == "O" || prefixes.iter().any(|p| l.len() > p.len() && l.starts_with(p));
    match h.labels.iter().find(|l| !fits(l)) {
        Some(l) => {
            Err(bad(format!("label `{l}` does not fit its tagging scheme; use `none` for plain labels")))
        }
        None => Ok(()),
    }
}

fn self_test(t: &SelfTest, m: &Manifest, heads: &HashSet<&str>) -> Result<()> {
    text_len("text", &t.text)?;
    text_len("pair", t.pair.as_deref().unwrap_or(""))?;
    if t.ids.is_empty() || t.ids.len() > m.tokenizer.max_length {
        return Err(bad(format!("{} ids; 1 to {} are allowed", t.ids.len(), m.tokenizer.max_length)));
    }
    for (h, o) in &t.outputs {
        if !heads.contains(h.as_str()) {
            return Err(bad(format!("names head `{}`, which does not exist", shorten(h))));
        }
        let n = o.shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        if o.shape.len() > 8 || n != Some(o.bits.len()) {
            return Err(bad(format!(
                "output of head `{h}` has {} values, which its shape denies",
                o.bits.len()
            )));
        }
    }
    Ok(())
}

/// The rules that bind manifest and container: the same entries, the same sizes, within their limits.
pub(super) fn against_container(m: &Manifest, entries: &[Entry]) -> Result<()> {
    for e in entries.iter().filter(|e| e.name != MANIFEST) {
        let Some(info) = m.entries.get(&e.name) else {
            return Err(bad(format!("entry `{}` is not in the manifest", e.name)));
        };
        sha256_hex(&format!("sha256 of entry `{}`", e.name), &info.sha256)?;
        if info.size != e.data.len() as u64 {
            return Err(bad(format!(
                "entry `{}` has {} bytes, but the manifest says {}",
                e.name,
                e.data.len(),
                info.size
            )));
        }
    }
    if let Some(name) = m.entries.keys().find(|n| *n == MANIFEST || !entries.iter().any(|e| e.name == **n)) {
        return Err(if name == MANIFEST {
            bad("the manifest cannot list itself in `entries`")
        } else {
            missing(&shorten(name))
        });
    }
    let limits =
        [(&m.graph.entry, MAX_GRAPH), (&m.weights.entry, u64::MAX), (&m.tokenizer.entry, MAX_TOKENIZER)];
    for (name, limit) in limits {
        let e = entries.iter().find(|e| e.name == *name).ok_or_else(|| missing(name))?;
        if e.data.len() as u64 > limit {
            return Err(bad(format!(
                "entry `{name}` has {} bytes; at most {limit} are allowed",
                e.data.len()
            )));
        }
        if *name == m.weights.entry && e.align != WEIGHTS_ALIGN {
            return Err(bad(format!(
                "entry `{name}` is aligned to {} bytes, not to {WEIGHTS_ALIGN}",
                e.align
            )));
        }
    }
    Ok(())
}

fn missing(name: &str) -> Error {
    Error::new(ErrorKind::DataLoss, format!("the manifest names entry `{name}`, which the bundle lacks"))
}

fn name(what: &str, s: &str) -> Result<()> {
    if s.is_empty() || s.len() > MAX_STRING || s.chars().any(char::is_control) {
        return Err(bad(format!(
            "`{what}` is `{}`; it must have 1 to {MAX_STRING} bytes and no control characters",
            shorten(s)
        )));
    }
    Ok(())
}

fn text_len(what: &str, s: &str) -> Result<()> {
    if s.len() > MAX_TEXT {
        return Err(bad(format!("`{what}` has {} bytes; at most {MAX_TEXT} are allowed", s.len())));
    }
    Ok(())
}

fn tokens(what: &str, n: usize) -> Result<()> {
    if n == 0 || n > MAX_TOKENS {
        return Err(bad(format!("`{what}` is {n}; 1 to {MAX_TOKENS} are allowed")));
    }
    Ok(())
}

fn sha256_hex(what: &str, s: &str) -> Result<()> {
    if s.len() != 64 || !s.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(bad(format!("{what} is not 64 lower-case hexadecimal digits")));
    }
    Ok(())
}

/// Names from a file, printable and short enough for a message.
fn shorten(s: &str) -> String {
    s.chars().take(64).flat_map(char::escape_debug).collect()
}
