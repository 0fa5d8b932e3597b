//! Threads that work together for the length of one run.
//!
//! An encoder of six layers splits some forty products over threads; starting threads for each would cost more
//! than it saves. A [`Team`] starts them once a run, and its end joins them: no thread outlives a run. Between two
//! jobs a member spins for some microseconds, since the next job is usually near, then sleeps.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, Thread, park};

use super::with_default_float_env;
use crate::error::{Error, Result};

/// Rounds of waiting before a thread sleeps: about 20 microseconds.
const SPINS: u32 = if cfg!(miri) { 2 } else { 4000 };

/// Threads, the calling one among them, that do the parts of a job together.
#[derive(Debug)]
pub struct Team {
    /// None without members.
    shared: Option<Arc<Shared>>,
    members: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Counts jobs; a change tells that there is one (or the end).
    round: AtomicU32,
    /// Members that have not finished the job.
    busy: AtomicU32,
    stop: AtomicBool,
    job: Mutex<Option<Job>>,
}

/// A job as the members see it: what [`Team::run`] was given, without its lifetime.
#[derive(Clone, Copy)]
struct Job {
    work: *const (dyn Fn(usize) + Sync),
    caller: *const Thread,
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Job")
    }
}

// SAFETY: both point to values that are `Sync` and outlive the job: `Team::run` waits for all members.
unsafe impl Send for Job {}

impl Team {
    /// A team of `threads` threads in all, at least 1; none is started for 1. Where the system gives fewer threads,
    /// the team is smaller.
    pub fn new(threads: usize) -> Team {
        if threads <= 1 {
            return Team { shared: None, members: vec![] };
        }
        let shared = Arc::new(Shared::default());
        let mut members = vec![];
        for index in 1..threads {
            let shared = shared.clone();
            let name = "pocketbert".to_string();
            match std::thread::Builder::new().name(name).spawn(move || member(&shared, index)) {
                Ok(m) => members.push(m),
                Err(_) => break,
            }
        }
        Team { shared: Some(shared), members }
    }

    /// Threads, the caller's included.
    pub fn threads(&self) -> usize {
        self.members.len() + 1
    }

    /// Calls `work(i)` for each `i` below [`threads`](Self::threads), each on a thread of its own, and waits for all.
    ///
    /// # Errors
    /// The first of `work`'s; `Internal` if a part panicked on another thread. A panic on the caller's own thread
    /// goes on when the others are done.
    pub fn run(&mut self, work: impl Fn(usize) -> Result<()> + Sync) -> Result<()> {
        let Some(s) = self.shared.as_deref().filter(|_| !self.members.is_empty()) else { return work(0) };
        let failed: Mutex<Option<Error>> = Mutex::new(None);
        let keep = |e: Error| {
            failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(e);
        };
        let part = |i: usize| {
            match catch_unwind(AssertUnwindSafe(|| with_default_float_env(|| work(i)))) {
                Ok(Ok(())) => {}
                Ok(Err(e)) => keep(e),
                Err(_) => keep(Error::internal("a panic in a worker thread")),
            };
        };
        let part: &(dyn Fn(usize) + Sync) = &part;
        // SAFETY: only the lifetime changes. No member uses the pointer after it has lowered `busy`, and this
        // function does not return, nor unwind, before `busy` is zero.
        let erased: *const (dyn Fn(usize) + Sync) =
            unsafe { std::mem::transmute::<&(dyn Fn(usize) + Sync), &'static (dyn Fn(usize) + Sync)>(part) };
        let caller = std::thread::current();
        *s.job.lock().unwrap_or_else(PoisonError::into_inner) = Some(Job { work: erased, caller: &caller });
        s.busy.store(self.members.len() as u32, Ordering::Relaxed);
        s.round.fetch_add(1, Ordering::Release);
        for m in &self.members {
            m.thread().unpark();
        }
        let own = catch_unwind(AssertUnwindSafe(|| work(0)));
        wait(|| s.busy.load(Ordering::Acquire) == 0);
        *s.job.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let own = own.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        own.and(failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err))
    }
}

impl Team {
    /// Calls `work` with each of `items`, at most [`threads`](Self::threads) of them, on a thread of its own.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub(crate) fn each<T: Send>(
        &mut self,
        items: Vec<T>,
        work: impl Fn(T) -> Result<()> + Sync,
    ) -> Result<()> {
        if items.len() <= 1 || items.len() > self.threads() {
            return items.into_iter().try_for_each(work);
        }
        let slots: Vec<Mutex<Option<T>>> = items.into_iter().map(|i| Mutex::new(Some(i))).collect();
        self.run(|i| {
            let item = slots.get(i).and_then(|s| s.lock().unwrap_or_else(PoisonError::into_inner).take());
            item.map_or(Ok(()), &work)
        })
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        let Some(shared) = &self.shared else { return };
        shared.stop.store(true, Ordering::Relaxed);
        shared.round.fetch_add(1, Ordering::Release);
        for m in self.members.drain(..) {
            m.thread().unpark();
            // A member catches what its work panics with, so it ends well.
            let _ = m.join();
        }
    }
}

/// Spins, then sleeps, until `done`; whoever makes it so has to unpark this thread.
fn wait(done: impl Fn() -> bool) {
    for _ in 0..SPINS {
        if done() {
            return;
        }
        std::hint::spin_loop();
    }
    while !done() {
        park();
    }
}

fn member(s: &Shared, index: usize) {
    let mut seen = 0;
    loop {
        wait(|| s.round.load(Ordering::Acquire) != seen);
        seen = seen.wrapping_add(1);
        if s.stop.load(Ordering::Relaxed) {
            return;
        }
        let job = *s.job.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(job) = job else { return };
        // SAFETY: `Team::run` keeps both alive until `busy` is zero, which waits for this member.
        let (work, caller) = unsafe { (&*job.work, (*job.caller).clone()) };
        work(index);
        if s.busy.fetch_sub(1, Ordering::Release) == 1 {
            caller.unpark();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn every_part_runs_once_a_job_and_borrows_from_the_caller() {
        for threads in [1, 2, 3] {
            let mut team = Team::new(threads);
            assert_eq!(team.threads(), threads);
            for job in 0..if cfg!(miri) { 5 } else { 3000 } {
                let done: Vec<AtomicUsize> = (0..threads).map(|_| AtomicUsize::new(0)).collect();
                team.run(|i| {
                    done[i].fetch_add(1 + job, Ordering::Relaxed);
                    Ok(())
                })
                .unwrap();
                assert!(done.iter().all(|d| d.load(Ordering::Relaxed) == 1 + job));
            }
        }
    }

    #[test]
    fn errors_and_panics_come_out_and_the_team_goes_on() {
        let mut team = Team::new(3);
        for bad in 0..3 {
            let e = team.run(|i| if i == bad { Err(Error::invalid("no")) } else { Ok(()) }).unwrap_err();
            assert_eq!(e.message(), "no");
        }
        let e = team.run(|i| if i == 2 { panic!("in a part") } else { Ok(()) }).unwrap_err();
        assert!(e.message().contains("panic"), "{e}");
        let own =
            catch_unwind(AssertUnwindSafe(|| team.run(|i| if i == 0 { panic!("own") } else { Ok(()) })));
        assert!(own.is_err());
        team.run(|_| Ok(())).unwrap();
    }
}
