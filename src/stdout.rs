//! Standard output, whose errors can be told from those of files and sockets.

use std::error::Error;
use std::io::{self, Write};

/// What is written to standard output.
#[derive(Debug)]
pub struct Stdout(io::Stdout);

impl Stdout {
    /// That of this process.
    #[must_use]
    pub fn of_this_process() -> Self {
        Self(io::stdout())
    }
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(named)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(named)
    }
}

/// Why standard output could not be written to.
#[derive(Debug, thiserror::Error)]
#[error("standard output: {0}")]
struct StdoutError(#[source] io::Error);

fn named(error: io::Error) -> io::Error {
    match error.kind() {
        // Whoever writes tries again.
        io::ErrorKind::Interrupted => error,
        kind => io::Error::new(kind, StdoutError(error)),
    }
}

/// Whether standard output has no reader any longer: `| head -1` has had enough.
#[must_use]
pub fn is_closed(error: &(dyn Error + 'static)) -> bool {
    let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    let of_stdout = inner.and_then(|inner| inner.downcast_ref::<StdoutError>());
    of_stdout.is_some_and(|StdoutError(why)| why.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_closed_pipe_is_one() {
        let broken = || io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(is_closed(&named(broken())) && !is_closed(&broken()));
        let full = named(io::ErrorKind::StorageFull.into());
        assert!(!is_closed(&full) && full.to_string().starts_with("standard output: "), "{full}");
        // As JSON is written.
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(named(io::ErrorKind::BrokenPipe.into()))
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let error = serde_json::to_writer(Closed, "a").unwrap_err();
        assert!(is_closed(&io::Error::from(error)));
    }
}
