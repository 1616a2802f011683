"""FCN-32s, 16s and 8s on VGG-16: Long, Shelhamer and Darrell 2015, "Fully Convolutional Networks for Semantic
Segmentation".

Layer by layer the authors' nets for PASCAL VOC (https://github.com/shelhamer/fcn.berkeleyvision.org): the image is
padded by 100 pixels, so that any size has features, and what is left over is cropped.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.vgg import cfgs, make_layers

from visionlab.nets.normalize import Normalize
from visionlab.nets.torchvision import fill, state_dict_of

POOL3, POOL4 = 17, 24
"""How many of VGG-16's layers are up to its third and fourth pooling."""

PADDING = 100

# where the authors' nets crop what is upsampled by 32, 16 and 8, and the scores of pool4 and pool3
OFFSETS = {32: 19, 16: 27, 8: 31}
OFFSET_POOL4, OFFSET_POOL3 = 5, 9


class FCN(nn.Module):
    """A fully convolutional VGG-16, with 134,489,759 parameters as FCN-8s of 21 classes.

    Scores start at 0, and all upsampling as bilinear interpolation (sections 3.3 and 4.1). The authors train 32s first,
    then 16s from its weights, then 8s.

    Args:
        num_classes: the number of outputs.
        stride: 32, 16 or 8: of the finest features that are scored.
        weights_backbone: None for a random start; the name of torchvision's weights of VGG-16, such as "IMAGENET1K_V1",
            which are downloaded once; or the path of a file with such a state dict. Without a classifier among them,
            its first two layers start anew.

    Raises:
        ValueError: if the stride is another, or the weights do not exist or do not fit.
        FileNotFoundError: if published weights are not there and cannot be downloaded.
    """

    def __init__(self, num_classes: int, stride: Literal[8, 16, 32] = 8, weights_backbone: str | None = None) -> None:
        super().__init__()
        if stride not in OFFSETS:
            raise ValueError(f"stride must be 8, 16 or 32, not {stride}")
        self.normalize = Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])  # torchvision's, for its weights
        self.features = make_layers(cfgs["D"])
        for module in self.features:
            if isinstance(module, nn.MaxPool2d):
                module.ceil_mode = True  # as Caffe pools
        self.classifier = nn.Sequential(
            *(nn.Conv2d(512, 4096, 7), nn.ReLU(inplace=True), nn.Dropout()),
            *(nn.Conv2d(4096, 4096, 1), nn.ReLU(inplace=True), nn.Dropout()),
        )
        self.score = nn.Conv2d(4096, num_classes, 1)
        self.score_pool4 = nn.Conv2d(512, num_classes, 1) if stride <= 16 else None
        self.score_pool3 = nn.Conv2d(256, num_classes, 1) if stride == 8 else None
        self.up_score = upsampling(num_classes, 2) if stride <= 16 else None
        self.up_pool4 = upsampling(num_classes, 2) if stride == 8 else None
        self.up = upsampling(num_classes, stride)
        self.stride = stride
        for module in (self.score, self.score_pool4, self.score_pool3):
            if module is not None:
                nn.init.zeros_(module.weight)
                assert module.bias is not None
                nn.init.zeros_(module.bias)
        if weights_backbone is not None:
            file, state = state_dict_of("vgg16", weights_backbone)
            _load(self, state, f"{file}, as weights of vgg16")

    def forward(self, images: Tensor) -> Tensor:
        """Tell the classes of ``(B, 3, H, W)`` images, float in [0, 1]; grey images, of one channel, are taken too.

        Returns:
            ``(B, num_classes, H, W)`` logits.
        """
        x = F.pad(self.normalize(images), [PADDING - 1] * 4)  # the first convolution pads by one more
        pool3 = self.features[:POOL3](x)
        pool4 = self.features[POOL3:POOL4](pool3)
        x = self.score(self.classifier(self.features[POOL4:](pool4)))
        if self.score_pool4 is not None:
            assert self.up_score is not None
            x = _cropped_sum(self.up_score(x), self.score_pool4(pool4), OFFSET_POOL4)
        if self.score_pool3 is not None:
            assert self.up_pool4 is not None
            x = _cropped_sum(self.up_pool4(x), self.score_pool3(pool3), OFFSET_POOL3)
        at = OFFSETS[self.stride]
        logits: Tensor = self.up(x)[:, :, at : at + images.shape[2], at : at + images.shape[3]]
        return logits


def upsampling(channels: int, factor: int) -> nn.ConvTranspose2d:
    """A layer that enlarges each channel by itself, bilinearly, to begin with: ``(B, channels, H, W)`` to
    ``(B, channels, factor * (H + 1), factor * (W + 1))``, which fades out where fewer than four pixels are near.
    """
    layer = nn.ConvTranspose2d(channels, channels, 2 * factor, stride=factor, bias=False)
    ramp = 1 - (torch.arange(2 * factor) - (factor - 0.5)).abs() / factor
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight.diagonal().copy_((ramp[:, None] * ramp)[..., None])
    return layer


def _cropped_sum(x: Tensor, finer: Tensor, offset: int) -> Tensor:
    return x + finer[:, :, offset : offset + x.shape[2], offset : offset + x.shape[3]]


def _load(net: FCN, state: dict[str, Tensor], source: str) -> None:
    """Fill the net from torchvision's VGG-16, of which the fully connected layers become convolutions."""
    state = {key: value for key, value in state.items() if not key.startswith("classifier.6.")}
    for key, sides in (("classifier.0.weight", (512, 7, 7)), ("classifier.3.weight", (4096, 1, 1))):
        if key in state and state[key].numel() == net.state_dict()[key].numel():
            state[key] = state[key].reshape(4096, *sides)
    had = {key.split(".")[0] for key in state}
    fill(net, state, {key for key in net.state_dict() if key.split(".")[0] not in had | {"features"}}, source)
