//! Buffers that give an error where memory ends, and the limit on what a model holds.
//!
//! Rust ends the process where an allocation fails. What this crate allocates beyond 4 KiB while a bundle is opened
//! and runs goes through this module instead and gives [`ResourceExhausted`](crate::ErrorKind::ResourceExhausted).
//! The same functions count what they take against a [`Budget`].

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Error, Result};

thread_local! {
    static FALLIBLE: Cell<bool> = const { Cell::new(false) };
    static CURRENT: RefCell<Option<Budget>> = const { RefCell::new(None) };
    static GROWN: Cell<isize> = const { Cell::new(0) };
    static OPENING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is inside an allocation whose failure this module turns into an error. For allocators of
/// tests, which make such an allocation fail; it neither allocates nor panics.
#[doc(hidden)]
pub fn fallible() -> bool {
    FALLIBLE.try_with(Cell::get).unwrap_or(false)
}

/// Runs `f`, which allocates and survives if it cannot.
fn guarded<T>(f: impl FnOnce() -> T) -> T {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            FALLIBLE.set(self.0);
        }
    }
    let _restore = Restore(FALLIBLE.replace(true));
    f()
}

/// Bytes that may be taken, shared by all that is opened from it. Clones are one budget.
#[derive(Clone, Debug)]
pub struct Budget(Arc<State>);

#[derive(Debug)]
struct State {
    limit: usize,
    used: AtomicUsize,
}

impl Default for Budget {
    /// Without a limit.
    fn default() -> Self {
        Budget::new(None)
    }
}

impl Budget {
    /// At most `limit` bytes; `None`: what the machine has.
    pub fn new(limit: Option<usize>) -> Budget {
        Budget(Arc::new(State { limit: limit.unwrap_or(usize::MAX), used: AtomicUsize::new(0) }))
    }

    /// Bytes that are taken now.
    pub fn used(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
    }

    fn charge(&self, bytes: usize) -> Result<()> {
        let State { limit, used } = &*self.0;
        let more = |used: usize| used.checked_add(bytes).filter(|all| all <= limit);
        used.try_update(Ordering::Relaxed, Ordering::Relaxed, more).map(drop).map_err(|used| {
            Error::exhausted(format!(
                "{bytes} bytes more than the {used} in use are over the `memory_limit` of {limit}: raise it, or \
                 give shorter texts and fewer at a time"
            ))
        })
    }

    /// Takes `bytes` for as long as this budget exists.
    pub(crate) fn keep(&self, bytes: usize) -> Result<()> {
        self.charge(bytes)
    }

    fn give_back(&self, bytes: usize) {
        self.0.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// What this thread's kept buffers grow by from now on counts here, until the result is dropped; with `opening`
    /// new buffers count, too, which in a run are gone when it ends.
    pub(crate) fn enter(&self, opening: bool) -> Entered {
        Entered {
            budget: CURRENT.replace(Some(self.clone())),
            grown: GROWN.replace(0),
            opening: OPENING.replace(opening),
        }
    }
}

/// Bytes of a budget, given back when dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    budget: Budget,
    bytes: usize,
}

impl Charge {
    /// No bytes of `budget` so far.
    pub(crate) fn of(budget: &Budget) -> Charge {
        Charge { budget: budget.clone(), bytes: 0 }
    }

    /// Makes bytes that are charged already part of this; fewer than none if buffers shrank.
    pub(crate) fn absorb(&mut self, bytes: isize) {
        self.bytes = self.bytes.saturating_add_signed(bytes);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

/// See [`Budget::enter`].
pub(crate) struct Entered {
    budget: Option<Budget>,
    grown: isize,
    opening: bool,
}

impl Entered {
    /// The end of it: bytes that this thread's buffers grew by. They stay charged.
    pub(crate) fn leave(self) -> isize {
        GROWN.get()
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.replace(self.budget.take());
        GROWN.set(self.grown);
        OPENING.set(self.opening);
    }
}

/// Room for `more` further elements, exactly, in a buffer that is kept from run to run.
pub(crate) fn reserve<T>(v: &mut Vec<T>, more: usize) -> Result<()> {
    grow(v, more, true)
}

/// A new buffer with room for `n` elements.
///
/// # Errors
/// `ResourceExhausted`.
pub fn with_room<T>(n: usize) -> Result<Vec<T>> {
    let mut v = vec![];
    grow(&mut v, n, OPENING.get())?;
    Ok(v)
}

fn grow<T>(v: &mut Vec<T>, more: usize, count: bool) -> Result<()> {
    if v.capacity() - v.len() >= more {
        return Ok(());
    }
    let want = v.len().checked_add(more).and_then(|n| n.checked_mul(size_of::<T>()));
    let want = want.ok_or_else(|| Error::exhausted("a buffer is larger than memory can be"))?;
    let grow = if count { want - v.capacity() * size_of::<T>() } else { 0 };
    CURRENT.with_borrow(|b| b.as_ref().map_or(Ok(()), |b| b.charge(grow)))?;
    guarded(|| v.try_reserve_exact(more)).map_err(|_| {
        CURRENT.with_borrow(|b| b.as_ref().map(|b| b.give_back(grow)));
        Error::exhausted(format!("the system has no memory for a buffer of {want} bytes"))
    })?;
    // What exists is at most `isize::MAX` bytes.
    GROWN.set(GROWN.get() + grow as isize);
    Ok(())
}

/// Room for `more` further elements, and for as many as there are: many small steps copy little.
pub(crate) fn reserve_some<T>(v: &mut Vec<T>, more: usize) -> Result<()> {
    match v.capacity() - v.len() >= more {
        true => Ok(()),
        false => reserve(v, more.max(v.len())),
    }
}

/// Frees a buffer that is kept from run to run.
pub(crate) fn release<T>(v: &mut Vec<T>) {
    let bytes = std::mem::take(v).capacity() * size_of::<T>();
    CURRENT.with_borrow(|b| {
        if let Some(b) = b {
            b.give_back(bytes);
            GROWN.set(GROWN.get() - bytes as isize);
        }
    });
}

/// What `from` gives instead of what was there.
pub(crate) fn refill<T>(v: &mut Vec<T>, from: impl ExactSizeIterator<Item = T>) -> Result<()> {
    v.clear();
    reserve(v, from.len())?;
    v.extend(from);
    Ok(())
}

/// `n` elements; those that are new are `value`.
pub(crate) fn resize<T: Clone>(v: &mut Vec<T>, n: usize, value: T) -> Result<()> {
    reserve(v, n.saturating_sub(v.len()))?;
    v.resize(n, value);
    Ok(())
}

/// A copy.
pub(crate) fn copied<T: Copy>(from: &[T]) -> Result<Vec<T>> {
    let mut v = with_room(from.len())?;
    v.extend_from_slice(from);
    Ok(v)
}

/// All of an iterator that tells its length.
pub(crate) fn collect<T>(from: impl ExactSizeIterator<Item = T>) -> Result<Vec<T>> {
    let mut v = with_room(from.len())?;
    v.extend(from);
    Ok(v)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_count_what_they_grow_by() {
        let budget = Budget::new(Some(1000));
        let mut v = vec![0u32; 10];
        {
            let inside = budget.enter(false);
            assert_eq!(copied(&[1u32; 300]).map(|v| v.len()), Ok(300));
            resize(&mut v, 50, 7).unwrap();
            assert_eq!((budget.used(), v[49]), (160, 7));
            resize(&mut v, 20, 7).unwrap();
            resize(&mut v, 50, 7).unwrap();
            assert_eq!(budget.used(), 160);
            let e = resize(&mut v, 261, 7).unwrap_err();
            assert_eq!(e.kind(), crate::ErrorKind::ResourceExhausted);
            assert!(e.message().contains("844 bytes more than the 160"), "{e}");
            assert_eq!((budget.used(), v.len()), (160, 50));
            assert_eq!(inside.leave(), 160);
        }
        // Outside it nothing is counted.
        resize(&mut v, 1000, 7).unwrap();
        assert_eq!(budget.used(), 160);
        let mut kept = Charge::of(&budget);
        kept.absorb(160);
        budget.keep(840).unwrap();
        assert!(budget.keep(1).is_err());
        drop(kept);
        assert_eq!(budget.used(), 840);
    }

    #[test]
    fn what_is_released_no_longer_counts() {
        let budget = Budget::new(None);
        let mut kept = Charge::of(&budget);
        let mut v: Vec<u64> = vec![];
        let inside = budget.enter(false);
        refill(&mut v, (0..100u32).map(u64::from)).unwrap();
        assert_eq!(budget.used(), 800);
        kept.absorb(inside.leave());
        let inside = budget.enter(false);
        release(&mut v);
        assert_eq!((budget.used(), v.capacity()), (0, 0));
        kept.absorb(inside.leave());
        drop(kept);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn what_cannot_be_is_an_error() {
        let e = with_room::<u64>(usize::MAX).unwrap_err();
        assert_eq!(e.kind(), crate::ErrorKind::ResourceExhausted);
        // With 32 bits an emulator may well have this much.
        #[cfg(all(target_pointer_width = "64", not(miri)))]
        assert!(with_room::<u8>(isize::MAX as usize).is_err());
        assert_eq!(copied(&[1, 2]), Ok(vec![1, 2]));
        assert_eq!(collect([3, 4].iter()), Ok(vec![&3, &4]));
    }
}
