//! One ONNX model, ready to run. Only this file and its child name tract; its tensors stay here.
//!
//! Shapes are concrete and the batch is 1: tract is several times slower with symbolic ones.

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
        Ok(Session { plan, shapes: inputs.iter().map(|input| input.shape.clone()).collect() })
    }
}

fn build(proto: ModelProto, inputs: &[InputSpec], output: &str) -> TractResult<Arc<TypedRunnableModel>> {
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
    model.into_optimized()?.into_runnable()
}

/// A model with fixed inputs and one output.
pub(super) struct Session {
    plan: Arc<TypedRunnableModel>,
    shapes: Vec<Vec<usize>>,
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

    fn run_tensors<T: Datum + Copy>(&self, inputs: &[&[T]]) -> TractResult<Output> {
        if inputs.len() != self.shapes.len() {
            bail!("{} inputs instead of {}", inputs.len(), self.shapes.len());
        }
        let tensor =
            |(shape, values): (&Vec<usize>, &&[T])| Tensor::from_shape(shape, values).map(IntoTValue::into_tvalue);
        let tensors = self.shapes.iter().zip(inputs).map(tensor).collect::<TractResult<TVec<TValue>>>()?;
        let outputs = self.plan.run(tensors)?;
        let output = outputs.first().ok_or_else(|| anyhow!("the model gave nothing"))?;
        let values = output.to_plain_array_view::<f32>()?.iter().copied().collect();
        Ok(Output { shape: output.shape().to_vec(), values })
    }
}
