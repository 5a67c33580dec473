//! The beat at which a busy log is read.
//!
//! While a log is written faster than it is read, being told of each write is a wake for nothing, and so is a timer of
//! the runtime, which wakes more than once on its way to a time it has to round. The kernel's own timer wakes once.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;

use super::wake;

pub(super) struct Pace {
    /// `None`: the log is read at every wake, or the kernel gave no timer.
    timer: Option<AsyncFd<OwnedFd>>,
    period: Timespec,
    beating: bool,
}

impl Pace {
    pub(super) fn new(period: Duration) -> Pace {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = (!period.is_zero())
            .then(|| wake::registered(timerfd_create(TimerfdClockId::Monotonic, flags).ok()?));
        Pace {
            timer: timer.flatten(),
            period: Timespec {
                tv_sec: i64::try_from(period.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: period.subsec_nanos().into(),
            },
            beating: false,
        }
    }

    pub(super) fn is_beating(&self) -> bool {
        self.beating
    }

    /// The first beat comes a period from now. Without a timer nothing changes.
    pub(super) fn start(&mut self) {
        self.beating = self.set(self.period);
    }

    pub(super) fn stop(&mut self) {
        self.set(Timespec::default());
        self.beating = false;
    }

    fn set(&self, period: Timespec) -> bool {
        let times = Itimerspec {
            it_interval: period,
            it_value: period,
        };
        self.timer.as_ref().is_some_and(|timer| {
            timerfd_settime(timer.get_ref(), TimerfdTimerFlags::empty(), &times).is_ok()
        })
    }

    /// The next beat; one that passed while nobody waited counts.
    pub(super) async fn beat(&self) {
        match &self.timer {
            Some(timer) => match timer.readable().await {
                Ok(mut ready) => {
                    // Reading it is what sets it going again.
                    let mut expiries = [0; 8];
                    rustix::io::read(timer.get_ref(), &mut expiries).ok();
                    ready.clear_ready();
                }
                Err(_) => std::future::pending().await,
            },
            None => std::future::pending().await,
        }
    }
}
