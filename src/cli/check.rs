//! `perceptd check FILE`: every problem of a config and of the files that it names, or what it amounts to.

use std::path::Path;

use crate::config::{ConfigFile, Problem, Settings, SourceSettings};
use crate::daemon;

/// Checks the config and the pack, recording, prompts, secrets and state folder that it names: whether all is right, and what to print, which is
/// `FILE:LINE: KEY: WHAT` for each problem or one line that sums the config up. The caller exits with 64 when it is not right.
pub(super) fn check(file: &Path) -> (bool, String) {
    let (opened, settings, problems) = match ConfigFile::look(file) {
        Ok(looked) => looked,
        Err(error) => return (false, format!("{error}\n")),
    };
    let problems = daemon::try_out(&opened, &settings, problems);
    if problems.is_empty() {
        return (true, format!("{}: ok: {}\n", file.display(), summary(&settings)));
    }
    (false, problems.iter().map(|problem| told(file, problem)).collect())
}

fn told(file: &Path, problem: &Problem) -> String {
    let line = problem.line.map_or(String::new(), |line| format!(":{line}"));
    let key = if problem.key.is_empty() { String::new() } else { format!("{}: ", problem.key) };
    format!("{}{line}: {key}{}\n", file.display(), problem.what)
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
        for junk in ["pack.toml", "junk.mcap", "junk.wav"] {
            std::fs::write(folder.path().join(junk), "junk").unwrap();
        }
        std::fs::write(folder.path().join("blank"), " \n").unwrap();
        let (right, out) = check(&file);
        (right, out.replace(&format!("{}/", folder.path().display()), ""))
    }

    /// A line of what is printed: its place and key, and a word of what is wrong.
    fn assert_lines(out: &str, expected: &[(&str, &str)]) {
        assert_eq!(out.lines().count(), expected.len(), "{out}");
        for (line, (place, what)) in out.lines().zip(expected) {
            assert!(line.starts_with(&format!("perceptd.toml:{place}: ")) && line.contains(what), "{line}: {out}");
        }
    }

    const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/tiny");

    #[test]
    fn every_problem_has_its_line() {
        let text = format!("[robot]\nnam = 'a'\n[pack]\npath = '{TINY}'\n[sensors.mic]\ndriver = 'microphone'\n");
        let (right, out) = checked(&text);
        assert!(!right);
        assert_eq!(
            out,
            "perceptd.toml:1: robot: `name` is missing: the robot's name, unique in its fleet\n\
             perceptd.toml:2: robot.nam: unknown key; did you mean `name`?\n"
        );
    }

    #[test]
    fn mistakes_of_the_file_hide_none_of_what_it_names() {
        let rest = "[mqtt]\nport = 99999\n[replay]\nrecording = 'junk.mcap'\nloop = 1\n\
                    [[prompts]]\nid = 'x'\naudio = 'junk.wav'\n\
                    [[prompts]]\nid = 'y'\naudio = 'none.wav'\np_false = 2\n\
                    [[prompts]]\nid = 'z'\nparts = [{ text = 'a dog', weight = 0 },\n{ image = '.' }]\nnegatives = [{ audio = 'junk.wav' },{ image = '/dev/zero' }]\n";
        let (right, out) = checked(&format!("[robot]\nname = 'a'\n[pack]\npath = '.'\n{rest}"));
        assert!(!right);
        let (port, recording) = (("6: mqtt.port", "99999"), ("8: replay.recording", "junk.mcap is no recording"));
        let (repeat, sound) = (("9: replay.loop", "true or false"), ("12: prompts[0].audio", "not a readable sound"));
        let (file, p_false) = (("15: prompts[1].audio", "no file none.wav"), ("16: prompts[1].p_false", "found 2"));
        let (weight, folder) =
            (("19: prompts[2].parts[0].weight", "found 0"), ("20: prompts[2].parts[1].image", "directory"));
        let (negative, device) = (
            ("21: prompts[2].negatives[0].audio", "a readable sound"),
            ("21: prompts[2].negatives[1].image", "a device"),
        );
        let of_prompts = [sound, file, p_false, weight, folder, device, negative];
        assert_lines(&out, &[&[("4: pack.path", "pack.toml"), port, recording, repeat], &of_prompts[..]].concat());
        // With a pack prompts are enrolled too; what is told of a key already is not told twice.
        let (_, out) = checked(&format!("[robot]\nname = 'a'\n[pack]\npath = '{TINY}'\n{rest}[pack2]\n"));
        assert_lines(&out, &[&[port, recording, repeat], &of_prompts[..], &[("22: pack2", "unknown key")]].concat());
    }

    #[test]
    fn what_could_not_be_read_is_not_missed() {
        let text =
            "[robot]\nname = 'a'\n[pack]\npath = \n[replay]\nrecording 'x'\n[[prompts]]\nid = \ntext = 'a dog'\n";
        let (_, out) = checked(text);
        assert_lines(&out, &[("4", "not TOML"), ("6", "not TOML"), ("8", "not TOML")]);
    }

    #[test]
    fn a_recording_that_is_damaged_further_on_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let recording = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/bundled/meadow.mcap")).unwrap();
        let mut flipped = recording.clone();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 1;
        for (bytes, damage) in [
            (&recording[..middle], Some("samples: it ends in the middle of a record")),
            (&flipped[..], Some("samples: a chunk's checksum is wrong")),
            (&recording[..], None),
        ] {
            let file = folder.path().join("some.mcap");
            std::fs::write(&file, bytes).unwrap();
            let text = "[robot]\nname = 'a'\n[pack]\npath = '";
            let (right, out) = checked(&format!("{text}{TINY}'\n[replay]\nrecording = '{}'\n", file.display()));
            assert_eq!(right, damage.is_none(), "{out}");
            assert!(damage.is_none_or(|why| out.contains(":6: replay.recording: ") && out.contains(why)), "{out}");
        }
    }

    #[test]
    fn what_a_start_would_be_refused_for_is_told() {
        let start =
            format!("[robot]\nname = 'a'\n[pack]\npath = '{TINY}'\n[sensors.mic]\ndriver = 'microphone'\n[mqtt]\n");
        let (_, out) = checked(&format!(
            "{start}username = 'me'\npassword_file = 'none'\nca_file = 'junk.wav'\nclient_cert_file = 'junk.wav'\n\
             client_key_file = '.'\n[state]\nfolder = 'junk.wav/state'\n"
        ));
        let (password, ca) = (("9: mqtt.password_file", "No such file"), ("10: mqtt.ca_file", "no certificate in it"));
        let (key, state) =
            (("12: mqtt.client_key_file", "Is a directory"), ("14: state.folder", "junk.wav is no folder"));
        assert_lines(&out, &[password, ca, key, state]);
        let (_, out) = checked(&format!("{start}host = '256.1.1.1'\nusername = 'me'\npassword_file = 'blank'\n"));
        let (host, password) = (("8: mqtt.host", "no host name"), ("10: mqtt.password_file", "the password, is empty"));
        assert_lines(&out, &[host, password]);
        let (right, out) = checked(&format!("{start}host = '[::1]'\n"));
        assert!(right && out.ends_with("broker [::1]:1883\n"), "{out}");
        // What is not known before it is there: a folder that is made, what systemd shows to the service alone.
        let (right, out) = checked(&format!(
            "{start}username = 'me'\npassword_file = 'credential:p'\nca_file = 'credential:ca'\n[state]\nfolder = 'new/state'\n"
        ));
        assert!(right, "{out}");
    }

    #[test]
    fn a_right_config_is_summed_up() {
        let text = format!("[robot]\nname = 'a'\n[pack]\npath = '{TINY}'\n[sensors.mic]\ndriver = 'microphone'\n");
        let expected = "perceptd.toml: ok: default/a, 1 sensor(s), 0 prompt(s), broker localhost:1883\n";
        assert_eq!(checked(&text), (true, expected.to_owned()));
    }
}
