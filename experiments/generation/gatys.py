#!/usr/bin/env -S uv run python
"""Give one image the style of another by optimising its pixels (Gatys, Ecker and Bethge 2016).

::

    experiments/generation/gatys.py photograph.jpg painting.jpg --weights vgg19-dcbb9e9d.pth --output restyled.png

The weights are torchvision's of VGG-19, as a file, or "IMAGENET1K_V1" to download them. Without them the features are
those of a random net, which know textures only. A step at 256 x 256 pixels takes 40 GMACs forward and as much backward.
"""

import argparse
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from visionlab.nets.features import VGGFeatures
from visionlab.tasks.gatys import restyle
from visionlab.tasks.style_transfer import read_style


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Style transfer by optimisation.", allow_abbrev=False)
    parser.add_argument("content", help="the image that is to be changed")
    parser.add_argument("style", help="the image whose style it gets")
    parser.add_argument("--output", type=Path, default=Path("restyled.png"), help="(default: restyled.png)")
    parser.add_argument("--net", choices=("vgg16", "vgg19"), default="vgg19", help="(default: vgg19, as in the paper)")
    parser.add_argument("--weights", help="of the net: a file, or a name of torchvision's (default: random)")
    parser.add_argument("--size", type=int, default=256, help="pixels on the shorter sides (default: 256)")
    parser.add_argument("--steps", type=int, default=300, help="of L-BFGS (default: 300)")
    parser.add_argument("--content_weight", type=float, default=1e-3, help="alpha / beta (default: 0.001)")
    parser.add_argument("--start", choices=("content", "noise"), default="content", help="(default: content)")
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    features = VGGFeatures(options.net, options.weights).to(device)
    content, style = (read_style(path, options.size).to(device) for path in (options.content, options.style))
    with tqdm(unit="evaluation", disable=None) as bar:

        def tell(number: int, of_content: float, of_style: float) -> None:
            bar.update()
            bar.set_postfix(content=of_content, style=of_style)
            if number == 0:
                print(f"{features.name}: content {of_content:.4g}, style {of_style:.4g} at the start")

        image = restyle(
            content,
            style,
            features,
            steps=options.steps,
            content_weight=options.content_weight,
            start=options.start,
            progress=tell,
        )
    save(image, options.output)
    print(f"wrote {options.output}")


def save(image: Tensor, path: Path) -> None:
    """Write an image ``(3, H, W)`` in [0, 1]."""
    Image.fromarray((image * 255).round().byte().permute(1, 2, 0).cpu().numpy()).save(path)


if __name__ == "__main__":
    main()
