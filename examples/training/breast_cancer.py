"""Joins the bundled tumour measurements with their diagnoses: `breast_cancer.py DIRECTORY`.

Writes `tumours.csv`. There is no model to make: `glacier train` makes one for a CSV.
"""

import csv
import pathlib
import sys

MODELS = pathlib.Path(__file__).resolve().parents[2] / "models" / "breast-cancer"


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    with open(MODELS / "data.csv", newline="") as data, open(MODELS / "labels.csv", newline="") as labels:
        rows = list(zip(csv.reader(data), csv.reader(labels), strict=True))
    with open(out / "tumours.csv", "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        for place, (measurements, known) in enumerate(rows):
            writer.writerow([*measurements, "diagnosis" if place == 0 else known[0]])


if __name__ == "__main__":
    main()
