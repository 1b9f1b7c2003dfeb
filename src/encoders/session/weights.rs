//! Int8 weights to f32, before the runtime sees them.
//!
//! tract would do this itself while it loads, but by a slow generic loop (0.6 of 0.75 s for the image model), and only for
//! tensors that stay under 4 MiB: larger ones it dequantizes anew at every run.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

/// Replaces every `DequantizeLinear` of a constant int8 tensor with the f32 tensor that it makes. Forms that are not
/// understood here (other types, blocks, other layouts of the file) are left to the runtime.
pub(super) fn dequantize(graph: &mut GraphProto) {
    let constants: HashMap<&str, &TensorProto> = graph.initializer.iter().map(|t| (t.name.as_str(), t)).collect();
    let made: Vec<TensorProto> = graph.node.iter().filter_map(|node| dequantized(node, &constants)).collect();
    let names: HashSet<&str> = made.iter().map(|tensor| tensor.name.as_str()).collect();
    graph.node.retain(|node| !node.output.first().is_some_and(|output| names.contains(output.as_str())));
    let used: HashSet<&str> = graph.node.iter().flat_map(|node| &node.input).map(String::as_str).collect();
    graph.initializer.retain(|tensor| used.contains(tensor.name.as_str()));
    graph.initializer.extend(made);
}

fn dequantized(node: &NodeProto, constants: &HashMap<&str, &TensorProto>) -> Option<TensorProto> {
    if node.op_type != "DequantizeLinear" || !node.domain.is_empty() {
        return None;
    }
    let constant = |place: usize| node.input.get(place).and_then(|name| constants.get(name.as_str())).copied();
    let (weight, scales) = (constant(0)?, floats(constant(1)?)?);
    let bytes = int8s(weight)?;
    let zeros = match node.input.get(2).filter(|name| !name.is_empty()) {
        Some(_) => int8s(constant(2)?)?.to_vec(),
        None => vec![0; scales.len()],
    };
    let integer = |name: &str| node.attribute.iter().find(|a| a.name == name).map(|a| a.i);
    if integer("block_size").is_some_and(|size| size != 0) || zeros.len() != scales.len() {
        return None;
    }
    let axis = integer("axis").unwrap_or(1);
    let axis = if axis < 0 { axis + i64::try_from(weight.dims.len()).ok()? } else { axis };
    let dims: Vec<usize> = weight.dims.iter().map(|d| usize::try_from(*d).ok()).collect::<Option<_>>()?;
    let channels = if scales.len() == 1 { 1 } else { *dims.get(usize::try_from(axis).ok()?)? };
    // Values of one channel that lie together.
    let run =
        if scales.len() == 1 { bytes.len() } else { dims.get(usize::try_from(axis).ok()? + 1..)?.iter().product() };
    if channels != scales.len() || run == 0 || dims.iter().product::<usize>() != bytes.len() {
        return None;
    }
    let mut raw = Vec::with_capacity(bytes.len() * 4);
    for (values, (scale, zero)) in bytes.chunks_exact(run).zip(scales.iter().zip(&zeros).cycle()) {
        let zero = f32::from(zero.cast_signed());
        raw.extend(values.iter().flat_map(|v| ((f32::from(v.cast_signed()) - zero) * scale).to_le_bytes()));
    }
    let name = node.output.first()?.clone();
    Some(TensorProto {
        dims: weight.dims.clone(),
        data_type: DataType::Float.into(),
        name,
        raw_data: raw,
        ..TensorProto::default()
    })
}

fn int8s(tensor: &TensorProto) -> Option<&[u8]> {
    (tensor.data_type == i32::from(DataType::Int8) && !tensor.raw_data.is_empty()).then_some(tensor.raw_data.as_slice())
}

fn floats(tensor: &TensorProto) -> Option<Vec<f32>> {
    if tensor.data_type != i32::from(DataType::Float) {
        return None;
    }
    let (raw, _) = tensor.raw_data.as_chunks::<4>();
    let values: Vec<f32> = raw.iter().map(|b| f32::from_le_bytes(*b)).collect();
    Some(if values.is_empty() { tensor.float_data.clone() } else { values })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tract_onnx::pb::AttributeProto;

    fn tensor(name: &str, kind: DataType, dims: &[i64], raw_data: Vec<u8>) -> TensorProto {
        TensorProto {
            name: name.into(),
            data_type: kind.into(),
            dims: dims.to_vec(),
            raw_data,
            ..TensorProto::default()
        }
    }

    fn node(op_type: &str, input: &[&str], output: &str, axis: i64) -> NodeProto {
        let attribute = AttributeProto { name: "axis".into(), i: axis, ..AttributeProto::default() };
        NodeProto {
            op_type: op_type.into(),
            input: input.iter().map(|name| (*name).to_owned()).collect(),
            output: vec![output.into()],
            attribute: vec![attribute],
            ..NodeProto::default()
        }
    }

    fn scales() -> Vec<u8> {
        [0.5f32, 2.0].iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    #[test]
    fn each_channel_has_its_own_scale_along_the_axis() {
        for (axis, expected) in [(0, [0.5, -0.5, 6.0, 8.0]), (1, [0.5, -2.0, 1.5, 8.0]), (-1, [0.5, -2.0, 1.5, 8.0])] {
            let mut graph = GraphProto {
                initializer: vec![
                    tensor("w", DataType::Int8, &[2, 2], vec![1, 255, 3, 4]),
                    tensor("s", DataType::Float, &[2], scales()),
                    tensor("z", DataType::Int8, &[2], vec![0, 0]),
                ],
                node: vec![node("DequantizeLinear", &["w", "s", "z"], "f", axis), node("MatMul", &["x", "f"], "y", 0)],
                ..GraphProto::default()
            };
            dequantize(&mut graph);
            assert_eq!((graph.node.len(), graph.initializer.len()), (1, 1));
            assert_eq!(
                (graph.initializer[0].name.as_str(), floats(&graph.initializer[0]).unwrap()),
                ("f", expected.to_vec())
            );
        }
    }

    #[test]
    fn what_is_not_understood_stays() {
        let mut graph = GraphProto {
            initializer: vec![
                tensor("w", DataType::Uint8, &[2], vec![1, 2]),
                tensor("s", DataType::Float, &[2], scales()),
            ],
            node: vec![node("DequantizeLinear", &["w", "s"], "f", 0), node("DequantizeLinear", &["x", "s"], "g", 0)],
            ..GraphProto::default()
        };
        let before = graph.clone();
        dequantize(&mut graph);
        assert_eq!(graph, before);
    }
}
