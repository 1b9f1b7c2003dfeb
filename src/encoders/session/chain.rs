//! Chains of convolutions as one operator, channels last.
//!
//! tract keeps every plane of a network whole, channels first, clamps it in a pass of its own, and has only a generic loop for a
//! depthwise convolution on x86-64 and for a softmax. This operator replaces the longest chains of nodes that it knows exactly
//! (f32, batch 1, no dilation): dense and depthwise convolutions, clamps, the addition of a block's input, convolutions side by side, and a
//! softmax over channels. Every other node stays tract's, and so does everything on aarch64, where tract has kernels of its own
//! and nothing was measured.

mod groups;
mod layer;
mod plane;

use std::collections::HashSet;
use std::sync::Arc;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::array::TypedConcat;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::cast::Cast;
use tract_onnx::tract_core::ops::cnn::{Conv, KernelFormat};
use tract_onnx::tract_core::ops::math::{Add, Max, Min};
use tract_onnx::tract_core::ops::nn::{DataFormat, Softmax, SoftmaxKind};

use self::groups::Groups;
use self::layer::{Kind, Layer, Shape, Window};
use crate::simd::{Instructions, Kernel};

/// Planes of fewer pixels are left to tract: they are products of a matrix with a vector.
const FEWEST_PIXELS: usize = 6;

/// Replaces every chain. The model must be as it was read: decluttering turns convolutions into other operators.
///
/// # Errors
/// When tract cannot rewire the model.
pub(super) fn replace(model: &mut TypedModel) -> TractResult<()> {
    if cfg!(target_arch = "aarch64") {
        return Ok(());
    }
    let mut taken = HashSet::new();
    for id in model.eval_order()? {
        if taken.contains(&id) || !model.node(id).op_is::<Conv>() {
            continue;
        }
        let input = *model.node(id).inputs.first().ok_or_else(|| format_err!("a convolution without input"))?;
        let Some((chain, end)) = Walk::from(model, input)?.finished(&mut taken) else { continue };
        let name = model.node(end.node).name.clone();
        let mut patch = TypedModelPatch::default();
        let taps = patch.taps(model, &[input])?;
        let output = patch.wire_node(name, chain, &taps)?;
        let [output] = *output else { bail!("a chain with {} outputs", output.len()) };
        patch.shunt_outside(model, end, output)?;
        patch.apply(model)?;
    }
    model.compact()
}

/// A walk along a chain.
struct Walk<'a> {
    model: &'a TypedModel,
    groups: Groups,
    /// What the last group reads, and what has been reached.
    group_input: OutletId,
    end: OutletId,
    shape: Shape,
    nodes: HashSet<usize>,
    /// Outlets that the chain computes on its way.
    inner: Vec<OutletId>,
    /// The longest part of which nothing but the end is read from outside: its layers, its end, its nodes.
    whole: Option<(usize, OutletId, Shape, HashSet<usize>)>,
}

impl<'a> Walk<'a> {
    /// The longest chain that reads `input`.
    fn from(model: &'a TypedModel, input: OutletId) -> TractResult<Self> {
        let (nodes, inner, groups) = (HashSet::new(), Vec::new(), Groups::default());
        let shape = shape_of(model, input)?.unwrap_or(Shape { rows: 0, cols: 0, channels: 0 });
        let mut walk = Self { model, groups, group_input: input, end: input, shape, nodes, inner, whole: None };
        while walk.layer()? {
            while walk.absorb()? {}
            if walk.is_whole()? {
                walk.whole = Some((walk.groups.layers(), walk.end, walk.shape, walk.nodes.clone()));
            }
        }
        Ok(walk)
    }

    fn finished(mut self, taken: &mut HashSet<usize>) -> Option<(Chain, OutletId)> {
        let (layers, end, Shape { rows, cols, channels }, nodes) = self.whole?;
        self.groups.truncate(layers);
        taken.extend(nodes);
        Some((Chain { groups: Arc::new(self.groups), output_shape: tvec!(1, channels, rows, cols) }, end))
    }

    fn readers(&self) -> Vec<&'a TypedNode> {
        let node = self.model.node(self.end.node);
        let inlets = node.outputs.get(self.end.slot).map(|outlet| outlet.successors.as_slice()).unwrap_or_default();
        inlets.iter().map(|inlet| self.model.node(inlet.node)).collect()
    }

    /// Goes over the next layer; false where there is none that is known.
    fn layer(&mut self) -> TractResult<bool> {
        let readers = self.readers();
        if let [softmax] = readers.as_slice()
            && softmax.op_as::<Softmax>().is_some_and(is_over_channels)
            && self.shape.rows * self.shape.cols >= FEWEST_PIXELS
            && self.groups.layers() > 0
        {
            self.push(Layer::softmax(self.shape), &[softmax]);
            return Ok(true);
        }
        let convs: Vec<&TypedNode> = readers.into_iter().filter(|reader| reader.op_is::<Conv>()).collect();
        let mut found = Vec::new();
        for conv in &convs {
            let Some(read) = Convolution::of(self.model, conv, self.shape)? else { return Ok(false) };
            found.push(read);
        }
        let is_first = self.groups.layers() == 0;
        match (found.as_slice(), convs.as_slice()) {
            ([one], [node]) => {
                let layer = one.layer(self.shape, is_first);
                self.push(layer, &[node]);
            }
            ([_, ..], [first, ..]) => {
                let Some(concat) = self.concatenation(first, &convs)? else { return Ok(false) };
                let in_order = concat.inputs.iter().filter_map(|input| convs.iter().position(|c| c.id == input.node));
                let parts: Vec<&Convolution> = in_order.filter_map(|index| found.get(index)).collect();
                let Some(one) = Convolution::side_by_side(&parts) else { return Ok(false) };
                let nodes: Vec<&TypedNode> = convs.iter().copied().chain([concat]).collect();
                self.push(one.layer(self.shape, is_first), &nodes);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The node that concatenates the channels of exactly these convolutions.
    fn concatenation(&self, first: &TypedNode, convs: &[&TypedNode]) -> TractResult<Option<&'a TypedNode>> {
        let next = self.model.single_succ(first.id)?;
        Ok(next.filter(|next| {
            let mut inputs: Vec<usize> = next.inputs.iter().map(|input| input.node).collect();
            let mut wanted: Vec<usize> = convs.iter().map(|conv| conv.id).collect();
            inputs.sort_unstable();
            wanted.sort_unstable();
            next.op_as::<TypedConcat>().is_some_and(|concat| concat.axis == 1) && inputs == wanted
        }))
    }

    fn push(&mut self, layer: Layer, nodes: &[&TypedNode]) {
        let (input, output) = (self.end, layer.output);
        if self.groups.push(layer) {
            self.group_input = input;
        }
        for node in nodes {
            self.pass(node);
        }
        self.shape = output;
    }

    fn pass(&mut self, node: &TypedNode) {
        self.end = node.id.into();
        self.nodes.insert(node.id);
        self.inner.push(self.end);
    }

    /// Takes over what follows the layer: a lower bound, then an upper one, then the addition of the group's input.
    fn absorb(&mut self) -> TractResult<bool> {
        let readers = self.readers();
        let ([next], Some(layer)) = (readers.as_slice(), self.groups.last_mut()) else { return Ok(false) };
        let Some(TypedBinOp(op, None)) = next.op_as::<TypedBinOp>() else { return Ok(false) };
        let Some(other) = next.inputs.iter().find(|input| **input != self.end).copied() else { return Ok(false) };
        if op.is::<Add>() {
            let same_shape = shape_of(self.model, other)? == Some(self.shape);
            if other != self.group_input || !same_shape || layer.kind != Kind::Dense || layer.adds_input {
                return Ok(false);
            }
            // The group's input has the pitch of the padded channels only if it is not the chain's own input.
            if self.groups.layers() == self.groups.last_len() {
                return Ok(false);
            }
            if let Some(layer) = self.groups.last_mut() {
                layer.adds_input = true;
            }
        } else {
            let Some(bound) = constant(self.model, other)?.filter(|bound| bound.len() == 1) else { return Ok(false) };
            let bound = bound.cast_to_scalar::<f32>()?;
            if bound.is_nan() || layer.kind == Kind::Softmax || layer.adds_input || layer.high != f32::INFINITY {
                return Ok(false);
            }
            match () {
                () if op.is::<Max>() && layer.low == f32::NEG_INFINITY => layer.low = bound,
                () if op.is::<Min>() && layer.low <= bound => layer.high = bound,
                () => return Ok(false),
            }
        }
        self.pass(next);
        Ok(true)
    }

    /// Whether everything before the end is read by the chain alone.
    fn is_whole(&self) -> TractResult<bool> {
        let outputs = self.model.output_outlets()?;
        Ok(self.inner.iter().filter(|outlet| **outlet != self.end).all(|outlet| {
            let readers = self.model.node(outlet.node).outputs.iter().flat_map(|output| &output.successors);
            !outputs.contains(outlet) && readers.into_iter().all(|inlet| self.nodes.contains(&inlet.node))
        }))
    }
}

fn is_over_channels(softmax: &Softmax) -> bool {
    *softmax.axes == [1] && softmax.quant_output_dt.is_none() && softmax.kind == SoftmaxKind::Softmax
}

/// The shape of one picture of f32, channels first.
fn shape_of(model: &TypedModel, outlet: OutletId) -> TractResult<Option<Shape>> {
    let fact = model.outlet_fact(outlet)?;
    Ok(match fact.shape.as_concrete() {
        Some(&[1, channels, rows, cols]) if fact.datum_type == f32::datum_type() => {
            Some(Shape { rows, cols, channels })
        }
        _ => None,
    })
}

/// The value of an outlet that is constant, or a cast of a constant.
fn constant(model: &TypedModel, outlet: OutletId) -> TractResult<Option<Arc<Tensor>>> {
    let node = model.node(outlet.node);
    let outlet = if node.op_is::<Cast>() { *node.inputs.first().unwrap_or(&outlet) } else { outlet };
    Ok(model.outlet_fact(outlet)?.konst.clone())
}

/// A convolution as the model has it.
struct Convolution {
    kind: Kind,
    window: Window,
    output: Shape,
    weights: Vec<f32>,
    bias: Vec<f32>,
}

impl Convolution {
    /// What a node computes, when it is known here.
    fn of(model: &TypedModel, node: &TypedNode, input: Shape) -> TractResult<Option<Self>> {
        let Some(conv) = node.op_as::<Conv>() else { return Ok(None) };
        let (&[planes, weights, bias], pool) = (&*node.inputs, &conv.pool_spec) else { return Ok(None) };
        let (Some(output), true) = (shape_of(model, node.id.into())?, shape_of(model, planes)? == Some(input)) else {
            return Ok(None);
        };
        let (Some(weights), Some(bias)) = (constant(model, weights)?, constant(model, bias)?) else { return Ok(None) };
        let (&[height, width], &[down, right]) = (&*pool.kernel_shape, &*pool.strides()) else { return Ok(None) };
        let paddings = pool.computed_padding(&[input.rows, input.cols]);
        let [rows, cols] = paddings.as_slice() else { return Ok(None) };
        let kind = match conv.group {
            1 => Kind::Dense,
            group if [group, output.channels] == [input.channels; 2] => Kind::Depthwise,
            _ => return Ok(None),
        };
        let is_known = conv.q_params.is_none()
            && conv.kernel_fmt == KernelFormat::OIHW
            && pool.data_format == DataFormat::NCHW
            && pool.dilations().iter().all(|d| *d == 1)
            && output.rows * output.cols >= FEWEST_PIXELS
            && [rows.convoluted, cols.convoluted] == [output.rows, output.cols]
            && (kind == Kind::Dense || matches!(([height, width], right), ([3, 3] | [5, 5], 1 | 2)));
        let (weights, bias) = (weights.cast_to::<f32>()?, bias.cast_to::<f32>()?);
        let (weights, mut bias) = (floats(&weights)?.to_vec(), floats(&bias)?.to_vec());
        if let [for_all] = *bias {
            bias = vec![for_all; output.channels];
        }
        let inputs = if kind == Kind::Dense { input.channels } else { 1 };
        if !is_known || weights.len() != output.channels * inputs * height * width || bias.len() != output.channels {
            return Ok(None);
        }
        let (kernel, stride, padding) = ([height, width], [down, right], [rows.pad_before, cols.pad_before]);
        Ok(Some(Self { kind, window: Window { kernel, stride, padding }, output, weights, bias }))
    }

    /// One convolution that gives the outputs of all.
    fn side_by_side(parts: &[&Self]) -> Option<Self> {
        let first = parts.first()?;
        let same = |part: &&Self| part.kind == Kind::Dense && part.window == first.window;
        parts.iter().all(same).then(|| Self {
            kind: Kind::Dense,
            window: first.window,
            output: Shape { channels: parts.iter().map(|part| part.output.channels).sum(), ..first.output },
            weights: parts.iter().flat_map(|part| &part.weights).copied().collect(),
            bias: parts.iter().flat_map(|part| &part.bias).copied().collect(),
        })
    }

    fn layer(&self, input: Shape, is_first: bool) -> Layer {
        Layer::convolution((self.kind, self.window), (input, self.output), (&self.weights, &self.bias), is_first)
    }
}

/// The operator.
#[derive(Clone, PartialEq)]
struct Chain {
    groups: Arc<Groups>,
    output_shape: TVec<usize>,
}

// Weights and bounds of a model that was read are never NaN where it matters: a chain with one differs from itself and stays alone.
impl Eq for Chain {}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "Chain of {} layers to {:?}", self.groups.layers(), self.output_shape)
    }
}

impl Op for Chain {
    fn name(&self) -> StaticName {
        "PerceptdChain".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Chain {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let [input] = inputs.as_slice() else { bail!("{} inputs instead of 1", inputs.len()) };
        let mut output = Tensor::zero::<f32>(&self.output_shape)?;
        let (input, groups) = (floats(input)?, &*self.groups);
        Instructions::best().run(Whole { groups, input, output: output.try_as_plain_ram_mut()?.as_slice_mut()? });
        Ok(tvec!(output.into_tvalue()))
    }
}

impl TypedOp for Chain {
    as_op!();

    fn output_facts(&self, _: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(f32::fact(&self.output_shape)))
    }
}

/// All groups; `input` and `output` are channels first.
struct Whole<'a> {
    groups: &'a Groups,
    input: &'a [f32],
    output: &'a mut [f32],
}

impl Kernel for Whole<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        self.groups.compute::<FMA>(self.input, self.output);
    }
}

fn floats(tensor: &Tensor) -> TractResult<&[f32]> {
    tensor.try_as_plain_ram()?.as_slice()
}

#[cfg(test)]
mod tests;
