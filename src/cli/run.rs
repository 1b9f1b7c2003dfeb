//! `perceptd run`: the daemon proper.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::{EXIT_USAGE, report};
use crate::config::Settings;
use crate::daemon;

pub(super) fn run(config: &Path) -> anyhow::Result<ExitCode> {
    let settings = match Settings::open(config) {
        Ok(settings) => settings,
        Err(error) => {
            report(&error.into());
            return Ok(ExitCode::from(EXIT_USAGE));
        }
    };
    daemon::run(&settings, &Arc::new(AtomicBool::new(false)))?;
    Ok(ExitCode::SUCCESS)
}
