//! `perceptd record --from DIR --out FILE.mcap`: makes a recording from its parts.

use std::path::Path;

use crate::recording::{RecordingError, parts};

/// Makes the recording and returns one line that says what it holds.
///
/// # Errors
/// When a part cannot be read or the recording cannot be written.
pub(super) fn from_parts(dir: &Path, out: &Path) -> Result<String, RecordingError> {
    let made = parts::make(dir, out)?;
    let counts: Vec<String> = made.samples.iter().map(|(sensor, count)| format!("{count} of {sensor}")).collect();
    Ok(format!("{}: {} samples", out.display(), counts.join(", ")))
}
