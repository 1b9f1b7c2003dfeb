//! An embedded broker on the loopback interface, so that `perceptd demo` needs nothing else.
//!
//! rumqttd, MQTT 5, no TLS, no passwords, nothing on disk. It cannot be stopped: it ends with the process. Its log lines are of the
//! target `rumqttd`, which the process's log filter should turn off.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use super::BrokerAddress;
use super::client::MAX_PACKET_BYTES;
use crate::backoff::Backoff;

/// How long the broker may take to listen.
const START: Duration = Duration::from_secs(3);

/// Why the broker does not run.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The port is taken, or no port is free.
    #[error("the embedded broker cannot listen on 127.0.0.1:{port}: {source}")]
    Port {
        /// The port; 0 for any.
        port: u16,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Its thread cannot start.
    #[error("the embedded broker's thread cannot start: {0}")]
    Thread(std::io::Error),
    /// It ended, or does not listen in time.
    #[error("the embedded broker did not start: {0}")]
    Start(String),
}

/// A broker in this process.
#[derive(Clone, Debug)]
pub struct EmbeddedBroker {
    address: SocketAddr,
}

impl EmbeddedBroker {
    /// Starts a broker on 127.0.0.1, on `port` or, for 0, on a free one; returns when it listens.
    ///
    /// # Errors
    /// When the port is taken or the broker does not come up.
    pub fn start(port: u16) -> Result<Self, BrokerError> {
        // rumqttd does not tell which port it got, so a free one is found first.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .and_then(|listener| listener.local_addr())
            .map_err(|source| BrokerError::Port { port, source })?;
        let (ended_sender, ended) = mpsc::sync_channel(1);
        std::thread::Builder::new()
            .name("broker".to_owned())
            .spawn(move || {
                let why = match rumqttd::Broker::new(config(address)).start() {
                    Ok(()) => "its listener ended".to_owned(),
                    Err(error) => error.to_string(),
                };
                tracing::error!("the embedded broker ended: {why}");
                // Nobody listens any more once the broker has come up.
                drop(ended_sender.send(why));
            })
            .map_err(BrokerError::Thread)?;
        wait_until_it_listens(address, &ended)?;
        Ok(Self { address })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> BrokerAddress {
        BrokerAddress { host: self.address.ip().to_string(), port: self.address.port() }
    }
}

fn wait_until_it_listens(address: SocketAddr, ended: &mpsc::Receiver<String>) -> Result<(), BrokerError> {
    let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(50), 0);
    let deadline = crate::time::now() + START;
    while crate::time::now() < deadline {
        if TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok() {
            return Ok(());
        }
        if let Ok(why) = ended.recv_timeout(backoff.next_wait()) {
            return Err(BrokerError::Start(why));
        }
    }
    Err(BrokerError::Start(format!("nothing listens on {address} after {START:?}")))
}

fn config(address: SocketAddr) -> rumqttd::Config {
    let server = rumqttd::ServerSettings {
        name: "broker-mqtt5".to_owned(),
        listen: address,
        tls: None,
        next_connection_delay_ms: 0,
        connections: rumqttd::ConnectionSettings {
            connection_timeout_ms: 5_000,
            max_payload_size: MAX_PACKET_BYTES as usize,
            max_inflight_count: 100,
            auth: None,
            external_auth: None,
            dynamic_filters: true,
        },
    };
    rumqttd::Config {
        router: rumqttd::RouterConfig {
            max_connections: 64,
            max_outgoing_packet_count: 200,
            // Each topic's log, in memory: how far a slow subscriber may lag behind.
            max_segment_size: 1 << 20,
            max_segment_count: 4,
            ..rumqttd::RouterConfig::default()
        },
        v5: Some(HashMap::from([("mqtt5".to_owned(), server)])),
        ..rumqttd::Config::default()
    }
}
