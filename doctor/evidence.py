"""Evidence: what the doctor's rules look at, drawn from the records of a Watch, and the symptoms that they find."""

import contextlib
import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from doctor.baseline import loss_of_constant, mean_loss
from doctor.checks.verdict import NotRun, Status, Verdict
from doctor.measure import by_class
from doctor.records import FirstWeight, Pass, Place
from doctor.sandbox import Direction, Interventions, copies, undisturbed
from doctor.watch import FIRST, Watch

GAIN = 0.03  # of the score, that an experiment has to win: twice its standard error on 1,000 samples
FASTER = 0.2  # of it: what lets a sound program learn faster, such as longer steps, always wins some
MEANT = math.inf  # no gain will do where something may be wanted: it counts only where little is learned
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
    needs: float | None = None  # of the score, to be won by an experiment; None: a part of what is missing
    usual: bool = False  # sound programs show it, too: without an experiment it is no finding


class Evidence:
    """The records of a Watch, numbers drawn from them, and perhaps data for experiments.

    Raises NotRun where no pass was watched, and ValueError for a probe or test data that will not do.
    """

    def __init__(self, watch: Watch, probe=None, test=None):
        self.watch, self.count, self.model, self.passes = watch, watch.count, watch.model, watch.passes
        if not self.passes:
            raise NotRun(
                "No training pass was watched: call the model itself, as model(x), and backward() on a loss of what it "
                "gives; watch a compiled one before its first call."
            )
        self.sign = Direction(watch).sign
        through, elsewhere = self.count["passes through others"], self.count["backward passes elsewhere"]
        self.adversarial = through > 0 and (through < len(self.passes) or elsewhere > 0)  # two losses, as in a GAN
        self.interventions = None if probe is None or self.adversarial else Interventions(watch, probe, test)
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
        if self.untaught:
            raise NotRun(f"The loss leaves out class {self.untaught[0]}, as if it were padding.")
        return self.watch.labels

    @cached_property
    def untaught(self) -> list[int]:
        """Classes of the last watched pass whose outputs make no difference to the loss, whatever they are."""
        with contextlib.suppress(Exception), undisturbed():  # a loss may refuse what is made up
            kept = self.watch.kept[-1]
            made, shares = torch.randn_like(kept.outputs), 0 <= kept.outputs.min() <= kept.outputs.max() <= 1
            made = (made.sigmoid() if shares else made).requires_grad_()
            loss = self.watch.plain_loss(made, kept.targets, *kept.others)
            rows, labels = by_class(-torch.autograd.grad(loss.sum(), made)[0].abs(), kept.targets)
            return sorted({*labels.tolist()} - {*labels[rows.amin(1) < 0].tolist()})
        return []

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
        if not losses or self.adversarial or max(self.count["steps"], self.count["backwards"]) < PATIENCE:
            return ""
        found = []  # where several judge, such as a loss that wants something else than logits: only if all find it
        judges = () if often(p.blended for p in self.passes) else (self._as_guessing, self._as_constant, self._as_same)
        for judge in judges:
            with contextlib.suppress(NotRun):
                found.append(judge())
                if not found[-1]:
                    return ""
        if found:
            return found[0]
        first, last = (self.sign * fmean(part) for part in (losses[:FIRST], final or [math.nan]))
        if not last < first - LEARNED * abs(first):
            return f"the loss went from {fmean(losses[:FIRST]):.3g} to {fmean(final):.3g}"
        return ""

    def _as_guessing(self) -> str:
        """Judge classification by the entropy of the labels, and by how often the most frequent one is."""
        entropies = [p.cross_entropy for p in self.final if p.cross_entropy is not None]
        if not entropies or self.untaught:
            raise NotRun(f"It needs {CLASSES}.")
        shares = [count / self.watch.labels.total() for count in self.watch.labels.values()]
        guessing = -sum(share * math.log(share) for share in shares)
        right = fmean(p.accuracy for p in self.final if p.accuracy is not None)
        if fmean(entropies) < (1 - LEARNED) * guessing + 0.01 or right > (1 + max(shares)) / 2:
            return ""
        return f"the cross-entropy is {fmean(entropies):.3g}, that of guessing {guessing:.3g}"

    def _as_constant(self) -> str:
        """Judge by the loss of the best constant prediction; a worse one that has fallen by half is on its way."""
        pairs, loss_fn = self.pairs, Direction(self.watch).minimized
        if all((t == pairs[0][1].flatten()[0]).all() for _, t in pairs):
            raise NotRun("All targets are the same.")
        try:
            with undisturbed():
                own, constant = mean_loss(loss_fn, pairs).item(), loss_of_constant(loss_fn, pairs)
        except (RuntimeError, TypeError, ValueError) as error:
            raise NotRun(f"The loss of a constant stopped with {type(error).__name__}.") from error
        first = self.sign * fmean(p.loss for p in self.passes[:FIRST] if p.loss is not None)
        if own < constant - LEARNED * abs(constant) or constant + abs(constant) / 2 < own < first / 2:
            return ""
        return f"the loss is {own:.3g}, that of the best constant prediction {constant:.3g}"

    def _as_same(self) -> str:
        """Judge where the loss takes further arguments, as of a VAE: do outputs differ from sample to sample?"""
        kept = self.watch.kept[-1] if self.watch.kept else None
        if not kept or not kept.others or not is_float(kept.targets) or kept.outputs.numel() != kept.targets.numel():
            raise NotRun("It judges losses of outputs, targets and more.")
        spread, wanted = ((part - part.mean(0)).norm().item() for part in (kept.outputs.float(), kept.targets.float()))
        return "" if spread > LEARNED * wanted else "outputs hardly differ from sample to sample"

    @cached_property
    def pairs(self) -> list[tuple[Tensor, Tensor]]:
        """Outputs and targets of the last watched passes; raises NotRun where the loss takes other things."""
        kept = self.watch.kept
        if not kept or self.watch.plain_loss is None:
            raise NotRun(f"It needs {LOSS}.")
        if any(k.others or not isinstance(k.targets, Tensor) for k in kept):
            raise NotRun("It judges losses of outputs and targets.")
        return [(k.outputs, k.targets) for k in kept]

    @property
    def inputs(self) -> list[Place]:
        """The model's inputs in all passes."""
        return [place for p in self.passes for place in self.inputs_of(p)]

    def inputs_of(self, watched: Pass) -> list[Place]:
        """Return the inputs that go into one backward pass; raises NotRun where they are no tensors."""
        found = [place for place in watched.places if place.kind == "input"]
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
            raise NotRun("It needs data: report(probe=(inputs, targets)) in a loop of yours.")
        if test and self.test is None:
            raise NotRun("It needs unseen data: report(test=(inputs, targets)) in a loop of yours.")
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
        return self.own_loss(outputs.to(like.device), targets.to(like))

    @cached_property
    def made_up(self) -> tuple[Tensor, Tensor]:
        """Outputs (B, C) drawn at random and class indices (B,), each one twice; of many classes the first ones."""
        classes = min(self.width, CLASSES_TRIED)
        generator = torch.Generator().manual_seed(0)
        labels = torch.arange(2 * classes) % classes
        return torch.randn(len(labels), self.width, generator=generator), labels

    def loss_of_right(self, right: float, others: float = 0.0) -> float:
        """Return the loss where the right output is the one number, and all others are the other."""
        outputs, labels = self.made_up
        return self.loss_of(others + (right - others) * one_hot(labels, outputs.shape[1]).float(), labels)

    def right_and_wrong(self, size: float = 10.0) -> tuple[float, float]:
        """Return the losses of right outputs and of wrong ones; where targets are 0 and 1, of the better of two wrongs.

        `size`: of logits; of errors, 10 for the targets of other samples.
        """
        outputs, targets = self.pairs[-1] if self.watch.kept else (None, None)
        if outputs is None or outputs.shape != targets.shape or not is_float(targets):
            return self.loss_of_right(size), self.loss_of_right(-size)
        if not ((targets == 0) | (targets == 1)).all():
            others = targets + size / 10 * (targets.roll(1, 0) - targets)
            return self.own_loss(targets, targets), self.own_loss(others, targets)
        low, high = (0.0, 1.0) if outputs.min() >= 0 and outputs.max() <= 1 else (-size, size)
        right = low + (high - low) * targets
        wrong = [torch.where(targets == value, low + high - right, right) for value in targets.unique()]
        return self.own_loss(right, targets), min(self.own_loss(outputs, targets) for outputs in wrong)

    def own_loss(self, outputs: Tensor, targets: Tensor) -> float:
        """Return the loop's loss."""
        with undisturbed():
            return self.watch.plain_loss(outputs, targets).mean().item()

    def evaluate(self, inputs: Tensor):
        """Return what a copy of the model gives in evaluation mode, with the same random numbers each time."""
        with undisturbed():
            return self._copy(inputs)

    @cached_property
    def _copy(self):
        return copies(self.model)[0].eval()

    @cached_property
    def outputs(self) -> Tensor:
        """Outputs for the first inputs; raises NotRun where not each sample has one, finite, and a target."""
        inputs, kept = self.watch.first_inputs, self.watch.kept
        if inputs is None or not kept or len(inputs) < 3:
            raise NotRun("It judges models of one tensor, in batches.")
        targets, outputs = kept[-1].targets, self.evaluate(inputs)
        if not isinstance(targets, Tensor) or targets.shape[:1] != kept[-1].outputs.shape[:1]:
            raise NotRun("It judges outputs and targets for each sample.")
        if not isinstance(outputs, Tensor) or len(outputs) != len(inputs) or not outputs.isfinite().all():
            raise NotRun("It judges models that give one output, finite, for each sample.")
        return outputs

    @cached_property
    def keeps_state(self) -> bool:
        """Whether the model, called again with the same inputs, gives other outputs."""
        return not torch.allclose(self.outputs, self.evaluate(self.watch.first_inputs), 1e-3, 1e-5)

    @cached_property
    def samples_mix(self) -> str:
        """How outputs depend on the other samples of the batch, or on those before; "" if they do not."""
        inputs, first = self.watch.first_inputs, self.outputs
        if self.keeps_state:
            return "called again with the same inputs the model gives other outputs, as it keeps a state"
        change = depends(self.evaluate, inputs, first, 0)
        sequences = first.ndim > 1 < inputs.ndim and first.shape[1] == inputs.shape[1] > 2
        if change < 1e-3 or (sequences and depends(self.evaluate, inputs, first, 1) < 1e-3):
            return ""  # with dimension 1 for the samples, as recurrent networks have it
        return f"the output for a sample changes by {change:.0%} of its size with the other samples of the batch"

    def ignores_shift(self, dim: int) -> bool:
        """Tell whether a number added to all outputs of a sample (0), or of a class (1), leaves the loss as it is."""
        outputs, labels = self.made_up
        shift = torch.linspace(-5, 5, outputs.shape[dim])
        shifted = outputs + (shift[:, None] if dim == 0 else shift)
        return close(self.loss_of(shifted, labels), self.loss_of(outputs, labels), 1e-5)


def depends(model: Callable, inputs: Tensor, outputs: Tensor, dim: int) -> float:
    """Return how far, relative to its size, an end of a dimension changes where all others are like the other end."""
    changes, last = [], inputs.shape[dim] - 1
    for end in (0, last):  # what runs over samples as over time depends on those before alone
        order = torch.full((last + 1,), last - end)
        order[end] = end
        own = outputs.select(dim, end).float()
        other = model(inputs.index_select(dim, order.to(inputs.device))).select(dim, end)
        changes.append(((other - own).norm() / own.norm().clamp(min=1e-12)).item())
    return max(changes)


def total_norm(norms: Iterable[float]) -> float:
    """Return the norm of all tensors together, without those that are NaN."""
    return math.sqrt(sum(norm**2 for norm in norms if not math.isnan(norm)))


def is_float(value) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


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
