"""Memory of streamed training: `memory.py NODE_PID [--rows N]`.

Trains a linear model on N and on 10 N rows of 30 numbers through a running node on this machine (GLACIER_NODE,
GLACIER_POLICY), with so little memory allowed that neither is held, and reads the peak of the worker process out of /proc.
NODE_PID is that of `glacier node run`. Needs numpy and PyTorch.
"""

import argparse
import pathlib
import subprocess
import tempfile
import time

import numpy
import torch

COLUMNS = 30


def children(parent: int):
    for task in pathlib.Path(f"/proc/{parent}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            yield child
            yield from children(child)


def peaks(node: int):
    """Peak resident memory of each process below the node, in KiB."""
    for child in list(children(node)):
        try:
            status = pathlib.Path(f"/proc/{child}/status").read_text()
        except OSError:
            continue
        for line in status.splitlines():
            if line.startswith("VmHWM"):
                yield child, int(line.split()[1])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("node", type=int)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--memory", default="64MiB")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        torch.manual_seed(0)
        one = torch.zeros(1, COLUMNS)
        names = {"input_names": ["features"], "output_names": ["value"]}
        axes = {"dynamic_axes": {"features": {0: "rows"}, "value": {0: "rows"}}}
        torch.onnx.export(torch.nn.Linear(COLUMNS, 1), one, folder / "linear.onnx", dynamo=False, **names, **axes)
        for rows in (arguments.rows, 10 * arguments.rows):
            some = numpy.random.default_rng(0)
            data = some.standard_normal((rows, COLUMNS + 1), numpy.float32)
            data[:, COLUMNS] = data[:, :COLUMNS].mean(axis=1)
            numpy.save(folder / f"{rows}.npy", data)
            del data
            before = dict(peaks(arguments.node))
            command = ["glacier", "train", "--quiet", "--model", str(folder / "linear.onnx"), "--data", str(folder / f"{rows}.npy")]
            command += ["--target", str(COLUMNS), "--loss", "mse", "--epochs", "2", "--batch", "1024"]
            command += ["--memory", arguments.memory, "--output", str(folder / f"{rows}.onnx")]
            training, seen, start = subprocess.Popen(command, stdout=subprocess.DEVNULL), {}, time.perf_counter()
            while training.poll() is None:
                for child, peak in peaks(arguments.node):
                    seen[child] = max(peak, seen.get(child, 0))
                time.sleep(0.02)
            if training.returncode:
                raise SystemExit("the training failed")
            worker = max((peak for child, peak in seen.items() if child not in before), default=0)
            others = max((peak for child, peak in seen.items() if child in before), default=0)
            size = (folder / f"{rows}.npy").stat().st_size >> 20
            print(f"{rows:>9,} rows, {size} MiB: worker {worker / 1024:.1f} MiB at most,", end=" ")
            print(f"the enclave's other process {others / 1024:.1f} MiB, {time.perf_counter() - start:.1f} s", flush=True)


if __name__ == "__main__":
    main()
