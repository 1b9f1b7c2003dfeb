//! From a similarity map to boxes: upsampling, growing of regions from their peaks, bounds. Pure geometry.

use super::Settings;
use crate::geometry::PixelBox;
use crate::space::Grid;

/// A connected part of the map around a local peak.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Region {
    /// Value of the map at its peak.
    pub(super) peak: f32,
    /// Row and column of its peak.
    pub(super) place: (usize, usize),
    /// Its bounds in cells of the map: the whole map is `[0, cols] × [0, rows]`.
    pub(super) bounds: PixelBox,
}

impl Region {
    /// The box of what it shows, in pixels of a picture of this size, of which the map is a stretch.
    pub(super) fn box_in_image(
        &self,
        (rows, cols): (usize, usize),
        (width_px, height_px): (u32, u32),
        settings: &Settings,
    ) -> PixelBox {
        let (across, down) = (width_px as f32 / cols as f32, height_px as f32 / rows as f32);
        let PixelBox { x0, y0, x1, y1 } = self.bounds;
        let trim = (x1 - x0) * (1.0 - settings.width_share) / 2.0;
        PixelBox {
            x0: (x0 + trim) * across,
            y0: ((y0 + settings.lowered_cells) * down).clamp(0.0, height_px as f32),
            x1: (x1 - trim) * across,
            y1: ((y1 + settings.lowered_cells) * down).clamp(0.0, height_px as f32),
        }
    }
}

/// Regions of the map, highest peak first; the first one always exists unless the map has no cell. A peak is the highest cell that no earlier region
/// covers. Its region is drawn on a mixture of the map and of how like each cell is to the peak (`likeness`): the prompt says
/// where, and the picture itself how far it reaches.
pub(super) fn regions(map: &Grid, likeness: impl Fn(usize, usize) -> Option<Grid>, settings: &Settings) -> Vec<Region> {
    let factor = settings.upsampling.max(1);
    let mut free = vec![true; map.values.len()];
    let mut found: Vec<Region> = Vec::new();
    let median = map.median();
    while found.len() < settings.most_regions.max(1) {
        let cells = map.values.iter().zip(&free).enumerate().filter(|(_, (_, free))| **free);
        let highest = cells.max_by(|(_, (a, _)), (_, (b, _))| a.total_cmp(b));
        let Some((index, (peak, _))) = highest else { break };
        if found.first().is_some_and(|first| *peak < settings.seed_share * first.peak) {
            break;
        }
        let place = (index / map.cols, index % map.cols);
        let own = share_of_peak(map, median, place);
        let mixed = match likeness(place.0, place.1) {
            Some(like) => mixture(&share_of_peak(&like, like.median(), place), &own, settings.likeness_weight),
            None => own,
        };
        let bounds = grow(&upsampled(&mixed, factor), place, factor, settings.grow_share, &mut free);
        found.push(Region { peak: *peak, place, bounds });
    }
    found
}

/// 0 at the map's median, 1 at the peak.
fn share_of_peak(map: &Grid, median: f32, (row, col): (usize, usize)) -> Grid {
    let range = (map.at(row as isize, col as isize) - median).max(1e-6);
    Grid { values: map.values.iter().map(|value| (value - median) / range).collect(), ..*map }
}

fn mixture(first: &Grid, second: &Grid, weight: f32) -> Grid {
    let mixed = first.values.iter().zip(&second.values).map(|(a, b)| weight * a + (1.0 - weight) * b);
    Grid { values: mixed.collect(), ..*second }
}

/// Bounds, in cells, of the places of free cells that are connected to the middle of the peak's cell and at least `floor`. That middle
/// is taken whatever it holds. The cells that are reached are no longer free.
fn grow(fine: &Grid, (row, col): (usize, usize), factor: usize, floor: f32, free: &mut [bool]) -> PixelBox {
    // A frame of places that are closed stands around the map. Rows and columns are counted with it.
    let (width, cols) = (fine.cols + 2, fine.cols / factor);
    let mut open = vec![false; width * (fine.rows + 2)];
    let rows = fine.values.chunks_exact(fine.cols.max(1)).zip(open.chunks_exact_mut(width).skip(1));
    for ((values, open), free) in
        rows.zip(free.chunks_exact(cols.max(1)).flat_map(|row| std::iter::repeat_n(row, factor)))
    {
        let free = free.iter().flat_map(|free| std::iter::repeat_n(free, factor));
        for ((open, value), free) in open.iter_mut().skip(1).zip(values).zip(free) {
            *open = *free && *value >= floor;
        }
    }
    let mut stack: Vec<(usize, usize)> = Vec::with_capacity(fine.values.len());
    let mut reach = |stack: &mut Vec<(usize, usize)>, (row, col): (usize, usize), is_open: bool| {
        if let Some(open) = open.get_mut(row * width + col)
            && (*open || is_open)
        {
            *open = false;
            stack.push((row, col));
        }
    };
    for place in middle_places((row, col), factor) {
        reach(&mut stack, place, true);
    }
    let (mut left, mut top, mut right, mut bottom) = (usize::MAX, usize::MAX, 0, 0);
    while let Some((row, col)) = stack.pop() {
        (left, right, top, bottom) = (left.min(col), right.max(col), top.min(row), bottom.max(row));
        if let Some(is_free) = free.get_mut((row - 1) / factor * cols + (col - 1) / factor) {
            *is_free = false;
        }
        for place in [(row, col - 1), (row, col + 1), (row - 1, col), (row + 1, col)] {
            reach(&mut stack, place, false);
        }
    }
    let cells = |places: usize| places as f32 / factor as f32;
    PixelBox { x0: cells(left - 1), y0: cells(top - 1), x1: cells(right), y1: cells(bottom) }
}

/// The four places around a cell's centre (all of them, so that a mirrored map is read at the mirrored places), counted from 1.
fn middle_places((row, col): (usize, usize), factor: usize) -> impl Iterator<Item = (usize, usize)> {
    let middle = move |cell: usize| [cell * factor + (factor - 1) / 2 + 1, cell * factor + factor / 2 + 1];
    middle(row).into_iter().flat_map(move |row| middle(col).map(move |col| (row, col)))
}

/// Bilinear, `factor` places a cell both ways, cell centres kept in place.
fn upsampled(map: &Grid, factor: usize) -> Grid {
    let (rows, cols) = (map.rows * factor, map.cols * factor);
    // The cells before and after, and how far between them.
    let place = |index: usize, count: usize| {
        let exact = (index as f32 + 0.5) / factor as f32 - 0.5;
        let clamped = |cell: f32| (cell.max(0.0) as usize).min(count.saturating_sub(1));
        (clamped(exact.floor()), clamped(exact.floor() + 1.0), exact - exact.floor())
    };
    let across: Vec<(usize, usize, f32)> = (0..cols).map(|col| place(col, map.cols)).collect();
    let at = |row: &[f32], col: usize| row.get(col).copied().unwrap_or(f32::MIN);
    let widened = map.values.chunks_exact(map.cols.max(1)).flat_map(|row| {
        across.iter().map(move |(left, right, share)| at(row, *left) * (1.0 - share) + at(row, *right) * share)
    });
    let widened: Vec<f32> = widened.collect();
    let line = |row: usize| widened.get(row * cols..(row + 1) * cols).unwrap_or_default();
    let mut values = Vec::with_capacity(rows * cols);
    for (above, below, share) in (0..rows).map(|row| place(row, map.rows)) {
        let pairs = line(above).iter().zip(line(below));
        values.extend(pairs.map(|(above, below)| above * (1.0 - share) + below * share));
    }
    Grid { rows, cols, values }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoders::PatchMap;
    use crate::space::Cells;
    use proptest::prelude::*;

    fn mirrored(map: &Grid) -> Grid {
        let values = map.values.chunks_exact(map.cols).flat_map(|row| row.iter().rev().copied()).collect();
        Grid { values, ..*map }
    }

    /// All values differ: which of two equal peaks comes first is nobody's business.
    fn any_map() -> impl Strategy<Value = Grid> {
        // Steps of 1/64: sums of interpolation weights are then exact, and mirrored maps compare bit for bit.
        Just((0..48u8).map(|v| f32::from(v) / 64.0).collect::<Vec<f32>>()).prop_shuffle().prop_map(|values| Grid {
            rows: 6,
            cols: 8,
            values,
        })
    }

    proptest! {
        #[test]
        fn a_mirrored_map_gives_mirrored_boxes(map in any_map()) {
            let settings = Settings::default();
            let mut plain: Vec<PixelBox> = regions(&map, |_, _| None, &settings).into_iter().map(|r| r.bounds).collect();
            let mut back: Vec<PixelBox> = regions(&mirrored(&map), |_, _| None, &settings)
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
            let found = regions(&map, |_, _| None, &Settings::default());
            prop_assert!(!found.is_empty());
            prop_assert!(found.is_sorted_by(|a, b| a.peak >= b.peak));
            for Region { bounds, .. } in found {
                prop_assert!(bounds.x0 >= 0.0 && bounds.y0 >= 0.0 && bounds.x1 <= 8.0 && bounds.y1 <= 6.0 && bounds.area() > 0.0);
            }
        }
    }

    /// Draws what the map shows, without the shaping of boxes.
    fn plain() -> Settings {
        Settings { width_share: 1.0, lowered_cells: 0.0, ..Settings::default() }
    }

    #[test]
    fn two_things_make_two_boxes_where_they_are() {
        let mut map = Grid { rows: 6, cols: 8, values: vec![0.0; 48] };
        for (row, col, value) in [(1, 1, 1.0), (1, 2, 1.0), (2, 1, 1.0), (2, 2, 1.0), (4, 6, 0.9)] {
            map.values[row * 8 + col] = value;
        }
        let found = regions(&map, |_, _| None, &plain());
        assert_eq!(found.len(), 2);
        let big = found[0].box_in_image((6, 8), (800, 600), &plain());
        assert!(big.contains(200.0, 200.0) && !big.contains(450.0, 200.0), "{big:?}");
        assert!(big.iou(&PixelBox { x0: 100.0, y0: 100.0, x1: 300.0, y1: 300.0 }) > 0.5, "{big:?}");
        assert!(found[1].box_in_image((6, 8), (800, 600), &plain()).contains(650.0, 450.0));
    }

    #[test]
    fn what_is_like_the_peak_belongs_to_it() {
        let mut map = Grid { rows: 6, cols: 8, values: vec![0.0; 48] };
        map.values[2 * 8 + 2] = 1.0;
        let alike = |_, _| {
            let values = (0..48)
                .map(|place| if (1..5).contains(&(place / 8)) && (1..4).contains(&(place % 8)) { 1.0 } else { 0.0 });
            Some(Grid { rows: 6, cols: 8, values: values.collect() })
        };
        let lone = regions(&map, |_, _| None, &plain())[0].bounds;
        let whole = regions(&map, alike, &plain())[0].bounds;
        let truth = PixelBox { x0: 1.0, y0: 1.0, x1: 4.0, y1: 5.0 };
        assert!(whole.iou(&truth) > 0.7 && whole.iou(&truth) > lone.iou(&truth) + 0.2, "{whole:?} {lone:?}");
    }

    /// What the numpy reference of the recipe (`models/recipe/detector.py`) makes of the same numbers.
    #[test]
    fn boxes_are_those_of_the_reference() {
        #[derive(serde::Deserialize)]
        struct Golden {
            shape: [usize; 3],
            mean: Vec<f32>,
            patches: Vec<f32>,
            plane: Vec<f32>,
            candidates: Vec<Candidate>,
        }
        #[derive(serde::Deserialize)]
        struct Candidate {
            #[serde(rename = "box")]
            place: [f32; 4],
        }
        let golden: Golden = serde_json::from_str(include_str!("../../tests/golden/detect.json")).unwrap();
        let [dim, rows, cols] = golden.shape;
        let by_cell = (0..rows * cols).flat_map(|cell| (0..dim).map(move |d| d * rows * cols + cell));
        let map = PatchMap { rows, cols, dim, cells: by_cell.map(|at| golden.patches[at]).collect() };
        let cells = Cells::new(&map, &golden.mean);
        let plane = Grid { rows, cols, values: golden.plane };
        // The reference neither shapes its boxes nor weighs likeness as we do.
        let settings = Settings { likeness_weight: 0.6, ..plain() };
        let found = regions(&plane, |row, col| cells.likeness(row, col), &settings);
        for (region, expected) in found.iter().zip(&golden.candidates) {
            let PixelBox { x0, y0, x1, y1 } = region.box_in_image((rows, cols), (640, 480), &settings);
            assert_eq!([x0, y0, x1, y1], expected.place);
        }
        assert!(found.len() >= golden.candidates.len());
    }

    #[test]
    fn flat_and_empty_maps_do_no_harm() {
        let flat = Grid { rows: 6, cols: 8, values: vec![0.25; 48] };
        assert!(!regions(&flat, |_, _| None, &Settings::default()).is_empty());
        assert!(regions(&Grid { rows: 0, cols: 0, values: Vec::new() }, |_, _| None, &Settings::default()).is_empty());
        let broken = Grid { rows: 6, cols: 8, values: vec![f32::NAN; 48] };
        assert!(!regions(&broken, |_, _| None, &Settings::default()).is_empty());
    }
}
