//! What perceptd logs, for tests that look at it. One subscriber for the whole test binary; tests tell their lines by the broker.

use std::io;
use std::sync::{Arc, Mutex, OnceLock};

use perceptd::publish::BrokerAddress;

/// Everything that was logged since the first test listened.
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

#[derive(Clone)]
struct Writer(Arc<Mutex<Vec<u8>>>);

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    pub(crate) fn listen() -> Self {
        static LOG: OnceLock<Arc<Mutex<Vec<u8>>>> = OnceLock::new();
        let log = LOG.get_or_init(|| {
            let log = Arc::<Mutex<Vec<u8>>>::default();
            let writer = Writer(Arc::clone(&log));
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();
            log
        });
        Self(Arc::clone(log))
    }

    pub(crate) fn lines_about(&self, broker: &BrokerAddress) -> Vec<String> {
        self.lines_with(&broker.to_string())
    }

    pub(crate) fn lines_with(&self, words: &str) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().filter(|line| line.contains(words)).map(ToOwned::to_owned).collect()
    }
}
