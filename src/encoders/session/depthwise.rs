//! Depthwise convolution for machines where tract has only a generic loop for it.
//!
//! On x86-64 that loop takes three fifths of an image encoder's time. This operator replaces the nodes of a model that it
//! knows exactly (f32, NCHW, batch 1, 3×3 or 5×5, stride 1 or 2, no dilation) together with the clamp behind them; every
//! other node stays tract's. It does not touch the 1×1 convolutions between them.
//!
//! A plane is copied with its padding into `stride²` planes, one per parity of row and column. In these every tap is one
//! constant distance, so that all rows of a plane are computed as one long row; the few values between the rows that
//! mean nothing are dropped afterwards.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::cnn::{Conv, KernelFormat};
use tract_onnx::tract_core::ops::math::{Max, Min};
use tract_onnx::tract_core::ops::nn::DataFormat;

/// Values that are summed at once at the end of a row: one AVX-512 register, two of AVX2.
const LANES: usize = 16;

/// Values summed at once where the row is long: in enough registers for the latency of a multiplication to vanish.
const BLOCK: usize = 4 * LANES;

/// Sums that are kept until their rows are cut out: 16 KiB, half of a first-level cache.
const BAND: usize = 4096;

/// Replaces what [`Depthwise`] can compute.
///
/// # Errors
/// When tract cannot rewire the model.
pub(super) fn replace(model: &mut TypedModel) -> TractResult<()> {
    if cfg!(target_arch = "aarch64") {
        // There tract has kernels of its own.
        return Ok(());
    }
    let rewriter = Rewriter::default().with_rule_for::<Conv>("depthwise", |(), model, node, _, conv| {
        let Some(mut op) = Depthwise::of(model, node, conv)? else { return Ok(None) };
        let mut last = node;
        while let Some(next) = op.absorb(model, last)? {
            last = next;
        }
        let mut patch = TypedModelPatch::default();
        let inputs = patch.taps(model, &node.inputs)?;
        let output = patch.wire_node(&last.name, op, &inputs)?;
        let [output] = *output else { bail!("a convolution with {} outputs", output.len()) };
        patch.shunt_outside(model, last.id.into(), output)?;
        Ok(Some(patch))
    });
    rewriter.rewrite(&(), model)
}

/// Inputs: the planes, the taps as O×1×k×k, and one bias per channel or one for all.
#[derive(Clone, Debug, PartialEq)]
struct Depthwise {
    kernel: usize,
    stride: usize,
    /// Zeros above and to the left; those below and to the right follow from the output.
    padding: [usize; 2],
    /// Height and width.
    input: [usize; 2],
    output: [usize; 2],
    output_shape: TVec<usize>,
    low: f32,
    high: f32,
}

// The bounds of a clamp are never NaN.
impl Eq for Depthwise {}

impl Depthwise {
    /// The same convolution, when it is one of those known here.
    fn of(model: &TypedModel, node: &TypedNode, conv: &Conv) -> TractResult<Option<Self>> {
        let pool = &conv.pool_spec;
        let facts = model.node_input_facts(node.id)?;
        let [planes, taps, bias] = facts.as_slice() else { return Ok(None) };
        let (Some(shape), Some(taps), Some(bias)) = (planes.shape.as_concrete(), &taps.konst, &bias.konst) else {
            return Ok(None);
        };
        let (channels, [height, width]) = match (pool.data_format, shape) {
            (DataFormat::NCHW, [1, c, h, w]) | (DataFormat::CHW, [c, h, w]) => (*c, [*h, *w]),
            _ => return Ok(None),
        };
        let (&[kernel, same], &[stride, even]) = (&*pool.kernel_shape, &*pool.strides()) else { return Ok(None) };
        let f32s = [planes.datum_type, taps.datum_type(), bias.datum_type()].iter().all(|t| *t == f32::datum_type());
        let known = f32s
            && conv.q_params.is_none()
            && conv.kernel_fmt == KernelFormat::OIHW
            && [conv.group, conv.input_channels(), conv.output_channels()] == [channels; 3]
            && pool.dilations().iter().all(|d| *d == 1)
            && matches!((kernel, stride), (3 | 5, 1 | 2))
            && (same, even) == (kernel, stride)
            && taps.len() == channels * kernel * kernel
            && (bias.len() == channels || bias.len() == 1);
        let paddings = pool.computed_padding(&[height, width]);
        let ([rows, columns], true) = (paddings.as_slice(), known) else { return Ok(None) };
        let output = [rows.convoluted, columns.convoluted];
        if output.contains(&0) {
            return Ok(None);
        }
        Ok(Some(Self {
            kernel,
            stride,
            padding: [rows.pad_before, columns.pad_before],
            input: [height, width],
            output,
            output_shape: pool.output_shape(shape)?.shape,
            low: f32::NEG_INFINITY,
            high: f32::INFINITY,
        }))
    }

    /// Takes over the bound that follows `last`, and gives its node; a lower one is only taken before an upper one.
    fn absorb<'a>(&mut self, model: &'a TypedModel, last: &TypedNode) -> TractResult<Option<&'a TypedNode>> {
        let Some(next) = model.single_succ(last.id)? else { return Ok(None) };
        let Some(TypedBinOp(op, None)) = next.op_as::<TypedBinOp>() else { return Ok(None) };
        let Some(other) = next.inputs.iter().find(|input| input.node != last.id) else { return Ok(None) };
        let Some(bound) = model.outlet_fact(*other)?.konst.as_ref().filter(|bound| bound.len() == 1) else {
            return Ok(None);
        };
        let bound = bound.cast_to_scalar::<f32>()?;
        let is_output = model.output_outlets()?.iter().any(|outlet| outlet.node == last.id);
        if is_output || bound.is_nan() || self.high != f32::INFINITY {
            return Ok(None);
        }
        match () {
            () if op.is::<Max>() && self.low == f32::NEG_INFINITY => self.low = bound,
            () if op.is::<Min>() && self.low <= bound => self.high = bound,
            () => return Ok(None),
        }
        Ok(Some(next))
    }

    /// Every plane of `input` into its plane of `output`.
    #[inline(always)]
    fn convolve<const K: usize, const S: usize, const FMA: bool>(
        &self,
        weights: Weights,
        input: &[f32],
        output: &mut [f32],
    ) {
        let ([height, width], reach) = (self.output, (K - 1) / S);
        let stride = width + reach;
        // The last block may read up to a block beyond the last row.
        let plane_length = (height + reach) * stride + LANES;
        let mut planes = vec![0.0; S * S * plane_length];
        let band_rows = (BAND / stride).clamp(1, height);
        let mut sums = vec![0.0; (band_rows * stride).next_multiple_of(LANES)];
        let distances: [[usize; K]; K] = std::array::from_fn(|y| {
            std::array::from_fn(|x| (y % S * S + x % S) * plane_length + y / S * stride + x / S)
        });
        let (taps, _) = weights.taps.as_chunks::<K>().0.as_chunks::<K>();
        let channels = input.chunks_exact(self.input.iter().product()).zip(output.chunks_exact_mut(height * width));
        for ((channel, taps), (input, output)) in taps.iter().enumerate().zip(channels) {
            let bias = weights.bias.get(channel).or(weights.bias.first()).copied().unwrap_or_default();
            self.split::<S>(input, &mut planes, plane_length, stride);
            for (band, output) in output.chunks_mut(band_rows * width).enumerate() {
                let (rows, from) = (output.len() / width, band * band_rows * stride);
                let length = ((rows - 1) * stride + width).next_multiple_of(LANES);
                accumulate::<K, FMA>(
                    planes.get(from..).unwrap_or_default(),
                    &distances,
                    taps,
                    bias,
                    &mut sums[..length],
                );
                for (output, sums) in output.chunks_exact_mut(width).zip(sums.chunks(stride)) {
                    for (output, sum) in output.iter_mut().zip(sums) {
                        let sum = if *sum < self.low { self.low } else { *sum };
                        *output = if sum > self.high { self.high } else { sum };
                    }
                }
            }
        }
    }

    /// Copies a plane to where `planes` has it; the padding around it is zero since the start.
    #[inline(always)]
    fn split<const S: usize>(&self, input: &[f32], planes: &mut [f32], plane_length: usize, stride: usize) {
        let [top, left] = self.padding;
        let rows = self.output[0] + (self.kernel - 1) / S;
        for (y, row) in input.chunks_exact(self.input[1]).enumerate() {
            let y = y + top;
            if y / S >= rows {
                break;
            }
            for parity in 0..S {
                let skipped = (parity + S - left % S) % S;
                let start = (skipped + left) / S;
                let plane = (y % S * S + parity) * plane_length + y / S * stride;
                let (Some(to), Some(from)) = (planes.get_mut(plane + start..plane + stride), row.get(skipped..)) else {
                    continue;
                };
                let (groups, rest) = from.as_chunks::<S>();
                let (whole, last) = to.split_at_mut(groups.len().min(to.len()));
                for (to, from) in whole.iter_mut().zip(groups) {
                    *to = from[0];
                }
                if let (Some(to), Some(from)) = (last.first_mut(), rest.first()) {
                    *to = *from;
                }
            }
        }
    }
}

/// Every sum at its place: the taps times what lies at their distances.
#[inline(always)]
fn accumulate<const K: usize, const FMA: bool>(
    planes: &[f32],
    distances: &[[usize; K]; K],
    taps: &[[f32; K]; K],
    bias: f32,
    sums: &mut [f32],
) {
    let mut at = 0;
    let (blocks, rest) = sums.as_chunks_mut::<BLOCK>();
    for sums in blocks {
        *sums = block::<K, BLOCK, FMA>(&planes[at..], distances, taps, bias);
        at += BLOCK;
    }
    for sums in rest.as_chunks_mut::<LANES>().0 {
        *sums = block::<K, LANES, FMA>(&planes[at..], distances, taps, bias);
        at += LANES;
    }
}

/// `N` neighbouring sums.
#[inline(always)]
fn block<const K: usize, const N: usize, const FMA: bool>(
    planes: &[f32],
    distances: &[[usize; K]; K],
    taps: &[[f32; K]; K],
    bias: f32,
) -> [f32; N] {
    let mut values = [[&[0.0; N]; K]; K];
    for y in 0..K {
        for x in 0..K {
            values[y][x] = planes[distances[y][x]..].first_chunk::<N>().unwrap_or(&[0.0; N]);
        }
    }
    let mut sums = [bias; N];
    // One loop over all taps within one over the sums: the compiler's loop vectoriser takes this form for certain.
    for i in 0..N {
        let mut sum = bias;
        for y in 0..K {
            for x in 0..K {
                let (value, tap) = (values[y][x][i], taps[y][x]);
                sum = if FMA { value.mul_add(tap, sum) } else { value * tap + sum };
            }
        }
        sums[i] = sum;
    }
    sums
}

/// Taps and biases of all channels.
#[derive(Clone, Copy)]
struct Weights<'a> {
    taps: &'a [f32],
    bias: &'a [f32],
}

impl Depthwise {
    #[inline(always)]
    fn run<const FMA: bool>(&self, weights: Weights, input: &[f32], output: &mut [f32]) {
        match (self.kernel, self.stride) {
            (3, 1) => self.convolve::<3, 1, FMA>(weights, input, output),
            (3, _) => self.convolve::<3, 2, FMA>(weights, input, output),
            (_, 1) => self.convolve::<5, 1, FMA>(weights, input, output),
            _ => self.convolve::<5, 2, FMA>(weights, input, output),
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,fma")]
    fn run_avx512(&self, weights: Weights, input: &[f32], output: &mut [f32]) {
        self.run::<true>(weights, input, output);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    fn run_avx2(&self, weights: Weights, input: &[f32], output: &mut [f32]) {
        self.run::<true>(weights, input, output);
    }

    /// Runs the body that was compiled for the widest registers of this machine.
    #[cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "what a machine can do is known when it runs"))]
    fn run_widest(&self, weights: Weights, input: &[f32], output: &mut [f32]) {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            let wide = is_x86_feature_detected!("avx512f");
            // SAFETY: both bodies are safe code, and each is called only where the machine has what it was compiled for.
            return unsafe {
                if wide { self.run_avx512(weights, input, output) } else { self.run_avx2(weights, input, output) }
            };
        }
        self.run::<false>(weights, input, output);
    }
}

impl Op for Depthwise {
    fn name(&self) -> StaticName {
        "PerceptdDepthwise".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Depthwise {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let [planes, taps, bias] = inputs.as_slice() else { bail!("{} inputs instead of 3", inputs.len()) };
        let mut output = Tensor::zero::<f32>(&self.output_shape)?;
        let weights = Weights { taps: floats(taps)?, bias: floats(bias)? };
        self.run_widest(weights, floats(planes)?, output.try_as_plain_ram_mut()?.as_slice_mut()?);
        Ok(tvec!(output.into_tvalue()))
    }
}

fn floats(tensor: &Tensor) -> TractResult<&[f32]> {
    tensor.try_as_plain_ram()?.as_slice()
}

impl TypedOp for Depthwise {
    as_op!();

    fn output_facts(&self, _: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(f32::fact(&self.output_shape)))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{InputSpec, Onnx, decluttered};
    use super::*;

    fn noise(rng: &mut fastrand::Rng, count: usize) -> Vec<f32> {
        (0..count).map(|_| rng.f32() * 2.0 - 1.0).collect()
    }

    /// The definition, in f64.
    fn reference(op: &Depthwise, weights: Weights, input: &[f32], at: [usize; 3]) -> f32 {
        let ([channel, y, x], k, [height, width]) = (at, op.kernel, op.input);
        let mut sum = f64::from(weights.bias[channel % weights.bias.len()]);
        for (ky, kx) in (0..k * k).map(|tap| (tap / k, tap % k)) {
            let row = (y * op.stride + ky).checked_sub(op.padding[0]).filter(|row| *row < height);
            let column = (x * op.stride + kx).checked_sub(op.padding[1]).filter(|column| *column < width);
            if let (Some(row), Some(column)) = (row, column) {
                let value = input[(channel * height + row) * width + column];
                sum += f64::from(value) * f64::from(weights.taps[(channel * k + ky) * k + kx]);
            }
        }
        (sum as f32).max(op.low).min(op.high)
    }

    #[test]
    fn every_shape_gives_what_the_definition_gives() {
        let rng = &mut fastrand::Rng::with_seed(7);
        for round in 0..400 {
            let (kernel, stride, channels) = (rng.choice([3, 5]).unwrap(), rng.usize(1..=2), rng.usize(1..4));
            let longest = if round % 8 == 0 { 300 } else { 24 };
            let input = [rng.usize(1..24), rng.usize(1..longest)];
            // Before and after, rows and columns; at times wider than the kernel.
            let mut pads = || [rng.usize(0..=kernel), rng.usize(0..=kernel)];
            let (before, after) = (pads(), pads());
            let spans: Vec<usize> = (0..2).map(|axis| before[axis] + input[axis] + after[axis]).collect();
            if spans.iter().any(|span| *span < kernel) {
                continue;
            }
            let output = [0, 1].map(|axis| (spans[axis] - kernel) / stride + 1);
            let (low, high) = if rng.bool() { (0.0, 6.0) } else { (f32::NEG_INFINITY, f32::INFINITY) };
            let output_shape = tvec!(channels, output[0], output[1]);
            let op = Depthwise { kernel, stride, padding: before, input, output, output_shape, low, high };
            let taps = noise(rng, channels * kernel * kernel);
            let count = if rng.bool() { channels } else { 1 };
            let bias = noise(rng, count);
            let weights = Weights { taps: &taps, bias: &bias };
            let values = noise(rng, channels * input[0] * input[1]);
            let (mut widest, mut plain) = (vec![f32::NAN; channels * output[0] * output[1]], Vec::new());
            plain.clone_from(&widest);
            op.run_widest(weights, &values, &mut widest);
            op.run::<false>(weights, &values, &mut plain);
            for (index, (widest, plain)) in widest.iter().zip(&plain).enumerate() {
                let (row, x) = (index / output[1], index % output[1]);
                let wanted = reference(&op, weights, &values, [row / output[0], row % output[0], x]);
                assert!((widest - wanted).abs() < 1e-5 && (plain - wanted).abs() < 1e-5, "{op:?} at {index}");
            }
        }
    }

    #[test]
    fn a_session_gives_what_tract_alone_gives() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/tiny/image.onnx");
        let input = InputSpec::f32("image", &[1, 3, 64, 64]);
        let stock = decluttered(Onnx::open(&file).unwrap().0, &[input], "embedding").unwrap();
        let mut own = stock.clone();
        replace(&mut own).unwrap();
        let replaced = own.nodes().iter().filter(|node| node.op_is::<Depthwise>()).count();
        assert_eq!(replaced > 0, cfg!(not(target_arch = "aarch64")));
        let image = noise(&mut fastrand::Rng::with_seed(7), 3 * 64 * 64);
        let [own, stock] = [own, stock].map(|model| {
            let image = Tensor::from_shape(&[1, 3, 64, 64], &image).unwrap();
            let plan = model.into_optimized().unwrap().into_runnable().unwrap();
            floats(&plan.run(tvec!(image.into_tvalue())).unwrap()[0]).unwrap().to_vec()
        });
        assert!(own.len() == stock.len() && own.iter().zip(&stock).all(|(own, stock)| (own - stock).abs() < 1e-5));
    }
}
