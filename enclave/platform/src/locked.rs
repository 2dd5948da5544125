//! Memory for keys, and the random bytes they are made of.

use rustix::io::Errno;
use std::ptr::NonNull;
use zeroize::Zeroize;

/// How a key's page is protected.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, minicbor::Encode, minicbor::Decode,
)]
#[serde(rename_all = "snake_case")]
#[cbor(index_only)]
pub enum Protection {
    /// `memfd_secret`: not even the kernel's own mapping reaches the page; never swapped, never dumped.
    #[n(0)]
    MemfdSecret,
    /// The kernel has no `memfd_secret`: locked, never swapped, never dumped.
    #[n(1)]
    Mlock,
}

/// No page for a key could be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no locked memory for a key: {0}")]
pub struct LockError(pub Errno);

/// A key of `N` bytes on a page of its own: never swapped, never in a core dump, absent in forked
/// children, read-only once filled, wiped on drop. Not `Debug`, not `Clone`.
pub struct LockedKey<const N: usize> {
    page: NonNull<[u8; N]>,
    protection: Protection,
}

// SAFETY: the page belongs to this value alone, and is only read after construction.
unsafe impl<const N: usize> Send for LockedKey<N> {}
// SAFETY: as above; `&self` gives shared reads only.
unsafe impl<const N: usize> Sync for LockedKey<N> {}

/// Length of each mapping; the kernel rounds it up to its page.
const PAGE: usize = 4096;

impl<const N: usize> LockedKey<N> {
    const FITS: () = assert!(N > 0 && N <= PAGE, "a key fits one page");

    /// A key written in place by `fill`, which gets zeros: no copy of it need ever be elsewhere.
    pub fn fill_with(fill: impl FnOnce(&mut [u8; N])) -> Result<Self, LockError> {
        Self::try_fill_with(|key| {
            fill(key);
            Ok(())
        })
    }

    /// A key written in place by `fill`, which may fail.
    pub fn try_fill_with<E: From<LockError>>(fill: impl FnOnce(&mut [u8; N]) -> Result<(), E>) -> Result<Self, E> {
        let () = Self::FITS;
        let (page, protection) = map(PAGE).map_err(LockError)?;
        // From here on `Drop` wipes and unmaps, whatever `fill` does.
        let mut key = Self { page: page.cast(), protection };
        // SAFETY: the mapping is PAGE >= N bytes, readable and writable, zeroed by the kernel, aligned
        // for bytes, and nobody else has its address.
        fill(unsafe { key.page.as_mut() })?;
        // SAFETY: the whole of our own mapping; `expose` only reads, and `Drop` makes it writable again.
        unsafe { rustix::mm::mprotect(key.page.as_ptr().cast(), PAGE, rustix::mm::MprotectFlags::READ) }
            .map_err(LockError)?;
        Ok(key)
    }

    /// A fresh random key.
    pub fn random() -> Result<Self, LockError> {
        Self::fill_with(|key| random(key))
    }

    /// The key, for the cipher or signer alone.
    pub fn expose(&self) -> &[u8; N] {
        // SAFETY: the mapping lives as long as `self` and is never written after construction.
        unsafe { self.page.as_ref() }
    }

    /// How its page is protected.
    pub fn protection(&self) -> Protection {
        self.protection
    }
}

impl<const N: usize> Drop for LockedKey<N> {
    fn drop(&mut self) {
        let page = self.page.as_ptr();
        // SAFETY: our own mapping, unmapped here and nowhere else; `&mut self` proves that no borrow
        // of the key is left. When the page cannot be made writable it is unmapped unwiped: the
        // kernel clears pages before it hands them out again.
        unsafe {
            let flags = rustix::mm::MprotectFlags::READ | rustix::mm::MprotectFlags::WRITE;
            if rustix::mm::mprotect(page.cast(), PAGE, flags).is_ok() {
                (*page).zeroize();
            }
            let _ = rustix::mm::munmap(page.cast(), PAGE);
        }
    }
}

/// Fills `bytes` from the kernel's generator.
///
/// Ends the process when the kernel has none: there is nothing safe to go on with.
pub fn random(bytes: &mut [u8]) {
    let mut rest = bytes;
    while !rest.is_empty() {
        match rustix::rand::getrandom(&mut *rest, rustix::rand::GetRandomFlags::empty()) {
            Ok(filled) => rest = rest.get_mut(filled..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(_) => std::process::abort(),
        }
    }
}

/// How keys will be protected in this process.
pub(crate) fn available() -> Result<Protection, LockError> {
    LockedKey::<1>::fill_with(|_| ()).map(|key| key.protection)
}

fn map(len: usize) -> Result<(NonNull<u8>, Protection), Errno> {
    use rustix::mm::{Advice, MapFlags, ProtFlags};
    let access = ProtFlags::READ | ProtFlags::WRITE;
    let (page, protection) = match memfd_secret() {
        Ok(fd) => {
            rustix::fs::ftruncate(&fd, len as u64)?;
            // SAFETY: a new mapping of a descriptor that nobody else has, at an address the kernel chooses.
            let page = unsafe { rustix::mm::mmap(std::ptr::null_mut(), len, access, MapFlags::SHARED, &fd, 0)? };
            (page, Protection::MemfdSecret)
        }
        Err(Errno::NOSYS | Errno::PERM | Errno::OPNOTSUPP) => {
            // SAFETY: a new anonymous mapping at an address the kernel chooses.
            let page = unsafe { rustix::mm::mmap_anonymous(std::ptr::null_mut(), len, access, MapFlags::PRIVATE)? };
            (page, Protection::Mlock)
        }
        Err(error) => return Err(error),
    };
    let guard = |done: Result<(), Errno>| {
        done.inspect_err(|_| {
            // SAFETY: the mapping made above, which nobody has seen yet.
            let _ = unsafe { rustix::mm::munmap(page, len) };
        })
    };
    if protection == Protection::Mlock {
        // SAFETY: locks our own mapping; no memory is read or written through this call.
        guard(unsafe { rustix::mm::mlock(page, len) })?;
        // SAFETY: advice on our own mapping that does not change its contents.
        guard(unsafe { rustix::mm::madvise(page, len, Advice::LinuxDontDump) })?;
    }
    // SAFETY: advice on our own mapping that does not change its contents.
    guard(unsafe { rustix::mm::madvise(page, len, Advice::LinuxDontFork) })?;
    Ok((NonNull::new(page.cast()).ok_or(Errno::FAULT)?, protection))
}

fn memfd_secret() -> Result<rustix::fd::OwnedFd, Errno> {
    // SAFETY: the call takes one flag word and no pointers.
    let fd = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
    let Some(fd) = i32::try_from(fd).ok().filter(|fd| *fd >= 0) else {
        return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::NOSYS));
    };
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { rustix::fd::FromRawFd::from_raw_fd(fd) })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_what_was_filled_in() {
        let key = LockedKey::<32>::fill_with(|key| key.fill(7)).unwrap();
        assert_eq!(key.expose(), &[7; 32]);
    }

    #[test]
    fn a_failing_fill_gives_no_key() {
        let result = LockedKey::<32>::try_fill_with(|_| Err(LockError(Errno::IO)));
        assert_eq!(result.err(), Some(LockError(Errno::IO)));
    }

    #[test]
    fn random_keys_differ() {
        let keys = [LockedKey::<32>::random().unwrap(), LockedKey::<32>::random().unwrap()];
        assert_ne!(keys[0].expose(), keys[1].expose());
    }

    #[test]
    fn the_page_is_locked() {
        let key = LockedKey::<32>::random().unwrap();
        let before = *key.expose();
        // The kernel refuses to drop a locked page, and only a locked page (EINVAL).
        // SAFETY: were the page not locked, the key would read as zero and the test fail.
        let advised = unsafe { rustix::mm::madvise(key.page.as_ptr().cast(), PAGE, rustix::mm::Advice::LinuxDontNeed) };
        assert_eq!(advised, Err(Errno::INVAL));
        assert_eq!(key.expose(), &before);
    }

    /// What becomes of a forked child that touches `address`: its signal, or zero.
    fn signal_of_child_reading(address: *const u8) -> i32 {
        // SAFETY: between fork and _exit the child does one volatile read and makes no calls, which
        // is allowed after a fork in a process with threads.
        unsafe {
            match libc::fork() {
                0 => {
                    libc::signal(libc::SIGSEGV, libc::SIG_DFL);
                    std::ptr::read_volatile(address);
                    libc::_exit(0)
                }
                child => {
                    let mut status = 0;
                    assert_eq!(libc::waitpid(child, &mut status, 0), child);
                    if libc::WIFSIGNALED(status) { libc::WTERMSIG(status) } else { 0 }
                }
            }
        }
    }

    #[test]
    fn a_forked_child_has_no_such_page() {
        let key = LockedKey::<32>::random().unwrap();
        assert_eq!(signal_of_child_reading(key.page.as_ptr().cast()), libc::SIGSEGV);
        let ordinary = Box::new(1u8);
        assert_eq!(signal_of_child_reading(&*ordinary), 0);
    }

    #[test]
    fn a_filled_key_cannot_be_written() {
        let key = LockedKey::<32>::random().unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        rustix::io::write(&writer, &[0u8; 1]).unwrap();
        // The kernel writes into the page for us, and says EFAULT where a store would have crashed.
        // SAFETY: read(2) writes at most one byte, inside the key's page.
        let read = unsafe { libc::read(std::os::fd::AsRawFd::as_raw_fd(&reader), key.page.as_ptr().cast(), 1) };
        assert_eq!(read, -1);
        assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::EFAULT));
    }
}
