//! SIGINT, SIGTERM, and SIGHUP unless `nohup` has it ignored: the first asks for an ordered stop, another one half a second later or more
//! ends the process at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::time::{MonoTime, now};

/// Exit code after a second signal: 128 + SIGINT, as shells say it.
const EXIT_INTERRUPTED: i32 = 130;

/// A signal so soon after the first is its echo: `timeout` tells its child and then the group that both are in.
const ECHO: Duration = Duration::from_millis(500);

/// The signals that stop perceptd.
pub(super) struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
    /// The terminal was closed.
    hangup: Option<Signal>,
}

impl StopSignals {
    /// Starts to listen; must be called inside a runtime.
    fn listen() -> std::io::Result<Self> {
        let hangup = (!is_hangup_ignored()).then(|| signal(SignalKind::hangup())).transpose()?;
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())?, hangup })
    }

    /// Watches on a runtime of its own, for as long as that is kept: two signals that a stalled thread sees at once look like an echo.
    pub(super) fn in_background(stop: &Arc<AtomicBool>) -> anyhow::Result<Runtime> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).thread_name("signals").enable_all().build();
        let runtime = runtime.context("cannot start the runtime for signals")?;
        let signals = {
            let _inside = runtime.enter();
            Self::listen().context("cannot listen to signals")?
        };
        runtime.spawn(signals.watch(Arc::clone(stop)));
        Ok(runtime)
    }

    /// Sets `stop` at the first signal; never returns.
    async fn watch(mut self, stop: Arc<AtomicBool>) {
        let mut asked_at: Option<MonoTime> = None;
        loop {
            let is_hangup = tokio::select! {
                _ = self.interrupt.recv() => false,
                _ = self.terminate.recv() => false,
                () = hung_up(&mut self.hangup) => true,
            };
            let is_second = stop.swap(true, Ordering::Relaxed);
            let is_echo = asked_at.is_some_and(|at| now() < at + ECHO);
            // A terminal that closes says so twice, by its shell and by the kernel: nobody is impatient.
            if is_second && (is_hangup || is_echo) {
                continue;
            }
            if is_second {
                tracing::warn!("second signal: ending at once");
                std::process::exit(EXIT_INTERRUPTED);
            }
            asked_at = Some(now());
            tracing::info!("stopping; a second signal ends at once");
        }
    }
}

/// What a terminal or a service manager tells the whole group is for the parent of this process, which ends it when it has had its answer.
pub(super) fn leave_to_parent() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let runtime = runtime.context("cannot start the runtime for signals")?;
    let _inside = runtime.enter();
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        // Who has listened once is ended by it no more, for as long as the process lasts.
        drop(signal(kind).context("cannot listen to signals")?);
    }
    Ok(())
}

async fn hung_up(hangup: &mut Option<Signal>) {
    match hangup {
        Some(hangup) => drop(hangup.recv().await),
        None => std::future::pending().await,
    }
}

/// Whether this process was started with SIGHUP ignored, as `nohup` does: listening would take that back (proc(5), `SigIgn`).
fn is_hangup_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 != 0)
}
