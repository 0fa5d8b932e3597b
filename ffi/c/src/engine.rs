//! What answers: a model with its tasks, each made when it is first asked. Behind a trait, so that everything between
//! C and the engine can be tested with one that answers at once ([`crate::hooks`]), also under Miri.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use pocketbert::error::{Error, Result};
use pocketbert::metrics::Metrics;
use pocketbert::model::Model;
use pocketbert::tasks::{
    Analysis, AnalyzeOptions, Analyzer, AnswerOptions, Answers, CallOptions, Classification, ClassifyOptions,
    EmbedOptions, Embedding, FillMaskOptions, LoadState, LongOptions, MaskFill, MaskFiller, QuestionAnswerer,
    Ranked, RerankOptions, Reranker, Summarizer, Summary, SummaryOptions, TagOptions, Tagged, TextClassifier,
    TextEmbedder, TextInput, TokenClassifier, ZeroShot, ZeroShotClassifier, ZeroShotOptions,
};
use pocketbert::text::{EncodeOptions, Encoding};

use crate::ids::{Ids, Read};

/// A task's name in C.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    Classify,
    Tag,
    Answer,
    Summarize,
    Embed,
    Rerank,
    FillMask,
    ZeroShot,
    Analyze,
}

/// What the exported functions ask of a model. `head` of `None` is the bundle's choice.
pub(crate) trait Engine: Send + Sync {
    fn classify(
        &self,
        head: Option<&str>,
        inputs: &[TextInput],
        o: &ClassifyOptions,
        long: Option<&LongOptions>,
    ) -> Result<Vec<Classification>>;
    fn tag(
        &self,
        head: Option<&str>,
        texts: &[&str],
        o: &TagOptions,
        long: Option<&LongOptions>,
    ) -> Result<Vec<Tagged>>;
    fn tag_words(
        &self,
        head: Option<&str>,
        words: &[&str],
        o: &TagOptions,
        long: Option<&LongOptions>,
    ) -> Result<Tagged>;
    fn answer(&self, head: Option<&str>, pairs: &[(&str, &str)], o: &AnswerOptions) -> Result<Vec<Answers>>;
    fn summarize(&self, head: Option<&str>, text: &str, o: &SummaryOptions) -> Result<Summary>;
    fn embed(
        &self,
        head: Option<&str>,
        texts: &[&str],
        o: &EmbedOptions,
        long: Option<&LongOptions>,
    ) -> Result<Vec<Embedding>>;
    fn rerank(
        &self,
        head: Option<&str>,
        query: &str,
        documents: &[&str],
        o: &RerankOptions,
        long: Option<&LongOptions>,
    ) -> Result<Vec<Ranked>>;
    fn fill_mask(
        &self,
        head: Option<&str>,
        texts: &[&str],
        o: &FillMaskOptions,
        long: Option<&LongOptions>,
    ) -> Result<Vec<MaskFill>>;
    fn zero_shot(
        &self,
        head: Option<&str>,
        texts: &[&str],
        labels: &[&str],
        o: &ZeroShotOptions,
        long: Option<&LongOptions>,
    ) -> Result<Vec<ZeroShot>>;
    fn analyze(
        &self,
        texts: &[&str],
        o: &AnalyzeOptions,
        long: Option<&LongOptions>,
    ) -> Result<Vec<Analysis>>;
    fn tokenize(
        &self,
        text: &str,
        pair: Option<&str>,
        o: Option<&EncodeOptions>,
    ) -> Result<(Encoding, Vec<String>)>;
    /// Shows `read` the values of an output.
    fn run(&self, ids: &Ids, output: usize, call: &CallOptions, read: Read) -> Result<()>;
    /// Opens what is not open yet.
    fn load(&self) -> Result<()>;
    /// Answers something short with a task.
    fn prewarm(&self, task: Task, head: Option<&str>) -> Result<()>;
    fn state(&self) -> LoadState;
    /// The numbers of a task's object.
    fn metrics(&self, task: Task, head: Option<&str>) -> Result<Metrics>;
    /// The numbers of all that were asked.
    fn all_metrics(&self) -> Vec<Metrics>;
    /// Gives scratch memory back.
    fn trim(&self) -> Result<()>;
    /// The model itself, opened now if need be.
    fn model(&self) -> Result<&Arc<Model>>;
}

/// A task object on a shared model.
trait Asked: std::marker::Sized {
    fn make(model: Arc<Model>, head: Option<&str>) -> Result<Self>;
    fn head_name(&self) -> Result<String>;
    fn numbers(&self) -> Metrics;
    fn warm(&self) -> Result<()>;
}

macro_rules! asked {
    ($($type:ty, $head:expr;)*) => {$(
        impl Asked for $type {
            fn make(model: Arc<Model>, head: Option<&str>) -> Result<Self> {
                <$type>::from_model(model, head)
            }
            fn head_name(&self) -> Result<String> {
                #[allow(clippy::redundant_closure_call, reason = "a macro's argument")]
                ($head)(self)
            }
            fn numbers(&self) -> Metrics {
                self.metrics()
            }
            fn warm(&self) -> Result<()> {
                self.prewarm()
            }
        }
    )*};
}

asked! {
    TextClassifier, |t: &TextClassifier| Ok(t.head()?.name.clone());
    TokenClassifier, |t: &TokenClassifier| Ok(t.head()?.name.clone());
    QuestionAnswerer, |t: &QuestionAnswerer| Ok(t.head()?.name.clone());
    TextEmbedder, |t: &TextEmbedder| Ok(t.head()?.name.clone());
    MaskFiller, |t: &MaskFiller| Ok(t.head()?.name.clone());
    ZeroShotClassifier, |t: &ZeroShotClassifier| Ok(t.head()?.name.clone());
    Reranker, |t: &Reranker| Ok(match t.head()? {
        pocketbert::tasks::RerankHead::Embedding(h) => h.name.clone(),
        pocketbert::tasks::RerankHead::Pair(h) => h.name.clone(),
    });
}

impl Asked for Summarizer {
    fn make(model: Arc<Model>, head: Option<&str>) -> Result<Self> {
        Summarizer::from_model(model, head)
    }
    fn head_name(&self) -> Result<String> {
        self.embedder().head_name()
    }
    fn numbers(&self) -> Metrics {
        self.embedder().metrics()
    }
    fn warm(&self) -> Result<()> {
        self.embedder().prewarm()
    }
}

impl Asked for Analyzer {
    fn make(model: Arc<Model>, head: Option<&str>) -> Result<Self> {
        match head {
            None => Analyzer::from_model(model),
            Some(_) => Err(Error::invalid("an analysis asks several heads: name them in its options")),
        }
    }
    fn head_name(&self) -> Result<String> {
        Ok(String::new())
    }
    fn numbers(&self) -> Metrics {
        self.metrics()
    }
    fn warm(&self) -> Result<()> {
        self.prewarm()
    }
}

/// The objects of one task: one per head, and which of them is the bundle's choice.
struct Objects<T> {
    by_head: Mutex<Vec<(String, Arc<T>)>>,
    choice: OnceLock<Arc<T>>,
}

impl<T> Default for Objects<T> {
    fn default() -> Self {
        Objects { by_head: Mutex::new(vec![]), choice: OnceLock::new() }
    }
}

impl<T: Asked> Objects<T> {
    fn get(&self, model: &Arc<Model>, head: Option<&str>) -> Result<Arc<T>> {
        if head.is_none()
            && let Some(t) = self.choice.get()
        {
            return Ok(t.clone());
        }
        let mut all = self.by_head.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, t)) = all.iter().find(|(name, _)| Some(name.as_str()) == head) {
            return Ok(t.clone());
        }
        let made = T::make(model.clone(), head)?;
        let name = made.head_name()?;
        let known = all.iter().find(|(n, _)| *n == name).map(|(_, t)| t.clone());
        let t = known.unwrap_or_else(|| {
            let made = Arc::new(made);
            all.push((name, made.clone()));
            made
        });
        Ok(if head.is_none() { self.choice.get_or_init(|| t).clone() } else { t })
    }

    fn numbers(&self) -> Vec<Metrics> {
        let all = self.by_head.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|(_, t)| t.numbers()).collect()
    }
}

/// How a model is opened; again after a failure.
pub(crate) type Opener = Box<dyn Fn() -> Result<Model> + Send + Sync>;

/// A model, open or to be opened.
pub(crate) struct Real {
    opener: Option<Opener>,
    opening: Mutex<()>,
    model: OnceLock<Arc<Model>>,
    state: AtomicU8,
    classify: Objects<TextClassifier>,
    tag: Objects<TokenClassifier>,
    answer: Objects<QuestionAnswerer>,
    summarize: Objects<Summarizer>,
    embed: Objects<TextEmbedder>,
    rerank: Objects<Reranker>,
    fill_mask: Objects<MaskFiller>,
    zero_shot: Objects<ZeroShotClassifier>,
    analyze: Objects<Analyzer>,
}

impl Real {
    pub(crate) fn open(model: Model) -> Real {
        let real = Real::new(None, LoadState::Loaded);
        let _ = real.model.set(Arc::new(model));
        real
    }

    pub(crate) fn deferred(opener: Opener) -> Real {
        Real::new(Some(opener), LoadState::Unloaded)
    }

    fn new(opener: Option<Opener>, state: LoadState) -> Real {
        Real {
            opener,
            opening: Mutex::new(()),
            model: OnceLock::new(),
            state: AtomicU8::new(state as u8),
            classify: Objects::default(),
            tag: Objects::default(),
            answer: Objects::default(),
            summarize: Objects::default(),
            embed: Objects::default(),
            rerank: Objects::default(),
            fill_mask: Objects::default(),
            zero_shot: Objects::default(),
            analyze: Objects::default(),
        }
    }

    /// The object of a task, for `work`; an answer warms the model.
    fn ask<T: Asked, R>(
        &self,
        objects: &Objects<T>,
        head: Option<&str>,
        work: impl FnOnce(&T) -> Result<R>,
    ) -> Result<R> {
        let object = objects.get(self.model()?, head)?;
        let answer = work(&object)?;
        self.warmed();
        Ok(answer)
    }

    fn warmed(&self) {
        self.state.store(LoadState::Prewarmed as u8, Ordering::Release);
    }
}

/// `$each!(task, f)` calls `f` with the objects of `task`.
macro_rules! each {
    ($real:expr, $task:expr, $objects:ident => $do:expr) => {
        match $task {
            Task::Classify => {
                let $objects = &$real.classify;
                $do
            }
            Task::Tag => {
                let $objects = &$real.tag;
                $do
            }
            Task::Answer => {
                let $objects = &$real.answer;
                $do
            }
            Task::Summarize => {
                let $objects = &$real.summarize;
                $do
            }
            Task::Embed => {
                let $objects = &$real.embed;
                $do
            }
            Task::Rerank => {
                let $objects = &$real.rerank;
                $do
            }
            Task::FillMask => {
                let $objects = &$real.fill_mask;
                $do
            }
            Task::ZeroShot => {
                let $objects = &$real.zero_shot;
                $do
            }
            Task::Analyze => {
                let $objects = &$real.analyze;
                $do
            }
        }
    };
}

const TASKS: [Task; 9] = [
    Task::Classify,
    Task::Tag,
    Task::Answer,
    Task::Summarize,
    Task::Embed,
    Task::Rerank,
    Task::FillMask,
    Task::ZeroShot,
    Task::Analyze,
];

impl Engine for Real {
    fn classify(
        &self,
        head: Option<&str>,
        inputs: &[TextInput],
        o: &ClassifyOptions,
        long: Option<&LongOptions>,
    ) -> Result<Vec<Classification>> {
        self.ask(&self.classify, head, |t| {
            let Some(long) = long else { return t.classify_inputs(inputs, o) };
            let one = |i: &TextInput| match i.pair {
                None => t.classify_long(i.text, o, long),
                Some(_) => {
                    Err(Error::invalid("pairs are not read in windows: leave `window` out, or `pairs`"))
                }
            };
            inputs.iter().map(one).collect()
        })
    }

    fn tag(
        &self,
        head: Option<&str>,
        texts: &[&str],
        o: &TagOptions,
        long: Option<&LongOptions>,
    ) -> Result<Vec<Tagged>> {
        self.ask(&self.tag, head, |t| match long {
            None => t.tag_batch_with(texts, o),
            Some(long) => texts.iter().map(|x| t.tag_long(x, o, long)).collect(),
        })
    }

    fn tag_words(
        &self,
        head: Option<&str>,
        words: &[&str],
        o: &TagOptions,
        long: Option<&LongOptions>,
    ) -> Result<Tagged> {
        self.ask(&self.tag, head, |t| match long {
            None => t.tag_words(words, o),
            Some(long) => t.tag_words_long(words, o, long),
        })
    }

    fn answer(&self, head: Option<&str>, pairs: &[(&str, &str)], o: &AnswerOptions) -> Result<Vec<Answers>> {
        self.ask(&self.answer, head, |t| t.answer_batch_with(pairs, o))
    }

    fn summarize(&self, head: Option<&str>, text: &str, o: &SummaryOptions) -> Result<Summary> {
        self.ask(&self.summarize, head, |t| t.summarize(text, o))
    }

    fn embed(
        &self,
        head: Option<&str>,
        texts: &[&str],
        o: &EmbedOptions,
        long: Option<&LongOptions>,
    ) -> Result<Vec<Embedding>> {
        self.ask(&self.embed, head, |t| match long {
            None => t.embed_batch_with(texts, o),
            Some(long) => texts.iter().map(|x| t.embed_long(x, o, long)).collect(),
        })
    }

    fn rerank(
        &self,
        head: Option<&str>,
        query: &str,
        documents: &[&str],
        o: &RerankOptions,
        long: Option<&LongOptions>,
    ) -> Result<Vec<Ranked>> {
        self.ask(&self.rerank, head, |t| match long {
            None => t.rank_with(query, documents, o),
            Some(long) => t.rank_long(query, documents, o, long),
        })
    }

    fn fill_mask(
        &self,
        head: Option<&str>,
        texts: &[&str],
        o: &FillMaskOptions,
        long: Option<&LongOptions>,
    ) -> Result<Vec<MaskFill>> {
        self.ask(&self.fill_mask, head, |t| match long {
            None => t.fill_batch_with(texts, o),
            Some(long) => texts.iter().map(|x| t.fill_long(x, o, long)).collect(),
        })
    }

    fn zero_shot(
        &self,
        head: Option<&str>,
        texts: &[&str],
        labels: &[&str],
        o: &ZeroShotOptions,
        long: Option<&LongOptions>,
    ) -> Result<Vec<ZeroShot>> {
        self.ask(&self.zero_shot, head, |t| match long {
            None => t.classify_batch_with(texts, labels, o),
            Some(long) => texts.iter().map(|x| t.classify_long(x, labels, o, long)).collect(),
        })
    }

    fn analyze(
        &self,
        texts: &[&str],
        o: &AnalyzeOptions,
        long: Option<&LongOptions>,
    ) -> Result<Vec<Analysis>> {
        self.ask(&self.analyze, None, |t| match long {
            None => t.analyze_batch_with(texts, o),
            Some(long) => texts.iter().map(|x| t.analyze_long(x, o, long)).collect(),
        })
    }

    fn tokenize(
        &self,
        text: &str,
        pair: Option<&str>,
        o: Option<&EncodeOptions>,
    ) -> Result<(Encoding, Vec<String>)> {
        let model = self.model()?;
        let tokenizer = model.tokenizer()?;
        let own = EncodeOptions { max_length: model.info().max_length, ..EncodeOptions::default() };
        let e = tokenizer.encode(text, pair, o.unwrap_or(&own))?;
        let names = e.ids.iter().map(|&id| tokenizer.token(id).unwrap_or_default()).collect();
        Ok((e, names))
    }

    fn run(&self, ids: &Ids, output: usize, call: &CallOptions, read: Read) -> Result<()> {
        ids.run(self.model()?, output, call, read)?;
        self.warmed();
        Ok(())
    }

    fn load(&self) -> Result<()> {
        self.model().map(|_| ())
    }

    fn prewarm(&self, task: Task, head: Option<&str>) -> Result<()> {
        each!(self, task, objects => self.ask(objects, head, Asked::warm))
    }

    fn state(&self) -> LoadState {
        match self.state.load(Ordering::Acquire) {
            0 => LoadState::Unloaded,
            1 => LoadState::Loading,
            2 => LoadState::Loaded,
            _ => LoadState::Prewarmed,
        }
    }

    fn metrics(&self, task: Task, head: Option<&str>) -> Result<Metrics> {
        let model = self.model()?;
        each!(self, task, objects => Ok(objects.get(model, head)?.numbers()))
    }

    fn all_metrics(&self) -> Vec<Metrics> {
        TASKS.into_iter().flat_map(|task| each!(self, task, objects => objects.numbers())).collect()
    }

    fn trim(&self) -> Result<()> {
        if let Some(m) = self.model.get() {
            m.plan().trim();
        }
        Ok(())
    }

    fn model(&self) -> Result<&Arc<Model>> {
        if let Some(m) = self.model.get() {
            return Ok(m);
        }
        let _one = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(m) = self.model.get() {
            return Ok(m);
        }
        let opener = self.opener.as_ref().ok_or_else(|| Error::internal("a model without a source"))?;
        self.state.store(LoadState::Loading as u8, Ordering::Release);
        match opener() {
            Ok(m) => {
                let m = self.model.get_or_init(|| Arc::new(m));
                self.state.store(LoadState::Loaded as u8, Ordering::Release);
                Ok(m)
            }
            Err(e) => {
                self.state.store(LoadState::Unloaded as u8, Ordering::Release);
                Err(e)
            }
        }
    }
}
