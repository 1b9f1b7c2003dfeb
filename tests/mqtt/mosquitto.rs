//! A mosquitto of its own for each test, on a free port, killed when dropped.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use perceptd::publish::BrokerAddress;

pub(crate) struct Mosquitto {
    port: u16,
    /// Lines of the config after the listener's.
    more: String,
    folder: tempfile::TempDir,
    child: Option<Child>,
}

impl Mosquitto {
    pub(crate) fn start() -> Self {
        Self::with("allow_anonymous true\n")
    }

    /// One with these lines in its config.
    pub(crate) fn with(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut broker = Self { port: free_port(), more: more.to_owned(), folder, child: None };
        broker.restart();
        broker
    }

    pub(crate) fn address(&self) -> BrokerAddress {
        BrokerAddress { host: "127.0.0.1".to_owned(), port: self.port }
    }

    #[expect(clippy::disallowed_methods, reason = "mosquitto does not say when it listens")]
    pub(crate) fn restart(&mut self) {
        let config = self.folder.path().join("mosquitto.conf");
        let text = format!("listener {} 127.0.0.1\n{}persistence false\nlog_dest none\n", self.port, self.more);
        std::fs::write(&config, text).unwrap();
        let child = Command::new("/usr/sbin/mosquitto")
            .arg("-c")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("install the Debian package mosquitto");
        self.child = Some(child);
        for _ in 0..200 {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        panic!("mosquitto does not listen on port {}", self.port);
    }

    /// From now on it answers nobody, and is still there.
    pub(crate) fn pause(&self) {
        let id = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args(["-STOP", &id]).status().unwrap().success());
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.kill();
    }
}

/// An address where nothing listens.
pub(crate) fn nobody() -> BrokerAddress {
    BrokerAddress { host: "127.0.0.1".to_owned(), port: free_port() }
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}
