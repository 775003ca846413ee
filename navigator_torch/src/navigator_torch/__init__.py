"""PyTorch for Navigator. Importing it does not import torch; see `navigator_torch.plugin` for what it declares."""

__version__ = "0.1.0"
