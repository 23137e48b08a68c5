//! Who has come to the server: when each was last heard of, what it said of itself, the newest lines of its log.
//!
//! Pure: it is told what time it is. Invariants: it holds [`MOST_NODES`] at the most, of each [`KEPT_LINES`] lines, and
//! [`MOST_LOG_BYTES`] of lines in all: where there are more, the oldest of who has most go.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

use super::message::ClientLog;
use super::nodes::ClientInfo;
use crate::message::SupervisorInfo;
use crate::os::iso_at;

/// A node that says nothing for so long is down.
pub(super) const SILENCE: Duration = Duration::from_secs(5);

/// Nodes at a time.
const MOST_NODES: usize = 1024;

/// Lines that are kept of a node.
pub(super) const KEPT_LINES: usize = 1000;

/// The longest text of a line, and of what else it has, in bytes.
const LONGEST_LINE: usize = 8 << 10;
const LONGEST_WORD: usize = 256;

/// Words by which a node may be selected.
const MOST_TAGS: usize = 64;

/// All lines of all nodes, in bytes.
const MOST_LOG_BYTES: usize = 64 << 20;

/// So many changes of its address within [`CONTEST`] make an id one of two nodes.
const MOVES: u32 = 4;
const CONTEST: Duration = Duration::from_secs(60);

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Registry {
    nodes: HashMap<String, Node>,
    log_bytes: usize,
}

#[derive(Debug)]
struct Node {
    info: Option<SupervisorInfo>,
    heard: Instant,
    date: Timestamp,
    is_up: bool,
    /// Somebody else speaks in its place: what is sent to it would reach him.
    is_displaced: bool,
    address: String,
    /// How often its address has changed, and since when that is counted.
    moves: (u32, Instant),
    log: VecDeque<ClientLog>,
    log_bytes: usize,
}

/// What came of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// It was not there before, or not any more.
    Came,
    /// It is there.
    Stays,
    /// It is there, and two nodes seem to share its id.
    Contested,
    /// There is no place for it.
    NoRoom,
}

/// When something happens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub(super) instant: Instant,
    pub(super) date: Timestamp,
}

impl Now {
    pub(super) fn new() -> Self {
        Self { instant: Instant::now(), date: Timestamp::now() }
    }
}

impl Registry {
    /// A node said something.
    pub(super) fn hear(&mut self, id: &str, address: &str, now: Now) -> Heard {
        if !self.nodes.contains_key(id) && !self.make_room() {
            return Heard::NoRoom;
        }
        let node = self.nodes.entry(id.to_owned()).or_insert_with(|| Node {
            info: None,
            heard: now.instant,
            date: now.date,
            is_up: false,
            is_displaced: false,
            address: address.to_owned(),
            moves: (0, now.instant),
            log: VecDeque::new(),
            log_bytes: 0,
        });
        node.heard = now.instant;
        node.date = now.date;
        node.is_displaced = false;
        let is_contested = node.note_address(address, now.instant);
        match (std::mem::replace(&mut node.is_up, true), is_contested) {
            (false, _) => Heard::Came,
            (true, false) => Heard::Stays,
            (true, true) => Heard::Contested,
        }
    }

    /// What it said of itself, as far as it is not too much.
    pub(super) fn note_info(&mut self, id: &str, mut info: SupervisorInfo) {
        info.supervisor_tags.truncate(MOST_TAGS);
        info.supervisor_tags.iter_mut().for_each(|tag| shorten(tag, LONGEST_WORD));
        info.supervisor_tags.shrink_to_fit();
        if let Some(node) = self.nodes.get_mut(id) {
            node.info = Some(info);
        }
    }

    /// Somebody else speaks in its place.
    pub(super) fn note_displaced(&mut self, id: &str) {
        if let Some(node) = self.nodes.get_mut(id) {
            node.is_displaced = true;
        }
    }

    /// One who is down gives way; if nobody is, there is no room.
    fn make_room(&mut self) -> bool {
        if self.nodes.len() < MOST_NODES {
            return true;
        }
        let down = self.nodes.iter().filter(|(_, node)| !node.is_up);
        let Some(oldest) = down.min_by_key(|(_, node)| node.heard).map(|(id, _)| id.clone()) else { return false };
        if let Some(node) = self.nodes.remove(&oldest) {
            self.log_bytes -= node.log_bytes;
        }
        true
    }

    /// Who has not been heard of for so long that it is down, and was up before.
    pub(super) fn fall_silent(&mut self, now: Instant) -> Vec<String> {
        let silent = self.nodes.iter_mut().filter(|(_, node)| node.is_up && now.duration_since(node.heard) >= SILENCE);
        silent
            .map(|(id, node)| {
                node.is_up = false;
                id.clone()
            })
            .collect()
    }

    /// Whether it has ever come.
    pub(super) fn has(&self, id: &str) -> bool {
        self.nodes.contains_key(id)
    }

    /// Whether what is sent to it reaches nobody else, as far as can be told: it is heard of, and nobody speaks in its place.
    pub(super) fn is_in_its_place(&self, id: &str) -> bool {
        self.nodes.get(id).is_some_and(|node| node.is_up && !node.is_displaced)
    }

    /// All of them.
    pub(super) fn infos(&self) -> BTreeMap<String, ClientInfo> {
        self.nodes.iter().map(|(id, node)| (id.clone(), info_of(id, node.date, node.info.clone()))).collect()
    }

    /// What each said of itself.
    pub(super) fn said_of_themselves(&self) -> BTreeMap<String, Option<SupervisorInfo>> {
        self.nodes.iter().map(|(id, node)| (id.clone(), node.info.clone())).collect()
    }

    /// Keeps a line of a node's log; whoever it says that it is of, it is of this node.
    pub(super) fn keep(&mut self, id: &str, mut line: ClientLog) {
        let Some(node) = self.nodes.get_mut(id) else { return };
        id.clone_into(&mut line.client_id);
        shorten(&mut line.message, LONGEST_LINE);
        [&mut line.level, &mut line.module, &mut line.timestamp]
            .into_iter()
            .for_each(|word| shorten(word, LONGEST_WORD));
        let bytes = bytes_of(&line);
        node.log.push_back(line);
        node.log_bytes += bytes;
        self.log_bytes += bytes;
        if node.log.len() > KEPT_LINES {
            self.log_bytes -= node.forget_one();
        }
        while self.log_bytes > MOST_LOG_BYTES {
            let Some(most) = self.nodes.values_mut().max_by_key(|node| node.log_bytes) else { return };
            self.log_bytes -= most.forget_one();
        }
    }

    /// The lines of a node, oldest first; `None`: it has never come.
    pub(super) fn lines(&self, id: &str) -> Option<Vec<ClientLog>> {
        self.nodes.get(id).map(|node| node.log.iter().cloned().collect())
    }
}

impl Node {
    /// Whether its address has changed to and fro, as it does where two nodes have one id.
    fn note_address(&mut self, address: &str, now: Instant) -> bool {
        if self.address == address {
            return false;
        }
        address.clone_into(&mut self.address);
        if now.duration_since(self.moves.1) > CONTEST {
            self.moves = (0, now);
        }
        self.moves.0 += 1;
        // Once a while, however often it changes.
        self.moves.0 == MOVES
    }

    /// Lets the oldest line go: its bytes.
    fn forget_one(&mut self) -> usize {
        let bytes = self.log.pop_front().map_or(0, |line| bytes_of(&line));
        self.log_bytes -= bytes;
        bytes
    }
}

/// A node as others see it.
pub(super) fn info_of(id: &str, seen: Timestamp, info: Option<SupervisorInfo>) -> ClientInfo {
    ClientInfo { identity: Some(STANDARD.encode(id)), last_seen: iso_at(seen), info }
}

fn bytes_of(line: &ClientLog) -> usize {
    let ClientLog { level, message, timestamp, module, client_id } = line;
    let texts = [level, message, timestamp, module, client_id];
    texts.iter().map(|text| text.capacity()).sum::<usize>() + size_of::<ClientLog>()
}

/// Cuts a text, and frees what is cut off.
fn shorten(text: &mut String, longest: usize) {
    if text.len() > longest {
        *text = format!("{}…", &text[..text.floor_char_boundary(longest)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Now, ms: u64) -> Now {
        let after = Duration::from_millis(ms);
        Now { instant: start.instant + after, date: start.date + after }
    }

    fn line(text: &str) -> ClientLog {
        let word = |text: &str| text.to_owned();
        ClientLog {
            level: word("INFO"),
            message: word(text),
            timestamp: word("t"),
            module: word("csv"),
            client_id: word("somebody else"),
        }
    }

    #[test]
    fn a_node_is_down_after_five_seconds_of_silence_and_comes_back() {
        let mut registry = Registry::default();
        let start = Now::new();

        assert_eq!(registry.hear("lab1", "a", start), Heard::Came);
        assert_eq!(registry.hear("lab1", "a", at(start, 1000)), Heard::Stays);
        assert!(registry.fall_silent(at(start, 5999).instant).is_empty());
        assert_eq!(registry.fall_silent(at(start, 6000).instant), ["lab1"]);
        assert!(registry.fall_silent(at(start, 7000).instant).is_empty(), "it is told once");
        assert!(registry.has("lab1") && !registry.is_in_its_place("lab1"));
        assert_eq!(registry.hear("lab1", "a", at(start, 8000)), Heard::Came);
    }

    #[test]
    fn a_node_in_whose_place_somebody_speaks_is_not_sent_to_until_it_is_heard_of() {
        let mut registry = Registry::default();
        registry.hear("lab1", "a", Now::new());
        assert!(registry.is_in_its_place("lab1"));

        registry.note_displaced("lab1");
        assert!(!registry.is_in_its_place("lab1"));
        registry.hear("lab1", "a", Now::new());
        assert!(registry.is_in_its_place("lab1"));
    }

    #[test]
    fn what_a_node_says_of_itself_is_bounded() {
        let mut registry = Registry::default();
        registry.hear("lab1", "", Now::new());

        let supervisor_tags = vec!["x".repeat(100_000); 1000];
        registry.note_info("lab1", SupervisorInfo { supervisor_id: "lab1".into(), supervisor_tags });

        let tags = registry.said_of_themselves()["lab1"].clone().unwrap().supervisor_tags;
        assert_eq!(tags.len(), MOST_TAGS);
        assert!(tags.iter().all(|tag| tag.len() <= LONGEST_WORD + 3));
    }

    #[test]
    fn two_nodes_of_one_id_are_noticed_and_one_that_moves_is_not_taken_for_two() {
        let mut registry = Registry::default();
        let start = Now::new();
        registry.hear("lab1", "10.0.0.1", start);
        assert_eq!(registry.hear("lab1", "10.0.0.2", at(start, 500)), Heard::Stays);

        let heard: Vec<_> = (1..=4)
            .map(|step| registry.hear("lab1", ["10.0.0.1", "10.0.0.2"][step % 2], at(start, 1000 * step as u64)))
            .collect();

        assert!(heard.contains(&Heard::Contested), "{heard:?}");
    }

    #[test]
    fn where_all_places_are_taken_who_is_down_gives_way_and_nobody_else() {
        let mut registry = Registry::default();
        let start = Now::new();
        for number in 0..MOST_NODES {
            registry.hear(&format!("n{number}"), "", at(start, 100 * u64::from(number > 0)));
        }
        assert_eq!(registry.hear("one more", "", at(start, 200)), Heard::NoRoom);
        assert_eq!(registry.hear("n7", "", at(start, 200)), Heard::Stays);

        assert_eq!(registry.fall_silent(at(start, 5000).instant), ["n0"]);

        assert_eq!(registry.hear("one more", "", at(start, 5000)), Heard::Came);
        assert!(!registry.has("n0") && registry.nodes.len() == MOST_NODES);
    }

    #[test]
    fn the_newest_lines_are_kept_each_of_a_bounded_length_under_the_name_of_who_sent_them() {
        let mut registry = Registry::default();
        registry.hear("lab1", "", Now::new());
        registry.keep("nobody", line("lost"));
        for number in 0..KEPT_LINES + 7 {
            registry.keep("lab1", line(&number.to_string()));
        }
        registry.keep("lab1", line(&"ü".repeat(LONGEST_LINE)));

        let lines = registry.lines("lab1").unwrap();

        assert_eq!((lines.len(), lines[0].message.as_str()), (KEPT_LINES, "8"));
        assert!(lines[KEPT_LINES - 1].message.len() <= LONGEST_LINE + 3);
        assert!(lines.iter().all(|line| line.client_id == "lab1"));
        assert_eq!(registry.lines("nobody"), None);
    }

    #[test]
    fn all_lines_together_are_bounded_and_those_of_a_quiet_node_stay() {
        let mut registry = Registry::default();
        registry.hear("quiet", "", Now::new());
        registry.keep("quiet", line("here"));
        for node in 0..20 {
            let id = format!("loud{node}");
            registry.hear(&id, "", Now::new());
            for _ in 0..KEPT_LINES {
                registry.keep(&id, line(&"x".repeat(LONGEST_LINE)));
            }
        }

        let held: usize = registry.nodes.values().map(|node| node.log.iter().map(bytes_of).sum::<usize>()).sum();
        assert_eq!(held, registry.log_bytes);
        assert!(held <= MOST_LOG_BYTES, "{held}");
        assert_eq!(registry.lines("quiet").unwrap().len(), 1);
    }
}
