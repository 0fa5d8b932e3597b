//! Exponential, error function, hyperbolic tangent and GELU in plain `f32` arithmetic: no libm, no fused
//! multiply-add, no branch on data, so that a loop over them vectorises and gives the same bits anywhere.
//!
//! Coefficients are our own fits: least squares on 400 Chebyshev nodes, errors weighted to be relative,
//! re-weighted by the error (Lawson's iteration, 60 rounds) towards the minimax solution, against 40-digit
//! references; a rational fit is linearised by dividing each residual by the last denominator. The fitted
//! function, interval and error in exact arithmetic stand beside each set. Errors of the `f32` evaluation
//! are measured by the tests.
//!
//! Flushing: a result of [`exp`] below about 1.8e-38 is zero, so no denormal number is made here.

/// Adding and taking away 1.5 * 2^23 rounds a float of magnitude up to 2^22 to the nearest integer, ties to
/// even, in the default rounding mode; the low bits of the sum hold the integer.
pub(super) const ROUND_MAGIC: f32 = 12_582_912.0;
/// The bits of [`ROUND_MAGIC`].
pub(super) const ROUND_MAGIC_BITS: i32 = 0x4B40_0000;

/// Below this, [`exp`] is zero.
const EXP_MIN: f32 = -86.9;
/// Above this, [`exp`] is infinite: the logarithm of the largest `f32`.
const EXP_MAX: f32 = 88.722_84;

/// e to the `x`, within 2 units in the last place. Zero below -86.9, infinite above 88.722; NaN gives NaN.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let t = if EXP_MAX < x { EXP_MAX } else { x };
    let y = exp_within(if EXP_MIN > t { EXP_MIN } else { t });
    let y = if x < EXP_MIN { 0.0 } else { y };
    if x > EXP_MAX { f32::INFINITY } else { y }
}

/// [`exp`] of what is at most zero, or NaN: the same bits in fewer operations.
#[inline(always)]
pub(super) fn exp_below_zero(x: f32) -> f32 {
    let y = exp_within(if EXP_MIN > x { EXP_MIN } else { x });
    if x < EXP_MIN { 0.0 } else { y }
}

/// [`exp`] between its limits.
#[inline(always)]
fn exp_within(t: f32) -> f32 {
    // ln 2 in two parts; the first has so few bits that `n` times it is exact (Cody and Waite's reduction).
    const LN2_HI: f32 = 0.693_359_4;
    const LN2_LO: f32 = -2.121_944_4e-4;
    // (e^r - 1 - r) / r^2 on |r| <= 0.35; relative error of the exponential 3.3e-9.
    const C: [f32; 5] = [0.499_999_94, 0.166_665_14, 0.041_668_456, 0.008_369_419, 0.001_381_314_2];
    let shifted = t * std::f32::consts::LOG2_E + ROUND_MAGIC;
    let n = shifted - ROUND_MAGIC;
    let r = (t - n * LN2_HI) - n * LN2_LO;
    let q = C[0] + r * (C[1] + r * (C[2] + r * (C[3] + r * C[4])));
    let p = 1.0 + (r + (r * r) * q);
    // 2p * 2^(n-1): both factors stay normal for n from -125 to 128.
    let exponent = (shifted.to_bits() as i32).wrapping_sub(ROUND_MAGIC_BITS).wrapping_add(126);
    let power = f32::from_bits((exponent as u32) << 23);
    (p + p) * power
}

// erf(x) / x as a quotient of polynomials in x^2 on |x| <= 3.924, where erf rounds to 1; relative error 1.9e-8. All
// coefficients are positive, so nothing cancels.
#[allow(clippy::approx_constant, reason = "a fitted coefficient that happens to be near 2 / sqrt(pi)")]
pub(super) const ERF_P: [f32; 6] =
    [1.128_379_1, 0.190_563_76, 0.052_765_8, 0.003_771_382_4, 0.000_284_838_6, 2.046_548e-6];
pub(super) const ERF_Q: [f32; 6] =
    [1.0, 0.502_215_44, 0.114_170_75, 0.014_980_855, 0.001_163_613_5, 3.805_288_4e-5];
pub(super) const ERF_LIMIT: f32 = 3.924;

/// The error function, within 3.5e-7; exactly odd; NaN gives NaN.
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    const P: [f32; 6] = ERF_P;
    const Q: [f32; 6] = ERF_Q;
    const LIMIT: f32 = ERF_LIMIT;
    let t = if LIMIT < x { LIMIT } else { x };
    let t = if -LIMIT > t { -LIMIT } else { t };
    let z = t * t;
    let p = P[0] + z * (P[1] + z * (P[2] + z * (P[3] + z * (P[4] + z * P[5]))));
    let q = Q[0] + z * (Q[1] + z * (Q[2] + z * (Q[3] + z * (Q[4] + z * Q[5]))));
    let y = (t * p) / q;
    let y = if 1.0 < y { 1.0 } else { y };
    if -1.0 > y { -1.0 } else { y }
}

/// The hyperbolic tangent, within a relative 2e-7; exactly odd; NaN gives NaN.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    // (tanh(x) / x - 1) / x^2 on |x| <= 0.632; relative error of the tangent 4.7e-9.
    const C: [f32; 5] = [-0.333_332_8, 0.133_313_29, -0.053_729_225, 0.020_602, -0.005_660_780_6];
    let a = f32::from_bits(x.to_bits() & 0x7FFF_FFFF);
    let z = x * x;
    let small = x + (x * z) * (C[0] + z * (C[1] + z * (C[2] + z * (C[3] + z * C[4]))));
    // Beyond 9.1 the quotient is under half a unit in the last place of 1.
    let e = exp(2.0 * (if 10.0 < a { 10.0 } else { a }));
    let large = 1.0 - 2.0 / (e + 1.0);
    let large = f32::from_bits(large.to_bits() | (x.to_bits() & 0x8000_0000));
    if a < 0.625 { small } else { large }
}

/// The logistic function 1 / (1 + e^-x); NaN gives NaN.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// GELU with the error function, `x / 2 * (1 + erf(x / sqrt 2))`, as in BERT.
#[inline(always)]
pub fn gelu_erf(x: f32) -> f32 {
    let h = 0.5 * x;
    let y = h * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2));
    // Minus infinity times zero would be NaN; the limit is zero.
    if x < -14.0 { 0.0 } else { y }
}

/// GELU in the approximation with tanh, `x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))`.
#[inline(always)]
pub fn gelu_tanh(x: f32) -> f32 {
    const SQRT_2_OVER_PI: f32 = 0.797_884_6;
    let u = SQRT_2_OVER_PI * (x + 0.044_715 * (x * x * x));
    let y = (0.5 * x) * (1.0 + tanh(u));
    if x < -14.0 { 0.0 } else { y }
}

/// The larger of `x` and zero; NaN gives NaN.
#[inline(always)]
pub fn relu(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x }
}

/// What a linear layer applies to its sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Activation {
    /// Nothing.
    #[default]
    None,
    /// [`relu`].
    Relu,
    /// [`gelu_erf`].
    GeluErf,
    /// [`gelu_tanh`].
    GeluTanh,
    /// [`tanh`].
    Tanh,
    /// [`sigmoid`].
    Sigmoid,
}

macro_rules! over_lanes {
    ($v:ident, $f:path) => {
        for x in $v.iter_mut() {
            *x = $f(*x);
        }
    };
}

/// Applies `activation` to 16 values.
#[inline(always)]
pub(super) fn activate16(v: &mut [f32; 16], activation: Activation) {
    match activation {
        Activation::None => {}
        Activation::Relu => over_lanes!(v, relu),
        Activation::GeluErf => over_lanes!(v, gelu_erf),
        Activation::GeluTanh => over_lanes!(v, gelu_tanh),
        Activation::Tanh => over_lanes!(v, tanh),
        Activation::Sigmoid => over_lanes!(v, sigmoid),
    }
}
