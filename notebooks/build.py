"""Builds each notebook from the script of its name: ``python notebooks/build.py``."""

from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

FOLDER = Path(__file__).parent


def build(script: str) -> str:
    """Make a notebook of a script in the percent format, without outputs.

    Args:
        script: cells begin with ``# %%``, or with ``# %% [markdown]`` and are then comments.

    Returns:
        The notebook's file, the same for the same script.
    """
    cells = []
    for number, part in enumerate(script.split("# %%")[1:]):
        head, _, body = part.partition("\n")
        if head.strip() == "[markdown]":
            text = "\n".join(line.removeprefix("#").removeprefix(" ") for line in body.strip().splitlines())
            cells.append(new_markdown_cell(text, id=f"cell-{number}"))
        else:
            cells.append(new_code_cell(body.strip(), id=f"cell-{number}"))
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = new_notebook(cells=cells, metadata={"kernelspec": kernel, "language_info": {"name": "python"}})
    return str(nbformat.writes(notebook)) + "\n"


if __name__ == "__main__":
    for path in sorted(FOLDER.glob("*.py")):
        if path.name != Path(__file__).name:
            path.with_suffix(".ipynb").write_text(build(path.read_text(encoding="utf-8")), encoding="utf-8")
