"""What an optimizer holds."""

import torch
from torch import Tensor


def parameters_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def unwrapped(optimizer) -> torch.optim.Optimizer:
    """Return the optimizer within an object that passes steps on, or the object; raises TypeError where it is none."""
    for candidate in (*getattr(optimizer, "__dict__", {}).values(), optimizer):
        if isinstance(candidate, torch.optim.Optimizer):
            return candidate
    raise TypeError(f"{type(optimizer).__name__} is no optimizer, and holds none: give one of torch.optim.")
