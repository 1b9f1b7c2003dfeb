//! IMUs on ptys and over UDP, from their bytes to published embeddings, through a loss and back.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::UdpSocket;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use perceptd::publish::{BrokerAccess, Heard, HeardEmbedding, Subscriber, SubscriberSettings};
use perceptd::sensors::pause_until;
use perceptd::sensors::wire::*;
use perceptd::time::now;
use serialport::{SerialPort, TTYPort};

use crate::daemon::{Daemon, config};
use crate::mqtt::Mosquitto;

#[path = "packets/mod.rs"]
mod packets;

/// Fifty readings a second, as slow autopilots send them.
const PERIOD: Duration = Duration::from_millis(20);

/// Longer than a busy machine needs for anything here.
const LIMIT: Duration = Duration::from_secs(90);

/// Devices that send for as long as they live.
struct Devices {
    stop: Arc<AtomicBool>,
    sketch: Arc<Mutex<Option<TTYPort>>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Devices {
    fn start(mut autopilot: TTYPort, sketch: TTYPort, to_router: String) -> Self {
        let (stop, sketch) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Some(sketch))));
        let (stopped, plugged) = (Arc::clone(&stop), Arc::clone(&sketch));
        let router = UdpSocket::bind("127.0.0.1:0").unwrap();
        let thread = std::thread::spawn(move || {
            let mut n = 0u32;
            while pause_until(now() + PERIOD, &stopped) {
                n += 1;
                let wave = (n as f32 / 10.0).sin();
                let reading = packets::mavlink_highres(1, u64::from(n) * 20_000, [wave, 0.5, -9.75], [0.25, wave, 0.5]);
                // What is said while nobody has the other end open is lost, as on a wire.
                drop(autopilot.write_all(&reading));
                drop(router.send_to(&reading, &to_router));
                if let Some(port) = plugged.lock().unwrap().as_mut() {
                    let line = format!("{} {wave:.3} 0.1 0.99\n", n * 20);
                    drop(port.write_all(line.as_bytes()));
                }
            }
        });
        Self { stop, sketch, thread: Some(thread) }
    }
}

impl Drop for Devices {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Plugs a pty in under a stable name, as udev does.
fn plug(name: &Path) -> TTYPort {
    let (master, slave) = TTYPort::pair().unwrap();
    if name.is_symlink() {
        std::fs::remove_file(name).unwrap();
    }
    symlink(PathBuf::from(slave.name().unwrap()), name).unwrap();
    master
}

/// Listens until what is wanted was heard.
async fn hear<T>(ears: &mut Subscriber, what: &str, mut wanted: impl FnMut(Heard) -> Option<T>) -> T {
    let listening = async {
        loop {
            if let Some(found) = wanted(ears.next().await) {
                return found;
            }
        }
    };
    tokio::time::timeout(LIMIT, listening).await.unwrap_or_else(|_| panic!("{what} was not heard"))
}

fn embedding_of(heard: Heard, sensor: &str) -> Option<HeardEmbedding> {
    match heard {
        Heard::Embedding(embedding) if embedding.sensor == sensor => Some(embedding),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn motion_on_ptys_and_over_udp_is_embedded_lost_and_found() {
    let broker = Mosquitto::start();
    let folder = tempfile::tempdir().unwrap();
    let (autopilot, sketch) = (folder.path().join("autopilot"), folder.path().join("sketch"));
    let router = {
        let free = UdpSocket::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().to_string()
    };
    let text = format!(
        "[robot]\nname = 'wired'\n[pack]\npath = 'ROOT/models/tiny'\n[mqtt]\nport = {}\n\
         [sensors.autopilot]\ndriver = 'mavlink'\ndevice = '{}'\n\
         [sensors.router]\ndriver = 'mavlink'\nudp = '{router}'\nrate_hz = 50\n\
         [sensors.sketch]\ndriver = 'text_line'\ndevice = '{}'\ndelimiter = 'space'\n\
         columns = ['t', 'ax', 'ay', 'az']\naccel_unit = 'g'\nmounting_rpy_deg = [0, 0, 90]\n",
        broker.address().port,
        autopilot.display(),
        sketch.display(),
    );
    let filter = "perceptd/v1/default/wired/#".to_owned();
    let mut ears = Subscriber::new(SubscriberSettings { broker: BrokerAccess::plain(broker.address()), filter });
    let daemon = Daemon::start(&config(folder.path(), &text));
    // Plugged in late: it is found all the same, and the daemon does not inherit the other ends of its own ports.
    let devices = Devices::start(plug(&autopilot), plug(&sketch), router);

    let mut rows = BTreeMap::new();
    hear(&mut ears, "each of three IMUs", |heard| {
        if let Heard::Embedding(embedding) = heard {
            assert_eq!(embedding.modality, "imu");
            rows.insert(embedding.sensor, embedding.measured_rows);
        }
        (rows.len() == 3).then_some(())
    })
    .await;
    // The sketch has no gyroscope, and says so.
    let expected = [("autopilot", 0b111_111), ("router", 0b111_111), ("sketch", 0b111)];
    assert_eq!(rows, expected.map(|(sensor, rows)| (sensor.to_owned(), rows)).into());

    drop(devices.sketch.lock().unwrap().take());
    let state = |heard: Heard| match heard {
        Heard::Health(health) => health.sensors.into_iter().find(|sensor| sensor.sensor == "sketch"),
        _ => None,
    };
    let lost = hear(&mut ears, "the loss", |heard| state(heard).filter(|sensor| sensor.state == "lost")).await;
    assert!(lost.reason.contains("is gone (pulled out"), "{}", lost.reason);
    // The others go on, and the lost one comes back.
    let before = hear(&mut ears, "the autopilot", |heard| embedding_of(heard, "autopilot")).await;
    *devices.sketch.lock().unwrap() = Some(plug(&sketch));
    let found = hear(&mut ears, "the sketch", |heard| {
        embedding_of(heard, "sketch").filter(|embedding| embedding.window_index > before.window_index)
    })
    .await;
    assert_eq!(found.measured_rows, 0b111);

    let output = daemon.stop();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
