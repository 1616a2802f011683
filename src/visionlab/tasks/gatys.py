"""Style transfer by optimising the pixels: Gatys, Ecker and Bethge 2016, "Image Style Transfer Using Convolutional
Neural Networks", CVPR. There is no net to train, and so no task: ``experiments/generation/gatys.py`` runs this.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from visionlab.losses.style import content as content_loss
from visionlab.losses.style import gram
from visionlab.losses.style import style as style_loss

CONTENT_LAYERS = ("relu4_2",)
STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")


def restyle(
    content: Tensor,
    style: Tensor,
    features: nn.Module,
    *,
    content_layers: Sequence[str] = CONTENT_LAYERS,
    style_layers: Sequence[str] = STYLE_LAYERS,
    content_weight: float = 1e-3,
    steps: int = 300,
    start: Literal["content", "noise"] = "content",
    seed: int = 0,
    progress: Callable[[int, float, float], None] = lambda step, of_content, of_style: None,
) -> Tensor:
    """Change the pixels of an image, by L-BFGS, until it has the content of one and the style of another.

    Minimises ``content_weight`` times equation 1, summed over its layers, plus equation 5 with equal weights of its
    layers; the weight of the style is 1, so that ``content_weight`` is the paper's alpha / beta.

    Args:
        content: ``(3, H, W)``, float in [0, 1].
        style: likewise, of any size.
        features: of images ``(B, 3, H, W)`` and the names of layers gives ``(B, channels, h, w)`` features by layer:
            VGG-19 in the paper. See :mod:`visionlab.nets.features`.
        content_layers: whose features are to be those of the content.
        style_layers: whose Gram matrices are to be those of the style.
        content_weight: alpha / beta; 1e-3 or less in the paper, whose features have a mean of 1, as torchvision's have
            about.
        steps: of L-BFGS, at least 1; they take up to twice as many evaluations.
        start: whether to begin from the content or, as the paper mostly does, from noise.
        seed: of the noise.
        progress: is told, at each evaluation, its number and both losses, unweighted.

    Returns:
        ``(3, H, W)``, float in [0, 1].

    Raises:
        ValueError: if ``steps`` or ``start`` is none of these, or the pixels are no longer finite.
    """
    if steps < 1 or start not in ("content", "noise"):
        raise ValueError(f"steps must be at least 1 and start content or noise, not {steps} and {start!r}")
    features.requires_grad_(False).eval()
    with torch.no_grad():
        wanted = features(content[None], content_layers)
        grams = {layer: gram(one)[0] for layer, one in features(style[None], style_layers).items()}
    noise = torch.rand(content.shape, generator=torch.Generator().manual_seed(seed))
    image = (content.clone() if start == "content" else noise.to(content)).requires_grad_()
    optimizer = torch.optim.LBFGS(
        [image],
        max_iter=steps,
        max_eval=2 * steps,
        tolerance_grad=0,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )
    evaluations = itertools.count()

    def closure() -> Tensor:
        optimizer.zero_grad()
        found = features(image[None], [*content_layers, *style_layers])
        # equations 1 and 4, whose sums are over what these losses average
        contents = [content_loss(found[n], wanted[n])[0] * wanted[n].numel() / 2 for n in content_layers]
        styles = [style_loss(found[n], grams[n])[0] / 4 for n in style_layers]
        of_content, of_style = torch.stack(contents).sum(), torch.stack(styles).mean()
        total: Tensor = content_weight * of_content + of_style
        total.backward()  # type: ignore[no-untyped-call]
        progress(next(evaluations), of_content.item(), of_style.item())
        return total

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    if not image.isfinite().all():
        raise ValueError("the pixels are no longer finite: give another content_weight, or start from the content")
    return image.detach().clamp(0, 1)
