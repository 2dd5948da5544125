//! The global allocator of enclave programs: it knows how many bytes live, and ends a worker that
//! would pass its ceiling before the memory is taken.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicI32, AtomicUsize, Ordering::Relaxed},
};

/// Counts live bytes. In a worker it also holds the job's ceiling: the allocation that would pass
/// it writes the worker's last word and ends the process, without unwinding and without allocating.
///
/// Every enclave program must install it: `#[global_allocator] static A: CountingAllocator = CountingAllocator;`
/// ([`enter`](crate::enter) refuses to start otherwise).
pub struct CountingAllocator;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
/// Live bytes when the ceiling was set.
static BASE: AtomicUsize = AtomicUsize::new(0);
static CEILING: AtomicUsize = AtomicUsize::new(usize::MAX);
static LAST_WORDS: AtomicI32 = AtomicI32::new(-1);

/// The worker's last word when it reaches its ceiling.
pub(crate) const WORD_MEMORY: u8 = b'M';
/// Exit status of a worker that reached its ceiling; for people who trace, the word is what counts.
const EXIT_MEMORY: i32 = 121;

impl CountingAllocator {
    /// Bytes that live now. In a worker: since the job began.
    pub fn live() -> usize {
        LIVE.load(Relaxed).saturating_sub(BASE.load(Relaxed))
    }

    /// Most bytes that ever lived at once. In a worker: since the job began.
    pub fn peak() -> usize {
        PEAK.load(Relaxed).saturating_sub(BASE.load(Relaxed))
    }

    /// From now on, `bytes` more than now is the end of this process, announced on `last_words`.
    pub(crate) fn arm(bytes: u64, last_words: i32) {
        let live = LIVE.load(Relaxed);
        BASE.store(live, Relaxed);
        PEAK.store(live, Relaxed);
        LAST_WORDS.store(last_words, Relaxed);
        CEILING.store(live.saturating_add(usize::try_from(bytes).unwrap_or(usize::MAX)), Relaxed);
    }

    /// Whether this type is the program's global allocator.
    pub(crate) fn installed() -> bool {
        let before = LIVE.load(Relaxed);
        let probe = std::hint::black_box(Box::new([0u8; 64]));
        let after = LIVE.load(Relaxed);
        drop(probe);
        after != before
    }
}

/// Counts `size` more bytes, or does not return.
fn take(size: usize) {
    let live = LIVE.fetch_add(size, Relaxed).saturating_add(size);
    if live > PEAK.load(Relaxed) {
        PEAK.fetch_max(live, Relaxed);
    }
    if live > CEILING.load(Relaxed) {
        end();
    }
}

fn give(size: usize) {
    LIVE.fetch_sub(size, Relaxed);
}

/// Memory the system does not have is, in a worker, a ceiling reached too (its address space is bounded).
fn checked(pointer: *mut u8) -> *mut u8 {
    if pointer.is_null() && LAST_WORDS.load(Relaxed) >= 0 {
        end();
    }
    pointer
}

#[cold]
fn end() -> ! {
    let word = [WORD_MEMORY];
    // SAFETY: write(2) and _exit(2) are async-signal-safe and do not allocate; the buffer is one
    // byte on this stack. A failed write leaves the pipe without a word, which reads as a crash.
    unsafe {
        libc::write(LAST_WORDS.load(Relaxed), word.as_ptr().cast(), 1);
        libc::_exit(EXIT_MEMORY)
    }
}

// SAFETY: every call is passed on to `System` with the caller's own arguments, so `System`'s
// guarantees hold; counting touches atomics only and cannot unwind.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        // SAFETY: the caller keeps `alloc`'s contract.
        checked(unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        // SAFETY: the caller keeps `alloc_zeroed`'s contract.
        checked(unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(pointer, layout) };
        give(layout.size());
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        match size.checked_sub(layout.size()) {
            Some(more) => take(more),
            None => give(layout.size().saturating_sub(size)),
        }
        // SAFETY: the caller keeps `realloc`'s contract.
        checked(unsafe { System.realloc(pointer, layout, size) })
    }
}
