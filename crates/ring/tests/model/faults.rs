//! Faults to plant: each breaks one rule of the protocol, and the checker must notice.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Bytes are used again without `reclaimed` having said so.
    ReuseUnannounced,
    /// Bytes are used again although a reader has not acknowledged.
    ReuseUnacknowledged,
    /// Bytes are used again although they are pinned.
    IgnorePins,
    /// The successor of a writer does not look for pins.
    SuccessorForgetsPins,
    /// A lossy reader does not look at `reclaimed` after it pinned.
    PinUnchecked,
    /// A lossless reader believes a descriptor without looking at `reclaimed`.
    DescriptorUnchecked,
    /// `head` moves before the descriptor is whole.
    CommitEarly,
    /// A record counts as acknowledged when it is handed out.
    AckEarly,
    /// `acked` follows the latest acknowledgement instead of the unbroken front.
    AckOverGap,
    /// A reader's successor begins at `head`.
    SuccessorSkips,
    /// A joining reader is active before its cells are set.
    ActiveEarly,
    /// The mask alone says whom a record is for, whenever it was routed.
    SinceIgnored,
    /// A writer never looks at the table again.
    TableStale,
    /// A removed reader still holds up its writers.
    RemovedStillHolds,
    /// A reader is removed without proof of its death.
    RemovedAlive,
    /// The pins of a dead reader stay.
    PinsOfTheDead,
}

impl Fault {
    pub(crate) const ALL: [Self; 16] = [
        Self::ReuseUnannounced,
        Self::ReuseUnacknowledged,
        Self::IgnorePins,
        Self::SuccessorForgetsPins,
        Self::PinUnchecked,
        Self::DescriptorUnchecked,
        Self::CommitEarly,
        Self::AckEarly,
        Self::AckOverGap,
        Self::SuccessorSkips,
        Self::ActiveEarly,
        Self::SinceIgnored,
        Self::TableStale,
        Self::RemovedStillHolds,
        Self::RemovedAlive,
        Self::PinsOfTheDead,
    ];
}
