//! Texts in, answers out: what all commands that answer texts one by one share.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::IsTerminal;
use std::path::Path;
use std::rc::Rc;

use super::Outcome;
use super::io::{Lines, nothing_to_do};
use super::progress::Progress;
use crate::error::{Error, Result};
use crate::tasks::Stream;

/// A text of the command line, or the lines of a file or of standard input.
pub struct Texts {
    source: Source,
    /// Read, and not answered yet.
    waiting: VecDeque<(u64, Rc<str>)>,
    /// Why no more is read.
    error: Option<Error>,
}

enum Source {
    One(Option<String>),
    Many(Lines),
}

impl Texts {
    /// # Errors
    /// Where nothing was given and a person sits at the keyboard, and for a file that cannot be read.
    pub fn open(text: Option<&str>, file: Option<&Path>) -> Result<Texts> {
        if text.is_none() && file.is_none() && std::io::stdin().is_terminal() {
            let what = "give a text, `-` for standard input, or `--file`; `--help` has examples";
            return Err(nothing_to_do(what));
        }
        match text.filter(|t| *t != "-") {
            Some(t) => Ok(Texts::one(t.to_string())),
            None => Texts::lines(file),
        }
    }

    /// One text.
    pub fn one(text: String) -> Texts {
        Texts { source: Source::One(Some(text)), waiting: VecDeque::new(), error: None }
    }

    /// The lines of `file`, or of standard input.
    pub fn lines(file: Option<&Path>) -> Result<Texts> {
        let source = Source::Many(Lines::open(file)?);
        Ok(Texts { source, waiting: VecDeque::new(), error: None })
    }

    /// Whether there may be several.
    pub fn many(&self) -> bool {
        matches!(self.source, Source::Many(_))
    }

    /// Answers all texts with what `stream` makes of them, reading ahead what can be had without waiting; `write`
    /// gets each text with its answer, in their order, as soon as it is ready.
    ///
    /// # Errors
    /// The first error, of a text, of reading or of writing; what came before it is written.
    pub fn answer<'a, A>(
        self,
        what: &str,
        stream: impl FnOnce(Feed) -> Stream<'a, Feed, A>,
        mut write: impl FnMut(&str, A) -> Outcome,
    ) -> Outcome {
        let progress = self.many().then(|| Progress::beside_answers(what));
        let texts = Rc::new(RefCell::new(self));
        let there = {
            let texts = texts.clone();
            move || texts.borrow().is_there()
        };
        for answer in stream(Feed(texts.clone())).while_there(there) {
            let read = texts.borrow_mut().waiting.pop_front();
            let (number, text) = read.ok_or_else(|| Error::internal("an answer without a text"))?;
            write(&text, answer.map_err(|e| texts.borrow().at(number, e))?)?;
            if let Some(p) = &progress {
                p.add(1);
            }
        }
        match texts.borrow_mut().error.take() {
            Some(e) => Err(e.into()),
            None => Ok(()),
        }
    }

    fn is_there(&self) -> bool {
        match &self.source {
            Source::One(text) => text.is_some(),
            Source::Many(lines) => lines.is_there(),
        }
    }

    fn at(&self, number: u64, e: Error) -> Error {
        match &self.source {
            Source::One(_) => e,
            Source::Many(lines) => lines.at_line(number, e),
        }
    }

    fn next(&mut self) -> Option<Rc<str>> {
        let (number, text) = match &mut self.source {
            Source::One(text) => (1, Ok(text.take())),
            Source::Many(lines) => {
                let line = lines.next();
                (lines.number(), line)
            }
        };
        match text {
            Ok(text) => {
                let text: Rc<str> = text?.into();
                self.waiting.push_back((number, text.clone()));
                Some(text)
            }
            Err(e) => {
                self.error = Some(e);
                None
            }
        }
    }
}

/// What a [`Stream`] reads.
pub struct Feed(Rc<RefCell<Texts>>);

impl Iterator for Feed {
    type Item = Rc<str>;

    fn next(&mut self) -> Option<Rc<str>> {
        self.0.borrow_mut().next()
    }
}

/// A stream for what no task object streams: `run` answers some texts together.
pub fn stream<'a, A>(feed: Feed, mut run: impl FnMut(&[&str]) -> Result<Vec<A>> + 'a) -> Stream<'a, Feed, A> {
    let run = move |items: &[Rc<str>]| run(&items.iter().map(|t| &**t).collect::<Vec<_>>());
    Stream::new(feed, |t| t.len(), Box::new(run))
}
