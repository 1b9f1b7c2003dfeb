//! The perceptd command: arguments, logging, exit code.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let command = match perceptd::cli::Cli::try_parse() {
        Ok(command) => command,
        Err(help_or_mistake) => {
            // Help goes to stdout with 0, a mistake to stderr with 64 (EX_USAGE of sysexits.h).
            let code = if help_or_mistake.use_stderr() { 64 } else { 0 };
            return help_or_mistake.print().map_or(ExitCode::FAILURE, |()| ExitCode::from(code));
        }
    };
    match command.run() {
        Ok(code) => code,
        Err(error) => {
            perceptd::cli::report(&error);
            perceptd::cli::exit_code(&error)
        }
    }
}
