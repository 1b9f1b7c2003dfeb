"""onnxruntime, one thread: the reference that every figure and golden vector comes from."""

from pathlib import Path

import numpy as np
import onnxruntime


class Session:
    def __init__(self, model: Path | bytes):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # By default onnxruntime turns DequantizeLinear + MatMul into a kernel that quantizes activations too; tract does not.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        source = str(model) if isinstance(model, Path) else model
        self.session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])

    def __call__(self, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        names = [o.name for o in self.session.get_outputs()]
        return dict(zip(names, self.session.run(names, inputs), strict=True))
