//! What an order may do in which state: one exhaustive table.

use super::command::{Order, Refusal};
use super::status::StateName;

/// What an admitted order comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admitted {
    /// Start it.
    Start,
    /// Stop it.
    Stop,
    /// Stop it, then start it.
    Restart,
}

/// Whether an order fits a state.
///
/// # Errors
/// [`Refusal::Already`] where there is nothing to do.
pub(crate) fn admit(order: Order, state: StateName, name: &str) -> Result<Admitted, Refusal> {
    use StateName as S;
    let already = || Err(Refusal::Already { name: name.into(), state });
    match (order, state) {
        (Order::Start, S::Stopped | S::Waiting | S::BackingOff | S::Stopping | S::Exited | S::Fatal) => {
            Ok(Admitted::Start)
        }
        (Order::Start, S::Starting | S::Ready) => already(),
        // Also one that has ended by itself: it is not to come back with the supervisor.
        (Order::Stop, S::Waiting | S::Starting | S::Ready | S::BackingOff | S::Stopping | S::Exited | S::Fatal) => {
            Ok(Admitted::Stop)
        }
        (Order::Stop, S::Stopped) => already(),
        (Order::Restart, S::Starting | S::Ready | S::Stopping) => Ok(Admitted::Restart),
        (Order::Restart, S::Stopped | S::Waiting | S::BackingOff | S::Exited | S::Fatal) => Ok(Admitted::Start),
    }
}
