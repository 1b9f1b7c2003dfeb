//! Preprocessing and encoders against the Python recipe: `tests/golden` holds its inputs and results (see its README).

use std::path::{Path, PathBuf};

use perceptd::encoders::preprocess::log_mel::{LogMel, LogMelSettings};
use perceptd::encoders::preprocess::{grey, image, text::TextTokens};
use perceptd::encoders::{Embedding, Encoders};
use perceptd::media::{Picture, Plane, Sound};
use perceptd::modality::Modality;
use safetensors::{Dtype, SafeTensors};

const PICTURES: [&str; 2] = ["wide", "tall"];
const SOUNDS: [&str; 3] = ["chirp", "bell", "knocks"];
/// Published vectors are centred, so this is the centred cosine.
const LEAST_COSINE: f64 = 0.9999;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn golden(file: &str) -> PathBuf {
    root().join("tests/golden").join(file)
}

struct Golden(Vec<u8>);

impl Golden {
    fn open() -> Self {
        Self(std::fs::read(golden("golden.safetensors")).unwrap())
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        SafeTensors::deserialize(&self.0)
            .unwrap()
            .tensor(name)
            .unwrap_or_else(|why| panic!("{name}: {why}"))
            .data()
            .to_vec()
    }

    /// Any numbers as f64.
    fn numbers(&self, name: &str) -> Vec<f64> {
        let tensors = SafeTensors::deserialize(&self.0).unwrap();
        let view = tensors.tensor(name).unwrap_or_else(|why| panic!("{name}: {why}"));
        let data = view.data();
        match view.dtype() {
            Dtype::F32 => data.as_chunks::<4>().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect(),
            Dtype::F64 => data.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
            Dtype::I64 => data.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b) as f64).collect(),
            other => panic!("{name} is {other:?}"),
        }
    }
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    assert_eq!(a.len(), b.len());
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

fn same(name: &str, embedding: &Embedding, golden: &Golden) {
    let vector: Vec<f64> = embedding.vector.iter().copied().map(f64::from).collect();
    let found = cosine(&vector, &golden.numbers(name));
    assert!(found >= LEAST_COSINE, "{name}: cosine {found}");
    assert!((vector.iter().map(|v| v * v).sum::<f64>() - 1.0).abs() < 1e-5, "{name} is not of unit length");
}

fn rows(file: &str, skip: usize) -> Vec<Vec<f32>> {
    let text = std::fs::read_to_string(golden(file)).unwrap();
    text.lines().skip(skip).map(|line| line.split(',').map(|cell| cell.parse().unwrap()).collect()).collect()
}

fn thermal() -> Plane {
    let rows = rows("thermal_celsius.csv", 0);
    Plane { width: rows[0].len() as u32, height: rows.len() as u32, values: rows.concat() }
}

fn depth() -> Plane {
    Plane::open_depth(&golden("depth_millimetres.png")).unwrap().plane
}

#[test]
fn log_mel_is_within_a_thousandth_of_the_recipe() {
    let front_end = LogMel::new(LogMelSettings::IMAGEBIND);
    let golden_file = Golden::open();
    for name in SOUNDS {
        let mut samples = Sound::open(&golden(&format!("{name}.wav"))).unwrap().samples;
        samples.resize(32_000, 0.0);
        let (found, wanted) = (front_end.compute(&samples), golden_file.numbers(&format!("log_mel.{name}")));
        assert_eq!(found.len(), wanted.len());
        // All of it, quiet bins too: sums are in f64.
        let worst = found.iter().zip(&wanted).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
        assert!(worst < 1e-3, "{name}: {worst}");
    }
}

#[test]
fn resized_pixels_equal_pillows() {
    let golden_file = Golden::open();
    for (pack, embed, map) in [("reference", [224, 224], [384, 512]), ("tiny", [64, 64], [96, 128])] {
        for name in PICTURES {
            let picture = Picture::open(&golden(&format!("{name}.png"))).unwrap();
            for (key, made) in [("embed", image::center_crop(&picture, embed)), ("map", image::stretch(&picture, map))]
            {
                let wanted = golden_file.bytes(&format!("{pack}.{key}_pixels.{name}"));
                assert_eq!(made.rgb.len(), wanted.len(), "{pack} {key} {name}");
                let equal = made.rgb.iter().zip(&wanted).filter(|(a, b)| a == b).count() as f64 / wanted.len() as f64;
                assert!(equal >= 0.999, "{pack} {key} {name}: {equal}");
                assert!(made.rgb.iter().zip(&wanted).all(|(a, b)| a.abs_diff(*b) <= 1));
            }
        }
    }
}

#[test]
fn grey_pictures_equal_the_recipes() {
    let golden_file = Golden::open();
    for (key, plane, inverted) in [("thermal", thermal(), false), ("depth", depth(), true)] {
        let stretch = grey::Stretch { low_percentile: 1.0, high_percentile: 99.0, inverted };
        let made: Vec<u8> = grey::picture(&plane, stretch).unwrap().rgb.into_iter().step_by(3).collect();
        let wanted = golden_file.bytes(&format!("grey_pixels.{key}"));
        let equal = made.iter().zip(&wanted).filter(|(a, b)| a == b).count();
        assert!(made.len() == wanted.len() && equal * 1000 >= made.len() * 999, "{key}: {equal} of {}", wanted.len());
    }
}

#[test]
fn bytes_to_vectors_agree_with_onnxruntime() {
    let golden_file = Golden::open();
    for pack in ["reference", "tiny"] {
        let encoders = Encoders::open(&root().join("models").join(pack), &Modality::ALL).unwrap();
        for name in PICTURES {
            let picture = Picture::open(&golden(&format!("{name}.png"))).unwrap();
            same(&format!("{pack}.published.image.{name}"), &encoders.image(&picture).unwrap(), &golden_file);
            check_map(&format!("{pack}.patches.{name}"), &encoders, &picture, &golden_file);
        }
        for name in SOUNDS {
            let sound = Sound::open(&golden(&format!("{name}.wav"))).unwrap();
            same(&format!("{pack}.published.audio.{name}"), &encoders.sound(&sound).unwrap(), &golden_file);
        }
        same(&format!("{pack}.published.thermal"), &encoders.thermal(&thermal()).unwrap(), &golden_file);
        same(&format!("{pack}.published.depth"), &encoders.depth(&depth()).unwrap(), &golden_file);
        let motion = rows("motion.csv", 1);
        // Files may begin with the time of each reading.
        let first = motion[0].len() - 6;
        let axes: Vec<f32> = (first..first + 6).flat_map(|axis| motion.iter().map(move |row| row[axis])).collect();
        same(&format!("{pack}.published.imu"), &encoders.imu(&axes).unwrap(), &golden_file);
        for (line, words) in std::fs::read_to_string(golden("texts.txt")).unwrap().lines().enumerate() {
            same(&format!("{pack}.published.text.{line}"), &encoders.text(words).unwrap(), &golden_file);
        }
    }
}

fn check_map(name: &str, encoders: &Encoders, picture: &Picture, golden: &Golden) {
    let (map, wanted) = (encoders.map(picture).unwrap(), golden.numbers(name));
    let cells = map.rows * map.cols;
    assert_eq!((map.iter().count(), map.dim * cells), (cells, wanted.len()));
    for (place, cell) in map.iter().enumerate() {
        let found: Vec<f64> = cell.iter().copied().map(f64::from).collect();
        let expected: Vec<f64> = wanted.iter().skip(place).step_by(cells).copied().collect();
        assert!(cosine(&found, &expected) >= LEAST_COSINE, "{name}: cell {place}");
    }
}

#[test]
fn tokens_equal_the_recipes() {
    let golden_file = Golden::open();
    for (pack, max_tokens) in [("reference", 32), ("tiny", 16)] {
        let json = std::fs::read(root().join("models").join(pack).join("tokenizer.json")).unwrap();
        let tokens = TextTokens::new(&json, max_tokens).unwrap();
        for (line, words) in std::fs::read_to_string(golden("texts.txt")).unwrap().lines().enumerate() {
            let ids: Vec<f64> = tokens.encode(words).unwrap().ids.iter().map(|id| *id as f64).collect();
            assert_eq!(ids, golden_file.numbers(&format!("{pack}.input_ids.{line}")), "{pack} {words:?}");
        }
    }
}
