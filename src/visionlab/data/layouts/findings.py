"""What a check of a data folder finds."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        kind: what sort of thing, in a few words with hyphens, for machines: ``truncated-image``.
        message: one line for people; names the file, and the line or id where there is one.
        file: where it is.
        line: in that file, from 1.
        id: the data set's own, of the image or the annotation.
    """

    kind: str
    message: str
    file: Path
    line: int | None = None
    id: str | None = None


@dataclass
class Findings:
    """What a check of a data folder finds.

    Attributes:
        errors: with any, the data cannot be trained on.
        notes: one line a thing that is worth knowing, and does no harm.
        images: by split, how many.
        labels: by split, ``(N,)``: the label of each image, or of each object where the annotations are objects; of
            masks the classes in each, once an image.
        sizes: by split, ``(N, 2)``: height and width of each image that could be read.
        classes: how many there are in this folder, where another may have others; None if all have the data set's.
    """

    errors: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    images: dict[str, int] = field(default_factory=dict)
    labels: dict[str, npt.NDArray[np.int64]] = field(default_factory=dict)
    sizes: dict[str, npt.NDArray[np.int64]] = field(default_factory=dict)
    classes: int | None = None

    def error(self, kind: str, message: str, file: Path, *, line: int | None = None, id: str | None = None) -> None:
        """Add a thing that is wrong; the arguments are those of :class:`Finding`."""
        self.errors.append(Finding(kind, message, file, line, id))
