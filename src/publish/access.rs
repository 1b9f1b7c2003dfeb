//! How to reach a broker: the same for who publishes, listens, or asks.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Which broker, over what, and as whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerAccess {
    /// Where it listens.
    pub address: BrokerAddress,
    /// The protocol's version; none is 5, or 3.1.1 where the broker does not take 5.
    pub version: Option<MqttVersion>,
    /// The path of the broker's WebSocket, such as `/mqtt`, for MQTT inside one; none is MQTT by itself.
    pub websocket_path: Option<String>,
    /// How to check and encrypt the connection; none is in the clear.
    pub tls: Option<TlsSettings>,
    /// Name and password for the broker, if it wants them.
    pub credentials: Option<Credentials>,
}

impl BrokerAccess {
    /// Over plain TCP, without a login, in whichever version the broker speaks.
    #[must_use]
    pub const fn plain(address: BrokerAddress) -> Self {
        Self { address, version: None, websocket_path: None, tls: None, credentials: None }
    }

    /// The URL of the broker's WebSocket, if it is one; whether TLS is around it, the transport says.
    pub(super) fn websocket_url(&self) -> Option<String> {
        let (path, BrokerAddress { host, port }) = (self.websocket_path.as_ref()?, &self.address);
        let is_bare_ipv6 = host.contains(':') && !host.starts_with('[');
        let host = if is_bare_ipv6 { format!("[{host}]") } else { host.clone() };
        Some(format!("ws://{host}:{port}{path}"))
    }
}

/// A broker's host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerAddress {
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl std::fmt::Display for BrokerAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// A broker's host as people write it: a name, an address of IPv4, or one of IPv6 with or without brackets, which it is given without.
///
/// # Errors
/// Why it is none.
pub fn broker_host(text: &str) -> Result<String, String> {
    if text.contains("://") {
        return Err(format!("\"{text}\" is an address of the web: give the host alone, and its `port`"));
    }
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if is_ipv6(bare) {
        return Ok(bare.to_owned());
    }
    if text.matches(':').count() == 1 || text.contains("]:") {
        return Err(format!("\"{text}\" holds a port: give it as `port`"));
    }
    // A name may end with a dot, and a last level of digits alone is never a name's.
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_number = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    let is_host = if is_number { text.parse::<Ipv4Addr>().is_ok() } else { is_host_name(name) };
    if is_host { Ok(text.to_owned()) } else { Err(format!("\"{text}\" is no host name or address")) }
}

fn is_ipv6(text: &str) -> bool {
    let (address, zone) = text.split_once('%').unwrap_or((text, "0"));
    address.parse::<Ipv6Addr>().is_ok() && is_host_name(zone)
}

fn is_host_name(text: &str) -> bool {
    let is_level = |level: &str| {
        !level.is_empty() && level.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    text.split('.').all(is_level)
}

/// The protocol's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MqttVersion {
    /// MQTT 5.
    V5,
    /// MQTT 3.1.1, for brokers that know no other: no reasons, so an acknowledgement counts as delivery; no properties.
    V311,
}

impl MqttVersion {
    /// As people write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V5 => "5",
            Self::V311 => "3.1.1",
        }
    }
}

/// TLS: whom to trust, and who we are. Keys are never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct TlsSettings {
    /// The certificates of the authorities that may sign the broker's, as PEM.
    pub ca_pem: Vec<u8>,
    /// Our own certificate chain and its private key, as PEM, if the broker wants them.
    pub identity_pem: Option<(Vec<u8>, Vec<u8>)>,
}

impl std::fmt::Debug for TlsSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsSettings").field("has_identity", &self.identity_pem.is_some()).finish_non_exhaustive()
    }
}

/// Name and password; never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User name.
    pub username: String,
    /// Password.
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_and_addresses() {
        for (text, host) in [
            ("broker", "broker"),
            ("my_broker.lan", "my_broker.lan"),
            ("broker.lan.", "broker.lan."),
            ("10.0.0.1", "10.0.0.1"),
            ("4.pool.example", "4.pool.example"),
            ("::1", "::1"),
            ("[::1]", "::1"),
            ("fd00::10", "fd00::10"),
            ("fe80::1%eth0.1", "fe80::1%eth0.1"),
            ("::ffff:10.0.0.1", "::ffff:10.0.0.1"),
        ] {
            assert_eq!(broker_host(text).as_deref(), Ok(host), "{text}");
        }
        for (text, why) in [
            ("mqtt://broker", "address of the web"),
            ("broker:1883", "holds a port"),
            ("[::1]:1883", "holds a port"),
            ("256.1.1.1", "is no host"),
            ("10.0.0", "is no host"),
            ("fd00::g", "is no host"),
            ("[broker]", "is no host"),
            (".", "is no host"),
            ("a..b", "is no host"),
            ("", "is no host"),
            ("a broker", "is no host"),
            ("fe80::1%", "is no host"),
        ] {
            assert!(broker_host(text).is_err_and(|told| told.contains(why)), "{text}");
        }
        let address = |host: &str| BrokerAddress { host: host.to_owned(), port: 1883 }.to_string();
        assert_eq!([address("::1"), address("broker")], ["[::1]:1883", "broker:1883"]);
    }
}
