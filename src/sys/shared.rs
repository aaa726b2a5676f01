//! Memory that processes share: an anonymous file, mapped by each that has its descriptor.

use std::{
    fmt,
    fs::File,
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    ptr::NonNull,
    slice,
    sync::atomic::AtomicU64,
};

/// A mapping of numbers that other processes may change at any time, hence atomic.
pub(crate) struct Shared {
    numbers: NonNull<AtomicU64>,
    len: usize,
}

// SAFETY: the mapping belongs to no thread, and all that is handed out of it are shared references to atomics.
unsafe impl Send for Shared {}
// SAFETY: as above; an atomic may be used from any thread.
unsafe impl Sync for Shared {}

impl Shared {
    /// New memory of `len` zeroes, and the descriptor for another process.
    pub(crate) fn create(len: usize) -> io::Result<(Shared, OwnedFd)> {
        let descriptor = OwnedFd::from(anonymous(bytes(len)? as u64)?);
        Ok((Shared::map(&descriptor, len)?, descriptor))
    }

    /// Maps what another process made; it must hold exactly `len` numbers, as using a page that is not there kills.
    pub(crate) fn map(descriptor: &OwnedFd, len: usize) -> io::Result<Shared> {
        let size = bytes(len)?;
        let actual = nix::sys::stat::fstat(descriptor)?.st_size;
        if u64::try_from(actual) != Ok(size as u64) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the counter page has {actual} bytes, not {size}"),
            ));
        }
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory that is in use.
        let start =
            unsafe { libc::mmap(std::ptr::null_mut(), size, protection, libc::MAP_SHARED, descriptor.as_raw_fd(), 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let numbers = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Shared { numbers, len })
    }

    /// The numbers.
    pub(crate) fn numbers(&self) -> &[AtomicU64] {
        // SAFETY: the mapping holds `len` numbers (its size was checked; where it can be sealed it is), begins at a page, any bytes are
        // numbers, and it stays until drop.
        unsafe { slice::from_raw_parts(self.numbers.as_ptr(), self.len) }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: exactly what `map` mapped, and no reference into it outlives `self`.
        unsafe { libc::munmap(self.numbers.as_ptr().cast(), self.len * size_of::<AtomicU64>()) };
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("len", &self.len).finish_non_exhaustive()
    }
}

/// The size of so many numbers; none is no mapping.
fn bytes(len: usize) -> io::Result<usize> {
    let size = len.checked_mul(size_of::<AtomicU64>()).filter(|size| *size > 0 && *size <= isize::MAX as usize);
    size.ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

/// An anonymous file of that size, which is not inherited by accident.
#[cfg(target_os = "linux")]
fn anonymous(size: u64) -> io::Result<File> {
    match memory() {
        Ok(file) => {
            file.set_len(size)?;
            seal(&file)?;
            Ok(file)
        }
        // Linux before 3.17, EL7's.
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => nameless(size),
        Err(error) => Err(error),
    }
}

/// A file that is memory. By the number of the call: glibc has a function for it from 2.27 on, and EL7's is 2.17.
#[cfg(target_os = "linux")]
fn memory() -> io::Result<File> {
    let name = c"sie-dns-sensor counters";
    // SAFETY: the name ends with a zero, and the call keeps no pointer to it.
    let made =
        unsafe { libc::syscall(libc::SYS_memfd_create, name.as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING) };
    owned(made.try_into().unwrap_or(-1))
}

/// Nobody who has the descriptor may take pages away from the others.
#[cfg(target_os = "linux")]
fn seal(file: &File) -> io::Result<()> {
    use nix::fcntl::{FcntlArg, SealFlag, fcntl};
    let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
    fcntl(file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(())
}

/// A file of shared memory that has lost its name. It has no seals: the processes trust each other with the size.
#[cfg(target_os = "linux")]
fn nameless(size: u64) -> io::Result<File> {
    use std::sync::atomic::Ordering;
    static MADE: AtomicU64 = AtomicU64::new(0);
    let (process, made) = (std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
    let name = std::ffi::CString::new(format!("/sie-dns-sensor-{process}-{made}"))?;
    let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_CLOEXEC;
    // SAFETY: the name ends with a zero, and the call keeps no pointer to it.
    let file = owned(unsafe { libc::shm_open(name.as_ptr(), flags, 0o600) })?;
    // SAFETY: as above.
    unsafe { libc::shm_unlink(name.as_ptr()) };
    file.set_len(size)?;
    Ok(file)
}

/// An anonymous file of that size, which is not inherited by accident. FreeBSD 12 has no seals; there the processes trust
/// each other with the size.
#[cfg(target_os = "freebsd")]
fn anonymous(size: u64) -> io::Result<File> {
    // SAFETY: SHM_ANON is the one pointer that shm_open does not read a name from.
    let file = owned(unsafe { libc::shm_open(libc::SHM_ANON, libc::O_RDWR | libc::O_CLOEXEC, 0o600) })?;
    file.set_len(size)?;
    Ok(file)
}

/// What a call has just returned: a new descriptor, or that it failed.
fn owned(descriptor: libc::c_int) -> io::Result<File> {
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has just made it, and nobody else knows it.
    Ok(unsafe { File::from_raw_fd(descriptor) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    #[test]
    fn two_mappings_see_one_memory() {
        let (mine, descriptor) = Shared::create(1000).unwrap();
        let theirs = Shared::map(&descriptor, 1000).unwrap();
        mine.numbers()[999].store(7, Ordering::Relaxed);
        assert_eq!(theirs.numbers()[999].load(Ordering::Relaxed), 7);
    }

    #[test]
    fn a_page_of_another_size_is_an_error() {
        let (_, descriptor) = Shared::create(1000).unwrap();
        let error = Shared::map(&descriptor, 1001).unwrap_err();
        assert_eq!(error.to_string(), "the counter page has 8000 bytes, not 8008");
        assert!(Shared::map(&descriptor, 999).is_err());
        assert!(Shared::create(0).is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn nobody_can_take_pages_away() {
        let (_, descriptor) = Shared::create(1000).unwrap();
        assert!(File::from(descriptor).set_len(0).is_err());
    }
    #[cfg(target_os = "linux")]
    #[test]
    fn a_kernel_without_files_of_memory_has_shared_memory() {
        let descriptor = OwnedFd::from(nameless(8000).unwrap());
        let (mine, theirs) = (Shared::map(&descriptor, 1000).unwrap(), Shared::map(&descriptor, 1000).unwrap());
        mine.numbers()[999].store(7, Ordering::Relaxed);
        assert_eq!(theirs.numbers()[999].load(Ordering::Relaxed), 7);
        let name = format!("sie-dns-sensor-{}-", std::process::id());
        let mut left = std::fs::read_dir("/dev/shm").unwrap();
        assert!(left.all(|entry| !entry.unwrap().file_name().to_string_lossy().starts_with(&name)), "a name is left");
    }
}
