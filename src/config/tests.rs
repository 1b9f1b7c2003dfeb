//! Whole configs: what they resolve to, and what is said about wrong ones.

use std::path::Path;

use super::*;
use crate::encoders::ModalityFacts;
use crate::modality::{Modality, SensorId};
use crate::prompts::PartSource;
use crate::publish::{BrokerAddress, PublishSettings};
use crate::sensors::wire::{ArrayElement, TextColumn};
use crate::sensors::{
    DriverSettings, ImuDriver, ImuSettings, MavlinkLine, MavlinkSettings, MicrophoneSettings, Mounting,
    ThermalArrayDriver,
};

/// A folder as configs point to: a pack whose manifest has windows, a sound, a picture, a recording.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for inner in ["reference", "prompts"] {
        std::fs::create_dir(folder.path().join(inner)).unwrap();
    }
    std::fs::write(folder.path().join("reference/pack.toml"), "[audio]\nwindow_secs = 2.0\n[imu]\nwindow_secs = 5\n")
        .unwrap();
    for file in ["prompts/dog.ogg", "prompts/night.jpg", "demo.mcap"] {
        std::fs::write(folder.path().join(file), "").unwrap();
    }
    folder
}

const LEAST: &str = "[robot]\nname = 'a'\n[pack]\npath = 'reference'\n[sensors.mic]\ndriver = 'microphone'\n";

fn problems(text: &str) -> Vec<String> {
    let folder = folder();
    let Err(problems) = Settings::from_text(text, folder.path()) else { return Vec::new() };
    let place = format!("{}/", folder.path().display());
    problems.iter().map(|problem| problem.to_string().replace(&place, "")).collect()
}

#[test]
fn the_least_config_has_the_defaults() {
    let folder = folder();
    let settings = Settings::from_text(LEAST, folder.path()).unwrap();
    let broker = BrokerAddress { host: "localhost".to_owned(), port: 1883 };
    assert_eq!(settings.publish().unwrap(), PublishSettings::new(broker, "default", "a"));
    assert_eq!(settings.events, crate::events::Settings::default());
    assert_eq!(settings.detect, crate::detect::Settings::default());
    assert_eq!(settings.joint, JointRule::default());
    assert_eq!(settings.log, LogLevel::Info);
    assert_eq!(settings.pack, folder.path().join("reference"));
    let SourceSettings::Sensors(sensors) = &settings.source else { panic!() };
    assert_eq!(settings.windows.of(&sensors[0].id, Modality::Audio), 0.5);
    let expected = DriverSettings::Microphone(MicrophoneSettings { silence_secs: 60, ..Default::default() });
    assert_eq!((&sensors[0].driver, sensors[0].time_offset_ms), (&expected, 0.0));
}

#[test]
fn a_slow_device_is_waited_for_before_it_counts_as_lost() {
    let stale_secs = |more: &str| {
        let folder = folder();
        let settings = Settings::from_text(&format!("{LEAST}[sensors.c]\n{more}"), folder.path()).unwrap();
        settings.stale_secs(&SensorId::new("c").unwrap(), Modality::Image)
    };
    assert_eq!(stale_secs("driver = 'nokhwa'\n"), 5.0);
    assert_eq!(stale_secs("driver = 'nokhwa'\nrate_hz = 0.1\n"), 30.2);
    assert_eq!(stale_secs("driver = 'nokhwa'\nrate_hz = 0.1\nhop_secs = 20\n"), 60.2);
    // Nobody knows when the next picture is put there.
    assert_eq!(stale_secs("driver = 'folder'\npath = 'prompts'\n"), 5.0);
}

#[test]
fn five_mistakes_get_five_messages() {
    let text = "[robot]\nname = 'Rover 7'\n[pack]\npath = 'refrence'\n[mqtt]\nprot = 1883\n\
                [sensors.front]\ndriver = 'v4l2'\ndevice = '/dev/video0'\n[[prompts]]\nid = 'dog'\naudio = 'dgo.ogg'\np_false = 2\n";
    assert_eq!(
        problems(text),
        [
            "line 2: robot.name: \"Rover 7\" cannot stand in a topic: use 1 to 32 of a-z, 0-9, `_`, `-`",
            "line 4: pack.path: refrence is no folder (a relative path counts from the config's folder)",
            "line 6: mqtt.prot: unknown key; did you mean `port`?",
            "line 8: sensors.front.driver: `v4l2` is not known; did you mean `v4l`?",
            "line 13: prompts[0].p_false: expected a number from 0.000001 to 0.5, found 2",
        ]
    );
}

#[test]
fn an_empty_config_says_what_is_needed() {
    assert_eq!(
        problems(""),
        [
            "robot: `name` is missing: the robot's name, unique in its fleet",
            "pack: `path` is missing: the model pack's folder",
            "`sensors` is missing: add a [sensors.<name>] section, or [replay] with a recording",
        ]
    );
}

#[test]
fn each_mistake_is_named() {
    let cases = [
        ("[robots]\n", "line 7: robots: unknown key; did you mean `robot`?"),
        (
            "[mqtt]\nhost = 'mqtt://broker'\n",
            "line 8: mqtt.host: \"mqtt://broker\" is an address of the web: give the host alone, and its `port`",
        ),
        ("[mqtt]\nhost = 'broker:1883'\n", "line 8: mqtt.host: \"broker:1883\" holds a port: give it as `port`"),
        ("[mqtt]\nport = 0\n", "line 8: mqtt.port: expected a whole number from 1 to 65535, found 0"),
        ("[mqtt]\nversion = '3.1'\n", "line 8: mqtt.version: `3.1` is not known; known: auto, 5, 3.1.1"),
        (
            "[mqtt]\nwebsocket_path = 'ws://broker/mqtt'\n",
            "line 8: mqtt.websocket_path: \"ws://broker/mqtt\" is no path: it begins with `/`, as in \"/mqtt\", and has neither \
             spaces nor `#`",
        ),
        (
            "[mqtt]\nhost = 'fe80::1%eth0'\nwebsocket_path = '/mqtt'\n",
            "line 7: mqtt: neither `websocket_path` nor TLS goes with an address that has a zone (`%`)",
        ),
        (
            "[windows]\naudio_hop_secs = 2.5\n",
            "windows.audio_hop_secs: 2.5 is longer than the pack's window for audio, 2",
        ),
        ("hop_secs = 3\n", "sensors.mic.hop_secs: 3 is longer than the pack's window for audio, 2"),
        ("rate_hz = 3\n", "line 7: sensors.mic.rate_hz: unknown key; did you mean `sample_rate_hz`?"),
        (
            "[sensors.B]\ndriver = 'nokhwa'\n",
            "line 7: sensors.B: \"B\" cannot stand in a topic: use 1 to 32 of a-z, 0-9, `_`, `-`",
        ),
        (
            "[sensors.c]\ndriver = 'v4l'\n",
            "line 7: sensors.c: `device` is missing: a camera such as /dev/v4l/by-id/… or /dev/video0",
        ),
        (
            "[sensors.c]\ndriver = 'nokhwa'\nwidth_px = 1\n",
            "line 9: sensors.c.width_px: expected a whole number from 32 to 8192, found 1",
        ),
        (
            "[sensors.c]\ndriver = 'v4l_thermal'\ndevice = 'x'\nmin_celsius = 50\nmax_celsius = 20\n",
            "line 7: sensors.c: `min_celsius`, 50, is not below `max_celsius`, 20",
        ),
        (
            "[sensors.c]\ndriver = 'v4l_thermal'\ndevice = 'x'\nmarker_rows = 2\n",
            "line 10: sensors.c.marker_rows: unknown key; known: enabled, hop_secs, time_offset_ms, driver, layout, device, \
             width_px, height_px, rate_hz, telemetry_rows, kelvin_per_step, radiometric, min_celsius, max_celsius",
        ),
        (
            "[sensors.a]\ndriver = 'v4l'\ndevice = '/dev/video0'\n[sensors.b]\ndriver = 'v4l_depth'\ndevice = '/dev/video0'\n",
            "line 10: sensors.b: its device is that of `a` too, and only one of them can open it",
        ),
        (
            "[sensors.c]\ndriver = 'command'\noutput = 's16le'\ncommand = []\n",
            "line 7: sensors.c: `command` names no program",
        ),
        (
            "[sensors.c]\ndriver = 'command'\noutput = 'nv12'\ncommand = ['x']\nwidth_px = 33\nheight_px = 32\n",
            "line 7: sensors.c: frames in nv12 have even sides",
        ),
        (
            "[sensors.c]\ndriver = 'command'\noutput = 's16le'\ncommand = ['x']\nchannel = 1\n",
            "line 7: sensors.c: `channel` is 1, but there are 1, counted from 0",
        ),
        (
            "[sensors.c]\ndriver = 'http_mjpeg'\nurl = 'rtsp://cam/1'\n",
            "line 9: sensors.c.url: `rtsp://cam/1` is no http:// address (for https:// or rtsp:// let ffmpeg read it in \
             a `command` source)",
        ),
        (
            "[sensors.c]\ndriver = 'http_mjpeg'\nurl = 'http://cam'\nusername = 'me'\n",
            "line 7: sensors.c: `username` and `password_file` go together",
        ),
        ("[sensors.c]\ndriver = 'folder'\n", "line 7: sensors.c: `path` is missing: a folder of JPEG or PNG pictures"),
        (
            "[sensors.c]\n",
            "line 7: sensors.c: `driver` is missing: one of v4l, v4l_thermal, v4l_depth, nokhwa, folder, http_mjpeg, \
             command, microphone, witmotion, mavlink, iio, text_line, vectornav, xsens, bno08x_rvc, gy_mcu90640, serial_array",
        ),
        (
            "[sensors.i]\ndriver = 'mavlink'\nudp = 'localhost'\n",
            "line 9: sensors.i.udp: \"localhost\" is no address and port: such as 0.0.0.0:14550, or [::]:14550",
        ),
        (
            "[sensors.i]\ndriver = 'mavlink'\nudp = '[::]:14550'\nbaud = 9600\n",
            "line 7: sensors.i: `udp` stands in the place of `device` and `baud`: leave one of them out",
        ),
        (
            "[sensors.i]\ndriver = 'mavlink'\n",
            "line 7: sensors.i: `device` is missing: a serial port such as /dev/serial/by-id/…",
        ),
        (
            "[sensors.i]\ndriver = 'xsens'\ndevice = '/dev/x'\nmounting_rpy_deg = [0, 90]\n",
            "line 10: sensors.i.mounting_rpy_deg: expected 3 numbers from -360 to 360 in brackets, found a list",
        ),
        (
            "[sensors.i]\ndriver = 'iio'\ndevice = 'mpu6050'\ntrigger = 'tick'\n",
            "line 7: sensors.i: `trigger` without `buffered = true`: only buffers have one",
        ),
        (
            "[sensors.i]\ndriver = 'text_line'\ndevice = '/dev/x'\ncolumns = ['ax', 'ay', 'az', 'gxx']\n",
            "line 10: sensors.i.columns: `gxx` is no column; did you mean `gx`?",
        ),
        (
            "[sensors.i]\ndriver = 'text_line'\ndevice = '/dev/x'\ncolumns = ['ax', 'ay', 'az', 'gx']\n",
            "line 7: sensors.i: `columns`: \"gx\", \"gy\" and \"gz\" must each be there once, or none of them",
        ),
        (
            "[sensors.i]\ndriver = 'text_line'\ndevice = '/dev/x'\ndelimiter = ', '\n",
            "line 10: sensors.i.delimiter: \", \" is no delimiter: one character, or \"space\" for any white space",
        ),
        (
            "[sensors.h]\ndriver = 'serial_array'\ndevice = '/dev/x'\nheader = 'ABC'\nwidth_px = 8\nheight_px = 8\n",
            "line 10: sensors.h.header: \"ABC\" is no row of bytes: two hexadecimal digits each, such as \"AA BB CC DD\"",
        ),
        (
            "[sensors.h]\ndriver = 'serial_array'\ndevice = '/dev/x'\nheader = 'AB'\nwidth_px = 8\n",
            "line 7: sensors.h: `height_px` is missing: the pixels of a side of the array",
        ),
        (
            "[sensors.i]\ndriver = 'vectornav'\ndevice = '/dev/x'\nbaud = 115201\n",
            "line 7: sensors.i: `baud` is 115201: serial ports run at one of [9600, 19200, 38400, 57600, 115200, 230400, 460800, \
             500000, 921600, 1000000, 1500000, 2000000, 3000000, 4000000]",
        ),
        ("[replay]\nrecording = 'demo.mcap'\n", "[replay] stands in the place of [sensors]: leave one of them out"),
        (
            "[[prompts]]\ntext = 'dog'\n",
            "line 7: prompts[0]: `id` is missing: a short name, which stands in the topic of its events",
        ),
        ("[[prompts]]\nid = 'a'\n", "line 7: prompts[0]: made of nothing: give `audio`, `image` or `text`, or `parts`"),
        (
            "[[prompts]]\nid = 'live'\ntext = 'dog'\n",
            "line 8: prompts[0].id: \"live\" is taken: event/live/… means something else",
        ),
        ("[[prompts]]\nid = 'a'\ntext = 'dog'\nin = ['text']\n", "line 10: prompts[0].in: no sensor reads text"),
        (
            "[[prompts]]\nid = 'a'\ntext = 'dog'\nin = ['sound']\n",
            "line 10: prompts[0].in: \"sound\" is no sense; known: image, audio, thermal, depth, imu",
        ),
        (
            "[[prompts]]\nid = 'a'\ntext = 'dog'\nin = ['depth']\n",
            "line 7: prompts[0]: no sensor serves any of the senses in `in`: it would never be found",
        ),
        (
            "[[prompts]]\nid = 'a'\ntext = 'dog'\np_false = 0.6\n",
            "line 10: prompts[0].p_false: expected a number from 0.000001 to 0.5, found 0.6",
        ),
        (
            "[[prompts]]\nid = 'a'\nparts = [{ weight = 1 }]\n",
            "line 9: prompts[0].parts[0]: names no `audio`, `image` or `text`",
        ),
        (
            "[[prompts]]\nid = 'a'\nparts = [{ text = 'b', weight = -1 }]\n",
            "line 9: prompts[0].parts[0].weight: expected a number from 0.001 to 1000, found -1",
        ),
        (
            "[joint]\nweights = { imu = -0.5 }\n",
            "line 8: joint.weights.imu: expected a number from 0 to 1000, found -0.5",
        ),
        ("[events]\nmedian_windows = 4\n", "line 7: events: `median_windows` is 4: a median needs an odd number"),
        (
            "[log]\nlevel = 'verbose'\n",
            "line 8: log.level: `verbose` is not known; known: error, warn, info, debug, trace",
        ),
    ];
    for (added, expected) in cases {
        assert_eq!(problems(&format!("{LEAST}{added}")), [expected], "{added}");
    }
}

#[test]
fn wires_resolve_to_what_they_say() {
    let folder = folder();
    let text = format!(
        "{LEAST}[sensors.a]\ndriver = 'mavlink'\nudp = '0.0.0.0:14550'\nrate_hz = 0\nmounting_rpy_deg = [180, 0, 0]\n\
         [sensors.b]\ndriver = 'text_line'\ndevice = '/dev/b'\ndelimiter = 'space'\naccel_unit = 'mg'\ntime_unit = 'us'\n\
         gyro_unit = 'degps'\ngyro_scale = 0.5\ncolumns = ['t', '_', 'az', 'ay', 'ax', 'gx', 'gy', 'gz']\n\
         [sensors.c]\ndriver = 'serial_array'\ndevice = '/dev/c'\nheader = 'aa 0B'\nwidth_px = 8\nheight_px = 4\n\
         element = 'u16'\nbyte_order = 'big'\ncelsius_per_unit = 0.01\ncelsius_at_zero = -273.15\ntrailer_bytes = 2\n"
    );
    let settings = Settings::from_text(&text, folder.path()).unwrap();
    let SourceSettings::Sensors(sensors) = settings.source else { panic!() };
    let driver = |name: &str| &sensors.iter().find(|sensor| sensor.id.as_str() == name).unwrap().driver;
    let line = MavlinkLine::Udp("0.0.0.0:14550".to_owned());
    let mavlink = MavlinkSettings { line, system_id: None, asked_rate_hz: None };
    let mounting = Mounting::from_rpy_deg([180.0, 0.0, 0.0]);
    assert_eq!(driver("a"), &DriverSettings::Imu(ImuSettings { driver: ImuDriver::Mavlink(mavlink), mounting }));
    let DriverSettings::Imu(ImuSettings { driver: ImuDriver::TextLine(port, lines), .. }) = driver("b") else {
        panic!()
    };
    assert_eq!((port.device.as_str(), port.baud, lines.delimiter), ("/dev/b", 115_200, ' '));
    let [of_accel, of_gyro, of_time] = [lines.accel_mps2_per_unit, lines.gyro_radps_per_unit, lines.nanos_per_unit];
    assert!((of_accel - 0.009_806_65).abs() < 1e-9 && (of_gyro - 0.5f64.to_radians()).abs() < 1e-12);
    assert_eq!(of_time, 1000.0);
    use TextColumn::{Accel, Gyro, Ignored, Time};
    assert_eq!(lines.columns, [Time, Ignored, Accel(2), Accel(1), Accel(0), Gyro(0), Gyro(1), Gyro(2)]);
    let DriverSettings::ThermalArray(ThermalArrayDriver::SerialArray(_, array)) = driver("c") else { panic!() };
    assert_eq!((&array.header[..], array.element, array.big_endian), (&[0xAA, 0x0B][..], ArrayElement::U16, true));
    assert_eq!((array.frame_bytes(), array.valid_celsius.clone()), (2 + 64 + 2, -40.0..=300.0));
}

#[test]
fn names_are_unique() {
    let twice = "[[prompts]]\nid = 'a'\ntext = 'dog'\n".repeat(2);
    assert_eq!(problems(&format!("{LEAST}{twice}")), ["line 10: prompts[1]: a second prompt with the id \"a\""]);
    assert_eq!(problems(&format!("{LEAST}[sensors.mic]\ndriver = 'nokhwa'\n")).len(), 1);
}

#[test]
fn after_a_syntax_error_the_rest_is_still_checked() {
    let found = problems(
        "[robot]\nname 'a'\n[pack]\npath = 'reference'\n[mqtt]\nport = 'x'\n[sensors.mic]\ndriver = 'microphone'\n",
    );
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].starts_with("line 2: not TOML: "), "{found:#?}");
    assert!(found[1].starts_with("line 6: mqtt.port: "), "{found:#?}");
}

#[test]
fn prompts_are_sums_of_parts() {
    let folder = folder();
    let text = format!(
        "{LEAST}[[prompts]]\nid = 'x'\nparts = [{{ audio = 'prompts/dog.ogg', weight = 0.5 }}, {{ text = 'at night' }}]\n"
    );
    let settings = Settings::from_text(&text, folder.path()).unwrap();
    let parts: Vec<_> = settings.prompts[0].parts.iter().map(|part| (part.source.clone(), part.weight)).collect();
    let dog = PartSource::AudioFile(folder.path().join("prompts/dog.ogg"));
    assert_eq!(parts, [(dog, 0.5), (PartSource::Text("at night".to_owned()), 1.0)]);
    assert_eq!(settings.prompts[0].modalities, [Modality::Image, Modality::Audio]);
}

#[test]
fn the_password_is_read_when_it_is_needed() {
    let folder = folder();
    let text = format!("{LEAST}[mqtt]\nusername = 'me'\npassword_file = 'password'\n");
    let settings = Settings::from_text(&text, folder.path()).unwrap();
    assert!(matches!(settings.publish(), Err(ConfigError::Secret { .. })));
    std::fs::write(folder.path().join("password"), "secret\n").unwrap();
    let credentials = settings.publish().unwrap().broker.credentials.unwrap();
    assert_eq!((credentials.username.as_str(), credentials.password.as_str()), ("me", "secret"));
}

#[test]
fn the_pack_and_the_config_make_windows_and_weights_together() {
    let folder = folder();
    let text = format!("{LEAST}hop_secs = 0.25\n[joint.weights]\nimu = 0\n");
    let settings = Settings::from_text(&text, folder.path()).unwrap();
    let facts =
        ModalityFacts { window_secs: 2.0, rate_hz: 16_000.0, joint_weight: 0.8, validated: true, logit_scale: 20.0 };
    let mic = SensorId::new("mic").unwrap();
    let window = settings.window(&mic, Modality::Audio, &facts);
    assert_eq!((window.window_secs, window.hop_secs, window.lateness_secs), (2.0, 0.25, 0.2));
    let joint = settings.joint(Modality::Audio, std::slice::from_ref(&mic), &facts);
    assert_eq!((joint.weight, joint.horizon_secs), (0.8, 1.0));
    assert_eq!(settings.joint(Modality::Imu, &[mic], &facts).weight, 0.0);
}

#[test]
fn for_a_replay_the_command_line_says_what_is_replayed() {
    let folder = folder();
    let config = folder.path().join("perceptd.toml");
    let pack = folder.path().join("reference");
    let open = |text: &str| {
        std::fs::write(&config, text).unwrap();
        Settings::open_for_replay(&config, Path::new("drive.mcap"), &pack).map_err(|error| error.to_string())
    };
    let prompt = "[[prompts]]\nid = 'dog'\ntext = 'dog'\n";
    let topic = "[replay.topics.front]\ntopic = '/camera'\n";
    for (text, topics) in [("", 0), (prompt, 0), (topic, 1), ("[replay]\nrecording = 'gone.mcap'\n", 0)] {
        let settings = open(text).unwrap();
        let SourceSettings::Replay(replay) = &settings.source else { panic!("{text}") };
        assert_eq!((replay.recording.as_path(), replay.topics.len()), (Path::new("drive.mcap"), topics), "{text}");
        assert_eq!(settings.pack, pack);
    }
    assert!(matches!(open(LEAST).unwrap().source, SourceSettings::Sensors(_)));
    let unserved = format!("{LEAST}[[prompts]]\nid = 'warm'\ntext = 'dog'\nin = ['thermal']\n");
    assert!(Settings::from_text(&unserved, folder.path()).is_err());
    assert_eq!(open(&unserved).unwrap().prompts.len(), 1, "the recording may have what serves it");
    for (text, words) in [
        (&format!("{topic}modality = 'smell'\n"), "`smell` is not known"),
        (&format!("{topic}[replay.topics.rear]\ntopic = '/camera'\n"), "/camera is named `front` and `rear`"),
        (&"[pack]\npath = 'gone'\n".to_owned(), "gone is no folder"),
    ] {
        let told = open(text).unwrap_err();
        assert!(told.contains(words) && told.contains("has 1 problem"), "{told}");
    }
}

#[test]
fn for_a_recording_a_pack_and_a_name_are_not_needed() {
    let folder = folder();
    let config = folder.path().join("perceptd.toml");
    let open = |text: &str| {
        std::fs::write(&config, text).unwrap();
        Settings::open_for_record(&config).map_err(|error| error.to_string())
    };
    let mic = "[sensors.mic]\ndriver = 'microphone'\n";
    for pack in ["", "[pack]\n", "[pack]\npath = 'gone'\n"] {
        let settings = open(&format!("{pack}{mic}")).unwrap();
        assert!(matches!(settings.source, SourceSettings::Sensors(sensors) if sensors.len() == 1), "{pack}");
    }
    for (text, words) in [
        ("", "sensors"),
        (&format!("[pack]\npth = 'x'\n{mic}"), "pack.pth"),
        ("[robot]\nname = 'A b'\n[sensors.mic]\ndriver = 'microphone'\n", "robot.name"),
    ] {
        let told = open(text).unwrap_err();
        assert!(told.contains(words) && told.contains("has 1 problem"), "{told}");
    }
}

#[test]
fn a_file_that_is_not_there_is_one_clear_error() {
    let error = Settings::open(Path::new("/nowhere/perceptd.toml")).unwrap_err().to_string();
    assert_eq!(error, "cannot read the config /nowhere/perceptd.toml: No such file or directory (os error 2)");
}

#[test]
fn a_config_larger_than_any_config_is_refused_unread() {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(1 << 42).unwrap();
    let pack = Path::new("models/tiny");
    for error in [
        Settings::open(file.path()).unwrap_err(),
        Settings::open_for_replay(file.path(), Path::new("a.mcap"), pack).unwrap_err(),
    ] {
        let told = error.to_string();
        assert!(told.ends_with("it has 4194304 MiB; at most 1 MiB are read"), "{told}");
    }
}

/// `deploy/perceptd.toml` with its paths in `folder` and the lines under these marks in force.
fn reference(folder: &Path, marks: &[&str]) -> String {
    let text = include_str!("../../deploy/perceptd.toml")
        .replace("/usr/share/perceptd/models", "/usr/share/perceptd")
        .replace("/usr/share/perceptd", &folder.display().to_string());
    let in_force = text.lines().map(|line| {
        let unmarked = marks.iter().find_map(|mark| Some((mark, line.strip_prefix(mark)?)));
        // `#key = …` is a default, `# Words` are words.
        let is_key = |rest: &str| rest.starts_with(|c: char| c.is_ascii_lowercase());
        unmarked.filter(|(mark, rest)| **mark != "#" || is_key(rest)).map_or(line, |(_, rest)| rest)
    });
    in_force.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_reference_config_tells_the_defaults() {
    let folder = folder();
    // What is in force needs nothing but the pack.
    std::fs::remove_dir_all(folder.path().join("prompts")).unwrap();
    let as_it_is = Settings::from_text(&reference(folder.path(), &[]), folder.path()).unwrap();
    let spelled_out = reference(folder.path(), &["#"]);
    assert!(spelled_out.contains("\nport = 1883\n") && spelled_out.contains("\nlevel = \"info\""), "{spelled_out}");
    assert_eq!(Settings::from_text(&spelled_out, folder.path()).unwrap(), as_it_is);
}

#[test]
fn the_reference_config_has_every_key() {
    let folder = folder();
    let everything = reference(folder.path(), &["#: ", "#| ", "#"]);
    let findings = problem::Findings::default();
    let tree = document::parse(&everything, &findings);
    let written = keys("", &tree);
    resolve::resolve(tree, folder.path(), &findings);
    let (problems, asked) = findings.into_parts();
    let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(problems, ["[replay] stands in the place of [sensors]: leave one of them out"]);
    let unwritten: Vec<_> = asked.difference(&written).filter(|key| !per_instance(key)).collect();
    assert!(unwritten.is_empty(), "deploy/perceptd.toml lacks {unwritten:?}");
}

/// Keys that are shown with one sensor or prompt and left out with the others.
fn per_instance(key: &str) -> bool {
    let shown = [
        "enabled",
        "time_offset_ms",
        "hop_secs",
        "mounting_rpy_deg",
        "udp",
        "gyro_device",
        "trigger",
        "audio",
        "image",
        "text",
        "parts",
        "in",
        "p_false",
        "negatives",
        "weight",
    ];
    (key.starts_with("sensors.") || key.starts_with("prompts[")) && shown.iter().any(|end| key.ends_with(end))
}

fn keys(path: &str, table: &std::collections::BTreeMap<String, document::Node>) -> std::collections::BTreeSet<String> {
    let mut all = std::collections::BTreeSet::new();
    for (key, node) in table {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match &node.value {
            document::Value::Table(inner) => all.extend(keys(&path, inner)),
            document::Value::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    if let document::Value::Table(inner) = &item.value {
                        all.extend(keys(&format!("{path}[{index}]"), inner));
                    }
                }
            }
            _ => {}
        }
        all.insert(path);
    }
    all
}
