//! Numeric kernels: int8 linear layers, `f32` products, attention, layer norm and element-wise functions.
//!
//! # One definition, many instruction sets
//! Plain Rust defines the right bits; every [`Isa`] gives the same. Integer sums are exact. Float code is
//! written once with a fixed order of operations ([32 partial sums](float), products summed from the first
//! to the [last](gemm)), without libm and without fused multiply-add, and compiled again per ISA. Two NaN are
//! equal here whatever their payload. Results of a row never depend on the other rows, on how rows are split
//! over calls, or on threads; [`ActQuant::PerTensor`] is the one exception, and says so.
//!
//! The float environment must be the default one: wrap entry points in [`with_default_float_env`].
//!
//! # What there is
//! | step | function |
//! |---|---|
//! | weights to the packed layout and back | [`pack_i8`], [`unpack_i8`], [`column_sums`], [`pack_f32`] |
//! | activations to `u8` | [`quantize_rows`] into [`QuantRows`] |
//! | int8 linear layer with bias and activation | [`linear_i8`], [`linear_i8_rows`] |
//! | quantise and dequantise at once, or to whole steps | [`fake_quant`], [`FakeQuant`], [`quant_steps`] |
//! | embedding row from int8 | [`dequantize_embedding`] |
//! | a row times all rows of an int8 table | [`table_products`] |
//! | `f32` linear layer | [`gemm_f32`] |
//! | attention of one sequence | [`attention_f32`], [`attention_i8()`], [`softmax_rows`] |
//! | residual and layer norm | [`layer_norm`], [`layer_norm_in_place`], [`add_in_place`] |
//! | element-wise | [`activate`], [`exp_slice`], [`erf_slice`] |
//! | pooling | [`mean_pool`], [`l2_normalize`] |
//! | two vectors | [`dot`] |
//! | which kernels ran | [`kernel_counts`] |
//! | the rate that no kernel can beat | [`register_products`] |
//!
//! # Rules
//! No allocation in hot functions: results go to slices of the caller, scratch ([`QuantRows`],
//! [`AttentionScratch`]) is kept by the caller and grows only. Shapes are checked once per call and give an
//! error; nothing panics on any value. All functions may be called from any thread. `unsafe` of this crate
//! lives in this module, and every ISA is one file.

#![allow(clippy::too_many_arguments, reason = "matrix kernels take shapes, operands and results")]
#![allow(clippy::needless_range_loop, reason = "loops over lanes of several arrays read best by index")]

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "aarch64")]
mod aarch64_dotprod;
#[cfg(target_arch = "aarch64")]
mod aarch64_float;
#[cfg(target_arch = "aarch64")]
mod aarch64_i8mm;
#[cfg(target_arch = "aarch64")]
mod aarch64_neon;
#[cfg(target_arch = "arm")]
mod armv7_neon;
pub mod attention;
mod attention_i8;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512vnni;
#[cfg(target_arch = "x86_64")]
mod avxvnni;
pub mod counts;
pub mod env;
pub mod float;
pub mod gemm;
mod generic;
mod isa;
pub mod linear;
pub mod math;
pub mod pack;
pub mod quant;
pub mod table;
mod team;
#[cfg(test)]
mod tests;
mod tile;

pub use attention::{Attention, AttentionScratch, Rows, attention_f32, softmax_rows};
pub use attention_i8::{AttentionI8Scratch, attention_i8};
pub use counts::{Kernel, KernelCounts, kernel_counts};
pub use env::with_default_float_env;
pub use float::{
    activate, add_in_place, dot, erf_slice, exp_slice, l2_normalize, layer_norm, layer_norm_in_place,
    mean_pool, quant_steps,
};
pub use gemm::gemm_f32;
pub use isa::Isa;
pub use linear::{LinearI8, linear_i8, linear_i8_rows};
pub use math::Activation;
pub use pack::{PackedF32, PackedI8, column_sums, pack_f32, pack_i8, packed_len, packed_len_f32, unpack_i8};
pub use quant::{
    ActQuant, FakeQuant, QuantRows, RowQuant, dequantize_embedding, fake_quant, fake_quant_ties,
    quantize_rows, quantize_rows_with,
};
pub use table::table_products;
pub use team::Team;
pub use tile::register_products;
