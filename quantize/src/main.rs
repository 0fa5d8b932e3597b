//! `pocketbert-quantize`: from an FP32 encoder to a bundle that someone can sign.

mod adaround;
mod calibration;
mod commands;
mod data;
mod eval;
mod files;
mod gates;
mod gptq;
mod graph;
mod onnx;
mod progress;
mod report;
mod slices;
mod stats;
mod threads;
mod tie;
mod validate;
mod weights;

use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Parser, Subcommand};
use pocketbert::{Error, ErrorKind, Result};

const EXAMPLES: &str = "\
Examples:
  # the default bundle, from the files that models/everyday/export.py and data.py write
  pocketbert-quantize quantize out/model.onnx --heads out/heads.json --tokenizer out/tokenizer.json \\
      --name everyday --model-version 1.0.0 --license Apache-2.0 \\
      --self-test models/self-test.jsonl --out models/everyday.pbert

  # how far it is from FP32, and whether that is near enough
  pocketbert-quantize validate --reference out/model.onnx --model models/everyday.pbert --sets data/sets.json \\
      --gate 'accuracy_drop<=0.1pt, flips<=0.3%, kl<=2e-4'";

/// Quantizes an FP32 encoder of the BERT family to int8, measures what that costs, and writes a PocketBERT bundle.
///
/// Exit status: 0 done, 1 a gate failed, 2 an error.
#[derive(Parser)]
#[command(version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Quantize a model and write a bundle.
    Quantize(commands::quantize::QuantizeArgs),
    /// What each layer costs when it alone is quantized.
    Sensitivity(commands::sensitivity::SensitivityArgs),
    /// Choose temperatures and thresholds on held-out texts and keep them in the bundle.
    Fit(commands::fit::FitArgs),
    /// What a model is: heads, layers, sizes, what runs, and the validation that it carries.
    Inspect(commands::inspect::InspectArgs),
    /// Put a bundle together, check it, take it apart.
    Bundle(commands::bundle::BundleArgs),
    /// Look at the inputs of every linear layer on real texts, once.
    Calibrate(commands::calibrate::CalibrateArgs),
    /// Compare two models on test sets, and judge gates.
    Validate(commands::validate::ValidateArgs),
}

static STOP: AtomicBool = AtomicBool::new(false);

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Long work looks at this between runs; files are written whole or not at all, so that nothing is left behind.
    on_interrupt();
    let result = match &cli.command {
        Command::Quantize(a) => commands::quantize::run(a),
        Command::Fit(a) => commands::fit::run(a).map(|()| true),
        Command::Sensitivity(a) => commands::sensitivity::run(a).map(|()| true),
        Command::Inspect(a) => commands::inspect::run(a).map(|()| true),
        Command::Bundle(a) => commands::bundle::run(a),
        Command::Calibrate(a) => commands::calibrate::run(a).map(|()| true),
        Command::Validate(a) => commands::validate::run(a),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(e) if e.kind() == ErrorKind::Cancelled => {
            eprintln!("stopped; nothing was written");
            ExitCode::from(130)
        }
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::from(2)
        }
    }
}

/// Ctrl-C asks to stop; a second one stops at once.
fn on_interrupt() {
    extern "C" fn handler(_: libc::c_int) {
        if STOP.swap(true, Ordering::SeqCst) {
            // SAFETY: `_exit` may be called in a signal handler.
            unsafe { libc::_exit(130) }
        }
    }
    // SAFETY: the handler only swaps an atomic and calls `_exit`, both of which signal handlers may do.
    unsafe {
        libc::signal(libc::SIGINT, handler as extern "C" fn(libc::c_int) as libc::sighandler_t);
    }
}

/// An error once Ctrl-C was pressed.
pub(crate) fn check_stop() -> Result<()> {
    match STOP.load(Ordering::Relaxed) {
        true => Err(Error::new(ErrorKind::Cancelled, "stopped")),
        false => Ok(()),
    }
}

/// A whole file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| Error::io(path.display(), &e))
}
