"""Every architecture of segmentation_models.pytorch, with any of its encoders."""

import inspect
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from visionlab.nets.normalize import Normalize
from visionlab.nets.torchvision import nearest

try:
    import segmentation_models_pytorch as smp
except ModuleNotFoundError as error:
    if error.name != "segmentation_models_pytorch":
        raise
    raise ModuleNotFoundError(
        f"{__name__} needs segmentation_models_pytorch: pip install visionlab[smp]", name="segmentation_models_pytorch"
    ) from error

STRIDE = 32
"""Images are padded to multiples of it, as most decoders want them."""

SCALE = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
"""ImageNet's, where no weights want another."""


class Segmenter(nn.Module):
    """An architecture of segmentation_models.pytorch, such as U-Net, U-Net++, FPN, PSPNet and DeepLabV3+.

    Images of any size are padded at the right and at the bottom by repeating their last pixels.

    Args:
        num_classes: the number of outputs.
        name: of the architecture, in lower case as ``smp.create_model`` takes it: "unet", "unetplusplus",
            "deeplabv3plus", "segformer".
        encoder: one of ``smp.encoders.get_encoder_names()``, or a model of timm as "tu-<name>".
        weights: of the encoder: None for a random start, or the name of published ones, such as "imagenet", which are
            downloaded once.
        in_channels: the channels of the images.
        options: further arguments of the architecture.

    Raises:
        ValueError: if the architecture, the encoder, its weights or an option does not exist.
        FileNotFoundError: if published weights are not there and cannot be downloaded.
    """

    def __init__(
        self,
        num_classes: int,
        name: str,
        encoder: str,
        weights: str | None = None,
        in_channels: int = 3,
        options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        arguments = {} if options is None else options
        architectures = smp.MODEL_ARCHITECTURES_MAPPING
        if name not in architectures:
            raise ValueError(f"segmentation_models_pytorch has no architecture {name!r}{nearest(name, architectures)}")
        known = inspect.signature(architectures[name]).parameters
        if unknown := [option for option in arguments if option not in known]:  # timm's encoders swallow anything
            raise ValueError(f"{name} of segmentation_models_pytorch has no option {unknown[0]!r}")
        try:
            self.net: Any = smp.create_model(
                name, encoder, weights, in_channels=in_channels, classes=num_classes, **arguments
            )
            scale = SCALE if weights is None else smp.encoders.get_preprocessing_params(encoder, weights)
        except (KeyError, TypeError, RuntimeError) as error:  # of encoders and weights that are not, and of odd values
            raise ValueError(f"segmentation_models_pytorch, {name} with {encoder}: {error.args[0]}") from error
        except OSError as error:
            raise FileNotFoundError(f"the weights {weights} of {encoder} could not be downloaded: {error}") from error
        mean, std = scale["mean"], scale["std"]
        if in_channels != len(mean):
            mean, std = [sum(mean) / len(mean)], [sum(std) / len(std)]
        self.normalize = Normalize(mean, std)

    def forward(self, images: Tensor) -> Tensor:
        """Tell the classes of ``(B, in_channels, H, W)`` images, float in [0, 1]; grey images also where RGB is
        expected.

        Returns:
            ``(B, num_classes, H, W)`` logits.
        """
        height, width = images.shape[2:]
        padded = F.pad(self.normalize(images), (0, -width % STRIDE, 0, -height % STRIDE), mode="replicate")
        logits: Tensor = self.net(padded)
        return logits[:, :, :height, :width]
