//! The event stream: what happens, as it happens.
//!
//! ```text
//! event: state
//! data: {"event":"state","date":"…","job":"csv","before":"starting","state":"ready","reason":null,"pid":4711}
//! ```
//!
//! Invariant: a listener that is too slow loses events, and gets an event `lagged` that says how many.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Response;
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::app::Shared;
use super::asked::{Asked, check_most};
use super::fault::Fault;
use super::stream::{self, Form, Gone, Pieces};
use crate::control::{Desk, Event, LoggedLine};

/// How often a stream shows that it is alive.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What a client may ask for as the length of a stream.
pub(super) const MOST_SECONDS: u64 = 86_400;

/// What there is to listen to.
const TYPES: [&str; 4] = ["state", "alert", "node", LOG];
const LOG: &str = "log";

/// Which events.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct EventsQuery {
    /// Some of `state`, `alert`, `node`, `log`, with commas between; without it all but `log`.
    #[schemars(regex(pattern = r"^(state|alert|node|log)(,(state|alert|node|log))*$"))]
    types: Option<String>,
    /// Lines of this node's log too.
    logs: bool,
    /// Ends the stream after so many seconds.
    #[schemars(range(min = 0, max = 86_400))]
    seconds: Option<u32>,
}

/// Alerts since the start of the API, by how bad they are.
#[derive(Debug, Clone, Default)]
pub(super) struct AlertCount(Arc<Mutex<BTreeMap<String, u64>>>);

impl AlertCount {
    pub(super) fn start(desk: &Desk) -> Self {
        let (count, mut events) = (Self::default(), desk.listen());
        let counted = count.0.clone();
        tokio::spawn(async move {
            loop {
                match events.recv().await {
                    Ok(Event::Alert(alert)) => {
                        let severity = serde_json::to_value(alert.alert_info.severity).unwrap_or_default();
                        *counted.lock().entry(severity.as_str().unwrap_or_default().into()).or_default() += 1;
                    }
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                }
            }
        });
        count
    }

    /// Severity → how many.
    pub(super) fn by_severity(&self) -> BTreeMap<String, u64> {
        self.0.lock().clone()
    }
}

pub(super) async fn events(asked: Asked) -> Result<Response<Body>, Fault> {
    let query: EventsQuery = asked.query()?;
    check_most("seconds", query.seconds.map(u64::from), MOST_SECONDS)?;
    let types: Vec<String> = match &query.types {
        Some(types) => types.split(',').map(|name| name.trim().to_owned()).collect(),
        None => TYPES.into_iter().filter(|name| *name != LOG).map(str::to_owned).collect(),
    };
    if let Some(unknown) = types.iter().find(|name| !TYPES.contains(&name.as_str())) {
        return Err(Fault::bad_input(format!("there are no events {unknown:?}; there are {}", TYPES.join(", "))));
    }
    let wants_logs = query.logs || types.iter().any(|name| name == LOG);
    let (response, pieces) = stream::begin(&asked.shared, Form::Events)?;
    let mut listener = Listener {
        events: asked.shared.desk.listen(),
        lines: wants_logs.then(|| asked.shared.log_feed.listen()),
        types,
        pieces,
    };
    tokio::spawn(async move {
        tokio::select! {
            _ = listener.tell() => {}
            () = ended(&asked.shared) => {}
            () = after(query.seconds) => {}
        }
    });
    Ok(response)
}

/// Returns after so many seconds, or never.
pub(super) async fn after(seconds: Option<u32>) {
    match seconds {
        Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds.into())).await,
        None => std::future::pending().await,
    }
}

/// Returns when all ends.
pub(super) async fn ended(shared: &Shared) {
    let mut ending = shared.ending.clone();
    // An error is an end too.
    ending.wait_for(|is_ending| *is_ending).await.ok();
}

/// Somebody who listens.
struct Listener {
    events: Receiver<Event>,
    lines: Option<Receiver<Arc<LoggedLine>>>,
    types: Vec<String>,
    pieces: Pieces,
}

impl Listener {
    async fn tell(&mut self) -> Result<(), Gone> {
        self.pieces.keep_alive().await?;
        loop {
            let Self { events, lines, types, pieces } = self;
            tokio::select! {
                event = events.recv() => match event {
                    Ok(event) if types.iter().any(|name| name == event.name()) => {
                        pieces.send(event.name(), &event).await?;
                    }
                    Ok(_) => {}
                    Err(RecvError::Lagged(missed)) => lag(pieces, "events", missed).await?,
                    Err(RecvError::Closed) => return Err(Gone),
                },
                line = next_line(lines) => match line {
                    Ok(line) => pieces.send(LOG, &*line).await?,
                    Err(RecvError::Lagged(missed)) => lag(pieces, "log lines", missed).await?,
                    Err(RecvError::Closed) => return Err(Gone),
                },
                () = tokio::time::sleep(KEEP_ALIVE) => pieces.keep_alive().await?,
                () = pieces.left() => return Err(Gone),
            }
        }
    }
}

async fn lag(pieces: &Pieces, what: &str, missed: u64) -> Result<(), Gone> {
    pieces.send("lagged", &json!({"event": "lagged", "missed": missed, "what": what})).await
}

async fn next_line(lines: &mut Option<Receiver<Arc<LoggedLine>>>) -> Result<Arc<LoggedLine>, RecvError> {
    match lines {
        Some(lines) => lines.recv().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{Events, StateName};

    fn event(number: u64) -> Event {
        let (before, state) = (StateName::Starting, StateName::Ready);
        Event::State { date: number.to_string(), job: "csv".into(), before, state, reason: None, pid: None }
    }

    #[test]
    fn a_listener_that_is_too_slow_is_told_how_many_events_it_missed() {
        const TOLD: u64 = 5000;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let seen = runtime.block_on(async {
            let events = Events::new();
            let (pieces, mut to_send) = Pieces::new(Form::Events);
            let mut listener = Listener { events: events.listen(), lines: None, types: vec!["state".into()], pieces };
            tokio::spawn(async move { listener.tell().await });
            (0..TOLD).for_each(|number| events.tell(event(number)));

            let last = format!("\"date\":\"{}\"", TOLD - 1);
            let mut seen: Vec<String> = Vec::new();
            while seen.last().is_none_or(|piece| !piece.contains(&last)) {
                seen.push(String::from_utf8(to_send.recv().await.unwrap().to_vec()).unwrap());
            }
            seen
        });

        let lagged: Vec<_> = seen.iter().filter(|piece| piece.starts_with("event: lagged")).collect();
        let missed = |piece: &str| -> u64 {
            let data = piece.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
            serde_json::from_str::<serde_json::Value>(data).unwrap()["missed"].as_u64().unwrap()
        };
        let told = seen.iter().filter(|piece| piece.starts_with("event: state")).count() as u64;
        assert_eq!(lagged.len(), 1, "{seen:?}");
        assert_eq!(told + missed(lagged[0]), TOLD);
    }
}
