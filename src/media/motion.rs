//! Recorded motion of six axes, and the CSV files that hold it.

use std::path::Path;

use super::{MIB, MediaError, read};

const WHAT: &str = "IMU file";
/// Some hours of motion.
const MOST_BYTES: u64 = 256 * MIB;
/// The columns, in order. A first line that does not begin with a number is a header, which must name them so.
const COLUMNS: [&str; 7] = ["t_secs", "ax_mps2", "ay_mps2", "az_mps2", "gx_radps", "gy_radps", "gz_radps"];

/// Readings of accelerometer and gyroscope in the order of their times.
#[derive(Clone, Debug, PartialEq)]
pub struct Motion {
    /// When each reading was true, in seconds, strictly rising.
    pub t_secs: Vec<f64>,
    /// Accelerometer x y z in m/s², gyroscope x y z in rad/s, for each reading.
    pub readings: Vec<[f32; 6]>,
}

impl Motion {
    /// Reads a CSV file of `t_secs,ax_mps2,ay_mps2,az_mps2,gx_radps,gy_radps,gz_radps`; the header line is optional.
    ///
    /// # Errors
    /// When it cannot be read, its header names other columns, a line does not hold seven finite numbers, or times do not rise.
    pub fn open(path: &Path) -> Result<Self, MediaError> {
        let bytes = read(path, MOST_BYTES)?;
        Self::from_csv(std::str::from_utf8(&bytes).map_err(|why| MediaError::malformed(WHAT, why))?)
    }

    /// The same from the file's text.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn from_csv(text: &str) -> Result<Self, MediaError> {
        let mut motion = Self { t_secs: Vec::new(), readings: Vec::new() };
        // Spreadsheets put a byte order mark before the text.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            let refuse = |why: String| MediaError::malformed(WHAT, format!("line {}: {why}", index + 1));
            if line.is_empty() {
                continue;
            }
            if index == 0 && is_header(line) {
                check_header(line).map_err(refuse)?;
                continue;
            }
            let (t_secs, reading) = parse(line).map_err(refuse)?;
            if motion.t_secs.last().is_some_and(|before| t_secs <= *before) {
                return Err(refuse("t_secs does not rise".to_owned()));
            }
            motion.t_secs.push(t_secs);
            motion.readings.push(reading);
        }
        if motion.readings.is_empty() { Err(MediaError::Empty(WHAT)) } else { Ok(motion) }
    }

    /// From the first reading to the last, in seconds.
    #[must_use]
    pub fn secs(&self) -> f64 {
        self.t_secs.last().zip(self.t_secs.first()).map_or(0.0, |(last, first)| last - first)
    }

    /// The longest time from one reading to the next, in seconds, and the index of the later one; none of fewer than two readings.
    #[must_use]
    pub fn longest_step(&self) -> Option<(f64, usize)> {
        let steps = self.t_secs.windows(2).zip(1..).filter_map(|(pair, index)| match pair {
            [before, after] => Some((after - before, index)),
            _ => None,
        });
        steps.max_by(|(a, _), (b, _)| a.total_cmp(b))
    }

    /// Six rows of `count` values, one row after another, at `start + k / rate_hz`, where `start` counts in seconds from the
    /// first reading: linear between readings, held beyond the first and the last.
    #[must_use]
    pub fn resampled(&self, start_secs: f64, rate_hz: f64, count: usize) -> Vec<f32> {
        let zero = self.t_secs.first().copied().unwrap_or(0.0);
        let wanted: Vec<[f32; 6]> = (0..count).map(|k| self.at(zero + start_secs + k as f64 / rate_hz)).collect();
        (0..6).flat_map(|axis| wanted.iter().filter_map(move |reading| reading.get(axis).copied())).collect()
    }

    fn at(&self, t_secs: f64) -> [f32; 6] {
        let after = self.t_secs.partition_point(|t| *t < t_secs);
        let point = |index: usize| self.t_secs.get(index).copied().zip(self.readings.get(index).copied());
        match (after.checked_sub(1).and_then(point), point(after)) {
            (Some((t0, before)), Some((t1, next))) => {
                let share = (t_secs - t0) / (t1 - t0);
                let mut mixed = before;
                for (value, next) in mixed.iter_mut().zip(next) {
                    *value = (f64::from(*value) + share * (f64::from(next) - f64::from(*value))) as f32;
                }
                mixed
            }
            (Some((_, only)), None) | (None, Some((_, only))) => only,
            (None, None) => [0.0; 6],
        }
    }
}

fn is_header(line: &str) -> bool {
    line.split(',').next().is_some_and(|cell| cell.trim().parse::<f64>().is_err())
}

fn check_header(line: &str) -> Result<(), String> {
    match (1..).zip(cells(line)?).zip(COLUMNS).find(|((_, cell), column)| cell != column) {
        Some(((place, cell), column)) => Err(format!(
            "column {place} is `{cell}` instead of {column}: the columns are {}, in this order",
            COLUMNS.join(",")
        )),
        None => Ok(()),
    }
}

fn cells(line: &str) -> Result<Vec<&str>, String> {
    let cells: Vec<&str> = line.split(',').map(str::trim).collect();
    if cells.len() != COLUMNS.len() {
        return Err(format!("{} columns instead of {}", cells.len(), COLUMNS.join(",")));
    }
    Ok(cells)
}

fn parse(line: &str) -> Result<(f64, [f32; 6]), String> {
    let cells = cells(line)?;
    let number = |(cell, column): (&&str, &str)| match cell.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        _ => Err(format!("{column} is `{cell}`, not a finite number")),
    };
    let values = cells.iter().zip(COLUMNS).map(number).collect::<Result<Vec<f64>, String>>()?;
    match values.as_slice() {
        [t_secs, ax, ay, az, gx, gy, gz] => Ok((*t_secs, [ax, ay, az, gx, gy, gz].map(|v| *v as f32))),
        _ => Err("not seven numbers".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_are_read_with_and_without_header() {
        let body = "0.0,1,2,3,4,5,6\n0.1, 3,2,3,4,5,6\n";
        let motion = Motion::from_csv(body).unwrap();
        for header in ["t_secs,ax_mps2,ay_mps2,az_mps2,gx_radps,gy_radps,gz_radps\r\n", "\u{feff}"] {
            assert_eq!(motion, Motion::from_csv(&format!("{header}{body}")).unwrap());
        }
        assert_eq!(motion.resampled(0.0, 20.0, 4)[..5], [1.0, 2.0, 3.0, 3.0, 2.0]);
        assert!((motion.secs() - 0.1).abs() < 1e-12);
    }

    #[test]
    fn the_longest_step_is_found() {
        let at = |t_secs: &[f64]| Motion { t_secs: t_secs.to_vec(), readings: vec![[0.0; 6]; t_secs.len()] };
        assert_eq!(at(&[0.0, 1.0, 4.0, 5.0]).longest_step(), Some((3.0, 2)));
        assert_eq!(at(&[7.0]).longest_step(), None);
    }

    #[test]
    fn a_bad_line_is_named() {
        for (bad, says) in [
            ("0,1,2,3,4,5,NaN", "line 1: gz_radps"),
            ("0,1,2,3,4,5,6\n1,1,2,3", "line 2: 4 columns"),
            ("1,1,2,3,4,5,6\n1,1,2,3,4,5,6", "line 2: t_secs does not rise"),
            ("t_secs,ax_mps2,ay_mps2,az_mps2,gx_radps,gy_radps,gz_radps\n", "empty"),
            ("", "empty"),
            ("time,a\n", "line 1: 2 columns"),
            (
                "t_secs,gx_radps,gy_radps,gz_radps,ax_mps2,ay_mps2,az_mps2\n0,1,2,3,4,5,6",
                "line 1: column 2 is `gx_radps` instead of ax_mps2",
            ),
            ("t_ms,ax_mps2,ay_mps2,az_mps2,gx_radps,gy_radps,gz_radps\n0,1,2,3,4,5,6", "column 1 is `t_ms`"),
        ] {
            let error = Motion::from_csv(bad).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
