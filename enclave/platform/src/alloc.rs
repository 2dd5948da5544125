//! The global allocator of enclave programs: what is freed is wiped, so that no buffer of any
//! library leaves a key or a row behind; and a worker that would pass its ceiling is ended before
//! the memory is taken.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    ptr,
    sync::atomic::{AtomicI32, AtomicUsize, Ordering::Relaxed},
};

/// Counts live bytes and wipes freed ones. A worker's memory is wiped by the worker's end instead;
/// there it holds the job's ceiling: the allocation that would pass it writes the worker's last word
/// and ends the process, without unwinding and without allocating.
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

/// Everywhere but in a worker, whose whole process ends with its job.
fn wipes() -> bool {
    LAST_WORDS.load(Relaxed) < 0
}

/// Writes zeros that the compiler may not leave out.
///
/// # Safety
///
/// `pointer` must be valid for writes of `size` bytes.
unsafe fn wipe(pointer: *mut u8, size: usize) {
    // SAFETY: as the caller promises.
    unsafe { ptr::write_bytes(pointer, 0, size) };
    // The block escapes into this barrier, so the writes above count as observed.
    std::hint::black_box(pointer);
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
        if wipes() {
            // SAFETY: the block is the caller's to give back and `layout.size()` bytes long.
            unsafe { wipe(pointer, layout.size()) };
        }
        // SAFETY: the caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(pointer, layout) };
        give(layout.size());
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        match size.checked_sub(layout.size()) {
            Some(more) => take(more),
            None => give(layout.size().saturating_sub(size)),
        }
        if !wipes() {
            // SAFETY: the caller keeps `realloc`'s contract.
            return checked(unsafe { System.realloc(pointer, layout, size) });
        }
        // The system's realloc may move the block and leave the old one as it was.
        // SAFETY: `size` is not zero and, rounded up to the alignment, fits `isize`: `realloc`'s
        // contract. Both blocks are valid for the bytes copied and do not overlap.
        unsafe {
            let grown = System.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !grown.is_null() {
                ptr::copy_nonoverlapping(pointer, grown, layout.size().min(size));
                wipe(pointer, layout.size());
                System.dealloc(pointer, layout);
            }
            grown
        }
    }
}
