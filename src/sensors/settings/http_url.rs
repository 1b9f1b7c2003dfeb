//! An `http://` address.

use std::fmt;
use std::str::FromStr;

/// An `http://` address, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpUrl {
    /// Host name or address; an IPv6 address without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Path and query, from the slash.
    pub path: String,
}

/// Why a text is no such address.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHttpUrl {
    /// Another protocol.
    #[error("`{0}` is no http:// address (for https:// or rtsp:// let ffmpeg read it in a `command` source)")]
    Scheme(String),
    /// A name and password inside.
    #[error("a login does not belong in the address: use `username` and `password_file`")]
    Login,
    /// No host, a port that is none, or characters that no address has.
    #[error("`{0}` is no address such as http://camera.local:8080/stream")]
    Malformed(String),
}

impl FromStr for HttpUrl {
    type Err = BadHttpUrl;
    fn from_str(text: &str) -> Result<Self, BadHttpUrl> {
        let malformed = || BadHttpUrl::Malformed(without_secrets(text));
        let is_http = text.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http://"));
        let rest = text.get(7..).filter(|_| is_http).ok_or_else(|| BadHttpUrl::Scheme(without_secrets(text)))?;
        let rest = rest.split('#').next().unwrap_or_default();
        let (place, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if place.contains('@') {
            return Err(BadHttpUrl::Login);
        }
        let (host, port) = match place.strip_prefix('[').and_then(|place| place.split_once(']')) {
            Some((host, port)) => (host, port.strip_prefix(':').unwrap_or(port)),
            None => place.split_once(':').unwrap_or((place, "")),
        };
        let port = if port.is_empty() { 80 } else { port.parse().ok().filter(|p| *p > 0).ok_or_else(malformed)? };
        // What would break the request's lines, and what a host cannot hold.
        let is_plain = |text: &str| text.bytes().all(|byte| (0x21..0x7f).contains(&byte));
        if host.is_empty() || !is_plain(host) || !is_plain(path) {
            return Err(malformed());
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { host: host.to_owned(), port, path })
    }
}

/// Without what stands in the query, which is a password often: this is published.
impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let path = without_secrets(&self.path);
        match self.port {
            80 => write!(f, "http://{host}{path}"),
            port => write!(f, "http://{host}:{port}{path}"),
        }
    }
}

/// An address of any kind without its login and its query.
pub(in crate::sensors) fn without_secrets(text: &str) -> String {
    let (place, query) = text.split_once('?').map_or((text, ""), |(place, _)| (place, "?…"));
    let (scheme, rest) = place.split_once("://").map_or(("", place), |(scheme, rest)| (scheme, rest));
    let separator = if scheme.is_empty() { "" } else { "://" };
    // A password may hold a slash where nobody wrote it as %2F.
    let rest = rest.rsplit_once('@').filter(|_| !scheme.is_empty()).map_or(rest, |(_, rest)| rest);
    format!("{scheme}{separator}{rest}{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart_and_told_again() {
        for (text, host, port, path) in [
            ("http://cam", "cam", 80, "/"),
            ("HTTP://cam:8080/a?b=c#d", "cam", 8080, "/a?b=c"),
            ("http://10.0.0.7/?action=stream", "10.0.0.7", 80, "/?action=stream"),
            ("http://cam?x", "cam", 80, "/?x"),
            ("http://[fe80::1]:81/x", "fe80::1", 81, "/x"),
        ] {
            let url: HttpUrl = text.parse().unwrap();
            assert_eq!((url.host.as_str(), url.port, url.path.as_str()), (host, port, path));
            let told = url.to_string();
            let place = told.trim_end_matches("?…").parse::<HttpUrl>().unwrap();
            assert_eq!(
                (place.host.as_str(), place.port, Some(place.path.as_str())),
                (host, port, path.split('?').next())
            );
        }
    }

    #[test]
    fn logins_and_queries_are_not_told() {
        for (text, told) in [
            ("http://cam/stream?user=me&pwd=secret", "http://cam/stream?…"),
            ("http://cam:81/stream", "http://cam:81/stream"),
        ] {
            assert_eq!(text.parse::<HttpUrl>().unwrap().to_string(), told);
        }
        for text in
            ["rtsp://me:se@cret@cam/1?secret", "http://me:secret@cam/", "http://cam:0/?secret", "http://c m/?secret"]
        {
            let told = text.parse::<HttpUrl>().unwrap_err().to_string();
            assert!(!told.contains("cret"), "{told}");
        }
        assert_eq!(without_secrets("/live@home?x"), "/live@home?…");
    }

    #[test]
    fn other_texts_are_refused() {
        let error = |text: &str| text.parse::<HttpUrl>().unwrap_err();
        assert!(matches!(error("rtsp://cam/1"), BadHttpUrl::Scheme(_)));
        assert!(matches!(error("cam"), BadHttpUrl::Scheme(_)));
        assert!(matches!(error("é"), BadHttpUrl::Scheme(_)));
        assert_eq!(error("http://me:secret@cam/"), BadHttpUrl::Login);
        for bad in
            ["http://", "http:///x", "http://cam:0/", "http://cam:99999/", "http://cam/a b", "http://cam/\r\nX: y"]
        {
            assert!(matches!(error(bad), BadHttpUrl::Malformed(_)), "{bad}");
        }
    }
}
