//! What is logged, and how it changes while perceptd runs.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::{EnvFilter, reload};

/// What [`EnvFilter`] takes for a level. It takes any other word for the name of a module, of which there is nothing to log.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// The environment variable that stands for `--log`.
const VARIABLE: &str = "PERCEPTD_LOG";

/// Changes what is logged while perceptd runs.
pub(super) struct LogFilter(Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send>);

impl LogFilter {
    pub(super) fn set(&self, filter: &str) {
        match env_filter(filter).map(|filter| (self.0)(filter)) {
            Ok(Ok(())) => tracing::info!("the log level is {filter} now"),
            Ok(Err(error)) => tracing::warn!("the log level cannot be changed: {error}"),
            Err(why) => tracing::warn!("{why}"),
        }
    }
}

/// Sends what passes `filter` to stderr.
pub(super) fn start_logging(filter: &str) -> anyhow::Result<LogFilter> {
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(env_filter(filter).map_err(anyhow::Error::msg)?)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_filter_reloading();
    let handle = subscriber.reload_handle();
    subscriber.init();
    Ok(LogFilter(Box::new(move |filter| handle.reload(filter))))
}

/// The filter that the environment wants, if it wants any.
pub(super) fn of_environment() -> Result<Option<String>, String> {
    match std::env::var(VARIABLE) {
        Ok(filter) if !filter.is_empty() => parse_log(&filter).map(Some).map_err(|why| format!("{VARIABLE}: {why}")),
        _ => Ok(None),
    }
}

/// The same filter, if it is one.
pub(super) fn parse_log(filter: &str) -> Result<String, String> {
    env_filter(filter).map(|_| filter.to_owned())
}

fn env_filter(filter: &str) -> Result<EnvFilter, String> {
    let refuse =
        |part: &str| format!("`{part}` is no log level: say {}, or a filter such as perceptd=debug", LEVELS.join(", "));
    // The embedded broker calls every closed connection an error, and the decoders every file that is none of theirs. The client
    // has a warning for each message that the broker refuses, which perceptd tells once.
    let mut all = "rumqttd=off,symphonia=off,rumqttc=error".to_owned();
    for part in filter.split(',').map(str::trim) {
        let is_level = LEVELS.iter().any(|level| level.eq_ignore_ascii_case(part));
        if !is_level && !part.contains(['=', '[']) {
            return Err(refuse(part));
        }
        all.push(',');
        all.push_str(part);
    }
    EnvFilter::try_new(all).map_err(|_no_filter| refuse(filter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_a_level_or_a_mistake() {
        for good in ["off", "error", "warn", "INFO", "debug", "trace", "perceptd=debug", "warn, perceptd::daemon=trace"]
        {
            assert_eq!(parse_log(good).as_deref(), Ok(good));
        }
        for (bad, part) in [
            ("chatty", "chatty"),
            ("", ""),
            ("warn,perceptd", "perceptd"),
            ("warn,", ""),
            ("bogus===", "bogus==="),
            ("perceptd=chatty", "perceptd=chatty"),
            ("[", "["),
        ] {
            let told = parse_log(bad).unwrap_err();
            let says = format!("`{part}` is no log level: say off, error, warn, info, debug, trace, or a filter");
            assert!(told.starts_with(&says), "{bad}: {told}");
        }
    }
}
