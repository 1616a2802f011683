"""The Inception v3 of the published scores, by torch-fidelity."""

import hashlib
import io
from pathlib import Path

import torch
from torch import Tensor, nn

from visionlab.metrics.generated_images import Extractor, Features

try:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
except ModuleNotFoundError as error:
    if error.name != "torch_fidelity":
        raise
    raise ModuleNotFoundError(
        f"{__name__} needs torch-fidelity: pip install visionlab[fidelity]", name="torch_fidelity"
    ) from error

FILE = "weights-inception-2015-12-05-6726825d.pth"


class Inception(Extractor):
    """Inception v3 with TensorFlow's weights of 2015-12-05, which FID, KID and the Inception Score are published with,
    as torch-fidelity ports it: images of any size are resized to 299 x 299 as TensorFlow 1 did, without antialiasing;
    the features are the 2,048 before the last layer, and the logits its 1,008 without their biases.

    Grey images are repeated in all channels. Its name is ``inception-6726825d-299px``: the digits are the beginning of
    the file's SHA-256, so that other weights have another name.

    Args:
        weights: the file of the weights, which is never downloaded here.
    """

    def __init__(self, weights: str) -> None:
        super().__init__()
        self.weights = Path(weights)
        self.net: nn.Module | None = None
        self.digest = ""

    @property
    def name(self) -> str:
        assert self.digest  # open
        return f"inception-{self.digest[:8]}-299px"

    def open(self) -> None:
        if self.net is not None:
            return
        if not self.weights.is_file():
            raise FileNotFoundError(
                f"there are no weights {self.weights}: download {FILE} from the release v0.2.0 of "
                "github.com/toshas/torch-fidelity, and give its path"
            )
        content = self.weights.read_bytes()
        try:
            # read here first, since torch-fidelity would let the file execute code
            torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
            with torch.random.fork_rng(devices=[]):
                self.net = FeatureExtractorInceptionV3(
                    "inception-v3-compat", ["2048", "logits_unbiased"], io.BytesIO(content)
                )
        except Exception as error:  # garbage fails in any way
            raise ValueError(f"{self.weights} does not hold the weights of {FILE}: {error}") from error
        self.digest = hashlib.sha256(content).hexdigest()

    def forward(self, images: Tensor) -> Features:
        assert self.net is not None  # open
        return Features(*self.net((images * 255).round().byte().expand(-1, 3, -1, -1)))
