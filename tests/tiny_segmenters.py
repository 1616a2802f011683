"""Segmentation nets made in milliseconds."""

from torch import nn


class TinySegmenter(nn.Module):
    """Sees 3 x 3 pixels, with all that a mode changes: BatchNorm's statistics and Dropout's randomness."""

    def __init__(self, num_classes: int, heads: int = 0) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.1))
        self.heads = nn.ModuleList(nn.Conv2d(8, num_classes, 1) for _ in range(1 + heads))

    def forward(self, images):
        features = self.features(images)
        logits = [head(features) for head in self.heads]
        return logits if self.training and len(logits) > 1 else logits[0]


class ByPixel(nn.Conv2d):
    """Looks at each pixel alone."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(3, num_classes, 1)


class ValidNet(nn.Sequential):
    """Without padding, and with pooling: loses 3 pixels on each side, of an even number."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(
            nn.Conv2d(3, 6, 3), nn.MaxPool2d(2), nn.Conv2d(6, 6, 3), nn.ReLU(), nn.ConvTranspose2d(6, num_classes, 2, 2)
        )
