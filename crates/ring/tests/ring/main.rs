//! The ring as its users see it: one process, many processes, killed and corrupted.

#[cfg(test)]
mod basics;
#[cfg(test)]
mod chaos;
#[cfg(test)]
mod common;
#[cfg(test)]
mod corruption;
#[cfg(test)]
mod kills;
#[cfg(test)]
mod lives;
#[cfg(test)]
mod monitors;
#[cfg(test)]
mod queue;
#[cfg(test)]
mod segments;
#[cfg(test)]
mod waits;
