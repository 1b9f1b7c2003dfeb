//! The command line: one file a subcommand, and what they share.
//!
//! Subcommands parse nothing but arguments; what they do lives in the rooms.

mod check;
mod config;
mod demo;
mod detect;
mod devices;
pub mod embed;
mod log;
mod operator;
mod prompt;
mod record;
mod replay;
mod run;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::config::{ConfigError, P_FALSE, USUAL_P_FALSE};
use crate::daemon;
use crate::modality::Modality;
use crate::prompts::{Part, PartSource, PromptSettings};
use crate::recording::Speed;
use crate::sensors::Inventory;
use crate::stdout::{self, Stdout};

/// Exit code for a wrong command line or config (EX_USAGE of sysexits.h).
pub const EXIT_USAGE: u8 = 64;

/// What `perceptd --help` says of exit codes.
const EXIT_CODES: &str = "\
Exit codes:
  0    all went well, also for a daemon that a signal stopped in order
  1    it failed; of several files or robots, at least one
  64   the command line or the config is wrong
  130  a second signal ended it at once";

/// perceptd: one joint space for what a robot sees, hears and feels.
///
/// Reads cameras, microphones, thermal arrays and IMUs, embeds every window, and publishes over MQTT the embeddings, and events for what it is told to
/// look for by a sound, words or a picture.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 120, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to log on stderr: a level (off, error, warn, info, debug, trace) or a filter such as `perceptd=debug`. Wins over the
    /// environment variable PERCEPTD_LOG, which wins over the config.
    #[arg(long, global = true, value_name = "LEVEL", value_parser = log::parse_log)]
    log: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon with a config file.
    Run {
        /// The config file; `deploy/perceptd.toml` shows every key.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Play the bundled recording through the whole daemon and show what a subscriber receives.
    Demo(demo::Arguments),
    /// Name every problem of a config file, and of what it names: the model pack, the prompts' files, the recording, the password, the
    /// certificates, the state folder.
    Check {
        /// The config file.
        file: PathBuf,
    },
    /// Show and change the config of running robots, by topic.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Show and change what running robots look for, by topic.
    #[command(subcommand)]
    Prompt(prompt::PromptCommand),
    /// List cameras, microphones, serial ports and motion sensors, with a section of the config to paste for each.
    Devices {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Embed files, or words, into the joint space; prints one JSON line for each.
    Embed {
        /// Which sense: image, audio, text, thermal, depth or imu.
        #[arg(long)]
        modality: Modality,
        #[command(flatten)]
        pack: Pack,
        /// Files to embed: of image JPEG or PNG; of audio WAV, Ogg Vorbis, MP3 or FLAC; of thermal a 16-bit grey PNG of hundredths of a kelvin; of
        /// depth one of millimetres, 0 where there is no reading; of imu CSV, t_secs,ax_mps2,ay_mps2,az_mps2,gx_radps,gy_radps,gz_radps. For
        /// text the words themselves, or @FILE for a text in each line of a file.
        #[arg(required = true)]
        files: Vec<OsString>,
    },
    /// Embed what prompts are made of for a running daemon, which asks on standard input and hears on standard output.
    #[command(hide = true)]
    Embedder {
        /// Folder of the model pack.
        #[arg(long, value_name = "DIR")]
        pack: PathBuf,
        /// The joint space that the pack must have.
        #[arg(long)]
        space: String,
    },
    /// Look for a prompt in pictures; prints one JSON line per candidate box.
    ///
    /// Boxes are in pixels of the picture as viewers show it: turned as its EXIF orientation says.
    Detect {
        /// Pictures to look at.
        #[arg(required = true)]
        images: Vec<PathBuf>,
        /// What to look for: `audio:FILE`, `image:FILE` or `text:WORDS`. May be given several times.
        #[arg(long, required = true)]
        prompt: Vec<PartSource>,
        /// Wanted probability that a picture of background fires. Of pictures of other things more do: the pack's card has figures.
        #[arg(long, default_value_t = USUAL_P_FALSE, value_parser = parse_p_false)]
        p_false: f64,
        #[command(flatten)]
        pack: Pack,
    },
    /// Record what the sensors give, without encoders and broker; or make a recording from a folder of its parts.
    Record(record::Arguments),
    /// Play a recording through windows, encoders and prompts without a broker: what would have been found?
    Replay(replay::Arguments),
}

/// Which model pack to use.
#[derive(Debug, clap::Args)]
struct Pack {
    /// Folder of the model pack [default: models/reference here, as in a checkout, else the installed one].
    #[arg(long, value_name = "DIR")]
    pack: Option<PathBuf>,
}

impl Pack {
    fn folder(&self) -> PathBuf {
        self.pack.clone().unwrap_or_else(|| bundled("models/reference"))
    }
}

impl Cli {
    /// Does what the command line asks for.
    ///
    /// # Errors
    /// What stopped it, in words for the person at the terminal.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.work() {
            // Whoever reads has had enough.
            Err(error) if error.chain().any(stdout::is_closed) => Ok(ExitCode::SUCCESS),
            result => result,
        }
    }

    fn work(self) -> anyhow::Result<ExitCode> {
        let mut out = Stdout::of_this_process();
        let log = match self.log.map_or_else(log::of_environment, |log| Ok(Some(log))) {
            Ok(log) => log,
            Err(mistake) => return Ok(usage(mistake)),
        };
        if !matches!(self.command, Command::Run { .. }) {
            log::start_logging(log.as_deref().unwrap_or("warn"))?;
        }
        match self.command {
            Command::Run { config } => run::run(&config, log.as_deref()),
            Command::Demo(arguments) => demo::run(arguments),
            Command::Check { file } => {
                let (right, told) = check::check(&file);
                match out.write_all(told.as_bytes()) {
                    // The exit code says it too.
                    Err(error) if !stdout::is_closed(&error) => Err(error.into()),
                    _ => Ok(if right { ExitCode::SUCCESS } else { ExitCode::from(EXIT_USAGE) }),
                }
            }
            Command::Config(command) => Ok(exit(operator::block_on(config::run(command, &mut out))?)),
            Command::Prompt(command) => match command.mistake() {
                Some(mistake) => Ok(usage(mistake)),
                None => Ok(exit(operator::block_on(prompt::run(command, &mut out))?)),
            },
            Command::Devices { json } => {
                devices::devices(&Inventory::of_this_machine(), json, &mut out)?;
                Ok(ExitCode::SUCCESS)
            }
            Command::Embed { modality, pack, files } => {
                Ok(exit(embed::run(&pack.folder(), modality, &files, &mut out)?))
            }
            Command::Embedder { pack, space } => {
                daemon::embed_for_daemon(&pack, &space, io::stdin().lock(), &mut out)?;
                Ok(ExitCode::SUCCESS)
            }
            Command::Detect { images, prompt, p_false, pack } => {
                let arguments = detect::DetectArguments { pack: pack.folder(), images, prompts: prompt, p_false };
                Ok(exit(detect::detect(&arguments, &mut out, &mut io::stderr().lock())?))
            }
            Command::Record(arguments) => record::run(&arguments, &mut out),
            Command::Replay(arguments) => replay::run(arguments),
        }
    }
}

/// What perceptd exits with after an error: [`EXIT_USAGE`] for a config that cannot be read or is wrong, else 1.
#[must_use]
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    match error.downcast_ref() {
        Some(ConfigError::Read { .. } | ConfigError::Wrong { .. }) => ExitCode::from(EXIT_USAGE),
        // Whether a secret can be read depends on who runs perceptd.
        Some(ConfigError::Secret { .. }) | None => ExitCode::FAILURE,
    }
}

/// Prints an error and its causes on stderr.
pub fn report(error: &anyhow::Error) {
    // Nothing is left to tell when stderr is gone.
    drop(writeln!(io::stderr(), "perceptd: {}", in_words(error)));
}

/// An error and its causes, each said once: many of ours already tell their cause.
fn in_words(error: &anyhow::Error) -> String {
    error
        .chain()
        .skip(1)
        .map(ToString::to_string)
        .fold(error.to_string(), |told, cause| if told.contains(&cause) { told } else { format!("{told}: {cause}") })
}

/// Tells a mistake of the command line that its parser cannot see.
fn usage(mistake: String) -> ExitCode {
    report(&anyhow::Error::msg(mistake));
    ExitCode::from(EXIT_USAGE)
}

const fn exit(all_good: bool) -> ExitCode {
    if all_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A file that comes with perceptd: beside the working directory as in a checkout, else where a package installs it.
fn bundled(path: &str) -> PathBuf {
    let here = Path::new(path);
    if here.exists() { here.to_path_buf() } else { Path::new("/usr/share/perceptd").join(path) }
}

/// `max`, or a positive number.
fn parse_speed(argument: &str) -> Result<Speed, String> {
    match argument {
        "max" => Ok(Speed::Max),
        number => match number.parse() {
            Ok(times) if times > 0.0 && f64::is_finite(times) => Ok(Speed::Real(times)),
            _ => Err(format!("`{number}` is no speed: say `max` or a positive number")),
        },
    }
}

/// What a prompt is called whose file or words have no letter for a name.
const USUAL_PROMPT: &str = "prompt";

/// Prompts looked for in these senses, each named after its file or words; a sound and a word for the same thing are told apart.
fn prompts(sources: &[PartSource], modalities: &[Modality]) -> Vec<PromptSettings> {
    let mut names = BTreeSet::new();
    let mut prompts = Vec::new();
    for source in sources {
        let mut prompt = prompt(source.clone(), modalities);
        let (stem, mut more) = (prompt.id.clone(), 1);
        while !names.insert(prompt.id.clone()) {
            more += 1;
            prompt.id = format!("{}-{more}", stem.get(..28).unwrap_or(&stem)).into();
        }
        prompts.push(prompt);
    }
    prompts
}

fn prompt(source: PartSource, modalities: &[Modality]) -> PromptSettings {
    let words = match &source {
        PartSource::AudioFile(path) | PartSource::ImageFile(path) => {
            path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
        }
        PartSource::Text(words) => words.clone(),
        bytes => bytes.to_string(),
    };
    let id: String =
        words.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(32).collect();
    let is_readable = id.contains(|c: char| c.is_ascii_alphanumeric());
    PromptSettings {
        id: if is_readable { id.into() } else { USUAL_PROMPT.into() },
        parts: vec![Part { source, weight: 1.0 }],
        negatives: Vec::new(),
        modalities: modalities.to_vec(),
        p_false: USUAL_P_FALSE,
    }
}

/// A wanted probability of a false alarm, as the config takes it.
fn parse_p_false(argument: &str) -> Result<f64, String> {
    match argument.parse() {
        Ok(p_false) if P_FALSE.contains(&p_false) => Ok(p_false),
        _ => Err(format!(
            "`{argument}` is no such probability: say a number from {} to {}",
            P_FALSE.start(),
            P_FALSE.end()
        )),
    }
}

/// A length of time such as `20s`, `500ms` or `2m`.
fn parse_duration(argument: &str) -> Result<Duration, String> {
    let digits = argument.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(argument.len());
    let (number, unit) = argument.split_at(digits);
    let scale = match unit {
        "ms" => 0.001,
        "s" | "" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("`{unit}` is no unit of time: say ms, s, m or h")),
    };
    let number: f64 =
        number.parse().map_err(|_not_a_number| format!("`{argument}` is no length of time: say for example 20s"))?;
    Duration::try_from_secs_f64(number * scale).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn prompts_of_one_name_are_told_apart() {
        let of = |sources: &[&str]| {
            let sources: Vec<PartSource> = sources.iter().map(|source| source.parse().unwrap()).collect();
            let prompts = prompts(&sources, &[Modality::Image]);
            prompts.into_iter().map(|prompt| prompt.id.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(of(&["audio:a/dog.ogg", "text:dog", "image:dog.png", "text:cat"]), ["dog", "dog-2", "dog-3", "cat"]);
        assert_eq!(of(&["text:🐕", "text:犬 2", "audio:犬.ogg", "text:--"]), ["prompt", "--2", "prompt-2", "prompt-3"]);
        let long = format!("text:{}", "a".repeat(40));
        assert_eq!(of(&[&long, &long]), ["a".repeat(32), format!("{}-2", "a".repeat(28))]);
    }

    #[test]
    fn probabilities_of_a_false_alarm_are_those_of_the_config() {
        let commands: [&[&str]; 3] = [
            &["detect", "a.png", "--prompt", "text:dog"],
            &["replay", "a.mcap", "--prompt", "text:dog"],
            &["prompt", "add", "dog", "text:dog"],
        ];
        for command in commands {
            let with = |p_false: &str| {
                let wanted = format!("--p-false={p_false}");
                let line = [&["perceptd"], command, &[&wanted]].concat();
                Cli::try_parse_from(line).map_err(|mistake| mistake.to_string())
            };
            assert!(with("0.000001").is_ok() && with("0.5").is_ok(), "{command:?}");
            for bad in ["2", "0", "-0.1", "0.6", "NaN", "often"] {
                let told = with(bad).unwrap_err();
                assert!(
                    told.contains(&format!("`{bad}` is no such probability: say a number from 0.000001 to 0.5")),
                    "{told}"
                );
            }
        }
    }

    #[test]
    fn durations_have_units() {
        for (argument, millis) in [("20s", 20_000), ("500ms", 500), ("1.5m", 90_000), ("3", 3_000)] {
            assert_eq!(parse_duration(argument).unwrap().as_millis(), millis, "{argument}");
        }
        assert!(parse_duration("soon").is_err());
        assert!(parse_duration("5 parsecs").is_err());
    }
}
