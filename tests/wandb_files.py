"""What Weights & Biases wrote, read back from its own files."""

import json
import struct
from pathlib import Path

from wandb.proto import wandb_internal_pb2


def records(path):
    """The records of a ``.wandb`` file, which is a LevelDB log: blocks of 32 KiB; checksum, length and type before each
    piece of a record."""
    content = path.read_bytes()
    assert content[:4] == b":W&B"
    at, record = 7, b""
    while at + 7 <= len(content):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + 7])
        piece = content[at + 7 : at + 7 + length]
        if len(piece) < length or kind == 0:
            return  # the cut tail of a run that was killed
        at += 7 + length
        record += piece
        if kind in (1, 4):  # whole, or the last piece
            parsed = wandb_internal_pb2.Record()
            parsed.ParseFromString(record)
            record = b""
            yield parsed


def of_kind(kind, run="runs/tiny/0"):
    """The records of one kind in all W&B files of a run."""
    files = sorted(Path(run).glob("wandb/*run-*/run-*.wandb"), key=lambda path: path.stat().st_mtime)
    assert files
    return [getattr(r, kind) for path in files for r in records(path) if r.WhichOneof("record_type") == kind]


def history(run="runs/tiny/0"):
    return [
        {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.item}
        for record in of_kind("history", run)
    ]
