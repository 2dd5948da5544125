"""Steps of training beside PyTorch, in turn: `compare.py [--rounds N] [--threads 1,2] [--step PROGRAM]`.

Exports the models of `pytorch.py`, so that both sides start from the same weights, and runs the Rust example `step` and
`pytorch.py` in turn, A B A B, each round anew. Prints a table of medians over the rounds. PROGRAM is the built example;
without it cargo builds and runs it. Needs PyTorch.
"""

import argparse
import datetime
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
CARGO = ["cargo", "run", "--release", "--quiet", "-p", "glacier-train", "--example", "step", "--"]
AIMS = {"mlp": 0.7, "cnn": 0.8, "transformer": 1.0}
LINE = re.compile(r"(\w+) (\w+) threads=(\d+) median_ms=(\S+) least_ms=(\S+) cpu_ms=(\S+) loss=(\S+)")


def run(command: list[str]):
    for line in subprocess.run(command, check=True, capture_output=True, text=True, cwd=HERE).stdout.splitlines():
        if found := LINE.match(line):
            side, model, threads, *figures = found.groups()
            yield (model, int(threads)), side, [float(figure) for figure in figures]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--scale", default="1.0", help="times the usual number of steps")
    parser.add_argument("--step", help="the built example")
    arguments = parser.parse_args()
    step = [arguments.step] if arguments.step else CARGO
    seen: dict = {}
    loads = []
    with tempfile.TemporaryDirectory() as models:
        pytorch = [sys.executable, str(HERE / "pytorch.py")]
        subprocess.run([*pytorch, "--export", models], check=True, capture_output=True)
        for _ in range(arguments.rounds):
            for threads in arguments.threads.split(","):
                for model in AIMS:
                    loads.append(os.getloadavg()[0])
                    ours = run([*step, models, threads, arguments.scale, model])
                    theirs = run([*pytorch, "--threads", threads, "--scale", arguments.scale, model])
                    for place, side, figures in [*ours, *theirs]:
                        seen.setdefault(place, {}).setdefault(side, []).append(figures)
    print(f"{datetime.date.today()}, {arguments.rounds} rounds, {os.cpu_count()} processors, ", end="")
    print(f"load {min(loads):.1f} to {max(loads):.1f} before each\n")
    print("| step | threads | here | PyTorch | ratio | least | ratio | processor time | ratio | aim |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    for (model, threads), sides in sorted(seen.items(), key=lambda item: (list(AIMS).index(item[0][0]), item[0][1])):
        here, there = (
            [statistics.median(column) for column in zip(*sides[side])] for side in ("glacier", "pytorch")
        )
        if abs(here[3] - there[3]) > 1e-3 * max(1.0, abs(there[3])):
            sys.exit(f"{model}: the losses differ, {here[3]} and {there[3]}: the two did not do the same")
        cells = [f"{here[0]:.2f} ms", f"{there[0]:.2f} ms", f"**{here[0] / there[0]:.2f}**"]
        for at in (1, 2):
            cells += [f"{here[at]:.2f} / {there[at]:.2f} ms", f"{here[at] / there[at]:.2f}"]
        print(f"| {model} | {threads} | " + " | ".join(cells) + f" | ≤ {AIMS[model]} |")


if __name__ == "__main__":
    main()
