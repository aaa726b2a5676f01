//! Signals as something to poll for.

use signal_hook::{
    consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1},
    flag,
    low_level::pipe,
};
use std::{
    io::{self, Read},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Those that the sensor knows. A signal sets its flag, then makes the descriptor readable.
pub struct Signals {
    woken: UnixStream,
    wake: UnixStream,
    leave: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
    account: Arc<AtomicBool>,
    /// Whether there is nothing to be done before the end.
    at_once: Arc<AtomicBool>,
    /// Of signals that only wake, or do nothing.
    other: Arc<AtomicBool>,
}

impl Signals {
    fn new() -> io::Result<Signals> {
        let (woken, wake) = UnixStream::pair()?;
        woken.set_nonblocking(true)?;
        let [leave, reload, account, at_once, other] = [(); 5].map(|_| Arc::default());
        Ok(Signals { woken, wake, leave, reload, account, at_once, other })
    }

    /// TERM and INT, HUP, USR1 and CHLD. The first two end the process at once until [`Signals::leave_in_order`].
    pub fn for_supervisor() -> io::Result<Signals> {
        let signals = Signals::new()?;
        let Signals { leave, reload, account, other, at_once, .. } = &signals;
        at_once.store(true, Ordering::Relaxed);
        for signal in [SIGTERM, SIGINT] {
            // Not left to the system: the first process of a container would not end.
            flag::register_conditional_shutdown(signal, 0, at_once.clone())?;
        }
        for (signal, flag) in
            [(SIGTERM, leave), (SIGINT, leave), (SIGHUP, reload), (SIGUSR1, account), (SIGCHLD, other)]
        {
            signals.listen(signal, flag)?;
        }
        Ok(signals)
    }

    /// From now on there is something to be done before the end.
    pub fn leave_in_order(&self) {
        self.at_once.store(false, Ordering::Relaxed);
    }

    /// TERM alone. The others are the supervisor's, though a terminal or a service manager may send them to all.
    pub fn for_child() -> io::Result<Signals> {
        let signals = Signals::new()?;
        let Signals { leave, other, .. } = &signals;
        for (signal, flag) in [(SIGTERM, leave), (SIGINT, other), (SIGHUP, other), (SIGUSR1, other)] {
            signals.listen(signal, flag)?;
        }
        Ok(signals)
    }

    fn listen(&self, signal: i32, flag: &Arc<AtomicBool>) -> io::Result<()> {
        // In this order: whoever is woken finds the flag set.
        flag::register(signal, flag.clone())?;
        pipe::register(signal, self.wake.try_clone()?)?;
        Ok(())
    }

    /// Empties the descriptor; to be called before the flags are asked.
    pub fn clear(&self) {
        while (&self.woken).read(&mut [0; 64]).is_ok_and(|len| len > 0) {}
    }

    /// Whether it is to end, now or when it was asked before.
    pub fn leave(&self) -> bool {
        self.leave.load(Ordering::Relaxed)
    }

    /// Whether settings are to be read again; once for each time.
    pub fn take_reload(&self) -> bool {
        self.reload.swap(false, Ordering::Relaxed)
    }

    /// Whether the ledgers are to be logged; once for each time.
    pub fn take_account(&self) -> bool {
        self.account.swap(false, Ordering::Relaxed)
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.woken.as_fd()
    }
}
