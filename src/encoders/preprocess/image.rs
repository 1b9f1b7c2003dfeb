//! Pictures to a session's pixels: Pillow's antialiased bicubic, centre crop or stretch, then mean and standard deviation.

use super::resize::resize_part;
use crate::media::Picture;

/// Resizes to `width × height`, as Pillow's `resize((width, height), BICUBIC)`.
#[must_use]
pub fn resize(picture: &Picture, width: u32, height: u32) -> Picture {
    resize_part(picture, (width as usize, height as usize), 0..width as usize, 0..height as usize)
}

/// The short side to the size, then the central crop. `size` is [height, width].
#[must_use]
pub fn center_crop(picture: &Picture, size: [usize; 2]) -> Picture {
    let [height, width] = size;
    let (from_width, from_height) = (f64::from(picture.width), f64::from(picture.height));
    let scale = (height as f64 / from_height).max(width as f64 / from_width);
    // Python's `round`: ties to even.
    let scaled = |side: f64, least: usize| ((side * scale).round_ties_even() as usize).max(least);
    let to = (scaled(from_width, width), scaled(from_height, height));
    let (left, top) = ((to.0 - width) / 2, (to.1 - height) / 2);
    resize_part(picture, to, left..left + width, top..top + height)
}

/// Both sides to the size, aspect ignored. `size` is [height, width].
#[must_use]
pub fn stretch(picture: &Picture, size: [usize; 2]) -> Picture {
    let [height, width] = size;
    resize_part(picture, (width, height), 0..width, 0..height)
}

/// `[3, height, width]`, each channel `(byte / 255 − mean) / std`.
#[must_use]
pub fn tensor(picture: &Picture, mean: [f32; 3], std: [f32; 3]) -> Vec<f32> {
    let pixels = picture.rgb.as_chunks::<3>().0;
    let mut out = Vec::with_capacity(pixels.len() * 3);
    for (channel, (mean, std)) in mean.into_iter().zip(std).enumerate() {
        let table: [f32; 256] = std::array::from_fn(|byte| (byte as f32 / 255.0 - mean) / std);
        out.extend(pixels.iter().map(|pixel| table[usize::from(pixel[channel])]));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gradient(width: u32, height: u32) -> Picture {
        let rgb = (0..width * height * 3).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        Picture { width, height, rgb }
    }

    #[test]
    fn a_flat_picture_stays_flat() {
        let picture = Picture { width: 37, height: 23, rgb: [9, 99, 199].repeat(37 * 23) };
        for small in [resize(&picture, 16, 16), resize(&picture, 80, 5), center_crop(&picture, [16, 16])] {
            assert!(small.rgb.as_chunks::<3>().0.iter().all(|p| *p == [9, 99, 199]));
        }
    }

    /// Pillow 11: `Image.frombytes("L", (5, 1), bytes([0, 50, 255, 10, 100])).resize((3, 1), Image.BICUBIC)`.
    #[test]
    fn one_row_equals_pillow() {
        let picture =
            Picture { width: 5, height: 1, rgb: [0u8, 50, 255, 10, 100].iter().flat_map(|v| [*v; 3]).collect() };
        let row: Vec<u8> = resize(&picture, 3, 1).rgb.iter().step_by(3).copied().collect();
        assert_eq!(row, [22, 159, 61]);
    }

    #[test]
    fn the_crop_is_central_and_of_the_size() {
        let wide = Picture { width: 300, height: 100, rgb: vec![1; 300 * 100 * 3] };
        let cropped = center_crop(&wide, [64, 32]);
        assert_eq!((cropped.width, cropped.height), (32, 64));
        let (left, whole) = ((192 - 32) / 2, resize(&gradient(300, 100), 192, 64));
        assert_eq!(center_crop(&gradient(300, 100), [64, 32]), whole.cut(left, 0, left + 32, 64).unwrap());
        let one = Picture { width: 1, height: 1, rgb: vec![3; 3] };
        assert_eq!(center_crop(&one, [4, 4]).rgb, vec![3; 48]);
    }

    #[test]
    fn channels_come_first() {
        let picture = Picture { width: 2, height: 1, rgb: vec![0, 255, 0, 255, 0, 0] };
        assert_eq!(tensor(&picture, [0.0, 0.5, 0.0], [1.0, 0.5, 1.0]), [0.0, 1.0, 1.0, -1.0, 0.0, 0.0]);
    }
}
