//! What is wrong with a pack, a file or an input gets one clear error, and no panic.

use std::fs;
use std::path::{Path, PathBuf};

use perceptd::cli::embed;
use perceptd::encoders::{Encoders, EncodersError};
use perceptd::media::{Motion, Picture, Plane, Sound};
use perceptd::modality::Modality;
use sha2::{Digest, Sha256};

fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/tiny")
}

/// A copy of the tiny pack that a test may break.
fn copy() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(tiny()).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    folder
}

fn edit(folder: &Path, change: impl Fn(String) -> String) {
    let path = folder.join("pack.toml");
    let (before, after) = (fs::read_to_string(&path).unwrap(), change(fs::read_to_string(&path).unwrap()));
    assert_ne!(before, after, "the edit changed nothing");
    fs::write(path, after).unwrap();
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// Puts other bytes in the place of a file and its digest; the space id is taken from the error that it causes.
fn replace(folder: &Path, file: &str, bytes: &[u8]) {
    let before = sha256(&fs::read(folder.join(file)).unwrap());
    fs::write(folder.join(file), bytes).unwrap();
    edit(folder, |text| text.replace(&before, &sha256(bytes)));
    let why = refused(folder);
    let made = why.split("these files make ").nth(1).and_then(|rest| rest.split(':').next()).expect(&why).to_owned();
    edit(folder, |text| {
        let id = text.split("id = \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap().to_owned();
        text.replace(&id, &made)
    });
}

fn refused(folder: &Path) -> String {
    Encoders::open(folder, &Modality::ALL).err().expect("the pack must be refused").to_string()
}

#[track_caller]
fn says(why: &str, parts: &[&str]) {
    for part in parts {
        assert!(why.contains(part), "`{part}` is not in: {why}");
    }
}

#[test]
fn an_intact_pack_is_accepted_and_its_bank_read() {
    let encoders = Encoders::open(&tiny(), &Modality::ALL).unwrap();
    let bank = encoders.bank().unwrap();
    assert!(encoders.space().starts_with(&format!("p{}-", encoders.dim())));
    assert!(bank.backgrounds.iter().all(|(_, rows)| rows.iter().all(|row| row.len() == encoders.dim())));
    assert!(!bank.background_maps.is_empty() && !bank.cohorts.is_empty());
    let picture = Picture { width: 64, height: 48, rgb: vec![100; 64 * 48 * 3] };
    let map = encoders.map(&picture).unwrap();
    let background = &bank.background_maps[0];
    assert_eq!((map.rows, map.cols, map.dim), (background.rows, background.cols, background.dim));
}

#[test]
fn a_folder_without_manifest_is_refused() {
    says(&refused(Path::new("/nonexistent")), &["/nonexistent/pack.toml", "cannot be read"]);
}

#[test]
fn a_damaged_file_is_refused_by_its_digest() {
    let folder = copy();
    let mut bytes = fs::read(folder.path().join("text.onnx")).unwrap();
    bytes[100] ^= 1;
    fs::write(folder.path().join("text.onnx"), bytes).unwrap();
    says(&refused(folder.path()), &["text.onnx", "SHA-256", "copy the pack anew"]);
    // Also when nothing needs that file now.
    let why = Encoders::open(folder.path(), &[Modality::Imu]).err().unwrap().to_string();
    says(&why, &["text.onnx", "SHA-256"]);
}

#[test]
fn a_missing_file_is_named() {
    let folder = copy();
    fs::remove_file(folder.path().join("audio.onnx")).unwrap();
    says(&refused(folder.path()), &["audio.onnx", "cannot be read"]);
}

#[test]
fn a_device_in_the_place_of_a_file_is_not_waited_for() {
    for (file, others_only) in
        [("pack.toml", false), ("bank.safetensors", false), ("audio.onnx", false), ("audio.onnx", true)]
    {
        let folder = copy();
        fs::remove_file(folder.path().join(file)).unwrap();
        std::os::unix::fs::symlink("/dev/zero", folder.path().join(file)).unwrap();
        let wanted: &[Modality] = if others_only { &[Modality::Imu] } else { &Modality::ALL };
        let why = Encoders::open(folder.path(), wanted).err().unwrap().to_string();
        says(&why, &[file, "a device or a pipe"]);
    }
}

#[test]
fn an_unknown_key_is_named() {
    let folder = copy();
    edit(folder.path(), |text| text.replace("[audio]\n", "[audio]\nwindow_sec = 2.0\n"));
    says(&refused(folder.path()), &["pack.toml", "window_sec"]);
}

#[test]
fn a_wrong_space_id_is_refused() {
    let folder = copy();
    edit(folder.path(), |text| text.replacen("id = \"p", "id = \"q", 1));
    says(&refused(folder.path()), &["space.id", "these files make"]);
}

#[test]
fn a_wrong_digest_names_its_file() {
    for file in ["bank.safetensors", "text.onnx"] {
        let folder = copy();
        let digest = sha256(&fs::read(folder.path().join(file)).unwrap());
        edit(folder.path(), |text| text.replace(&digest, &"0".repeat(64)));
        says(&refused(folder.path()), &[file, &digest, "but pack.toml states 000"]);
    }
}

#[test]
fn a_pack_of_another_format_is_told_what_to_take() {
    let folder = copy();
    edit(folder.path(), |text| text.replacen("format = 2", "format = 1", 1));
    says(&refused(folder.path()), &["pack.toml", "format = 1", "reads format 2", "take the pack that came with it"]);
}

#[test]
fn a_truncated_model_with_a_matching_digest_is_refused() {
    for share in [2, 3, 50] {
        let folder = copy();
        let bytes = fs::read(folder.path().join("image.onnx")).unwrap();
        replace(folder.path(), "image.onnx", &bytes[..bytes.len() / share]);
        says(&refused(folder.path()), &["image.onnx", "no readable ONNX file"]);
    }
}

#[test]
fn a_model_of_another_shape_is_refused() {
    let folder = copy();
    let other = fs::read(folder.path().join("imu.onnx")).unwrap();
    replace(folder.path(), "audio.onnx", &other);
    says(&refused(folder.path()), &["audio.onnx", "manifest"]);
}

#[test]
fn sensors_without_an_encoder_are_named_at_the_start() {
    let folder = copy();
    edit(folder.path(), |text| {
        let section = |name: &str| text.split_once(&format!("[{name}]\n")).unwrap();
        format!("{}[audio]\n{}", section("thermal").0, section("audio").1)
    });
    let config = folder.path().join("perceptd.toml");
    let text = "[robot]\nname = 'a'\n[pack]\npath = 'PACK'\n[sensors.mic]\ndriver = 'microphone'\n\
                [sensors.heat]\ndriver = 'gy_mcu90640'\ndevice = '/dev/absent-port'\n\
                [sensors.far]\ndriver = 'v4l_depth'\ndevice = '/dev/absent-camera'\n";
    fs::write(&config, text.replace("PACK", folder.path().to_str().unwrap())).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_perceptd"));
    let output = command.args(["run", "--config"]).arg(&config).output().unwrap();
    let (told, pack) = (String::from_utf8_lossy(&output.stderr).into_owned(), folder.path().display());
    let lacks = |sensor: &str, sense: &str| format!("sensors.{sensor}: the model pack {pack} has no {sense} encoder");
    says(&told, &[&format!("perceptd: {}; {}\n", lacks("far", "depth"), lacks("heat", "thermal"))]);
    assert_eq!(output.status.code(), Some(1), "{told}");
}

#[test]
fn bad_input_is_refused_with_its_reason() {
    let encoders = Encoders::open(&tiny(), &Modality::ALL).unwrap();
    let window = |m: Modality| encoders.facts(m).map(|f| (f.window_secs * f.rate_hz) as usize).unwrap();
    let one = Picture { width: 1, height: 1, rgb: vec![0; 3] };
    let holes = Plane { width: 32, height: 32, values: vec![f32::NAN; 1024] };
    let mut motion = vec![0.1; window(Modality::Imu) * 6];
    motion[7] = f32::NAN;
    // Ten minutes at 100 Hz.
    let recorded = |unit: f64| Motion {
        t_secs: (0..60_000).map(|k| f64::from(k) / 100.0 * unit).collect(),
        readings: vec![[0.1; 6]; 60_000],
    };
    let gone_for_a_minute = {
        let mut motion = recorded(1.0);
        motion.t_secs.iter_mut().skip(30_000).for_each(|t| *t += 60.0);
        motion
    };
    let results: Vec<(Result<_, EncodersError>, &str)> = vec![
        (encoders.image(&one), "1 x 1 pixels"),
        (encoders.thermal(&holes), "0 of its 1024"),
        (encoders.depth(&holes), "no pixel has a reading"),
        (encoders.imu(&motion), "value 7 is not a finite number"),
        (encoders.imu(&[0.0; 6]), "6 values instead of"),
        (encoders.motion(&recorded(1e3)), "10.000 s after the one before: t_secs is in seconds"),
        (encoders.motion(&recorded(1e9)), "10000000.000 s after the one before: t_secs is in seconds"),
        (encoders.motion(&gone_for_a_minute), "its reading at t_secs 360 comes 60.010 s after"),
        (encoders.audio(&[]), "0 samples"),
        (encoders.audio(&vec![0.0; window(Modality::Audio) + 1]), "samples instead of"),
        (encoders.sound(&Sound { sample_rate_hz: 16_000, samples: vec![0.0, f32::INFINITY] }), "value 1"),
        (encoders.text(" \t"), "white space"),
    ];
    for (result, reason) in results {
        says(&result.unwrap_err().to_string(), &["cannot embed this", reason]);
    }
    assert!(encoders.map(&one).is_err());
}

#[test]
fn sessions_are_loaded_and_dropped_one_by_one() {
    let mut encoders = Encoders::open(&tiny(), &[Modality::Thermal]).unwrap();
    let picture = Picture { width: 32, height: 32, rgb: (0..32 * 32 * 3).map(|i| i as u8).collect() };
    assert!(matches!(encoders.map(&picture), Err(EncodersError::NotLoaded(Modality::Image))));
    assert!(matches!(encoders.text("dog"), Err(EncodersError::NotLoaded(Modality::Text))));
    encoders.load(Modality::Text).unwrap();
    let before = encoders.text("dog").unwrap();
    encoders.unload(Modality::Text);
    assert!(encoders.text("dog").is_err());
    encoders.load(Modality::Text).unwrap();
    assert_eq!(encoders.text("dog").unwrap(), before);
    // The frame session stays while thermal needs it.
    encoders.load(Modality::Image).unwrap();
    encoders.unload(Modality::Image);
    let plane = Plane { width: 32, height: 32, values: (0..1024).map(|i| i as f32).collect() };
    assert!(encoders.thermal(&plane).is_ok() && encoders.map(&picture).is_err());
}

#[test]
fn the_embed_command_goes_on_after_a_bad_file() {
    let folder = tempfile::tempdir().unwrap();
    let (good, empty) = (folder.path().join("good.png"), folder.path().join("empty.png"));
    let picture = Picture { width: 32, height: 32, rgb: (0..32 * 32 * 3).map(|i| (i * 7) as u8).collect() };
    fs::write(&good, picture.to_png().unwrap()).unwrap();
    fs::write(&empty, []).unwrap();
    let files = [&empty, &good].map(|path| path.to_str().unwrap().to_owned());
    let mut out = Vec::new();
    assert!(!embed::run(&tiny(), Modality::Image, &files, &mut out).unwrap());
    let lines: Vec<serde_json::Value> =
        String::from_utf8(out).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!((lines.len(), lines[0]["file"].as_str()), (1, good.to_str()));
    let length: f64 = lines[0]["vector"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap().powi(2)).sum();
    assert!((length - 1.0).abs() < 1e-5);
    let mut out = Vec::new();
    assert!(embed::run(&tiny(), Modality::Text, &["a dog".to_owned(), "a cat".to_owned()], &mut out).unwrap());
    assert_eq!(String::from_utf8(out).unwrap().lines().count(), 2);
}
