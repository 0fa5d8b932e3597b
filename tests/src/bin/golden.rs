//! Writes the golden answers of a model, from the kernels that define them.
//!
//! `cargo run --release -p pocketbert-tests --bin golden -- tiny tiny-tasks everyday everyday-tasks`

use std::fmt::Write;
use std::process::ExitCode;

use pocketbert::Result;
use pocketbert::kernels::Isa;
use pocketbert_tests::{answer, model, root, tasks, texts};

fn main() -> ExitCode {
    for name in std::env::args().skip(1) {
        if let Err(e) = write(&name) {
            eprintln!("error: {e}");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

fn write(name: &str) -> Result<()> {
    if let Some(model) = name.strip_suffix("-tasks") {
        return write_tasks(model);
    }
    // The generic kernels define the bits; on a model of full size they take minutes, and the test compares a part
    // with them.
    let isa = if name == "tiny" { Isa::Generic } else { Isa::best() };
    let m = model(name)?;
    let mut out = String::new();
    let mut n = 0;
    for t in texts()? {
        let case = answer(&m, &t, isa)?;
        if !case.outputs.is_empty() {
            let line =
                serde_json::to_string(&case).map_err(|e| pocketbert::Error::internal(e.to_string()))?;
            let _ = writeln!(out, "{line}");
            n += 1;
        }
    }
    let path = root().join(format!("tests/golden/{name}.jsonl"));
    std::fs::write(&path, out).map_err(|e| pocketbert::Error::io(path.display(), &e))?;
    eprintln!("wrote {} ({n} cases)", path.display());
    Ok(())
}

/// Answers the requests of `golden/<name>-tasks.jsonl` anew; the requests themselves are written by hand.
fn write_tasks(name: &str) -> Result<()> {
    let m = std::sync::Arc::new(model(name)?);
    let isa = if name == "tiny" { Isa::Generic } else { Isa::best() };
    let mut out = String::new();
    let cases = tasks::cases(name)?;
    for c in &cases {
        let line = serde_json::to_string(&tasks::answer(&m, &c.request, isa))
            .map_err(|e| pocketbert::Error::internal(e.to_string()))?;
        let _ = writeln!(out, "{line}");
    }
    let path = root().join(format!("tests/golden/{name}-tasks.jsonl"));
    std::fs::write(&path, out).map_err(|e| pocketbert::Error::io(path.display(), &e))?;
    eprintln!("wrote {} ({} cases)", path.display(), cases.len());
    Ok(())
}
