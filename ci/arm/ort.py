"""ONNX Runtime on one thread: `ort.py MODEL TOKENS RUNS`. Runs under the emulator; see count.sh."""
import sys

import numpy as np
import onnxruntime as ort

options = ort.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
model, tokens, runs = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
session = ort.InferenceSession(model, options)
ids = np.random.default_rng(0).integers(1000, 20000, (1, tokens))
feeds = {i.name: ids if i.name == "input_ids" else np.ones_like(ids) for i in session.get_inputs()}
for _ in range(runs):
    logits = session.run(None, feeds)[0]
print(logits.ravel()[:2])
