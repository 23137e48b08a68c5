//! New lines of this node's log, for all who listen: asked for once, however many they are.
//!
//! Invariant: while nobody listens nobody asks; a listener that is too slow misses lines, and learns how many.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::broadcast;

use crate::config::Role;
use crate::control::{Caller, Command, Desk, LogQuery, LoggedLine, Reply};

const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Lines at a time, and what a listener may be behind.
const LINES_AT_ONCE: usize = 1000;
const KEPT: usize = 2048;

/// Where one listens.
#[derive(Debug, Clone)]
pub(super) struct LogFeed(Arc<Feed>);

#[derive(Debug)]
struct Feed {
    desk: Desk,
    lines: broadcast::Sender<Arc<LoggedLine>>,
    is_asking: Mutex<bool>,
}

impl LogFeed {
    pub(super) fn of(desk: Desk) -> Self {
        Self(Arc::new(Feed { desk, lines: broadcast::Sender::new(KEPT), is_asking: Mutex::new(false) }))
    }

    /// The lines from now on.
    pub(super) fn listen(&self) -> broadcast::Receiver<Arc<LoggedLine>> {
        let mut is_asking = self.0.is_asking.lock();
        let lines = self.0.lines.subscribe();
        if !std::mem::replace(&mut *is_asking, true) {
            tokio::spawn(ask_on(self.0.clone()));
        }
        lines
    }
}

async fn ask_on(feed: Arc<Feed>) {
    let caller = Caller::remote("event stream", "REST", Role::Viewer);
    let mut query = LogQuery { lines: 0, since: None, after: None };
    loop {
        let asked = feed.desk.ask(&caller, Command::Logs { name: None, query: query.clone() }).await;
        // A supervisor that is about to end says no more.
        if let Ok(Reply::Logs { lines, next, .. }) = asked {
            query = LogQuery { lines: LINES_AT_ONCE, since: None, after: Some(next) };
            // Whoever listens no more is not there.
            lines.into_iter().for_each(|line| drop(feed.lines.send(Arc::new(line))));
        }
        tokio::time::sleep(LOOK_EVERY).await;
        let mut is_asking = feed.is_asking.lock();
        if feed.lines.receiver_count() == 0 {
            *is_asking = false;
            return;
        }
    }
}
