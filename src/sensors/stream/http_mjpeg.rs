//! MJPEG over HTTP (`multipart/x-mixed-replace`), as network cameras, mjpg-streamer, µStreamer and ESP32 cameras give it.
//!
//! Pictures are found by what they are, so neither the boundary nor the parts' headers, which many cameras get wrong, are needed.
//! Frames are stamped with the arrival of their first byte. TLS and Digest logins are not spoken: `command` with ffmpeg is the way.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::files::{MIB, read_text_at_most};
use crate::media::CameraFrame;
use crate::modality::SensorId;
use crate::sensors::line::ByteClock;
use crate::sensors::settings::{HttpMjpegSettings, HttpUrl, without_secrets};
use crate::sensors::wire::{ChunkedBody, JpegSplitter, WireParser as _};
use crate::sensors::{Sample, SampleData, Sensor, SensorError};
use crate::time::{MonoTime, now};

const CONNECT_WITHIN: Duration = Duration::from_secs(3);

/// From the request to the end of the answer's head.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
const MOST_HEAD_BYTES: usize = 16 * 1024;
const MOST_HEADERS: usize = 64;
const MOST_REDIRECTS: usize = 3;

const READ_BYTES: usize = 64 * 1024;

pub(super) struct HttpMjpeg {
    id: SensorId,
    url: HttpUrl,
    connection: TcpStream,
    /// None where the body comes as it is.
    chunks: Option<ChunkedBody>,
    splitter: JpegSplitter,
    /// When each byte of the body arrived.
    clock: ByteClock,
    buffer: Box<[u8]>,
    waiting: VecDeque<(MonoTime, CameraFrame)>,
    seq: u64,
    refused: u64,
}

impl HttpMjpeg {
    pub(super) fn open(id: SensorId, settings: &HttpMjpegSettings) -> Result<Self, SensorError> {
        let login = settings.login.as_ref().map(|(user, file)| login(&settings.url, user, file)).transpose()?;
        let mut url = settings.url.clone();
        for _ in 0..=MOST_REDIRECTS {
            // A password is for the camera of the config alone.
            let login = login.as_deref().filter(|_| (&url.host, url.port) == (&settings.url.host, settings.url.port));
            let mut connection = connect(&url)?;
            let answer = ask(&mut connection, &url, login).map_err(|why| lost(&url, why))?;
            if let Some(place) = answer.redirect {
                url = place;
                continue;
            }
            let chunks = answer.is_chunked.then(ChunkedBody::default);
            let buffer = vec![0; READ_BYTES].into_boxed_slice();
            let (splitter, clock) = (JpegSplitter::default(), ByteClock::of_datagrams());
            let waiting = VecDeque::new();
            let mut camera = Self { id, url, connection, chunks, splitter, clock, buffer, waiting, seq: 0, refused: 0 };
            camera.take(&answer.beginning, now())?;
            return Ok(camera);
        }
        Err(lost(&url, "it sends from one address to the next without an end"))
    }

    fn take(&mut self, bytes: &[u8], at: MonoTime) -> Result<(), SensorError> {
        let (splitter, clock, waiting) = (&mut self.splitter, &mut self.clock, &mut self.waiting);
        let refused = &mut self.refused;
        let mut body = |bytes: &[u8]| {
            let before = splitter.refused();
            clock.arrived(bytes.len() as u64, at);
            for picture in splitter.push(bytes) {
                let began_at = clock.began(picture.offset).unwrap_or(at);
                match CameraFrame::of_jpeg(picture.bytes) {
                    Some(frame) => waiting.push_back((began_at, frame)),
                    None => *refused += 1,
                }
            }
            clock.forget_before(splitter.needed_from());
            *refused += splitter.refused() - before;
        };
        match &mut self.chunks {
            Some(chunks) => chunks.push(bytes, body).map_err(|error| lost(&self.url, error)),
            None => {
                body(bytes);
                Ok(())
            }
        }
    }
}

impl Sensor for HttpMjpeg {
    fn next(&mut self, timeout: Duration) -> Result<Option<Sample>, SensorError> {
        if self.waiting.is_empty() {
            if self.chunks.as_ref().is_some_and(ChunkedBody::has_ended) {
                return Err(lost(&self.url, "it ended the stream"));
            }
            self.connection.set_read_timeout(Some(timeout)).map_err(|error| lost(&self.url, error))?;
            let mut buffer = std::mem::take(&mut self.buffer);
            let count = self.connection.read(&mut buffer);
            let taken = match count {
                Ok(0) => Err(lost(&self.url, "it closed the stream")),
                Ok(count) => self.take(buffer.get(..count).unwrap_or_default(), now()),
                Err(error) if is_patience(error.kind()) => Ok(()),
                Err(error) => Err(lost(&self.url, error)),
            };
            self.buffer = buffer;
            taken?;
        }
        let Some((captured_at, frame)) = self.waiting.pop_front() else { return Ok(None) };
        self.seq += 1;
        let (sensor, seq, data) = (self.id.clone(), self.seq - 1, SampleData::Image(frame));
        Ok(Some(Sample { sensor, captured_at, arrived_at: now(), seq, data }))
    }

    fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.refused)
    }

    fn take_bytes(&mut self) -> u64 {
        self.clock.take_bytes()
    }
}

/// Errors of a read that only say that nothing came.
const fn is_patience(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// What the `Authorization` header says.
fn login(url: &HttpUrl, user: &str, password_file: &std::path::Path) -> Result<String, SensorError> {
    let text = read_text_at_most(password_file, MIB)
        .map_err(|error| lost(url, format!("cannot read the password from {}: {error}", password_file.display())))?;
    let password = text.lines().next().unwrap_or_default();
    Ok(format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}"))))
}

fn connect(url: &HttpUrl) -> Result<TcpStream, SensorError> {
    let addresses = (url.host.as_str(), url.port).to_socket_addrs().map_err(|error| lost(url, error))?;
    let mut why = "its name has no address".to_owned();
    for address in addresses {
        match TcpStream::connect_timeout(&address, CONNECT_WITHIN) {
            Ok(connection) => return Ok(connection),
            Err(error) => why = format!("{address}: {error}"),
        }
    }
    Err(lost(url, why))
}

struct Answer {
    redirect: Option<HttpUrl>,
    is_chunked: bool,
    /// What came of the body with the head.
    beginning: Vec<u8>,
}

/// Sends the request and reads the answer's head.
fn ask(connection: &mut TcpStream, url: &HttpUrl, login: Option<&str>) -> Result<Answer, String> {
    let told = |error: std::io::Error| error.to_string();
    connection.set_write_timeout(Some(CONNECT_WITHIN)).map_err(told)?;
    let host = if url.host.contains(':') { format!("[{}]", url.host) } else { url.host.clone() };
    let login = login.map(|login| format!("Authorization: {login}\r\n")).unwrap_or_default();
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {host}:{}\r\nUser-Agent: perceptd/{}\r\nAccept: multipart/x-mixed-replace, image/jpeg, */*\r\n{login}Connection: close\r\n\r\n",
        url.path,
        url.port,
        env!("CARGO_PKG_VERSION"),
    );
    connection.write_all(request.as_bytes()).map_err(told)?;
    let (deadline, mut head, mut buffer) = (now() + ANSWER_WITHIN, Vec::new(), [0; 4096]);
    loop {
        let left = u64::try_from(deadline.nanos_since(now())).unwrap_or(0);
        if left == 0 {
            return Err(format!("it did not answer within {} s", ANSWER_WITHIN.as_secs()));
        }
        connection.set_read_timeout(Some(Duration::from_nanos(left))).map_err(told)?;
        match connection.read(&mut buffer) {
            Ok(0) => return Err("it closed the connection without an answer".to_owned()),
            Ok(count) => head.extend_from_slice(buffer.get(..count).unwrap_or_default()),
            Err(error) if is_patience(error.kind()) => {}
            Err(error) => return Err(error.to_string()),
        }
        if let Some(answer) = read_head(&head, url)? {
            return Ok(answer);
        }
        if head.len() > MOST_HEAD_BYTES {
            return Err("its answer is no HTTP".to_owned());
        }
    }
}

/// The answer's head, when it is whole.
fn read_head(bytes: &[u8], url: &HttpUrl) -> Result<Option<Answer>, String> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let length = match response.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(format!("its answer is no HTTP: {error}")),
    };
    let header = |name: &str| {
        let found = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        found.map(|header| String::from_utf8_lossy(header.value).trim().to_ascii_lowercase()).unwrap_or_default()
    };
    let is_chunked = header("transfer-encoding").contains("chunked");
    let beginning = bytes.get(length..).unwrap_or_default().to_vec();
    let code = response.code.unwrap_or(0);
    match code {
        200 => {
            let kind = header("content-type");
            // Some cameras name no type, or one of their own.
            if kind.starts_with("text/") || kind.starts_with("image/") {
                return Err(format!("it gives {kind}, no stream of pictures: look for its MJPEG address"));
            }
            Ok(Some(Answer { redirect: None, is_chunked, beginning }))
        }
        301 | 302 | 303 | 307 | 308 => {
            // As it was written: paths know upper case.
            let place = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("location"));
            let place = place.map(|header| String::from_utf8_lossy(header.value).trim().to_owned()).unwrap_or_default();
            let redirect = if place.starts_with('/') {
                Some(HttpUrl { path: place.clone(), ..url.clone() })
            } else {
                place.parse().ok()
            };
            let redirect = redirect
                .ok_or_else(|| format!("it sends to `{}`, which is no http:// address", without_secrets(&place)))?;
            Ok(Some(Answer { redirect: Some(redirect), is_chunked, beginning }))
        }
        401 if header("www-authenticate").starts_with("digest") => {
            Err("it wants a Digest login, which is not spoken: \
            allow Basic in the camera's settings, or let ffmpeg read it in a `command` source"
                .to_owned())
        }
        401 => Err("it wants a login, or refuses this one: see `username` and `password_file`".to_owned()),
        code => Err(format!("it answers {code} {}", response.reason.unwrap_or_default())),
    }
}

fn lost(url: &HttpUrl, why: impl ToString) -> SensorError {
    SensorError::Lost { device: url.to_string(), why: why.to_string() }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread::JoinHandle;

    use super::*;
    use crate::media::Picture;

    fn jpeg() -> Vec<u8> {
        Picture { width: 16, height: 16, rgb: vec![90; 768] }.to_jpeg(80).unwrap()
    }

    /// Answers each connection in turn with these bytes and closes it; gives what was asked.
    fn server(answers: Vec<Vec<u8>>) -> (HttpUrl, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://127.0.0.1:{}/stream?x=1", listener.local_addr().unwrap().port()).parse().unwrap();
        let thread = std::thread::spawn(move || {
            let answer = |answer: Vec<u8>| {
                let (mut connection, _) = listener.accept().unwrap();
                let (mut asked, mut byte) = (Vec::new(), [0]);
                while !asked.ends_with(b"\r\n\r\n") && connection.read(&mut byte).unwrap() == 1 {
                    asked.push(byte[0]);
                }
                connection.write_all(&answer).unwrap();
                String::from_utf8(asked).unwrap()
            };
            answers.into_iter().map(answer).collect()
        });
        (url, thread)
    }

    fn open(url: HttpUrl, login: Option<(String, std::path::PathBuf)>) -> Result<HttpMjpeg, SensorError> {
        HttpMjpeg::open(SensorId::new("front").unwrap(), &HttpMjpegSettings { url, login, rate_hz: 5.0 })
    }

    fn multipart() -> Vec<u8> {
        let part = [b"--b\r\nContent-Type: image/jpeg\r\nContent-Length: 7\r\n\r\n", &*jpeg(), b"\r\n"].concat();
        part.repeat(2)
    }

    /// Reads to the end of the stream.
    fn frames(camera: &mut HttpMjpeg) -> (usize, String) {
        let mut frames = 0;
        loop {
            match camera.next(Duration::from_millis(100)) {
                Ok(sample) => frames += usize::from(sample.is_some()),
                Err(error) => return (frames, error.to_string()),
            }
        }
    }

    #[test]
    fn plain_and_chunked_streams_are_read_after_a_redirect_and_with_a_login() {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace;boundary=wrong\r\n";
        let plain = [format!("{head}\r\n").as_bytes(), &multipart()].concat();
        let mut chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
        for piece in multipart().chunks(100) {
            chunked.extend(format!("{:x}\r\n", piece.len()).as_bytes());
            chunked.extend_from_slice(piece);
            chunked.extend_from_slice(b"\r\n");
        }
        chunked.extend_from_slice(b"0\r\n\r\n");
        let redirect = b"HTTP/1.1 302 Found\r\nLocation: /Other\r\n\r\n".to_vec();
        let password = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(password.path(), "open sesame\n").unwrap();
        let (url, asked) = server(vec![redirect, plain, chunked]);
        let login = Some(("Aladdin".to_owned(), password.path().to_owned()));
        let (count, why) = frames(&mut open(url.clone(), login.clone()).unwrap());
        assert!(count == 2 && why.contains("it closed the stream"), "{count} {why}");
        let (count, why) = frames(&mut open(url, login).unwrap());
        assert!(count == 2 && why.contains("ended the stream"), "{count} {why}");
        let asked = asked.join().unwrap();
        assert!(asked[0].starts_with("GET /stream?x=1 HTTP/1.1\r\n"), "{asked:?}");
        // The example of RFC 7617.
        assert!(asked[0].contains("\r\nAuthorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n"), "{asked:?}");
        assert!(asked[1].starts_with("GET /Other "), "{asked:?}");
    }

    #[test]
    fn answers_that_are_no_stream_say_what_to_do() {
        for (answer, expected) in [
            ("HTTP/1.1 404 Not Found\r\n\r\n", "it answers 404 Not Found"),
            ("HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Digest realm=\"x\"\r\n\r\n", "allow Basic"),
            ("HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"\r\n\r\n", "password_file"),
            ("HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n\r\n", "no stream of pictures"),
            ("HTTP/1.1 302 Found\r\nLocation: https://x/\r\n\r\n", "no http:// address"),
            ("SSH-2.0-OpenSSH_9\r\n", "no HTTP"),
            ("", "without an answer"),
        ] {
            let (url, _asked) = server(vec![answer.as_bytes().to_vec()]);
            let error = open(url, None).err().unwrap().to_string();
            assert!(error.starts_with("http://127.0.0.1:") && error.contains(expected), "{error}");
        }
        let closed: HttpUrl = "http://127.0.0.1:1/".parse().unwrap();
        assert!(open(closed, None).err().unwrap().to_string().contains("Connection refused"));
    }
}
