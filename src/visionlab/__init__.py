"""A PyTorch Lightning research framework for computer vision."""

import os

# albumentations looks for a newer release of itself over the network when it is imported
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

__version__ = "0.1.0"
