"""What the enclave path adds to training: `path.py MODEL.onnx DATA TARGET [--epochs N] [--rounds N] [--bare PROGRAM]`.

Trains the same model on the same data with the same plan, in turn: with nothing around (the Rust example `bare`), and by
`glacier train` through a running node (GLACIER_NODE, GLACIER_POLICY): attestation, sealing, upload, sandbox, decryption, a sealed
checkpoint after each epoch, sealed result, proof. Both must come to the same bits. Prints medians and their ratio.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

CARGO = ["cargo", "run", "--release", "--quiet", "-p", "glacier-train", "--example", "bare", "--"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("target")
    parser.add_argument("--loss", default="cross-entropy")
    parser.add_argument("--epochs", default="10")
    parser.add_argument("--batch", default="64")
    parser.add_argument("--threads", default="1")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bare", help="the built example")
    arguments = parser.parse_args()
    bare = [arguments.bare] if arguments.bare else CARGO
    plan = [arguments.epochs, arguments.batch, arguments.threads]
    engine, node, loads = [], [], []
    with tempfile.TemporaryDirectory() as scratch:
        for place in range(arguments.rounds):
            loads.append(os.getloadavg()[0])
            command = [*bare, arguments.model, arguments.data, arguments.target, arguments.loss, *plan]
            told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            seconds, expected = (word.split("=")[1] for word in told.split())
            engine.append(float(seconds))
            output = pathlib.Path(scratch) / f"{place}.onnx"
            command = ["glacier", "train", "--json", "--model", arguments.model, "--data", arguments.data]
            command += ["--target", arguments.target, "--loss", arguments.loss, "--output", str(output)]
            command += ["--epochs", plan[0], "--batch", plan[1], "--threads", plan[2]]
            start = time.perf_counter()
            told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            node.append(time.perf_counter() - start)
            if (found := json.loads(told)["record"]["result"]) != expected:
                sys.exit(f"the two did not do the same: {found} and {expected}")
    here, there = statistics.median(node), statistics.median(engine)
    print(f"load {min(loads):.1f} to {max(loads):.1f}; through the node {here:.2f} s, engine alone {there:.2f} s, ", end="")
    print(f"ratio {here / there:.3f}; each round {', '.join(f'{a / b:.3f}' for a, b in zip(node, engine))}")


if __name__ == "__main__":
    main()
