//! What a process does to itself before it becomes a program that is none of ours: user, descriptors, exec.
//!
//! Only the shim calls this, single-threaded, first thing in `main`; nothing of it is undone if a later step fails.

#![expect(unsafe_code, reason = "users and groups, prctl, close_range, execve")]

use std::ffi::{CStr, CString, NulError};
use std::fs;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::ptr::null;

use super::{has_parent, reset_signals};

/// Room for a line of the user database, and for the groups of one user.
const ENTRY_BYTES: usize = 64 << 10;
const MOST_GROUPS: usize = 4096;

/// As whom a program runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    /// The user's number.
    pub(crate) uid: u32,
    /// The group's number.
    pub(crate) gid: u32,
    /// All groups of the user.
    pub(crate) groups: Vec<u32>,
    /// The user's name.
    pub(crate) name: String,
    /// Their directory.
    pub(crate) home: String,
}

impl Account {
    /// Looks up `user` or `user:group`; `None` if there is no such user or group.
    pub(crate) fn look_up(text: &str) -> Option<Self> {
        let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
        let user = CString::new(user).ok()?;
        let (uid, own_group, home) = look_up_user(&user)?;
        let gid = match group {
            Some(group) => look_up_group(&CString::new(group).ok()?)?,
            None => own_group,
        };
        let groups = groups_of(&user, gid);
        Some(Self { uid, gid, groups, name: user.to_string_lossy().into_owned(), home })
    }
}

fn look_up_user(name: &CStr) -> Option<(u32, u32, String)> {
    let mut room = vec![0; ENTRY_BYTES];
    // SAFETY: all zeros is a valid passwd: numbers and null pointers.
    let mut entry: libc::passwd = unsafe { std::mem::zeroed() };
    let mut found = std::ptr::null_mut();
    // SAFETY: all pointers are to live values of this frame, and the length is that of the room.
    unsafe { libc::getpwnam_r(name.as_ptr(), &raw mut entry, room.as_mut_ptr(), room.len(), &raw mut found) };
    if found.is_null() {
        return None;
    }
    // SAFETY: a found entry's strings end with NUL and lie in `room`, which lives.
    let home = unsafe { CStr::from_ptr(entry.pw_dir) }.to_string_lossy().into_owned();
    Some((entry.pw_uid, entry.pw_gid, home))
}

fn look_up_group(name: &CStr) -> Option<u32> {
    let mut room = vec![0; ENTRY_BYTES];
    // SAFETY: all zeros is a valid group: numbers and null pointers.
    let mut entry: libc::group = unsafe { std::mem::zeroed() };
    let mut found = std::ptr::null_mut();
    // SAFETY: all pointers are to live values of this frame, and the length is that of the room.
    unsafe { libc::getgrnam_r(name.as_ptr(), &raw mut entry, room.as_mut_ptr(), room.len(), &raw mut found) };
    (!found.is_null()).then_some(entry.gr_gid)
}

fn groups_of(user: &CStr, gid: u32) -> Vec<u32> {
    let mut groups = vec![0; MOST_GROUPS];
    let mut count = libc::c_int::try_from(groups.len()).expect("a few thousand");
    // SAFETY: `groups` has room for `count` numbers, and both live in this frame.
    let result = unsafe { libc::getgrouplist(user.as_ptr(), gid, groups.as_mut_ptr(), &raw mut count) };
    groups.truncate(usize::try_from(count).unwrap_or(0));
    if result < 0 { vec![gid] } else { groups }
}

/// Default dispositions for all signals, also SIGPIPE, and none blocked.
pub(crate) fn reset_signals_of_program() {
    reset_signals();
    // SAFETY: SIG_DFL is a valid disposition for SIGPIPE.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

/// Becomes another user, for good.
///
/// # Errors
/// The system's: only root can.
pub(crate) fn become_user(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    let check = |result: libc::c_int| if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
    // SAFETY: the pointer is to as many numbers as the length says.
    check(unsafe { libc::setgroups(groups.len(), groups.as_ptr()) })?;
    // SAFETY: it takes numbers only.
    check(unsafe { libc::setresgid(gid, gid, gid) })?;
    // SAFETY: it takes numbers only.
    check(unsafe { libc::setresuid(uid, uid, uid) })
}

/// SIGKILL when the thread that spawned this process dies; `false` if it is dead already.
pub(crate) fn be_killed_with_parent(expected_parent: u32) -> bool {
    // SAFETY: PR_SET_PDEATHSIG takes a signal number and touches no memory.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    has_parent(expected_parent)
}

/// A second descriptor, which children inherit, of a file that this process has open under this path; with it goes a lock.
pub(crate) fn inheritable_descriptor_of(path: &Path) -> Option<OwnedFd> {
    let path = path.canonicalize().ok()?;
    let entries = fs::read_dir("/proc/self/fd").ok()?.flatten();
    let mut numbers = entries.filter(|entry| fs::read_link(entry.path()).is_ok_and(|target| target == path));
    let number: RawFd = numbers.next()?.file_name().to_str()?.parse().ok()?;
    // SAFETY: duplicating a descriptor touches no memory; a number that is none any more gives an error.
    let copy = unsafe { libc::fcntl(number, libc::F_DUPFD, 3) };
    // SAFETY: the system has just given us this number, and nobody else knows it.
    (copy >= 0).then(|| unsafe { OwnedFd::from_raw_fd(copy) })
}

/// No descriptor above 2 survives exec, except this one.
pub(crate) fn close_at_exec(except: Option<RawFd>) {
    // SAFETY: it only marks descriptors; none is closed now.
    unsafe { libc::close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC.cast_signed()) };
    if let Some(fd) = except {
        // SAFETY: setting the flags of a descriptor touches no memory; a number that is none gives an error.
        unsafe { libc::fcntl(fd, libc::F_SETFD, 0) };
    }
}

/// Becomes the program, with the environment of now. Returns only if that failed.
pub(crate) fn exec(path: &str, argv: &[String]) -> io::Error {
    match exec_of(path, argv) {
        Ok(error) => error,
        Err(nul) => nul.into(),
    }
}

fn exec_of(path: &str, argv: &[String]) -> Result<io::Error, NulError> {
    let path = CString::new(path)?;
    let argv = argv.iter().map(|word| CString::new(word.as_str())).collect::<Result<Vec<_>, _>>()?;
    let pointers: Vec<_> = argv.iter().map(|word| word.as_ptr()).chain([null()]).collect();
    // Not `execvp`, which runs what is no program by a shell.
    // SAFETY: path and words end with NUL, the list with a null pointer, and all live until the call returns.
    unsafe { libc::execv(path.as_ptr(), pointers.as_ptr()) };
    Ok(io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_a_user_and_nobody_knows_a_stranger() {
        let root = Account::look_up("root").unwrap();

        assert_eq!((root.uid, root.gid, root.home.as_str()), (0, 0, "/root"));
        assert!(root.groups.contains(&0));
        assert_eq!(Account::look_up("no_such_user"), None);
        assert_eq!(Account::look_up("root:no_such_group"), None);
        assert_eq!(Account::look_up("ro\0ot"), None);
    }

    #[test]
    fn a_file_that_is_open_is_found_by_its_path() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let copy = inheritable_descriptor_of(file.path()).unwrap();

        assert!(!rustix::io::fcntl_getfd(&copy).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
        assert_eq!(rustix::fs::fstat(&copy).unwrap().st_ino, rustix::fs::fstat(&file).unwrap().st_ino);
        assert!(inheritable_descriptor_of(Path::new("/etc/passwd")).is_none());
    }

    #[test]
    fn what_is_no_program_is_not_run() {
        let error = exec("/etc/passwd", &["passwd".into()]);

        assert_eq!(error.raw_os_error(), Some(libc::EACCES));
        assert_eq!(exec("/\0", &[]).kind(), io::ErrorKind::InvalidInput);
    }
}
