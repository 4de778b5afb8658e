//! Waiting for a moment more exactly than the runtime's timers do, which round to milliseconds: a request that is sent up
//! to a millisecond late would show a latency that the server does not have.

use std::time::Duration;

use tokio::time::Instant;
use vice_core::{Code, Context, Result};

#[cfg(target_os = "linux")]
mod timer {
    //! A timer of the kernel, as a descriptor that becomes readable.

    use std::io;
    use std::os::fd::OwnedFd;
    use std::time::Duration;

    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
    };
    use tokio::net::unix::pipe::Receiver;

    /// The same timer twice: to set it, and to wait for it. To the runtime it is something that one reads from, which
    /// is all that it needs to know.
    pub(super) struct Timer {
        timer: OwnedFd,
        fires: Receiver,
    }

    impl Timer {
        pub(super) fn new() -> io::Result<Self> {
            let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
            let fires = Receiver::from_owned_fd_unchecked(timer.try_clone()?)?;
            Ok(Self { timer, fires })
        }

        pub(super) async fn wait(&self, span: Duration) -> io::Result<()> {
            let spec = Itimerspec {
                it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
                it_value: Timespec {
                    tv_sec: i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
                    // Zero would switch the timer off.
                    tv_nsec: i64::from(span.subsec_nanos()).max(1),
                },
            };
            timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &spec)?;
            loop {
                self.fires.readable().await?;
                let mut count = [0_u8; 8];
                match self.fires.try_read(&mut count) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    read => return read.map(drop),
                }
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod timer {
    //! The runtime's own timer.

    use std::io;
    use std::time::Duration;

    pub(super) struct Timer;

    impl Timer {
        pub(super) fn new() -> io::Result<Self> {
            Ok(Self)
        }

        pub(super) async fn wait(&self, span: Duration) -> io::Result<()> {
            tokio::time::sleep(span).await;
            Ok(())
        }
    }
}

/// Waits for moments, one after the other.
pub(super) struct Pacer(timer::Timer);

impl Pacer {
    /// # Errors
    /// `Internal` when the system has no timer left.
    pub(super) fn new() -> Result<Self> {
        timer::Timer::new().map(Self).context(Code::Internal, || "The system has no timer left.".to_owned())
    }

    /// Waits until `at`; returns at once when that has passed.
    pub(super) async fn until(&self, at: Instant) {
        let span = at.saturating_duration_since(Instant::now());
        if span > Duration::ZERO && self.0.wait(span).await.is_err() {
            tokio::time::sleep_until(at).await;
        }
    }
}
