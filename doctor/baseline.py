"""The loss of the best constant prediction: what a network reaches that has learned nothing of its inputs."""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

ITERATIONS = 50  # of L-BFGS
UNITS = 4096  # more outputs of a sample get one constant for each channel


def loss_of_constant(loss_fn: Callable, pairs: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Return the least mean loss of predictions that are the same for all samples of the pairs (outputs, targets).

    The outputs give the shape, the range (probabilities stay probabilities) and where the search begins. It ends at
    the best that L-BFGS finds. Raises what the loss raises.
    """
    pairs = list(pairs)
    with torch.enable_grad():
        link, inverse = range_of(torch.cat([outputs.flatten() for outputs, _ in pairs]), pairs[0][0])
        best = math.inf
        for start in starts(pairs):
            constant = inverse(start).detach().clone().requires_grad_()
            best = min(best, fit(constant, lambda c=constant: mean_loss(loss_fn, pairs, link(c))))
    return best


def mean_loss(loss_fn: Callable, pairs: list[tuple[Tensor, Tensor]], constant: Tensor | None = None) -> Tensor:
    """Return the mean loss of the outputs, or of a constant in their place."""
    losses = [loss_fn(o if constant is None else constant.expand_as(o), t).mean() for o, t in pairs]
    return torch.stack(losses).mean()


def starts(pairs: list[tuple[Tensor, Tensor]]) -> list[Tensor]:
    """Return the mean output and, where they have the same shape, the mean target, over samples or by channel."""
    same = all(isinstance(t, Tensor) and t.is_floating_point() and t.shape == o.shape for o, t in pairs)
    return [mean_sample([o for o, _ in pairs]), *([mean_sample([t for _, t in pairs])] if same else [])]


def mean_sample(parts: list[Tensor]) -> Tensor:
    first = parts[0]
    if all(part.shape[1:] == first.shape[1:] for part in parts) and first[:1].numel() <= UNITS:
        return torch.cat(parts).float().mean(0)
    if first.ndim > 3:  # (B, C, H, W)
        return torch.stack([part.float().mean((0, *range(2, part.ndim)), keepdim=True)[0] for part in parts]).mean(0)
    return torch.stack([part.float().reshape(-1, part.shape[-1]).mean(0) for part in parts]).mean(0)


def fit(constant: Tensor, loss_of: Callable[[], Tensor]) -> float:
    """Return the least loss that L-BFGS finds from a constant on."""
    optimizer = torch.optim.LBFGS([constant], max_iter=ITERATIONS, line_search_fn="strong_wolfe")
    seen = []

    def closure():
        optimizer.zero_grad()
        loss = loss_of()
        seen.append(loss.item())
        loss.backward()
        return loss

    optimizer.step(closure)
    return min((loss for loss in seen if math.isfinite(loss)), default=math.inf)


def range_of(numbers: Tensor, outputs: Tensor) -> tuple[Callable, Callable]:
    """Return the function that keeps a constant in the range of the outputs, and its inverse."""
    low, high = numbers.aminmax()
    sums = outputs.exp() if high <= 0 else outputs
    channel = 1 if outputs.ndim > 1 else 0
    whole = outputs.ndim > 1 and (sums.sum(channel) - 1).abs().max() < 1e-3
    if whole and high <= 0:
        return lambda c: c.log_softmax(channel - 1), lambda c: c
    if whole and low >= 0:
        return lambda c: c.softmax(channel - 1), lambda c: c.clamp(min=1e-6).log()
    if low >= 0 and high <= 1:
        return torch.sigmoid, lambda c: torch.logit(c, 1e-4)
    return lambda c: c, lambda c: c
