//! Control groups (cgroup v2): a directory for a supervisor below its own, and in it one for each start of a job.
//!
//! ```text
//! <mount>/<our own path>/enrgdaq-<mark>/          of one supervisor, named by its mark
//!                                      <job>-<n>/ all that one start of a job has started, whatever it does
//! ```
//! Features are tried, not versions: without a place to write there is none, without `cgroup.kill` processes are killed one
//! by one, without the memory controller there is no limit. `ENRGDAQ_CGROUP=off` does without all of it.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The variable that switches control groups off.
const SWITCH: &str = "ENRGDAQ_CGROUP";

/// A supervisor's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CgroupTree {
    dir: PathBuf,
    has_memory: bool,
}

/// A control group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cgroup(PathBuf);

impl CgroupTree {
    /// Makes the directory of the supervisor of this mark.
    ///
    /// # Errors
    /// Why there is none: switched off, no cgroup v2, no right to write.
    pub(crate) fn make(mark: &str) -> Result<Self, String> {
        let own = own_dir()?;
        let dir = own.join(name_of_tree(mark));
        make_dir(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        // A group that has processes cannot hand controllers on, but for the topmost.
        let has_memory = enable_memory(&own) && enable_memory(&dir);
        Ok(Self { dir, has_memory })
    }

    /// Whether the kernel holds jobs to their limits of memory.
    pub(crate) fn has_memory(&self) -> bool {
        self.has_memory
    }

    /// Where it is.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes a group for one start of a job.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn group(&self, name: &str, memory_max: Option<u64>) -> io::Result<Cgroup> {
        let group = Cgroup(self.dir.join(name));
        make_dir(&group.0)?;
        if let Some(bytes) = memory_max.filter(|_| self.has_memory) {
            fs::write(group.0.join("memory.max"), bytes.to_string())?;
        }
        Ok(group)
    }

    /// Removes it with all that is empty in it.
    pub(crate) fn remove(&self) {
        Cgroup(self.dir.clone()).remove();
    }
}

/// What a former supervisor of this mark has left below our own group, or in a group that it named.
pub(crate) fn left_by(mark: &str, named: &[PathBuf]) -> Vec<Cgroup> {
    let name = name_of_tree(mark);
    let own = own_dir().ok().map(|dir| dir.join(&name));
    // Only a directory of that name is ours, and only within a cgroup file system there are processes.
    let named = named.iter().filter_map(|path| path.ancestors().find(|dir| dir.ends_with(&name)).map(Path::to_owned));
    let mut dirs: Vec<PathBuf> = own.into_iter().chain(named).collect();
    dirs.sort();
    dirs.dedup();
    dirs.into_iter().filter(|dir| dir.join("cgroup.procs").exists()).map(Cgroup).collect()
}

impl Cgroup {
    /// Where it is.
    pub(crate) fn dir(&self) -> &Path {
        &self.0
    }

    /// A group whose path stands in a spec.
    pub(crate) fn at(dir: PathBuf) -> Self {
        Self(dir)
    }

    /// Puts this process, while it has one thread, into it.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn enter(&self) -> io::Result<()> {
        fs::write(self.0.join("cgroup.procs"), "0")
    }

    /// Whether a process is in it or below; as long as it cannot be read there may be one.
    pub(crate) fn is_populated(&self) -> bool {
        match fs::read_to_string(self.0.join("cgroup.events")) {
            Ok(events) => events.lines().any(|line| line == "populated 1"),
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }

    /// The processes in it and below.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let own = fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default();
        let mut pids: Vec<u32> = own.lines().filter_map(|line| line.parse().ok()).filter(|&pid| pid != 0).collect();
        pids.extend(self.children().iter().flat_map(Self::processes));
        pids
    }

    /// Kills all in it and below at once, also what is being forked.
    ///
    /// # Errors
    /// The system's: a kernel before 5.14 cannot.
    pub(crate) fn kill(&self) -> io::Result<()> {
        fs::write(self.0.join("cgroup.kill"), "1")
    }

    /// Removes it and those below, as far as they are empty.
    pub(crate) fn remove(&self) {
        self.children().iter().for_each(Self::remove);
        fs::remove_dir(&self.0).ok();
    }

    fn children(&self) -> Vec<Self> {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        let dirs = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        dirs.map(|entry| Self(entry.path())).collect()
    }
}

/// The directory of the start of a job in which a process is, if it is one of the supervisor of this mark.
pub(crate) fn start_of(pid: u32, mark: &str) -> Option<String> {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let name = name_of_tree(mark);
    let mut parts = path_in(&groups)?.split('/').skip_while(|part| **part != name);
    parts.next()?;
    parts.next().map(str::to_owned)
}

fn name_of_tree(mark: &str) -> String {
    format!("enrgdaq-{mark}")
}

fn make_dir(dir: &Path) -> io::Result<()> {
    match fs::create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Hands the memory controller on to the groups below; `false` if that cannot be.
fn enable_memory(dir: &Path) -> bool {
    let has = |file: &str| {
        let list = fs::read_to_string(dir.join(file)).unwrap_or_default();
        list.split_whitespace().any(|controller| controller == "memory")
    };
    has("cgroup.controllers")
        && (has("cgroup.subtree_control") || fs::write(dir.join("cgroup.subtree_control"), "+memory").is_ok())
}

/// The directory of our own group.
fn own_dir() -> Result<PathBuf, String> {
    if env::var_os(SWITCH).is_some_and(|switch| switch == "off") {
        return Err(format!("{SWITCH} is off"));
    }
    let read = |path: &str| fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
    let groups = read("/proc/self/cgroup")?;
    let own = path_in(&groups).ok_or("this process is in no group of cgroup v2")?;
    let mounts = read("/proc/self/mountinfo")?;
    mounts.lines().find_map(|line| dir_under(line, own)).ok_or_else(|| "cgroup v2 is not mounted".into())
}

/// The path after `0::`, where cgroup v2 stands.
fn path_in(groups: &str) -> Option<&str> {
    groups.lines().find_map(|line| line.strip_prefix("0::")).map(|path| path.trim_end_matches(" (deleted)"))
}

/// Where a mount shows a group: `36 35 98:0 /root /mount/point rw … - cgroup2 source options`.
fn dir_under(mount: &str, own: &str) -> Option<PathBuf> {
    let (head, tail) = mount.split_once(" - ")?;
    tail.starts_with("cgroup2 ").then_some(())?;
    let mut fields = head.split(' ').skip(3);
    let (root, point) = (fields.next()?, fields.next()?);
    let below = Path::new(own).strip_prefix(root).ok()?;
    Some(Path::new(&point.replace("\\040", " ")).join(below))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_found_where_it_is_mounted() {
        let unified = "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw";
        let shown_in_part = "41 31 0:38 /user.slice /cg\\0402 rw shared:7 - cgroup2 cgroup2 rw";
        let old = "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu";

        let dir = |line: &str, own: &str| dir_under(line, own).map(|dir| dir.display().to_string());

        assert_eq!(dir(unified, "/").as_deref(), Some("/sys/fs/cgroup/unified/"));
        assert_eq!(dir(unified, "/a/b").as_deref(), Some("/sys/fs/cgroup/unified/a/b"));
        assert_eq!(dir(shown_in_part, "/user.slice/x").as_deref(), Some("/cg 2/x"));
        assert_eq!(dir(shown_in_part, "/system.slice/x"), None);
        assert_eq!(dir(old, "/"), None);
    }

    #[test]
    fn only_a_directory_of_our_name_is_what_we_left() {
        let strange = ["/".into(), "/sys/fs/cgroup".into(), "/etc".into(), "/sys/fs/cgroup/enrgdaq-other/x".into()];

        assert!(left_by("no-such-mark", &strange).is_empty());
    }
}
