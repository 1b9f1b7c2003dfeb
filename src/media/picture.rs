//! RGB pictures; JPEG and PNG files to and from them.

use std::path::Path;

use image::ImageDecoder as _;
use image::metadata::Orientation;

use super::{MAX_SIDE_PX, MOST_PICTURE_BYTES, MediaError, jpeg, read};

pub(super) const NEITHER: &str =
    "it is neither JPEG nor PNG: convert it, for example with `ffmpeg -i THE_PICTURE new.png`";

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
    /// Decodes a JPEG or PNG file's bytes, whichever they are, and turns the picture as its EXIF orientation says, so that it is as every
    /// viewer shows it. Transparent parts of a PNG are laid over white, as the cut-outs were that the reference pack was judged by: the
    /// colour that is stored under them nobody sees.
    ///
    /// # Errors
    /// When they are neither, broken, hold no pixel, or none that is not transparent.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MediaError> {
        decoded(bytes, over_white)
    }

    /// As [`Self::from_bytes`], with the colours that are stored, also where they are transparent: what is measured is not to be seen, and
    /// white would be a value like any other.
    pub(super) fn as_stored(bytes: &[u8]) -> Result<Self, MediaError> {
        decoded(bytes, |png| Ok(rgb(png)))
    }

    /// Reads and decodes a JPEG or PNG file.
    ///
    /// # Errors
    /// As [`Self::from_bytes`], or when the file cannot be read.
    pub fn open(path: &Path) -> Result<Self, MediaError> {
        Self::from_bytes(&read(path, MOST_PICTURE_BYTES)?)
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

    /// The picture, whose size was checked, turned and mirrored as EXIF tells.
    pub(super) fn turned(self, orientation: Orientation) -> Result<Self, MediaError> {
        if orientation == Orientation::NoTransforms {
            return Ok(self);
        }
        let stored = image::RgbImage::from_raw(self.width, self.height, self.rgb);
        let mut picture = image::DynamicImage::from(stored.ok_or(MediaError::Empty("picture"))?);
        picture.apply_orientation(orientation);
        Ok(rgb(picture))
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

fn decoded(
    bytes: &[u8],
    of_png: impl FnOnce(image::DynamicImage) -> Result<Picture, MediaError>,
) -> Result<Picture, MediaError> {
    match bytes {
        [] => Err(MediaError::Empty("picture")),
        [0xff, 0xd8, ..] => jpeg::decode(bytes),
        [0x89, b'P', b'N', b'G', ..] => decode_png(bytes).and_then(of_png),
        _ => Err(MediaError::malformed("picture", NEITHER)),
    }
}

fn rgb(picture: image::DynamicImage) -> Picture {
    let picture = picture.into_rgb8();
    let (width, height) = picture.dimensions();
    Picture { width, height, rgb: picture.into_raw() }
}

fn over_white(picture: image::DynamicImage) -> Result<Picture, MediaError> {
    if !picture.color().has_alpha() {
        return Ok(rgb(picture));
    }
    let picture = picture.into_rgba8();
    let (width, height) = picture.dimensions();
    let (pixels, _) = picture.as_raw().as_chunks::<4>();
    if !pixels.is_empty() && pixels.iter().all(|[_, _, _, alpha]| *alpha == 0) {
        let why = "it is transparent everywhere: nothing can be seen in it";
        return Err(MediaError::malformed("PNG picture", why));
    }
    // An opaque colour stays what it is.
    let over = |colour: u8, alpha: u8| {
        let (colour, alpha) = (u32::from(colour), u32::from(alpha));
        u8::try_from((colour * alpha + 255 * (255 - alpha) + 127) / 255).unwrap_or(u8::MAX)
    };
    let rgb = pixels.iter().flat_map(|[r, g, b, alpha]| [*r, *g, *b].map(|colour| over(colour, *alpha))).collect();
    Ok(Picture { width, height, rgb })
}

/// A PNG with the values that its file stores (8 or 16 bits, grey or colour), upright.
pub(super) fn decode_png(bytes: &[u8]) -> Result<image::DynamicImage, MediaError> {
    let mut limits = image::Limits::default();
    limits.max_image_width = Some(MAX_SIDE_PX);
    limits.max_image_height = Some(MAX_SIDE_PX);
    png_within(bytes, limits).map_err(|why| MediaError::malformed("PNG picture", why))
}

fn png_within(bytes: &[u8], mut limits: image::Limits) -> image::ImageResult<image::DynamicImage> {
    let mut decoder = image::codecs::png::PngDecoder::with_limits(std::io::Cursor::new(bytes), limits.clone())?;
    limits.reserve(decoder.total_bytes())?;
    decoder.set_limits(limits)?;
    let orientation = decoder.orientation()?;
    let mut picture = image::DynamicImage::from_decoder(decoder)?;
    picture.apply_orientation(orientation);
    Ok(picture)
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

    /// The picture that EXIF's definition makes of a stored one: what its row 0 and its column 0 are.
    fn as_exif_defines(stored: &Picture, orientation: u8) -> Picture {
        let (right, bottom) = (stored.width - 1, stored.height - 1);
        let place = |x: u32, y: u32| match orientation {
            2 => (right - x, y),
            3 => (right - x, bottom - y),
            4 => (x, bottom - y),
            5 => (y, x),
            6 => (bottom - y, x),
            7 => (bottom - y, right - x),
            8 => (y, right - x),
            _ => (x, y),
        };
        let (width, height) =
            if (5..=8).contains(&orientation) { (stored.height, stored.width) } else { (stored.width, stored.height) };
        let mut rgb = vec![0; stored.rgb.len()];
        for (at, pixel) in (0..).zip(stored.rgb.chunks_exact(3)) {
            let (x, y) = place(at % stored.width, at / stored.width);
            let at = (y * width + x) as usize * 3;
            rgb[at..at + 3].copy_from_slice(pixel);
        }
        Picture { width, height, rgb }
    }

    #[test]
    fn a_picture_is_upright_as_every_viewer_shows_it() {
        use image::ImageEncoder as _;
        let stored = gradient(40, 24);
        let jpeg = stored.to_jpeg(90).unwrap();
        let decoded = Picture::from_bytes(&jpeg).unwrap();
        for orientation in 0..=9 {
            let of_phone = jpeg::with_orientation(&jpeg, orientation);
            let upright = as_exif_defines(&decoded, orientation);
            assert!(Picture::from_bytes(&of_phone).unwrap() == upright, "{orientation}");
            let frame = crate::media::CameraFrame::of_jpeg(of_phone).unwrap();
            assert!(frame.to_picture().unwrap() == upright, "{orientation}");

            let mut png = Vec::new();
            let mut encoder = image::codecs::png::PngEncoder::new(&mut png);
            encoder.set_exif_metadata(jpeg::picture_exif(orientation)).unwrap();
            encoder.write_image(&stored.rgb, 40, 24, image::ExtendedColorType::Rgb8).unwrap();
            assert!(Picture::from_bytes(&png).unwrap() == as_exif_defines(&stored, orientation), "{orientation}");
        }
        let damaged = jpeg::with_orientation(&jpeg, 6);
        assert_eq!(Picture::from_bytes(&[&damaged[..14], &[0xee; 4], &damaged[18..]].concat()).unwrap(), decoded);
    }

    #[test]
    fn transparent_parts_are_white_and_opaque_ones_stay() {
        let png = |alpha: &dyn Fn(u32) -> u8| {
            let mut file = std::io::Cursor::new(Vec::new());
            let of = |x: u32, y: u32| image::Rgba([(x * 6) as u8, (y * 9) as u8, 40, alpha(x)]);
            image::RgbaImage::from_fn(40, 24, of).write_to(&mut file, image::ImageFormat::Png).unwrap();
            file.into_inner()
        };
        let opaque = Picture::from_bytes(&png(&|_| 255)).unwrap();
        assert!(opaque.rgb.as_chunks::<3>().0.iter().zip(0..).all(|([r, g, b], at): (&[u8; 3], u32)| {
            (u32::from(*r), u32::from(*g), *b) == (at % 40 * 6, at / 40 * 9, 40)
        }));
        let half = Picture::from_bytes(&png(&|x| if x < 20 { 255 } else { 0 })).unwrap();
        assert_eq!(half.cut(0, 0, 20, 24), opaque.cut(0, 0, 20, 24));
        assert!(half.cut(20, 0, 40, 24).unwrap().rgb.iter().all(|value| *value == 255));
        assert_eq!(Picture::from_bytes(&png(&|_| 128)).unwrap().rgb[..3], [127, 127, 147]);
        let told = Picture::from_bytes(&png(&|_| 0)).unwrap_err().to_string();
        assert!(told.contains("transparent everywhere"), "{told}");
    }

    #[test]
    fn what_is_no_picture_is_told_with_a_way_out() {
        for bytes in [&b"GIF89a"[..], b"RIFF\x10\0\0\0WEBP", b"BM", b"II*\0"] {
            let told = Picture::from_bytes(bytes).unwrap_err().to_string();
            assert!(told.contains("neither JPEG nor PNG") && told.contains("ffmpeg"), "{told}");
        }
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
