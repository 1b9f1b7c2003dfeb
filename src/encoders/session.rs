//! One ONNX model, ready to run. Only this file and its child name tract; its tensors stay here.
//!
//! Shapes are concrete and the batch is 1: tract is several times slower with symbolic ones.

mod chain;
mod weights;

use std::path::Path;
use std::sync::Arc;

use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::{TractErrorContext as _, anyhow, bail};

/// Type and shape of one input.
#[derive(Clone, Debug)]
pub(super) struct InputSpec<'a> {
    pub(super) name: &'a str,
    pub(super) shape: Vec<usize>,
    pub(super) integers: bool,
}

impl<'a> InputSpec<'a> {
    /// An input of f32.
    pub(super) fn f32(name: &'a str, shape: &[usize]) -> Self {
        Self { name, shape: shape.to_vec(), integers: false }
    }

    /// An input of i64.
    pub(super) fn i64(name: &'a str, shape: &[usize]) -> Self {
        Self { name, shape: shape.to_vec(), integers: true }
    }
}

/// The parsed file.
pub(super) struct Onnx(ModelProto);

impl Onnx {
    /// Reads an ONNX file.
    ///
    /// # Errors
    /// When it is none, or ends early.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        // By path, because tract then maps the file instead of copying it.
        let proto = tract_onnx::onnx().proto_model_for_path(path);
        let mut proto = proto.map_err(|why| format!("it is no readable ONNX file ({why:#}): copy the pack anew"))?;
        let Some(graph) = &mut proto.graph else {
            return Err("it is no readable ONNX file (it holds no graph): copy the pack anew".to_owned());
        };
        weights::dequantize(graph);
        Ok(Self(proto))
    }

    /// A session that takes `inputs`, in this order, and gives `output`; what the output does not need is not computed.
    ///
    /// # Errors
    /// When the model has other inputs or no such output, or the shapes do not fit it.
    pub(super) fn session(self, inputs: &[InputSpec], output: &str) -> Result<Session, String> {
        let plan = build(self.0, inputs, output).map_err(|why| format!("{why:#}"))?;
        Ok(Session { plan, inputs: inputs.iter().map(|input| (input.shape.clone(), input.integers)).collect() })
    }
}

fn build(proto: ModelProto, inputs: &[InputSpec], output: &str) -> TractResult<Arc<TypedRunnableModel>> {
    let mut model = typed(proto, inputs, output)?;
    chain::replace(&mut model)?;
    model.into_decluttered()?.into_optimized()?.into_runnable()
}

/// The model in tract's own operators, as it was read.
fn typed(proto: ModelProto, inputs: &[InputSpec], output: &str) -> TractResult<TypedModel> {
    let onnx = tract_onnx::onnx().with_ignore_output_shapes(true).with_ignore_value_info(true);
    let mut model = onnx.model_for_proto_model(&proto)?;
    // The model has its own copy of the weights, and makes another while it is optimized.
    drop(proto);
    for outlet in model.input_outlets()?.to_vec() {
        let name = model.node(outlet.node).name.clone();
        let spec = inputs.iter().find(|input| input.name == name);
        let spec = spec.ok_or_else(|| anyhow!("it has an input `{name}` that the manifest does not name"))?;
        let kind = if spec.integers { i64::datum_type() } else { f32::datum_type() };
        model.set_outlet_fact(outlet, InferenceFact::dt_shape(kind, spec.shape.as_slice()))?;
    }
    model
        .select_inputs_by_name(inputs.iter().map(|input| input.name))
        .context("an input that the manifest names is missing")?;
    model.select_outputs_by_name([output]).context("an output that the manifest names is missing")?;
    model.into_typed()
}

/// A model with fixed inputs and one output.
pub(super) struct Session {
    plan: Arc<TypedRunnableModel>,
    /// Shape, and whether it takes i64.
    inputs: Vec<(Vec<usize>, bool)>,
}

/// What a session gave.
pub(super) struct Output {
    pub(super) shape: Vec<usize>,
    pub(super) values: Vec<f32>,
}

impl Session {
    /// Runs the model on one input of f32.
    ///
    /// # Errors
    /// When the count of values is wrong, or the runtime fails.
    pub(super) fn run(&self, values: &[f32]) -> Result<Output, String> {
        self.run_tensors(&[values]).map_err(|why| format!("{why:#}"))
    }

    /// Runs the model on inputs of i64.
    ///
    /// # Errors
    /// When the count of values is wrong, or the runtime fails.
    pub(super) fn run_tokens(&self, ids: &[i64], mask: &[i64]) -> Result<Output, String> {
        self.run_tensors(&[ids, mask]).map_err(|why| format!("{why:#}"))
    }

    /// Runs the model on numbers that mean nothing.
    ///
    /// # Errors
    /// When the runtime fails.
    pub(super) fn probe(&self) -> Result<Output, String> {
        // Anything but constant will do for f32: a constant can hide what a normalisation divides by.
        // Every vocabulary has a 1.
        let tensor = |(shape, integers): &(Vec<usize>, bool)| {
            let count = shape.iter().product::<usize>();
            let ramp = || (0..count).map(|i| (i % 251) as f32 / 125.0 - 1.0).collect::<Vec<_>>();
            if *integers { Tensor::from_shape(shape, &vec![1i64; count]) } else { Tensor::from_shape(shape, &ramp()) }
        };
        let tensors =
            self.inputs.iter().map(|input| tensor(input).map(IntoTValue::into_tvalue)).collect::<TractResult<_>>();
        tensors.and_then(|tensors| self.run_values(tensors)).map_err(|why| format!("{why:#}"))
    }

    fn run_tensors<T: Datum + Copy>(&self, inputs: &[&[T]]) -> TractResult<Output> {
        if inputs.len() != self.inputs.len() {
            bail!("{} inputs instead of {}", inputs.len(), self.inputs.len());
        }
        let tensor = |((shape, _), values): (&(Vec<usize>, bool), &&[T])| {
            Tensor::from_shape(shape, values).map(IntoTValue::into_tvalue)
        };
        self.run_values(self.inputs.iter().zip(inputs).map(tensor).collect::<TractResult<_>>()?)
    }

    fn run_values(&self, inputs: TVec<TValue>) -> TractResult<Output> {
        let outputs = self.plan.run(inputs)?;
        let output = outputs.first().ok_or_else(|| anyhow!("the model gave nothing"))?;
        let values = output.to_plain_array_view::<f32>()?.iter().copied().collect();
        Ok(Output { shape: output.shape().to_vec(), values })
    }
}
