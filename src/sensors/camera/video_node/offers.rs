//! What a capture node offers, in words: layouts, sizes, rates.

use v4l::frameinterval::FrameIntervalEnum;
use v4l::framesize::FrameSizeEnum;
use v4l::video::Capture;
use v4l::{Device, FourCC, Fraction};

use super::Code;

/// More than any camera lists; what a message or a page can hold.
const MOST_SIZES: usize = 40;

/// One layout of a node.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Offer {
    /// Four-character code without trailing blanks.
    pub fourcc: String,
    /// Sizes, and each one's rates where they are told.
    pub sizes: Vec<SizeOffer>,
}

/// One size of a layout.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct SizeOffer {
    /// `640x480`, or a range.
    pub size: String,
    /// Frames a second.
    pub rates: Vec<String>,
}

/// Everything that a node offers for capture; empty for one that captures nothing.
pub(in crate::sensors) fn offers(node: &str) -> std::io::Result<Vec<Offer>> {
    let node = Device::with_path(node)?;
    let of_layout = |code: Code| {
        let sizes = node.enum_framesizes(FourCC::new(&code)).unwrap_or_default();
        let size = |found: &FrameSizeEnum| {
            let rates = match found {
                FrameSizeEnum::Discrete(size) => rates(&node, code, size.width, size.height),
                FrameSizeEnum::Stepwise(sizes) => rates(&node, code, sizes.max_width, sizes.max_height),
            };
            SizeOffer { size: size_in_words(found), rates }
        };
        Offer { fourcc: name(code), sizes: sizes.iter().take(MOST_SIZES).map(|found| size(&found.size)).collect() }
    };
    Ok(layouts(&node).into_iter().map(of_layout).collect())
}

/// A code as people write it. The highest bit marks the big-endian variant.
pub(super) fn name(code: Code) -> String {
    let [a, b, c, d] = code;
    let letters = [a, b, c, d & 0x7f];
    let variant = if d > 0x7f { "-BE" } else { "" };
    format!("{}{variant}", String::from_utf8_lossy(&letters).trim_end())
}

/// Layouts in the driver's order; none when it is no capture node of single planes.
pub(super) fn layouts(node: &Device) -> Vec<Code> {
    node.enum_formats().unwrap_or_default().iter().map(|description| description.fourcc.repr).collect()
}

pub(super) fn sizes(node: &Device, code: Code) -> Vec<String> {
    let found = node.enum_framesizes(FourCC::new(&code)).unwrap_or_default();
    found.iter().take(MOST_SIZES).map(|found| size_in_words(&found.size)).collect()
}

// A range is told as such: written out, that of a test device has a million sizes.
fn size_in_words(size: &FrameSizeEnum) -> String {
    match size {
        FrameSizeEnum::Discrete(size) => format!("{}x{}", size.width, size.height),
        FrameSizeEnum::Stepwise(range) => format!(
            "{}x{} to {}x{} in steps of {}x{}",
            range.min_width, range.min_height, range.max_width, range.max_height, range.step_width, range.step_height
        ),
    }
}

pub(super) fn rates(node: &Device, code: Code, width_px: u32, height_px: u32) -> Vec<String> {
    let found = node.enum_frameintervals(FourCC::new(&code), width_px, height_px).unwrap_or_default();
    let in_words = |interval: &FrameIntervalEnum| match interval {
        FrameIntervalEnum::Discrete(interval) => rate_in_words(interval),
        // The longest interval is the lowest rate.
        FrameIntervalEnum::Stepwise(range) => {
            format!("{} to {}", rate_in_words(&range.max), rate_in_words(&range.min))
        }
    };
    found.iter().map(|found| in_words(&found.interval)).collect()
}

fn rate_in_words(interval: &Fraction) -> String {
    let rate = f64::from(interval.denominator) / f64::from(interval.numerator.max(1));
    let rounded = (rate * 100.0).round() / 100.0;
    format!("{rounded}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use v4l::framesize::{Discrete, Stepwise};

    #[test]
    fn offers_are_told_in_words() {
        assert_eq!(size_in_words(&FrameSizeEnum::Discrete(Discrete { width: 640, height: 480 })), "640x480");
        let range = Stepwise {
            min_width: 16,
            max_width: 1920,
            step_width: 2,
            min_height: 16,
            max_height: 1080,
            step_height: 1,
        };
        assert_eq!(size_in_words(&FrameSizeEnum::Stepwise(range)), "16x16 to 1920x1080 in steps of 2x1");
        let rates = [(1, 30), (1001, 30_000), (1, 0), (0, 1)].map(|(n, d)| rate_in_words(&Fraction::new(n, d)));
        assert_eq!(rates, ["30", "29.97", "0", "1"]);
        assert_eq!([name(*b"Y16 "), name(*b"Y16\xa0")], ["Y16", "Y16-BE"]);
    }
}
