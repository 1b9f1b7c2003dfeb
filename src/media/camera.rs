//! Camera frames as cameras give them, and their conversion to RGB.

use std::sync::Arc;

use super::{MediaError, Picture, jpeg};

/// How a camera's bytes are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PixelFormat {
    /// 8-bit R, G, B.
    Rgb8,
    /// 8-bit grey.
    Grey8,
    /// 4:2:2, Y0 U Y1 V, BT.601 limited range.
    Yuyv,
    /// 4:2:0, Y plane then interleaved UV, BT.601 limited range.
    Nv12,
    /// One JPEG picture (also MJPEG's frames, which may lack Huffman tables).
    Jpeg,
}

/// A frame as the camera gave it; decoded only when a window needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CameraFrame {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Layout of `bytes`.
    pub format: PixelFormat,
    /// The frame.
    pub bytes: Arc<[u8]>,
}

impl CameraFrame {
    /// A JPEG picture as it is; none when its header tells no size.
    #[must_use]
    pub fn of_jpeg(bytes: Vec<u8>) -> Option<Self> {
        let (width, height) = jpeg::jpeg_size(&bytes)?;
        Some(Self { width, height, format: PixelFormat::Jpeg, bytes: bytes.into() })
    }

    /// As [`Self::of_jpeg`] of a file, which may be damaged: what stands between its beginning and its end is not looked at.
    ///
    /// # Errors
    /// When it is no JPEG, has no size or ends early.
    pub fn of_whole_jpeg(bytes: Vec<u8>) -> Result<Self, MediaError> {
        let (width, height) = jpeg::whole_size(&bytes)?;
        Ok(Self { width, height, format: PixelFormat::Jpeg, bytes: bytes.into() })
    }

    /// The frame as RGB, of a JPEG upright ([`Picture::from_bytes`]), whose own size wins over `width` and `height`.
    ///
    /// # Errors
    /// When the bytes do not fit the format and size.
    pub fn to_picture(&self) -> Result<Picture, MediaError> {
        if self.format == PixelFormat::Jpeg {
            return jpeg::decode(&self.bytes);
        }
        if self.width == 0 || self.height == 0 {
            return Err(MediaError::Empty("camera frame"));
        }
        let rgb = match self.format {
            PixelFormat::Rgb8 => self.exactly(3, 1)?.to_vec(),
            PixelFormat::Grey8 => self.exactly(1, 1)?.iter().flat_map(|y| [*y; 3]).collect(),
            PixelFormat::Yuyv => yuyv(self.exactly(2, 1)?),
            PixelFormat::Nv12 => nv12(self.exactly(3, 2)?, self.width as usize, self.height as usize),
            PixelFormat::Jpeg => Vec::new(),
        };
        Ok(Picture { width: self.width, height: self.height, rgb })
    }

    /// The frame's bytes, `numerator / denominator` of one for each pixel; what a driver pads behind is cut off.
    fn exactly(&self, numerator: usize, denominator: usize) -> Result<&[u8], MediaError> {
        let odd = (self.format == PixelFormat::Yuyv && !self.width.is_multiple_of(2))
            || (self.format == PixelFormat::Nv12 && !(self.width.is_multiple_of(2) && self.height.is_multiple_of(2)));
        let wanted = self.width as usize * self.height as usize * numerator / denominator;
        let size = format!("{} x {} pixels of {:?}", self.width, self.height, self.format);
        if odd {
            return Err(MediaError::malformed("camera frame", format!("{size} need even sides")));
        }
        let too_short = || {
            MediaError::malformed("camera frame", format!("{} bytes for {size}, which need {wanted}", self.bytes.len()))
        };
        self.bytes.get(..wanted).ok_or_else(too_short)
    }
}

/// How many pairs of pixels are converted at once: their channels lie side by side, so that the arithmetic becomes vector code.
const PAIRS: usize = 32;

/// Pairs of pixels, Y0 U Y1 V each, BT.601, limited range, in 16.16 fixed point.
fn convert(pairs: &[[u8; 4]], rgb: &mut Vec<u8>) {
    for chunk in pairs.chunks(PAIRS) {
        let mut block = [[0; 4]; PAIRS];
        block.iter_mut().zip(chunk).for_each(|(to, pair)| *to = *pair);
        let mut channels = [[0u8; PAIRS]; 6];
        let byte = |x: i32| (x >> 16).clamp(0, 255) as u8;
        for i in 0..PAIRS {
            let [y0, u, y1, v] = block[i].map(i32::from);
            let (d, e) = (u - 128, v - 128);
            let tint = [104_597 * e + 32_768, -25_675 * d - 53_279 * e + 32_768, 132_201 * d + 32_768];
            let light = [(y0 - 16) * 76_309, (y1 - 16) * 76_309];
            for channel in 0..3 {
                channels[channel][i] = byte(light[0] + tint[channel]);
                channels[channel + 3][i] = byte(light[1] + tint[channel]);
            }
        }
        let mut pixels = [[0u8; 6]; PAIRS];
        for i in 0..PAIRS {
            let [r0, g0, b0, r1, g1, b1] = &channels;
            pixels[i] = [r0[i], g0[i], b0[i], r1[i], g1[i], b1[i]];
        }
        rgb.extend(pixels.as_flattened().iter().take(chunk.len() * 6));
    }
}

fn yuyv(bytes: &[u8]) -> Vec<u8> {
    let (pairs, _) = bytes.as_chunks::<4>();
    let mut rgb = Vec::with_capacity(pairs.len() * 6);
    convert(pairs, &mut rgb);
    rgb
}

/// Both sides are even.
fn nv12(bytes: &[u8], width: usize, height: usize) -> Vec<u8> {
    let (luma, chroma) = bytes.split_at(width * height);
    let mut rgb = Vec::with_capacity(width * height * 3);
    let mut pairs = Vec::with_capacity(width / 2);
    for (luma_pair, chroma_row) in luma.chunks_exact(width * 2).zip(chroma.chunks_exact(width)) {
        for luma_row in luma_pair.chunks_exact(width) {
            let both = luma_row.as_chunks::<2>().0.iter().zip(chroma_row.as_chunks::<2>().0);
            pairs.clear();
            pairs.extend(both.map(|([y0, y1], [u, v])| [*y0, *u, *y1, *v]));
            convert(&pairs, &mut rgb);
        }
    }
    rgb
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(width: u32, height: u32, format: PixelFormat, bytes: &[u8]) -> CameraFrame {
        CameraFrame { width, height, format, bytes: bytes.into() }
    }

    #[test]
    fn raw_formats_become_rgb() {
        let black_white = frame(2, 1, PixelFormat::Yuyv, &[16, 128, 235, 128]).to_picture().unwrap();
        assert_eq!(black_white.rgb, [0, 0, 0, 255, 255, 255]);
        // BT.601's red: Y 81, U 90, V 240.
        let red = frame(2, 2, PixelFormat::Nv12, &[81, 81, 81, 81, 90, 240]).to_picture().unwrap();
        assert!(red.rgb.as_chunks::<3>().0.iter().all(|[r, g, b]| *r >= 253 && *g <= 2 && *b <= 2), "{:?}", red.rgb);
        assert_eq!(frame(1, 2, PixelFormat::Grey8, &[7, 9]).to_picture().unwrap().rgb, [7, 7, 7, 9, 9, 9]);
    }

    #[test]
    fn blocks_of_pairs_and_what_is_left_are_bt_601() {
        let rng = &mut fastrand::Rng::with_seed(3);
        let (width, height) = (70, 6);
        let (luma, chroma): (Vec<u8>, Vec<[u8; 2]>) = (
            (0..width * height).map(|_| rng.u8(..)).collect(),
            (0..width * height / 4).map(|_| [rng.u8(..), rng.u8(..)]).collect(),
        );
        let of = |x: u32, y: u32| {
            let [u, v] = chroma[(y / 2 * width / 2 + x / 2) as usize].map(|c| f64::from(c) - 128.0);
            let light = 1.164_383 * (f64::from(luma[(y * width + x) as usize]) - 16.0);
            [light + 1.596_027 * v, light - 0.391_762 * u - 0.812_968 * v, light + 2.017_232 * u]
                .map(|c| c.clamp(0.0, 255.0))
        };
        let nv12 = [luma.as_slice(), chroma.as_flattened()].concat();
        let yuyv: Vec<u8> = (0..height)
            .flat_map(|y| (0..width / 2).map(move |pair| (y, pair)))
            .flat_map(|(y, pair)| {
                let ([u, v], at) = (chroma[(y / 2 * width / 2 + pair) as usize], (y * width + 2 * pair) as usize);
                [luma[at], u, luma[at + 1], v]
            })
            .collect();
        for (format, bytes) in [(PixelFormat::Nv12, nv12), (PixelFormat::Yuyv, yuyv)] {
            let rgb = frame(width, height, format, &bytes).to_picture().unwrap().rgb;
            let wanted = (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).flat_map(|(x, y)| of(x, y));
            assert!(rgb.into_iter().map(f64::from).zip(wanted).all(|(a, b)| (a - b).abs() < 0.6), "{format:?}");
        }
    }

    #[test]
    fn frames_that_do_not_fit_are_refused() {
        for bad in [
            frame(2, 2, PixelFormat::Rgb8, &[0; 11]),
            frame(3, 1, PixelFormat::Yuyv, &[0; 6]),
            frame(2, 3, PixelFormat::Nv12, &[0; 9]),
            frame(0, 0, PixelFormat::Grey8, &[]),
            frame(4, 4, PixelFormat::Jpeg, &[]),
        ] {
            assert!(bad.to_picture().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_mjpeg_frame_without_huffman_tables_decodes() {
        let rgb: Vec<u8> = (0..32 * 16).flat_map(|i: u32| [i as u8, (i / 2) as u8, 90]).collect();
        let picture = Picture { width: 32, height: 16, rgb };
        let full = picture.to_jpeg(80).unwrap();
        let bare = jpeg::without_huffman_tables(&full);
        assert!(bare.len() < full.len() - 400);
        let mut padded = bare.clone();
        padded.extend([0; 64]);
        for bytes in [bare, padded] {
            let decoded = frame(32, 16, PixelFormat::Jpeg, &bytes).to_picture().unwrap();
            assert_eq!(decoded, Picture::from_bytes(&full).unwrap());
        }
    }
}
