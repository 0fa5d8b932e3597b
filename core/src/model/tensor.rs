//! Constants of a graph: a data type, a shape and little-endian bytes that may lie in a mapped file.

use std::ops::Range;
use std::sync::Arc;

use half::{bf16, f16};

use crate::error::{Error, Result};
use crate::memory;

/// Element types of ONNX that this engine reads. The discriminants are ONNX's `TensorProto.DataType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum DType {
    /// 32-bit float.
    F32 = 1,
    /// Unsigned 8-bit integer.
    U8 = 2,
    /// Signed 8-bit integer.
    I8 = 3,
    /// Unsigned 16-bit integer.
    U16 = 4,
    /// Signed 16-bit integer.
    I16 = 5,
    /// Signed 32-bit integer.
    I32 = 6,
    /// Signed 64-bit integer.
    I64 = 7,
    /// Boolean, one byte.
    Bool = 9,
    /// 16-bit float.
    F16 = 10,
    /// 64-bit float.
    F64 = 11,
    /// Unsigned 32-bit integer.
    U32 = 12,
    /// Unsigned 64-bit integer.
    U64 = 13,
    /// bfloat16.
    BF16 = 16,
}

impl DType {
    /// The type with ONNX's number `n`.
    pub fn from_onnx(n: i32) -> Result<DType> {
        use DType::*;
        [F32, U8, I8, U16, I16, I32, I64, Bool, F16, F64, U32, U64, BF16]
            .into_iter()
            .find(|d| *d as i32 == n)
            .ok_or_else(|| Error::unimplemented(format!("element type {n} of ONNX is not supported")))
    }

    /// Bytes per element.
    pub fn size(self) -> usize {
        use DType::*;
        match self {
            U8 | I8 | Bool => 1,
            U16 | I16 | F16 | BF16 => 2,
            F32 | I32 | U32 => 4,
            I64 | U64 | F64 => 8,
        }
    }

    /// True for the floating-point types.
    pub fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::F16 | DType::BF16 | DType::F64)
    }

    /// The name that `inspect` prints.
    pub fn name(self) -> &'static str {
        use DType::*;
        match self {
            F32 => "f32",
            U8 => "u8",
            I8 => "i8",
            U16 => "u16",
            I16 => "i16",
            I32 => "i32",
            I64 => "i64",
            Bool => "bool",
            F16 => "f16",
            F64 => "f64",
            U32 => "u32",
            U64 => "u64",
            BF16 => "bf16",
        }
    }
}

/// Shared bytes: owned, or a range of something that stays alive (a mapped bundle).
#[derive(Clone)]
pub struct Bytes {
    owner: Arc<dyn AsRef<[u8]> + Send + Sync>,
    range: Range<usize>,
}

impl Bytes {
    /// Takes `data`.
    pub fn from_vec(data: Vec<u8>) -> Bytes {
        let range = 0..data.len();
        Bytes { owner: Arc::new(data), range }
    }

    /// The part `range` of `owner`; an error if it reaches past the end.
    pub fn shared(owner: Arc<dyn AsRef<[u8]> + Send + Sync>, range: Range<usize>) -> Result<Bytes> {
        let len = (*owner).as_ref().len();
        if range.start > range.end || range.end > len {
            return Err(Error::data_loss(format!(
                "a tensor's bytes {}..{} reach past the end of its data ({len} bytes)",
                range.start, range.end
            )));
        }
        Ok(Bytes { owner, range })
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        // The range was checked when it was made, and owners do not shrink.
        &(*self.owner).as_ref()[self.range.clone()]
    }
}

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.range.len())
    }
}

/// A constant tensor, row-major, little-endian.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// Element type.
    pub dtype: DType,
    /// Dimensions, outermost first; empty for a scalar.
    pub shape: Vec<usize>,
    bytes: Bytes,
}

impl Tensor {
    /// The elements `range` as a vector over the same bytes; `None` past the end.
    pub fn part(&self, range: Range<usize>) -> Option<Tensor> {
        let (size, length) = (self.dtype.size(), range.end.checked_sub(range.start)?);
        if range.end > self.len() {
            return None;
        }
        let start = self.bytes.range.start + range.start * size;
        let bytes = Bytes { owner: self.bytes.owner.clone(), range: start..start + length * size };
        Some(Tensor { dtype: self.dtype, shape: vec![length], bytes })
    }

    /// A tensor over `bytes`, which must be exactly as long as `shape` and `dtype` say.
    pub fn new(dtype: DType, shape: Vec<usize>, bytes: Bytes) -> Result<Tensor> {
        let want = elements(&shape).and_then(|n| n.checked_mul(dtype.size()));
        if want != Some(bytes.range.len()) {
            return Err(Error::data_loss(format!(
                "a tensor of shape {shape:?} and type {} has {} bytes of data",
                dtype.name(),
                bytes.range.len()
            )));
        }
        Ok(Tensor { dtype, shape, bytes })
    }

    /// An f32 tensor.
    pub fn from_f32(shape: Vec<usize>, data: &[f32]) -> Result<Tensor> {
        Tensor::new(DType::F32, shape, Bytes::from_vec(data.iter().flat_map(|x| x.to_le_bytes()).collect()))
    }

    /// An i64 tensor.
    pub fn from_i64(shape: Vec<usize>, data: &[i64]) -> Result<Tensor> {
        Tensor::new(DType::I64, shape, Bytes::from_vec(data.iter().flat_map(|x| x.to_le_bytes()).collect()))
    }

    /// An i32 tensor.
    pub fn from_i32(shape: Vec<usize>, data: &[i32]) -> Result<Tensor> {
        Tensor::new(DType::I32, shape, Bytes::from_vec(data.iter().flat_map(|x| x.to_le_bytes()).collect()))
    }

    /// An i8 tensor.
    pub fn from_i8(shape: Vec<usize>, data: &[i8]) -> Result<Tensor> {
        Tensor::new(DType::I8, shape, Bytes::from_vec(data.iter().map(|&x| x as u8).collect()))
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.bytes.range.len() / self.dtype.size()
    }

    /// True without elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The raw little-endian bytes.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.as_slice()
    }

    /// Every element as f64 (integers above 2^53 lose bits; nothing in a graph of this family has any).
    pub fn to_f64(&self) -> Vec<f64> {
        let b = self.bytes();
        macro_rules! read {
            ($t:ty) => {
                b.chunks_exact(size_of::<$t>())
                    .map(|c| <$t>::from_le_bytes(c.try_into().unwrap_or_default()) as f64)
                    .collect()
            };
        }
        match self.dtype {
            DType::F32 => read!(f32),
            DType::F64 => read!(f64),
            DType::I8 => b.iter().map(|&x| f64::from(x as i8)).collect(),
            DType::U8 => b.iter().map(|&x| f64::from(x)).collect(),
            DType::Bool => b.iter().map(|&x| f64::from(u8::from(x != 0))).collect(),
            DType::I16 => read!(i16),
            DType::U16 => read!(u16),
            DType::I32 => read!(i32),
            DType::U32 => read!(u32),
            DType::I64 => read!(i64),
            DType::U64 => read!(u64),
            DType::F16 => halves(b).map(|x| f64::from(f16::from_bits(x).to_f32())).collect(),
            DType::BF16 => halves(b).map(|x| f64::from(bf16::from_bits(x).to_f32())).collect(),
        }
    }

    /// Every element as f32.
    pub fn to_f32(&self) -> Vec<f32> {
        let b = self.bytes();
        match self.dtype {
            DType::F32 => {
                b.chunks_exact(4).map(|c| f32::from_le_bytes(c.try_into().unwrap_or_default())).collect()
            }
            DType::F16 => halves(b).map(|x| f16::from_bits(x).to_f32()).collect(),
            DType::BF16 => halves(b).map(|x| bf16::from_bits(x).to_f32()).collect(),
            _ => self.to_f64().into_iter().map(|x| x as f32).collect(),
        }
    }

    /// Every element of an f32 tensor, or an error where memory ends.
    pub(crate) fn try_f32(&self) -> Result<Vec<f32>> {
        memory::collect(self.bytes().as_chunks().0.iter().map(|c| f32::from_le_bytes(*c)))
    }

    /// Every element of an i32 tensor, or an error where memory ends.
    pub(crate) fn try_i32(&self) -> Result<Vec<i32>> {
        memory::collect(self.bytes().as_chunks().0.iter().map(|c| i32::from_le_bytes(*c)))
    }

    /// Every element as i64; floats are truncated.
    pub fn to_i64(&self) -> Vec<i64> {
        match self.dtype {
            DType::I64 => self
                .bytes()
                .chunks_exact(8)
                .map(|c| i64::from_le_bytes(c.try_into().unwrap_or_default()))
                .collect(),
            _ => self.to_f64().into_iter().map(|x| x as i64).collect(),
        }
    }

    /// The value of a tensor with one element.
    pub fn scalar(&self) -> Option<f64> {
        if self.len() == 1 { self.to_f64().first().copied() } else { None }
    }
}

fn halves(b: &[u8]) -> impl Iterator<Item = u16> + '_ {
    b.chunks_exact(2).map(|c| u16::from_le_bytes(c.try_into().unwrap_or_default()))
}

/// The number of elements of `shape`, or `None` when it overflows.
pub fn elements(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |a, &d| a.checked_mul(d))
}
