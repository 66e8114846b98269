"""Short experiments on copies of a model, its optimizer and some data, that leave the caller's own as they were."""

import contextlib
import copy
import random
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn


LOADED = 10_000  # samples taken from a DataLoader
SAMPLES = 300  # on which distributions are measured: a share is then known to 3 points
BATCH = 32  # of a short training
STEPS = 60  # of it: most leave the first guess, one class for all, and it is little for a CPU
ROUNDS = 5  # of STEPS for those that are slow to leave it


class Data(NamedTuple):
    """Training data, inputs (N, ...) and targets (N, ...), and perhaps test data."""

    inputs: Tensor
    targets: Tensor
    test_inputs: Tensor | None = None
    test_targets: Tensor | None = None

    @classmethod
    def of(cls, data, model: nn.Module | None = None) -> "Data":
        """Return what a caller gave as data, on the model's device."""
        if isinstance(data, torch.utils.data.DataLoader):
            batches = islice(data, -(-LOADED // (data.batch_size or 1)))
            data = [torch.cat(parts)[:LOADED] for parts in zip(*batches, strict=True)]
        if not isinstance(data, (tuple, list)) or len(data) not in (2, 4) or not isinstance(data[0], Tensor):
            raise ValueError(
                "data must be a DataLoader, or tensors: (inputs, targets), or these and the same for test."
            )
        data = cls(*data)
        for inputs, targets in (data[:2], data[2:]):
            if inputs is not None and not len(inputs) == len(targets) > 0:
                raise ValueError(
                    f"There are {len(inputs)} inputs and {len(targets)} targets: give as many, at least 1."
                )
        device = None if model is None else next((p.device for p in model.parameters()), None)
        return cls(*(None if part is None else part.detach().to(device) for part in data))

    def sample(self, size: int = SAMPLES) -> tuple[Tensor, Tensor]:
        """Return copies of at most `size` training samples, drawn without replacement."""
        index = torch.randperm(len(self.inputs))[:size].to(self.inputs.device)
        return self.inputs[index], self.targets[index]

    def rounds(self) -> Iterator[list[tuple[Tensor, Tensor]]]:
        """Give up to ROUNDS times STEPS batches, in one pass over the data or less: nothing is learned by heart."""
        count = max(1, min(ROUNDS, len(self.inputs) // (BATCH * STEPS)))
        batches = self.batches(count * STEPS)
        for _ in range(count):
            yield list(islice(batches, STEPS))

    def batches(self, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Give `steps` batches drawn with replacement, the same ones each time."""
        generator = torch.Generator().manual_seed(0)
        for _ in range(steps):
            index = torch.randint(len(self.inputs), (BATCH,), generator=generator).to(self.inputs.device)
            yield self.inputs[index], self.targets[index]


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Draw the same random numbers each time, leave the caller's random states alone, and let gradients be recorded."""
    states = random.getstate(), np.random.get_state()  # noqa: NPY002 (what a student's code may draw from)
    try:
        with torch.random.fork_rng(), torch.enable_grad():
            torch.manual_seed(0)
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002


def copies(model: nn.Module, optimizer=None) -> tuple:
    """Return copies of a model and its optimizer (or None) that belong together, without the hooks of the caller."""
    # Outputs that a model has kept cannot be copied with their graph.
    kept = [t for m in model.modules() for t in vars(m).values() if isinstance(t, Tensor) and t.grad_fn is not None]
    twin, twin_optimizer = copy.deepcopy((model, optimizer), {id(t): t.detach() for t in kept})
    if isinstance(twin_optimizer, torch.optim.LBFGS):  # keeps its parameters twice, and a copy of it but once
        twin_optimizer._params, twin_optimizer._numel_cache = twin_optimizer.param_groups[0]["params"], None
    for m in twin.modules():
        for hooks in (m._forward_pre_hooks, m._forward_hooks, m._backward_pre_hooks, m._backward_hooks):
            for key in [key for key, hook in hooks.items() if not type(hook).__module__.startswith("torch.")]:
                del hooks[key]  # those of torch, such as spectral norm's, are a part of the model
    return twin, twin_optimizer


def quiet(model: nn.Module) -> nn.Module:
    """Put a model into training mode, but dropout into evaluation mode; return it.

    So nothing is random, and batch normalization works before its running averages have been learned.
    """
    model.train()
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.eval()
    return model


def adam(model: nn.Module) -> torch.optim.Optimizer:
    """Return Adam at its default rate 1e-3, which most models can stand, whatever the scale of their gradients."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError("No parameter requires a gradient: there is nothing to train.")
    return torch.optim.Adam(parameters)


def ordinary_step(model, loss_fn, optimizer, inputs: Tensor, targets: Tensor) -> float:
    """Make one training step; return the loss before it."""

    def closure():
        optimizer.zero_grad()
        loss = loss_fn(model(inputs), targets)
        loss.backward()
        return loss

    return optimizer.step(closure).item()


def update_ratios(model: nn.Module, step: Callable[[], object]) -> dict[str, float]:
    """Call `step`; return |change| / |weight before| of each parameter with two or more dimensions: the real update."""
    before = {name: (p, p.detach().clone()) for name, p in model.named_parameters() if p.ndim > 1}
    step()
    return {name: ((p.detach() - old).norm() / old.norm()).item() for name, (p, old) in before.items()}


def train(model: nn.Module, loss_fn, optimizer, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Train in place, in training mode, one step for each batch."""
    model.train()
    for batch in batches:
        ordinary_step(model, loss_fn, optimizer, *batch)


def loss_of(model: nn.Module, loss_fn, inputs: Tensor, targets: Tensor) -> float:
    """Return the loss in the mode that the model is in, without recording a gradient."""
    with torch.no_grad():
        return float(loss_fn(model(inputs), targets))
