//! Layers one after another. Up to three of them are computed together, band by band, so that what lies between them stays near.

use super::layer::{Kind, Layer, Window};
use super::plane::{Layout, Plane};

/// Values of a band between two layers: 512 KiB, half of a second-level cache. Half of it costs 3 to 8 % of the time.
const BAND: usize = 131_072;

/// Layers in order, grouped.
#[derive(Clone, Debug, PartialEq, Default)]
pub(super) struct Groups(Vec<Vec<Layer>>);

impl Groups {
    /// Appends a layer; says whether it begins a group. An inverted bottleneck (dense, depthwise, dense over single pixels) is one.
    pub(super) fn push(&mut self, layer: Layer) -> bool {
        let open = self.0.last_mut().filter(|group| match (group.last(), layer.kind) {
            (Some(last), Kind::Depthwise) => last.kind == Kind::Dense && group.len() == 1,
            (Some(last), Kind::Dense) => last.kind == Kind::Depthwise && layer.window == Window::PIXEL,
            _ => false,
        });
        match open {
            Some(group) => {
                group.push(layer);
                false
            }
            None => {
                self.0.push(vec![layer]);
                true
            }
        }
    }

    /// How many layers there are.
    pub(super) fn layers(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }

    /// How many layers the last group has.
    pub(super) fn last_len(&self) -> usize {
        self.0.last().map_or(0, Vec::len)
    }

    /// Keeps the first `layers`.
    pub(super) fn truncate(&mut self, layers: usize) {
        let mut left = layers;
        for group in &mut self.0 {
            group.truncate(left);
            left -= group.len();
        }
        self.0.retain(|group| !group.is_empty());
    }

    /// The layer that was appended last.
    pub(super) fn last_mut(&mut self) -> Option<&mut Layer> {
        self.0.last_mut()?.last_mut()
    }

    /// Computes everything: `input` and `output` are channels first.
    #[inline(always)]
    pub(super) fn compute<const FMA: bool>(&self, input: &[f32], output: &mut [f32]) {
        let Some(first) = self.0.first().and_then(|group| group.first()) else { return };
        let layout = first.layout(true);
        let mut scratch = Scratch::default();
        let mut plane = scratch.plane(first, layout, layout.rows);
        read(input, first, &mut plane);
        for (index, group) in self.0.iter().enumerate() {
            let next = self.0.get(index + 1).and_then(|group| group.first());
            let Some(last) = group.last() else { return };
            let layout = next.map_or_else(|| last.output_layout(), |next| next.layout(false));
            let mut result = scratch.plane(next.unwrap_or(last), layout, layout.rows);
            compute_group::<FMA>(group, &plane, &mut result, &mut scratch);
            scratch.spare.push(std::mem::replace(&mut plane, result).values);
            if next.is_none() {
                write(&plane, last, output);
            }
        }
    }
}

/// Memory that one run uses again and again.
#[derive(Default)]
struct Scratch {
    spare: Vec<Vec<f32>>,
    pixels: Vec<[usize; 3]>,
}

impl Scratch {
    /// A plane for `reader`, in the smallest piece of memory that is free and large enough.
    fn plane(&mut self, reader: &Layer, layout: Layout, rows: usize) -> Plane {
        let needed = rows * layout.cols * layout.pitch;
        let fitting = self.spare.iter().enumerate().filter(|(_, spare)| spare.capacity() >= needed);
        let best = fitting.min_by_key(|(_, spare)| spare.capacity()).map(|(index, _)| index);
        let values = best.map_or_else(Vec::new, |index| self.spare.swap_remove(index));
        let has_zeros = (layout.rows, layout.cols) != (reader.input.rows, reader.input.cols);
        Plane::within(values, layout, rows, has_zeros)
    }
}

/// All rows of a group's output, band by band. What two bands share of the planes between is computed once.
#[inline(always)]
fn compute_group<const FMA: bool>(layers: &[Layer], input: &Plane, output: &mut Plane, scratch: &mut Scratch) {
    let Some(rows) = layers.last().map(|last| last.output.rows) else { return };
    let layouts: Vec<Layout> = layers.iter().skip(1).map(|layer| layer.layout(false)).collect();
    let held = |band_rows: usize| held_rows(layers, band_rows);
    let fits = |band_rows: &usize| {
        held(*band_rows).iter().zip(&layouts).all(|(rows, layout)| rows * layout.cols * layout.pitch <= BAND)
    };
    let band_rows = (2..=rows).take_while(fits).last().unwrap_or(1);
    let readers = layers.iter().skip(1).zip(held(band_rows)).zip(layouts);
    let mut between: Vec<Plane> = readers.map(|((reader, rows), layout)| scratch.plane(reader, layout, rows)).collect();
    let mut done = vec![0; layers.len()];
    for start in (0..rows).step_by(band_rows) {
        // Rows that each layer has to give, from the last layer to the first.
        let mut wanted = start..(start + band_rows).min(rows);
        let mut ends = vec![wanted.end; layers.len()];
        for (index, layer) in layers.iter().enumerate().skip(1).rev() {
            let ([height, _], [down, _]) = (layer.window.kernel, layer.window.stride);
            let (first, end) = (wanted.start * down, (wanted.end - 1) * down + height);
            let Layout { top, .. } = layer.layout(false);
            if let Some(plane) = between.get_mut(index - 1) {
                plane.advance(first, top + layer.input.rows);
            }
            wanted = first.saturating_sub(top)..end.saturating_sub(top).min(layer.input.rows);
            ends[index - 1] = wanted.end;
            done[index - 1] = done[index - 1].max(wanted.start);
        }
        for (index, layer) in layers.iter().enumerate() {
            let rows = done[index]..ends[index].max(done[index]);
            done[index] = rows.end;
            let (before, after) = between.split_at_mut(index);
            let from = before.last().unwrap_or(input);
            let to = after.first_mut().unwrap_or(output);
            layer.compute::<FMA>((from, input), rows, to, &mut scratch.pixels);
        }
    }
    scratch.spare.extend(between.into_iter().map(|plane| plane.values));
}

/// Rows of the planes between that a band of the output needs.
fn held_rows(layers: &[Layer], band_rows: usize) -> Vec<usize> {
    let mut rows = band_rows;
    let mut held: Vec<usize> = layers
        .iter()
        .skip(1)
        .rev()
        .map(|layer| {
            rows = (rows - 1) * layer.window.stride[0] + layer.window.kernel[0];
            rows
        })
        .collect();
    held.reverse();
    held
}

/// Channels first to last.
#[inline(always)]
fn read(input: &[f32], first: &Layer, plane: &mut Plane) {
    let pitch = plane.layout.pitch;
    let rows = input.chunks_exact(first.input.cols).enumerate();
    for (row, values) in rows {
        let (channel, y) = (row / first.input.rows, row % first.input.rows);
        let at = plane.at(y, 0) + channel;
        for (to, value) in plane.values[at..].iter_mut().step_by(pitch).zip(values) {
            *to = *value;
        }
    }
}

/// Channels last to first.
#[inline(always)]
fn write(plane: &Plane, last: &Layer, output: &mut [f32]) {
    let pitch = plane.layout.pitch;
    for (row, values) in output.chunks_exact_mut(last.output.cols).enumerate() {
        let (channel, y) = (row / last.output.rows, row % last.output.rows);
        let at = plane.at(y, 0) + channel;
        for (value, from) in values.iter_mut().zip(plane.values[at..].iter().step_by(pitch)) {
            *value = *from;
        }
    }
}
