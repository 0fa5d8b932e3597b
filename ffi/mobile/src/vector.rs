//! Vectors: their stored form goes in and out, so that languages need no second implementation.

use pocketbert::tasks::{Embedding, VectorFormat as CoreFormat, nearest};

use crate::call::{count, float_bytes, size};
use crate::error::{Result, guard};

/// How numbers are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, uniffi::Enum)]
pub enum VectorFormat {
    /// Four bytes each.
    #[default]
    F32,
    /// Two bytes each.
    F16,
    /// One byte each, and a scale.
    I8,
}

impl From<VectorFormat> for CoreFormat {
    fn from(f: VectorFormat) -> CoreFormat {
        match f {
            VectorFormat::F32 => CoreFormat::F32,
            VectorFormat::F16 => CoreFormat::F16,
            VectorFormat::I8 => CoreFormat::I8,
        }
    }
}

/// A vector.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct Vector {
    /// The stored form: what core's `Embedding::to_bytes` writes.
    pub stored: Vec<u8>,
    /// Its numbers: little-endian f32.
    pub values: Vec<u8>,
    /// How they are kept in the stored form.
    pub format: VectorFormat,
    /// Its length is 1.
    pub unit: bool,
    /// Names model, head and pooling: vectors of different origins cannot be compared.
    pub origin: String,
}

impl Vector {
    pub(crate) fn of(e: &Embedding) -> Vector {
        Vector {
            stored: e.to_bytes(),
            values: float_bytes(&e.values()),
            format: match e.format() {
                CoreFormat::F32 => VectorFormat::F32,
                CoreFormat::F16 => VectorFormat::F16,
                CoreFormat::I8 => VectorFormat::I8,
            },
            unit: e.is_unit(),
            origin: e.origin().to_string(),
        }
    }
}

/// A candidate that was found.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct Neighbour {
    /// Its index among the candidates.
    pub index: i32,
    /// Cosine with the query.
    pub similarity: f32,
}

/// Reads a stored vector.
#[uniffi::export]
pub fn vector_read(stored: Vec<u8>) -> Result<Vector> {
    guard(|| Ok(Vector::of(&Embedding::from_bytes(&stored)?)))
}

/// The scalar product of two stored vectors.
#[uniffi::export]
pub fn vector_dot(a: Vec<u8>, b: Vec<u8>) -> Result<f32> {
    guard(|| Embedding::from_bytes(&a)?.dot(&Embedding::from_bytes(&b)?))
}

/// The cosine of two stored vectors.
#[uniffi::export]
pub fn vector_cosine(a: Vec<u8>, b: Vec<u8>) -> Result<f32> {
    guard(|| Embedding::from_bytes(&a)?.cosine(&Embedding::from_bytes(&b)?))
}

/// A stored vector in another format.
#[uniffi::export]
pub fn vector_convert(stored: Vec<u8>, format: VectorFormat) -> Result<Vector> {
    guard(|| Ok(Vector::of(&Embedding::from_bytes(&stored)?.to_format(format.into())?)))
}

/// The first dimensions of a stored vector.
#[uniffi::export]
pub fn vector_truncate(stored: Vec<u8>, dims: i32) -> Result<Vector> {
    guard(|| Ok(Vector::of(&Embedding::from_bytes(&stored)?.truncated(size("dims", dims)?)?)))
}

/// The stored candidates nearest to a stored query, the nearest first.
#[uniffi::export]
pub fn vector_nearest(query: Vec<u8>, candidates: Vec<Vec<u8>>, top_k: i32) -> Result<Vec<Neighbour>> {
    guard(|| {
        let all: Vec<Embedding> =
            candidates.iter().map(|c| Embedding::from_bytes(c)).collect::<pocketbert::Result<_>>()?;
        let found = nearest(&Embedding::from_bytes(&query)?, &all, size("top_k", top_k)?)?;
        Ok(found.into_iter().map(|(i, s)| Neighbour { index: count(i), similarity: s }).collect())
    })
}
