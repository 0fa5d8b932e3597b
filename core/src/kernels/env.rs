//! The float environment: rounding to nearest, denormal numbers kept, whatever the host set.
//!
//! A host may have switched on flush-to-zero (audio code does) or another rounding mode; either would alter
//! our bits. Entry points wrap their work in [`with_default_float_env`].

use std::marker::PhantomData;

/// The control bits of the calling thread's float unit.
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod control {
    /// Round to nearest, no FTZ, no DAZ, all exceptions masked: the state a process starts in.
    const DEFAULT: u32 = 0x1F80;
    /// The six sticky exception flags; they record, they do not control.
    const FLAGS: u32 = 0x3F;

    #[derive(Clone, Copy)]
    pub struct Control(u32);

    pub fn read() -> Control {
        let mut csr = 0u32;
        // SAFETY: stores MXCSR to a local of four bytes; SSE is part of x86-64.
        unsafe { std::arch::asm!("stmxcsr [{}]", in(reg) &mut csr, options(nostack, preserves_flags)) };
        Control(csr)
    }

    pub fn write(control: Control) {
        // SAFETY: callers pass a value that was read from MXCSR or DEFAULT, so no reserved bit is set.
        unsafe { std::arch::asm!("ldmxcsr [{}]", in(reg) &control.0, options(nostack, preserves_flags)) };
    }

    pub fn wanted(now: Control) -> Control {
        Control(DEFAULT | (now.0 & FLAGS))
    }

    pub fn same(a: Control, b: Control) -> bool {
        a.0 & !FLAGS == b.0 & !FLAGS
    }

    #[cfg(test)]
    pub fn disturbed(now: Control) -> Control {
        Control(now.0 | 0x8040 | 0x4000) // FTZ, DAZ, round up
    }
}

#[cfg(all(target_arch = "aarch64", not(miri)))]
mod control {
    #[derive(Clone, Copy)]
    pub struct Control(u64);

    pub fn read() -> Control {
        let fpcr: u64;
        // SAFETY: reads a register that every mode may read.
        unsafe { std::arch::asm!("mrs {}, fpcr", out(reg) fpcr, options(nomem, nostack, preserves_flags)) };
        Control(fpcr)
    }

    pub fn write(control: Control) {
        // SAFETY: sets rounding and flush bits of this thread; the value is one we read or zero.
        unsafe { std::arch::asm!("msr fpcr, {}", in(reg) control.0, options(nostack, preserves_flags)) };
    }

    pub fn wanted(_now: Control) -> Control {
        Control(0) // round to nearest, no flush to zero, no default NaN, no trap
    }

    pub fn same(a: Control, b: Control) -> bool {
        a.0 == b.0
    }

    #[cfg(test)]
    pub fn disturbed(now: Control) -> Control {
        Control(now.0 | 1 << 24 | 1 << 22) // FZ, round up
    }
}

#[cfg(not(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri))))]
mod control {
    #[derive(Clone, Copy)]
    pub struct Control;

    pub fn read() -> Control {
        Control
    }

    pub fn write(_: Control) {}

    pub fn wanted(now: Control) -> Control {
        now
    }

    pub fn same(_: Control, _: Control) -> bool {
        true
    }
}

/// Restores the thread's float environment when dropped. Not `Send`: it belongs to its thread.
struct Restore {
    saved: control::Control,
    changed: bool,
    _thread: PhantomData<*const ()>,
}

impl Drop for Restore {
    fn drop(&mut self) {
        if self.changed {
            control::write(self.saved);
        }
    }
}

/// Runs `work` with round-to-nearest and denormal numbers kept, and gives the thread back the mode it had,
/// also when `work` panics.
///
/// On architectures other than x86-64 and 64-bit ARM it only runs `work`. Costs a few nanoseconds. The call
/// is never inlined, so that no float operation of `work` is moved across the change.
pub fn with_default_float_env<T>(work: impl FnOnce() -> T) -> T {
    let saved = control::read();
    let wanted = control::wanted(saved);
    let changed = !control::same(saved, wanted);
    if changed {
        control::write(wanted);
    }
    let _restore = Restore { saved, changed, _thread: PhantomData };
    run(work)
}

#[inline(never)]
fn run<T>(work: impl FnOnce() -> T) -> T {
    std::hint::black_box(work())
}

#[cfg(all(test, any(target_arch = "x86_64", target_arch = "aarch64"), not(miri)))]
mod tests {
    use super::*;
    use std::hint::black_box;

    /// A sum that rounds differently upwards and a product that is denormal.
    fn probe() -> (u32, u32) {
        let sum = black_box(1.0f32) + black_box(1e-10);
        let tiny = black_box(1e-30f32) * black_box(1e-10);
        (sum.to_bits(), tiny.to_bits())
    }

    #[test]
    fn a_changed_mode_is_undone_inside_and_given_back() {
        let right = probe();
        let original = control::read();
        let odd = control::disturbed(original);
        control::write(odd);
        let disturbed = probe();
        let inside = with_default_float_env(probe);
        let after = control::read();
        let panicked = std::panic::catch_unwind(|| with_default_float_env(|| panic!("on purpose")));
        let after_panic = control::read();
        control::write(original);
        assert_ne!(disturbed.0, right.0);
        assert_ne!(disturbed.1, right.1);
        assert_eq!(inside, right);
        assert!(control::same(after, odd));
        assert!(panicked.is_err());
        assert!(control::same(after_panic, odd));
    }
}
