#!/usr/bin/env python3
"""Writes the fixtures that the tests compare with. One section for each part of the crate.

    python3 -m venv venv && venv/bin/pip install torch numpy scipy && venv/bin/python oracle.py [SECTION ...]
"""

import math
import pathlib
import sys

FIXTURES = pathlib.Path(__file__).resolve().parent / "fixtures"


# --- optimisers: sequences of steps, for src/optimiser.rs


def optimisers() -> None:
    import torch

    rules = [
        ("optimiser=sgd rate=0.1", lambda p: torch.optim.SGD(p, lr=0.1)),
        ("optimiser=sgd rate=0.1 decay=0.05", lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=0.05)),
        (
            "optimiser=sgd rate=0.05 momentum=0.9 decay=0.01",
            lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.01),
        ),
        (
            "optimiser=sgd rate=0.05 momentum=0.8 nesterov=yes",
            lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.8, nesterov=True),
        ),
        ("optimiser=adam rate=0.01", lambda p: torch.optim.Adam(p, lr=0.01)),
        (
            "optimiser=adam rate=0.02 beta1=0.8 beta2=0.95 epsilon=0.001 decay=0.1",
            lambda p: torch.optim.Adam(p, lr=0.02, betas=(0.8, 0.95), eps=0.001, weight_decay=0.1),
        ),
        ("optimiser=adamw rate=0.01 decay=0.01", lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.01)),
        (
            "optimiser=adamw rate=0.05 beta1=0.5 decay=0.3",
            lambda p: torch.optim.AdamW(p, lr=0.05, betas=(0.5, 0.999), weight_decay=0.3),
        ),
    ]
    line = lambda tensor: " ".join(repr(float(value)) for value in tensor.to(torch.float64))
    blocks = []
    for words, make in rules:
        torch.manual_seed(len(blocks))
        values = torch.nn.Parameter(torch.randn(5))
        rule = make([values])
        lines = [words, line(values.detach())]
        for step in range(20):
            values.grad = torch.randn(5) * 10 ** (step % 4 - 2)
            lines.append(line(values.grad))
            rule.step()
            lines.append(line(values.detach()))
        blocks.append("\n".join(lines))
    (FIXTURES / "optimisers.txt").write_text("\n\n".join(blocks) + "\n")


# --- losses: values and gradients, for tests/trainer_losses.rs


def losses() -> None:
    import torch
    import torch.nn.functional as F

    torch.manual_seed(11)
    line = lambda tensor: " ".join(repr(float(value)) for value in tensor.detach().flatten().to(torch.float64)) or "-"
    blocks = []

    def case(words, output, targets, loss):
        output = torch.nn.Parameter(output)
        value = loss(output)
        value.backward()
        shape = " ".join(str(extent) for extent in output.shape)
        blocks.append("\n".join([words, shape, line(output), line(targets), line(value), line(output.grad)]))

    logits, classes = torch.randn(6, 4) * 3, torch.tensor([0, 3, 1, 1, 2, 0])
    weights = torch.tensor([0.5, 2.0, 1.0, 1.5])
    case("cross-entropy", logits, classes, lambda o: F.cross_entropy(o, classes))
    case("cross-entropy smoothing=0.1", logits, classes, lambda o: F.cross_entropy(o, classes, label_smoothing=0.1))
    case("cross-entropy weights", logits, classes, lambda o: F.cross_entropy(o, classes, weights))
    case(
        "cross-entropy weights smoothing=0.2",
        logits,
        classes,
        lambda o: F.cross_entropy(o, classes, weights, label_smoothing=0.2),
    )
    softmax = torch.softmax(logits, 1)
    case("cross-entropy probabilities", softmax, classes, lambda o: F.nll_loss(torch.log(o), classes))
    column, truths = torch.randn(5, 1) * 3, torch.rand(5, 1)
    case("bce", column, truths, lambda o: F.binary_cross_entropy_with_logits(o, truths))
    case("bce probabilities", torch.sigmoid(column), truths, lambda o: F.binary_cross_entropy(o, truths))
    rows, numbers = torch.randn(4, 3), torch.randn(4, 3)
    case("mse", rows, numbers, lambda o: F.mse_loss(o, numbers))
    case("mae", rows, numbers, lambda o: F.l1_loss(o, numbers))
    case("cosine", rows, numbers, lambda o: (1 - F.cosine_similarity(o, numbers)).mean())
    halves, scores = torch.randn(6, 5), torch.tensor([0.2, -0.4, 0.9])
    case("cosine pairs", halves, scores, lambda o: F.mse_loss(F.cosine_similarity(o[:3], o[3:]), scores))

    def contrast(o):
        units = F.normalize(o)
        similar = units[:3] @ units[3:].T / 0.1
        own = torch.arange(3)
        return (F.cross_entropy(similar, own) + F.cross_entropy(similar.T, own)) / 2

    case("contrastive temperature=0.1 pairs", halves, torch.tensor([]), contrast)
    (FIXTURES / "losses.txt").write_text("\n\n".join(blocks) + "\n")


# --- privacy: Renyi divergences of the sampled Gaussian by numeric integration, for src/privacy.rs


def privacy() -> None:
    import numpy as np
    from scipy.special import logsumexp

    def rdp(q, sigma, order):
        """ln E_{x ~ mu0} [(mu(x) / mu0(x))^order] / (order - 1), mu = (1 - q) N(0, s^2) + q N(1, s^2)."""
        x = np.linspace(-60 * sigma, 60 * sigma + order + 1, 4_000_001)
        log_mu0 = -(x**2) / (2 * sigma**2) - math.log(sigma * math.sqrt(2 * math.pi))
        ratio = np.logaddexp(math.log1p(-q), math.log(q) + (2 * x - 1) / (2 * sigma**2))
        return (logsumexp(log_mu0 + order * ratio) + math.log(x[1] - x[0])) / (order - 1)

    lines = ["# q sigma order rdp"]
    for q, sigma in [(0.01, 1.1), (0.004266666666, 1.3), (0.1, 0.8), (0.5, 4.0), (0.02, 0.6)]:
        for order in [2, 3, 8, 17, 32]:
            lines.append(f"{q} {sigma} {order} {float(rdp(q, sigma, order))!r}")
    (FIXTURES / "privacy.txt").write_text("\n".join(lines) + "\n")


SECTIONS = {"optimisers": optimisers, "losses": losses, "privacy": privacy}

if __name__ == "__main__":
    FIXTURES.mkdir(exist_ok=True)
    for name in sys.argv[1:] or SECTIONS:
        SECTIONS[name]()
