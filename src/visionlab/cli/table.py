"""The table of results that ends a run."""

import json
from collections.abc import Mapping

from visionlab.run import Run


def results_table(title: str, run: Run, stage: str, net: str) -> str:
    """Lay out the scalars of one evaluation, and of the baselines beside it, if there are any.

    Args:
        title: the first line.
        run: whose ``results/<stage>.json`` is shown.
        stage: ``val`` or ``test``.
        net: the name of the first column.
    """
    folder = run.folder / "results"
    columns: dict[str, dict[str, float | None]] = {net: json.loads((folder / f"{stage}.json").read_text())}
    baselines = folder / f"{stage}_baselines.json"
    if baselines.exists():
        columns |= json.loads(baselines.read_text())
    return side_by_side(title, columns)


def side_by_side(title: str, columns: Mapping[str, Mapping[str, float | None]]) -> str:
    """Lay out numbers by name, in columns; the first says which.

    Args:
        title: the first line.
        columns: by what stands above them; at least one.
    """
    names = list(next(iter(columns.values())))
    head = ["", *columns]
    body = [[name, *(_cell(values, name) for values in columns.values())] for name in names]
    widths = [max(len(row[i]) for row in [head, *body]) for i in range(len(head))]

    def line(row: list[str]) -> str:
        return "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()

    rule = "-" * (sum(widths) + 2 * len(widths) - 2)
    return "\n".join(["", title, rule, line(head), *map(line, body), rule])


def _cell(values: Mapping[str, float | None], name: str) -> str:
    if name not in values:
        return ""
    value = values[name]
    return "none" if value is None else f"{value:.4f}"
