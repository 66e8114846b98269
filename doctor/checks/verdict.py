"""What a check gives, what makes a function a check, and what several checks need."""

import functools
import inspect
import math
from dataclasses import dataclass, replace
from enum import Enum
from textwrap import fill, shorten

import torch
from torch import Tensor, nn

from doctor.sandbox import Data, copies, quiet, undisturbed


class Status(str, Enum):
    """How a check came out."""

    PASSES = "passes"
    FIRES = "fires"
    NOT_RUN = "not run"

    __str__ = str.__str__


@dataclass(frozen=True, repr=False)
class Verdict:
    """What one check found. `advice`: what to do if it fires, the reason if it was not run, else at most a remark."""

    check: str
    verdict: Status
    number: float  # NaN if not run
    expected: str
    advice: str

    @property
    def fires(self) -> bool:
        return self.verdict is Status.FIRES

    def __repr__(self) -> str:
        number = "" if self.verdict is Status.NOT_RUN else f": {self.number:.4g} (expected: {self.expected})"
        return fill(f"{self.check} {self.verdict}{number}. {self.advice}".strip(), 100, subsequent_indent="    ")


class NotRun(Exception):
    """The reason why a check, or a rule of the doctor, cannot judge."""


REASONS = {  # why a check is not run without one of its arguments
    "optimizer": "It needs the optimizer.",
    "train_step": "It judges your own loop: give train_step(model, loss_fn, optimizer, inputs, targets).",
    "penalty": "It judges your own penalty(model, strength); an optimizer's weight decay does not show in the loss.",
}


def check(function):
    """Make `function` one of the checks: it then gets copies to work on, and what it raises becomes "not run"."""
    signature, name = inspect.signature(function), function.__name__.replace("_", " ")
    required = [key for key, parameter in signature.parameters.items() if parameter.default is parameter.empty]

    @functools.wraps(function)
    def judge(*args, **kwargs) -> Verdict:
        given = signature.bind(*args, **kwargs).arguments
        with undisturbed():
            if "data" in given:
                given["data"] = without_ignored(Data.of(given["data"], given.get("model")), given.get("loss_fn"))
            try:
                if missing := [key for key in required if given[key] is None]:
                    raise NotRun(REASONS[missing[0]])
                if "model" in given:
                    twins = copies(given["model"], given.get("optimizer"))
                    given |= {k: twin for k, twin in zip(("model", "optimizer"), twins, strict=True) if k in given}
                return replace(function(**given), check=name)
            except NotRun as reason:
                advice = str(reason)
            except Exception as error:  # whatever the model, the loss or the loop may raise
                advice = "It stopped with " + shorten(f"{type(error).__name__}: {error}", 200, placeholder=" ...")
        return Verdict(name, Status.NOT_RUN, math.nan, "", advice)

    return judge


def verdict(fires, number: float | Tensor, expected: str, advice: str, note: str = "") -> Verdict:
    """Return a Verdict with the advice if it fires, otherwise with the note; `check` fills in its name."""
    return Verdict("", Status.FIRES if fires else Status.PASSES, float(number), expected, advice if fires else note)


def require(data: Data, floats: bool = False, classes: bool = False, test: bool = False) -> None:
    targets = data.targets
    if floats and not data.inputs.is_floating_point():
        raise NotRun(f"It needs inputs of floating point numbers; these are {data.inputs.dtype}.")
    if classes and (targets.ndim != 1 or targets.is_floating_point() or targets.dtype == torch.bool):
        raise NotRun("It is for classification: one class index for each sample.")
    if test and data.test_inputs is None:
        raise NotRun("It needs test data: (inputs, targets, test_inputs, test_targets).")


def without_ignored(data: Data, loss_fn) -> Data:
    """Return the data without samples whose class index the loss ignores: its `ignore_index`, or torch's -100."""
    named = getattr(loss_fn, "keywords", {}).get("ignore_index", -100)  # of a partial function
    counts = data.targets != getattr(loss_fn, "ignore_index", named)
    if data.targets.ndim != 1 or data.targets.is_floating_point() or counts.all() or not counts.any():
        return data
    return data._replace(inputs=data.inputs[counts], targets=data.targets[counts])


def class_outputs(model: nn.Module, data: Data) -> tuple[Tensor, Tensor]:
    """Return the labels (B,) of some samples and the outputs (B, C) for them; not for other kinds of targets."""
    require(data, classes=True)
    inputs, targets = data.sample()
    with torch.no_grad():
        outputs = quiet(model)(inputs)
    if outputs.ndim != 2 or len(outputs) != len(targets) or outputs.shape[1] < 2:
        raise NotRun(f"It needs outputs (B, C) with at least two classes, not {tuple(outputs.shape)}.")
    return targets, outputs


def are_probabilities(outputs: Tensor) -> bool:
    """Tell whether the rows (B, C) are not negative and sum to 1."""
    return bool((outputs >= 0).all() and ((outputs.sum(1) - 1).abs() < 1e-3).all())


def standard_errors(guesses: Tensor, labels: Tensor) -> float:
    """Return by how many standard errors guesses agree with labels more often than with shuffled ones."""
    chance = sum(((guesses == c).double().mean() * (labels == c).double().mean()).item() for c in labels.unique())
    agreement = (guesses == labels).double().mean().item()
    return (agreement - chance) / math.sqrt(max(chance * (1 - chance), 1e-12) / len(labels))


def nudged(model: nn.Module) -> nn.Module:
    """Move the parameters a little, and return the model: off kinks (biases of 0), and off weights set to 0."""
    for parameter in model.parameters():
        parameter.data += 1e-3 * torch.randn_like(parameter)
    return model
