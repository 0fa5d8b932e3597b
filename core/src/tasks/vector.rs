//! [`Embedding`]: a vector that knows which model made it, in three widths, and how near two of them are.

use half::f16;

use crate::error::{Error, ErrorKind, Result};
use crate::kernels::{self, Isa, with_default_float_env};

/// How the numbers of a vector are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum VectorFormat {
    /// Four bytes each, as the model gives them.
    #[default]
    F32,
    /// Two bytes each, rounded to nearest.
    F16,
    /// One byte each and one scale for the vector: the largest magnitude is step 127.
    I8,
}

impl VectorFormat {
    /// The name in lower case.
    pub fn name(self) -> &'static str {
        match self {
            VectorFormat::F32 => "f32",
            VectorFormat::F16 => "f16",
            VectorFormat::I8 => "i8",
        }
    }

    /// The format of that [name](Self::name).
    pub fn parse(name: &str) -> Result<VectorFormat> {
        [VectorFormat::F32, VectorFormat::F16, VectorFormat::I8]
            .into_iter()
            .find(|f| f.name() == name)
            .ok_or_else(|| Error::invalid(format!("unknown format `{name}`: use `f32`, `f16` or `i8`")))
    }
}

/// Which model, head and pooling made a vector. Vectors of different origins cannot be compared.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Origin(pub(super) [u8; 32]);

impl std::fmt::Display for Origin {
    /// The first 16 of 64 hexadecimal digits.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0[..8].iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl std::fmt::Debug for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Origin({self})")
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Values {
    F32(Vec<f32>),
    F16(Vec<f16>),
    I8 { scale: f32, steps: Vec<i8> },
}

/// The vector of a text. Compare it with others of the same model by [`cosine`](Self::cosine) or
/// [`dot`](Self::dot), whose bits are the same on every CPU.
///
/// ```
/// use pocketbert::{TextEmbedder, VectorFormat};
/// # fn main() -> pocketbert::Result<()> {
/// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny.pbert");
/// let embedder = TextEmbedder::open(path)?;
/// let (a, b) = (embedder.embed("play some jazz")?, embedder.embed("put on some jazz")?);
/// let near = a.cosine(&b)?;
/// // A quarter of the bytes, and nearly the same answer.
/// let (a8, b8) = (a.to_format(VectorFormat::I8)?, b.to_format(VectorFormat::I8)?);
/// assert!((a8.cosine(&b8)? - near).abs() < 0.02);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Embedding {
    values: Values,
    origin: Origin,
    unit: bool,
}

/// First bytes of a stored vector: name and version of the layout.
const MAGIC: [u8; 4] = *b"PBV1";
/// Bytes before the numbers: magic, format, unit flag, two zeros, dimensions, scale, origin.
const HEADER: usize = 4 + 1 + 1 + 2 + 4 + 4 + 32;
/// The most dimensions: products of int8 vectors are then exact in 32 bits.
pub const MAX_DIMS: usize = 65_536;

impl Embedding {
    /// A vector of `values`, finite and at least one; `unit` if its length is 1 by construction.
    pub(super) fn new(values: Vec<f32>, origin: Origin, unit: bool) -> Result<Embedding> {
        if values.is_empty() || values.len() > MAX_DIMS {
            return Err(Error::invalid(format!(
                "a vector of {} dimensions; 1 to {MAX_DIMS} are allowed",
                values.len()
            )));
        }
        if values.iter().any(|x| !x.is_finite()) {
            return Err(Error::new(
                ErrorKind::OutOfRange,
                "a vector holds a value that is not finite: the model's weights overflow",
            ));
        }
        Ok(Embedding { values: Values::F32(values), origin, unit })
    }

    /// Its dimensions.
    pub fn dims(&self) -> usize {
        match &self.values {
            Values::F32(v) => v.len(),
            Values::F16(v) => v.len(),
            Values::I8 { steps, .. } => steps.len(),
        }
    }

    /// How its numbers are kept.
    pub fn format(&self) -> VectorFormat {
        match &self.values {
            Values::F32(_) => VectorFormat::F32,
            Values::F16(_) => VectorFormat::F16,
            Values::I8 { .. } => VectorFormat::I8,
        }
    }

    /// Which model made it.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Whether it was divided by its length. (What int8 and f16 round off is not made up for.)
    pub fn is_unit(&self) -> bool {
        self.unit
    }

    /// Its numbers as floats.
    pub fn values(&self) -> Vec<f32> {
        match &self.values {
            Values::F32(v) => v.clone(),
            Values::F16(v) => v.iter().map(|x| x.to_f32()).collect(),
            Values::I8 { scale, steps } => {
                with_default_float_env(|| steps.iter().map(|&q| f32::from(q) * scale).collect())
            }
        }
    }

    /// The int8 steps and their size, if that is the format.
    pub fn steps(&self) -> Option<(&[i8], f32)> {
        match &self.values {
            Values::I8 { scale, steps } => Some((steps, *scale)),
            _ => None,
        }
    }

    /// The same vector in another format. To a narrower one numbers are rounded to nearest, ties to even; what
    /// was rounded off does not come back.
    ///
    /// # Errors
    /// `OutOfRange` if a number is too large for f16.
    pub fn to_format(&self, format: VectorFormat) -> Result<Embedding> {
        if format == self.format() {
            return Ok(self.clone());
        }
        let v = self.values();
        let values = match format {
            VectorFormat::F32 => Values::F32(v),
            VectorFormat::F16 => {
                let v: Vec<f16> = v.into_iter().map(f16::from_f32).collect();
                if v.iter().any(|x| !x.is_finite()) {
                    return Err(Error::new(
                        ErrorKind::OutOfRange,
                        "a number of the vector is too large for f16: normalise it, or keep f32",
                    ));
                }
                Values::F16(v)
            }
            VectorFormat::I8 => with_default_float_env(|| {
                let largest = v.iter().fold(0.0f32, |m, x| m.max(x.abs()));
                // Too small a scale would be no normal number, and its inverse infinite.
                let scale = if largest / 127.0 < f32::MIN_POSITIVE { 1.0 } else { largest / 127.0 };
                let step = |x: &f32| (x / scale).round_ties_even().clamp(-127.0, 127.0) as i8;
                Values::I8 { scale, steps: v.iter().map(step).collect() }
            }),
        };
        Ok(Embedding { values, origin: self.origin, unit: self.unit })
    }

    /// The first `dims` dimensions; divided by their length again if the vector was. Made for models trained to
    /// put the most important dimensions first (Matryoshka); with others it loses more.
    ///
    /// # Errors
    /// `InvalidArgument` for 0, or more dimensions than there are.
    pub fn truncated(&self, dims: usize) -> Result<Embedding> {
        if dims == 0 || dims > self.dims() {
            return Err(Error::invalid(format!("`dims` is {dims}; this vector has {}", self.dims())));
        }
        if dims == self.dims() {
            return Ok(self.clone());
        }
        let mut v = self.values();
        v.truncate(dims);
        if self.unit {
            with_default_float_env(|| kernels::l2_normalize(Isa::best(), &mut v, dims))?;
        }
        Embedding { values: Values::F32(v), ..*self }.to_format(self.format())
    }

    /// The scalar product: over 32 lanes in `f32`, of two int8 vectors exactly in integers.
    ///
    /// # Errors
    /// `InvalidArgument` if the vectors come from different models (the message names both) or differ in
    /// dimensions.
    pub fn dot(&self, other: &Embedding) -> Result<f32> {
        self.comparable(other)?;
        Ok(with_default_float_env(|| match (&self.values, &other.values) {
            (Values::I8 { scale: a, steps: x }, Values::I8 { scale: b, steps: y }) => {
                (f64::from(*a) * f64::from(*b) * integer_dot(x, y) as f64) as f32
            }
            (Values::F32(x), Values::F32(y)) => kernels::dot(Isa::best(), x, y),
            _ => kernels::dot(Isa::best(), &self.values(), &other.values()),
        }))
    }

    /// The cosine of the angle between the vectors, -1 to 1; 0 if one of them is zero.
    ///
    /// # Errors
    /// As [`dot`](Self::dot).
    pub fn cosine(&self, other: &Embedding) -> Result<f32> {
        self.comparable(other)?;
        Ok(with_default_float_env(|| {
            let (ab, aa, bb) = match (&self.values, &other.values) {
                // The scales cancel out.
                (Values::I8 { steps: x, .. }, Values::I8 { steps: y, .. }) => {
                    let d = |x: &[i8], y: &[i8]| integer_dot(x, y) as f64;
                    (d(x, y), d(x, x), d(y, y))
                }
                _ => {
                    let (x, y) = (self.values(), other.values());
                    let d = |x: &[f32], y: &[f32]| f64::from(kernels::dot(Isa::best(), x, y));
                    (d(&x, &y), d(&x, &x), d(&y, &y))
                }
            };
            let length = aa.sqrt() * bb.sqrt();
            if length > 0.0 { (ab / length).clamp(-1.0, 1.0) as f32 } else { 0.0 }
        }))
    }

    fn comparable(&self, other: &Embedding) -> Result<()> {
        if self.origin != other.origin {
            return Err(Error::invalid(format!(
                "vectors of different models cannot be compared: one comes from `{}`, the other from `{}`; \
                 embed both texts with the same model, head and pooling",
                self.origin, other.origin
            )));
        }
        if self.dims() != other.dims() {
            return Err(Error::invalid(format!(
                "vectors of {} and {} dimensions cannot be compared: cut both to the same number",
                self.dims(),
                other.dims()
            )));
        }
        Ok(())
    }

    /// Bytes to store: 48 of header, then the numbers, all little-endian.
    ///
    /// | at | bytes | what |
    /// |---|---|---|
    /// | 0 | 4 | `PBV1` |
    /// | 4 | 1 | format: 0 f32, 1 f16, 2 int8 |
    /// | 5 | 1 | 1 if it was divided by its length |
    /// | 6 | 2 | zeros |
    /// | 8 | 4 | dimensions |
    /// | 12 | 4 | f32 size of a step (1 unless int8) |
    /// | 16 | 32 | origin |
    pub fn to_bytes(&self) -> Vec<u8> {
        let (format, scale) = match &self.values {
            Values::F32(_) => (0, 1.0),
            Values::F16(_) => (1, 1.0),
            Values::I8 { scale, .. } => (2u8, *scale),
        };
        let mut out = Vec::with_capacity(HEADER + 4 * self.dims());
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[format, u8::from(self.unit), 0, 0]);
        out.extend_from_slice(&(self.dims() as u32).to_le_bytes());
        out.extend_from_slice(&scale.to_le_bytes());
        out.extend_from_slice(&self.origin.0);
        match &self.values {
            Values::F32(v) => out.extend(v.iter().flat_map(|x| x.to_le_bytes())),
            Values::F16(v) => out.extend(v.iter().flat_map(|x| x.to_le_bytes())),
            Values::I8 { steps, .. } => out.extend(steps.iter().map(|&q| q as u8)),
        }
        out
    }

    /// A vector from [`to_bytes`](Self::to_bytes), the very same numbers. The bytes are untrusted.
    ///
    /// # Errors
    /// `DataLoss` for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Embedding> {
        let bad = |why: &str| Error::data_loss(format!("these bytes are no stored vector: {why}"));
        let Some((header, data)) = bytes.split_at_checked(HEADER) else {
            return Err(bad("they are too few"));
        };
        let word =
            |at: usize| header.get(at..at + 4).and_then(|b| <[u8; 4]>::try_from(b).ok()).unwrap_or_default();
        if word(0) != MAGIC {
            return Err(bad("they do not begin with `PBV1`"));
        }
        let [format, unit, 0, 0] = word(4) else { return Err(bad("reserved bytes are not zero")) };
        let dims = u32::from_le_bytes(word(8)) as usize;
        let scale = f32::from_le_bytes(word(12));
        let width = match format {
            0 => 4,
            1 => 2,
            2 => 1,
            _ => return Err(bad("the format is unknown")),
        };
        if unit > 1 || dims == 0 || dims > MAX_DIMS || data.len() != dims * width {
            return Err(bad("the header contradicts itself or the length"));
        }
        if !(scale.is_normal() && scale > 0.0) || (format != 2 && scale != 1.0) {
            return Err(bad("the size of a step is impossible"));
        }
        let values = match format {
            0 => Values::F32(data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()),
            1 => Values::F16(data.as_chunks::<2>().0.iter().map(|b| f16::from_le_bytes(*b)).collect()),
            _ => Values::I8 { scale, steps: data.iter().map(|&b| b as i8).collect() },
        };
        let mut origin = Origin([0; 32]);
        origin.0.copy_from_slice(&header[16..HEADER]);
        let e = Embedding { values, origin, unit: unit == 1 };
        if e.values().iter().any(|x| !x.is_finite()) {
            return Err(bad("a number is not finite"));
        }
        Ok(e)
    }
}

/// Exact: at most 65,536 products of at most 2^14.
fn integer_dot(x: &[i8], y: &[i8]) -> i32 {
    x.iter().zip(y).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum()
}

/// The indices of `candidates` by their cosine with `query`, the nearest first (of equals the earlier one), with
/// it; at most `top_k`.
///
/// # Errors
/// Those of [`Embedding::cosine`].
pub fn nearest(query: &Embedding, candidates: &[Embedding], top_k: usize) -> Result<Vec<(usize, f32)>> {
    let mut all: Vec<(usize, f32)> = vec![];
    for (i, c) in candidates.iter().enumerate() {
        all.push((i, query.cosine(c)?));
    }
    all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    all.truncate(top_k);
    Ok(all)
}

#[cfg(test)]
mod tests;
