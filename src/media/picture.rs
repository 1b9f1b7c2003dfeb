//! RGB pictures; JPEG and PNG files to and from them.

use std::path::Path;

use super::{MAX_SIDE_PX, MediaError, jpeg, read};

/// An RGB picture, 8 bits a channel, row-major from the top left, three bytes a pixel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// `width · height · 3` bytes.
    pub rgb: Vec<u8>,
}

impl Picture {
    /// Decodes a JPEG or PNG file's bytes, whichever they are. Transparent parts of a PNG lose their transparency alone: the
    /// colour stored there stays, as Pillow's `convert("RGB")` does.
    ///
    /// # Errors
    /// When they are neither, broken, or hold no pixel.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MediaError> {
        match bytes {
            [] => Err(MediaError::Empty("picture")),
            [0xff, 0xd8, ..] => jpeg::decode(bytes),
            [0x89, b'P', b'N', b'G', ..] => from_png(bytes),
            _ => Err(MediaError::malformed("picture", "it is neither JPEG nor PNG")),
        }
    }

    /// Reads and decodes a JPEG or PNG file.
    ///
    /// # Errors
    /// As [`Self::from_bytes`], or when the file cannot be read.
    pub fn open(path: &Path) -> Result<Self, MediaError> {
        Self::from_bytes(&read(path)?)
    }

    /// The picture as a baseline JPEG file of `quality` 1 to 100.
    ///
    /// # Errors
    /// When it holds no pixel, not as many as its size says, or is wider or higher than JPEG's 65,535.
    pub fn to_jpeg(&self, quality: u8) -> Result<Vec<u8>, MediaError> {
        jpeg::encode(self, quality)
    }

    /// The picture at most `width_px` wide, by a whole divisor of its size: each pixel is the mean of those it stands for.
    #[must_use]
    pub fn shrunk(&self, width_px: u32) -> Self {
        let by = self.width.div_ceil(width_px.max(1)).max(1);
        let (width, height) = ((self.width / by).max(1), (self.height / by).max(1));
        if by == 1 || self.check_size().is_err() {
            return self.clone();
        }
        let (stride, by) = (self.width as usize * 3, by as usize);
        let mut rgb = Vec::with_capacity(width as usize * height as usize * 3);
        for rows in self.rgb.chunks(stride * by).take(height as usize) {
            for x in 0..width as usize {
                let mut sums = [0u32; 3];
                let mut count = 0;
                for row in rows.chunks_exact(stride) {
                    for pixel in row.chunks_exact(3).skip(x * by).take(by) {
                        sums.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += u32::from(*value));
                        count += 1;
                    }
                }
                rgb.extend(sums.map(|sum| u8::try_from(sum / count.max(1)).unwrap_or(u8::MAX)));
            }
        }
        Self { width, height, rgb }
    }

    /// The picture as a PNG file.
    ///
    /// # Errors
    /// When it holds no pixel or not as many as its size says.
    pub fn to_png(&self) -> Result<Vec<u8>, MediaError> {
        use image::ImageEncoder as _;
        self.check_size()?;
        let mut file = Vec::new();
        image::codecs::png::PngEncoder::new(&mut file)
            .write_image(&self.rgb, self.width, self.height, image::ExtendedColorType::Rgb8)
            .map_err(|why| MediaError::malformed("picture", why))?;
        Ok(file)
    }

    /// The pixels of the box `[x0, x1) × [y0, y1)`, which is cut to the picture first; none when nothing is left.
    #[must_use]
    pub fn cut(&self, x0: u32, y0: u32, x1: u32, y1: u32) -> Option<Self> {
        let (x1, y1) = (x1.min(self.width), y1.min(self.height));
        let (width, height) = (x1.checked_sub(x0).filter(|w| *w > 0)?, y1.checked_sub(y0).filter(|h| *h > 0)?);
        let (skip, row_bytes) = (x0 as usize * 3, width as usize * 3);
        let rows = self.rgb.chunks_exact(self.width as usize * 3).skip(y0 as usize).take(height as usize);
        let rgb = rows.filter_map(|row| row.get(skip..skip + row_bytes)).flatten().copied().collect();
        Some(Self { width, height, rgb })
    }

    pub(super) fn check_size(&self) -> Result<(), MediaError> {
        if self.width == 0 || self.height == 0 {
            return Err(MediaError::Empty("picture"));
        }
        if self.rgb.len() != self.width as usize * self.height as usize * 3 {
            let why = format!("{} bytes are not {} x {} RGB pixels", self.rgb.len(), self.width, self.height);
            return Err(MediaError::malformed("picture", why));
        }
        Ok(())
    }
}

fn from_png(bytes: &[u8]) -> Result<Picture, MediaError> {
    let picture = decode_png(bytes)?.into_rgb8();
    let (width, height) = picture.dimensions();
    Ok(Picture { width, height, rgb: picture.into_raw() })
}

/// A PNG as its file stores it (8 or 16 bits, grey or colour).
pub(super) fn decode_png(bytes: &[u8]) -> Result<image::DynamicImage, MediaError> {
    let mut reader = image::ImageReader::with_format(std::io::Cursor::new(bytes), image::ImageFormat::Png);
    let mut limits = image::Limits::default();
    limits.max_image_width = Some(MAX_SIDE_PX);
    limits.max_image_height = Some(MAX_SIDE_PX);
    reader.limits(limits);
    reader.decode().map_err(|why| MediaError::malformed("PNG picture", why))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gradient(width: u32, height: u32) -> Picture {
        let rgb = (0..height).flat_map(|y| (0..width).flat_map(move |x| [(x * 3) as u8, (y * 5) as u8, 128])).collect();
        Picture { width, height, rgb }
    }

    #[test]
    fn png_round_trips_exactly_and_jpeg_nearly() {
        let picture = gradient(40, 24);
        assert_eq!(Picture::from_bytes(&picture.to_png().unwrap()).unwrap(), picture);
        let back = Picture::from_bytes(&picture.to_jpeg(95).unwrap()).unwrap();
        assert_eq!((back.width, back.height), (40, 24));
        assert!(back.rgb.iter().zip(&picture.rgb).all(|(a, b)| a.abs_diff(*b) < 16));
    }

    #[test]
    fn broken_pictures_are_refused() {
        let (png, jpeg) = (gradient(40, 24).to_png().unwrap(), gradient(40, 24).to_jpeg(90).unwrap());
        for bad in [&[][..], b"hello", &png[..png.len() / 2], &jpeg[..jpeg.len() / 2], &jpeg[..3], &png[..9]] {
            assert!(Picture::from_bytes(bad).is_err());
        }
        assert!(Picture { width: 2, height: 2, rgb: vec![0; 3] }.to_jpeg(90).is_err());
    }

    #[test]
    fn every_prefix_of_a_file_is_refused_without_panic() {
        let jpeg = gradient(16, 16).to_jpeg(50).unwrap();
        for end in 0..jpeg.len() - 1 {
            assert!(Picture::from_bytes(&jpeg[..end]).is_err(), "{end} of {}", jpeg.len());
        }
    }

    #[test]
    fn a_cut_is_clamped_to_the_picture() {
        let picture = gradient(10, 10);
        let cut = picture.cut(8, 9, 20, 20).unwrap();
        assert_eq!((cut.width, cut.height, cut.rgb.as_slice()), (2, 1, &[24, 45, 128, 27, 45, 128][..]));
        assert_eq!(picture.cut(10, 0, 20, 5), None);
    }
}
