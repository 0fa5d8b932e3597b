//! Opening a model: a bundle, an ONNX file, or a hub-style folder.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::graph::Graph;
use super::normalize::{INPUTS, Lowered, PICKS, Semantics, lower};
use super::plan::Plan;
use super::proto::{ExternalData, FolderExternal, MAX_FILE, NoExternal, parse};
use super::tensor::{Bytes, DType};
use super::{DOMAIN, Model, ModelInfo};
use crate::bundle::source::map_file;
use crate::bundle::{Bundle, OpenOptions as BundleOptions};
use crate::error::{Error, ErrorKind, Result};
use crate::memory::Budget;
use crate::text::Tokenizer;

/// How to open a model.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// Read the file into memory instead of mapping it: use it where the file may be changed in place or
    /// become unreadable (iOS data protection) while the model is open.
    pub copy_into_memory: bool,
    /// Check the weights' hash later ([`Model::verify_weights`]) or never, instead of at open.
    pub defer_weights_hash: bool,
    /// For dynamically quantized ONNX models: ONNX's one scale per tensor instead of one per token.
    pub reference_semantics: bool,
    /// Most bytes of memory that the model may hold; `None`: what the machine has. What would take more fails with
    /// `ResourceExhausted` before it allocates. Counted are a file copied into memory (or given as bytes), all that
    /// opening copies out of it, and for each run its values and its working memory, which is kept for the next
    /// run. Not counted are mapped files, what tract and `tokenizers` hold (graph and vocabulary: some megabytes),
    /// working memory of threads beyond the first, texts, and answers. What opening a bundle copies is counted
    /// until the model is closed. ONNX files: their conversion is not counted.
    pub memory_limit: Option<usize>,
}

impl Model {
    /// Opens `path`: a `.pbert` bundle, an `.onnx` file, or a folder with `model*.onnx`, `tokenizer.json`
    /// and `config.json`.
    pub fn open(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Model> {
        let path = path.as_ref();
        let meta = std::fs::metadata(path).map_err(|e| Error::io(path.display(), &e))?;
        if meta.is_dir() {
            return Self::open_folder(path, options);
        }
        if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("onnx")) {
            return Self::open_onnx(path, options);
        }
        Self::open_bundle(options, |o| Bundle::open_path(path, o))
    }

    /// Opens a bundle from memory.
    pub fn open_bytes(bytes: Vec<u8>, options: &OpenOptions) -> Result<Model> {
        let held = bytes.len();
        let budget = Budget::new(options.memory_limit);
        budget.keep(held)?;
        Self::bundle_in(budget, || Bundle::open_bytes(bytes, &bundle_options(options)))
    }

    /// Opens the bundle that `open` gives, which counts what it copies into memory.
    pub fn open_bundle(
        options: &OpenOptions,
        open: impl FnOnce(&BundleOptions) -> Result<Bundle>,
    ) -> Result<Model> {
        Self::bundle_in(Budget::new(options.memory_limit), || open(&bundle_options(options)))
    }

    fn bundle_in(budget: Budget, open: impl FnOnce() -> Result<Bundle>) -> Result<Model> {
        let _entered = budget.enter(true);
        Self::from_bundle_in(open()?, budget.clone())
    }

    /// Opens an ONNX model from memory; weights kept in other files cannot be read.
    pub fn open_onnx_bytes(bytes: &[u8], options: &OpenOptions) -> Result<Model> {
        Self::from_onnx(bytes, &NoExternal, options)
    }

    fn open_onnx(path: &Path, options: &OpenOptions) -> Result<Model> {
        let size = std::fs::metadata(path).map_err(|e| Error::io(path.display(), &e))?.len();
        if size > MAX_FILE {
            return Err(Error::exhausted(format!("`{}` is larger than 2 GiB", path.display())));
        }
        let map = map_file(path)?;
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut model = Self::from_onnx((*map).as_ref(), &FolderExternal(folder), options)
            .map_err(|e| e.context(path.display()))?;
        model.info.name = path.file_stem().map_or(String::new(), |s| s.to_string_lossy().into_owned());
        // A tokenizer beside the file belongs to it.
        model.attach_folder(folder)?;
        Ok(model)
    }

    fn open_folder(folder: &Path, options: &OpenOptions) -> Result<Model> {
        let mut found: Vec<PathBuf> = vec![];
        for sub in [folder.to_path_buf(), folder.join("onnx")] {
            let Ok(entries) = std::fs::read_dir(&sub) else { continue };
            for e in entries.flatten() {
                let name = e.file_name().to_string_lossy().into_owned();
                if name.starts_with("model") && name.ends_with(".onnx") {
                    found.push(e.path());
                }
            }
        }
        // Prefer the quantized model, then the shortest name: `model.onnx` before `model_fp16.onnx`.
        found.sort_by_key(|p| {
            let n = p.file_name().map_or(String::new(), |n| n.to_string_lossy().into_owned());
            (!n.contains("quant") && !n.contains("int8"), n.len(), n)
        });
        let path = found.first().ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!("`{}` holds no `model*.onnx`: is it a model folder?", folder.display()),
            )
        })?;
        let mut model = Self::open_onnx(path, options)?;
        model.attach_folder(folder)?;
        Ok(model)
    }

    /// Reads `tokenizer.json` and `config.json` in `folder`, where they exist.
    fn attach_folder(&mut self, folder: &Path) -> Result<()> {
        let read = |name: &str| -> Result<Option<Vec<u8>>> {
            let p = folder.join(name);
            match std::fs::metadata(&p) {
                Ok(m) if m.len() > 64 << 20 => {
                    Err(Error::exhausted(format!("`{}` is larger than 64 MiB", p.display())))
                }
                Ok(_) => std::fs::read(&p).map(Some).map_err(|e| Error::io(p.display(), &e)),
                Err(_) => Ok(None),
            }
        };
        if self.tokenizer.is_none()
            && let Some(json) = read("tokenizer.json")?
        {
            let t = Tokenizer::from_bytes(&json)
                .map_err(|e| e.context(folder.join("tokenizer.json").display()))?;
            self.set_tokenizer(t)?;
        }
        if let Some(json) = read("config.json")?
            && let Ok(config) = serde_json::from_slice::<serde_json::Value>(&json)
        {
            if let Some(n) = config.get("max_position_embeddings").and_then(|n| n.as_u64())
                && n > 2
            {
                self.info.max_length = self.info.max_length.min(n as usize);
            }
            let labels = config.get("id2label").and_then(|l| l.as_object());
            if let Some(labels) = labels {
                let by_id: HashMap<usize, String> = labels
                    .iter()
                    .filter_map(|(k, v)| Some((k.parse().ok()?, v.as_str()?.to_string())))
                    .collect();
                self.info.labels = (0..by_id.len()).map_while(|i| by_id.get(&i).cloned()).collect();
            }
        }
        Ok(())
    }

    fn from_onnx(bytes: &[u8], external: &dyn ExternalData, options: &OpenOptions) -> Result<Model> {
        let lowered = lower_onnx(bytes, external, options.reference_semantics)?;
        let info = ModelInfo {
            max_length: lowered.max_length.min(1 << 20),
            vocab: lowered.vocab,
            ..ModelInfo::default()
        };
        let fingerprint = sampled_sha256(&lowered.graph);
        let budget = Budget::new(options.memory_limit);
        let entered = budget.enter(true);
        let mut model = Model::new(Plan::within(lowered.graph, budget.clone())?, info);
        drop(entered);
        model.fingerprint = fingerprint;
        Ok(model)
    }

    /// Opens a bundle that is already read.
    pub fn from_bundle(bundle: Bundle) -> Result<Model> {
        Self::bundle_in(Budget::default(), || Ok(bundle))
    }

    fn from_bundle_in(bundle: Bundle, budget: Budget) -> Result<Model> {
        let m = bundle.manifest().clone();
        let graph = bundle_graph(&bundle)?;
        let (max_length, vocab) = limits(&graph);
        let info = ModelInfo {
            name: m.model.name.clone(),
            version: m.model.version.clone(),
            max_length: m.tokenizer.max_length.min(max_length),
            vocab,
            ..ModelInfo::default()
        };
        let mut model = Model::new(Plan::within(graph, budget)?, info);
        for h in &m.heads {
            let out = model.plan.outputs().iter().find(|o| o.name == h.output).ok_or_else(|| {
                Error::data_loss(format!(
                    "head `{}` reads output `{}`, which the graph lacks",
                    h.name, h.output
                ))
            })?;
            if !h.labels.is_empty() && h.labels.len() != out.channels {
                return Err(Error::data_loss(format!(
                    "head `{}` has {} labels for {} outputs",
                    h.name,
                    h.labels.len(),
                    out.channels
                )));
            }
        }
        let tokenizer = Tokenizer::from_bytes(bundle.entry(&m.tokenizer.entry)?.bytes())
            .map_err(|e| e.context(format!("bundle entry `{}`", m.tokenizer.entry)))?;
        model.set_tokenizer(tokenizer)?;
        model.fingerprint = bundle.fingerprint();
        model.bundle = Some(bundle);
        Ok(model)
    }
}

/// Parses ONNX bytes and lowers the graph to the dialect that bundles hold.
pub fn lower_onnx(bytes: &[u8], external: &dyn ExternalData, reference_semantics: bool) -> Result<Lowered> {
    lower_graph(parse(bytes, external)?, reference_semantics)
}

fn lower_graph(graph: Graph, reference_semantics: bool) -> Result<Lowered> {
    let semantics = if reference_semantics { Semantics::Reference } else { Semantics::PerToken };
    // Exporters nest a few hundred operators deep; the recursion gets a stack of its own, so that it does
    // not depend on the caller's.
    std::thread::scope(|s| {
        std::thread::Builder::new()
            .name("pocketbert-open".into())
            .stack_size(256 << 20)
            .spawn_scoped(s, || lower(&graph, semantics))
            .map_err(|e| Error::exhausted(format!("no thread to open the model with: {e}")))?
            .join()
            .unwrap_or_else(|_| Err(Error::internal("a panic while the graph was being recognised")))
    })
}

/// [`lower_onnx`] of a file, whose weights may lie in other files of its folder.
pub fn lower_onnx_file(path: &Path, reference_semantics: bool) -> Result<Lowered> {
    let map = map_file(path)?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let graph = parse((*map).as_ref(), &FolderExternal(folder)).map_err(|e| e.context(path.display()))?;
    // The constants are copies: the file's pages are not needed any more.
    drop(map);
    lower_graph(graph, reference_semantics).map_err(|e| e.context(path.display()))
}

fn bundle_options(o: &OpenOptions) -> BundleOptions {
    use crate::bundle::Verify;
    BundleOptions {
        copy_into_memory: o.copy_into_memory,
        verify: if o.defer_weights_hash { Verify::DeferWeights } else { Verify::Full },
        ..BundleOptions::default()
    }
}

/// The graph of a bundle, its constants where they lie in the bundle.
pub fn bundle_graph(bundle: &Bundle) -> Result<Graph> {
    let m = bundle.manifest();
    let weights: Arc<dyn AsRef<[u8]> + Send + Sync> = Arc::new(bundle.weights()?);
    let external = BundleExternal { entry: m.weights.entry.clone(), weights };
    let graph = parse(bundle.entry(&m.graph.entry)?.bytes(), &external)
        .map_err(|e| e.context(format!("bundle entry `{}`", m.graph.entry)))?;
    check_lowered(&graph)?;
    Ok(graph)
}

/// SHA-256, in hexadecimal, over the constants of `g` in the order in which nodes read them: of each its
/// data type, rank and dimensions (little-endian u64) and bytes.
pub fn constants_sha256(g: &Graph) -> String {
    let mut h = Sha256::new();
    for t in g.nodes.iter().flat_map(|n| n.inputs.iter().flatten()).filter_map(|v| g.constant(*v)) {
        h.update((t.dtype as i32).to_le_bytes());
        h.update((t.shape.len() as u64).to_le_bytes());
        for d in &t.shape {
            h.update((*d as u64).to_le_bytes());
        }
        h.update(t.bytes());
    }
    h.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

/// SHA-256, in hexadecimal, over the operators of `g` and their constants; of large constants the first, middle
/// and last 4 KiB. Tells models apart that differ by training, at no cost; it is no protection against malice.
fn sampled_sha256(g: &Graph) -> String {
    const PART: usize = 4096;
    let mut h = Sha256::new();
    for n in &g.nodes {
        h.update(n.op.as_bytes());
        for t in n.inputs.iter().flatten().filter_map(|v| g.constant(*v)) {
            h.update((t.dtype as i32).to_le_bytes());
            for d in &t.shape {
                h.update((*d as u64).to_le_bytes());
            }
            let b = t.bytes();
            match b.len() > 3 * PART {
                true => {
                    let middle = b.len() / 2;
                    h.update(&b[..PART]);
                    h.update(&b[middle..middle + PART]);
                    h.update(&b[b.len() - PART..]);
                }
                false => h.update(b),
            }
        }
    }
    h.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

/// The weights entry of a bundle, as ONNX external data.
struct BundleExternal {
    entry: String,
    weights: Arc<dyn AsRef<[u8]> + Send + Sync>,
}

impl ExternalData for BundleExternal {
    fn read(&self, location: &str, offset: usize, length: Option<usize>) -> Result<Bytes> {
        if location != self.entry {
            return Err(Error::data_loss(format!(
                "the graph keeps a weight in `{location}`, not in `{}`",
                self.entry
            )));
        }
        let all = (*self.weights).as_ref().len();
        let end = length.map_or(Some(all), |l| offset.checked_add(l));
        let end = end.ok_or_else(|| Error::data_loss("a weight's offset overflows"))?;
        Bytes::shared(self.weights.clone(), offset..end)
    }
}

/// A bundle's graph has our operators and inputs alone.
fn check_lowered(g: &Graph) -> Result<()> {
    if let Some(n) = g.nodes.iter().find(|n| n.domain != DOMAIN) {
        return Err(Error::data_loss(format!("{} does not belong in a bundle", n.label())));
    }
    for i in &g.inputs {
        let name = g.names[i.value].as_str();
        if !INPUTS.contains(&name) && name != PICKS {
            return Err(Error::data_loss(format!("a bundle's graph has no input `{}`", g.names[i.value])));
        }
        if i.elem_type != DType::I64 as i32 || i.dims.len() != 1 {
            return Err(Error::data_loss(format!(
                "graph input `{}` must be a vector of i64",
                g.names[i.value]
            )));
        }
    }
    Ok(())
}

/// The longest sequence and the vocabulary that the graph's tables allow.
fn limits(g: &Graph) -> (usize, usize) {
    let (mut max_length, mut vocab) = (1 << 20, 0);
    for n in g.nodes.iter().filter(|n| n.op == "Lookup") {
        let rows = n.input(2).and_then(|t| g.constant(t)).and_then(|t| t.shape.first().copied()).unwrap_or(0);
        match n.str("by") {
            Some("position") => {
                let offset = usize::try_from(n.int("offset").unwrap_or(0)).unwrap_or(usize::MAX);
                max_length = max_length.min(rows.saturating_sub(offset));
            }
            Some("id") => vocab = vocab.max(rows),
            _ => {}
        }
    }
    (max_length, vocab)
}
