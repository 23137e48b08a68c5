//! Signals: a child starts with none ignored and none blocked, and hears SIGTERM on a thread of its own.

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
    // SAFETY: all zeros is a valid sigset_t, and sigemptyset makes it the empty one.
    let mut none: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `none` is a live sigset_t of this frame.
    unsafe { libc::sigemptyset(&raw mut none) };
    // SAFETY: `none` is initialised; no old set is asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut()) };
}

/// Calls `heard` on a thread of its own at each SIGTERM or SIGINT.
///
/// # Errors
/// The system's, when the handler or the thread cannot be made.
pub(crate) fn spawn_signal_thread(mut heard: impl FnMut(i32) + Send + 'static) -> std::io::Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([libc::SIGTERM, libc::SIGINT])?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            heard(signal);
        }
    })?;
    Ok(())
}
