//! What a support ticket needs to say: CPU, kernels, memory, and what a model is and really runs.

use std::ffi::c_char;

use pocketbert::cancel::Stop;
use pocketbert::error::Error;
use pocketbert::kernels::Isa;
use pocketbert::model::{Batch, RunOptions};
use serde_json::json;

use crate::args::Out;
use crate::boundary::{call, value};
use crate::call::KERNELS;
use crate::error::Failure;
use crate::model::{of, pocketbert_model, task_number};
use crate::status::pocketbert_status;
use crate::string::{give, pocketbert_string};
use crate::{cancel, handle};

/// How many handles exist: models, tokens, results, strings. A program that frees all it gets reads 0 at its end.
#[unsafe(no_mangle)]
pub extern "C" fn pocketbert_handle_count() -> usize {
    value(0, || Some(handle::live() + cancel::live()))
}

/// The `pocketbert_kernel` that `POCKETBERT_KERNEL_BEST` stands for on this CPU.
#[unsafe(no_mangle)]
pub extern "C" fn pocketbert_kernel_best() -> i32 {
    value(1, || KERNELS.iter().find(|k| k.1 == Isa::best()).map(|k| k.0))
}

/// 1 if this CPU runs the `pocketbert_kernel`, else 0.
#[unsafe(no_mangle)]
pub extern "C" fn pocketbert_kernel_available(kernel: i32) -> i32 {
    value(0, || Some(i32::from(kernel == 0 || KERNELS.iter().any(|k| k.0 == kernel && k.1.is_available()))))
}

/// The name of a `pocketbert_kernel`, such as `neon-dotprod`; NULL for a number that is none. A static string.
#[unsafe(no_mangle)]
pub extern "C" fn pocketbert_kernel_name(kernel: i32) -> *const c_char {
    match kernel {
        0 => c"best".as_ptr(),
        1 => c"generic".as_ptr(),
        2 => c"avx2".as_ptr(),
        3 => c"avxvnni".as_ptr(),
        4 => c"avx512vnni".as_ptr(),
        5 => c"armv7-neon".as_ptr(),
        6 => c"neon".as_ptr(),
        7 => c"neon-dotprod".as_ptr(),
        8 => c"neon-i8mm".as_ptr(),
        _ => std::ptr::null(),
    }
}

/// Resident memory of the process now, and at most so far, in bytes, where the system tells.
fn memory() -> (Option<u64>, Option<u64>) {
    #[cfg(all(any(target_os = "linux", target_os = "android"), not(miri)))]
    {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let field = |name: &str| -> Option<u64> {
            let line = status.lines().find_map(|l| l.strip_prefix(name))?;
            line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kb| kb * 1024)
        };
        (field("VmRSS:"), field("VmHWM:"))
    }
    #[cfg(not(all(any(target_os = "linux", target_os = "android"), not(miri))))]
    (None, None)
}

/// Writes facts of the library, the CPU and the process as JSON: version, kernels, memory, handles. `*text`, to be freed
/// with `pocketbert_string_free`.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_diagnostics(text: *mut *mut pocketbert_string) -> pocketbert_status {
    call("pocketbert_diagnostics", || -> Result<(), Failure> {
        // SAFETY: the caller's promise.
        let out = unsafe { Out::new("text", text) }?;
        let (resident, peak) = memory();
        let facts = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "target": env!("POCKETBERT_TARGET"),
            "cpus": std::thread::available_parallelism().ok().map(|n| n.get()),
            "kernel": Isa::best().name(),
            "kernels": Isa::available().iter().map(|i| i.name()).collect::<Vec<_>>(),
            "resident_bytes": resident,
            "peak_resident_bytes": peak,
            "handles": handle::live(),
            "cancel_tokens": cancel::live(),
        });
        give(out, &facts.to_string())
    })
}

/// Writes facts of a model as JSON: what it is, its heads and outputs, and which kernels really ran in each operator of
/// one run on one token. `*text`, to be freed with `pocketbert_string_free`.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_model_diagnostics(
    model: *const pocketbert_model,
    text: *mut *mut pocketbert_string,
) -> pocketbert_status {
    call("pocketbert_model_diagnostics", || -> Result<(), Failure> {
        let m = of(model)?;
        // SAFETY: the caller's promise.
        let out = unsafe { Out::new("text", text) }?;
        let model = m.engine.model()?;
        let info = model.info();
        let mut stats = vec![];
        let mut batch = Batch::new();
        batch.push([0i64], None, None);
        let first = if model.plan().outputs().is_empty() { &[][..] } else { &[0][..] };
        let run = RunOptions { isa: Isa::best(), threads: 1, stop: Stop::default(), stats: Some(&mut stats) };
        model.plan().run(&batch, first, run)?;
        let mut kernels = std::collections::BTreeMap::<&str, u64>::new();
        for (name, calls) in stats.iter().flat_map(|s| &s.kernels) {
            *kernels.entry(name).or_default() += calls;
        }
        let bundle = model.bundle();
        let heads = bundle.map_or(&[][..], |b| &b.manifest().heads[..]).iter();
        let heads: Vec<_> = heads
            .map(|h| json!({ "name": h.name, "task": task_number(h.task), "labels": h.labels.len(), "output": h.output }))
            .collect();
        let outputs = model.plan().outputs().iter();
        let outputs: Vec<_> = outputs
            .map(|o| json!({ "name": o.name, "per_token": o.per_token, "channels": o.channels }))
            .collect();
        let facts = json!({
            "name": info.name,
            "version": info.version,
            "fingerprint": model.fingerprint(),
            "max_length": info.max_length,
            "vocabulary": info.vocab,
            "state": m.engine.state().name(),
            "bytes": bundle.map(|b| b.entries().map(|e| e.bytes().len() as u64).sum::<u64>()),
            "heads": heads,
            "outputs": outputs,
            "operators": stats.len(),
            "foreign_operators": stats.iter().filter(|s| !s.ours).count(),
            "kernel_calls": kernels,
        });
        give(out, &facts.to_string())
    })
}

/// Writes how a mask is spelled in texts for `pocketbert_fill_mask`, such as `[MASK]`: `*text`, to be freed with
/// `pocketbert_string_free`.
///
/// # Safety
/// The rules at the top of the header.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_mask_token(
    model: *const pocketbert_model,
    text: *mut *mut pocketbert_string,
) -> pocketbert_status {
    call("pocketbert_mask_token", || -> Result<(), Failure> {
        let m = of(model)?;
        // SAFETY: the caller's promise.
        let out = unsafe { Out::new("text", text) }?;
        let tokenizer = m.engine.model()?.tokenizer()?;
        let token = tokenizer.mask_id().and_then(|id| tokenizer.token(id));
        let missing =
            || Error::new(pocketbert::ErrorKind::FailedPrecondition, "the tokenizer has no mask token");
        give(out, &token.ok_or_else(missing)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_engine() {
        for (number, isa) in KERNELS {
            // SAFETY: a static string that ends in NUL.
            let name = unsafe { std::ffi::CStr::from_ptr(pocketbert_kernel_name(number)) };
            assert_eq!(name.to_str(), Ok(isa.name()));
            assert_eq!(pocketbert_kernel_available(number), i32::from(isa.is_available()));
        }
        assert!(pocketbert_kernel_name(9).is_null() && pocketbert_kernel_available(9) == 0);
        assert_eq!(KERNELS.iter().find(|k| k.0 == pocketbert_kernel_best()).map(|k| k.1), Some(Isa::best()));
    }
}
