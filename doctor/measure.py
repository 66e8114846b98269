"""One definition each of what is measured of tensors: dead units, zeros, saturation, update-to-weight ratio, norms.

All functions are pure, leave their arguments alone and record no gradient. Those that return tensors leave them on the
device of their arguments, so that a caller decides when to wait for it. NaN counts as neither zero nor saturated.
"""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

BOUNDS = {  # of the outputs of activation functions, by the name of the function or, in lower case, of the module
    "sigmoid": (0, 1),
    "tanh": (-1, 1),
    "softsign": (-1, 1),
    "hardsigmoid": (0, 1),
    "hardtanh": (-1, 1),  # by default; nn.ReLU6 is one from 0 to 6
}
ALWAYS = 1  # the share of samples and positions at 0 from which on a unit is dead
SMALL = 50_000  # numbers of one pass that are kept
MOST = 10_000  # labels of one batch that are looked at, of pixels or words
NEAR = 0.05  # of the range between the bounds: nearer than this to one of them is saturated

# Functions, by name, that a forward pass is watched for.
LAYERS = {"linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"}
LAYERS |= {"bilinear", "matmul", "mm"}  # of a network written by hand
RECTIFIERS = {"relu", "relu6", "leaky_relu", "prelu", "elu", "selu", "celu", "gelu", "silu", "mish", "softplus"}
RECTIFIERS |= {"rrelu", "hardswish", "hardtanh"}  # nn.ReLU6 calls hardtanh
ACTIVATIONS = RECTIFIERS | BOUNDS.keys()
CUTS = {"detach", "argmax", "round", "sign", "floor", "ceil", "item", "tolist", "numpy"}  # of the graph of gradients
CLAMPS = {"clamp", "clamp_min", "clip"}


@torch.no_grad()
def as_drawn(weight: Tensor) -> bool:
    """Tell whether weights look like PyTorch's first ones: uniform around 0, or normal with std 1, as in an embedding.

    Uniform numbers are at most sqrt(3) standard deviations away from their mean; trained weights have longer tails.
    """
    if weight.numel() < 32:
        return False
    std, largest, error = weight.std(), weight.abs().max(), weight.numel() ** -0.5
    return bool(largest < 1.8 * std) or bool((std - 1).abs() < 3 * error and weight.mean().abs() < 4 * error)


@torch.no_grad()
def weight_of(module: nn.Module) -> Tensor:
    """Return `module.weight`, of a parametrized one without an effect on it: spectral norm iterates when it is read."""
    if not parametrize.is_parametrized(module, "weight"):
        return module.weight
    with torch.random.fork_rng():
        return copy.deepcopy(module.parametrizations["weight"]).eval()()


@torch.no_grad()
def zero_shares(outputs: Tensor) -> Tensor:
    """Return for each unit the share of its values that are 0, over samples and positions: float32 (units,).

    Units are the channels of feature maps (B, C, H, W) and (B, C, D, H, W), and the last dimension of (B, units), of
    sequences (B, T, units) and of a single sample (units,). Where there are no samples the shares are NaN.
    """
    unit = 1 if outputs.ndim > 3 else outputs.ndim - 1
    over = [d for d in range(outputs.ndim) if d != unit]
    zeros = outputs == 0
    if not over:
        return zeros.float().reshape(-1)
    counts = zeros.sum(over, dtype=torch.float32)
    return counts / (outputs.numel() / counts.numel() if counts.numel() else 1)


def dead_units(outputs: Tensor) -> Tensor:
    """Return which units are 0 for all samples and positions: bool (units,), with units as in `zero_shares`.

    A unit is dead only if it is so for the whole data set (cs231n): give the outputs for all of it.
    """
    return zero_shares(outputs) >= ALWAYS


def zero_fraction(outputs: Tensor) -> Tensor:
    """Return the share of values that are 0: a tensor of one element."""
    return zero_shares(outputs).mean()


@torch.no_grad()
def saturated_share(outputs: Tensor, bounds: tuple[float, float]) -> Tensor:
    """Return the share of values nearer than NEAR of the range to one of the `bounds` (low, high): one element."""
    low, high = bounds
    middle, reach = (low + high) / 2, (0.5 - NEAR) * (high - low)
    return ((outputs - middle).abs() > reach).float().mean()


@torch.no_grad()
def update_ratio(before: Tensor, after: Tensor) -> Tensor:
    """Return |after - before| / |before| of a weight, the real update: one element. Inf or NaN where `before` is 0."""
    return torch.linalg.vector_norm(after - before) / torch.linalg.vector_norm(before)


@torch.no_grad()
def norms(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the Euclidean norm of each tensor by its name: tensors of one element."""
    found = torch._foreach_norm(list(tensors.values())) if tensors else []
    return dict(zip(tensors, found, strict=True))


def function_name(function) -> str:
    """Return the plain name of a torch function or method: `relu_` works in place, `__matmul__` is @."""
    return getattr(function, "__name__", "").strip("_")


def is_activation(name: str, args: tuple, kwargs: dict) -> bool:
    """Tell whether a call of the function `name` is that of an activation function.

    `x.clamp(min=0)`, a ReLU written by hand, is one. Other bounds are not: they keep a norm from 0, or pixels in range.
    """
    if name not in CLAMPS:
        return name in ACTIVATIONS
    low, high = (*args[1:3], None, None)[:2]
    low, high = kwargs.get("min", low), kwargs.get("max", high)
    return isinstance(low, (int, float)) and low == 0 and high is None


def class_labels(targets) -> Tensor | None:
    """Return what may be class indices (B,): whole numbers from 0 on, one for each sample, or rows with a single 1."""
    if not isinstance(targets, Tensor) or targets.ndim not in (1, 2) or not len(targets):
        return None
    if targets.ndim == 2 and targets.shape[1] > 1:
        one_hot = ((targets == 0) | (targets == 1)).all() and (targets.sum(1) == 1).all()
        return targets.argmax(1) if one_hot else None
    labels = targets.flatten().long()
    whole = not targets.is_floating_point() or bool((labels == targets.flatten()).all())
    return labels if whole and labels.min() >= 0 else None


def requires_grad(value) -> bool:
    return isinstance(value, Tensor) and value.requires_grad


def some(values: Tensor) -> Tensor:
    """Return a copy of the first samples, not more than are cheap to keep."""
    return values.detach()[: max(2, SMALL // max(1, values[:1].numel()))].clone() if values.ndim else values.detach()


def by_class(outputs, targets, ignored: int = -100) -> tuple[Tensor, Tensor] | None:
    """Return logits (M, C) and class indices (M,) of outputs and targets, detached; None where they are no classes.

    (B, C) and class indices (B,), or rows with a single 1; one output each, (B,) or (B, 1), and targets of 0 and 1, as
    two classes; and, with whole-number targets, a class for each position: (B, C, ...) or (B, T, C). Positions whose
    target is `ignored` are left out.
    """
    if not isinstance(outputs, Tensor) or not outputs.ndim or not isinstance(targets, Tensor):
        return None
    outputs, targets = outputs.detach(), targets.detach()
    labels = class_labels(targets) if targets.is_floating_point() or targets.ndim != 1 else targets
    if targets.is_floating_point() or targets.ndim == outputs.ndim:
        if are_classes(outputs, labels):
            return outputs, labels
        if labels is None or outputs.numel() != len(labels) or labels.max() > 1:
            return None
        return torch.stack([torch.zeros(len(labels), device=outputs.device), as_logits(outputs.flatten())], 1), labels
    if targets.ndim + 1 != outputs.ndim:
        return None
    if outputs.shape[:1] + outputs.shape[2:] == targets.shape:
        outputs = outputs.movedim(1, -1)
    elif outputs.shape[:-1] != targets.shape:
        return None
    outputs, labels = outputs.reshape(-1, outputs.shape[-1]), targets.reshape(-1).long()
    kept = (labels != ignored).nonzero().flatten()[:MOST]
    outputs, labels = outputs[kept], labels[kept]
    fits = len(labels) and outputs.shape[1] > 1 and labels.min() >= 0 and labels.max() < outputs.shape[1]
    return (outputs, labels) if fits else None


def as_logits(outputs: Tensor) -> Tensor:
    """Return logits of outputs that are all in [0, 1], and others as they are."""
    low, high = outputs.aminmax()
    return torch.logit(outputs.float(), 1e-6) if low >= 0 and high <= 1 else outputs.float()


def are_classes(outputs, labels: Tensor | None) -> bool:
    """Tell whether outputs (B, C), C > 1, can be judged by class indices (B,)."""
    fits = labels is not None and isinstance(outputs, Tensor) and outputs.ndim == 2 and len(outputs) == len(labels)
    return fits and bool(labels.max() < outputs.shape[1] > 1)
