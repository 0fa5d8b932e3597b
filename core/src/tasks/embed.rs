//! [`TextEmbedder`]: texts to vectors whose angle tells how near their meanings are.

pub(super) mod long;

use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::load::LoadState;
use super::locate::{self, Located};
use super::observe::TaskHead;
use super::session::{CallOptions, Session, run_each};
use super::vector::{Embedding, Origin, VectorFormat};
use crate::bundle::manifest::{Pooling, Prefixes, Task};
use crate::error::{Error, ErrorKind, Result};
use crate::kernels::{self, Isa, with_default_float_env};
use crate::metrics::{Metrics, Seen};
use crate::model::{Model, OpenOptions, OutputInfo};
use crate::text::{EncodeOptions, Truncation};

/// What a text is: some models want other words put in front of questions than of what is searched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Nothing is put in front.
    #[default]
    Text,
    /// What is searched for: the bundle's `query` prefix.
    Query,
    /// What is searched in: the bundle's `document` prefix.
    Document,
}

/// How to embed. The default: as the bundle says, all dimensions, f32, one thread.
#[derive(Clone, Debug, Default)]
pub struct EmbedOptions {
    /// How rows of tokens become one vector. `None`: as the bundle says, else the mean. An error where the model
    /// pools in its own graph.
    pub pooling: Option<Pooling>,
    /// Divide the vector by its length. `None`: as the bundle says; of a plain ONNX model yes.
    pub normalize: Option<bool>,
    /// Keep this many dimensions, the first ones. `None`: all.
    pub dims: Option<usize>,
    /// How numbers are kept.
    pub format: VectorFormat,
    /// Which prefix of the bundle to put in front.
    pub role: Role,
    /// This prefix instead.
    pub prefix: Option<String>,
    /// What to keep of a text that is too long.
    pub truncation: Truncation,
    /// Most tokens of a text, special tokens included; never more than the model takes. `None`: the model's.
    pub max_length: Option<usize>,
    /// Threads, kernels, cancellation, deadline.
    pub call: CallOptions,
}

/// An output of a model that vectors come from.
#[derive(Clone, Debug, PartialEq)]
pub struct EmbedHead {
    /// The head's name; the output's where the model is not a bundle.
    pub name: String,
    /// The graph output that it reads.
    pub output: String,
    /// Index of that output in [`Plan::outputs`](crate::model::Plan::outputs).
    pub index: usize,
    /// Dimensions.
    pub dims: usize,
    /// How rows of tokens become one vector; `None`: the graph pools.
    pub pooling: Option<Pooling>,
    /// Whether vectors are divided by their length unless options say otherwise.
    pub normalize: bool,
    /// The bundle's prefixes.
    pub prefixes: Prefixes,
    /// Most tokens of a text, where it is less than the model's.
    pub max_length: Option<usize>,
}

impl TaskHead for EmbedHead {
    const TASK: &'static str = "embed";

    fn name(&self) -> &str {
        &self.name
    }

    fn labels(&self) -> usize {
        0
    }
}

impl EmbedHead {
    /// The embedding head `name` of a bundle, or its first; of a plain ONNX model the output of that name, else
    /// `sentence_embedding`, else `last_hidden_state`, else the first with rows per token.
    ///
    /// # Errors
    /// `NotFound` for a name that the model lacks, `InvalidArgument` for a head that does something else (the
    /// messages say what there is), `FailedPrecondition` for a model without vectors.
    pub fn find(model: &Model, name: Option<&str>) -> Result<EmbedHead> {
        if let Some(Located { head, index, output }) =
            locate::head(model, name, Task::Embedding, "make vectors")?
        {
            if output.flat || (!output.per_token && head.pooling.is_some()) {
                return Err(Error::data_loss(format!(
                    "head `{}` pools output `{}`, which has no row per token",
                    head.name, output.name
                )));
            }
            return Ok(EmbedHead {
                name: head.name.clone(),
                output: output.name.clone(),
                index,
                dims: output.channels,
                pooling: output.per_token.then(|| head.pooling.unwrap_or(Pooling::Mean)),
                normalize: head.normalize.unwrap_or(false),
                prefixes: head.prefixes.clone().unwrap_or_default(),
                max_length: head.max_length,
            });
        }
        let outputs = model.plan().outputs();
        let (index, o) = match name {
            Some(name) => locate::output(model, name)?,
            None => {
                let called = |n: &str| outputs.iter().position(|o| o.name == n && !o.flat);
                let rows = |o: &OutputInfo| o.per_token && !o.flat;
                let index = called("sentence_embedding")
                    .or_else(|| called("last_hidden_state"))
                    .or_else(|| outputs.iter().position(rows));
                index.and_then(|i| Some((i, outputs.get(i)?))).ok_or_else(|| {
                    Error::new(
                        ErrorKind::FailedPrecondition,
                        "the model has no output to make vectors of: export it with `last_hidden_state`",
                    )
                })?
            }
        };
        if o.flat {
            return Err(Error::invalid(format!("output `{}` has one number per token, no vector", o.name)));
        }
        Ok(EmbedHead {
            name: o.name.clone(),
            output: o.name.clone(),
            index,
            dims: o.channels,
            pooling: o.per_token.then_some(Pooling::Mean),
            normalize: true,
            prefixes: Prefixes::default(),
            max_length: None,
        })
    }
}

/// Makes vectors of texts with one head of a model.
///
/// `Send + Sync`: share it by reference or `Arc`. Answers are the same bits on every CPU, kernel, number of
/// threads and batch.
///
/// ```
/// use pocketbert::TextEmbedder;
/// # fn main() -> pocketbert::Result<()> {
/// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny.pbert");
/// let embedder = TextEmbedder::open(path)?;
/// let v = embedder.embed_batch(&["is it cold outside", "will it rain today", "add this to my playlist"])?;
/// assert!(v[0].cosine(&v[1])? > v[0].cosine(&v[2])?);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct TextEmbedder {
    session: Session<EmbedHead>,
}

impl TextEmbedder {
    /// Opens the model at `path` (a bundle, an `.onnx` file or a hub-style folder) and takes its first embedding
    /// head.
    ///
    /// # Errors
    /// Those of [`Model::open`], and those of [`EmbedHead::find`].
    pub fn open(path: impl AsRef<Path>) -> Result<TextEmbedder> {
        let e = TextEmbedder::deferred(path, &OpenOptions::default(), None);
        e.load()?;
        Ok(e)
    }

    /// An embedder that opens `path` at its first call, or at [`load`](Self::load) or
    /// [`prewarm`](Self::prewarm).
    pub fn deferred(path: impl AsRef<Path>, options: &OpenOptions, head: Option<&str>) -> TextEmbedder {
        TextEmbedder { session: Session::deferred(path.as_ref(), options, head, EmbedHead::find) }
    }

    /// An embedder on a model that is open already; `head` as in [`EmbedHead::find`].
    pub fn from_model(model: Arc<Model>, head: Option<&str>) -> Result<TextEmbedder> {
        Ok(TextEmbedder { session: Session::from_model(model, head, EmbedHead::find)? })
    }

    /// Opens the model if it is not open yet.
    pub fn load(&self) -> Result<()> {
        self.session.ready().map(|_| ())
    }

    /// Opens the model if need be and answers a short text, so that the next call is a warm one.
    pub fn prewarm(&self) -> Result<()> {
        if self.state() == LoadState::Prewarmed {
            return self.load();
        }
        self.embed("warm").map(|_| ())
    }

    /// How far the embedder is from answering at full speed.
    pub fn state(&self) -> LoadState {
        self.session.state()
    }

    /// The numbers of this object: times by stage, the cold first call apart, sizes, errors.
    pub fn metrics(&self) -> Metrics {
        self.session.metrics().clone()
    }

    /// The model, opened now if it was not yet.
    pub fn model(&self) -> Result<&Arc<Model>> {
        self.session.model()
    }

    /// The head.
    pub fn head(&self) -> Result<&EmbedHead> {
        self.session.ready().map(|(_, h)| h)
    }

    /// The vector of `text` with the default options.
    pub fn embed(&self, text: &str) -> Result<Embedding> {
        self.embed_with(text, &EmbedOptions::default())
    }

    /// The vector of `text`.
    ///
    /// # Errors
    /// `InvalidArgument` for options that the model cannot follow; `Cancelled` and `DeadlineExceeded` as the
    /// options ask; those of [`Tokenizer::encode`](crate::text::Tokenizer::encode).
    pub fn embed_with(&self, text: &str, options: &EmbedOptions) -> Result<Embedding> {
        self.embed_batch_with(&[text], options)?
            .pop()
            .ok_or_else(|| Error::internal("a run without an answer"))
    }

    /// The vectors of all of `texts` with the default options, in their order.
    pub fn embed_batch(&self, texts: &[&str]) -> Result<Vec<Embedding>> {
        self.embed_batch_with(texts, &EmbedOptions::default())
    }

    /// The vectors of all of `texts`; each is, bit for bit, the one that the text gets alone.
    ///
    /// # Errors
    /// As [`embed_with`](Self::embed_with); there are no partial results.
    pub fn embed_batch_with(&self, texts: &[&str], options: &EmbedOptions) -> Result<Vec<Embedding>> {
        self.session.observe(texts.len(), |model, head| {
            embed_all(model, head, texts, options, |seen| self.session.saw(seen))
        })
    }
}

/// What stands before each text.
pub(super) fn prefix<'a>(head: &'a EmbedHead, options: &'a EmbedOptions) -> &'a str {
    match (&options.prefix, options.role) {
        (Some(p), _) => p.as_str(),
        (None, Role::Text) => "",
        (None, Role::Query) => &head.prefixes.query,
        (None, Role::Document) => &head.prefixes.document,
    }
}

/// The vectors of `texts`; `saw` books each text.
pub(super) fn embed_all(
    model: &Model,
    head: &EmbedHead,
    texts: &[&str],
    options: &EmbedOptions,
    saw: impl Fn(&Seen),
) -> Result<Vec<Embedding>> {
    let how = Pooled::new(model, head, options)?;
    let prefix = prefix(head, options);
    let encode = encode_options(model, head, options);
    let (stop, tokenizer) = (options.call.stop(), model.tokenizer()?);
    let mut encodings = Vec::with_capacity(texts.len());
    for text in texts {
        stop.check()?;
        encodings.push(match prefix {
            "" => tokenizer.encode(text, None, &encode)?,
            p => tokenizer.encode(&format!("{p}{text}"), None, &encode)?,
        });
    }
    let mut vectors = Vec::with_capacity(texts.len());
    run_each(model, &[head.index], &encodings, &options.call, |i, rows| {
        vectors.push(how.vector(rows.first().copied().unwrap_or_default())?);
        saw(&Seen::of(&encodings[i], None, &[]));
        Ok(())
    })?;
    Ok(vectors)
}

/// How texts for `head` are encoded.
pub(super) fn encode_options(model: &Model, head: &EmbedHead, o: &EmbedOptions) -> EncodeOptions {
    let limits = [o.max_length, head.max_length];
    let max_length = limits.into_iter().flatten().fold(model.info().max_length, usize::min);
    EncodeOptions { max_length, truncation: o.truncation, ..EncodeOptions::default() }
}

/// The options, checked against the head.
pub(super) struct Pooled {
    channels: usize,
    pooling: Option<Pooling>,
    normalize: bool,
    dims: Option<usize>,
    format: VectorFormat,
    isa: Isa,
    origin: Origin,
}

impl Pooled {
    pub(super) fn new(model: &Model, head: &EmbedHead, o: &EmbedOptions) -> Result<Pooled> {
        if head.pooling.is_none() && o.pooling.is_some() {
            return Err(Error::invalid(format!(
                "head `{}` is pooled in the model's graph: leave `pooling` out",
                head.name
            )));
        }
        if o.dims.is_some_and(|d| d == 0 || d > head.dims) {
            return Err(Error::invalid(format!("`dims` must be 1 to {}", head.dims)));
        }
        let pooling = o.pooling.or(head.pooling);
        let normalize = o.normalize.unwrap_or(head.normalize);
        let origin = {
            let mut h = Sha256::new();
            h.update(model.fingerprint());
            h.update([0]);
            h.update(&head.output);
            h.update([0, pooling.map_or(0, |p| p as u8 + 1)]);
            Origin(h.finalize().into())
        };
        let isa = o.call.kernel.unwrap_or_else(Isa::best);
        Ok(Pooled { channels: head.dims, pooling, normalize, dims: o.dims, format: o.format, isa, origin })
    }

    pub(super) fn vector(&self, rows: &[f32]) -> Result<Embedding> {
        self.keep(self.pool(rows)?)
    }

    /// One vector of the rows of a text, of unit length if that is asked for.
    fn pool(&self, rows: &[f32]) -> Result<Vec<f32>> {
        let c = self.channels;
        with_default_float_env(|| -> Result<Vec<f32>> {
            let mut v = vec![0.0; c];
            let first = rows.get(..c).ok_or_else(|| Error::internal("an output without rows"))?;
            match self.pooling {
                None | Some(Pooling::Cls) => v.copy_from_slice(first),
                Some(Pooling::Mean) => kernels::mean_pool(self.isa, rows, c, None, &mut v)?,
                Some(Pooling::Max) => {
                    v.copy_from_slice(first);
                    for row in rows.chunks_exact(c).skip(1) {
                        for (m, x) in v.iter_mut().zip(row) {
                            // A NaN stays, and is an error below.
                            *m = if *x > *m || x.is_nan() { *x } else { *m };
                        }
                    }
                }
            }
            if self.normalize && v.iter().all(|x| x.is_finite()) {
                kernels::l2_normalize(self.isa, &mut v, c)?;
            }
            Ok(v)
        })
    }

    /// The vector in the dimensions and form that are asked for.
    fn keep(&self, v: Vec<f32>) -> Result<Embedding> {
        let e = Embedding::new(v, self.origin, self.normalize)?;
        match self.dims {
            Some(d) => e.truncated(d)?.to_format(self.format),
            None => e.to_format(self.format),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cancel::CancelToken;

    const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny.pbert");

    fn pooled(pooling: Pooling, normalize: bool) -> Pooled {
        let (dims, format, isa) = (None, VectorFormat::F32, Isa::best());
        Pooled { channels: 2, pooling: Some(pooling), normalize, dims, format, isa, origin: Origin([0; 32]) }
    }

    #[test]
    fn rows_are_pooled_as_asked() {
        let rows = [3.0, -4.0, 1.0, 8.0, 5.0, 2.0];
        let ask = |p, n| pooled(p, n).vector(&rows).unwrap().values();
        assert_eq!(ask(Pooling::Cls, false), [3.0, -4.0]);
        assert_eq!(ask(Pooling::Mean, false), [3.0, 2.0]);
        assert_eq!(ask(Pooling::Max, false), [5.0, 8.0]);
        assert_eq!(ask(Pooling::Cls, true), [0.6, -0.8]);
        for bad in [f32::NAN, f32::INFINITY] {
            for p in [Pooling::Cls, Pooling::Mean, Pooling::Max] {
                let e = pooled(p, true).vector(&[bad, 1.0, 2.0, 3.0]).unwrap_err();
                assert_eq!(e.kind(), ErrorKind::OutOfRange);
            }
        }
        let e = pooled(Pooling::Max, true).vector(&[1.0, 2.0, 3.0, f32::NAN]).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::OutOfRange);
        assert!(pooled(Pooling::Mean, true).vector(&[]).is_err());
    }

    #[test]
    fn batches_equal_single_calls_and_options_hold() {
        let e = TextEmbedder::open(TINY).unwrap();
        let long = "some words about music ".repeat(60);
        let texts: Vec<&str> = (0..30).map(|i| &long[..i * 40]).collect();
        let all = e.embed_batch(&texts).unwrap();
        for (text, v) in texts.iter().zip(&all) {
            assert_eq!(v, &e.embed(text).unwrap());
            let length: f64 = v.values().iter().map(|x| f64::from(*x).powi(2)).sum();
            assert!((length - 1.0).abs() < 1e-5 && v.is_unit());
        }
        let small = EmbedOptions { dims: Some(16), format: VectorFormat::I8, ..EmbedOptions::default() };
        let v = e.embed_with("play some jazz", &small).unwrap();
        assert_eq!((v.dims(), v.format()), (16, VectorFormat::I8));
        let prefixed = EmbedOptions { prefix: Some("query: ".into()), ..EmbedOptions::default() };
        assert_eq!(e.embed_with("jazz", &prefixed).unwrap(), e.embed("query: jazz").unwrap());
        assert!(e.embed_batch(&[]).unwrap().is_empty());
    }

    #[test]
    fn bad_options_are_errors() {
        let e = TextEmbedder::open(TINY).unwrap();
        let dims = e.head().unwrap().dims;
        for o in [
            EmbedOptions { dims: Some(0), ..EmbedOptions::default() },
            EmbedOptions { dims: Some(dims + 1), ..EmbedOptions::default() },
            EmbedOptions { pooling: Some(Pooling::Max), ..EmbedOptions::default() },
        ] {
            assert_eq!(e.embed_with("x", &o).unwrap_err().kind(), ErrorKind::InvalidArgument);
        }
        let cancel = CancelToken::new();
        cancel.cancel();
        let call = CallOptions { cancel: Some(cancel), ..CallOptions::default() };
        let stopped = EmbedOptions { call, ..EmbedOptions::default() };
        assert_eq!(e.embed_with("x", &stopped).unwrap_err().kind(), ErrorKind::Cancelled);
        let model = e.model().unwrap();
        let no = |h: &str| TextEmbedder::from_model(model.clone(), Some(h)).unwrap_err();
        assert_eq!(no("intent").kind(), ErrorKind::InvalidArgument);
        let e = no("nope");
        assert!(e.kind() == ErrorKind::NotFound && e.message().contains("`embed`"), "{e}");
    }

    #[test]
    fn vectors_know_their_model() {
        let e = TextEmbedder::open(TINY).unwrap();
        let forms = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/forms/fp32-ts-17.onnx");
        let other = Model::open(forms, &OpenOptions::default()).unwrap();
        let here = e.embed("x").unwrap().origin();
        assert_eq!(here, e.embed("y").unwrap().origin());
        assert_eq!(other.fingerprint().len(), 64);
        assert_ne!(other.fingerprint(), e.model().unwrap().fingerprint());
    }
}
