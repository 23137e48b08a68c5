//! Segments: shared memory by name, made, found again, checked and mapped.
//!
//! Names are `enrgdaq_<uid>_<id hash>_c` (control) and `…_w<entry>_<stamp>` (regions), mode 0600. Whoever maps one
//! checks first that it belongs to this user, that nobody else may open it, and that it is long enough. All pages are
//! allocated when a segment is made: a full `/dev/shm` is an error with a remedy, never a SIGBUS later. Segments are
//! made and mapped for writing by `shared_memory`, told not to unlink when dropped; read-only maps are made here.
#![expect(unsafe_code, reason = "maps memory")]

use rustix::fs::{FallocateFlags, Mode, OFlags};
use rustix::io::Errno;
use shared_memory::{Shmem, ShmemConf, ShmemError};
use std::fmt;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::ptr::NonNull;

/// Why a segment cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SegmentError {
    /// The name of the ring holds more than letters, digits and `-`, or is empty or longer than 64.
    #[error("`{0}` cannot name a ring: use 1 to 64 letters, digits or `-`")]
    BadName(String),
    /// Nobody has made it.
    #[error("no shared memory segment {0}: is its supervisor running?")]
    Missing(String),
    /// It exists already.
    #[error("the shared memory segment {0} exists already")]
    Exists(String),
    /// It belongs to somebody else, or somebody else may open it.
    #[error(
        "/dev/shm/{name} is not ours alone (owner {owner}, mode {mode:o}): its owner has to remove it, or to make it a \
         file of mode 600 again"
    )]
    Squatted {
        /// Which segment.
        name: String,
        /// User id of its owner.
        owner: u32,
        /// Its permission bits.
        mode: u32,
    },
    /// `/dev/shm` is full.
    #[error(
        "/dev/shm has no room for {bytes} bytes of {name}: enlarge it (mount -o remount,size=… /dev/shm; \
         docker run --shm-size=…) or lower ring_buffer_size_mb"
    )]
    NoSpace {
        /// Which segment.
        name: String,
        /// How much it needs.
        bytes: u64,
    },
    /// It was written by another version of the program.
    #[error(
        "the shared memory segment {name} has a foreign layout ({found}): end the old jobs and start with --discard-ring"
    )]
    ForeignLayout {
        /// Which segment.
        name: String,
        /// What was found.
        found: String,
    },
    /// Its maker died before it was ready.
    #[error("the shared memory segment {0} was never finished: restart its supervisor")]
    Unfinished(String),
    /// It was made before the last reboot.
    #[error("the shared memory segment {0} is of another boot")]
    OtherBoot(String),
    /// The system refused.
    #[error("cannot {what} the shared memory segment {name}")]
    System {
        /// Which segment.
        name: String,
        /// What was tried.
        what: &'static str,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
}

impl SegmentError {
    pub(crate) fn system(name: &str, what: &'static str, source: impl Into<std::io::Error>) -> Self {
        Self::System { name: name.to_owned(), what, source: source.into() }
    }
}

/// The family name of a supervisor's segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RingName(String);

impl RingName {
    /// The ring of the supervisor whose id hashes to `id_hash`, of this user.
    ///
    /// # Errors
    /// [`SegmentError::BadName`].
    pub fn new(id_hash: &str) -> Result<Self, SegmentError> {
        // No underscore: else the control segment of ring `a_w1` would look like a region of ring `a`.
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if id_hash.is_empty() || id_hash.len() > 64 || !id_hash.chars().all(is_plain) {
            return Err(SegmentError::BadName(id_hash.to_owned()));
        }
        Ok(Self(format!("enrgdaq_{}_{id_hash}", own_uid())))
    }

    pub(crate) fn control(&self) -> String {
        format!("{}_c", self.0)
    }

    pub(crate) fn region(&self, entry: usize, stamp: u64) -> String {
        format!("{}_w{entry}_{stamp}", self.0)
    }

    /// The names of all regions of this ring that exist, whoever made them.
    ///
    /// # Errors
    /// [`SegmentError::System`] when `/dev/shm` cannot be listed.
    pub fn regions(&self) -> Result<Vec<String>, SegmentError> {
        let prefix = format!("{}_w", self.0);
        let entries = std::fs::read_dir(Path::new("/dev/shm")).map_err(|e| SegmentError::system(&self.0, "list", e))?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        Ok(names.filter(|name| name.starts_with(&prefix)).collect())
    }
}

impl fmt::Display for RingName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

pub(crate) fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The number of this boot of the machine.
pub(crate) fn boot_id() -> Result<[u64; 2], SegmentError> {
    let path = "/proc/sys/kernel/random/boot_id";
    let text = std::fs::read_to_string(path).map_err(|e| SegmentError::system(path, "read", e))?;
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).take(32).collect();
    let half = |range: std::ops::Range<usize>| digits.get(range).and_then(|h| u64::from_str_radix(h, 16).ok());
    match (half(0..16), half(16..32)) {
        (Some(high), Some(low)) => Ok([high, low]),
        _ => Err(SegmentError::system(path, "parse", std::io::Error::from(std::io::ErrorKind::InvalidData))),
    }
}

/// Removes a segment's name; who has mapped it keeps it.
pub(crate) fn unlink(name: &str) -> Result<(), SegmentError> {
    match rustix::shm::unlink(name) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ACCESS | Errno::PERM) => Err(squatter(name)),
        Err(error) => Err(SegmentError::system(name, "remove", error)),
    }
}

/// Opens a segment of this user; refuses one that others own or may open.
pub(crate) fn open(name: &str, access: OFlags) -> Result<OwnedFd, SegmentError> {
    let fd = rustix::shm::open(name, rustix_shm_flags(access), Mode::empty()).map_err(|error| match error {
        Errno::NOENT => SegmentError::Missing(name.to_owned()),
        Errno::ACCESS | Errno::PERM => squatter(name),
        other => SegmentError::system(name, "open", other),
    })?;
    let stat = rustix::fs::fstat(&fd).map_err(|e| SegmentError::system(name, "examine", e))?;
    if stat.st_uid != own_uid() || stat.st_mode & 0o077 != 0 {
        return Err(squatter(name));
    }
    Ok(fd)
}

fn rustix_shm_flags(access: OFlags) -> rustix::shm::OFlags {
    if access.contains(OFlags::RDWR) { rustix::shm::OFlags::RDWR } else { rustix::shm::OFlags::RDONLY }
}

fn squatter(name: &str) -> SegmentError {
    match rustix::fs::stat(format!("/dev/shm/{name}")) {
        Ok(stat) => SegmentError::Squatted { name: name.to_owned(), owner: stat.st_uid, mode: stat.st_mode & 0o7777 },
        Err(error) => SegmentError::system(name, "examine", error),
    }
}

/// A segment in this process's memory, until dropped.
pub(crate) struct Mapping {
    base: NonNull<u8>,
    bytes: usize,
    held: Held,
}

/// What keeps the memory mapped.
enum Held {
    /// For reading and writing; unmaps when dropped.
    Writable(#[expect(dead_code, reason = "unmaps when dropped")] Shmem),
    /// For reading; unmapped by [`Mapping::drop`].
    ReadOnly,
}

// SAFETY: the memory belongs to no thread; all access to shared words is atomic, and data is lent out as slices only
// under the protocol's rules.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Makes a segment of zeros, with all its pages.
    pub(crate) fn create(name: &str, bytes: usize) -> Result<Self, SegmentError> {
        let shmem = ShmemConf::new().os_id(name).size(bytes).create().map_err(|error| match error {
            ShmemError::MappingIdExists => SegmentError::Exists(name.to_owned()),
            other => from_shmem(name, "make", &other),
        })?;
        let mapping = Self::writable(name, shmem)?;
        let allocated = open(name, OFlags::RDWR).and_then(|fd| allocate(name, &fd, bytes));
        if let Err(error) = allocated {
            unlink(name)?;
            return Err(error);
        }
        Ok(mapping)
    }

    /// Maps a segment for reading and writing.
    pub(crate) fn open(name: &str, least: usize) -> Result<Self, SegmentError> {
        check_length(name, &open(name, OFlags::RDWR)?, least)?;
        let shmem = ShmemConf::new().os_id(name).open().map_err(|error| from_shmem(name, "map", &error))?;
        let mapping = Self::writable(name, shmem)?;
        if mapping.bytes < least {
            return Err(too_short(name, mapping.bytes));
        }
        Ok(mapping)
    }

    /// Maps a segment for reading.
    pub(crate) fn open_read_only(name: &str, least: usize) -> Result<Self, SegmentError> {
        let fd = open(name, OFlags::RDONLY)?;
        let bytes = check_length(name, &fd, least)?;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory that exists.
        let base = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                bytes,
                rustix::mm::ProtFlags::READ,
                rustix::mm::MapFlags::SHARED,
                &fd,
                0,
            )
        };
        let base = base.map_err(|e| SegmentError::system(name, "map", e))?;
        let base = NonNull::new(base.cast()).expect("the kernel maps nothing at address 0");
        Ok(Self { base, bytes, held: Held::ReadOnly })
    }

    fn writable(name: &str, mut shmem: Shmem) -> Result<Self, SegmentError> {
        shmem.set_owner(false);
        let bytes = shmem.len();
        let base = NonNull::new(shmem.as_ptr())
            .ok_or_else(|| SegmentError::system(name, "map", std::io::Error::from(std::io::ErrorKind::OutOfMemory)))?;
        Ok(Self { base, bytes, held: Held::Writable(shmem) })
    }

    /// Where it begins; a multiple of the page size.
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if matches!(self.held, Held::ReadOnly) {
            // SAFETY: mapped by `open_read_only` with this address and length, and nothing borrows from it any more.
            let unmapped = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.bytes) };
            debug_assert!(unmapped.is_ok(), "a mapping of ours can be unmapped");
        }
    }
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mapping").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

fn allocate(name: &str, fd: &OwnedFd, bytes: usize) -> Result<(), SegmentError> {
    rustix::fs::fallocate(fd, FallocateFlags::empty(), 0, bytes as u64).map_err(|error| match error {
        Errno::NOSPC | Errno::NOMEM => SegmentError::NoSpace { name: name.to_owned(), bytes: bytes as u64 },
        other => SegmentError::system(name, "allocate", other),
    })
}

fn check_length(name: &str, fd: &OwnedFd, least: usize) -> Result<usize, SegmentError> {
    let stat = rustix::fs::fstat(fd).map_err(|e| SegmentError::system(name, "examine", e))?;
    let bytes = usize::try_from(stat.st_size).unwrap_or(0);
    match bytes {
        0 => Err(SegmentError::Unfinished(name.to_owned())),
        _ if bytes < least => Err(too_short(name, bytes)),
        _ => Ok(bytes),
    }
}

fn too_short(name: &str, bytes: usize) -> SegmentError {
    SegmentError::ForeignLayout { name: name.to_owned(), found: format!("{bytes} bytes") }
}

fn from_shmem(name: &str, what: &'static str, error: &ShmemError) -> SegmentError {
    let source = match error {
        ShmemError::MapCreateFailed(errno) | ShmemError::MapOpenFailed(errno) | ShmemError::UnknownOsError(errno) => {
            std::io::Error::from_raw_os_error(i32::try_from(*errno).unwrap_or(0))
        }
        other => std::io::Error::other(other.to_string()),
    };
    SegmentError::system(name, what, source)
}
