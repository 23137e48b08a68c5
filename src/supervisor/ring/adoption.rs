//! The beginning: the ring of a former supervisor is taken over, or a new one made, and every job gets its place.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use enrgdaq_ring::{Added, Control, ControlError, Found, Leftovers, RingName, WriterPlan};

use super::{Flows, Plan, Ring, Seat, TAP, guests};
use crate::federation::{Guest, reader_number};
use crate::os::short_hash;
use crate::supervisor::tap;
use crate::telemetry::{RegionKept, RingDiscarded, RingFound, RingOfOtherBoot, RingPlaceRefused};

impl Ring {
    /// Finds or makes the ring, and gives every job its place, and the guests theirs, if there are links. `None`: nobody wants one, and no former supervisor left one.
    ///
    /// # Errors
    /// [`ControlError`]: no room, another supervisor, a foreign layout. A ring that is new or holds nothing is gone again.
    pub(in crate::supervisor) fn open(
        supervisor_id: &str,
        plans: Vec<Plan>,
        guests: Option<&[Guest]>,
        leftovers: Leftovers,
    ) -> Result<Option<Self>, ControlError> {
        let id = short_hash(supervisor_id);
        let name = RingName::new(&id)?;
        let is_wanted =
            plans.iter().any(|plan| plan.region_bytes.is_some() || plan.reads.is_some()) || guests.is_some();
        // Where nobody wants shared memory there may be none at all.
        if !is_wanted && name.regions().map_or(true, |regions| regions.is_empty()) {
            return Ok(None);
        }
        let (control, found) = Control::open(&name, leftovers)?;
        let tap = tap::number(supervisor_id);
        let names = plans.iter().map(|plan| (plan.number, plan.name.clone())).chain([(tap, TAP.to_owned())]);
        let expected = guests.unwrap_or_default().iter();
        let names: HashMap<_, _> = names.chain(expected.map(guests::named)).collect();
        // For whom something may wait already, that is not lost.
        let readers: HashSet<_> = control.readers().into_iter().map(|(number, _)| number).collect();
        let is_awaited = |plan: &Plan| plan.starts_by_itself || readers.contains(&plan.number);
        let wanted = |plan: Plan| Seat {
            writes: plan.region_bytes.is_some(),
            reads: plan.reads.is_some() && is_awaited(&plan),
            plan,
        };
        let mut ring = Self {
            control,
            id,
            seats: plans.into_iter().map(wanted).collect(),
            names,
            tap,
            guests: HashSet::new(),
            has_outsiders: false,
            flows: Flows::default(),
            given_up: HashSet::new(),
            losses: Vec::new(),
            damaged: HashSet::new(),
            dead_times: HashMap::new(),
            beat_at: Instant::now(),
        };
        ring.tell(&found, leftovers);
        ring.look_for_damage();
        match ring.take_over(guests.unwrap_or_default()) {
            Ok(()) => Ok(Some(ring)),
            // A ring that was found is left as it is.
            Err(error) if found == Found::Ring => Err(error),
            Err(error) => {
                ring.control.remove()?;
                Err(error)
            }
        }
    }

    fn tell(&self, found: &Found, leftovers: Leftovers) {
        let is_asked = leftovers == Leftovers::Discard;
        match found {
            Found::Nothing if is_asked => RingDiscarded { segments: 0, lost: Some(&[]) }.emit(),
            Found::Nothing => {}
            Found::Ring => RingFound { waiting: &self.waiting(&self.control.owed()) }.emit(),
            Found::OtherBoot { segments } => RingOfOtherBoot { segments: *segments }.emit(),
            Found::Discarded { segments, owed } => {
                let lost = owed.as_ref().map(|owed| self.waiting(owed));
                RingDiscarded { segments: *segments, lost: lost.as_deref() }.emit();
            }
        }
    }

    /// What is not wanted any more goes first, since what comes needs its room.
    fn take_over(&mut self, guests: &[Guest]) -> Result<(), ControlError> {
        match self.control.remove_reader(self.tap) {
            Ok(_) | Err(ControlError::Unknown { .. } | ControlError::Alive { .. }) => {}
            Err(error) => return Err(error),
        }
        self.adopt();
        self.guests.extend(guests.iter().map(|guest| reader_number(&guest.key)));
        self.retire();
        self.expect_guests(guests)?;
        for job in 0..self.seats.len() {
            if let Some(plan) = self.seats[job].plan.writer() {
                self.seats[job].writes = self.give_region(job, &plan)?;
            }
        }
        for job in 0..self.seats.len() {
            if self.seats[job].reads {
                self.subscribe(job);
            }
        }
        // An entry that was another's has counts of that time.
        self.adopt();
        self.has_outsiders |= self.seats.iter().any(|seat| seat.plan.is_subscribed && seat.plan.reads.is_none());
        Ok(())
    }

    /// What was counted so far was before the time of this supervisor.
    fn adopt(&mut self) {
        let status = self.control.status();
        self.flows.adopt(status.writers.iter().flat_map(|writer| &writer.edges));
    }

    /// A region as planned, or the one that the job has; `false` if the ring has no entry left.
    pub(super) fn give_region(&mut self, job: usize, plan: &WriterPlan) -> Result<bool, ControlError> {
        let added = match self.control.add_writer(plan) {
            Ok(Added::Found { bytes, has_planned_shape: false }) => {
                match self.control.remove_writer(plan.unique_id, Leftovers::Keep) {
                    Ok(last) => {
                        self.flows.end(&last.edges);
                        self.control.add_writer(plan)
                    }
                    Err(error @ (ControlError::NotDrained { .. } | ControlError::Alive { .. })) => {
                        RegionKept { job: &self.seats[job].plan.name, bytes, planned: plan.bytes, error: &error }
                            .emit();
                        return Ok(true);
                    }
                    Err(error) => return Err(error),
                }
            }
            other => other,
        };
        match added {
            Ok(_) => Ok(true),
            Err(error @ ControlError::TooManyWriters) => {
                RingPlaceRefused { job: &self.seats[job].plan.name, error: &error }.emit();
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}
