"""Makes the fixtures of these tests with PyTorch: run as `python oracle.py` in this folder.

A fixture is a list of named arrays: length of the name (u32), name, kind (u8: 0 float32, 1 int64), rank (u32),
extents (u32 each), elements; all little-endian.
"""

import struct
from pathlib import Path

import numpy
import onnx
import torch
from torch import nn

HERE = Path(__file__).parent / "fixtures"


def write(path, arrays):
    with open(path, "wb") as file:
        for name, array in arrays:
            array = numpy.array(array, order="C")
            kind = 1 if array.dtype.kind in "iub" else 0
            array = array.astype("<i8" if kind else "<f4")
            file.write(struct.pack("<I", len(name)) + name.encode() + struct.pack("<BI", kind, array.ndim))
            file.write(struct.pack(f"<{array.ndim}I", *array.shape) + array.tobytes())


# --- whole graphs: outputs and gradients -----------------------------------------------------------------


class Perceptron(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 9), nn.GELU(), nn.Linear(9, 8), nn.SiLU(), nn.Linear(8, 3))

    def forward(self, x):
        return torch.log_softmax(self.layers(x), -1)


class Convolutions(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, 6, 3, stride=2, groups=2)
        self.head = nn.Linear(6, 5)

    def forward(self, x):
        x = torch.max_pool2d(torch.relu(self.norm(self.first(x))), 2)
        return self.head(torch.nn.functional.adaptive_avg_pool2d(torch.relu(self.second(x)), 1).flatten(1))


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x, mask):
        batch, length, width = x.shape
        split = lambda y: y.view(batch, length, self.heads, -1).transpose(1, 2)
        query, key, value = split(self.query(x)), split(self.key(x)), split(self.value(x))
        scores = query @ key.transpose(-1, -2) / (width // self.heads) ** 0.5 + mask
        x = self.first(x + self.out((scores.softmax(-1) @ value).transpose(1, 2).reshape(batch, length, width)))
        return self.second(x + self.down(torch.nn.functional.gelu(self.up(x))))


class Encoder(nn.Module):
    """As sentence encoders are: embeddings, masked attention, masked mean, unit length."""

    def __init__(self, words=11, width=8, heads=2):
        super().__init__()
        self.words, self.places = nn.Embedding(words, width), nn.Embedding(16, width)
        self.norm = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(2))

    def forward(self, ids, mask):
        places = torch.arange(ids.shape[1]).unsqueeze(0)
        x = self.norm(self.words(ids) + self.places(places))
        shift = (1.0 - mask[:, None, None, :].to(x.dtype)) * -10000.0
        for block in self.blocks:
            x = block(x, shift)
        weight = mask.unsqueeze(-1).to(x.dtype)
        mean = (x * weight).sum(1) / weight.sum(1).clamp(min=1e-9)
        return mean / mean.norm(dim=-1, keepdim=True)


def graph(name, model, inputs, dynamic, opset=17):
    """Exports the model as it is before the step, and writes what a step in training mode gives."""
    for parameter in model.parameters():
        if parameter.dim() == 1:
            nn.init.uniform_(parameter, 0.5, 1.5)
    model.eval()
    path = HERE / f"{name}.onnx"
    names = [f"in{at}" for at in range(len(inputs))]
    axes = {key: value for key, value in zip(names, dynamic)}
    torch.onnx.export(model, inputs, path, input_names=names, output_names=["out"], dynamic_axes=axes,
                      opset_version=opset, dynamo=False, training=torch.onnx.TrainingMode.PRESERVE,
                      do_constant_folding=False)
    exported = onnx.load(path)
    del exported.graph.value_info[:]
    for node in exported.graph.node:
        node.doc_string = ""
    onnx.save(exported, path)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.train()
    output = model(*inputs)
    seed = torch.randn(output.shape)
    output.backward(seed)
    arrays = [(key, value.numpy()) for key, value in zip(names, inputs)]
    arrays += [("out", output.detach().numpy()), ("seed", seed.numpy())]
    gradients = {key: value.grad for key, value in model.named_parameters()}
    after = model.state_dict()
    for tensor in exported.graph.initializer:
        values = torch.tensor(onnx.numpy_helper.to_array(tensor))
        if not values.is_floating_point() or values.dim() == 0:
            continue
        # The exporter renames and transposes.
        [key, turned] = next([key, turned] for key, value in before.items() for turned in (False, True)
                             if torch.equal(value.T if turned else value, values))
        if key in gradients:
            gradient = gradients[key].T if turned else gradients[key]
            arrays.append((f"gradient:{tensor.name}", gradient.numpy()))
        else:
            arrays.append((f"statistic:{tensor.name}", after[key].numpy()))
    write(HERE / f"{name}.bin", arrays)


def graphs():
    torch.manual_seed(5)
    graph("perceptron", Perceptron(), (torch.randn(5, 6),), [{0: "batch"}])
    graph("convolutions", Convolutions(), (torch.randn(3, 1, 8, 8),), [{0: "batch"}])
    mask = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 1, 1, 1], [1, 1, 0, 0, 0]])
    free = {0: "batch", 1: "length"}
    graph("encoder", Encoder(), (torch.randint(0, 11, (3, 5)), mask), [free, free])
    # Before operator set 17 there is no LayerNormalization: it is made of ten others.
    graph("encoder-14", Encoder(), (torch.randint(0, 11, (3, 5)), mask), [free, free], opset=14)


if __name__ == "__main__":
    HERE.mkdir(exist_ok=True)
    graphs()
