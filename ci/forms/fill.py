"""Puts a checkpoint's tensors back into the graph skeletons of tests/graphs."""

import gzip
import json
import os

import numpy as np
import onnx
from onnx import numpy_helper
from safetensors import safe_open


def tensors(path):
    """The tensors of `path`/model.safetensors that the two-layer classifier uses, as float32."""
    out = {}
    with safe_open(os.path.join(path, "model.safetensors"), "np") as file:
        for name in file.keys():
            layer = name.split(".layer.")[1].split(".")[0] if ".layer." in name else "0"
            if int(layer) < 2 and (name.startswith("distilbert.") or name.startswith("heads.sentiment.")):
                out[name] = file.get_tensor(name).astype(np.float32)
    return out


def fill(graphs, name, weights):
    """The whole model of the skeleton `name`: an `onnx.ModelProto` of about 150 MB."""
    with open(os.path.join(graphs, "index.json")) as file:
        dropped = json.load(file)[name]
    with gzip.open(os.path.join(graphs, f"{name}.onnx.gz")) as file:
        model = onnx.load_model_from_string(file.read())
    for entry in dropped:
        parts = [weights[name] for name in entry.get("tensors") or [entry["tensor"]]]
        value = np.concatenate([part.T if entry["transposed"] else part for part in parts], -1)
        if list(value.shape) != entry["shape"]:
            raise ValueError(f"{name}: `{entry['name']}` is {value.shape}, the graph says {entry['shape']}")
        model.graph.initializer.append(numpy_helper.from_array(value, entry["name"]))
    return model
