//! Signals: a child starts with none ignored and none blocked, and hears stop signals on a thread of its own.

#![expect(unsafe_code, reason = "signal dispositions and masks")]

use std::thread;

/// Default disposition for every signal, an empty mask: what exec lets a child inherit is undone.
pub(crate) fn reset_signals() {
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: SIG_DFL is a valid disposition; for signals that cannot be changed the call fails and changes nothing.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // Rust's own start-up ignores SIGPIPE, and what the standard library writes relies on it.
    // SAFETY: SIG_IGN is a valid disposition for SIGPIPE.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    change_mask(libc::SIG_SETMASK, &[]);
}

/// Asked to end: by somebody, by Ctrl-C, by a terminal that is closed.
const STOP_SIGNALS: [libc::c_int; 3] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP];

/// Blocks the stop signals in this thread and in those that it starts: only the thread of [`spawn_signal_thread`] takes
/// them, and no system call elsewhere is interrupted.
pub(crate) fn block_stop_signals() {
    change_mask(libc::SIG_BLOCK, &STOP_SIGNALS);
}

/// Changes the signal mask of this thread.
fn change_mask(how: libc::c_int, signals: &[libc::c_int]) {
    // SAFETY: all zeros is a valid sigset_t, and sigemptyset makes it the empty one.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is a live sigset_t of this frame.
    unsafe { libc::sigemptyset(&raw mut set) };
    for &signal in signals {
        // SAFETY: `set` is initialised, and the number is that of a signal.
        unsafe { libc::sigaddset(&raw mut set, signal) };
    }
    // SAFETY: `set` is initialised; no old set is asked for.
    unsafe { libc::pthread_sigmask(how, &raw const set, std::ptr::null_mut()) };
}

/// Calls `heard` on a thread of its own at each stop signal.
///
/// # Errors
/// The system's, when the handler or the thread cannot be made.
pub(crate) fn spawn_signal_thread(mut heard: impl FnMut(i32) + Send + 'static) -> std::io::Result<()> {
    let mut signals = signal_hook::iterator::Signals::new(STOP_SIGNALS)?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        change_mask(libc::SIG_UNBLOCK, &STOP_SIGNALS);
        for signal in signals.forever() {
            heard(signal);
        }
    })?;
    Ok(())
}
