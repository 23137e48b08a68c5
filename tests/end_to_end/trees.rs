//! All that a job has started ends with it: also what has left its group, its session, its parent, its environment.
//!
//! With control groups where the machine has them, and without (`ENRGDAQ_CGROUP=off`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::{DEADLINE, Node, Process, Signal, Site, is_suspended, send, variable, wait_for, wait_until};

/// A script, as a value in TOML.
fn script(text: &str) -> String {
    format!("script = '''{text}'''")
}

/// The processes of a program, by name.
fn named(site: &Site, name: &str) -> Vec<Process> {
    site.processes().into_iter().filter(|process| process.name == name).collect()
}

/// The pid that a script has written into a file.
fn pid_in(site: &Site, file: &str) -> u32 {
    wait_until(file, DEADLINE, || {
        let text = fs::read_to_string(site.path(file)).unwrap_or_default();
        text.strip_suffix('\n').and_then(|pid| pid.parse().ok()).ok_or_else(|| format!("{text:?}"))
    })
}

/// Whether a process of this number runs.
fn runs(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, tail)| !matches!(tail.trim_start().chars().next(), Some('Z' | 'X')))
}

/// Where cgroup v2 is mounted, and whether this process may make groups there.
fn has_cgroups() -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mount = mounts.lines().find(|line| line.contains(" - cgroup2 ")).and_then(|line| line.split(' ').nth(4));
    let Some(mount) = mount.map(PathBuf::from) else { return false };
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let probe = mount.join(own).join(format!("enrgdaq-probe-{}", std::process::id()));
    fs::create_dir(&probe).and_then(|()| fs::remove_dir(&probe)).is_ok()
}

/// This cannot be judged without.
fn need_cgroups() {
    assert!(has_cgroups(), "this needs cgroup v2, and the right to make groups there: run it as root");
}

/// Both ways in which trees are held together.
fn each_way(test: impl Fn(Site)) {
    println!("without control groups");
    test(Site::new().with_env("ENRGDAQ_CGROUP", "off"));
    println!("with control groups");
    need_cgroups();
    test(Site::new());
}

/// The directories of control groups that supervisors have made and not removed.
fn cgroups_of(pid: u32) -> String {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    groups.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default().to_owned()
}

const SOON: &str = "[supervise]\nstop_timeout_seconds = 1";

/// With a job that runs a script, which writes the pid of something into `stray`.
fn with_parent(site: Site, text: &str) -> Site {
    site.difficult("parent", "good", &format!("{}\n{SOON}", script(text)))
}

/// Starts it; gives that pid.
fn start_with_stray(site: &Site) -> (Node<'_>, u32) {
    let mut node = site.start();
    node.wait_ready(&["parent"]);
    let stray = pid_in(site, "stray");
    (node, stray)
}

/// It ends with its job.
fn assert_ends(site: &Site, stray: u32) {
    let stopped = site.cli(&["stop", "parent"]);
    assert_eq!(stopped.out, "parent: stopped\n", "{stopped:?}");
    assert!(!runs(stray));
}

#[test]
fn a_grandchild_in_a_session_of_its_own_ends_with_its_job() {
    each_way(|site| {
        let text = "setsid sh -c 'echo $$ > stray; exec sleep 1000' & sleep 1000";
        let site = with_parent(site, text);
        let (mut node, stray) = start_with_stray(&site);

        assert_ends(&site, stray);

        node.interrupt();
        assert_eq!(node.wait_exit(), 0, "{}", node.log());
    });
}

#[test]
fn a_deaf_orphan_in_a_session_of_its_own_is_killed_with_its_job() {
    each_way(|site| {
        // Twice forked: its parent is gone before the job is.
        let text = "(setsid sh -c 'trap \"\" TERM; echo $$ > stray; while :; do sleep 1000; done' &) ; exit 0";
        let site = with_parent(site, text);
        let (node, stray) = start_with_stray(&site);

        assert_ends(&site, stray);

        assert!(node.log().contains("[parent] sending SIGKILL"), "{}", node.log());
    });
}

/// A script that starts a process which nothing but a control group connects with its job.
const NAMELESS: &str = "(env -i PATH=\"$PATH\" setsid sh -c 'echo $$ > stray; exec sleep 1000' &) ; exit 0";

#[test]
fn an_orphan_without_environment_is_killed_where_there_are_control_groups() {
    need_cgroups();
    let site = Site::new().difficult("parent", "good", &format!("{}\n{SOON}", script(NAMELESS)));
    let mut node = site.start();
    let leader = node.wait_ready(&["parent"]).running("parent");
    let stray = pid_in(&site, "stray");
    let group = cgroups_of(leader);
    assert!(group.contains("enrgdaq-") && cgroups_of(stray) == group, "{group}");

    assert_eq!(site.cli(&["stop", "parent"]).out, "parent: stopped\n");

    assert!(!runs(stray));
    assert_eq!(node.stop(), 0);
}

#[test]
fn an_orphan_of_which_nobody_can_tell_whose_it_is_is_said_and_not_touched() {
    let site = Site::new().with_env("ENRGDAQ_CGROUP", "off");
    let site = with_parent(site, NAMELESS);
    let (node, stray) = start_with_stray(&site);

    assert_eq!(site.cli(&["stop", "parent"]).out, "parent: stopped\n");

    let told = format!("sleep (pid {stray}) was left by a process that has ended");
    wait_for("it is told", || node.log().contains(&told) || !runs(stray));
    assert!(runs(stray), "{}", node.log());
    send(stray, Signal::KILL);
    wait_for("it is reaped", || !Path::new(&format!("/proc/{stray}")).exists());
    assert_eq!(node.stop(), 0);
}

#[test]
fn no_orphan_stays_a_zombie() {
    each_way(|site| {
        let text = "for i in $(seq 50); do (setsid true &); done; (setsid sleep 0.2 &); echo 1 > stray; sleep 1000";
        let site = site.difficult("parent", "good", &format!("{}\n{SOON}", script(text)));
        let mut node = site.start();
        node.wait_ready(&["parent"]);
        pid_in(&site, "stray");

        wait_until("no zombie is a child of the supervisor", DEADLINE, || {
            let zombies = children_of(node.pid()).into_iter().filter(|&pid| !runs(pid)).count();
            if zombies == 0 { Ok(()) } else { Err(format!("{zombies} zombies")) }
        });

        assert_eq!(node.status().state("parent"), "ready");
        assert_eq!(node.stop(), 0);
    });
}

/// Its children, zombies among them.
fn children_of(parent: u32) -> Vec<u32> {
    let parent_of = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse::<u32>().ok()
    };
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|&pid| parent_of(pid) == Some(parent)).collect()
}

#[test]
fn a_leader_that_ends_while_its_child_does_not_is_not_gone_before_that() {
    each_way(|site| {
        let text = "trap '' TERM; echo $$ > stray; while :; do sleep 1000; done";
        let site = with_parent(site, text);
        let (node, stray) = start_with_stray(&site);
        let end = std::thread::scope(|scope| {
            let stopped = scope.spawn(|| site.cli(&["stop", "parent"]));
            wait_until("it is stopped", DEADLINE, || {
                let is_there = runs(stray);
                match node.status().state("parent") {
                    "stopped" => Ok(is_there && runs(stray)),
                    state => Err(state.to_owned()),
                }
            });
            stopped.join().unwrap()
        });

        assert_eq!(end.out, "parent: stopped\n");
        assert!(!runs(stray));
    });
}

#[test]
fn a_suspended_job_is_stopped_within_its_timeouts() {
    each_way(|site| {
        let site = site.difficult("parent", "good", &format!("child = \"good\"\n{SOON}"));
        let mut node = site.start();
        let leader = node.wait_ready(&["parent"]).running("parent");
        send(leader, Signal::STOP);
        wait_for("it is suspended", || is_suspended(leader));

        let stopped = site.cli(&["stop", "parent"]);

        assert_eq!(stopped.out, "parent: stopped\n", "{stopped:?}");
        assert!(!runs(leader));
        assert!(named(&site, "sleep").is_empty());
    });
}

#[test]
fn a_job_is_given_its_environment_directory_priority_cores_and_limits() {
    let site = Site::new();
    site.write("configs/crate.env", "# the crate\nCRATE=7\nSLOT = \"3 b\"\nBOTH=file\n");
    site.write("work/here", "");
    let keys = "[supervise]\nenv = { BOTH = \"table\", OWN = \"x=y\" }\nenv_file = \"crate.env\"\ncwd = \"work\"\n\
                umask = \"027\"\nnice = 5\ncpu_affinity = [0]\nrlimits = { open_files = 2000, core_mb = 0, stack_mb = 16 }";
    let text = "touch made; ulimit -n > limits; exec sleep 1000";
    let site = site.difficult("parent", "good", &format!("{}\n{keys}", script(text)));
    let mut node = site.start();
    let pid = node.wait_ready(&["parent"]).running("parent");
    wait_for("the script has run", || site.path("work/limits").metadata().is_ok_and(|meta| meta.len() > 0));

    let of = |name: &str| variable(pid, name);
    assert_eq!(of("CRATE").as_deref(), Some("7"));
    assert_eq!(of("SLOT").as_deref(), Some("3 b"));
    assert_eq!(of("BOTH").as_deref(), Some("table"));
    assert_eq!(of("OWN").as_deref(), Some("x=y"));
    assert_eq!(of("ENRGDAQ_JOB").as_deref(), node.status().job("parent")["instance_id"].as_str());
    assert_eq!(fs::read_link(format!("/proc/{pid}/cwd")).unwrap(), site.path("work").canonicalize().unwrap());
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).unwrap().trim().to_owned();
    assert_eq!((line("Umask:"), line("Cpus_allowed_list:")), ("0027".into(), "0".into()));
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let limit = |name: &str| {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        line[name.len()..].split_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(limit("Max open files"), ["2000", "2000"]);
    assert_eq!(limit("Max core file size"), ["0", "0"]);
    assert_eq!(limit("Max stack size"), ["16777216", "16777216"]);
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    assert_eq!(stat.rsplit_once(')').unwrap().1.split_whitespace().nth(16), Some("5"), "nice");
    let mode = std::os::unix::fs::MetadataExt::mode(&site.path("work/made").metadata().unwrap());
    assert_eq!(mode & 0o777, 0o640);
    assert_eq!(fs::read_to_string(site.path("work/limits")).unwrap(), "2000\n");
    assert_eq!(node.stop(), 0);
}

#[test]
fn what_a_job_cannot_be_given_is_fatal_and_named() {
    let cases = [
        ("cwd = \"nowhere\"", "`cwd` nowhere: No such file or directory"),
        ("cwd = \"configs/supervisor.toml\"", "Not a directory"),
        ("env_file = \"bad.env\"", "bad.env:2: it is not `NAME=value`"),
        ("cpu_affinity = [1023]", "`cpu_affinity = [1023]` is refused"),
    ];
    let site = Site::new();
    site.write("configs/bad.env", "A=1\nnonsense\n");
    let site = (0..)
        .zip(cases)
        .fold(site, |site, (at, (key, _))| site.difficult(&format!("job{at}"), "good", &format!("[supervise]\n{key}")));
    let mut node = site.start();

    for (at, (key, why)) in cases.iter().enumerate() {
        let job = format!("job{at}");
        let picture = node.wait("it is fatal", |picture| picture.state(&job) == "fatal");
        let said = format!("{} {}", picture.reason(&job), node.log());
        assert!(said.contains(why), "{key}: {}", picture.reason(&job));
    }
}

/// The file of a lock that all supervisors of this user share.
fn lock_of(word: &str) -> PathBuf {
    let uid = rustix::process::getuid().as_raw();
    PathBuf::from(format!("/tmp/enrgdaq-{uid}/exclusive/{}.lock", crate::harness::short(word)))
}

/// Whether somebody holds a lock.
fn is_locked(path: &Path) -> bool {
    let taken = Command::new("flock").arg("--nonblock").arg(path).arg("true").status();
    !taken.expect("there is flock").success()
}

#[test]
fn what_is_exclusive_is_never_used_by_two_and_who_waits_for_it_is_not_late() {
    let (first, second) = (Site::new(), Site::new());
    let word = first.id().to_owned();
    let keys = format!("[supervise]\nexclusive = \"{word}\"\nstartup_timeout_seconds = 2");
    let child = "setsid sh -c 'echo $$ > child; exec sleep 1000' & exec sleep 1000";
    let exec = format!("daq_job_type = \"DAQJobExec\"\ncommand = [\"sh\", \"-c\", \"\"\"{child}\"\"\"]\n{keys}");
    let first = first.job("one", &exec);
    let second = second.difficult("two", "good", &keys);
    let mut holder = first.start();
    let pid = holder.wait_ready(&["one"]).running("one");
    let child = pid_in(&first, "child");
    let mut waiting = second.start();
    wait_for("the second waits", || waiting.log().contains("held by one of"));
    assert!(waiting.log().contains(&format!("pid {pid}")), "{}", waiting.log());

    let picture = waiting.wait("it has waited for longer than a start may take", |picture| {
        picture.0["supervisor"]["uptime_s"].as_f64().is_some_and(|up| up > 6.0) || picture.state("two") != "starting"
    });
    assert_eq!((picture.state("two"), picture.restarts("two")), ("starting", 0), "{}", picture.brief());
    assert_eq!(picture.reason("two"), format!("a job of another supervisor has {word:?}"));

    // What a job has started may still use the device when the job is dead and nobody is there to end it.
    send(holder.pid(), Signal::STOP);
    wait_for("it is suspended", || is_suspended(holder.pid()));
    send(pid, Signal::KILL);
    wait_for("the job is dead", || !runs(pid));
    assert!(runs(child) && is_locked(&lock_of(&word)));
    assert!(!waiting.log().contains("[two] ready"));
    send(child, Signal::KILL);

    waiting.wait_ready(&["two"]);
    assert_eq!(waiting.stop(), 0);
    send(holder.pid(), Signal::CONT);
    holder.wait_back("one", pid);
    assert_eq!(holder.stop(), 0);
}

#[test]
fn without_a_safe_place_for_its_lock_an_exclusive_job_is_fatal() {
    let uid = rustix::process::getuid().as_raw();
    // Seen in this namespace only.
    let script = format!(
        "mkdir -p -m 700 /tmp/enrgdaq-{uid} /tmp/enrgdaq-{uid}/exclusive && \
         mount -t tmpfs -o mode=755 none /tmp/enrgdaq-{uid}/exclusive && \"$@\""
    );
    let site = Site::new().in_namespace(&script);
    let keys = format!("[supervise]\nexclusive = \"{}\"", site.id());
    let site = site.difficult("alone", "good", &keys).difficult("other", "good", "");
    let mut node = site.start();

    let picture = node.wait("it is given up", |picture| picture.state("alone") == "fatal");

    assert!(picture.reason("alone").contains("exclusive is open to other users"), "{}", picture.brief());
    node.wait_ready(&["other"]);
    send(supervisor_in(&site), Signal::INT);
    node.wait_exit();
}

#[test]
fn where_strangers_are_hidden_jobs_end_as_everywhere() {
    assert!(rustix::process::getuid().is_root(), "this test becomes another user: run it as root");
    let script = "sleep 1000 & mount -o remount,hidepid=1 /proc && \
                  setpriv --reuid 65534 --regid 65534 --clear-groups \"$@\"";
    let site = Site::new().in_namespace(script).difficult("victim", "good", "child = \"good\"");
    let owned = Command::new("chown").args(["-R", "65534:65534"]).arg(site.path("")).arg(site.runtime_dir()).status();
    assert!(owned.is_ok_and(|status| status.success()));
    let mut node = site.start();
    node.wait_ready(&["victim"]);

    let answer = site.ask("{\"id\":1,\"do\":\"stop\",\"name\":\"victim\"}").unwrap();

    assert!(answer.contains("stopped"), "{answer}");
    assert_eq!(node.status().state("victim"), "stopped");
    send(supervisor_in(&site), Signal::INT);
    node.wait_exit();
}

/// A file system that never answers; it is gone with the value.
struct SilentDisk(std::process::Child, PathBuf);

impl SilentDisk {
    fn mount(at: &Path) -> Self {
        let python = "import ctypes, os, sys, time
fd = os.open('/dev/fuse', os.O_RDWR)
options = b'fd=%d,rootmode=40000,user_id=0,group_id=0' % fd
sys.exit('mount') if ctypes.CDLL(None).mount(b'silent', sys.argv[1].encode(), b'fuse', 0, options) else None
print('mounted', flush=True)
time.sleep(1000)";
        fs::create_dir_all(at).unwrap();
        let mut child = Command::new("python3")
            .args(["-c", python])
            .arg(at)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("there is python3");
        let mut said = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut said).unwrap();
        assert_eq!(said, "mounted\n", "this test must be allowed to mount");
        Self(child, at.to_owned())
    }
}

impl Drop for SilentDisk {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
        Command::new("umount").arg("-l").arg(&self.1).status().ok();
    }
}

#[test]
fn a_file_system_that_does_not_answer_holds_up_its_job_alone_and_not_the_end() {
    let site = Site::new();
    let quick = "startup_timeout_seconds = 1\nrestart_base_seconds = 0.1\nrestart_max_seconds = 0.1";
    let site = site
        .difficult("a_pipe", "good", "[supervise]\nenv_file = \"pipe\"")
        .difficult("b_silent", "good", &format!("[supervise]\nenv_file = \"ok\"\ncwd = \"dead\"\n{quick}"))
        .difficult("c_good", "good", "[supervise]\nenv_file = \"ok\"");
    ["configs/ok", "configs/pipe"].iter().for_each(|file| site.write(file, "A=1\n"));
    // Gone before the site is, which could not be removed with it.
    let _disk = SilentDisk::mount(&site.path("dead"));
    let mut node = site.start();

    let picture = node.wait_ready(&["a_pipe", "c_good"]);
    let [before, after] = ["a_pipe", "c_good"].map(|job| picture.job(job)["uptime_s"].as_f64().unwrap());
    // They were started one after the other, whenever each got ready.
    assert!(before - after < 9.0, "it has waited for the other: {before} {after}");
    fs::remove_file(site.path("configs/pipe")).unwrap();
    let pipe = Command::new("mkfifo").arg(site.path("configs/pipe")).status();
    assert!(pipe.is_ok_and(|status| status.success()));
    site.cli(&["restart", "a_pipe"]);
    node.wait("it is said what it is", |picture| picture.reason("a_pipe").contains("it is no file"));
    node.wait("it is tried again, and is said why not", |picture| {
        picture.reason("b_silent").contains("does not answer, still not since an earlier start")
    });
    let look = |task: &fs::DirEntry| fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name == "look\n");
    let tasks = fs::read_dir(format!("/proc/{}/task", node.pid())).unwrap().flatten();
    assert_eq!(tasks.filter(look).count(), 1, "one thread hangs, and no other");

    node.interrupt();

    node.wait_exit();
}

#[test]
fn an_end_is_noticed_at_once() {
    const KILLS: usize = 21;
    let quick = "[supervise]\nrestart_base_seconds = 0.05\nrestart_max_seconds = 0.05";
    let site = Site::new().difficult("victim", "good", quick);
    let mut node = site.start();
    let mut delays = Vec::new();
    for _ in 0..KILLS {
        let pid = node.wait_ready(&["victim"]).running("victim");
        let before = node.log().matches("[victim] died").count();
        let killed = Instant::now();
        send(pid, Signal::KILL);
        while node.log().matches("[victim] died").count() == before {
            assert!(killed.elapsed() < DEADLINE, "nobody noticed");
            std::thread::yield_now();
        }
        delays.push(killed.elapsed());
        node.wait_back("victim", pid);
    }
    delays.sort();
    let median = delays[KILLS / 2];
    println!("noticed after {median:?} (median), {:?} at worst", delays[KILLS - 1]);
    assert!(median < Duration::from_millis(20), "{delays:?}");
}

/// Whether this process may make a namespace of pids and say how many it has.
fn has_namespaces() -> bool {
    let script = "echo 400 > /proc/sys/kernel/pid_max && [ $(cat /proc/sys/kernel/pid_max) = 400 ]";
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--mount-proc", "sh", "-c", script]);
    let mine = fs::read("/proc/sys/kernel/pid_max").unwrap();
    let is_made = command.status().is_ok_and(|status| status.success());
    let is_separate = fs::read("/proc/sys/kernel/pid_max").unwrap() == mine;
    is_made && is_separate
}

/// This cannot be judged without.
fn need_namespaces() {
    assert!(
        has_namespaces(),
        "this needs a namespace of 400 pids: Linux 6.14, and the right to unshare: run it as root"
    );
}

/// A namespace with few numbers.
const FEW_PIDS: &str = "echo 450 > /proc/sys/kernel/pid_max; \"$@\"";

/// The supervisor in a namespace, seen from here.
fn supervisor_in(site: &Site) -> u32 {
    let is_it = |process: &Process| {
        let line = fs::read(format!("/proc/{}/cmdline", process.pid)).unwrap_or_default();
        line.split(|&byte| byte == 0).nth(1) == Some(b"--config")
    };
    wait_until("the supervisor runs", DEADLINE, || site.processes().into_iter().find(is_it).ok_or_else(String::new)).pid
}

#[test]
fn a_fork_bomb_loses() {
    need_namespaces();
    each_way(|site| {
        let site = site.in_namespace(FEW_PIDS);
        let program = site.command(&[]).get_program().display().to_string();
        let text = format!("while ! test -e go; do sleep 0.05; done; exec chrt --idle 0 {program} bomb");
        let site = site.difficult("bomb", "good", &format!("{}\n{SOON}", script(&text)));
        let site = site.difficult("good", "good", "child = \"good\"");
        let mut node = site.start();
        let good = node.wait_ready(&["bomb", "good"]).pid("good");
        site.write("go", "");
        wait_for("it has exploded", || site.processes().len() > 200);

        let begun = Instant::now();
        let stopped = site.cli(&["stop", "bomb"]);

        println!("{:?}", begun.elapsed());
        assert_eq!(stopped.out, "bomb: stopped\n", "{stopped:?}");
        // The supervisor and the shell that started it, the good job and its child.
        let left = site.processes();
        assert!(left.len() <= 5, "{left:?}");
        let picture = node.status();
        assert_eq!((picture.state("good"), picture.pid("good")), ("ready", good), "{}", node.log());
    });
}

#[test]
fn numbers_that_come_back_harm_no_stranger() {
    need_namespaces();
    let strangers = "echo 400 > /proc/sys/kernel/pid_max; for i in 1 2 3; do sh ./stranger & done; \"$@\"";
    each_way(|site| {
        let site = site.in_namespace(strangers);
        let text = "while ! test -e over; do sleep 0.01 || echo $? >> harmed; echo >> lived; done";
        site.write("stranger", text);
        let text = "setsid sh -c 'trap \"\" TERM; while :; do setsid sleep 0.01; done'";
        let site =
            site.difficult("victim", "good", &format!("{}\n[supervise]\nstop_timeout_seconds = 0.1", script(text)));
        let mut node = site.start();
        let lived = || fs::metadata(site.path("lived")).map_or(0, |meta| meta.len());
        let mut rounds = 0;

        while rounds < 10 || lived() < 1000 {
            node.wait_ready(&["victim"]);
            let stopped = site.cli(&["stop", "victim"]);
            assert_eq!(stopped.out, "victim: stopped\n", "{stopped:?}");
            let started = site.cli(&["start", "victim"]);
            assert_eq!(started.code, 0, "{started:?}");
            rounds += 1;
        }

        println!("{rounds} stops, {} strangers", lived());
        assert!(!site.path("harmed").exists(), "{}", fs::read_to_string(site.path("harmed")).unwrap());
    });
}

#[test]
fn without_a_free_number_a_job_waits_and_is_tried_again() {
    need_namespaces();
    let quick = "[supervise]\nrestart_base_seconds = 0.2\nrestart_max_seconds = 0.2";
    let site = Site::new().in_namespace(FEW_PIDS).difficult("hoard", "hoards", "").difficult("victim", "good", quick);
    let mut node = site.start();
    node.wait_ready(&["hoard", "victim"]);
    let victim = site.processes().into_iter().find(|process| {
        fs::read(format!("/proc/{}/cmdline", process.pid)).unwrap_or_default().ends_with(b"job\0victim\0")
    });
    site.write("hoard", "");
    wait_for("there is no number left", || site.path("hoarded").exists());

    send(victim.unwrap().pid, Signal::KILL);
    node.wait("it could not be started", |picture| {
        picture.state("victim") == "backingoff" && picture.reason("victim").contains("temporarily unavailable")
    });
    fs::remove_file(site.path("hoard")).unwrap();

    node.wait_ready(&["victim"]);
    assert_eq!(node.status().state("hoard"), "ready");
    send(supervisor_in(&site), Signal::INT);
    node.wait_exit();
}

#[test]
fn without_descriptors_a_job_waits_and_is_tried_again() {
    let quick = "[supervise]\nrestart_base_seconds = 0.2\nrestart_max_seconds = 0.2";
    let site = Site::new().difficult("victim", "good", quick).difficult("other", "good", "");
    let mut node = site.start();
    let pid = node.wait_ready(&["victim", "other"]).running("victim");
    let limit = |count: &str| {
        let mut command = Command::new("prlimit");
        let status = command.args(["--pid", &node.pid().to_string(), &format!("--nofile={count}:")]).status();
        assert!(status.is_ok_and(|status| status.success()), "prlimit");
    };
    limit("10");
    send(pid, Signal::KILL);
    wait_for("it has ended", || !runs(pid));
    // Nobody can ask now, but it works on and looks again and again.
    let turns = turns_of(node.pid());
    wait_for("it has looked for some time", || turns_of(node.pid()) > turns + 100);

    limit("4096");

    let picture = node.wait_back("victim", pid);
    assert_eq!(picture.state("other"), "ready");
    assert_eq!(node.stop(), 0);
}

/// How often a process has gone to sleep by itself.
fn turns_of(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let turns = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    turns.and_then(|turns| turns.trim().parse().ok()).expect("a process has turns")
}

#[test]
fn what_hangs_in_the_kernel_is_told_and_waited_for() {
    let freezer =
        Freezer::make().expect("this needs the freezer of cgroup v1, and the right to use it: run it as root");
    let text = "echo $$ > stray; exec sleep 1000";
    let keys = format!("{}\n[supervise]\nstop_timeout_seconds = 0.5", script(text));
    let site = Site::new().difficult("stuck", "good", &keys);
    let mut node = site.start();
    node.wait_ready(&["stuck"]);
    let stray = pid_in(&site, "stray");
    freezer.freeze(stray);
    std::thread::scope(|scope| {
        let stopped = scope.spawn(|| site.cli(&["stop", "stuck"]));

        let told = format!("stuck does not go, not even by SIGKILL: sleep (pid {stray}, state D");
        let picture = node.wait("an alert", |picture| picture.has_alert(&told));
        assert_eq!(picture.state("stuck"), "stopping");
        freezer.thaw();

        assert_eq!(stopped.join().unwrap().out, "stuck: stopped\n");
    });
    assert!(!runs(stray));
    node.stop();
}

/// A control group in which processes hang as in a driver: not even SIGKILL ends them.
struct Freezer(PathBuf);

impl Freezer {
    fn make() -> Option<Self> {
        let dir = Path::new("/sys/fs/cgroup/freezer").join(format!("enrgdaq-test-{}", std::process::id()));
        fs::create_dir(&dir).ok()?;
        dir.join("freezer.state").exists().then_some(Self(dir))
    }

    fn freeze(&self, pid: u32) {
        fs::write(self.0.join("cgroup.procs"), pid.to_string()).unwrap();
        fs::write(self.0.join("freezer.state"), "FROZEN").unwrap();
        wait_for("it is frozen", || fs::read_to_string(self.0.join("freezer.state")).unwrap().starts_with("FROZEN"));
    }

    fn thaw(&self) {
        fs::write(self.0.join("freezer.state"), "THAWED").ok();
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        self.thaw();
        let until = Instant::now() + DEADLINE;
        while fs::remove_dir(&self.0).is_err() && Instant::now() < until {
            std::thread::yield_now();
        }
    }
}
