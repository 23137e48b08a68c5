//! Facts about the ring: what was found, what waits, what was lost.

use std::error::Error;
use std::fmt;

/// Messages that wait in the ring, or waited there when they were lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) writer: String,
    pub(crate) reader: String,
    pub(crate) messages: u64,
}

/// `3 messages of a for b, 2 of c for d`.
struct Each<'a>(&'a [Waiting]);

impl fmt::Display for Each<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, Waiting { writer, reader, messages }) in self.0.iter().enumerate() {
            write!(f, "{} of {writer} for {reader}", counted(at, *messages))?;
        }
        Ok(())
    }
}

/// `3 messages of a, 2 of c`: for one reader, who is named elsewhere.
struct Writers<'a>(&'a [Waiting]);

impl fmt::Display for Writers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, Waiting { writer, messages, .. }) in self.0.iter().enumerate() {
            write!(f, "{} of {writer}", counted(at, *messages))?;
        }
        Ok(())
    }
}

fn counted(at: usize, messages: u64) -> String {
    match (at, messages) {
        (0, 1) => "1 message".into(),
        (0, _) => format!("{messages} messages"),
        _ => format!(", {messages}"),
    }
}

/// The ring of a former supervisor goes on.
pub(crate) struct RingFound<'a> {
    pub(crate) waiting: &'a [Waiting],
}

impl RingFound<'_> {
    pub(crate) fn emit(self) {
        match self.waiting {
            [] => tracing::info!("found the ring of a former supervisor; nothing waits in it"),
            waiting => tracing::info!("found the ring of a former supervisor; {} wait in it", Each(waiting)),
        }
    }
}

/// The machine was started anew since the ring was made.
pub(crate) struct RingOfOtherBoot {
    pub(crate) segments: usize,
}

impl RingOfOtherBoot {
    pub(crate) fn emit(self) {
        tracing::warn!("removed {} segments of a ring of another boot; what they held is lost", self.segments);
    }
}

/// The ring of a former supervisor was thrown away, as asked.
pub(crate) struct RingDiscarded<'a> {
    pub(crate) segments: usize,
    /// What waited in it; `None`: nobody can count it.
    pub(crate) lost: Option<&'a [Waiting]>,
}

impl RingDiscarded<'_> {
    pub(crate) fn emit(self) {
        let segments = self.segments;
        match self.lost {
            _ if segments == 0 => tracing::info!("--discard-ring: no former supervisor has left a ring"),
            None => tracing::warn!(
                "--discard-ring: threw away {segments} segments of another version's ring; nobody can count what it held"
            ),
            Some([]) => tracing::info!("--discard-ring: threw away {segments} segments; nothing waited in them"),
            Some(lost) => tracing::warn!("--discard-ring: threw away {}", Each(lost)),
        }
    }
}

/// A job has no place in the ring as it should: its payloads go over the bus.
pub(crate) struct RingPlaceRefused<'a> {
    pub(crate) job: &'a str,
    pub(crate) error: &'a (dyn Error + 'static),
}

impl RingPlaceRefused<'_> {
    pub(crate) fn emit(self) {
        tracing::warn!("[{}] has no place in the ring: {}", self.job, crate::error_chain(self.error));
    }
}

/// A job's region is not cut as configured.
pub(crate) struct RegionKept<'a> {
    pub(crate) job: &'a str,
    pub(crate) bytes: usize,
    pub(crate) planned: usize,
    pub(crate) error: &'a (dyn Error + 'static),
}

impl RegionKept<'_> {
    pub(crate) fn emit(self) {
        let Self { job, bytes, planned, error } = self;
        let error = crate::error_chain(error);
        tracing::warn!("[{job}] keeps its region of {bytes} bytes instead of {planned} until the next start: {error}");
    }
}

/// A region that nobody is to have any more is drained and removed.
pub(crate) struct LeftoverDrained<'a> {
    pub(crate) writer: &'a str,
}

impl LeftoverDrained<'_> {
    pub(crate) fn emit(self) {
        tracing::info!("removed the region of {}, which writes into the ring no longer: it is drained", self.writer);
    }
}

/// A reader's subscription has ended.
pub(crate) struct RingReaderLost<'a> {
    pub(crate) reader: &'a str,
    pub(crate) why: &'a str,
    pub(crate) lost: &'a [Waiting],
}

impl RingReaderLost<'_> {
    /// Says that nothing was lost, or gives what is to be said louder.
    pub(crate) fn emit(self) -> Option<String> {
        let Self { reader, why, lost } = self;
        if lost.is_empty() {
            tracing::info!("the place of {reader} in the ring has ended ({why}); nothing waited for it");
            return None;
        }
        Some(format!("{} that waited for {reader} are lost to it ({why})", Writers(lost)))
    }
}

/// A fatal job loses what waited for it; its text is that of an alert.
pub(crate) struct LostToGone<'a> {
    pub(crate) job: &'a str,
    pub(crate) lost: &'a [Waiting],
}

impl fmt::Display for LostToGone<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} does not come back by itself: {} that waited for it are lost to it", self.job, Writers(self.lost))
    }
}

/// A former process of the job lives; the new one waits for its end.
pub(crate) struct SeatHeld<'a> {
    pub(crate) job: &'a str,
}

impl SeatHeld<'_> {
    pub(crate) fn emit(self) {
        tracing::debug!("[{}] a former process of it still holds its place in the ring", self.job);
    }
}

/// The end waits no longer for messages in the ring.
pub(crate) struct StillWaiting<'a>(pub(crate) &'a Waiting);

impl StillWaiting<'_> {
    pub(crate) fn emit(self) {
        let Waiting { writer, reader, messages } = self.0;
        tracing::warn!("{messages} messages of {writer} wait in the ring for {reader}; the next start delivers them");
    }
}

/// The supervisor ends, the ring stays.
pub(crate) struct RingKept<'a> {
    pub(crate) waiting: &'a [Waiting],
    pub(crate) config_dir: &'a str,
}

impl RingKept<'_> {
    pub(crate) fn emit(self) {
        let (each, dir) = (Each(self.waiting), self.config_dir);
        tracing::warn!(
            "{each} stay in the ring: `enrgdaq --config {dir}` delivers them, with `--discard-ring` it throws them away"
        );
    }
}

/// Something about the ring did not work; the supervisor goes on.
pub(crate) struct RingTrouble<'a> {
    pub(crate) doing: &'a str,
    pub(crate) error: &'a (dyn Error + 'static),
}

impl RingTrouble<'_> {
    pub(crate) fn emit(self) {
        tracing::warn!("the ring, {}: {}", self.doing, crate::error_chain(self.error));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_told_by_writer_and_count() {
        let waiting = |writer: &str, messages| Waiting { writer: writer.into(), reader: "csv".into(), messages };
        let lost = [waiting("a", 1), waiting("b", 20)];

        let text = LostToGone { job: "csv", lost: &lost }.to_string();

        assert_eq!(text, "csv does not come back by itself: 1 message of a, 20 of b that waited for it are lost to it");
        assert_eq!(Each(&lost).to_string(), "1 message of a for csv, 20 of b for csv");
    }
}
