//! What the tasks on vectors, masks and pairs answer on the tiny model: golden lines.

use std::sync::Arc;

use pocketbert::kernels::Isa;
use pocketbert::model::Model;
use pocketbert::tasks::CallOptions;
use pocketbert::{
    EmbedOptions, FillMaskOptions, MaskFiller, RerankOptions, Reranker, Result, TextEmbedder, VectorFormat,
    ZeroShotClassifier, ZeroShotOptions,
};
use serde_json::{Value, json};

const TEXTS: [&str; 6] = [
    "play some jazz",
    "Will it rain in Zürich tomorrow? 🌧",
    "WINNER!! Claim your £900 prize now",
    "",
    "book a table for two at an Italian place",
    "東京 e\u{301}te\u{301} naïve",
];
const MASKS: [&str; 3] = ["play some [MASK] music", "will it [MASK] in [MASK] tomorrow", "[MASK]"];
const LABELS: [&str; 3] = ["play music", "get weather", "book restaurant"];

fn bits(v: &[f32]) -> Vec<String> {
    v.iter().map(|x| format!("{:08x}", x.to_bits())).collect()
}

/// The answers of `model` on `isa`, one JSON object each; every float by its bits.
pub fn lines(model: &Arc<Model>, isa: Isa) -> Result<Vec<Value>> {
    let call = CallOptions { kernel: Some(isa), ..CallOptions::default() };
    let mut out = vec![];
    let embedder = TextEmbedder::from_model(model.clone(), None)?;
    for (format, dims) in [(VectorFormat::F32, None), (VectorFormat::F16, Some(48)), (VectorFormat::I8, None)]
    {
        let options = EmbedOptions { format, dims, call: call.clone(), ..EmbedOptions::default() };
        let v = embedder.embed_batch_with(&TEXTS, &options)?;
        let first = v.first().ok_or_else(|| pocketbert::Error::internal("no vector"))?;
        let cosines = v.iter().map(|e| first.cosine(e)).collect::<Result<Vec<_>>>()?;
        let values: Vec<_> = v.iter().map(|e| bits(&e.values())).collect();
        out.push(
            json!({"task": "embed", "format": format.name(), "values": values, "cosines": bits(&cosines)}),
        );
    }
    let ranker = Reranker::from_model(model.clone(), None)?;
    let options = RerankOptions { call: call.clone(), ..RerankOptions::default() };
    let ranked = ranker.rank_with("music please", &TEXTS, &options)?;
    let scores: Vec<f32> = ranked.iter().map(|r| r.score).collect();
    let order: Vec<usize> = ranked.iter().map(|r| r.index).collect();
    out.push(json!({"task": "rerank", "order": order, "scores": bits(&scores)}));
    let filler = MaskFiller::from_model(model.clone(), None)?;
    let options = FillMaskOptions { call: call.clone(), ..FillMaskOptions::default() };
    for a in filler.fill_batch_with(&MASKS, &options)? {
        for m in a.masks {
            let ids: Vec<u32> = m.candidates.iter().map(|c| c.id).collect();
            let numbers: Vec<f32> = m.candidates.iter().flat_map(|c| [c.logit, c.probability]).collect();
            out.push(json!({"task": "fill-mask", "at": m.span.start, "ids": ids, "numbers": bits(&numbers)}));
        }
    }
    let classifier = ZeroShotClassifier::from_model(model.clone(), None)?;
    for multi_label in [false, true] {
        let options = ZeroShotOptions { multi_label, call: call.clone(), ..ZeroShotOptions::default() };
        for a in classifier.classify_batch_with(&TEXTS, &LABELS, &options)? {
            let order: Vec<usize> = a.labels.iter().map(|l| l.index).collect();
            let numbers: Vec<f32> = a.labels.iter().flat_map(|l| [l.entailment, l.probability]).collect();
            out.push(
                json!({"task": "zero-shot", "multi": multi_label, "order": order, "numbers": bits(&numbers)}),
            );
        }
    }
    Ok(out)
}
