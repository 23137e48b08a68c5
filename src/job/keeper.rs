//! The thread beside the job: hears stop and what others ask of it, beats, reports statistics.

use std::thread;
use std::time::{Duration, Instant};

use super::context::{Context, confirm};
use super::measures::Reporter;
use super::stop::Cause;
use super::types::JobError;
use crate::bus::{BusError, Contexts, Subscriber};
use crate::message::{Envelope, Plane, Receipt, Request, StatsReport, Stop, Topic};
use crate::os::Wake;

/// The heartbeat comes this often, and statistics if there is news.
const EVERY: Duration = Duration::from_secs(1);

/// Runs until told to end.
#[derive(Debug)]
pub(super) struct Keeper {
    end: Wake,
    thread: thread::JoinHandle<()>,
}

impl Keeper {
    /// Starts the thread; from when this returns, a stop is heard.
    pub(super) fn start(contexts: &Contexts, cx: Context) -> Result<Self, JobError> {
        let planes = [Plane::Control];
        let mut orders = Subscriber::connect(contexts, &cx.spec().endpoints, &planes)?;
        orders.subscribe(&Topic::broadcast(cx.supervisor_id()))?;
        orders.subscribe(&Topic::job(cx.unique_id()))?;
        let probe = Topic::probe(&cx.spec().instance_id, "keeper");
        confirm(cx.bus(), &mut orders, &planes, &probe, cx.stop_bell().bell())?;
        let end = Wake::new().map_err(BusError::System)?;
        let bell = end.clone();
        let thread = thread::Builder::new()
            .name("keeper".into())
            .spawn(move || keep(&cx, &mut orders, &bell))
            .map_err(BusError::System)?;
        Ok(Self { end, thread })
    }

    /// Reports once more, and ends.
    pub(super) fn end(self) {
        self.end.ring();
        self.thread.join().ok();
    }
}

fn keep(cx: &Context, orders: &mut Subscriber, end: &Wake) {
    let mut reporter = Reporter::new();
    let mut due = Instant::now();
    while !end.has_rung() {
        if Instant::now() >= due {
            due = Instant::now() + EVERY;
            beat(cx, &mut reporter);
        }
        match orders.next(due.saturating_duration_since(Instant::now()), &[end]) {
            Ok(Some(arrival)) => hear(cx, &arrival.delivery.envelope),
            Ok(None) => {}
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "the bus is broken, the job ends");
                cx.stop_bell().ring(Cause::Message);
                return;
            }
        }
    }
    beat(cx, &mut reporter);
}

/// Does what is told; what cannot be read is passed over, as a frame that is no message.
fn hear(cx: &Context, envelope: &Envelope) {
    if let Some(stop) = envelope.body::<Stop>() {
        if let Ok(stop) = stop {
            tracing::debug!(reason = stop.reason, "told to stop");
            cx.stop_bell().ring(Cause::Message);
        }
    } else if let Some(request) = envelope.body::<Request>() {
        request.into_iter().for_each(|request| cx.take_request(request));
    } else if let Some(receipt) = envelope.body::<Receipt>() {
        receipt.into_iter().for_each(|receipt| cx.take_receipt(receipt));
    }
}

/// Beats, and reports what is new.
fn beat(cx: &Context, reporter: &mut Reporter) {
    cx.heartbeat();
    cx.repeat_responses();
    let Some(stats) = reporter.report(cx.tally(), cx.latencies(), cx.inbox().counts().refused, cx.figures()) else {
        return;
    };
    if let Err(error) = cx.send_uncounted(&Topic::stats(cx.supervisor_id()), &StatsReport { stats }) {
        tracing::debug!(error = &error as &dyn std::error::Error, "a report could not be sent");
    }
}
