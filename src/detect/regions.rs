//! From a similarity map to boxes: upsampling, growing of regions from their peaks, bounds. Pure geometry.

use super::Settings;
use crate::geometry::PixelBox;
use crate::space::Grid;

/// A connected part of the map around a local peak.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Region {
    /// Value of the map at its peak.
    pub(super) peak: f32,
    /// Its bounds in cells of the map: the whole map is `[0, cols] × [0, rows]`.
    pub(super) bounds: PixelBox,
}

impl Region {
    /// Its bounds in pixels of a picture of this size, of which the map is a stretch.
    pub(super) fn box_in_image(&self, map: &Grid, (width_px, height_px): (u32, u32)) -> PixelBox {
        let (across, down) = (width_px as f32 / map.cols as f32, height_px as f32 / map.rows as f32);
        let PixelBox { x0, y0, x1, y1 } = self.bounds;
        PixelBox { x0: x0 * across, y0: y0 * down, x1: x1 * across, y1: y1 * down }
    }
}

/// Regions of the map, highest peak first; the first one always exists unless the map has no cell. A region is seeded at the highest place
/// that no other region has taken, and grows while the map stays above a share of its own peak over the background.
pub(super) fn regions(map: &Grid, background: f32, settings: &Settings) -> Vec<Region> {
    let fine = upsampled(map, settings.upsampling.max(1));
    let top = fine.max();
    let mut free = vec![true; fine.values.len()];
    let mut found = Vec::new();
    while found.len() < settings.most_regions.max(1) {
        let peak = fine.values.iter().zip(&free).enumerate().filter(|(_, (_, free))| **free);
        let Some((place, (peak, _))) = peak.max_by(|(_, (a, _)), (_, (b, _))| a.total_cmp(b)) else { break };
        if !found.is_empty() && *peak < background + settings.seed_share * (top - background) {
            break;
        }
        let floor = background.min(*peak) + settings.grow_share * (peak - background.min(*peak));
        let (area, bounds) = grow(&fine, place, floor, &mut free);
        let cells = area as f32 / (settings.upsampling.max(1).pow(2)) as f32;
        if found.is_empty() || cells >= settings.fewest_cells {
            let scale = 1.0 / settings.upsampling.max(1) as f32;
            let PixelBox { x0, y0, x1, y1 } = bounds;
            let bounds = PixelBox { x0: x0 * scale, y0: y0 * scale, x1: x1 * scale, y1: y1 * scale };
            found.push(Region { peak: *peak, bounds });
        }
    }
    found
}

/// Takes the free places connected to `start` that are at least `floor`; their number and bounds.
fn grow(fine: &Grid, start: usize, floor: f32, free: &mut [bool]) -> (usize, PixelBox) {
    let (mut stack, mut area) = (vec![start], 0);
    let (mut left, mut top, mut right, mut bottom) = (usize::MAX, usize::MAX, 0, 0);
    while let Some(place) = stack.pop() {
        let Some(is_free) = free.get_mut(place) else { continue };
        // The start is taken whatever it holds, so that every round makes progress.
        if !*is_free || (place != start && fine.values.get(place).is_none_or(|value| *value < floor)) {
            continue;
        }
        *is_free = false;
        area += 1;
        let (row, col) = (place / fine.cols, place % fine.cols);
        (left, right, top, bottom) = (left.min(col), right.max(col), top.min(row), bottom.max(row));
        if col > 0 {
            stack.push(place - 1);
        }
        if col + 1 < fine.cols {
            stack.push(place + 1);
        }
        if row > 0 {
            stack.push(place - fine.cols);
        }
        if row + 1 < fine.rows {
            stack.push(place + fine.cols);
        }
    }
    let bounds = PixelBox { x0: left as f32, y0: top as f32, x1: (right + 1) as f32, y1: (bottom + 1) as f32 };
    (area, bounds)
}

/// Bilinear, `factor` places a cell both ways, cell centres kept in place.
fn upsampled(map: &Grid, factor: usize) -> Grid {
    let (rows, cols) = (map.rows * factor, map.cols * factor);
    let place = |index: usize| {
        let exact = (index as f32 + 0.5) / factor as f32 - 0.5;
        (exact.floor() as isize, exact - exact.floor())
    };
    let mut values = Vec::with_capacity(rows * cols);
    for (row, down) in (0..rows).map(place) {
        for (col, right) in (0..cols).map(place) {
            let above = map.at(row, col) * (1.0 - right) + map.at(row, col + 1) * right;
            let below = map.at(row + 1, col) * (1.0 - right) + map.at(row + 1, col + 1) * right;
            values.push(above * (1.0 - down) + below * down);
        }
    }
    Grid { rows, cols, values }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mirrored(map: &Grid) -> Grid {
        let values = map.values.chunks_exact(map.cols).flat_map(|row| row.iter().rev().copied()).collect();
        Grid { values, ..*map }
    }

    fn any_map() -> impl Strategy<Value = Grid> {
        // Steps of 1/64: sums of interpolation weights are then exact, and mirrored maps compare bit for bit.
        prop::collection::vec((0i32..640).prop_map(|v| v as f32 / 64.0), 6 * 8).prop_map(|values| Grid {
            rows: 6,
            cols: 8,
            values,
        })
    }

    proptest! {
        #[test]
        fn a_mirrored_map_gives_mirrored_boxes(map in any_map()) {
            let settings = Settings::default();
            let mut plain: Vec<PixelBox> = regions(&map, 1.0, &settings).into_iter().map(|r| r.bounds).collect();
            let mut back: Vec<PixelBox> = regions(&mirrored(&map), 1.0, &settings)
                .into_iter()
                .map(|Region { bounds: PixelBox { x0, y0, x1, y1 }, .. }| PixelBox { x0: 8.0 - x1, y0, x1: 8.0 - x0, y1 })
                .collect();
            let order = |a: &PixelBox, b: &PixelBox| {
                [a.x0, a.y0, a.x1, a.y1].partial_cmp(&[b.x0, b.y0, b.x1, b.y1]).unwrap()
            };
            plain.sort_by(order);
            back.sort_by(order);
            prop_assert_eq!(plain, back);
        }

        #[test]
        fn regions_lie_inside_and_come_highest_first(map in any_map()) {
            let found = regions(&map, 0.0, &Settings::default());
            prop_assert!(!found.is_empty());
            prop_assert!(found.is_sorted_by(|a, b| a.peak >= b.peak));
            for Region { bounds, .. } in found {
                prop_assert!(bounds.x0 >= 0.0 && bounds.y0 >= 0.0 && bounds.x1 <= 8.0 && bounds.y1 <= 6.0 && bounds.area() > 0.0);
            }
        }
    }

    #[test]
    fn two_things_make_two_boxes_where_they_are() {
        let mut map = Grid { rows: 6, cols: 8, values: vec![0.0; 48] };
        for (row, col, value) in [(1, 1, 1.0), (1, 2, 1.0), (2, 1, 1.0), (2, 2, 1.0), (4, 6, 0.9)] {
            map.values[row * 8 + col] = value;
        }
        let settings = Settings { fewest_cells: 0.5, ..Settings::default() };
        let found = regions(&map, 0.0, &settings);
        assert_eq!(found.len(), 2);
        let big = found[0].box_in_image(&map, (800, 600));
        assert!(big.contains(200.0, 200.0) && !big.contains(450.0, 200.0), "{big:?}");
        assert!(big.iou(&PixelBox { x0: 100.0, y0: 100.0, x1: 300.0, y1: 300.0 }) > 0.6, "{big:?}");
        assert!(found[1].box_in_image(&map, (800, 600)).contains(650.0, 450.0));
    }

    #[test]
    fn flat_and_empty_maps_do_no_harm() {
        let flat = Grid { rows: 6, cols: 8, values: vec![0.25; 48] };
        assert_eq!(regions(&flat, 0.5, &Settings::default()).len(), 1);
        assert_eq!(
            regions(&flat, 0.0, &Settings::default())[0].bounds,
            PixelBox { x0: 0.0, y0: 0.0, x1: 8.0, y1: 6.0 }
        );
        assert!(regions(&Grid { rows: 0, cols: 0, values: Vec::new() }, 0.0, &Settings::default()).is_empty());
        let broken = Grid { rows: 6, cols: 8, values: vec![f32::NAN; 48] };
        assert!(!regions(&broken, 0.0, &Settings::default()).is_empty());
    }
}
