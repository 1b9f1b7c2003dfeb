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

    /// The frame as RGB. A JPEG's own size wins over `width` and `height`.
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

/// BT.601, limited range, in 16.16 fixed point.
fn to_rgb(y: u8, u: u8, v: u8) -> [u8; 3] {
    let (c, d, e) = ((i32::from(y) - 16) * 76_309, i32::from(u) - 128, i32::from(v) - 128);
    let byte = |x: i32| ((x + 32_768) >> 16).clamp(0, 255) as u8;
    [byte(c + 104_597 * e), byte(c - 25_675 * d - 53_279 * e), byte(c + 132_201 * d)]
}

fn yuyv(bytes: &[u8]) -> Vec<u8> {
    let (pairs, _) = bytes.as_chunks::<4>();
    pairs.iter().flat_map(|[y0, u, y1, v]| [to_rgb(*y0, *u, *v), to_rgb(*y1, *u, *v)]).flatten().collect()
}

/// Both sides are even.
fn nv12(bytes: &[u8], width: usize, height: usize) -> Vec<u8> {
    let (luma, chroma) = bytes.split_at(width * height);
    let mut rgb = Vec::with_capacity(width * height * 3);
    for (luma_pair, chroma_row) in luma.chunks_exact(width * 2).zip(chroma.chunks_exact(width)) {
        for luma_row in luma_pair.chunks_exact(width) {
            let pairs = luma_row.as_chunks::<2>().0.iter().zip(chroma_row.as_chunks::<2>().0);
            rgb.extend(pairs.flat_map(|([y0, y1], [u, v])| [to_rgb(*y0, *u, *v), to_rgb(*y1, *u, *v)]).flatten());
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
