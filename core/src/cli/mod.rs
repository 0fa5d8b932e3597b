//! The `pocketbert` command: every subcommand is a file of its own.
//!
//! Exit status: 0 good, 1 a check failed, 2 bad input or usage. Answers go to stdout, everything else to
//! stderr.

mod analyze;
mod answer;
mod args;
mod bench;
mod classify;
mod embed;
mod feed;
mod fill_mask;
mod forward;
mod gate;
mod inspect;
mod io;
mod load;
mod measure;
mod metrics;
mod profile;
mod progress;
mod rerank;
mod run;
mod self_test;
mod summarize;
mod tag;
mod terminal;
mod tokenize;
mod window;
mod zero_shot;

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use clap::Parser;

use crate::error::Error;
use args::{Args, Command};

/// Why a command did not end well.
enum Failure {
    /// A check that the user asked for failed: status 1.
    Check(String),
    /// Bad input or usage, or anything else that kept the command from its work: status 2.
    Bad(Error),
    /// Whoever read our output has gone. That is their right: status 0, no message.
    Gone,
}

type Outcome<T = ()> = Result<T, Failure>;

impl From<Error> for Failure {
    fn from(e: Error) -> Self {
        Failure::Bad(e)
    }
}

impl From<std::io::Error> for Failure {
    /// For errors of writing to stdout; those of files are made with their path by [`Error::io`].
    fn from(e: std::io::Error) -> Self {
        if e.kind() == std::io::ErrorKind::BrokenPipe {
            return Failure::Gone;
        }
        Failure::Bad(Error::io("standard output", &e))
    }
}

impl From<serde_json::Error> for Failure {
    fn from(e: serde_json::Error) -> Self {
        match e.io_error_kind() {
            Some(kind) => std::io::Error::from(kind).into(),
            None => Failure::Bad(Error::internal(format!("an answer could not be written as JSON: {e}"))),
        }
    }
}

/// Reads the command line, does what it says, and gives the exit status. Never panics.
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(a) => a,
        Err(e) => {
            // `--help` and `--version` come here too, for stdout and with status 0.
            let _ = e.print();
            return if e.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    if std::env::var_os("RUST_BACKTRACE").is_none() {
        // Panics inside tract or the tokenizer are caught and become errors; their own message would only
        // confuse.
        std::panic::set_hook(Box::new(|_| {}));
    }
    let outcome = catch_unwind(AssertUnwindSafe(|| dispatch(args))).unwrap_or_else(|_| {
        Err(Failure::Bad(Error::internal(
            "a defect of pocketbert: please report it with the output of the same command under `RUST_BACKTRACE=1`",
        )))
    });
    let mut stderr = std::io::stderr().lock();
    match outcome {
        Ok(()) | Err(Failure::Gone) => ExitCode::SUCCESS,
        Err(Failure::Check(why)) => {
            let _ = writeln!(stderr, "pocketbert: check failed: {why}");
            ExitCode::from(1)
        }
        Err(Failure::Bad(e)) => {
            let _ = writeln!(stderr, "pocketbert: {e}");
            ExitCode::from(2)
        }
    }
}

fn dispatch(args: Args) -> Outcome {
    match args.command {
        Command::Classify(a) => classify::classify(&a),
        Command::Analyze(a) => analyze::analyze(&a),
        Command::Tag(a) => tag::tag(&a),
        Command::Answer(a) => answer::answer(&a),
        Command::Summarize(a) => summarize::summarize(&a),
        Command::Embed(a) => embed::embed(&a),
        Command::Rerank(a) => rerank::rerank(&a),
        Command::FillMask(a) => fill_mask::fill_mask(&a),
        Command::ZeroShot(a) => zero_shot::zero_shot(&a),
        Command::Run(a) => run::run(&a),
        Command::Inspect(a) => inspect::inspect(&a),
        Command::Tokenize(a) => tokenize::tokenize(&a),
        Command::Bench(a) => bench::bench(&a),
        Command::SelfTest(a) => self_test::self_test(&a),
    }
}
