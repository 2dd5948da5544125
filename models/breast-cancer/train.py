#!/usr/bin/env python3
"""Writes model.onnx, data.csv and labels.csv beside this file.

    python3 -m venv venv && venv/bin/pip install numpy scikit-learn onnx && venv/bin/python train.py

The data is the copy that scikit-learn carries; its decimals are taken over as they stand. A quarter of the
rows, drawn once with a fixed seed and stratified by diagnosis, is never seen in training: `held_out` in
labels.csv says which. Nothing was chosen by looking at them.
"""

import csv
import json
import pathlib

import numpy as np
import onnx
import sklearn.datasets
from onnx import TensorProto, helper, numpy_helper
from sklearn.linear_model import LogisticRegression  # noqa: F401  (the baseline printed below)
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

HERE = pathlib.Path(__file__).resolve().parent
LABELS = ["malignant", "benign"]
HIDDEN = 16
SEED = 1


def raw_rows() -> list[list[str]]:
    """The file's own decimals: a float read and printed again may differ."""
    source = pathlib.Path(sklearn.datasets.__file__).parent / "data" / "breast_cancer.csv"
    with source.open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0][:2] == ["569", "30"]
    return rows[1:]


def graph(mean, scale, weights, biases, features) -> onnx.ModelProto:
    constants = {
        "mean": mean[None, :],
        "scale": scale[None, :],
        "hidden.weight": weights[0].T,
        "hidden.bias": biases[0],
        "output.weight": weights[1].T,
        "output.bias": biases[1],
    }
    nodes = [
        helper.make_node("Sub", ["features", "mean"], ["centred"], "centre"),
        helper.make_node("Div", ["centred", "scale"], ["standardised"], "standardise"),
        helper.make_node("Gemm", ["standardised", "hidden.weight", "hidden.bias"], ["hidden"], "hidden", transB=1),
        helper.make_node("Relu", ["hidden"], ["active"], "activate"),
        helper.make_node("Gemm", ["active", "output.weight", "output.bias"], ["logits"], "output", transB=1),
        helper.make_node("Softmax", ["logits"], ["probabilities"], "normalise", axis=1),
    ]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "breast-cancer",
            [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["rows", len(features)])],
            [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["rows", len(LABELS)])],
            [numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()],
        ),
        ir_version=8,
        opset_imports=[helper.make_opsetid("", 17)],
        producer_name="glacier models/breast-cancer/train.py",
    )
    helper.set_model_props(model, {"glacier.features": json.dumps(features), "glacier.labels": json.dumps(LABELS)})
    onnx.checker.check_model(model, full_check=True)
    return model


def main() -> None:
    features = [str(name) for name in sklearn.datasets.load_breast_cancer().feature_names]
    rows = raw_rows()
    x = np.array([[float(cell) for cell in row[:-1]] for row in rows])
    y = np.array([int(row[-1]) for row in rows])
    train, held = train_test_split(np.arange(len(y)), test_size=0.25, random_state=SEED, stratify=y)

    mean, scale = x[train].mean(axis=0), x[train].std(axis=0)
    standard = (x - mean) / scale
    network = MLPClassifier((HIDDEN,), alpha=1.0, solver="lbfgs", max_iter=2000, random_state=SEED)
    network.fit(standard[train], y[train])
    baseline = LogisticRegression(max_iter=2000).fit(standard[train], y[train])

    # scikit-learn gives one logit for the second class; two outputs are the same distribution.
    first, last = network.coefs_
    weights = [first, np.hstack([-last / 2, last / 2])]
    biases = [network.intercepts_[0], np.array([-network.intercepts_[1][0] / 2, network.intercepts_[1][0] / 2])]
    model = graph(mean, scale, weights, biases, features)
    onnx.save(model, HERE / "model.onnx")

    with (HERE / "data.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(features)
        writer.writerows(row[:-1] for row in rows)
    held_out = set(held.tolist())
    with (HERE / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["label", "held_out"])
        writer.writerows([LABELS[y[row]], int(row in held_out)] for row in range(len(y)))

    print(f"all rows:  {network.score(standard, y):.4f}")
    print(f"held out:  {network.score(standard[held], y[held]):.4f} of {len(held)} rows")
    print(f"baseline:  {baseline.score(standard[held], y[held]):.4f} (logistic regression, held out)")


if __name__ == "__main__":
    main()
