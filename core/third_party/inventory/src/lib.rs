//! A stand-in for the crate `inventory`, with the interface that tract uses, in which nothing is ever registered.
//!
//! tract registers matrix kernels, runtimes, transforms and knobs through `inventory`, by functions that run when
//! the library is loaded. A linker must keep such functions and all that they reach: 3.6 MB on arm64, none of
//! which PocketBERT calls, since every operator and kernel is its own. Here `submit!` checks its value's type and
//! drops it, so lists are empty and the linker drops what only they named.
//!
//! Were tract ever to look for one of its matrix kernels, it would find none and report that: no wrong answer can
//! come of it. (Nothing does: no operator of tract's is registered with its ONNX reader either.)

#![no_std]
#![forbid(unsafe_code)]

use core::marker::PhantomData;
use core::ops::Deref;

/// A type whose values could be registered.
pub trait Collect: Sync + Sized + 'static {}

/// Makes a type collectable.
#[macro_export]
macro_rules! collect {
    ($ty:ty) => {
        impl $crate::Collect for $ty {}
    };
}

/// Checks that a value could be registered, and drops it.
#[macro_export]
macro_rules! submit {
    ($($value:tt)*) => {
        const _: () = {
            #[allow(dead_code, clippy::declare_interior_mutable_const)]
            fn checked() -> impl $crate::Collect { $($value)* }
        };
    };
}

mod of {
    use super::*;

    /// Both a type and, by its variant of the same name, the value `inventory::iter::<T>`.
    #[allow(non_camel_case_types)]
    pub enum iter<T> {
        /// The value.
        iter,
        #[doc(hidden)]
        __Of(core::convert::Infallible, PhantomData<T>),
    }

    /// The value alone.
    pub mod value {
        pub use super::iter::iter;
    }
}

pub use of::iter;
pub use of::value::*;

/// What an empty list gives.
pub type Iter<T> = core::iter::Empty<&'static T>;

fn nothing<T>() -> Iter<T> {
    core::iter::empty()
}

impl<T: Collect> IntoIterator for iter<T> {
    type Item = &'static T;
    type IntoIter = Iter<T>;

    fn into_iter(self) -> Iter<T> {
        nothing()
    }
}

impl<T: Collect> Deref for iter<T> {
    type Target = fn() -> Iter<T>;

    fn deref(&self) -> &Self::Target {
        &(nothing as fn() -> Iter<T>)
    }
}
