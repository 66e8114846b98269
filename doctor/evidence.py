"""Evidence: what the doctor's rules look at, drawn from the tables of a Watch, and the symptoms that they find."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from doctor.experiments import undisturbed
from doctor.sandbox import Interventions
from doctor.watch import FIRST, Watch

PATIENCE = 100  # steps after which learning should show
TAKEN_OFF = 0.1  # of the labels' entropy: less of it after PATIENCE steps is hardly learning


class NotRun(Exception):
    """The reason why a rule cannot judge."""


@dataclass(frozen=True)
class Symptom:
    """What speaks for a cause. A certain one needs no proof: it cannot be there without its cause."""

    evidence: str
    step: int  # at which it could first be told
    layer: str = ""
    certain: bool = False


OF_LOSS = ("loss", "size", "width", "scale", "left", "losses since step")  # columns; the others are of classification


class Seen:
    """What rules look at: the tables of a Watch, numbers drawn from them, and perhaps data for experiments."""

    def __init__(self, watch: Watch, probe=None, test=None):
        self.watch, self.count, self.model = watch, watch.count, watch.model
        self.passes, self.places, self.updates, self.weights = watch.passes, watch.places, watch.updates, watch.weights
        if not len(self.passes):
            raise NotRun("No training pass was watched: the model has to be in training mode.")
        self.interventions = None if probe is None else Interventions(watch, probe, test)
        self.test = self.interventions and self.interventions.test
        self.explained: list[str] = []  # by these causes, certain or proven
        self.steps = self.count["steps"]
        self.final = self.passes.tail(max(FIRST, len(self.passes) // 5))

    def column(self, name: str) -> pd.Series:
        """Return a column of the passes, indexed by their steps; raises NotRun where it could not be watched."""
        if name not in self.passes or not self.passes[name].notna().any():
            missing = (
                "the loss: call doctor.loss_fn in the loop" if name in OF_LOSS else "outputs (B, C) and class indices"
            )
            raise NotRun(f"It needs {missing}.")
        return self.passes.set_index("step")[name].dropna()

    @cached_property
    def trained(self) -> dict[str, float]:
        """The rates of the model's parameters that the optimizer has."""
        rates = {id(p): group.get("lr", 1) for group in self.watch.optimizer.param_groups for p in group["params"]}
        return {name: rates[id(p)] for name, p in self.watch.parameters.items() if id(p) in rates}

    @cached_property
    def foreign(self) -> bool:
        """Whether the optimizer has parameters that are not the model's."""
        return sum(len(group["params"]) for group in self.watch.optimizer.param_groups) > len(self.trained)

    # ---- does it learn?

    @cached_property
    def entropy(self) -> float:
        """The loss, in nats, of predicting each class as often as it comes."""
        if not self.watch.labels:
            raise NotRun("It judges classification.")
        shares = np.array(list(self.watch.labels.values())) / sum(self.watch.labels.values())
        return float(-(shares * np.log(shares)).sum())

    @cached_property
    def impaired(self) -> str:
        """Return how it shows that little is learned; "" if it is learned, or too early to tell."""
        if "loss" not in self.passes:
            return ""
        loss = self.passes["loss"].dropna()
        if not np.isfinite(self.final["loss"].dropna()).all() or loss.isna().any():
            return "the loss is not finite"
        if max(self.count["steps"], self.count["losses"]) < PATIENCE:
            return ""
        if "cross entropy" in self.passes:
            left = self.final["cross entropy"].mean()
            if not left < (1 - TAKEN_OFF) * self.entropy + 0.01:
                return f"the cross-entropy is {left:.3g}, that of guessing {self.entropy:.3g}"
        elif not self.final["loss"].mean() < (1 - TAKEN_OFF) * loss.iloc[:FIRST].mean():
            return f"the loss went from {loss.iloc[:FIRST].mean():.3g} to {self.final['loss'].mean():.3g}"
        return ""

    @cached_property
    def inputs(self) -> pd.DataFrame:
        """The rows of the model's inputs."""
        rows = self.places.query("kind == 'input'")
        if not len(rows):
            raise NotRun("It judges a tensor as the model's first argument.")
        return rows

    # ---- the first pass

    @cached_property
    def first_places(self) -> pd.DataFrame:
        return self.places[self.places["pass"] == self.places["pass"].min()]

    @cached_property
    def used(self) -> list[str]:
        """Names of the layers in the order in which the first pass met them."""
        return list(dict.fromkeys(self.first_places.query("kind == 'layer'")["layer"])) if len(self.places) else []

    @cached_property
    def matrices(self) -> pd.DataFrame:
        """First weights of the layers, in the order of use. `gain`: what they multiply the rms of inputs by."""
        w = self.weights[(self.weights["dimensions"] > 1)].copy()
        w["layer"] = [name.rpartition(".")[0] or name for name in w["name"]]
        w = w[w["layer"].isin(self.used)]
        w["gain"] = np.hypot(w["std"], w["mean"]) * np.sqrt(w["inputs"])
        w["order"] = w["layer"].map(self.used.index)
        return w.sort_values("order", kind="stable")

    def at_first(self, column: str) -> pd.Series:
        """Return a column of the first backward pass, by layer, of weight matrices in the order of use."""
        rows = self.updates[self.updates["pass"] == self.updates["pass"].min()].set_index("name")[column]
        return rows.reindex(self.matrices["name"]).set_axis(self.matrices["layer"]).dropna()

    @cached_property
    def relative_changes(self) -> pd.DataFrame:
        """|change| / |weight| of each weight matrix in each watched step: a row for each, with pass, name, ratio."""
        rows = self.updates[(self.updates["dimensions"] > 1) & self.updates["change"].notna()]
        return rows.assign(ratio=rows["change"] / rows["weight"].clip(lower=1e-12))

    def needed(self, test: bool = False) -> Interventions:
        """Return the experiments; raises NotRun where data for them were not given, or a cause is certain already."""
        if self.explained:
            raise NotRun(f"It is judged when {self.explained[0]} is mended.")
        self.column("loss")
        if self.interventions is None:
            raise NotRun("Give report(probe=(inputs, targets)).")
        if test and self.test is None:
            raise NotRun("Give report(test=(inputs, targets)).")
        if not self.interventions.finite:
            raise NotRun("The probe has inputs that are not finite.")
        return self.interventions

    def step_of(self, number: int) -> int:
        """Return the step before which a pass was made."""
        return int(self.passes.loc[self.passes["pass"] == number, "step"].iloc[0])

    # ---- the loss, asked with made-up outputs

    def loss_of(self, outputs: Tensor, labels: Tensor) -> float:
        """Return the loss of outputs (B, C) for class indices (B,), in the form in which the loop gives targets."""
        like = self.watch.like
        if like is None or self.column("width").iloc[0] < 2:
            raise NotRun("It judges losses of outputs (B, C) and classes.")
        targets = one_hot(labels, outputs.shape[1]) if like.shape[1:] and like.shape[1] > 1 else labels
        targets = targets[:, None] if like.ndim > targets.ndim else targets
        with torch.no_grad(), undisturbed():
            return self.watch.plain_loss(outputs.to(like.device), targets.to(like)).detach().mean().item()

    @cached_property
    def made_up(self) -> tuple[Tensor, Tensor]:
        """Outputs (B, C) drawn at random and class indices, each one twice."""
        classes = max(int(self.column("width").iloc[0]), max(self.watch.labels, default=0) + 1)
        generator = torch.Generator().manual_seed(0)
        labels = torch.arange(2 * classes) % classes
        return torch.randn(len(labels), classes, generator=generator), labels

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


def whole_norms(updates: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Return for each pass the norm of all parameters together."""
    return (updates[columns] ** 2).groupby(updates["pass"]).sum() ** 0.5


def often(flags: pd.Series) -> bool:
    return len(flags) > 0 and bool(flags.mean() > 0.5)


def close(a: float, b: float, tolerance: float = 1e-3) -> bool:
    return math.isclose(a, b, rel_tol=tolerance, abs_tol=1e-6)
