//! Folders, network cameras and programs as sensors of a running daemon: embedded, lost, found again, and nothing left behind.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use perceptd::media::Picture;
use perceptd::publish::{BrokerAccess, Heard, HeardSensor, Subscriber, SubscriberSettings};
use rustix::process::Signal;

use crate::daemon::{Daemon, config};
use crate::mqtt::Mosquitto;

fn picture() -> Picture {
    Picture { width: 64, height: 48, rgb: (0..64 * 48 * 3).map(|i: u32| (i * 7 / 5) as u8).collect() }
}

/// A network camera, which goes away with all its connections when dropped.
struct Camera {
    port: u16,
    is_gone: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Camera {
    fn start(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let (port, is_gone) = (listener.local_addr().unwrap().port(), Arc::new(AtomicBool::new(false)));
        let gone = Arc::clone(&is_gone);
        let thread = std::thread::spawn(move || serve(&listener, &gone));
        Self { port, is_gone, thread: Some(thread) }
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        self.is_gone.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

#[expect(clippy::disallowed_methods, reason = "plays the part of a camera, in real time")]
fn serve(listener: &TcpListener, is_gone: &AtomicBool) {
    let jpeg = picture().to_jpeg(80).unwrap();
    let mut streams: Vec<TcpStream> = Vec::new();
    while !is_gone.load(Ordering::Relaxed) {
        if let Ok((mut stream, _)) = listener.accept() {
            stream.set_nonblocking(false).unwrap();
            let (mut asked, mut byte) = (Vec::new(), [0]);
            while !asked.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
                asked.push(byte[0]);
            }
            let head = b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=b\r\n\r\n";
            if stream.write_all(head).is_ok() {
                streams.push(stream);
            }
        }
        let part = [b"--b\r\nContent-Type: image/jpeg\r\n\r\n", &*jpeg, b"\r\n"].concat();
        streams.retain_mut(|stream| stream.write_all(&part).is_ok());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// On a busy machine a daemon alone takes a while to start.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(90), future).await.expect("it took too long")
}

fn listener(broker: &Mosquitto, robot: &str) -> Subscriber {
    let filter = format!("perceptd/v1/default/{robot}/#");
    Subscriber::new(SubscriberSettings { broker: BrokerAccess::plain(broker.address()), filter })
}

/// Waits until every one of these sensors has been embedded from now on.
async fn embedded(subscriber: &mut Subscriber, sensors: &[&str]) {
    let mut missing: BTreeSet<&str> = sensors.iter().copied().collect();
    let heard = soon(async {
        while !missing.is_empty() {
            if let Heard::Embedding(embedding) = subscriber.next().await {
                missing.remove(embedding.sensor.as_str());
            }
        }
    });
    heard.await;
}

/// Waits for a health message that passes.
async fn health(subscriber: &mut Subscriber, passes: impl Fn(&[HeardSensor]) -> bool) -> Vec<HeardSensor> {
    soon(async {
        loop {
            if let Heard::Health(health) = subscriber.next().await
                && passes(&health.sensors)
            {
                return health.sensors;
            }
        }
    })
    .await
}

fn of<'a>(sensors: &'a [HeardSensor], name: &str) -> &'a HeardSensor {
    sensors.iter().find(|sensor| sensor.sensor == name).unwrap()
}

/// The number in a file, if it is there and whole.
fn number_in(file: &Path) -> Option<u32> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

fn is_running(process: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{process}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_network_cameras_and_programs_are_embedded_and_come_back() {
    let broker = Mosquitto::start();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::create_dir(folder.path().join("pictures")).unwrap();
    std::fs::write(folder.path().join("pictures/a.jpg"), picture().to_jpeg(80).unwrap()).unwrap();
    std::fs::write(folder.path().join("pictures/b.png"), picture().to_png().unwrap()).unwrap();
    std::fs::write(folder.path().join("frame"), &picture().rgb).unwrap();
    let sound: Vec<u8> = (0..1600).flat_map(|i: i32| ((i * 7919 % 20_000) as i16).to_le_bytes()).collect();
    std::fs::write(folder.path().join("sound"), sound).unwrap();
    let camera = Camera::start(0);
    let port = camera.port;
    let (frame, sound, process) = (path("frame"), path("sound"), folder.path().join("process"));
    let text = format!(
        "[robot]\nname = 'sources'\n[pack]\npath = 'ROOT/models/tiny'\n[mqtt]\nport = {}\n\
         [sensors.stills]\ndriver = 'folder'\npath = 'pictures'\nloop = true\n\
         [sensors.gate]\ndriver = 'http_mjpeg'\nurl = 'http://127.0.0.1:{port}/stream'\n\
         [sensors.frames]\ndriver = 'command'\noutput = 'rgb24'\nwidth_px = 64\nheight_px = 48\n\
         command = ['sh', '-c', 'echo $$ > {}; yes noise | head -c 200000 >&2; while cat {frame}; do sleep 0.1; done']\n\
         [sensors.sound]\ndriver = 'command'\noutput = 's16le'\n\
         command = ['sh', '-c', 'while cat {sound}; do sleep 0.1; done']\n",
        broker.address().port,
        process.display(),
    );
    let mut subscriber = listener(&broker, "sources");
    let daemon = Daemon::start(&config(folder.path(), &text));
    embedded(&mut subscriber, &["stills", "gate", "frames", "sound"]).await;

    let first = number_in(&process).unwrap();
    assert!(Command::new("kill").args(["-9", &first.to_string()]).status().unwrap().success());
    drop(camera);
    let sensors = health(&mut subscriber, |sensors| of(sensors, "gate").state == "lost").await;
    assert!(of(&sensors, "gate").reason.contains(&format!("127.0.0.1:{port}")), "{sensors:?}");
    assert_eq!(of(&sensors, "stills").state, "ok");
    // What was on its way before the kill may still arrive, so a frame alone does not tell that the program is back.
    let second = soon(async {
        loop {
            embedded(&mut subscriber, &["stills", "frames", "sound"]).await;
            match number_in(&process) {
                Some(number) if number != first => return number,
                _ => {}
            }
        }
    });
    let second = second.await;
    assert!(is_running(second));

    let _camera = Camera::start(port);
    embedded(&mut subscriber, &["gate"]).await;
    health(&mut subscriber, |sensors| sensors.iter().all(|sensor| sensor.state == "ok")).await;

    let output = daemon.stop();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    assert!(!is_running(second), "a program was left behind");
    // Of 33,000 lines a few are logged.
    assert!((1..100).contains(&log.matches("noise").count()), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_and_windows_that_are_of_no_use_are_told_once_and_a_closed_terminal_is_an_ordered_stop() {
    let broker = Mosquitto::start();
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("pictures")).unwrap();
    let pixel = Picture { width: 1, height: 1, rgb: vec![9; 3] };
    std::fs::write(folder.path().join("pictures/a.png"), pixel.to_png().unwrap()).unwrap();
    std::fs::write(folder.path().join("pixel.jpg"), pixel.to_jpeg(90).unwrap()).unwrap();
    // Between the bad pictures come good ones.
    let good = Picture { width: 64, height: 64, rgb: vec![90; 64 * 64 * 3] };
    std::fs::write(folder.path().join("good.jpg"), good.to_jpeg(90).unwrap()).unwrap();
    std::fs::write(folder.path().join("nan"), f32::NAN.to_le_bytes().repeat(800)).unwrap();
    let text = format!(
        "[robot]\nname = 'pixel'\n[pack]\npath = 'ROOT/models/tiny'\n[mqtt]\nport = {}\n\
         [sensors.dot]\ndriver = 'folder'\npath = 'pictures'\nloop = true\n\
         [sensors.stream]\ndriver = 'command'\noutput = 'mjpeg'\n\
         command = ['sh', '-c', 'while cat {at}/pixel.jpg; do sleep 0.07; cat {at}/good.jpg; sleep 0.07; done']\n\
         [sensors.ear]\ndriver = 'command'\noutput = 'f32le'\nsample_rate_hz = 16000\nchannels = 1\n\
         command = ['sh', '-c', 'while cat {at}/nan; do sleep 0.05; done']\n",
        broker.address().port,
        at = folder.path().display()
    );
    let mut subscriber = listener(&broker, "pixel");
    let daemon = Daemon::start(&config(folder.path(), &text));
    let has_lost = |sensors: &[HeardSensor], name| of(sensors, name).drops.values().sum::<u64>() > 5;
    health(&mut subscriber, |sensors| ["dot", "stream", "ear"].iter().all(|name| has_lost(sensors, name))).await;
    let output = daemon.stop_by(Signal::HUP);
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    assert_eq!(
        (log.matches("cannot be embedded").count(), log.matches("of no use and dropped").count()),
        (1, 1),
        "{log}"
    );
    assert_eq!((log.matches("cannot be used").count(), log.matches("pictures/a.png").count()), (1, 1), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_that_hang_or_write_nonsense_are_told_and_ended() {
    let broker = Mosquitto::start();
    let folder = tempfile::tempdir().unwrap();
    let process = folder.path().join("process");
    let text = format!(
        "[robot]\nname = 'programs'\n[pack]\npath = 'ROOT/models/tiny'\n[mqtt]\nport = {}\n\
         [sensors.absent]\ndriver = 'command'\noutput = 'mjpeg'\ncommand = ['no-such-program']\n\
         [sensors.dies]\ndriver = 'command'\noutput = 's16le'\ncommand = ['sh', '-c', 'echo no such device >&2; exit 7']\n\
         [sensors.nonsense]\ndriver = 'command'\noutput = 'mjpeg'\ncommand = ['cat', '/dev/zero']\n\
         [sensors.hangs]\ndriver = 'command'\noutput = 'mjpeg'\n\
         command = ['sh', '-c', 'trap : TERM; echo $$ > {}; while :; do sleep 1; done']\n",
        broker.address().port,
        process.display(),
    );
    let mut subscriber = listener(&broker, "programs");
    let daemon = Daemon::start(&config(folder.path(), &text));
    let is_told = |sensors: &[HeardSensor]| {
        of(sensors, "absent").reason.contains("cannot be started")
            && of(sensors, "dies").reason.contains("exit code 7; it said: no such device")
            && of(sensors, "nonsense").state == "stalled"
            && of(sensors, "hangs").state == "stalled"
    };
    health(&mut subscriber, is_told).await;
    let output = daemon.stop();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!is_running(number_in(&process).unwrap()), "a program was left behind");
}

#[test]
fn devices_are_listed_and_a_bare_machine_is_no_error() {
    let perceptd = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_perceptd")).args(arguments).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(!perceptd(&["devices"]).is_empty());
    let json: serde_json::Value = serde_json::from_str(&perceptd(&["devices", "--json"])).unwrap();
    for kind in ["cameras", "microphones", "serial_ports", "iio"] {
        assert!(json[kind].is_array(), "{json}");
    }
}
