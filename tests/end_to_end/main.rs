//! End to end: real processes, by what the user sees.
//!
//! One program for all subjects, so that they share the harness and the machine: every test has a working directory, a
//! runtime directory and a supervisor of its own, waits for events with a deadline, and kills only what it has started.

#[cfg(test)]
mod bench;
#[cfg(test)]
mod bus_tcp;
#[cfg(test)]
mod by_hand;
#[cfg(test)]
mod chaos;
#[cfg(test)]
mod clock;
#[cfg(test)]
mod cnc;
#[cfg(test)]
mod command_line;
#[cfg(test)]
mod command_line_elsewhere;
#[cfg(test)]
mod commands;
#[cfg(test)]
mod conformance;
#[cfg(test)]
mod control_socket;
#[cfg(test)]
mod csv_files;
#[cfg(test)]
mod deaths;
#[cfg(test)]
mod delivery;
#[cfg(test)]
mod dependencies;
#[cfg(test)]
mod disk_full;
#[cfg(test)]
mod elsewhere;
#[cfg(test)]
mod exec;
#[cfg(test)]
mod federation;
#[cfg(test)]
mod first_data;
#[cfg(test)]
mod forward;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod logs;
#[cfg(test)]
mod messages;
#[cfg(test)]
mod output;
#[cfg(test)]
mod own_jobs;
#[cfg(test)]
mod redis;
#[cfg(test)]
mod reload;
#[cfg(test)]
mod rest;
#[cfg(test)]
mod rest_client;
#[cfg(test)]
mod rest_gate;
#[cfg(test)]
mod rest_peers;
#[cfg(test)]
mod rest_tls;
#[cfg(test)]
mod ring;
#[cfg(test)]
mod security;
#[cfg(test)]
mod shutdown;
#[cfg(test)]
mod sql;
#[cfg(test)]
mod stores;
#[cfg(test)]
mod storm;
#[cfg(test)]
mod supervision;
#[cfg(test)]
mod systemd;
#[cfg(test)]
mod templates;
#[cfg(test)]
mod trees;
#[cfg(test)]
mod watches;
