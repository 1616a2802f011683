"""``visionlab sync``: send a run to Weights & Biases, as the one run that it is."""

import csv
import itertools
import json
import struct
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from visionlab.run import Run

HELP = """usage: visionlab sync RUN

Sends a run that was recorded offline to Weights & Biases: its numbers, pictures and configuration, as one run, however
often it was interrupted. What is there already is not sent again.

A key must be configured (`wandb login`, or WANDB_API_KEY); WANDB_PROJECT and WANDB_BASE_URL are obeyed.
"""

ROWS_PER_SECOND = 100
"""A server that takes fewer is given up."""


def main(argv: list[str]) -> int:
    """Run ``visionlab sync``; returns the exit status."""
    words = argv[1:]
    if {"-h", "--help"} & set(words):
        print(HELP, end="")
        return 0
    if len(words) != 1:
        raise ValueError("which run? Give one run folder")
    run = Run.open(words[0])
    rows = read_rows(run.folder)
    if not rows:
        raise ValueError(f"{run.folder} has nothing to send: no number was logged")
    sent, address = send(run, rows)
    print(f"sent {sent} of {len(rows)} rows; {len(rows) - sent} were there already: {address}")
    return 0


@dataclass(frozen=True)
class Row:
    """What was logged at once.

    step: the number of optimizer steps taken.
    values: numbers by name, and paths of pictures.
    """

    step: int
    values: dict[str, Any]


def send(run: Run, rows: list[Row]) -> tuple[int, str]:
    """Send the rows that the server lacks; it counts them itself, by the number of the row that is W&B's own step.

    A part of the run that was online already cannot be put in order with the rest, so such a run is sent whole, under
    an id of its own.

    Returns:
        How many were sent, and the address of the run.

    Raises:
        ValueError: if no key is configured.
        ConnectionError: if the server is away, or too slow; what it took is not sent again.
    """
    import wandb

    from visionlab import tracking

    if not tracking.key_is_configured():
        raise ValueError(f"no key is configured for {tracking.server()}: run `wandb login`, or set WANDB_API_KEY")
    was_online = any(path.name.startswith("run-") for path in (run.folder / "wandb").glob("*run-*"))
    run_id = f"{run.info['wandb_id']}-whole" if was_online else run.info["wandb_id"]
    seconds = tracking.SECONDS_TO_WAIT + len(rows) / ROWS_PER_SECOND
    with tempfile.TemporaryDirectory() as folder:
        try:
            session = tracking.begin(
                Path(folder),
                run_id,
                f"{run.folder.parent.name}/{run.folder.name}",
                run.config,
                "online",
                finish_timeout=seconds,
                finish_timeout_raises=True,
            )
            there = session.starting_step
            for number, row in enumerate(rows[there:], start=there):
                values = {k: wandb.Image(str(v)) if isinstance(v, Path) else v for k, v in row.values.items()}
                session.log({**values, "trainer/global_step": row.step}, step=number)
            session.finish(exit_code=int(run.info["state"] != "finished"))
        except (wandb.Error, TimeoutError) as error:
            wandb.teardown()
            raise ConnectionError(f"the W&B server {tracking.server()} did not take the run: {error}") from error
    return max(0, len(rows) - there), str(session.url)


def read_rows(folder: Path) -> list[Row]:
    """What an uninterrupted run would have logged, in order of steps.

    The numbers come from ``metrics.csv``, from which continuing a run takes the steps that are done again; the pictures
    from W&B's files, each once, and the last of each kind, of which a kill may leave W&B no record, from ``pictures/``.
    """
    rows = list(_numbers(folder / "metrics.csv"))
    pictures: dict[tuple[int, str], Path] = {}
    files = (folder / "wandb").glob("*run-*/run-*.wandb")
    for file in sorted(files, key=lambda path: path.parent.name.partition("run-")[2]):  # by time
        pictures |= _pictures(file)
    for path in sorted((folder / "pictures").glob("*.png")):
        with Image.open(path) as picture:
            pictures.setdefault((int(picture.info["step"]), f"pictures/{path.stem}"), path)
    rows += [Row(step, {name: path}) for (step, name), path in pictures.items() if path.is_file()]
    return sorted(rows, key=lambda row: row.step)


def _numbers(path: Path) -> Iterator[Row]:
    """The rows of the table that were logged at once: of one step, epoch and stage, with each name once."""
    if not path.is_file():
        return
    with path.open(newline="") as file:
        table = csv.DictReader(file)
        for (step, epoch, _), lines in itertools.groupby(table, lambda r: (r["step"], r["epoch"], _stage(r["name"]))):
            values: dict[str, Any] = {}
            for line in lines:
                if line["name"] in values:
                    yield _row(step, epoch, values)
                    values = {}
                values[line["name"]] = float(line["value"])
            yield _row(step, epoch, values)


def _stage(name: str) -> str:
    return name.partition("/")[0]


def _row(step: str, epoch: str, values: dict[str, Any]) -> Row:
    return Row(int(step), {**({"epoch": int(epoch)} if epoch else {}), **values})


def _pictures(file: Path) -> dict[tuple[int, str], Path]:
    """The pictures that a W&B file tells of, by step and name."""
    from wandb.proto import wandb_internal_pb2

    pictures = {}
    for content in _records(file.read_bytes()):
        record = wandb_internal_pb2.Record()  # type: ignore[attr-defined]  # made by protobuf when it is imported
        record.ParseFromString(content)
        row = {tuple(item.nested_key) or (item.key,): item.value_json for item in record.history.item}
        for (name, *rest), value in row.items():
            if rest == ["path"] and ("trainer/global_step",) in row:
                step = int(json.loads(row["trainer/global_step",]))
                pictures[step, name] = file.parent / "files" / json.loads(value)
    return pictures


def _records(content: bytes) -> Iterator[bytes]:
    """The records of a W&B file, up to where a kill cut it off.

    It is a log of LevelDB (https://github.com/google/leveldb/blob/main/doc/log_format.md) behind a header of 7 bytes:
    blocks of 32 KiB; before each piece of a record its checksum, length and type (1 whole, 2 first, 3 middle, 4 last).
    """
    at, record = 7, b""
    while at + 7 <= len(content):
        if (left := 32768 - at % 32768) < 7:  # too few for another piece
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + 7])
        piece = content[at + 7 : at + 7 + length]
        if len(piece) < length or kind == 0:
            return
        at += 7 + length
        record += piece
        if kind in (1, 4):
            yield record
            record = b""
