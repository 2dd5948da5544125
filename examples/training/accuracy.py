"""Opens a refined model in ONNX Runtime and scores it on rows it has never seen: `accuracy.py MODEL TEST.npz`.

The test file has one array for each input of the model, and the array `label`. Needs numpy and onnxruntime.
"""

import sys

import numpy
import onnxruntime


def main():
    session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
    test = numpy.load(sys.argv[2])
    right = 0
    for start in range(0, len(test["label"]), 256):
        inputs = {port.name: test[port.name][start : start + 256] for port in session.get_inputs()}
        (scores,) = session.run(None, inputs)
        right += int((scores.argmax(axis=1) == test["label"][start : start + 256]).sum())
    print(f"accuracy {right / len(test['label']):.4f} on {len(test['label'])} rows")


if __name__ == "__main__":
    main()
