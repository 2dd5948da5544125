"""The notebooks run from top to bottom, are typed, and draw what they say they draw."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
PLOTS = {"quickstart": ["confusion.png"], "training": ["training.png"]}


def read(notebook: Path) -> Any:
    return nbformat.read(notebook, as_version=4)  # type: ignore[no-untyped-call]


@pytest.fixture(autouse=True)
def program(monkeypatch: pytest.MonkeyPatch) -> None:
    target = os.environ.get("CARGO_TARGET_DIR", str(EXAMPLES.parents[1] / "target"))
    monkeypatch.setenv("GLACIER_PROGRAM", os.environ.get("GLACIER_PROGRAM", f"{target}/release/glacier"))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(notebook: Path, tmp_path: Path) -> None:
    (tmp_path / "models").symlink_to(EXAMPLES.parents[1] / "models")
    document = read(notebook)
    NotebookClient(document, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = json.dumps(document)
    assert "SIMULATED" in shown
    kept = Path(os.environ["GLACIER_PLOTS"]) if "GLACIER_PLOTS" in os.environ else tmp_path
    for plot in PLOTS[notebook.stem]:
        content = (tmp_path / plot).read_bytes()
        assert content.startswith(b"\x89PNG")
        (kept / plot).write_bytes(content)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs(notebook: Path) -> None:
    code = [cell for cell in read(notebook).cells if cell.cell_type == "code"]
    assert code
    assert not any(cell.outputs or cell.execution_count for cell in code)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_typed(notebook: Path, tmp_path: Path) -> None:
    code = [cell.source for cell in read(notebook).cells if cell.cell_type == "code"]
    script = tmp_path / f"{notebook.stem}.py"
    script.write_text("\n\n".join(code))
    config = EXAMPLES.parent / "pyproject.toml"
    command = [sys.executable, "-m", "mypy", "--config-file", str(config), str(script)]
    checked = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert checked.returncode == 0, checked.stdout
