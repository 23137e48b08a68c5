//! What the API counts of itself.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use parking_lot::Mutex;

use super::route::Route;

/// Bounds of the duration's buckets, in seconds.
pub(super) const BOUNDS_S: [f64; 9] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0];

/// What does not lead to a route.
const NO_ROUTE: &str = "none";

/// Requests by route; their number is bounded, as that of the routes is.
#[derive(Debug, Default)]
pub(super) struct Figures(Mutex<Counted>);

/// What was counted.
#[derive(Debug, Default, Clone)]
pub(super) struct Counted {
    /// Method, route and status → requests.
    pub(super) requests: BTreeMap<(String, &'static str, u16), u64>,
    /// Method and route → how long it took until the answer began.
    pub(super) durations: BTreeMap<(String, &'static str), Durations>,
}

/// How long requests took.
#[derive(Debug, Default, Clone)]
pub(super) struct Durations {
    /// Requests that took no longer than the bound, without those of lower bounds; the last are longer than all.
    pub(super) buckets: [u64; BOUNDS_S.len() + 1],
    pub(super) sum_s: f64,
}

impl Figures {
    /// A request has its answer.
    pub(super) fn record(&self, method: &Method, route: Option<&'static Route>, status: StatusCode, took: Duration) {
        // A client may invent methods.
        let known = [Method::GET, Method::HEAD, Method::POST, Method::DELETE, Method::OPTIONS];
        let method = if known.contains(method) { method.as_str() } else { "other" };
        let path = route.map_or(NO_ROUTE, |route| route.path);
        let mut counted = self.0.lock();
        *counted.requests.entry((method.into(), path, status.as_u16())).or_default() += 1;
        let durations = counted.durations.entry((method.into(), path)).or_default();
        let took_s = took.as_secs_f64();
        let bucket = BOUNDS_S.iter().position(|bound| took_s <= *bound).unwrap_or(BOUNDS_S.len());
        durations.buckets[bucket] += 1;
        durations.sum_s += took_s;
    }

    pub(super) fn counted(&self) -> Counted {
        self.0.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_in_one_bucket_and_unknown_methods_are_one() {
        let figures = Figures::default();
        for (method, ms) in [("BREW", 1), ("WHEN", 30), ("GET", 60_000)] {
            let method = method.parse().unwrap();
            figures.record(&method, None, StatusCode::NOT_FOUND, Duration::from_millis(ms));
        }

        let counted = figures.counted();

        assert_eq!(counted.requests[&("other".into(), NO_ROUTE, 404)], 2);
        let others = &counted.durations[&("other".into(), NO_ROUTE)];
        assert_eq!((others.buckets[0], others.buckets[5], others.buckets.iter().sum::<u64>()), (1, 1, 2));
        assert_eq!(counted.durations[&("GET".into(), NO_ROUTE)].buckets[BOUNDS_S.len()], 1);
    }
}
