//! Scans of Linux IIO buffers: how the kernel packs one reading of several channels, and back (ABI: sysfs-bus-iio, `scan_elements`).

/// One channel within a scan, from its `in_…_type`, such as `le:s16/16>>0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanElement {
    big_endian: bool,
    signed: bool,
    real_bits: u32,
    storage_bytes: usize,
    shift: u32,
}

impl ScanElement {
    /// Reads the kernel's description of a type.
    ///
    /// # Errors
    /// When it is not `[be|le]:[s|u]bits/storagebits>>shift`, or has repeated elements, which no IMU channel has.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no type of a scan element");
        let (endianness, rest) = text.trim().split_once(':').ok_or_else(wrong)?;
        let (format, shift) = rest.split_once(">>").ok_or_else(wrong)?;
        let (real, storage) = format.split_once('/').ok_or_else(wrong)?;
        let big_endian = match endianness {
            "be" => true,
            "le" => false,
            _ => return Err(wrong()),
        };
        let (signed, bits) = match real.split_at_checked(1) {
            Some(("s", bits)) => (true, bits),
            Some(("u", bits)) => (false, bits),
            _ => return Err(wrong()),
        };
        let number = |text: &str| text.parse::<u32>().map_err(|_| wrong());
        let (real_bits, storage_bits, shift) = (number(bits)?, number(storage)?, number(shift)?);
        let fits = real_bits.checked_add(shift).is_some_and(|bits| bits <= storage_bits);
        if ![8, 16, 32, 64].contains(&storage_bits) || real_bits == 0 || !fits {
            return Err(wrong());
        }
        Ok(Self { big_endian, signed, real_bits, storage_bytes: storage_bits as usize / 8, shift })
    }

    /// The number that stands at the front of `bytes`.
    fn value(&self, bytes: &[u8]) -> Option<i64> {
        let bytes = bytes.get(..self.storage_bytes)?;
        let join = |word: u64, byte: &u8| word << 8 | u64::from(*byte);
        let word =
            if self.big_endian { bytes.iter().fold(0, join) } else { bytes.iter().rev().fold(0, join) } >> self.shift;
        let unused = 64 - self.real_bits;
        let shifted = word << unused;
        // An arithmetic shift back fills up with the sign.
        Some(if self.signed { shifted.cast_signed() >> unused } else { (shifted >> unused).cast_signed() })
    }
}

/// Where each channel stands in a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanLayout {
    /// Each channel with its place.
    elements: Vec<(ScanElement, usize)>,
    bytes: usize,
}

impl ScanLayout {
    /// The layout of channels with their `index`, which is their order in a scan: each is aligned to its own size, the whole to the
    /// largest.
    #[must_use]
    pub fn new(elements: &[(u32, ScanElement)]) -> Self {
        let mut by_index: Vec<usize> = (0..elements.len()).collect();
        by_index.sort_by_key(|number| elements.get(*number).map(|(index, _)| *index));
        let mut placed: Vec<_> = elements.iter().map(|(_, element)| (*element, 0)).collect();
        let (mut end, mut largest) = (0usize, 1);
        for number in by_index {
            let Some((element, at)) = placed.get_mut(number) else { continue };
            *at = end.next_multiple_of(element.storage_bytes);
            end = *at + element.storage_bytes;
            largest = largest.max(element.storage_bytes);
        }
        Self { elements: placed, bytes: end.next_multiple_of(largest) }
    }

    /// Bytes of one scan.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The channels' numbers in one scan, in the order in which they were given; none when it is too short.
    #[must_use]
    pub fn values(&self, scan: &[u8]) -> Option<Vec<i64>> {
        self.elements.iter().map(|(element, at)| element.value(scan.get(*at..)?)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_mpu6050_scan_with_its_stamp() {
        let [be16, le64] = ["be:s16/16>>0", "le:s64/64>>0"].map(|text| ScanElement::parse(text).unwrap());
        let layout = ScanLayout::new(&[(0, be16), (1, be16), (2, be16), (4, be16), (5, be16), (6, be16), (7, le64)]);
        // Twelve bytes, four of padding, eight of time.
        assert_eq!(layout.bytes(), 24);
        let mut scan = vec![0x40, 0x00, 0xC0, 0x00, 0x00, 0x01, 0xFF, 0xFF, 0x7F, 0xFF, 0x80, 0x00, 9, 9, 9, 9];
        scan.extend(1_234_567_890_123i64.to_le_bytes());
        assert_eq!(layout.values(&scan), Some(vec![16_384, -16_384, 1, -1, 32_767, -32_768, 1_234_567_890_123]));
        assert_eq!(layout.values(&scan[..20]), None);
        let turned = ScanLayout::new(&[(7, le64), (2, be16), (0, be16), (1, be16), (4, be16), (5, be16), (6, be16)]);
        assert_eq!(turned.values(&scan).unwrap()[..3], [1_234_567_890_123, 1, 16_384]);
    }

    #[test]
    fn shifted_bits_are_taken_out() {
        let value = |text: &str, bytes: &[u8]| ScanElement::parse(text).unwrap().value(bytes);
        // Twelve bits in the upper part of sixteen, as the LIS2DH12 gives them.
        assert_eq!(value("le:s12/16>>4", &[0xF0, 0x7F]), Some(2047));
        assert_eq!(value("le:s12/16>>4", &[0x00, 0x80]), Some(-2048));
        assert_eq!(value("be:u12/16>>4", &[0xFF, 0xFF]), Some(4095));
        assert_eq!(value("le:u64/64>>0", &[0xFF; 8]), Some(-1));
    }

    #[test]
    fn other_types_are_refused() {
        for text in [
            "",
            "le:s16",
            "xx:s16/16>>0",
            "le:f32/32>>0",
            "le:s16/24>>0",
            "le:s16/16>>1",
            "le:s16/16X3>>0",
            "le:s0/8>>0",
        ] {
            assert!(ScanElement::parse(text).unwrap_err().contains("scan element"), "{text}");
        }
    }
}
