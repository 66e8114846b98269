"""Evidence: what the doctor's rules look at, drawn from the records of a Watch, and the symptoms that they find."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from doctor.checks.verdict import NotRun, Status, Verdict
from doctor.records import FirstWeight, Pass, Place
from doctor.sandbox import Interventions, undisturbed
from doctor.watch import FIRST, Watch

PATIENCE = 100  # steps after which learning should show
LEARNED = 0.1  # of the labels' entropy: if less of it is gone after PATIENCE steps, hardly anything is learned

CLASSES_TRIED = 100  # at most, with made-up outputs

LOSS = "the loss: call doctor.loss_fn in the loop"
CLASSES = "outputs (B, C) and class indices"


@dataclass(frozen=True)
class Symptom:
    """What speaks for a cause. A certain one needs no proof: it cannot be there without its cause."""

    evidence: str
    step: int  # at which it could first be told
    layer: str = ""
    certain: bool = False


class Evidence:
    """The records of a Watch, numbers drawn from them, and perhaps data for experiments.

    Raises NotRun where no pass was watched, and ValueError for a probe or test data that will not do.
    """

    def __init__(self, watch: Watch, probe=None, test=None):
        self.watch, self.count, self.model, self.passes = watch, watch.count, watch.model, watch.passes
        if not self.passes:
            raise NotRun("No training pass was watched: the model has to be in training mode.")
        self.interventions = None if probe is None else Interventions(watch, probe, test)
        self.test = self.interventions and self.interventions.test
        self.updated = [p for p in self.passes if p.updates]  # with a gradient or a step after them
        self.steps = self.count["steps"]
        self.final = self.passes[-max(FIRST, len(self.passes) // 5) :]

    def passes_with(self, number: Callable[[Pass], float | None], what: str) -> list[Pass]:
        """Return the passes for which `number(pass)` is neither None nor NaN; raises NotRun where there is none."""
        seen = [p for p in self.passes if number(p) is not None]
        if not seen:
            raise NotRun(f"It needs {what}.")
        found = [p for p in seen if not math.isnan(number(p))]
        if not found:
            raise NotRun("What it judges is NaN in all passes.")
        return found

    @property
    def width(self) -> int:
        """Outputs for each sample."""
        return self.passes_with(lambda p: p.width, LOSS)[0].width

    @property
    def class_counts(self) -> dict[int, int]:
        """How often each class came; raises NotRun where the loop does no classification, such as a regression."""
        self.passes_with(lambda p: p.guess_share, CLASSES)
        return self.watch.labels

    @cached_property
    def trained(self) -> dict[str, float]:
        """The highest rates, over the watched passes, of the model's parameters that the optimizer has."""
        rates = {}
        for k, group in enumerate(self.watch.optimizer.param_groups):
            seen = [p.rates[k] for p in self.passes if k < len(p.rates) and not math.isnan(p.rates[k])]
            rates |= {id(p): max(seen, default=group.get("lr", 1)) for p in group["params"]}
        return {name: rates[id(p)] for name, p in self.watch.parameters.items() if id(p) in rates}

    @cached_property
    def sizes(self) -> dict[str, set[float]]:
        """The different norms that each parameter has had."""
        found = defaultdict(set)
        for update in (update for p in self.passes for update in p.updates):
            found[update.name].add(update.weight)
        return found

    @cached_property
    def step_ratios(self) -> list[float]:
        """For each watched step the largest |change| / |weight| of a weight matrix."""
        steps = [[u for u in p.updates if u.dimensions > 1 and u.change == u.change] for p in self.updated]
        return [max((u.ratio for u in step if u.change > 0), default=0.0) for step in steps if step]

    @cached_property
    def impaired(self) -> str:
        """How it shows that little is learned; "" if it is learned, or too early to tell."""
        losses, final = ([p.loss for p in part if p.loss is not None] for part in (self.passes, self.final))
        if not all(map(math.isfinite, final)):
            return "the loss is not finite"
        if not losses or max(self.count["steps"], self.count["losses"]) < PATIENCE:
            return ""
        if entropies := [p.cross_entropy for p in self.final if p.cross_entropy is not None]:
            shares = [count / self.watch.labels.total() for count in self.watch.labels.values()]
            guessing = -sum(share * math.log(share) for share in shares)  # each class as often as it comes
            if not fmean(entropies) < (1 - LEARNED) * guessing + 0.01:
                return f"the cross-entropy is {fmean(entropies):.3g}, that of guessing {guessing:.3g}"
        elif not fmean(final or [math.nan]) < (1 - LEARNED) * fmean(losses[:FIRST]):
            return f"the loss went from {fmean(losses[:FIRST]):.3g} to {fmean(final):.3g}"
        return ""

    @property
    def inputs(self) -> list[Place]:
        """The model's inputs in all passes."""
        found = [place for p in self.passes for place in p.places if place.kind == "input"]
        if not found:
            raise NotRun("It judges a tensor as the model's first argument.")
        return found

    def first(self, kind: str) -> list[Place]:
        """Return what a kind of places, "layer" or "activation", has in the first pass."""
        return [place for place in self.passes[0].places if place.kind == kind]

    @cached_property
    def used(self) -> list[str]:
        """Names of the layers in the order in which the first pass met them."""
        return list(dict.fromkeys(place.layer for place in self.first("layer")))

    @cached_property
    def matrices(self) -> list[FirstWeight]:
        """First weights of the layers, in the order of use."""
        found = [w for w in self.watch.weights if w.dimensions > 1 and w.layer in self.used]
        return sorted(found, key=lambda w: self.used.index(w.layer))

    @cached_property
    def first_gradients(self) -> list[tuple[str, float]]:
        """Layer and norm of the gradients of weight matrices in the first backward pass, in the order of use."""
        norms = {update.name: update.gradient for p in self.updated[:1] for update in p.updates}
        return [(w.layer, norms[w.name]) for w in self.matrices if norms.get(w.name, math.nan) >= 0]

    def experiments(self, test: bool = False) -> Interventions:
        """Return the experiments; raises NotRun where data for them were not given, or will not do."""
        self.passes_with(lambda p: p.loss, LOSS)
        if self.interventions is None:
            raise NotRun("Give report(probe=(inputs, targets)).")
        if test and self.test is None:
            raise NotRun("Give report(test=(inputs, targets)).")
        if not self.interventions.finite:
            raise NotRun("The probe has inputs that are not finite.")
        return self.interventions

    def loss_of(self, outputs: Tensor, labels: Tensor) -> float:
        """Return the loss of outputs (B, C) for class indices (B,), in the form in which the loop gives targets."""
        like = self.watch.like
        if like is None or self.width < 2:
            raise NotRun("It judges losses of outputs (B, C) and classes.")
        targets = one_hot(labels, outputs.shape[1]) if like.shape[1:] and like.shape[1] > 1 else labels
        targets = targets[:, None] if like.ndim > targets.ndim else targets
        with torch.no_grad(), undisturbed():
            return self.watch.plain_loss(outputs.to(like.device), targets.to(like)).detach().mean().item()

    @cached_property
    def made_up(self) -> tuple[Tensor, Tensor]:
        """Outputs (B, C) drawn at random and class indices (B,), each one twice; of many classes the first ones."""
        classes = min(self.width, CLASSES_TRIED)
        generator = torch.Generator().manual_seed(0)
        labels = torch.arange(2 * classes) % classes
        return torch.randn(len(labels), self.width, generator=generator), labels

    def loss_of_right(self, size: float) -> float:
        """Return the loss where the right output is `size`, and the others are 0."""
        outputs, labels = self.made_up
        return self.loss_of(size * one_hot(labels, outputs.shape[1]).float(), labels)

    def ignores_shift(self, dim: int) -> bool:
        """Tell whether a number added to all outputs of a sample (0), or of a class (1), leaves the loss as it is."""
        outputs, labels = self.made_up
        shift = torch.linspace(-5, 5, outputs.shape[dim])
        shifted = outputs + (shift[:, None] if dim == 0 else shift)
        return close(self.loss_of(shifted, labels), self.loss_of(outputs, labels), 1e-5)


def total_norm(norms: Iterable[float]) -> float:
    """Return the norm of all tensors together, without those that are NaN."""
    return math.sqrt(sum(norm**2 for norm in norms if not math.isnan(norm)))


def often(flags: Iterable[bool]) -> bool:
    """Tell whether more than half of some flags are set."""
    flags = list(flags)
    return 2 * sum(flags) > len(flags)


def fires(verdict: Verdict) -> bool:
    """Tell whether a check fires; raises NotRun where it could not judge."""
    if verdict.verdict is Status.NOT_RUN:
        raise NotRun(verdict.advice)
    return verdict.fires


def close(a: float, b: float, tolerance: float = 1e-3) -> bool:
    return math.isclose(a, b, rel_tol=tolerance, abs_tol=1e-6)
