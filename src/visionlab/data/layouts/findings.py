"""What a check of a data folder finds."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt


@dataclass
class Findings:
    """What a check of a data folder finds.

    Attributes:
        errors: one line a thing that is wrong, naming the file. With any, the data cannot be trained on.
        notes: one line a thing that is worth knowing.
        labels: by split, the ``(N,)`` labels of its images.
    """

    errors: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    labels: dict[str, npt.NDArray[np.int64]] = field(default_factory=dict)
