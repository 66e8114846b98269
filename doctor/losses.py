"""What torch's loss functions ask of their inputs."""

import torch
from torch import Tensor

from doctor.measure import requires_grad

LOG_PROBABILITIES = {"nll_loss": 1, "ctc_loss": -1}  # over which dimension of the input
TARGETS_LAST = {"binary_cross_entropy", "binary_cross_entropy_with_logits"}  # kl_div is right either way


@torch.no_grad()
def misuse(name: str, inputs, targets) -> str:
    """Say what is wrong with the first two arguments of a loss function; "" where nothing can be told."""
    if not isinstance(inputs, Tensor) or not inputs.ndim or not inputs.numel():
        return ""
    if name in TARGETS_LAST and requires_grad(targets) and not requires_grad(inputs):
        return f"{name} gets the targets first and the outputs second"
    if name == "cross_entropy" and inputs.ndim > 1 and inputs.shape[1] == 1:
        return "cross_entropy gets a single class, whose softmax is 1 whatever the output is"
    x = inputs.float()
    if name in LOG_PROBABILITIES and x.ndim > 1:
        off = (x.exp().sum(min(LOG_PROBABILITIES[name], x.ndim - 1)) - 1).abs().median()
        return f"{name} gets numbers that are no log-probabilities" if off > 0.1 else ""
    shares = x.ndim > 1 and x.min() >= 0 and any((x.sum(d) - 1).abs().max() < 1e-3 for d in {1, x.ndim - 1})
    return "kl_div gets probabilities where it asks for their logarithms" if shares and name == "kl_div" else ""
