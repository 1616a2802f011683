"""Notebooks are built from scripts, and run."""

import runpy
import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_what_its_script_makes(path):
    build = runpy.run_path(str(ROOT / "notebooks" / "build.py"))["build"]
    script = path.with_suffix(".py").read_text(encoding="utf-8")
    assert path.read_text(encoding="utf-8") == build(script), "run `python notebooks/build.py`"


def test_every_script_has_its_notebook():
    scripts = {path.stem for path in (ROOT / "notebooks").glob("*.py")} - {"build"}
    assert scripts == {path.stem for path in NOTEBOOKS}


@pytest.mark.slow
def test_the_quickstart_trains_resumes_and_predicts(tmp_path):
    (tmp_path / "notebooks").mkdir()
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments")
    notebook = nbformat.read(ROOT / "notebooks" / "quickstart.ipynb", as_version=4)
    folder = {"metadata": {"path": str(tmp_path / "notebooks")}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=folder).execute()
    outputs = [
        [output for output in cell.get("outputs", []) if output.output_type != "stream"] for cell in notebook.cells
    ]
    pictures = [o for each in outputs for o in each if "image/png" in o.get("data", {})]
    assert len(pictures) == 3
    run = tmp_path / "runs" / "notebook" / "0"
    validated = [
        row.split(",")[:2] for row in (run / "metrics.csv").read_text().splitlines() if ",val/single_label/top1," in row
    ]
    assert validated == [[str(40 * epoch), str(epoch - 1)] for epoch in range(1, 6)]
    assert "sure" in notebook.cells[-1].outputs[-1].text
