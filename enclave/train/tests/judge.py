#!/usr/bin/env python3
"""Judges the models that the crate writes with ONNX's own checker and ONNX Runtime.

    python3 -m venv venv && venv/bin/pip install numpy onnx onnxruntime && venv/bin/python judge.py
"""

import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

ROOT = pathlib.Path(__file__).resolve().parents[3]


def made(kind: int, ir: int, constant: bool, typed: bool) -> onnx.ModelProto:
    """y = (x . w + b) in the element type `kind`, with single precision around it."""
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    rng = np.random.default_rng(kind + ir)
    w, b = rng.normal(size=(4, 3)).astype(dtype), rng.normal(size=3).astype(dtype)
    if typed and kind != TensorProto.FLOAT16:
        tensors = [helper.make_tensor(name, kind, value.shape, value.flatten()) for name, value in (("w", w), ("b", b))]
    else:
        tensors = [numpy_helper.from_array(w, "w"), numpy_helper.from_array(b, "b")]
    nodes = [
        helper.make_node("Cast", ["x"], ["inner"], to=kind),
        helper.make_node("MatMul", ["inner", "w"], ["product"]),
        helper.make_node("Add", ["product", "b"], ["sum"]),
        helper.make_node("Cast", ["sum"], ["y"], to=TensorProto.FLOAT),
    ]
    if constant:
        nodes.insert(0, helper.make_node("Constant", [], ["b"], value=tensors.pop()))
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 4])]
    if ir < 4:
        inputs += [helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in tensors]
    graph = helper.make_graph(
        nodes, "made", inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 3])], tensors
    )
    return helper.make_model(graph, ir_version=ir, opset_imports=[helper.make_opsetid("", 8 if ir < 4 else 17)])


def run(model: onnx.ModelProto, x: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {model.graph.input[0].name: x})


def halve(model: onnx.ModelProto) -> None:
    """What the crate must have done, by ONNX's own library."""
    tensors = list(model.graph.initializer)
    for node in model.graph.node:
        if node.op_type == "Constant":
            tensors += [attribute.t for attribute in node.attribute if attribute.HasField("t")]
    for tensor in tensors:
        value = numpy_helper.to_array(tensor)
        if value.dtype.kind == "f":
            half = (value.astype(np.float32) / np.float32(2)).astype(value.dtype)
            tensor.CopyFrom(numpy_helper.from_array(half, tensor.name))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        given, got = pathlib.Path(folder) / "in", pathlib.Path(folder) / "out"
        given.mkdir()
        got.mkdir()
        for kind, name in [(TensorProto.FLOAT, "single"), (TensorProto.FLOAT16, "half"), (TensorProto.DOUBLE, "double")]:
            for ir in (3, 8):
                for constant in (False, True):
                    for typed in (False, True):
                        path = given / f"{name}-{ir}-{constant}-{typed}.onnx"
                        onnx.save(made(kind, ir, constant, typed), path)
        bundled = ROOT / "models" / "breast-cancer" / "model.onnx"
        (given / "bundled.onnx").write_bytes(bundled.read_bytes())
        command = ["cargo", "run", "--release", "-q", "-p", "glacier-train", "--example", "models", "--", given, got]
        subprocess.run(command, cwd=ROOT, check=True)

        judged = 0
        for path in sorted(given.glob("*.onnx")):
            base = onnx.load(path)
            halved, standardised = (onnx.load(got / f"{what}-{path.name}") for what in ("halved", "standardised"))
            for model in (base, halved, standardised):
                onnx.checker.check_model(model, full_check=True)
            shape = [dim.dim_value or 6 for dim in base.graph.input[0].type.tensor_type.shape.dim]
            x = np.random.default_rng(1).normal(size=shape).astype(np.float32)

            expected = onnx.ModelProto()
            expected.CopyFrom(base)
            halve(expected)
            plain = onnx.ModelProto()
            plain.CopyFrom(halved)
            for model in (expected, plain):
                for tensor in model.graph.initializer:
                    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor), tensor.name))
                for node in model.graph.node:
                    for attribute in node.attribute:
                        if attribute.HasField("t"):
                            value = numpy_helper.to_array(attribute.t)
                            attribute.t.CopyFrom(numpy_helper.from_array(value, attribute.t.name))
            assert plain == expected, f"{path.name}: halving changed something else"
            for ours, theirs in zip(run(halved, x), run(expected, x)):
                assert np.array_equal(ours, theirs), path.name

            assert base.graph.input[0] == standardised.graph.input[0] and len(base.graph.input) == len(
                standardised.graph.input
            )
            for ours, theirs in zip(run(standardised, x), run(base, (x - np.float32(0.5)) / np.float32(2))):
                assert np.array_equal(ours, theirs), path.name
            assert {p.key: p.value for p in standardised.metadata_props}["glacier.note"] == "judged"
            kept = [node.name for node in standardised.graph.node if node.name]
            assert len(kept) == len(set(kept)), f"{path.name}: two nodes of one name"
            judged += 1
        outputs = run(onnx.load(given / "mlp.onnx"), np.zeros((2, 5), np.float32))
        assert np.allclose(outputs[0].sum(axis=1), 1), "probabilities do not add up to one"
    print(f"{judged} models judged")


if __name__ == "__main__":
    sys.exit(main())
