//! `perceptd run`: the daemon proper.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::{EXIT_USAGE, report, start_logging};
use crate::config::Settings;
use crate::daemon;

/// Runs until a signal, or the end of a recording; `log` wins over the config's level.
pub(super) fn run(config: &Path, log: Option<&str>) -> anyhow::Result<ExitCode> {
    let settings = match Settings::open(config) {
        Ok(settings) => settings,
        Err(error) => {
            report(&error.into());
            return Ok(ExitCode::from(EXIT_USAGE));
        }
    };
    start_logging(log.unwrap_or_else(|| settings.log.name()))?;
    daemon::run(&settings, &Arc::new(AtomicBool::new(false)))?;
    Ok(ExitCode::SUCCESS)
}
