//! Several heads on a text of any length.

use super::readers::{Parts, Reader};
use super::{Analysis, AnalyzeOptions, Analyzer, HeadAnalysis, HeadAnswer};
use crate::error::{Error, Result};
use crate::metrics::Seen;
use crate::tasks::answer::AnswerOptions;
use crate::tasks::window::{Long, LongOptions, LongProgress, Progress, Shape, run_shaped};

/// A head that reads the shared windows.
struct Asked<'a> {
    /// Its place in the answer.
    slot: usize,
    reader: &'a Reader,
    output: usize,
    shape: Shape,
    parts: Parts<'a>,
}

impl Analyzer {
    /// Asks heads about a text of any length: it is read in windows once, each window is run once for all heads, and
    /// each head merges its windows as the long method of its own task does, to the same bits. `options.truncation`
    /// does not matter. `token_count` counts the text's tokens once, and no special tokens.
    ///
    /// Heads for which the bundle (or their `max_length`) says other windows are read in a pass of their own, and so
    /// is a `question`; progress counts the text once for each pass.
    ///
    /// ```
    /// use pocketbert::tasks::{AnalyzeOptions, Analyzer, HeadAnswer, LongOptions};
    /// # fn main() -> pocketbert::Result<()> {
    /// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny.pbert");
    /// let analyzer = Analyzer::open(path)?;
    /// let text = "book a table for two in Paris. ".repeat(200);
    /// let analysis = analyzer.analyze_long(&text, &AnalyzeOptions::default(), &LongOptions::default())?;
    /// let Some(HeadAnswer::Tags(t)) = analysis.head("slots") else { panic!("no tags") };
    /// assert!(t.entities.len() > 200 && !analysis.truncated);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`analyze_with`](Self::analyze_with), and `InvalidArgument` for windows that cannot be (see
    /// [`Tokenizer::windows`](crate::text::Tokenizer::windows)) and for a vote with a head that makes vectors.
    pub fn analyze_long(&self, text: &str, options: &AnalyzeOptions, long: &LongOptions) -> Result<Analysis> {
        let answer = self.session.observe(1, |model, heads| {
            let own = options.own();
            let parts = heads.asked(model, options, &own)?;
            let whole = Long::Text(text);
            let mut asked = vec![];
            for (slot, (reader, part)) in parts.iter().enumerate() {
                let Some(part) = part else { continue };
                let shape = long.shape(model, &reader.name, part.encode.max_length, &whole)?;
                let (output, parts) = (part.output, part.parts(&reader.name, text, long.merge)?);
                asked.push(Asked { slot, reader, output, shape, parts });
            }
            let mut passes: Vec<Vec<Asked>> = vec![];
            for a in asked {
                match passes.iter_mut().find(|p| p.first().is_some_and(|f| f.shape == a.shape)) {
                    Some(pass) => pass.push(a),
                    None => passes.push(vec![a]),
                }
            }
            let questions = parts.iter().filter(|(_, part)| part.is_none()).count();
            let mut told = Told { long, total: text.len(), passes: passes.len() + questions, pass: 0 };
            let version = &model.info().version;
            let mut answers: Vec<Option<HeadAnswer>> = parts.iter().map(|_| None).collect();
            let (mut text_tokens, mut run_tokens, mut unknown) = (0, 0, 0);
            for mut pass in passes {
                let Some(shape) = pass.first().map(|a| a.shape) else { continue };
                // Two heads may read one output: each output is computed once.
                let mut outputs: Vec<usize> = pass.iter().map(|a| a.output).collect();
                outputs.sort_unstable();
                outputs.dedup();
                let (call, long) = (&options.call, told.pass());
                let read = run_shaped(model, shape, &outputs, Long::Text(text), &long, call, |w, rows| {
                    for a in &mut pass {
                        let at = outputs.iter().position(|o| *o == a.output);
                        a.parts.add(w, at.and_then(|at| rows.get(at).copied()).unwrap_or_default())?;
                    }
                    Ok(())
                })?;
                text_tokens = text_tokens.max(read.text_tokens);
                run_tokens += read.run_tokens;
                unknown = unknown.max(read.unknown);
                for a in pass {
                    let answer = a.parts.finish(&read, version, &a.reader.metrics)?;
                    *answers.get_mut(a.slot).ok_or_else(|| Error::internal("a head without a place"))? =
                        Some(answer);
                }
            }
            for (answer, (reader, _)) in answers.iter_mut().zip(&parts) {
                if let (Some(task), Some(question)) = (reader.answerer(model)?, &options.question) {
                    let own = AnswerOptions { long: told.pass(), ..own.answer.clone() };
                    *answer = Some(HeadAnswer::Answers(task.answer_with(question, text, &own)?));
                }
            }
            self.session.saw(&Seen { tokens: run_tokens, unknown, ..Default::default() });
            let heads = answers.into_iter().zip(&parts).filter_map(|(answer, (r, _))| {
                Some(HeadAnalysis { head: r.name.clone(), task: r.task, answer: answer? })
            });
            Ok(Analysis {
                heads: heads.collect(),
                token_count: text_tokens,
                truncated: false,
                model_version: version.clone(),
            })
        })?;
        if let Ok((_, heads)) = self.session.ready() {
            heads.readers.iter().for_each(|r| r.metrics.settle());
        }
        Ok(answer)
    }
}

/// Progress over several passes.
struct Told<'a> {
    long: &'a LongOptions,
    /// Bytes of the text.
    total: usize,
    passes: usize,
    /// Passes begun.
    pass: usize,
}

impl Told<'_> {
    /// The options of the next pass, whose progress goes on where that of the last one ended.
    fn pass(&mut self) -> LongOptions {
        let (before, passes, total) = (self.pass, self.passes, self.total);
        self.pass += 1;
        let outer = self.long.clone();
        let tell = move |p: LongProgress| {
            let done = before.saturating_mul(total).saturating_add(p.done);
            outer.tell(LongProgress { windows: p.windows, done, total: passes.saturating_mul(total) })
        };
        let progress = self.long.progress.as_ref().map(|_| Progress::or_stop(tell));
        LongOptions { progress, ..self.long.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::manifest::Task;
    use crate::cancel::CancelToken;
    use crate::error::ErrorKind;
    use crate::tasks::{CallOptions, TextClassifier, TextEmbedder, TokenClassifier, WindowMerge};
    use crate::{ClassifyOptions, EmbedOptions, QuestionAnswerer, TagOptions};
    use std::sync::{Arc, Mutex};

    const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny.pbert");

    fn text() -> String {
        let parts =
            ["Book a table for two in Zürich. ", "Will it rain? 🌧 ", "WIN a FREE prize, call 0800 1! "];
        (0..90).map(|i| parts[i * i % 3]).collect()
    }

    /// What the long method of each head's own task answers.
    fn alone(a: &Analyzer, text: &str, question: &str, long: &LongOptions) -> Vec<(String, HeadAnswer)> {
        let model = a.model().unwrap();
        let one = |name: &str| {
            let (m, head) = (model.clone(), Some(name));
            match model.bundle().unwrap().manifest().head(head).unwrap().task {
                Task::TextClassification => {
                    let c = TextClassifier::from_model(m, head).unwrap();
                    HeadAnswer::Labels(c.classify_long(text, &ClassifyOptions::default(), long).unwrap())
                }
                Task::TokenClassification => {
                    let t = TokenClassifier::from_model(m, head).unwrap();
                    HeadAnswer::Tags(t.tag_long(text, &TagOptions::default(), long).unwrap())
                }
                Task::Embedding => {
                    let e = TextEmbedder::from_model(m, head).unwrap();
                    HeadAnswer::Vector(e.embed_long(text, &EmbedOptions::default(), long).unwrap())
                }
                Task::QuestionAnswering => {
                    let q = QuestionAnswerer::from_model(m, head).unwrap();
                    let options = AnswerOptions { long: long.clone(), ..AnswerOptions::default() };
                    HeadAnswer::Answers(q.answer_with(question, text, &options).unwrap())
                }
                other => panic!("{other:?} has no comparison here"),
            }
        };
        a.heads().unwrap().into_iter().map(|name| (name.to_string(), one(name))).collect()
    }

    fn named(a: &Analysis) -> Vec<(String, HeadAnswer)> {
        a.heads.iter().map(|h| (h.head.clone(), h.answer.clone())).collect()
    }

    #[test]
    fn one_pass_equals_the_long_method_of_each_task_bit_for_bit() {
        let a = Analyzer::open(TINY).unwrap();
        let (text, options) = (text(), AnalyzeOptions::default());
        for (window, stride) in [(None, None), (Some(64), Some(40)), (Some(24), Some(22))] {
            for merge in [WindowMerge::Weighted, WindowMerge::Mean, WindowMerge::Max] {
                let long = LongOptions { window, stride, merge, progress: None };
                let got = a.analyze_long(&text, &options, &long).unwrap();
                assert_eq!(named(&got), alone(&a, &text, "", &long), "{window:?} {merge:?}");
                let Some(HeadAnswer::Labels(c)) = got.head("intent") else { panic!("no labels") };
                assert_eq!((got.token_count, got.truncated), (c.token_count, false));
            }
        }
        // A text that fits has its usual labels; an empty one has an answer.
        let short = a.analyze_long("play some jazz", &options, &LongOptions::default()).unwrap();
        let usual = a.analyze("play some jazz").unwrap();
        let labels = |a: &Analysis| match a.head("spam") {
            Some(HeadAnswer::Labels(c)) => c.labels.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(labels(&short), labels(&usual));
        assert_eq!(a.analyze_long("", &options, &LongOptions::default()).unwrap().token_count, 0);
    }

    #[test]
    fn heads_of_other_windows_and_questions_have_passes_of_their_own() {
        let a = Analyzer::open(concat!(env!("CARGO_MANIFEST_DIR"), "/../models/everyday.pbert")).unwrap();
        let text: String = text().chars().take(1500).collect();
        let text = text.as_str();
        let question = "Where is the table?";
        let told = Arc::new(Mutex::new(vec![]));
        let progress = Progress::new({
            let told = told.clone();
            move |p: LongProgress| told.lock().unwrap().push(p)
        });
        let quiet = LongOptions { window: Some(128), ..LongOptions::default() };
        let long = LongOptions { progress: Some(progress), ..quiet.clone() };
        let options = AnalyzeOptions { question: Some(question.into()), ..AnalyzeOptions::default() };
        let got = a.analyze_long(text, &options, &long).unwrap();
        assert_eq!(named(&got), alone(&a, text, question, &quiet));
        // One pass for all heads, and one for the question.
        let told = told.lock().unwrap();
        assert!(told.iter().all(|p| p.total == 2 * text.len()));
        assert!(told.windows(2).all(|p| p[0].done < p[1].done));
        assert_eq!(told.last().map(|p| p.done), Some(2 * text.len()));
    }

    #[test]
    fn what_cannot_be_and_a_stop_are_errors() {
        let a = Analyzer::open(TINY).unwrap();
        let kind =
            |o: &AnalyzeOptions, long: &LongOptions| a.analyze_long(&text(), o, long).unwrap_err().kind();
        let (options, default) = (AnalyzeOptions::default(), LongOptions::default());
        let skip = LongOptions { window: Some(16), stride: Some(15), ..default.clone() };
        assert_eq!(kind(&options, &skip), ErrorKind::InvalidArgument);
        let vote = LongOptions { merge: WindowMerge::Vote, ..default.clone() };
        let e = a.analyze_long("x", &options, &vote).unwrap_err();
        assert!(e.message().contains("embed") && e.kind() == ErrorKind::InvalidArgument, "{e}");
        let labels = AnalyzeOptions { heads: vec!["spam".into()], ..options.clone() };
        assert!(a.analyze_long("x", &labels, &vote).is_ok());
        // Progress may stop the call.
        let cancel = CancelToken::new();
        let trip = cancel.clone();
        let progress = Progress::new(move |p: LongProgress| {
            if p.windows == 2 {
                trip.cancel()
            }
        });
        let call = CallOptions { cancel: Some(cancel), ..CallOptions::default() };
        let stopped = AnalyzeOptions { call, ..options };
        let long = LongOptions { window: Some(32), progress: Some(progress), ..default };
        assert_eq!(kind(&stopped, &long), ErrorKind::Cancelled);
        // An error of progress is that of the call.
        let progress = Progress::or_stop(|_| Err(Error::exhausted("enough")));
        let long = LongOptions { progress: Some(progress), ..LongOptions::default() };
        assert_eq!(kind(&AnalyzeOptions::default(), &long), ErrorKind::ResourceExhausted);
    }
}
