//! `perceptd run`: the daemon proper.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::log::start_logging;
use crate::config::{ConfigFile, LogLevel};
use crate::daemon::{self, Remote};

/// The program that runs, also after an update has put another one in its place.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// Runs until a signal, or the end of a recording; `log` wins over the config's level.
pub(super) fn run(config: &Path, log: Option<&str>) -> anyhow::Result<ExitCode> {
    let (file, settings) = ConfigFile::open(config)?;
    let level = start_logging(log.unwrap_or_else(|| settings.log.name()))?;
    let is_fixed = log.is_some();
    let set_log = Box::new(move |wanted: LogLevel| match is_fixed {
        true => tracing::warn!("the log level stays: --log or PERCEPTD_LOG goes before the config's"),
        false => level.set(wanted.name()),
    });
    let remote = Remote { file, set_log, program: THIS_PROGRAM.into() };
    daemon::run(&settings, Some(remote), &Arc::new(AtomicBool::new(false)))?;
    Ok(ExitCode::SUCCESS)
}
