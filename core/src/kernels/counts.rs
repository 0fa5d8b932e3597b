//! Which kernels ran: the numbers behind the census of `inspect`.

use super::Isa;
use std::cell::Cell;

/// A family of kernels that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kernel {
    /// [`linear_i8`](super::linear_i8).
    LinearI8,
    /// [`quantize_rows`](super::quantize_rows).
    QuantizeRows,
    /// [`gemm_f32`](super::gemm_f32).
    GemmF32,
    /// [`attention_f32`](super::attention_f32).
    AttentionF32,
    /// [`attention_i8`](super::attention_i8()).
    AttentionI8,
    /// [`layer_norm`](super::layer_norm) and its in-place form.
    LayerNorm,
    /// The element-wise functions of [`math`](super::math), fake quantisation and embedding rows.
    Elementwise,
}

impl Kernel {
    /// All families, in the order of their discriminants.
    pub const ALL: [Kernel; 7] = [
        Kernel::LinearI8,
        Kernel::QuantizeRows,
        Kernel::GemmF32,
        Kernel::AttentionF32,
        Kernel::AttentionI8,
        Kernel::LayerNorm,
        Kernel::Elementwise,
    ];

    /// The name used in reports.
    pub fn name(self) -> &'static str {
        match self {
            Kernel::LinearI8 => "linear_i8",
            Kernel::QuantizeRows => "quantize_rows",
            Kernel::GemmF32 => "gemm_f32",
            Kernel::AttentionF32 => "attention_f32",
            Kernel::AttentionI8 => "attention_i8",
            Kernel::LayerNorm => "layer_norm",
            Kernel::Elementwise => "elementwise",
        }
    }
}

/// How often each kernel ran on one thread since its start, per instruction set that really ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelCounts {
    calls: [[u64; Isa::ALL.len()]; Kernel::ALL.len()],
}

impl KernelCounts {
    /// Calls of `kernel` that `isa` answered.
    pub fn get(&self, kernel: Kernel, isa: Isa) -> u64 {
        self.calls[kernel as usize][isa as usize]
    }

    /// What was counted after `earlier` was read.
    pub fn since(&self, earlier: &KernelCounts) -> KernelCounts {
        let mut d = *self;
        for (row, old) in d.calls.iter_mut().zip(&earlier.calls) {
            for (c, o) in row.iter_mut().zip(old) {
                *c = c.wrapping_sub(*o);
            }
        }
        d
    }

    /// The counts of two threads together.
    pub fn plus(&self, other: &KernelCounts) -> KernelCounts {
        let mut d = *self;
        for (row, more) in d.calls.iter_mut().zip(&other.calls) {
            for (c, o) in row.iter_mut().zip(more) {
                *c = c.wrapping_add(*o);
            }
        }
        d
    }

    /// The pairs that ran at all, with their number of calls.
    pub fn iter(&self) -> impl Iterator<Item = (Kernel, Isa, u64)> + '_ {
        Kernel::ALL
            .into_iter()
            .flat_map(|k| Isa::ALL.into_iter().map(move |i| (k, i)))
            .map(|(k, i)| (k, i, self.get(k, i)))
            .filter(|t| t.2 > 0)
    }
}

thread_local! {
    static COUNTS: Cell<KernelCounts> = const { Cell::new(KernelCounts { calls: [[0; Isa::ALL.len()]; Kernel::ALL.len()] }) };
}

/// The counts of the calling thread. Read before and after, and take the difference with
/// [`KernelCounts::since`]; other threads count for themselves.
pub fn kernel_counts() -> KernelCounts {
    COUNTS.with(Cell::get)
}

/// Counts one call of `kernel`, run by what `isa` comes to on this CPU.
pub(super) fn count(kernel: Kernel, isa: Isa) {
    COUNTS.with(|cell| {
        let mut counts = cell.get();
        counts.calls[kernel as usize][isa.usable() as usize] += 1;
        cell.set(counts);
    });
}
