//! Cancel tokens. Tripping one is safe in a signal handler: tokens live in an array that is never freed, and a trip is
//! two atomic loads and a store.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use pocketbert::CancelToken;
use pocketbert::error::{Error, Result};

use crate::args::Out;
use crate::boundary::call;
use crate::handle::{GENERATIONS, Kind, decode, encode, no_handle};
use crate::status::pocketbert_status;

/// A switch that stops calls.
///
/// 1. A token is not tripped when it is made.
/// 2. Every call that was given a tripped token, or is given one, returns `POCKETBERT_CANCELLED` at its next check:
///    between operators (about a sixth of a layer), texts and windows; its outputs are not written.
/// 3. A call that has already passed its last check returns as if nothing had happened.
/// 4. Tripping with no call under way does nothing but stay tripped: later calls with the token are cancelled.
/// 5. Tripping twice is the same as once.
/// 6. One token may be given to any number of calls on any threads; a trip stops them all.
/// 7. A token stays tripped until `pocketbert_cancel_reset`; calls that saw it tripped still end.
/// 8. `pocketbert_cancel_trip` may be called from any thread and from a signal handler, also while the interrupted
///    thread is inside this library; it takes no lock, allocates nothing and leaves errno and the last error alone.
/// 9. Freeing a token while calls use it is allowed: they go on and can no longer be stopped by it.
/// 10. A trip that runs at the same time as the free of the same token does nothing, or stops a token that was
///     made after it; take the handler away before you free its token.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[derive(Debug)]
pub struct pocketbert_cancel {
    _private: (),
}

/// The most tokens at a time.
const TOKENS: usize = 256;

struct Slot {
    /// The generation, shifted by one, and whether there is a token.
    state: AtomicUsize,
    /// Made once and used by all generations.
    token: OnceLock<CancelToken>,
}

static SLOTS: [Slot; TOKENS] =
    [const { Slot { state: AtomicUsize::new(0), token: OnceLock::new() } }; TOKENS];

/// What is not needed to trip: who uses which slot, and which slots are free, in a ring.
struct Pool {
    users: [u32; TOKENS],
    ring: [u16; TOKENS],
    first: usize,
    free: usize,
    live: usize,
}

static POOL: Mutex<Pool> = Mutex::new(Pool {
    users: [0; TOKENS],
    ring: {
        let mut ring = [0; TOKENS];
        let mut i = 0;
        while i < TOKENS {
            ring[i] = i as u16;
            i += 1;
        }
        ring
    },
    first: 0,
    free: TOKENS,
    live: 0,
});

fn pool() -> MutexGuard<'static, Pool> {
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    fn give_back(&mut self, index: usize) {
        let at = (self.first + self.free) % TOKENS;
        self.ring[at] = index as u16;
        self.free += 1;
    }
}

/// The slot of a token, and the state that says that it is still this token's. No lock, no allocation.
fn find(token: *const pocketbert_cancel) -> Option<(usize, &'static Slot, usize)> {
    let (generation, index) = decode(Kind::Cancel, token.addr())?;
    let slot = SLOTS.get(index)?;
    let state = generation << 1 | 1;
    (slot.state.load(Ordering::Acquire) == state).then_some((index, slot, state))
}

fn wrong(token: *const pocketbert_cancel) -> Error {
    no_handle(Kind::Cancel, token.is_null())
}

/// How many tokens there are now.
pub(crate) fn live() -> usize {
    pool().live
}

/// A call's hold on a token: its place is not used for another one meanwhile.
#[derive(Debug)]
pub(crate) struct Held(usize);

impl Held {
    pub(crate) fn of(token: *const pocketbert_cancel) -> Result<Held> {
        let mut pool = pool();
        // Under the lock, so that it is not freed between the look and the hold.
        let (index, ..) = find(token).ok_or_else(|| wrong(token))?;
        pool.users[index] += 1;
        Ok(Held(index))
    }

    pub(crate) fn token(&self) -> CancelToken {
        SLOTS.get(self.0).and_then(|s| s.token.get()).cloned().unwrap_or_default()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut pool = pool();
        pool.users[self.0] -= 1;
        let freed = SLOTS.get(self.0).is_some_and(|s| s.state.load(Ordering::Acquire) & 1 == 0);
        if freed && pool.users[self.0] == 0 {
            pool.give_back(self.0);
        }
    }
}

/// Makes a token: `*token`, to be freed with `pocketbert_cancel_free`. At most 256 exist at a time.
///
/// # Safety
/// `token` is good for writing.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn pocketbert_cancel_new(token: *mut *mut pocketbert_cancel) -> pocketbert_status {
    call("pocketbert_cancel_new", || {
        // SAFETY: the caller's promise.
        let out = unsafe { Out::new("token", token) }?;
        let mut pool = pool();
        if pool.free == 0 {
            return Err(Error::exhausted(format!("{TOKENS} cancel tokens are in use: free some")));
        }
        let index = usize::from(pool.ring[pool.first]);
        pool.first = (pool.first + 1) % TOKENS;
        pool.free -= 1;
        pool.live += 1;
        let slot = &SLOTS[index];
        slot.token.get_or_init(CancelToken::new).reset();
        let generation = ((slot.state.load(Ordering::Acquire) >> 1) + 1) % GENERATIONS;
        slot.state.store(generation << 1 | 1, Ordering::Release);
        out.set(std::ptr::without_provenance_mut(encode(Kind::Cancel, generation, index)));
        Ok(())
    })
}

/// Trips the token. Safe in a signal handler and from any thread; unlike other functions it leaves the last error
/// alone also where it fails (`POCKETBERT_INVALID_ARGUMENT` for a handle that is no token).
#[unsafe(no_mangle)]
pub extern "C" fn pocketbert_cancel_trip(token: *const pocketbert_cancel) -> pocketbert_status {
    match find(token).and_then(|(_, slot, _)| slot.token.get()) {
        Some(token) => {
            token.cancel();
            pocketbert_status::POCKETBERT_OK
        }
        None => pocketbert_status::POCKETBERT_INVALID_ARGUMENT,
    }
}

/// Makes a tripped token usable again. Safe like `pocketbert_cancel_trip`.
#[unsafe(no_mangle)]
pub extern "C" fn pocketbert_cancel_reset(token: *const pocketbert_cancel) -> pocketbert_status {
    match find(token).and_then(|(_, slot, _)| slot.token.get()) {
        Some(token) => {
            token.reset();
            pocketbert_status::POCKETBERT_OK
        }
        None => pocketbert_status::POCKETBERT_INVALID_ARGUMENT,
    }
}

/// 1 if the token is tripped, 0 if not, -1 if it is no token. Safe like `pocketbert_cancel_trip`.
#[unsafe(no_mangle)]
pub extern "C" fn pocketbert_cancel_is_tripped(token: *const pocketbert_cancel) -> i32 {
    find(token).and_then(|(_, slot, _)| slot.token.get()).map_or(-1, |t| i32::from(t.is_cancelled()))
}

/// Frees a token. Not in a signal handler.
#[unsafe(no_mangle)]
pub extern "C" fn pocketbert_cancel_free(token: *mut pocketbert_cancel) -> pocketbert_status {
    call("pocketbert_cancel_free", || {
        let mut pool = pool();
        let (index, slot, state) = find(token).ok_or_else(|| wrong(token))?;
        slot.state.store(state & !1, Ordering::Release);
        pool.live -= 1;
        if pool.users[index] == 0 {
            pool.give_back(index);
        }
        Ok::<_, Error>(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use pocketbert_status::*;

    fn new() -> *mut pocketbert_cancel {
        let mut token = std::ptr::null_mut();
        // SAFETY: a place of ours.
        assert_eq!(unsafe { pocketbert_cancel_new(&mut token) }, POCKETBERT_OK);
        token
    }

    #[test]
    fn trip_reset_free() {
        let t = new();
        assert_eq!(pocketbert_cancel_is_tripped(t), 0);
        assert_eq!(pocketbert_cancel_trip(t), POCKETBERT_OK);
        assert_eq!(pocketbert_cancel_trip(t), POCKETBERT_OK);
        assert_eq!(pocketbert_cancel_is_tripped(t), 1);
        assert_eq!(pocketbert_cancel_reset(t), POCKETBERT_OK);
        assert_eq!(pocketbert_cancel_is_tripped(t), 0);
        assert_eq!(pocketbert_cancel_free(t), POCKETBERT_OK);
        assert_eq!(pocketbert_cancel_free(t), POCKETBERT_INVALID_ARGUMENT);
        assert_eq!(pocketbert_cancel_trip(t), POCKETBERT_INVALID_ARGUMENT);
        assert_eq!(pocketbert_cancel_trip(std::ptr::null()), POCKETBERT_INVALID_ARGUMENT);
        assert_eq!(pocketbert_cancel_is_tripped(t), -1);
    }

    #[test]
    fn a_place_in_use_is_not_given_away() {
        let t = new();
        let held = Held::of(t).unwrap();
        let flag = held.token();
        assert_eq!(pocketbert_cancel_free(t), POCKETBERT_OK);
        // However many are made meanwhile, none is the one that the call still looks at.
        for _ in 0..2 * TOKENS {
            let other = new();
            pocketbert_cancel_trip(other);
            assert!(!flag.is_cancelled());
            assert_eq!(pocketbert_cancel_free(other), POCKETBERT_OK);
        }
        drop(held);
        assert!(Held::of(t).is_err());
    }
}
