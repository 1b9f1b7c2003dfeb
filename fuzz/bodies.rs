//! What must hold of every parser for any bytes at all: one line a parser in [`TARGETS`], its body and an example to begin from.
//!
//! `fuzz/run` gives the bodies to libFuzzer, and the unit tests of the parsers give them seeded bytes; the module above names what
//! both find in `sensors::wire`.

use super::packets;
use super::{
    ArrayElement, Bno08xRvcParser, ChunkedBody, GyMcu90640Parser, JpegPicture, JpegSplitter, MavlinkParser,
    ScanElement, ScanLayout, SerialArrayFormat, SerialArrayParser, TextLineFormat, TextLineParser, ThermalFrame,
    VectorNavParser, WireParser, WireReading, WitMotionParser, XsensParser,
};

/// A parser under test.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    /// Fails when a law is broken.
    pub(crate) body: fn(&[u8]),
    /// A good packet, to begin from.
    pub(crate) example: fn() -> Vec<u8>,
}

pub(crate) const TARGETS: &[Target] = &[
    Target { name: "bno08x_rvc", body: bno08x_rvc, example: bno08x_rvc_packet },
    Target { name: "gy_mcu90640", body: gy_mcu90640, example: gy_mcu90640_packet },
    Target {
        name: "http_chunks",
        body: http_chunks,
        example: || b"4;x=y\r\nWiki\r\nA\r\npedia in \n\r\n0\r\n".to_vec(),
    },
    Target {
        name: "iio_scan",
        body: iio_scan,
        example: || b"le:s16/16>>0be:u12/16>>4le:s64/64>>0\x01\x02\x03".to_vec(),
    },
    Target { name: "jpeg_stream", body: jpeg_stream, example: small_jpeg },
    Target { name: "mavlink", body: mavlink, example: mavlink_packet },
    Target { name: "serial_array", body: serial_array, example: || [&[4][..], &small_array(4)].concat() },
    Target { name: "text_line", body: text_line, example: || [b"\0", packets::VNYMR_LINE.as_bytes()].concat() },
    Target { name: "vectornav", body: vectornav, example: vectornav_packet },
    Target { name: "witmotion", body: witmotion, example: || packets::witmotion_cycle(300) },
    Target { name: "xsens", body: xsens, example: xsens_packet },
];

/// What a parser found, as numbers that can be compared: NaN is a value here.
pub(crate) trait Found {
    fn offset(&self) -> u64;
    fn bits(&self) -> Vec<u32>;
}

impl Found for WireReading {
    fn offset(&self) -> u64 {
        self.offset
    }

    fn bits(&self) -> Vec<u32> {
        let values = self.accel_mps2.iter().chain(self.gyro_radps.iter().flatten());
        assert!(values.clone().all(|value| value.is_finite()), "{self:?}");
        values.map(|value| value.to_bits()).collect()
    }
}

impl Found for ThermalFrame {
    fn offset(&self) -> u64 {
        self.offset
    }

    fn bits(&self) -> Vec<u32> {
        assert_eq!(self.celsius.len() as u64, u64::from(self.width_px) * u64::from(self.height_px));
        self.celsius.iter().map(|value| value.to_bits()).collect()
    }
}

impl Found for JpegPicture {
    fn offset(&self) -> u64 {
        self.offset
    }

    fn bits(&self) -> Vec<u32> {
        assert!(self.bytes.starts_with(&[0xff, 0xd8, 0xff]) && self.bytes.ends_with(&[0xff, 0xd9]), "{self:?}");
        self.bytes.iter().map(|byte| u32::from(*byte)).collect()
    }
}

fn numbers<F: Found>(found: &[F]) -> Vec<(u64, Vec<u32>)> {
    found.iter().map(|found| (found.offset(), found.bits())).collect()
}

/// The laws where no more than a packet waits; `may_find_again` says whether good packets are found after these bytes.
pub(crate) fn laws<P: WireParser<Found: Found>>(
    new: impl Fn() -> P,
    bytes: &[u8],
    good: impl Fn() -> Vec<u8>,
    longest_packet: usize,
    may_find_again: impl Fn(&P) -> bool,
) {
    laws_of(new, bytes, good, longest_packet, |waiting| waiting.len() <= longest_packet, may_find_again);
}

/// The laws: where bytes are split does not matter, what is found lies within the bytes and in their order, what waits is what may wait,
/// and after any bytes `good` packets, enough of them to fill the longest that the bytes may have promised, are found again.
fn laws_of<P: WireParser<Found: Found>>(
    new: impl Fn() -> P,
    bytes: &[u8],
    good: impl Fn() -> Vec<u8>,
    longest_packet: usize,
    may_wait: impl Fn(&[u8]) -> bool,
    may_find_again: impl Fn(&P) -> bool,
) {
    let mut parser = new();
    let whole = numbers(&parser.push(bytes));
    let length = bytes.len() as u64;
    assert!(parser.needed_from() <= length && may_wait(&bytes[parser.needed_from() as usize..]));
    assert!(whole.iter().all(|(offset, _)| *offset < length));
    assert!(whole.windows(2).all(|pair| pair[0].0 < pair[1].0));

    let cut = bytes.first().map_or(0, |first| usize::from(*first) * bytes.len() / 256);
    let (before, after) = bytes.split_at(cut);
    let mut in_parts = new();
    let mut parts = numbers(&in_parts.push(before));
    parts.extend(numbers(&in_parts.push(after)));
    let counts = |parser: &P| (parser.refused(), parser.not_finite());
    assert_eq!((whole, counts(&parser)), (parts, counts(&in_parts)));

    // The dearest law, so it is asked of some: which, is a matter of the bytes.
    let is_chosen = bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)).is_multiple_of(16);
    if is_chosen && may_find_again(&parser) {
        let good = good();
        let wanted = numbers(&new().push(&good.repeat(2))).pop().expect("the good packet is good").1;
        let times = 2 + longest_packet.div_ceil(good.len());
        let found = numbers(&parser.push(&good.repeat(times)));
        let last = found.last().expect("it finds its way again");
        assert_eq!(last.1, wanted);
    }
}

fn any<P>(_: &P) -> bool {
    true
}

fn bno08x_rvc_packet() -> Vec<u8> {
    packets::bno08x_rvc(5, [10, -20, 1000])
}

fn bno08x_rvc(bytes: &[u8]) {
    laws(Bno08xRvcParser::default, bytes, bno08x_rvc_packet, 19, any);
}

fn gy_mcu90640_packet() -> Vec<u8> {
    packets::gy_mcu90640(|pixel| 20.0 + (pixel % 32) as f32 / 4.0)
}

fn gy_mcu90640(bytes: &[u8]) {
    laws(GyMcu90640Parser::default, bytes, gy_mcu90640_packet, 1544, any);
}

/// What a parser sees of a JPEG picture: an application segment, a scan with a stuffed byte and a restart, the end.
fn small_jpeg() -> Vec<u8> {
    b"\xff\xd8\xff\xe0\x00\x04ab\xff\xda\x00\x03cd\xff\x00e\xff\xd0f\xff\xd9".to_vec()
}

fn jpeg_stream(bytes: &[u8]) {
    // A damaged length may swallow 64 KiB before it shows: what lies between pictures fills that more cheaply than pictures.
    let good = || [small_jpeg(), vec![0; 8192]].concat();
    // A picture waits for its end; of what is none, only the beginning of a start. That a picture has a greatest length, far beyond these
    // bytes, is a test of the splitter's own.
    let may_wait = |waiting: &[u8]| waiting.len() < 3 || waiting.starts_with(&[0xff, 0xd8, 0xff]);
    laws_of(JpegSplitter::default, bytes, good, 65_540, may_wait, any);
}

/// Where bytes are split does not matter, and no body is longer than what came.
fn http_chunks(bytes: &[u8]) {
    let read = |parts: [&[u8]; 2]| {
        let (mut chunks, mut body) = (ChunkedBody::default(), Vec::new());
        let result = parts.into_iter().try_for_each(|part| chunks.push(part, |piece| body.extend_from_slice(piece)));
        (result, chunks.has_ended(), body)
    };
    let whole = read([bytes, &[]]);
    assert!(whole.2.len() <= bytes.len());
    let cut = bytes.first().map_or(0, |first| usize::from(*first) * bytes.len() / 256);
    assert_eq!(whole, read([&bytes[..cut], &bytes[cut..]]));
}

fn mavlink_packet() -> Vec<u8> {
    packets::mavlink_highres(1, 1_000_000, [0.1, 0.2, -9.8], [0.01, 0.02, 0.03])
}

fn mavlink(bytes: &[u8]) {
    // Bytes that hold a frame of another vehicle settle whom it listens to.
    let nobody_spoke = |_: &_| MavlinkParser::default().push(bytes).is_empty();
    laws(MavlinkParser::default, bytes, mavlink_packet, 280, nobody_spoke);
}

/// A frame of 4×3 pixels in the format of [`serial_array`].
fn small_array(kind: u8) -> Vec<u8> {
    let format = small_array_format(kind);
    let pixel = match format.element {
        ArrayElement::U8 => vec![25],
        ArrayElement::U16 | ArrayElement::I16 => vec![25, 0],
        ArrayElement::I32 => vec![25, 0, 0, 0],
        ArrayElement::F32 => 25.0f32.to_le_bytes().to_vec(),
    };
    [format.header.clone(), pixel.repeat(12), vec![0; format.trailer_bytes]].concat()
}

fn small_array_format(kind: u8) -> SerialArrayFormat {
    let (_, element) = ArrayElement::NAMES[usize::from(kind) % ArrayElement::NAMES.len()];
    SerialArrayFormat {
        header: vec![0xAA, 0xBB],
        width_px: 4,
        height_px: 3,
        element,
        trailer_bytes: usize::from(kind % 2),
        valid_celsius: -40.0..=7000.0,
        ..packets::array_format()
    }
}

fn serial_array(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let format = small_array_format(*kind);
    let new = || SerialArrayParser::new(format.clone());
    laws(new, bytes, || small_array(*kind), format.frame_bytes(), any);
}

fn text_line(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let (format, good): (TextLineFormat, fn() -> Vec<u8>) = match kind % 3 {
        0 => (packets::vnymr_format(), || packets::VNYMR_LINE.into()),
        1 => (packets::csv_format(), || packets::csv_line(12, [0.0, 0.5, 1.0], [1.0, 2.0, 3.0])),
        _ => (TextLineFormat { delimiter: ' ', ..packets::csv_format() }, || b"12 0.0 0.5 1.0\t1.0 2.0 3.0\n".to_vec()),
    };
    laws(|| TextLineParser::new(format.clone()), bytes, good, 512, any);
}

fn vectornav_packet() -> Vec<u8> {
    packets::vectornav_common(1_000_000, [0.1, 0.2, -9.8], [0.01, 0.02, 0.03])
}

fn vectornav(bytes: &[u8]) {
    laws(VectorNavParser::default, bytes, vectornav_packet, 1024, any);
}

fn witmotion(bytes: &[u8]) {
    // An acceleration waits for its rotation over packets of other kinds and noise: its place is needed, whatever stands behind it.
    let is_acceleration = |packet: &[u8; 11]| {
        let (sum, summed) = packet.split_last().expect("it has 11 bytes");
        packet.starts_with(&[0x55, 0x51]) && summed.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)) == *sum
    };
    let may_wait = |waiting: &[u8]| waiting.len() < 11 || waiting.first_chunk().is_some_and(is_acceleration);
    laws_of(WitMotionParser::default, bytes, || packets::witmotion_cycle(300), 11, may_wait, any);
}

fn xsens_packet() -> Vec<u8> {
    packets::xsens(10, [0.5, 0.25, 9.75], [0.125, 0.5, 1.0])
}

fn xsens(bytes: &[u8]) {
    laws(XsensParser::default, bytes, xsens_packet, 2048 + 7, any);
}

/// Types of a scan separated by their own shape (12 bytes each), then a scan.
fn iio_scan(bytes: &[u8]) {
    let mut rest = bytes;
    let mut elements = Vec::new();
    while let Some((text, after)) = rest.split_at_checked(12)
        && let Some(element) = std::str::from_utf8(text).ok().and_then(|text| ScanElement::parse(text).ok())
    {
        elements.push((u32::from(text.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte))), element));
        rest = after;
    }
    let count = elements.len();
    let layout = ScanLayout::new(&elements);
    assert!(layout.bytes() <= count * 16);
    match layout.values(rest) {
        Some(values) => assert_eq!(values.len(), count),
        None => assert!(rest.len() < layout.bytes()),
    }
    let enough = vec![0xFF; layout.bytes()];
    assert_eq!(layout.values(&enough).map(|values| values.len()), Some(count));
}
