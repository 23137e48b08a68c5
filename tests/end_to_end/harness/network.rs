//! Hosts that cables join: network namespaces, made for one test.
//!
//! ```text
//! host 1 ── cable ─┐
//! host 2 ── cable ─┼─ switch      10.0.0.1, 10.0.0.2 …, each host in a namespace of its own, and the switch too
//! host 3 ── cable ─┘
//! ```

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::said;

/// Where `ip netns` keeps namespaces.
const NAMESPACES: &str = "/run/netns";

/// How the names of ours begin; then come the process of the test, a number, and what it is.
const PREFIX: &str = "e2e-";

/// Some hosts, and the switch between them; gone when dropped.
#[derive(Debug)]
pub(crate) struct Lan {
    name: String,
    hosts: Vec<Host>,
}

/// One of them.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    namespace: String,
    number: usize,
}

impl Lan {
    /// So many hosts.
    pub(crate) fn of(hosts: usize) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        clear_away_dead();
        let name = format!("{PREFIX}{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let host = |number| Host { namespace: format!("{name}-{number}"), number };
        let lan = Self { hosts: (1..=hosts).map(host).collect(), name };
        let switch = lan.switch();
        ip(&["netns", "add", &switch]);
        ip(&["-n", &switch, "link", "add", "bridge", "type", "bridge"]);
        ip(&["-n", &switch, "link", "set", "bridge", "up"]);
        lan.hosts.iter().for_each(|host| lan.connect(host));
        lan
    }

    /// A host; the first is number 0 here.
    pub(crate) fn host(&self, index: usize) -> &Host {
        &self.hosts[index]
    }

    /// Pulls the cable of a host out of the switch: what it sends goes nowhere, and nobody tells it.
    pub(crate) fn unplug(&self, host: &Host) {
        ip(&["-n", &self.switch(), "link", "set", &host.port(), "down"]);
    }

    /// Puts it in again.
    pub(crate) fn plug_in(&self, host: &Host) {
        ip(&["-n", &self.switch(), "link", "set", &host.port(), "up"]);
    }

    /// Has so many percent of the packets to a host, and of those from it, get lost.
    pub(crate) fn lose(&self, host: &Host, percent: f64) {
        let probability = (percent / 100.0).to_string();
        let rule = ["-m", "statistic", "--mode", "random", "--probability", &probability, "-j", "DROP"];
        let (cable, address) = (["-A", "INPUT", "-i", "eth0"], host.address());
        host.iptables(&[&cable, &rule[..]].concat());
        for other in self.hosts.iter().filter(|other| other.number != host.number) {
            other.iptables(&[&cable[..], &["-s", &address], &rule].concat());
        }
    }

    /// How many packets got lost so far.
    pub(crate) fn lost(&self) -> u64 {
        let counts = self.hosts.iter().map(|host| host.iptables(&["-nvxL", "INPUT"]));
        let lost = |table: String| {
            let rules = table.lines().filter(|line| line.contains("DROP")).map(str::to_owned).collect::<Vec<_>>();
            let packets = |rule: &String| rule.split_whitespace().next().and_then(|count| count.parse::<u64>().ok());
            rules.iter().filter_map(packets).sum::<u64>()
        };
        counts.map(lost).sum()
    }

    fn switch(&self) -> String {
        format!("{}-switch", self.name)
    }

    fn connect(&self, host: &Host) {
        let (switch, namespace, port) = (self.switch(), &host.namespace, host.port());
        ip(&["netns", "add", namespace]);
        let ends = ["link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", namespace];
        ip(&[&["-n", &switch], &ends[..]].concat());
        ip(&["-n", &switch, "link", "set", &port, "master", "bridge", "up"]);
        ip(&["-n", namespace, "address", "add", &format!("{}/24", host.address()), "dev", "eth0"]);
        ip(&["-n", namespace, "link", "set", "eth0", "up"]);
        ip(&["-n", namespace, "link", "set", "lo", "up"]);
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        remove(&format!("{}-", self.name));
    }
}

impl Host {
    /// Its address.
    pub(crate) fn address(&self) -> String {
        format!("10.0.0.{}", self.number)
    }

    /// Does this as if it ran on that host: sockets and processes that it makes belong there.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let there = || {
            let namespace = File::open(Path::new(NAMESPACES).join(&self.namespace)).expect("the host is there");
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("this test must be allowed to enter a network namespace");
            work()
        };
        std::thread::scope(|scope| scope.spawn(there).join().expect("what is done there does not panic"))
    }

    /// Its place in the switch.
    fn port(&self) -> String {
        format!("port{}", self.number)
    }

    fn iptables(&self, arguments: &[&str]) -> String {
        let done = self.inside(|| said(Command::new("iptables").arg("-w").args(arguments)));
        assert_eq!(done.code, 0, "this test must be allowed to lose packets: {done:?}");
        done.out
    }
}

fn ip(arguments: &[&str]) {
    let done = said(Command::new("ip").args(arguments));
    assert_eq!(done.code, 0, "this test must be allowed to make networks: ip {arguments:?}: {done:?}");
}

/// Removes the namespaces whose names begin like this; interfaces and rules go with them.
fn remove(prefix: &str) {
    for name in names().filter(|name| name.starts_with(prefix)) {
        said(Command::new("ip").args(["netns", "delete", &name]));
    }
}

/// What tests that were killed have left.
fn clear_away_dead() {
    for name in names() {
        let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if let Some(pid) = pid.filter(|pid| !Path::new("/proc").join(pid).exists()) {
            remove(&format!("{PREFIX}{pid}-"));
        }
    }
}

fn names() -> impl Iterator<Item = String> {
    let entries = fs::read_dir(NAMESPACES).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok())
}
