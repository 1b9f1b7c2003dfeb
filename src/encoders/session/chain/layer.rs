//! One layer of a chain, channels last: dense or depthwise convolution with its clamp, or a softmax over channels.
//!
//! Plain Rust in a form that compilers turn into vector code: fixed arrays of [`LANES`] channels, innermost. Sums stay in
//! registers over all of a layer's taps.

use std::ops::Range;

use super::plane::{Layout, Plane};

/// Channels that are computed together: one AVX-512 register, two of AVX2.
pub(super) const LANES: usize = 16;

/// `LANES` neighbouring channels.
pub(super) type Lanes = [f32; LANES];

/// Pixels of a dense layer that are summed together: of AVX2's 16 registers they take 12, and 3 more hold what is multiplied.
const TILE: usize = 6;

/// Pixels of a depthwise layer that are summed together.
const STRIP: usize = 4;

/// Height, width and channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) channels: usize,
}

/// What a layer computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Every output channel of all input channels.
    Dense,
    /// Every output channel of its own input channel.
    Depthwise,
    /// Over the channels of each pixel.
    Softmax,
}

/// Where a window of taps lies: all as rows, columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) kernel: [usize; 2],
    pub(super) stride: [usize; 2],
    /// Zeros above and to the left; those below and to the right follow from the output.
    pub(super) padding: [usize; 2],
}

impl Window {
    /// One pixel alone.
    pub(super) const PIXEL: Self = Self { kernel: [1; 2], stride: [1; 2], padding: [0; 2] };
}

/// One layer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Layer {
    pub(super) kind: Kind,
    pub(super) window: Window,
    pub(super) input: Shape,
    pub(super) output: Shape,
    /// Bounds of the clamp, infinite where there is none.
    pub(super) low: f32,
    pub(super) high: f32,
    /// Whether the input of the layer's group is added after the clamp.
    pub(super) adds_input: bool,
    /// Dense: for each `LANES` outputs the taps in the order of the values in memory. Depthwise: for each `LANES` channels
    /// the taps of the window.
    weights: Vec<Lanes>,
    /// For each `LANES` outputs.
    bias: Vec<Lanes>,
}

impl Layer {
    /// A convolution without clamp. `weights` are O×I×rows×columns for a dense layer, O×1×rows×columns for a depthwise one;
    /// `bias` has one value for each output. `is_first` says that the layer reads the chain's input.
    pub(super) fn convolution(
        (kind, window): (Kind, Window),
        (input, output): (Shape, Shape),
        (weights, bias): (&[f32], &[f32]),
        is_first: bool,
    ) -> Self {
        let mut layer = Self::bare(kind, window, (input, output));
        let ([height, width], blocks) = (window.kernel, output.channels.div_ceil(LANES));
        let (inputs, row, step) = match kind {
            Kind::Depthwise => (1, width, 1),
            Kind::Dense | Kind::Softmax => {
                let pitch = layer.layout(is_first).pitch;
                (input.channels, layer.run(pitch), pitch)
            }
        };
        layer.bias = vec![[0.0; LANES]; blocks];
        layer.weights = vec![[0.0; LANES]; blocks * height * row];
        let taps = weights.chunks_exact((inputs * height * width).max(1));
        for (output, (taps, bias)) in taps.zip(bias).enumerate() {
            let (block, lane) = (output / LANES, output % LANES);
            layer.bias[block][lane] = *bias;
            for (index, tap) in taps.iter().enumerate() {
                let (channel, y, x) = (index / (height * width), index / width % height, index % width);
                layer.weights[(block * height + y) * row + x * step + channel][lane] = *tap;
            }
        }
        layer
    }

    /// A softmax over channels.
    pub(super) fn softmax(shape: Shape) -> Self {
        Self::bare(Kind::Softmax, Window::PIXEL, (shape, shape))
    }

    fn bare(kind: Kind, window: Window, (input, output): (Shape, Shape)) -> Self {
        let (low, high) = (f32::NEG_INFINITY, f32::INFINITY);
        let (weights, bias) = (Vec::new(), Vec::new());
        Self { kind, window, input, output, low, high, adds_input: false, weights, bias }
    }

    /// How the plane that it reads must lie in memory.
    pub(super) fn layout(&self, is_first: bool) -> Layout {
        let Window { kernel, stride, padding } = self.window;
        let span = |axis: usize, outputs: usize, inputs: usize| {
            ((outputs - 1) * stride[axis] + kernel[axis]).max(padding[axis] + inputs)
        };
        let (input, output) = (self.input, self.output);
        // A picture of three channels is read without a gap between pixels.
        let pitch = if is_first && self.kind == Kind::Dense { input.channels } else { pitch(input.channels) };
        Layout {
            top: padding[0],
            left: padding[1],
            rows: span(0, output.rows, input.rows),
            cols: span(1, output.cols, input.cols),
            pitch,
        }
    }

    /// How its own output lies when no layer follows.
    pub(super) const fn output_layout(&self) -> Layout {
        let Shape { rows, cols, channels } = self.output;
        Layout { top: 0, left: 0, rows, cols, pitch: pitch(channels) }
    }

    /// Values from the first to the last that one row of a dense layer's window reads.
    const fn run(&self, pitch: usize) -> usize {
        (self.window.kernel[1] - 1) * pitch + self.input.channels
    }

    /// Computes `rows` of the output. `added` is the input of the group; `pixels` is room for the places of pixels.
    #[inline(always)]
    pub(super) fn compute<const FMA: bool>(
        &self,
        (input, added): (&Plane, &Plane),
        rows: Range<usize>,
        output: &mut Plane,
        pixels: &mut Vec<[usize; 3]>,
    ) {
        match self.kind {
            Kind::Dense => self.dense::<FMA>((input, added), rows, output, pixels),
            Kind::Depthwise => self.depthwise::<FMA>(input, rows, output),
            Kind::Softmax => self.softmaxes::<FMA>(input, rows, output),
        }
    }

    #[inline(always)]
    fn dense<const FMA: bool>(
        &self,
        (input, added): (&Plane, &Plane),
        rows: Range<usize>,
        output: &mut Plane,
        pixels: &mut Vec<[usize; 3]>,
    ) {
        let Window { kernel: [height, _], stride: [down, right], .. } = self.window;
        pixels.clear();
        for y in rows {
            let (from, to, add) = (input.padded_at(y * down, 0), output.at(y, 0), added.at(y, 0));
            let steps = [right * input.layout.pitch, output.layout.pitch, added.layout.pitch];
            pixels.extend((0..self.output.cols).map(|x| [from + x * steps[0], to + x * steps[1], add + x * steps[2]]));
        }
        let (run, row_length) = (self.run(input.layout.pitch), input.row_length());
        let panels = self.weights.chunks_exact(height * run).zip(&self.bias).enumerate();
        // A panel of weights stays near while all pixels pass by.
        for (block, (panel, bias)) in panels {
            for tile in pixels.chunks(TILE) {
                let mut starts = [0; TILE];
                for (i, start) in starts.iter_mut().enumerate() {
                    *start = tile[i.min(tile.len() - 1)][0];
                }
                let sums = tile_sums::<FMA>(&input.values, starts, (panel, run), row_length, bias);
                for ([_, to, added_at], mut sums) in tile.iter().zip(sums) {
                    self.clamp(&mut sums);
                    if self.adds_input {
                        let added = block_of(&added.values, added_at + block * LANES);
                        (0..LANES).for_each(|i| sums[i] += added[i]);
                    }
                    put(&mut output.values, to + block * LANES, sums);
                }
            }
        }
    }

    #[inline(always)]
    fn depthwise<const FMA: bool>(&self, input: &Plane, rows: Range<usize>, output: &mut Plane) {
        match self.window {
            Window { kernel: [3, 3], stride: [_, 1], .. } => self.strips::<3, 1, FMA>(input, rows, output),
            Window { kernel: [3, 3], stride: [_, 2], .. } => self.strips::<3, 2, FMA>(input, rows, output),
            Window { kernel: [5, 5], stride: [_, 1], .. } => self.strips::<5, 1, FMA>(input, rows, output),
            _ => self.strips::<5, 2, FMA>(input, rows, output),
        }
    }

    #[inline(always)]
    fn strips<const K: usize, const S: usize, const FMA: bool>(
        &self,
        input: &Plane,
        rows: Range<usize>,
        output: &mut Plane,
    ) {
        let (down, width, step) = (self.window.stride[0], self.output.cols, input.layout.pitch / LANES);
        let values = input.values.as_chunks().0;
        for y in rows {
            let blocks = self.weights.as_chunks::<K>().0.as_chunks::<K>().0.iter().zip(&self.bias).enumerate();
            for (block, (taps, bias)) in blocks {
                let mut lines = [0; K];
                for (ky, line) in lines.iter_mut().enumerate() {
                    *line = input.padded_at(y * down + ky, 0) / LANES + block;
                }
                let mut x = 0;
                while x < width {
                    // The last strip overlaps the one before it.
                    let start = if width < STRIP { x } else { x.min(width - STRIP) };
                    let at = lines.map(|line| line + start * S * step);
                    let to = output.at(y, start) + block * LANES;
                    if width < STRIP {
                        let sums = strip_sums::<K, S, 1, FMA>(values, at, step, taps, bias);
                        self.put_strip(output, to, sums);
                        x += 1;
                    } else {
                        let sums = strip_sums::<K, S, STRIP, FMA>(values, at, step, taps, bias);
                        self.put_strip(output, to, sums);
                        x = start + STRIP;
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn put_strip<const N: usize>(&self, output: &mut Plane, to: usize, sums: [Lanes; N]) {
        for (i, mut sums) in sums.into_iter().enumerate() {
            self.clamp(&mut sums);
            put(&mut output.values, to + i * output.layout.pitch, sums);
        }
    }

    #[inline(always)]
    fn softmaxes<const FMA: bool>(&self, input: &Plane, rows: Range<usize>, output: &mut Plane) {
        let channels = self.input.channels;
        for (y, x) in rows.flat_map(|y| (0..self.output.cols).map(move |x| (y, x))) {
            let (from, to) = (input.at(y, x), output.at(y, x));
            softmax::<FMA>(&input.values[from..from + channels], &mut output.values[to..to + channels]);
        }
    }

    /// Keeps NaN, as a clamp of the runtime does.
    #[inline(always)]
    fn clamp(&self, sums: &mut Lanes) {
        for sum in sums {
            let raised = if *sum < self.low { self.low } else { *sum };
            *sum = if raised > self.high { self.high } else { raised };
        }
    }
}

/// Values from one pixel to the next. Not a multiple of eight blocks: pixels that lie so share few places of a first-level cache.
const fn pitch(channels: usize) -> usize {
    let blocks = channels.div_ceil(LANES);
    (if blocks.is_multiple_of(8) { blocks + 1 } else { blocks }) * LANES
}

#[inline(always)]
fn block_of(values: &[f32], at: usize) -> &Lanes {
    values[at..].first_chunk().unwrap_or(&[0.0; LANES])
}

#[inline(always)]
fn put(values: &mut [f32], at: usize, lanes: Lanes) {
    if let Some(block) = values[at..].first_chunk_mut() {
        *block = lanes;
    }
}

#[inline(always)]
fn multiply_add<const FMA: bool>(a: f32, b: f32, sum: f32) -> f32 {
    if FMA { a.mul_add(b, sum) } else { a * b + sum }
}

/// Sums of `TILE` pixels: the panel's taps times the values from each start on, row of the window by row.
#[inline(always)]
fn tile_sums<const FMA: bool>(
    values: &[f32],
    starts: [usize; TILE],
    (panel, run): (&[Lanes], usize),
    row_length: usize,
    bias: &Lanes,
) -> [Lanes; TILE] {
    let mut sums = [*bias; TILE];
    for (y, panel) in panel.chunks_exact(run).enumerate() {
        let mut rows: [&[f32]; TILE] = [&[]; TILE];
        for i in 0..TILE {
            rows[i] = &values[starts[i] + y * row_length..][..run];
        }
        let panel = &panel[..run];
        for k in 0..run {
            let taps = &panel[k];
            for i in 0..TILE {
                let value = rows[i][k];
                for lane in 0..LANES {
                    sums[i][lane] = multiply_add::<FMA>(value, taps[lane], sums[i][lane]);
                }
            }
        }
    }
    sums
}

/// Sums of `N` neighbouring pixels of one row, each with the taps times the values from the places `at` on, one for each row of
/// the window; pixels lie `step` apart.
#[inline(always)]
fn strip_sums<const K: usize, const S: usize, const N: usize, const FMA: bool>(
    values: &[Lanes],
    at: [usize; K],
    step: usize,
    taps: &[[Lanes; K]; K],
    bias: &Lanes,
) -> [Lanes; N] {
    let mut sums = [*bias; N];
    for y in 0..K {
        for x in 0..K {
            let (first, taps) = (at[y] + x * step, taps[y][x]);
            for i in 0..N {
                let values = &values[first + i * S * step];
                for lane in 0..LANES {
                    sums[i][lane] = multiply_add::<FMA>(values[lane], taps[lane], sums[i][lane]);
                }
            }
        }
    }
    sums
}

/// Exponentials as shares of their sum.
#[inline(always)]
fn softmax<const FMA: bool>(from: &[f32], to: &mut [f32]) {
    let (blocks, rest) = from.as_chunks::<LANES>();
    let mut highest = [f32::NEG_INFINITY; LANES];
    for block in blocks {
        (0..LANES).for_each(|i| highest[i] = if block[i] > highest[i] { block[i] } else { highest[i] });
    }
    let highest = highest.iter().chain(rest).fold(f32::NEG_INFINITY, |a, b| a.max(*b));
    let mut sums = [0.0; LANES];
    let (to_blocks, to_rest) = to.as_chunks_mut::<LANES>();
    for (to, from) in to_blocks.iter_mut().zip(blocks) {
        for i in 0..LANES {
            to[i] = exp::<FMA>(from[i] - highest);
            sums[i] += to[i];
        }
    }
    let mut sum = sums.iter().sum::<f32>();
    for (to, from) in to_rest.iter_mut().zip(rest) {
        *to = exp::<FMA>(from - highest);
        sum += *to;
    }
    to.iter_mut().for_each(|share| *share /= sum);
}

/// `e^x` for x ≤ 0, to within two units in the last place: 2^n · e^r with |r| ≤ ln 2 / 2, and e^r by its Taylor series.
/// Below −87 it is 0 or nearly so.
#[inline(always)]
fn exp<const FMA: bool>(x: f32) -> f32 {
    // Adding 1.5 · 2^23 leaves the nearest whole number in the lowest bits.
    const SHIFT: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let x = if x < -87.0 { -87.0 } else { x };
    let shifted = multiply_add::<FMA>(x, std::f32::consts::LOG2_E, SHIFT);
    let n = shifted - SHIFT;
    let r = multiply_add::<FMA>(n, -LN_2_HIGH, x);
    let r = multiply_add::<FMA>(n, -LN_2_LOW, r);
    let series = [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0];
    let mut sum = 1.0 / 5040.0;
    for term in series {
        sum = multiply_add::<FMA>(sum, r, term);
    }
    let power = (shifted.to_bits() << 23).wrapping_add(127 << 23);
    sum * f32::from_bits(power)
}
