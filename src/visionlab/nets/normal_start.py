"""How the weights of adversarial nets start."""

from torch import nn


def start_normal(net: nn.Module) -> None:
    """Draw the weights of convolutions from N(0, 0.02), and those of batch normalisation from N(1, 0.02); biases are 0
    (Radford, Metz and Chintala 2016, DCGAN, section 4; Isola et al. 2017, section 6.2; Zhu et al. 2017, section 4).
    """
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)
