//! The links to other nodes, as metrics.

use super::exposition::Exposition;
use crate::control::{FederationStatus, LinkState, LinkStatus};

/// A family for each figure of a link, and two for the node.
pub(super) fn links(text: &mut Exposition, federation: &FederationStatus) {
    type Count = fn(&LinkStatus) -> u64;
    let counts: [(&str, &str, Count); 9] = [
        ("enrgdaq_link_sent_messages_total", "What the other node has acknowledged.", |link| link.sent),
        ("enrgdaq_link_sent_bytes_total", "Bytes sent over the link.", |link| link.sent_bytes),
        ("enrgdaq_link_received_messages_total", "What came from the other node.", |link| link.received),
        ("enrgdaq_link_received_bytes_total", "Bytes that came over the link.", |link| link.received_bytes),
        ("enrgdaq_link_resent_messages_total", "What was sent once more.", |link| link.resent),
        ("enrgdaq_link_duplicate_messages_total", "What came once more, and was dropped.", |link| link.duplicates),
        ("enrgdaq_link_refused_messages_total", "What may not come in.", |link| link.refused),
        ("enrgdaq_link_unwanted_messages_total", "What nobody wanted any more.", |link| link.unwanted),
        ("enrgdaq_link_dropped_messages_total", "What was given up.", |link| link.dropped),
    ];
    for (name, help, count) in counts {
        let mut family = text.counter(name, help);
        federation.links.iter().for_each(|link| family.count(&[("peer", &link.peer)], count(link)));
    }
    type Value = fn(&LinkStatus) -> Option<f64>;
    let values: [(&str, &str, Value); 7] = [
        ("enrgdaq_link_up", "Whether the other node is connected: 1 or 0.", |link| {
            Some(f64::from(u8::from(matches!(link.state, LinkState::Up | LinkState::Lagging))))
        }),
        ("enrgdaq_link_waiting_messages", "What waits here for the other node.", |link| Some(exact(link.lag_messages))),
        ("enrgdaq_link_waiting_bytes", "Its bytes.", |link| Some(exact(link.lag_bytes))),
        ("enrgdaq_link_waiting_seconds", "The age of the oldest.", |link| Some(link.lag_s)),
        ("enrgdaq_link_spool_bytes", "What of it waits on the disk.", |link| Some(exact(link.spool_bytes))),
        ("enrgdaq_link_clock_offset_seconds", "The hub's clock minus the leaf's.", |link| {
            link.clock_offset_ms.map(|ms| ms / 1e3)
        }),
        ("enrgdaq_link_round_trip_seconds", "There and back.", |link| link.round_trip_ms.map(|ms| ms / 1e3)),
    ];
    for (name, help, value) in values {
        let mut family = text.gauge(name, help);
        let links = federation.links.iter();
        links.for_each(|link| value(link).into_iter().for_each(|value| family.put(&[("peer", &link.peer)], value)));
    }
    let strangers = "Connections and names that were turned away.";
    text.counter("enrgdaq_link_strangers_total", strangers).count(&[], federation.strangers);
    let frames = "Frames that made no sense.";
    text.counter("enrgdaq_link_bad_frames_total", frames).count(&[], federation.bad_frames);
    let words = "Words of a connection that is over.";
    text.counter("enrgdaq_link_late_words_total", words).count(&[], federation.late_words);
}

#[expect(clippy::cast_precision_loss, reason = "exact below 2⁵³, and the reader has such numbers only")]
fn exact(count: u64) -> f64 {
    count as f64
}
