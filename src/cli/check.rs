//! `perceptd check FILE`: every problem of a config and of the files that it names, or what it amounts to.

use std::io::{self, Write};
use std::path::Path;

use crate::config::{ConfigError, ConfigFile, Problem, Settings, SourceSettings};
use crate::daemon;

/// Checks the config, then the pack, recording and prompts that it names, and prints `FILE:LINE: KEY: WHAT` for each problem to `out`,
/// or one line that sums it up. Returns whether all is right; the caller exits with 64 when it is not.
///
/// # Errors
/// When `out` cannot be written to.
pub(super) fn check(file: &Path, out: &mut dyn Write) -> io::Result<bool> {
    let problems = match ConfigFile::open(file) {
        Ok((opened, settings)) => {
            let problems = daemon::try_out(&opened, &settings);
            if problems.is_empty() {
                return writeln!(out, "{}: ok: {}", file.display(), summary(&settings)).map(|()| true);
            }
            problems
        }
        Err(ConfigError::Wrong { problems, .. }) => problems,
        Err(error @ (ConfigError::Read { .. } | ConfigError::Secret { .. })) => {
            return writeln!(out, "{error}").map(|()| false);
        }
    };
    problems.iter().try_for_each(|problem| write_problem(file, problem, out)).map(|()| false)
}

fn write_problem(file: &Path, problem: &Problem, out: &mut dyn Write) -> io::Result<()> {
    let line = problem.line.map_or(String::new(), |line| format!(":{line}"));
    let key = if problem.key.is_empty() { String::new() } else { format!("{}: ", problem.key) };
    writeln!(out, "{}{line}: {key}{}", file.display(), problem.what)
}

fn summary(settings: &Settings) -> String {
    let source = match &settings.source {
        SourceSettings::Sensors(sensors) => format!("{} sensor(s)", sensors.len()),
        SourceSettings::Replay(replay) => format!("replay of {}", replay.recording.display()),
    };
    let (publish, prompts) = (&settings.publish_without_credentials, settings.prompts.len());
    let broker = &publish.broker;
    let websocket = broker.websocket_path.as_ref().map_or_else(String::new, |path| format!(", WebSocket {path}"));
    format!("{}/{}, {source}, {prompts} prompt(s), broker {}{websocket}", publish.fleet, publish.robot, broker.address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> (bool, String) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("perceptd.toml");
        std::fs::write(&file, text).unwrap();
        std::fs::write(folder.path().join("pack.toml"), "").unwrap();
        let mut out = Vec::new();
        let right = check(&file, &mut out).unwrap();
        (right, String::from_utf8(out).unwrap().replace(&format!("{}/", folder.path().display()), ""))
    }

    #[test]
    fn every_problem_has_its_line() {
        let (right, out) = checked("[robot]\nnam = 'a'\n[pack]\npath = '.'\n[sensors.mic]\ndriver = 'microphone'\n");
        assert!(!right);
        assert_eq!(
            out,
            "perceptd.toml:1: robot: `name` is missing: the robot's name, unique in its fleet\n\
             perceptd.toml:2: robot.nam: unknown key; did you mean `name`?\n"
        );
    }

    #[test]
    fn a_right_config_is_summed_up() {
        let pack = concat!(env!("CARGO_MANIFEST_DIR"), "/models/tiny");
        let text = format!("[robot]\nname = 'a'\n[pack]\npath = '{pack}'\n[sensors.mic]\ndriver = 'microphone'\n");
        let expected = "perceptd.toml: ok: default/a, 1 sensor(s), 0 prompt(s), broker localhost:1883\n";
        assert_eq!(checked(&text), (true, expected.to_owned()));
    }
}
