"""One training step of three models in PyTorch on the CPU, for comparison with `enclave/train/examples/step.rs`.

`--export DIRECTORY` writes the models as ONNX files, which that example reads: so both start from the same weights. Data
follow from a formula that both know, and the loss after the last step, which both print, shows that they did the same.

The same shapes, batch sizes, optimiser and number of threads on both sides. Prints milliseconds of a step: the
median and the least by the clock, and the mean of processor time over all threads, which a machine that others use
too disturbs least.
"""

import argparse
import pathlib
import statistics
import time

import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.width = width // heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, x):
        batch, tokens, width = x.shape
        split = lambda y: y.view(batch, tokens, self.heads, self.width).transpose(1, 2)
        q, k, v = split(self.query(x)), split(self.key(x)), split(self.value(x))
        scores = torch.softmax(q @ k.transpose(2, 3) / self.width**0.5, dim=-1)
        return self.out((scores @ v).transpose(1, 2).reshape(batch, tokens, width))


class Layer(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.attention = Attention(width, heads)
        self.norm1 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)
        self.norm2 = nn.LayerNorm(width)

    def forward(self, x):
        x = self.norm1(x + self.attention(x))
        return self.norm2(x + self.down(nn.functional.gelu(self.up(x))))


class Encoder(nn.Module):
    def __init__(self, width=384, heads=12, layers=6, classes=2):
        super().__init__()
        self.layers = nn.Sequential(*(Layer(width, heads) for _ in range(layers)))
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        return self.head(self.layers(x).mean(dim=1))


def mlp():
    return nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))


def cnn():
    return nn.Sequential(
        nn.Conv2d(1, 32, 3),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(9216, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )


MODELS = {
    "mlp": (mlp, (64, 784), 10, lambda p: torch.optim.SGD(p, lr=0.1), 400),
    "cnn": (cnn, (64, 1, 28, 28), 10, lambda p: torch.optim.SGD(p, lr=0.1), 60),
    "transformer": (Encoder, (8, 128, 384), 2, lambda p: torch.optim.AdamW(p, lr=1e-4), 12),
}


def prepare(name: str):
    build, shape, classes, _, _ = MODELS[name]
    torch.manual_seed(1)
    model = build().train()
    count = torch.Size(shape).numel()
    x = ((torch.arange(count) * 7919 % 2001 - 1000) / 1000).reshape(shape)
    y = torch.arange(shape[0]) * 31 % classes
    return model, x, y


def export(directory: pathlib.Path):
    directory.mkdir(parents=True, exist_ok=True)
    for name in MODELS:
        model, x, _ = prepare(name)
        torch.onnx.export(
            model,
            x,
            directory / f"{name}.onnx",
            dynamo=False,
            training=torch.onnx.TrainingMode.TRAINING,
            do_constant_folding=False,
            opset_version=20,
            input_names=["x"],
            output_names=["y"],
        )


def measure(name: str, scale: float):
    _, _, _, optimiser, steps = MODELS[name]
    model, x, y = prepare(name)
    optimiser = optimiser(model.parameters())
    times = []
    processor = 0.0
    for step in range(max(3, int(steps * scale)) + 3):
        start, before = time.perf_counter(), time.process_time()
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimiser.step()
        if step >= 3:
            times.append((time.perf_counter() - start) * 1e3)
            processor += (time.process_time() - before) * 1e3
    return statistics.median(times), min(times), processor / len(times), loss.item()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--scale", type=float, default=1.0, help="times the usual number of steps")
    parser.add_argument("--export", type=pathlib.Path, metavar="DIRECTORY")
    parser.add_argument("models", nargs="*", default=list(MODELS))
    arguments = parser.parse_args()
    if arguments.export:
        return export(arguments.export)
    torch.set_num_threads(arguments.threads)
    for name in arguments.models or MODELS:
        median, least, processor, loss = measure(name, arguments.scale)
        print(
            f"pytorch {name} threads={arguments.threads} "
            f"median_ms={median:.3f} least_ms={least:.3f} cpu_ms={processor:.3f} loss={loss:.6f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
