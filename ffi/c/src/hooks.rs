//! For tests alone: faults on purpose, and a model that answers at once. Not in any build that is shipped: the feature
//! `dangerous-test-hooks` adds functions that make every other function panic.

use std::ffi::{CStr, c_char};
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, Ordering};

use pocketbert::error::{Error, ErrorKind, Result};
use pocketbert::metrics::Metrics;
use pocketbert::model::Model;
use pocketbert::tasks::{
    Analysis, AnalyzeOptions, Answer, AnswerOptions, Answers, CallOptions, Candidate, Classification,
    ClassifyOptions, EmbedOptions, Embedding, Entity, FillMaskOptions, FilledMask, HeadAnalysis, HeadAnswer,
    LoadState, LongOptions, MaskFill, Ranked, RerankOptions, Scored, Summary, SummaryOptions,
    SummarySentence, TagOptions, Tagged, TextInput, ZeroShot, ZeroShotLabel, ZeroShotOptions,
};
use pocketbert::text::{EncodeOptions, Encoding, Span};

use crate::engine::{Engine, Task};
use crate::ids::{Ids, Read};

static FAULT: AtomicPtr<c_char> = AtomicPtr::new(std::ptr::null_mut());

/// Test builds only: from now on the exported function of that name panics in its body; `*` stands for all, NULL for
/// none.
///
/// # Safety
/// `function` is NULL or a string that stays.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pocketbert_test_fault(function: *const c_char) {
    FAULT.store(function.cast_mut(), Ordering::SeqCst);
}

/// Panics if the function is to.
pub(crate) fn fault(function: &str) {
    let wanted = FAULT.load(Ordering::SeqCst);
    if !wanted.is_null() {
        // SAFETY: the promise of `pocketbert_test_fault`.
        let wanted = unsafe { CStr::from_ptr(wanted) }.to_bytes();
        assert!(wanted != b"*" && wanted != function.as_bytes(), "a fault on purpose in {function}");
    }
}

/// A model that answers at once, the same whatever it is asked.
pub(crate) struct Stub;

fn stop(call: &CallOptions) -> Result<()> {
    match call.cancel.as_ref().is_some_and(|c| c.is_cancelled()) {
        true => Err(Error::new(ErrorKind::Cancelled, "the run was cancelled")),
        false => Ok(()),
    }
}

fn known(head: Option<&str>) -> Result<()> {
    match head {
        None | Some("stub") => Ok(()),
        Some(h) => Err(Error::new(ErrorKind::NotFound, format!("the model has no head `{h}`"))),
    }
}

fn vector() -> Result<Embedding> {
    let mut bytes = b"PBV1\0\0\0\0\x02\0\0\0\0\0\x80\x3f".to_vec();
    bytes.extend([7; 32]);
    bytes.extend([1.0f32, -2.0].iter().flat_map(|x| x.to_le_bytes()));
    Embedding::from_bytes(&bytes)
}

fn all(text: &str) -> Span {
    Span::new(0, text.len())
}

impl Engine for Stub {
    fn classify(
        &self,
        head: Option<&str>,
        inputs: &[TextInput],
        o: &ClassifyOptions,
        long: Option<&LongOptions>,
    ) -> Result<Vec<Classification>> {
        known(head)?;
        stop(&o.call)?;
        let _ = long;
        let one = |i: &TextInput| Classification {
            labels: vec![Scored { label: "höher".into(), index: 1, probability: 0.75, logit: 1.5 }],
            logits: vec![0.5, 1.5],
            token_count: i.text.len() + i.pair.map_or(0, str::len),
            truncated: false,
            model_version: String::new(),
        };
        Ok(inputs.iter().map(one).collect())
    }

    fn tag(
        &self,
        head: Option<&str>,
        texts: &[&str],
        o: &TagOptions,
        _: Option<&LongOptions>,
    ) -> Result<Vec<Tagged>> {
        known(head)?;
        stop(&o.call)?;
        let entity = |t: &str| Entity {
            label: "all".into(),
            score: 0.5,
            bytes: all(t),
            chars: all(t),
            utf16: all(t),
            words: None,
        };
        let one = |t: &&str| Tagged {
            entities: vec![entity(t)],
            token_count: t.len(),
            truncated: false,
            model_version: String::new(),
        };
        Ok(texts.iter().map(one).collect())
    }

    fn tag_words(
        &self,
        head: Option<&str>,
        words: &[&str],
        o: &TagOptions,
        long: Option<&LongOptions>,
    ) -> Result<Tagged> {
        let mut tagged = self.tag(head, &[&words.join(" ")], o, long)?;
        tagged.pop().ok_or_else(|| Error::internal("no answer"))
    }

    fn answer(&self, head: Option<&str>, pairs: &[(&str, &str)], o: &AnswerOptions) -> Result<Vec<Answers>> {
        known(head)?;
        stop(&o.call)?;
        let one = |p: &(&str, &str)| Answers {
            answers: vec![Answer {
                score: 0.5,
                logit: 1.0,
                bytes: all(p.1),
                chars: all(p.1),
                utf16: all(p.1),
            }],
            no_answer: false,
            null_margin: -1.0,
            null_score: 0.1,
            windows: 1,
            model_version: String::new(),
        };
        Ok(pairs.iter().map(one).collect())
    }

    fn summarize(&self, head: Option<&str>, text: &str, o: &SummaryOptions) -> Result<Summary> {
        known(head)?;
        stop(&o.call)?;
        let s =
            SummarySentence { index: 0, score: 1.0, bytes: all(text), chars: all(text), utf16: all(text) };
        Ok(Summary { sentences: vec![s], of: 1 })
    }

    fn embed(
        &self,
        head: Option<&str>,
        texts: &[&str],
        o: &EmbedOptions,
        _: Option<&LongOptions>,
    ) -> Result<Vec<Embedding>> {
        known(head)?;
        stop(&o.call)?;
        texts.iter().map(|_| vector()?.to_format(o.format)).collect()
    }

    fn rerank(
        &self,
        head: Option<&str>,
        _: &str,
        documents: &[&str],
        o: &RerankOptions,
        _: Option<&LongOptions>,
    ) -> Result<Vec<Ranked>> {
        known(head)?;
        stop(&o.call)?;
        Ok((0..documents.len()).map(|index| Ranked { index, score: 1.0 / (index + 1) as f32 }).collect())
    }

    fn fill_mask(
        &self,
        head: Option<&str>,
        texts: &[&str],
        o: &FillMaskOptions,
        _: Option<&LongOptions>,
    ) -> Result<Vec<MaskFill>> {
        known(head)?;
        stop(&o.call)?;
        let candidate = |t: &str| Candidate {
            token: "x".into(),
            id: 3,
            probability: 0.5,
            logit: 1.0,
            filled: t.to_string(),
        };
        let one = |t: &&str| MaskFill {
            masks: vec![FilledMask { span: all(t), candidates: vec![candidate(t)] }],
            token_count: t.len(),
            truncated: false,
            model_version: String::new(),
        };
        Ok(texts.iter().map(one).collect())
    }

    fn zero_shot(
        &self,
        head: Option<&str>,
        texts: &[&str],
        labels: &[&str],
        o: &ZeroShotOptions,
        _: Option<&LongOptions>,
    ) -> Result<Vec<ZeroShot>> {
        known(head)?;
        stop(&o.call)?;
        let label = |(index, l): (usize, &&str)| ZeroShotLabel {
            label: l.to_string(),
            index,
            probability: 0.5,
            entailment: 1.0,
            contradiction: 0.0,
        };
        let one = |_: &&str| ZeroShot {
            labels: labels.iter().enumerate().map(label).collect(),
            truncated: false,
            model_version: String::new(),
        };
        Ok(texts.iter().map(one).collect())
    }

    fn analyze(&self, texts: &[&str], o: &AnalyzeOptions, _: Option<&LongOptions>) -> Result<Vec<Analysis>> {
        stop(&o.call)?;
        let labels = self.classify(
            None,
            &[(*texts.first().unwrap_or(&"")).into()],
            &ClassifyOptions::default(),
            None,
        )?;
        let heads: Vec<_> = labels
            .into_iter()
            .map(|c| HeadAnalysis {
                head: "stub".into(),
                task: pocketbert::bundle::manifest::Task::TextClassification,
                answer: HeadAnswer::Labels(c),
            })
            .collect();
        let one = |t: &&str| Analysis {
            heads: heads.clone(),
            token_count: t.len(),
            truncated: false,
            model_version: String::new(),
        };
        Ok(texts.iter().map(one).collect())
    }

    fn tokenize(
        &self,
        text: &str,
        _: Option<&str>,
        _: Option<&EncodeOptions>,
    ) -> Result<(Encoding, Vec<String>)> {
        let e = Encoding { ids: vec![5], type_ids: vec![0], offsets: vec![all(text)], ..Encoding::default() };
        Ok((e, vec![text.to_string()]))
    }

    fn run(&self, _: &Ids, output: usize, call: &CallOptions, read: Read) -> Result<()> {
        stop(call)?;
        if output > 0 {
            return Err(Error::new(ErrorKind::NotFound, "the model has one output"));
        }
        read(&[0.5, 1.5])
    }

    fn load(&self) -> Result<()> {
        Ok(())
    }

    fn prewarm(&self, _: Task, head: Option<&str>) -> Result<()> {
        known(head)
    }

    fn state(&self) -> LoadState {
        LoadState::Loaded
    }

    fn metrics(&self, _: Task, _: Option<&str>) -> Result<Metrics> {
        Err(Error::new(ErrorKind::FailedPrecondition, "a stub counts nothing"))
    }

    fn all_metrics(&self) -> Vec<Metrics> {
        vec![]
    }

    fn trim(&self) -> Result<()> {
        Ok(())
    }

    fn model(&self) -> Result<&Arc<Model>> {
        Err(Error::new(ErrorKind::FailedPrecondition, "a stub is no model"))
    }
}

/// Test builds only: a model without a model, whose answers are made up.
///
/// # Safety
/// `model` is good for writing.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_test_model(
    model: *mut *mut crate::model::pocketbert_model,
) -> crate::status::pocketbert_status {
    crate::boundary::call("pocketbert_test_model", || {
        // SAFETY: the caller's promise.
        let out = unsafe { crate::args::Out::new("model", model) }?;
        out.set(crate::handle::insert(crate::model::ModelObject::new(Stub))?);
        Ok::<_, Error>(())
    })
}
