"""Faster R-CNN (Ren et al. 2015) with a feature pyramid (Lin et al. 2017) over any model of timm that gives maps."""

from collections import OrderedDict
from typing import Any, Literal

from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN as TorchvisionFasterRCNN
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from visionlab.batch import DetectionTarget
from visionlab.nets.detection import Find, Losses, float32_outputs, losses_and_detections
from visionlab.nets.faster_rcnn import CHANNELS, STRIDES
from visionlab.nets.torchvision import nearest
from visionlab.nets.torchvision_detection import check_options, freeze_batchnorm

try:
    import timm
except ModuleNotFoundError as error:
    if error.name != "timm":
        raise
    raise ModuleNotFoundError(f"{__name__} needs timm: pip install visionlab[timm]", name="timm") from error


class FasterRCNN(nn.Module):
    """Faster R-CNN with a feature pyramid over the maps of a model of timm at strides 4, 8, 16 and 32, behind the
    normalisation that its weights were trained with.

    Args:
        num_classes: the number of classes, without the background.
        backbone: as ``timm.list_models()`` gives it, such as "resnet18", or as ``timm.list_pretrained()`` does.
        weights_backbone: None for a random start; "DEFAULT" for the weights of that name, which are downloaded once.
        frozen_batchnorm: whether BatchNorm in the backbone keeps its statistics and parameters, as small batches want
            it; by default where there are weights.
        options: further arguments of ``torchvision.models.detection.FasterRCNN``, such as ``{min_size: 600}``.

    Raises:
        ValueError: if timm has no such model or weights, or the model has no such maps.
        FileNotFoundError: if the weights are not there and cannot be downloaded.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: str,
        weights_backbone: Literal["DEFAULT"] | None = None,
        frozen_batchnorm: bool | None = None,
        options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        names = [*timm.list_models(), *timm.list_pretrained()]
        if backbone not in names:
            raise ValueError(f"timm has no model {backbone!r}{nearest(backbone, names)}")
        maps = Maps(backbone, weights_backbone is not None)
        if weights_backbone is not None if frozen_batchnorm is None else frozen_batchnorm:
            freeze_batchnorm(maps)
        cfg: Any = maps.body.pretrained_cfg
        scale = {"image_mean": list(cfg["mean"]), "image_std": list(cfg["std"])}
        self.net = TorchvisionFasterRCNN(maps, num_classes + 1, **{**scale, **({} if options is None else options)})
        check_options(self.net, {} if options is None else options)
        float32_outputs(self.net)

    def forward(self, images: list[Tensor], targets: list[DetectionTarget] | None = None) -> tuple[Losses, Find]:
        """See :func:`visionlab.nets.detection.losses_and_detections`."""
        return losses_and_detections(self.net, images, targets)


class Maps(nn.Module):
    """The last maps of a model at each of :data:`visionlab.nets.faster_rcnn.STRIDES`, through a feature pyramid.

    Raises:
        ValueError: if it has none at one of them, or no weights where such are asked for.
        FileNotFoundError: if they cannot be downloaded.
    """

    out_channels = CHANNELS

    def __init__(self, name: str, weights: bool) -> None:
        super().__init__()
        if weights and not timm.is_model_pretrained(name):
            raise ValueError(f"timm has no weights for {name!r}; weights_backbone must be null")
        try:
            body: Any = timm.create_model(name, pretrained=weights, features_only=True)
        except OSError as error:
            raise FileNotFoundError(f"the weights of {name} could not be downloaded ({error})") from error
        except (RuntimeError, AttributeError) as error:  # models without maps fail in any way
            raise ValueError(f"{name} gives no maps: {error}") from error
        last = {stride: at for at, stride in enumerate(body.feature_info.reduction())}
        if not last.keys() >= set(STRIDES):
            raise ValueError(f"{name} has maps at strides {sorted(last)}, and {STRIDES} are needed")
        self.chosen = [last[stride] for stride in STRIDES]
        channels = body.feature_info.channels()
        self.body = body
        self.fpn = FeaturePyramidNetwork([channels[at] for at in self.chosen], CHANNELS, LastLevelMaxPool())

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """The pyramid's maps of ``(B, 3, H, W)`` images, by level, from the finest."""
        maps = self.body(images)
        pyramid: dict[str, Tensor] = self.fpn(OrderedDict((str(i), maps[at]) for i, at in enumerate(self.chosen)))
        return pyramid
