//! `bank.safetensors`: modality means, background bank and cohorts.

use safetensors::{Dtype, SafeTensors};
use sha2::{Digest, Sha256};

use super::{BankTensors, PatchMap};
use crate::modality::Modality;

/// Means by modality, and the digest of all of them that enters the space id.
#[derive(Debug, Default)]
pub(super) struct Means {
    by_modality: Vec<(Modality, Vec<f32>)>,
    /// SHA-256 over the `mean.*` tensors, f32 little-endian, in the order of their names.
    pub(super) sha256: String,
}

impl Means {
    /// Reads the means.
    ///
    /// # Errors
    /// When the bytes are no safetensors file, or a mean has another shape than `[dim]`.
    pub(super) fn read(bytes: &[u8], dim: usize) -> Result<Self, String> {
        let tensors = parse(bytes)?;
        let mut names: Vec<&str> = tensors.names().into_iter().filter(|name| name.starts_with("mean.")).collect();
        names.sort_unstable();
        let (mut by_modality, mut sha256) = (Vec::new(), Sha256::new());
        for name in names {
            let (shape, values) = floats(&tensors, name)?;
            if shape != [dim] {
                return Err(format!("`{name}` has shape {shape:?} instead of [{dim}]"));
            }
            let modality = modality_of(name)?;
            values.iter().for_each(|v| sha256.update(v.to_le_bytes()));
            by_modality.push((modality, values));
        }
        Ok(Self { by_modality, sha256: hex(&sha256.finalize()) })
    }

    /// The mean of one modality.
    pub(super) fn of(&self, modality: Modality) -> Option<&[f32]> {
        self.by_modality.iter().find(|(m, _)| *m == modality).map(|(_, mean)| mean.as_slice())
    }
}

/// Reads everything but the means. `grid` is the map's rows and columns.
///
/// # Errors
/// When the bytes are not what the contract says.
pub(super) fn read(
    bytes: &[u8],
    revision: u32,
    dim: usize,
    grid: Option<(usize, usize)>,
) -> Result<BankTensors, String> {
    let tensors = parse(bytes)?;
    let mut bank = BankTensors { revision, ..BankTensors::default() };
    for modality in Modality::ALL {
        for (name, list) in [("background", &mut bank.backgrounds), ("cohort", &mut bank.cohorts)] {
            let name = format!("{name}.{modality}");
            if tensors.tensor(&name).is_ok() {
                list.push((modality, rows(&tensors, &name, dim)?));
            }
        }
    }
    if tensors.tensor("background.map").is_ok() {
        let grid = grid.ok_or("it holds `background.map`, but the pack has no [image] encoder")?;
        bank.background_maps = maps(&tensors, dim, grid)?;
    }
    Ok(bank)
}

fn maps(tensors: &SafeTensors, dim: usize, (rows, cols): (usize, usize)) -> Result<Vec<PatchMap>, String> {
    let (shape, frames) = scaled(tensors, "background.map")?;
    if !matches!(shape.as_slice(), [_, cells, d] if *cells == rows * cols && *d == dim) {
        let cells = rows * cols;
        return Err(format!("`background.map` is {shape:?} instead of [n, {cells}, {dim}] for image.map_size"));
    }
    Ok(frames.into_iter().map(|cells| PatchMap { rows, cols, dim, cells }).collect())
}

/// Shape and rows of an i8 tensor, each multiplied by its number in `<name>.scale`.
fn scaled(tensors: &SafeTensors, name: &str) -> Result<(Vec<usize>, Vec<Vec<f32>>), String> {
    let view = tensors.tensor(name).map_err(|why| format!("`{name}`: {why}"))?;
    let (shape, row) = (view.shape().to_vec(), view.shape().iter().skip(1).product::<usize>());
    if view.dtype() != Dtype::I8 {
        return Err(format!("`{name}` is {:?} instead of I8", view.dtype()));
    }
    let (scale_shape, scales) = floats(tensors, &format!("{name}.scale"))?;
    if scale_shape.first() != shape.first() || scale_shape.len() != 1 {
        return Err(format!("`{name}.scale` has shape {scale_shape:?}, but `{name}` {shape:?}"));
    }
    let decode = |(bytes, scale): (&[u8], &f32)| bytes.iter().map(|b| f32::from(b.cast_signed()) * scale).collect();
    Ok((shape, view.data().chunks_exact(row.max(1)).zip(&scales).map(decode).collect()))
}

fn parse(bytes: &[u8]) -> Result<SafeTensors<'_>, String> {
    SafeTensors::deserialize(bytes).map_err(|why| format!("it is no readable safetensors file ({why})"))
}

fn rows(tensors: &SafeTensors, name: &str, dim: usize) -> Result<Vec<Vec<f32>>, String> {
    match scaled(tensors, name)? {
        (shape, rows) if matches!(shape.as_slice(), [_, d] if *d == dim) => Ok(rows),
        (shape, _) => Err(format!("`{name}` has shape {shape:?} instead of [n, {dim}]")),
    }
}

/// Shape and values of an f32 tensor, all finite.
fn floats(tensors: &SafeTensors, name: &str) -> Result<(Vec<usize>, Vec<f32>), String> {
    let view = tensors.tensor(name).map_err(|why| format!("`{name}`: {why}"))?;
    if view.dtype() != Dtype::F32 {
        return Err(format!("`{name}` is {:?} instead of F32", view.dtype()));
    }
    let values: Vec<f32> = view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    if values.iter().any(|v| !v.is_finite()) {
        return Err(format!("`{name}` holds a value that is not finite"));
    }
    Ok((view.shape().to_vec(), values))
}

fn modality_of(name: &str) -> Result<Modality, String> {
    let word = name.rsplit_once('.').map_or(name, |(_, word)| word);
    word.parse().map_err(|why| format!("`{name}`: {why}"))
}

/// Lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::tensor::TensorView;

    fn file(tensors: &[(&str, Dtype, &[usize], Vec<u8>)]) -> Vec<u8> {
        let views = tensors.iter().map(|(name, dtype, shape, data)| {
            (name.to_string(), TensorView::new(*dtype, shape.to_vec(), data).unwrap())
        });
        safetensors::serialize(views, None).unwrap()
    }

    fn f32s(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    #[test]
    fn means_and_maps_are_read() {
        let bytes = file(&[
            ("mean.text", Dtype::F32, &[2], f32s(&[3.0, 4.0])),
            ("mean.image", Dtype::F32, &[2], f32s(&[1.0, 2.0])),
            ("background.audio", Dtype::I8, &[2, 2], vec![127, 0, 0, 64]),
            ("background.audio.scale", Dtype::F32, &[2], f32s(&[1.0 / 127.0, 1.0 / 64.0])),
            ("background.map", Dtype::I8, &[1, 2, 2], vec![1, 2, 255, 4]),
            ("background.map.scale", Dtype::F32, &[1], f32s(&[0.5])),
        ]);
        let means = Means::read(&bytes, 2).unwrap();
        assert_eq!((means.of(Modality::Image), means.of(Modality::Imu)), (Some(&[1.0, 2.0][..]), None));
        assert_eq!(means.sha256, hex(&Sha256::digest(f32s(&[1.0, 2.0, 3.0, 4.0]))));
        let bank = read(&bytes, 7, 2, Some((1, 2))).unwrap();
        assert_eq!(bank.backgrounds, vec![(Modality::Audio, vec![vec![1.0, 0.0], vec![0.0, 1.0]])]);
        assert_eq!(bank.background_maps[0].cells, [0.5, 1.0, -0.5, 2.0]);
        assert!(read(&bytes, 7, 2, Some((2, 2))).unwrap_err().contains("background.map"));
        assert!(Means::read(&bytes, 3).unwrap_err().contains("mean.image"));
        assert!(Means::read(&bytes[..40], 2).is_err());
    }

    #[test]
    fn a_row_without_its_scale_or_of_another_type_is_refused() {
        let background = |dtype, data, scale: &[f32]| {
            let scale = ("background.audio.scale", Dtype::F32, &[scale.len()][..], f32s(scale));
            read(&file(&[("background.audio", dtype, &[2, 2], data), scale]), 7, 2, None).unwrap_err()
        };
        assert!(background(Dtype::I8, vec![1; 4], &[1.0]).contains("`background.audio.scale` has shape [1]"));
        assert!(background(Dtype::F32, vec![0; 16], &[1.0, 1.0]).contains("F32 instead of I8"));
        let alone = file(&[("cohort.text", Dtype::I8, &[1, 2], vec![1, 2])]);
        assert!(read(&alone, 7, 2, None).unwrap_err().contains("cohort.text.scale"));
    }

    #[test]
    fn nothing_but_finite_numbers_passes() {
        let bytes = file(&[("mean.text", Dtype::F32, &[1], f32s(&[f32::NAN]))]);
        assert!(Means::read(&bytes, 1).err().unwrap().contains("not finite"));
    }
}
