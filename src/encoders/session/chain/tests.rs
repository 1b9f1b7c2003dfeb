//! Chains against their definition, and sessions with chains against tract alone.

use std::path::Path;

use super::super::{InputSpec, Onnx, typed};
use super::*;

fn noise(rng: &mut fastrand::Rng, count: usize) -> Vec<f32> {
    (0..count).map(|_| rng.f32() * 2.0 - 1.0).collect()
}

/// A layer and what it was made of.
struct Drawn {
    layer: Layer,
    weights: Vec<f32>,
    bias: Vec<f32>,
}

fn drawn(rng: &mut fastrand::Rng, kind: Kind, kernel: [usize; 2], input: Shape, is_first: bool) -> Option<Drawn> {
    // Padding at times wider than the kernel; before and after, of rows and columns.
    let mut pads = || [rng.usize(0..=kernel[0]), rng.usize(0..=kernel[1])];
    let (before, after) = (pads(), pads());
    let stride = [rng.usize(1..=2), rng.usize(1..=2)];
    let spans = [before[0] + input.rows + after[0], before[1] + input.cols + after[1]];
    if spans[0] < kernel[0] || spans[1] < kernel[1] {
        return None;
    }
    let channels = if kind == Kind::Depthwise { input.channels } else { rng.usize(1..40) };
    let [rows, cols] = [0, 1].map(|axis| (spans[axis] - kernel[axis]) / stride[axis] + 1);
    let output = Shape { rows, cols, channels };
    let inputs = if kind == Kind::Depthwise { 1 } else { input.channels };
    let (weights, bias) = (noise(rng, channels * inputs * kernel[0] * kernel[1]), noise(rng, channels));
    let window = Window { kernel, stride, padding: before };
    let mut layer = Layer::convolution((kind, window), (input, output), (&weights, &bias), is_first);
    if rng.bool() {
        (layer.low, layer.high) = (0.0, 3.0);
    }
    Some(Drawn { layer, weights, bias })
}

/// A softmax or convolution by its definition, in f64; planes are channels first.
fn defined(Drawn { layer, weights, bias }: &Drawn, input: &[f64], added: &[f64]) -> Vec<f64> {
    let Layer { window, input: from, output: to, .. } = layer;
    let place = |shape: &Shape, [c, y, x]: [usize; 3]| (c * shape.rows + y) * shape.cols + x;
    let all = (0..to.channels).flat_map(|c| (0..to.rows).flat_map(move |y| (0..to.cols).map(move |x| [c, y, x])));
    let value = |[c, y, x]: [usize; 3]| {
        if layer.kind == Kind::Softmax {
            let of = |c: usize| input[place(from, [c, y, x])].exp();
            return of(c) / (0..from.channels).map(of).sum::<f64>();
        }
        let inputs = if layer.kind == Kind::Depthwise { 1 } else { from.channels };
        let mut sum = f64::from(bias[c]);
        for i in 0..inputs {
            for (ky, kx) in (0..window.kernel[0]).flat_map(|ky| (0..window.kernel[1]).map(move |kx| (ky, kx))) {
                let row = (y * window.stride[0] + ky).checked_sub(window.padding[0]).filter(|row| *row < from.rows);
                let col = (x * window.stride[1] + kx).checked_sub(window.padding[1]).filter(|col| *col < from.cols);
                if let (Some(row), Some(col)) = (row, col) {
                    let channel = if layer.kind == Kind::Depthwise { c } else { i };
                    let tap = weights[((c * inputs + i) * window.kernel[0] + ky) * window.kernel[1] + kx];
                    sum += input[place(from, [channel, row, col])] * f64::from(tap);
                }
            }
        }
        let clamped = sum.max(f64::from(layer.low)).min(f64::from(layer.high));
        if layer.adds_input { clamped + added[place(to, [c, y, x])] } else { clamped }
    };
    all.map(value).collect()
}

fn compare(drawn: &[Drawn], groups: &Groups, rng: &mut fastrand::Rng) {
    let (first, last) = (&drawn[0].layer.input, &drawn[drawn.len() - 1].layer.output);
    let input = noise(rng, first.rows * first.cols * first.channels);
    let mut planes: Vec<Vec<f64>> = vec![input.iter().copied().map(f64::from).collect()];
    for (index, one) in drawn.iter().enumerate() {
        let added = planes[index.saturating_sub(2)].clone();
        planes.push(defined(one, &planes[index], &added));
    }
    let wanted = planes.last().unwrap();
    for with in Instructions::all() {
        let mut found = vec![f32::NAN; last.rows * last.cols * last.channels];
        with.run(Whole { groups, input: &input, output: &mut found });
        for (index, (found, wanted)) in found.iter().zip(wanted).enumerate() {
            let off = (f64::from(*found) - wanted).abs() / (1.0 + wanted.abs());
            assert!(off < 1e-4, "{with:?} at {index}: {found} instead of {wanted}");
        }
    }
}

#[test]
fn one_layer_gives_what_the_definition_gives() {
    let rng = &mut fastrand::Rng::with_seed(7);
    for round in 0..200 {
        let kind = if rng.bool() { Kind::Dense } else { Kind::Depthwise };
        let side = rng.choice([3, 5]).unwrap();
        let kernel = if kind == Kind::Dense { [rng.usize(1..=5), rng.usize(1..=5)] } else { [side, side] };
        let longest = if round % 8 == 0 { 300 } else { 20 };
        let input = Shape { rows: rng.usize(1..20), cols: rng.usize(1..longest), channels: rng.usize(1..40) };
        let Some(one) = drawn(rng, kind, kernel, input, true) else { continue };
        let mut groups = Groups::default();
        assert!(groups.push(one.layer.clone()));
        compare(&[one], &groups, rng);
    }
}

#[test]
fn layers_that_are_computed_together_give_what_they_give_alone() {
    let rng = &mut fastrand::Rng::with_seed(8);
    for round in 0..60 {
        // Rows so long that a band is a few of them.
        let cols = if round % 3 == 0 { rng.usize(500..900) } else { rng.usize(8..40) };
        let input = Shape { rows: rng.usize(8..24), cols, channels: rng.usize(1..20) };
        let mut all: Vec<Drawn> = Vec::new();
        let mut groups = Groups::default();
        let side = rng.choice([3, 5]).unwrap();
        for (kind, kernel) in [(Kind::Dense, [3, 3]), (Kind::Dense, [1, 1]), (Kind::Depthwise, [side, side])] {
            let from = all.last().map_or(input, |one| one.layer.output);
            let Some(one) = drawn(rng, kind, kernel, from, all.is_empty()) else { break };
            groups.push(one.layer.clone());
            all.push(one);
        }
        let Some(middle) = all.get(2).map(|one| one.layer.output) else { continue };
        // Back to as many channels as the group has read, which can be added when the planes are as large.
        let group_input = all[0].layer.output;
        let output = Shape { channels: group_input.channels, ..middle };
        let (weights, bias) = (noise(rng, output.channels * middle.channels), noise(rng, output.channels));
        let kind = (Kind::Dense, Window::PIXEL);
        let mut layer = Layer::convolution(kind, (middle, output), (&weights, &bias), false);
        layer.adds_input = output == group_input;
        assert!(!groups.push(layer.clone()));
        all.push(Drawn { layer, weights, bias });
        if round % 2 == 0 {
            let layer = Layer::softmax(output);
            assert!(groups.push(layer.clone()));
            all.push(Drawn { layer, weights: Vec::new(), bias: Vec::new() });
        }
        compare(&all, &groups, rng);
    }
}

fn values(model: TypedModel, shape: &[usize], input: &[f32]) -> Vec<f32> {
    let input = Tensor::from_shape(shape, input).unwrap();
    let plan = model.into_decluttered().unwrap().into_optimized().unwrap().into_runnable().unwrap();
    floats(&plan.run(tvec!(input.into_tvalue())).unwrap()[0]).unwrap().to_vec()
}

#[test]
fn a_session_gives_what_tract_alone_gives() {
    let convolutions = |model: &TypedModel| model.nodes().iter().filter(|node| node.op_is::<Conv>()).count();
    let cases = [
        ("tiny/image.onnx", "image", &[1, 3, 64, 64][..], "embedding", 3),
        ("tiny/image.onnx", "image", &[1, 3, 96, 128], "patches", 0),
        ("reference/image.onnx", "image", &[1, 3, 64, 96], "patches", 0),
        ("reference/audio.onnx", "log_mel", &[1, 1, 128, 204], "embedding", 1),
        ("reference/imu.onnx", "imu", &[1, 6, 50], "embedding", 1),
    ];
    for (file, name, shape, output, left) in cases {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(file);
        let stock = typed(Onnx::open(&path).unwrap().0, &[InputSpec::f32(name, shape)], output).unwrap();
        let mut own = stock.clone();
        replace(&mut own).unwrap();
        if cfg!(not(target_arch = "aarch64")) {
            assert_eq!(convolutions(&own), left, "{file} {output}: convolutions that tract computes");
        }
        let input = noise(&mut fastrand::Rng::with_seed(7), shape.iter().product());
        let (own, stock) = (values(own, shape, &input), values(stock, shape, &input));
        let largest = stock.iter().fold(0.0f32, |most, value| most.max(value.abs()));
        let worst = own.iter().zip(&stock).map(|(own, stock)| (own - stock).abs()).fold(0.0, f32::max);
        assert!(own.len() == stock.len() && worst < 1e-5 * largest.max(1.0), "{file} {output}: {worst} of {largest}");
    }
}
