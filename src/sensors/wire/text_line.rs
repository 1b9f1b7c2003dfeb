//! Lines of numbers, as sketches for Arduino and ESP32 print them and VectorNav's `$VNYMR`: a delimiter, columns, and perhaps a prefix
//! and a checksum `*XX` (the XOR of what stands between `$` and `*`, as in NMEA 0183).

use super::framer::{Framer, Step};
use super::{WireParser, WireReading};

/// A longer line is garbage.
const MOST_LINE_BYTES: usize = 512;
/// More columns than any device prints.
const MOST_COLUMNS: usize = 64;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextColumn {
    /// Something else.
    Ignored,
    /// Specific force along x, y or z.
    Accel(usize),
    /// Rotation about x, y or z.
    Gyro(usize),
    /// The device's own clock.
    Time,
}

impl TextColumn {
    /// The names of columns in a config.
    pub const NAMES: [(&str, Self); 8] = [
        ("_", Self::Ignored),
        ("ax", Self::Accel(0)),
        ("ay", Self::Accel(1)),
        ("az", Self::Accel(2)),
        ("gx", Self::Gyro(0)),
        ("gy", Self::Gyro(1)),
        ("gz", Self::Gyro(2)),
        ("t", Self::Time),
    ];
}

/// How lines are written.
#[derive(Clone, Debug, PartialEq)]
pub struct TextLineFormat {
    /// Lines that begin otherwise are passed over; empty = every line counts.
    pub prefix: String,
    /// What stands between columns; a space = any white space.
    pub delimiter: char,
    /// Whether a line without a checksum is refused. One that is there is always checked.
    pub requires_checksum: bool,
    /// What the columns after the prefix hold, in their order; a line may have more.
    pub columns: Vec<TextColumn>,
    /// m/s² of one unit of the columns of acceleration.
    pub accel_mps2_per_unit: f64,
    /// rad/s of one unit of the columns of rotation.
    pub gyro_radps_per_unit: f64,
    /// Nanoseconds of one unit of the column of time.
    pub nanos_per_unit: f64,
}

impl TextLineFormat {
    /// Whether readings can be made of such lines; `Err` says what is missing.
    ///
    /// # Errors
    /// When the columns have not all three axes of acceleration once, and those of rotation once or not at all.
    pub fn check(&self) -> Result<(), String> {
        let count = |column: TextColumn| self.columns.iter().filter(|other| **other == column).count();
        let names = |which: fn(usize) -> TextColumn| [0, 1, 2].map(|axis| count(which(axis)));
        if self.columns.len() > MOST_COLUMNS {
            return Err(format!("there are {} columns: at most {MOST_COLUMNS}", self.columns.len()));
        }
        if names(TextColumn::Accel) != [1; 3] {
            return Err("\"ax\", \"ay\" and \"az\" must each be there once".to_owned());
        }
        if ![[0; 3], [1; 3]].contains(&names(TextColumn::Gyro)) {
            return Err("\"gx\", \"gy\" and \"gz\" must each be there once, or none of them".to_owned());
        }
        if count(TextColumn::Time) > 1 {
            return Err("\"t\" is there twice".to_owned());
        }
        Ok(())
    }

    fn reading(&self, offset: u64, line: &[u8]) -> Line {
        let Ok(text) = std::str::from_utf8(line) else { return Line::Wrong };
        let text = text.trim();
        let Some(after) = text.strip_prefix(self.prefix.as_str()) else { return Line::Other };
        let Some(columns) = self.without_checksum(text, after) else { return Line::Wrong };
        let columns = if self.prefix.is_empty() { columns } else { columns.trim_start_matches(self.delimiter) };
        if columns.is_empty() {
            return Line::Other;
        }
        self.numbers(offset, columns).unwrap_or(Line::Wrong)
    }

    /// The columns without their checksum; none when it is wrong, or missing where it must be there.
    fn without_checksum<'a>(&self, line: &str, columns: &'a str) -> Option<&'a str> {
        let Some((columns, digits)) = columns.rsplit_once('*') else {
            return (!self.requires_checksum).then_some(columns);
        };
        let told = u8::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 2)?;
        let (summed, _) = line.rsplit_once('*')?;
        let summed = summed.strip_prefix('$').unwrap_or(summed);
        (summed.bytes().fold(0, |xor, byte| xor ^ byte) == told).then_some(columns)
    }

    fn numbers(&self, offset: u64, columns: &str) -> Option<Line> {
        if self.delimiter.is_whitespace() {
            self.values(offset, columns.split_whitespace())
        } else {
            self.values(offset, columns.split(self.delimiter))
        }
    }

    fn values<'a>(&self, offset: u64, mut texts: impl Iterator<Item = &'a str>) -> Option<Line> {
        let (mut accel, mut gyro, mut has_gyro) = ([0.0; 3], [0.0; 3], false);
        let (mut device_nanos, mut is_time_finite) = (None, true);
        for column in &self.columns {
            let text = texts.next()?.trim();
            if *column == TextColumn::Ignored {
                continue;
            }
            let value: f64 = text.parse().ok()?;
            match column {
                TextColumn::Accel(axis) => *accel.get_mut(*axis)? = (value * self.accel_mps2_per_unit) as f32,
                TextColumn::Gyro(axis) => {
                    has_gyro = true;
                    *gyro.get_mut(*axis)? = (value * self.gyro_radps_per_unit) as f32;
                }
                TextColumn::Time => {
                    is_time_finite = value.is_finite();
                    // A cast from float saturates.
                    device_nanos = Some((value * self.nanos_per_unit).round() as i64);
                }
                TextColumn::Ignored => {}
            }
        }
        let gyro_radps = has_gyro.then_some(gyro);
        let reading = WireReading { offset, device_nanos, accel_mps2: accel, gyro_radps };
        Some(if is_time_finite { Line::Reading(reading) } else { Line::NotFinite })
    }
}

/// What a line is.
enum Line {
    Reading(WireReading),
    /// Not one of ours: another prefix, or empty.
    Other,
    /// Ours, and damaged.
    Wrong,
    /// Ours, and its time is no finite number.
    NotFinite,
}

/// Finds readings in a stream of lines.
#[derive(Debug)]
pub struct TextLineParser {
    format: TextLineFormat,
    framer: Framer,
    /// Whether the beginning of the line was seen: what comes first may be the end of one, and of a number.
    is_whole: bool,
    refused: u64,
    not_finite: u64,
}

impl TextLineParser {
    /// A parser for such lines.
    #[must_use]
    pub fn new(format: TextLineFormat) -> Self {
        Self { format, framer: Framer::default(), is_whole: false, refused: 0, not_finite: 0 }
    }
}

impl WireParser for TextLineParser {
    type Found = WireReading;

    fn push(&mut self, bytes: &[u8]) -> Vec<WireReading> {
        let mut readings = Vec::new();
        let Self { format, framer, is_whole, refused, not_finite } = self;
        framer.push(bytes, |offset, rest| {
            let Some(end) = rest.iter().take(MOST_LINE_BYTES).position(|byte| *byte == b'\n') else {
                if rest.len() < MOST_LINE_BYTES {
                    return Step::Partial;
                }
                *is_whole = false;
                return Step::Whole(MOST_LINE_BYTES);
            };
            if std::mem::replace(is_whole, true) {
                match format.reading(offset, rest.get(..end).unwrap_or_default()) {
                    Line::Reading(reading) => readings.extend(reading.finite(not_finite)),
                    Line::NotFinite => *not_finite += 1,
                    Line::Other => {}
                    Line::Wrong => *refused += 1,
                }
            }
            Step::Whole(end + 1)
        });
        readings
    }

    fn needed_from(&self) -> u64 {
        self.framer.needed_from()
    }

    fn refused(&self) -> u64 {
        self.refused
    }

    fn not_finite(&self) -> u64 {
        self.not_finite
    }
}

#[cfg(test)]
mod tests {
    use super::super::{STANDARD_GRAVITY_MPS2, packets};
    use super::*;

    fn lines(format: TextLineFormat, text: &str) -> (Vec<WireReading>, u64) {
        let mut parser = TextLineParser::new(format);
        let readings = parser.push(text.as_bytes());
        (readings, parser.refused())
    }

    #[test]
    fn comma_separated_values_in_units_of_their_own() {
        let format = packets::csv_format();
        let (readings, refused) = lines(format, "12,0,0\r\n1500,0.5,-1,0,180,0,-90\n\n1600,1,2,3,4,5\n1,x,1,1,1,1,1\n");
        assert_eq!(refused, 2);
        let [reading] = readings[..] else { panic!("{readings:?}") };
        assert_eq!((reading.offset, reading.device_nanos), (8, Some(1_500_000_000)));
        assert!((reading.accel_mps2[0] - STANDARD_GRAVITY_MPS2 / 2.0).abs() < 1e-6);
        assert_eq!(reading.accel_mps2[1], -STANDARD_GRAVITY_MPS2);
        let gyro = reading.gyro_radps.unwrap();
        assert!((gyro[0] - std::f32::consts::PI).abs() < 1e-6 && (gyro[2] + std::f32::consts::FRAC_PI_2).abs() < 1e-6);
    }

    #[test]
    fn a_vectornav_line_is_read_and_its_checksum_kept() {
        let line = packets::VNYMR_LINE;
        let (readings, refused) = lines(packets::vnymr_format(), &format!("\n{line}$VNRRG,1*00\n{line}"));
        assert_eq!((readings.len(), refused), (2, 0));
        assert_eq!(readings[0].accel_mps2, [-0.105, 0.273, -9.654]);
        assert_eq!(readings[0].gyro_radps, Some([-0.001222, -0.000450, 0.001218]));
        let damaged = line.replace("9.654", "9.655");
        assert_eq!(lines(packets::vnymr_format(), &format!("\n{damaged}")).1, 1);
        let without = line.split('*').next().unwrap();
        assert_eq!(lines(packets::vnymr_format(), &format!("\n{without}\n")).1, 1);
    }

    #[test]
    fn white_space_and_no_gyro() {
        use TextColumn::{Accel, Ignored};
        let columns = vec![Accel(0), Accel(1), Ignored, Accel(2)];
        let format = TextLineFormat { delimiter: ' ', columns, ..packets::csv_format() };
        assert_eq!(format.check(), Ok(()));
        let (readings, _) = lines(format, "\n  1 \t 0  label  -1 and more\n");
        assert_eq!(readings[0].accel_mps2, [STANDARD_GRAVITY_MPS2, 0.0, -STANDARD_GRAVITY_MPS2]);
        assert_eq!((readings[0].gyro_radps, readings[0].device_nanos), (None, None));
    }

    #[test]
    fn columns_must_make_a_reading() {
        let with =
            |columns: &[TextColumn]| TextLineFormat { columns: columns.to_vec(), ..packets::csv_format() }.check();
        use TextColumn::{Accel, Gyro, Time};
        assert!(with(&[Accel(0), Accel(1)]).unwrap_err().contains("\"az\""));
        assert!(with(&[Accel(0), Accel(1), Accel(2), Gyro(0)]).unwrap_err().contains("or none"));
        assert!(with(&[Accel(0), Accel(1), Accel(2), Time, Time]).unwrap_err().contains("twice"));
    }

    #[test]
    fn a_line_without_an_end_is_not_kept() {
        let mut parser = TextLineParser::new(packets::csv_format());
        for _ in 0..100 {
            parser.push(&[b'1'; 100]);
        }
        assert!(parser.needed_from() > 9000);
        assert_eq!(parser.push(b"1,1,1,1,1,1,1\n2,1,1,1,1,1,1\n").len(), 1);
    }
}
