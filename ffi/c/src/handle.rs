//! Handles: what C holds instead of pointers to our objects.
//!
//! A handle is a number in the shape of a pointer: kind, generation and index of a slot in one table. Nobody
//! dereferences it; every use looks it up. So a handle that was freed, freed twice, made up or of another kind
//! is an error and never an access to memory, and an object lives on until the last call that uses it returns.

use std::any::Any;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use pocketbert::error::{Error, Result};

/// What a handle stands for. The discriminant is part of the handle; 0 is no kind, so that no handle is NULL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Model = 1,
    Cancel,
    Text,
    Classification,
    Tags,
    Answers,
    Summary,
    Vectors,
    Ranking,
    MaskFill,
    ZeroShot,
    Analysis,
    Tokens,
}

impl Kind {
    /// The C type.
    fn name(self) -> &'static str {
        match self {
            Kind::Model => "pocketbert_model",
            Kind::Cancel => "pocketbert_cancel",
            Kind::Text => "pocketbert_string",
            Kind::Classification => "pocketbert_classification",
            Kind::Tags => "pocketbert_tags",
            Kind::Answers => "pocketbert_answers",
            Kind::Summary => "pocketbert_summary",
            Kind::Vectors => "pocketbert_vectors",
            Kind::Ranking => "pocketbert_ranking",
            Kind::MaskFill => "pocketbert_mask_fill",
            Kind::ZeroShot => "pocketbert_zero_shot_labels",
            Kind::Analysis => "pocketbert_analysis",
            Kind::Tokens => "pocketbert_tokens",
        }
    }
}

/// An object that C holds by a handle of type `*mut C`.
pub(crate) trait Object: Any + Send + Sync {
    /// The incomplete C type.
    type C;
    const KIND: Kind;
}

/// Where the parts of a handle are. The marker makes it an address that no 64-bit system maps for a program.
#[cfg(target_pointer_width = "64")]
mod layout {
    pub(super) const INDEX: u32 = 24;
    pub(super) const GENERATION: u32 = 24;
    pub(super) const KIND: u32 = 56;
    pub(super) const MARKER: usize = 0xA5 << 48;
}
#[cfg(not(target_pointer_width = "64"))]
mod layout {
    pub(super) const INDEX: u32 = 14;
    pub(super) const GENERATION: u32 = 14;
    pub(super) const KIND: u32 = 28;
    pub(super) const MARKER: usize = 0;
}

/// The most slots.
pub(crate) const MAX_HANDLES: usize = 1 << layout::INDEX;
pub(crate) const GENERATIONS: usize = 1 << layout::GENERATION;
/// Freed slots rest until so many are free: a stale handle is then noticed for longer.
const REST: usize = 64;

/// The number of a handle.
pub(crate) fn encode(kind: Kind, generation: usize, index: usize) -> usize {
    (kind as usize) << layout::KIND | layout::MARKER | generation << layout::INDEX | index
}

/// Generation and index of a handle of `kind`; `None` for anything else. Touches no memory.
pub(crate) fn decode(kind: Kind, address: usize) -> Option<(usize, usize)> {
    let generation = address >> layout::INDEX & (GENERATIONS - 1);
    let index = address & (MAX_HANDLES - 1);
    (encode(kind, generation, index) == address).then_some((generation, index))
}

#[derive(Default)]
struct Slot {
    generation: usize,
    object: Option<Arc<dyn Any + Send + Sync>>,
}

struct Table {
    slots: Vec<Slot>,
    free: VecDeque<usize>,
    live: usize,
}

static TABLE: Mutex<Table> = Mutex::new(Table { slots: Vec::new(), free: VecDeque::new(), live: 0 });

fn table() -> std::sync::MutexGuard<'static, Table> {
    // Nothing in here panics half-way, and other threads must go on in any case.
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Puts `object` into the table.
///
/// # Errors
/// `ResourceExhausted` if there are too many handles.
pub(crate) fn insert<T: Object>(object: T) -> Result<*mut T::C> {
    let object: Arc<dyn Any + Send + Sync> = Arc::new(object);
    let mut t = table();
    let full =
        || Error::exhausted(format!("{MAX_HANDLES} handles are in use: free results when they are read"));
    let index =
        match (t.free.len() > REST || t.slots.len() >= MAX_HANDLES).then(|| t.free.pop_front()).flatten() {
            Some(index) => index,
            None if t.slots.len() < MAX_HANDLES => {
                // Room for the slot and for its place among the free ones, so that freeing never allocates.
                let more = t.slots.len() + 1 - t.free.len();
                t.slots.try_reserve(1).and_then(|()| t.free.try_reserve(more)).map_err(|_| full())?;
                t.slots.push(Slot::default());
                t.slots.len() - 1
            }
            None => return Err(full()),
        };
    let Some(slot) = t.slots.get_mut(index) else {
        return Err(Error::internal("a free handle without a slot"));
    };
    slot.object = Some(object);
    let generation = slot.generation;
    t.live += 1;
    Ok(std::ptr::without_provenance_mut(encode(T::KIND, generation, index)))
}

/// The object of a handle. It lives at least as long as what this gives.
///
/// # Errors
/// `InvalidArgument` for NULL, a handle that was freed, one of another kind, and anything that is no handle.
pub(crate) fn get<T: Object>(handle: *const T::C) -> Result<Arc<T>> {
    let (generation, index) = decode(T::KIND, handle.addr()).ok_or_else(|| wrong::<T>(handle.is_null()))?;
    let t = table();
    let slot = t.slots.get(index).filter(|s| s.generation == generation);
    let object = slot.and_then(|s| s.object.clone()).ok_or_else(|| wrong::<T>(false))?;
    drop(t);
    object.downcast().map_err(|_| wrong::<T>(false))
}

/// Takes the object out of the table: from now on its handle is none. It is dropped by whoever uses it last.
///
/// # Errors
/// As [`get`].
pub(crate) fn remove<T: Object>(handle: *mut T::C) -> Result<Arc<T>> {
    let (generation, index) = decode(T::KIND, handle.addr()).ok_or_else(|| wrong::<T>(handle.is_null()))?;
    let mut t = table();
    let slot = t.slots.get_mut(index).filter(|s| s.generation == generation);
    let slot = slot
        .filter(|s| s.object.as_ref().is_some_and(|o| (**o).is::<T>()))
        .ok_or_else(|| wrong::<T>(false))?;
    let object = slot.object.take().ok_or_else(|| wrong::<T>(false))?;
    slot.generation = (slot.generation + 1) % GENERATIONS;
    t.free.push_back(index);
    t.live -= 1;
    drop(t);
    object.downcast().map_err(|_| wrong::<T>(false))
}

/// How many handles there are now.
pub(crate) fn live() -> usize {
    table().live
}

pub(crate) fn no_handle(kind: Kind, null: bool) -> Error {
    let name = kind.name();
    Error::invalid(match null {
        true => format!("the `{name}` is NULL"),
        false => format!("this is no `{name}`: it was freed, or is a handle of another kind"),
    })
}

fn wrong<T: Object>(null: bool) -> Error {
    no_handle(T::KIND, null)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct A(u32);
    struct B;
    impl Object for A {
        type C = u8;
        const KIND: Kind = Kind::Tags;
    }
    impl Object for B {
        type C = u8;
        const KIND: Kind = Kind::Answers;
    }

    #[test]
    fn a_handle_is_good_until_it_is_freed() {
        let a = insert(A(7)).unwrap();
        assert_eq!(get::<A>(a).unwrap().0, 7);
        assert!(get::<B>(a).is_err() && remove::<B>(a).is_err());
        let held = get::<A>(a).unwrap();
        assert_eq!(remove::<A>(a).unwrap().0, 7);
        assert!(get::<A>(a).is_err() && remove::<A>(a).is_err());
        assert_eq!(held.0, 7);
        assert!(get::<A>(std::ptr::null()).is_err_and(|e| e.message().contains("NULL")));
    }

    #[test]
    fn what_is_no_handle_is_found_out() {
        let a = insert(A(1)).unwrap();
        for bit in 0..usize::BITS {
            let other = std::ptr::without_provenance::<u8>(a.addr() ^ 1 << bit);
            assert!(get::<A>(other).is_err(), "bit {bit}");
        }
        let local = 5u8;
        assert!(get::<A>(&local).is_err() && remove::<A>((&raw const local).cast_mut()).is_err());
        remove::<A>(a).unwrap();
    }

    #[test]
    fn slots_are_used_again_with_other_handles() {
        let mut seen = std::collections::HashSet::new();
        for i in 0..500 {
            let a = insert(A(i)).unwrap();
            assert!(seen.insert(a.addr()));
            remove::<A>(a).unwrap();
        }
        assert!(table().slots.len() < 200);
    }

    #[test]
    fn parts_come_back() {
        for kind in [Kind::Model, Kind::Tokens] {
            for (generation, index) in [(0, 0), (GENERATIONS - 1, MAX_HANDLES - 1), (5, 9)] {
                let address = encode(kind, generation, index);
                assert_ne!(address, 0);
                assert_eq!(decode(kind, address), Some((generation, index)));
                assert_eq!(decode(Kind::Text, address), None);
            }
        }
    }
}
