"""Other ways to tell what is wrong with a training, in one interface: two simple rules, published ones, and packages.

    with RIVALS["UMLAUT"](model, loss_fn, optimizer, epochs=12) as rival:
        for inputs, targets in batches:
            ...                         # the loop as it is, and at its end
            rival.step(loss)
            # and every 26 steps, with means since the last time and the first batch of the training set
            rival.epoch_end(train_loss, train_accuracy, val_loss, val_accuracy, first_inputs, first_targets)
    rival.alarms(), rival.place_of("lr-too-high")

A rival speaks in its own words, and MEANS translates each message into all causes of our vocabulary that it, or its
advice, can reasonably mean: more is right for a rival than for the doctor, which names one. All see the same run, and
thresholds are the published ones. What is not comparable:

- AutoTrainer, DeepDiagnosis and UMLAUT are for Keras and look once an epoch, over many epochs. A run here has two, so
  `epoch_end` is to be called more often, and `epochs` says how often in all. Thresholds that mean the progress of an
  epoch (AutoTrainer's slow convergence and swings, UMLAUT's overfitting) then judge the noise of fewer steps.
- They are rebuilt from descriptions and the authors' code. AutoTrainer and DeepDiagnosis stop a training at their first
  message; here the run goes on, but they say no more.
- They were made for other aims (AutoTrainer repairs five problems, UMLAUT teaches beginners): most faults of loop,
  labels and evaluation were never theirs.
- Packages run as they are installed, untuned, in the newest version there was; what they call "info" is no alarm.
"""

import atexit
import importlib
import importlib.metadata
import math
from collections import Counter
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from doctor.causes import CAUSES
from doctor.measure import BOUNDS, LAYERS, RECTIFIERS, function_name
from doctor.sandbox import copies, undisturbed

GROUPS = {  # causes that the same message means
    "STEPS-TOO-LONG": "lr-too-high loss-summed gradients-not-zeroed loss-terms-unbalanced",
    "GROWS": "lr-too-high loss-summed gradients-not-zeroed exploding-gradient init-too-large inputs-not-scaled nan"
    " targets-not-scaled inputs-drift loss-terms-unbalanced",
    "STEPS-TOO-SHORT": "lr-too-low clip-too-tight schedule-collapsed",
    "NOT-TRAINED": "no-optimizer-step parameters-not-in-optimizer layer-frozen graph-cut module-not-registered",
    "FADES": "vanishing-gradient saturated-activations init-too-small graph-cut",
    "DEAD": "dead-relu dead-relu-at-init activation-on-output",
    "SATURATED": "saturated-activations init-too-large inputs-not-scaled lr-too-high activation-on-output",
    "INIT": "init-too-large init-too-small symmetric-init dead-relu-at-init",
    "OUTPUT": "wrong-loss softmax-before-loss softmax-wrong-dim sigmoid-before-loss shape-broadcast",
    "LABELS": "labels-shuffled label-noise data-mispaired samples-mixed shape-broadcast",
    "TESTS-WORSE": "train-test-mismatch not-in-eval-mode labels-shuffled label-noise target-leak repeated-samples"
    " batchnorm-small-batch batchnorm-stats-stale weights-not-copied",
}


def read_lines(text: str) -> dict[str, list[str]]:
    """Read lines of the form "name: words"."""
    rows = (line.strip().split(": ") for line in text.strip().splitlines())
    return {name: words.split() for name, words in rows}


def read_meanings(text: str) -> dict[str, tuple[str, ...]]:
    """Read lines of the form "message: causes and GROUPS", the most important message first."""
    found = {m: tuple(" ".join(GROUPS.get(w, w) for w in words).split()) for m, words in read_lines(text).items()}
    if unknown := {cause for causes in found.values() for cause in causes} - CAUSES.keys():
        raise ValueError(f"not in the vocabulary: {unknown}")
    return found


class Rival:
    """Watch a run without changing it and say what is wrong; what goes wrong in the watching is in `errors`.

    `epochs`: how often `epoch_end` will be called; `classes`: how many there are. `found` has each message with the
    number of steps after which it came. A subclass has MEANS, and any of on_enter, on_step, on_epoch and on_exit.
    """

    MEANS = read_meanings("nothing: nan")

    def __init__(self, model, loss_fn, optimizer, epochs: int = 12, classes: int = 10):
        self.model, self.loss_fn, self.optimizer = model, loss_fn, optimizer
        self.epochs, self.classes = epochs, classes
        self.steps, self.found, self.errors = 0, {}, Counter()
        self.train_loss, self.train_accuracy, self.val_loss, self.val_accuracy = self.history = [], [], [], []

    def __enter__(self):
        self._safely(self.on_enter)
        return self

    def __exit__(self, *_):
        self._safely(self.on_exit)

    def step(self, loss: Tensor) -> None:
        """Take note of a turn of the loop, with the loss of its batch."""
        self.steps += 1
        self._safely(self.on_step, loss.detach().mean().item())

    def epoch_end(self, train_loss, train_accuracy, val_loss, val_accuracy, inputs: Tensor, targets: Tensor) -> None:
        """Take note of means since the last call, and look at the first samples of the training set."""
        for numbers, number in zip(self.history, (train_loss, train_accuracy, val_loss, val_accuracy), strict=True):
            numbers.append(float(number))
        self._safely(self.on_epoch, inputs, targets)

    def alarms(self) -> list[str]:
        """Return what the rival reports, the most important first."""
        return sorted(self.found, key=list(self.MEANS).index)

    def place_of(self, cause: str) -> int | None:
        """Return the place among the alarms, from 1, of the first that can mean `cause`, or None."""
        places = (i for i, message in enumerate(self.alarms(), 1) if cause in self.MEANS.get(message, ()))
        return next(places, None)

    def report(self, *messages: str) -> None:
        for message in messages:
            self.found.setdefault(message, self.steps)

    def on_enter(self): ...

    def on_step(self, loss: float): ...

    def on_epoch(self, inputs: Tensor, targets: Tensor): ...

    def on_exit(self): ...

    def _safely(self, method, *args) -> None:
        try:
            method(*args)
        except ImportError:  # tells about this machine, nothing about the run
            raise
        except Exception as error:
            self.errors[f"{type(error).__name__}: {error}"] += 1


# ---- the simplest rules


class AlwaysAlarm(Rival):
    """Whatever happens, something is wrong, and the commonest cause is to blame."""

    MEANS = read_meanings("something is wrong: lr-too-high")

    def on_enter(self):
        self.report("something is wrong")


class LossCurve(Rival):
    """What the losses of the batches tell by themselves, at the end of the run.

    First and last tenth are compared: a difference of three standard errors comes by chance once in 370 times, and what
    falls by less than 2 % (the bound of runmedic and trainspotter, too) hardly falls. A loss above ln C is worse than
    that of equal probabilities for C classes; a flat curve below half of it has converged.
    """

    MEANS = read_meanings("""
        not finite: lr-too-high
        rises: lr-too-high
        flat: lr-too-low
        worse than guessing: lr-too-high
    """)

    def on_enter(self):
        self.losses = []

    def on_step(self, loss):
        self.losses.append(loss)

    def on_exit(self):
        losses, guess = torch.tensor(self.losses, dtype=torch.float64), math.log(self.classes)
        tenth = max(2, len(losses) // 10)
        first, last = losses[:tenth], losses[-tenth:]
        fall, error = first.mean() - last.mean(), ((first.var() + last.var()) / tenth).sqrt()
        if not finite(losses):
            self.report("not finite")
        elif fall < -3 * error:
            self.report("rises")
        elif fall <= max(3 * error, 0.02 * first.mean()) and last.mean() > guess / 2:
            self.report("flat")
        elif last.mean() > guess:
            self.report("worse than guessing")


# ---- what published rules look at

WITH_LOGITS = {"cross_entropy", "binary_cross_entropy_with_logits", "softmax", "log_softmax"}  # called in a loss
DROPOUT = {"dropout", "dropout1d", "dropout2d"}


class Layer(NamedTuple):
    name: str  # the function's: linear, relu, softmax, dropout, ...
    before: Tensor
    after: Tensor
    rate: float | None  # the probability of dropout


class Look(TorchFunctionMode):
    """One batch through a copy of the model in evaluation mode: layers, modules or functions; loss; gradients."""

    NAMES = LAYERS | RECTIFIERS | BOUNDS.keys() | WITH_LOGITS | DROPOUT | {"nll_loss"}

    def __init__(self, rival: Rival, inputs: Tensor, targets: Tensor):
        super().__init__()
        twin = copies(rival.model, None)[0]
        for module in twin.modules():
            module.training = False  # whatever the model makes of eval()
        weights = {name: p for name, p in twin.named_parameters() if p.requires_grad}
        with undisturbed():
            self.layers = self.calls = []
            with self:
                outputs = twin(inputs)
            self.calls = []  # those of the loss
            with self:
                loss = rival.loss_fn(outputs, targets).mean()
            learnt = list(weights.values()) if loss.requires_grad else []
            gradients = torch.autograd.grad(loss, learnt, allow_unused=True, materialize_grads=True) if learnt else []
        self.weights = {name: p.detach() for name, p in weights.items()}
        zeros = {name: torch.zeros_like(p) for name, p in self.weights.items()}
        self.gradients = zeros | dict(zip(weights, gradients, strict=False))
        self.kernels = [name for name, p in self.weights.items() if p.ndim > 1]
        self.takes_logits = any(call.name in WITH_LOGITS for call in self.calls)  # in Keras' words: from_logits

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name = function_name(function)
        before = args[0].detach().clone() if name in self.NAMES else None  # it may be changed in place
        output = function(*args, **(kwargs or {}))
        if before is not None:
            self.calls.append(Layer(name, before, output.detach(), (kwargs or {}).get("p", *args[1:2])))
        return output


def finite(*tensors: Tensor) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in tensors)


def share(condition: Tensor) -> float:
    return condition.float().mean().item()


def exceeds_one(inputs: Tensor) -> bool:
    return bool(inputs.min() < -1 or inputs.max() > 1)


def zero_or_not_finite(number: float) -> bool:
    return not math.isfinite(number) or number == 0


# ---- published rules


class AutoTrainer(Rival):
    """The five problems of version 1; needs accuracies and a validation set.

    Zhang, Zhai, Ma, Shen: AUTOTRAINER, ICSE 2021; constants of shiningrain/AUTOTRAINER, AutoTrainer/utils (04f4033).
    What it repairs them with tells what they mean: other initialization, activations, optimizer, rate or batch.
    """

    MEANS = read_meanings("""
        explode: GROWS
        vanish: FADES DEAD
        relu: DEAD lr-too-high
        not_converge: STEPS-TOO-SHORT INIT NOT-TRAINED over-regularized
        unstable: STEPS-TOO-LONG init-too-large data-not-shuffled
    """)
    GAP, JUDGED_FROM = 3, 0.3  # epochs; their share

    def on_enter(self):
        self.hits, self.untrained, self.slow = set(), False, False  # none of these is ever taken back

    def on_epoch(self, inputs, targets):
        done = len(self.val_loss)
        if self.found or (done - 1) % self.GAP:
            return
        look = Look(self, inputs, targets)
        losses = torch.tensor([*self.train_loss, *self.val_loss])
        if not finite(losses, *look.weights.values(), *look.gradients.values()) or losses[-1] >= 1e5:
            return self.report("explode")
        first, last = (look.gradients[look.kernels[i]].norm().item() for i in (0, -1))
        ratio = first / last if last else math.nan
        zeros = torch.cat([gradient.flatten() == 0 for gradient in look.gradients.values()])
        hits = {"relu": share(zeros) >= 0.7, "explode": ratio > 70, "vanish": ratio < 1e-3 and first < 1e-4}
        self.hits |= {problem for problem, hit in hits.items() if hit}
        if done >= self.JUDGED_FROM * self.epochs:
            self.judge((self.train_accuracy, self.val_accuracy))

    def judge(self, accuracies):
        self.untrained |= any(max(series) < 0.7 for series in accuracies)
        self.slow |= max((b - a for series in accuracies for a, b in pairwise(series)), default=math.inf) < 0.01
        if self.untrained or self.slow:
            hit = next((problem for problem in ("relu", "explode", "vanish") if problem in self.hits), None)
            return self.report(*[hit] if hit else ["not_converge"] if self.slow else [])
        triples = [(a, b, c) for (a, b), (_, c) in pairwise(pairwise(self.train_accuracy))]
        highs, lows = ([b for a, b, c in triples if b == extreme(a, b, c)] for extreme in (max, min))
        swings = sum(high - low >= 0.03 for high, low in zip(highs, lows, strict=False))
        if swings >= 0.2 * len(self.train_accuracy):
            self.report("unstable")


CHAINS = read_lines("""
    out of range: output
    numerical: weights data rate activation
    dead: data weights rate missing-activation
    saturated: data weights rate missing-activation
    unchanged: weights rate optimizer
    invalid: activation
    not improving: weights data rate optimizer
    gradient numerical: loss-or-activation
    vanishing: rate layers
""")  # DeepDiagnosis: symptom and tests, of which the first that holds is the advice; the last one needs no test
ADVICE = read_meanings("""
    weights: INIT
    data: inputs-not-scaled noisy-inputs
    rate: STEPS-TOO-LONG STEPS-TOO-SHORT
    activation: FADES DEAD softmax-before-loss softmax-wrong-dim
    missing-activation: no-nonlinearity
    loss-or-activation: FADES DEAD OUTPUT
    output: OUTPUT
    optimizer: STEPS-TOO-LONG STEPS-TOO-SHORT NOT-TRAINED
    layers: FADES
""")
SYMPTOMS = read_meanings("""
    out of range: OUTPUT
    numerical: GROWS DEAD
    dead: DEAD
    saturated: SATURATED
    unchanged: NOT-TRAINED DEAD symmetric-init constant-inputs
    invalid: GROWS
    not improving: STEPS-TOO-SHORT
    gradient numerical: GROWS DEAD
    vanishing: FADES
""")


class DeepDiagnosis(Rival):
    """The first symptom, and where a chain of tests leads from it.

    Wardat, Cruz, Le, Rajan: DeepDiagnosis, ICSE 2022; constants of DeepDiagnosis/ICSE2022, callback/callbacks.py
    (500b017). Meant instead of the letter: weights and rates are tested on whole tensors (the code has only their
    means, so that "weights" cannot hold), and "not improving" gets its advice (the code raises). To the letter: an
    output of mean 0 is "numerical", before "dead"; "not improving" and "unchanged" ask for equal numbers. Translated: a
    linear last layer is right where the loss takes logits, and the data are judged by the first batch.
    """

    MEANS = {f"{s}: {a}": (*ADVICE[a], *SYMPTOMS[s]) for s, advice in CHAINS.items() for a in advice}  # noqa: RUF012
    WINDOW, LONG_WINDOW = 5, 20  # epochs

    def on_enter(self):
        self.windows = {}  # name of a number -> its values in the window

    def on_epoch(self, inputs, targets):
        if self.found:
            return
        look = Look(self, inputs, targets)
        if symptom := next(self.symptoms(look, targets), None):
            variances = [look.weights[name].var() for name in look.kernels]
            lr = self.optimizer.param_groups[0]["lr"]
            rates = [lr * look.gradients[name].norm() / look.weights[name].norm() for name in look.kernels]
            holds = {
                "weights": any(v < 1e-5 or v > 10 for v in variances),
                "data": exceeds_one(inputs),
                "rate": any(r > 0.1 or r < 1e-5 for r in rates),
            }
            *tests, otherwise = CHAINS[symptom]
            self.report(f"{symptom}: {next((test for test in tests if holds[test]), otherwise)}")

    def unchanged(self, name: str, value: float, window: int = WINDOW) -> bool:
        """Keep a value, and tell at the end of each window whether all in it are equal."""
        values = [*self.windows.get(name, []), value]
        full = len(values) == window
        self.windows[name] = [] if full else values
        return full and len(set(values)) == 1

    def symptoms(self, look: Look, targets: Tensor):
        epoch, loss, accuracy = len(self.train_loss), self.train_loss[-1], self.train_accuracy[-1]
        if epoch == 1 and self.out_of_range(look, targets):
            yield "out of range"
        means = [layer.after.mean().item() for layer in look.layers]
        for layer, mean in zip(look.layers, means, strict=True):
            if zero_or_not_finite(mean):
                yield "numerical"
            if layer.name == "relu" and epoch == self.epochs and share(layer.after <= 0) >= 0.7:
                yield "dead"
            if layer.name in ("sigmoid", "tanh") and epoch % self.WINDOW == 0 and share(layer.before.abs() >= 5) > 0.5:
                yield "saturated"
        if True in [self.unchanged(f"layer {number}", mean) for number, mean in enumerate(means[:-1])]:
            yield "unchanged"
        if not math.isfinite(loss) or zero_or_not_finite(accuracy):
            yield "invalid"
        if self.unchanged("loss", loss) or self.unchanged("accuracy", accuracy, self.LONG_WINDOW):
            yield "not improving"
        dense = [name for name in reversed(look.kernels) if look.weights[name].ndim == 2]
        for name in dense:
            if zero_or_not_finite(look.gradients[name].mean().item()):
                yield "gradient numerical"
            if look.gradients[name].abs().mean() < 1e-7:
                yield "vanishing"
            if zero_or_not_finite(look.weights[name].mean().item()):
                yield "numerical"
        named = [(n, t[n].mean().item()) for n in dense for t in (look.gradients, look.weights)]
        if True in [self.unchanged(f"{number} {name}", mean) for number, (name, mean) in enumerate(named)]:
            yield "unchanged"

    def out_of_range(self, look: Look, targets: Tensor) -> bool:
        last, labels = look.layers[-1], targets.max() - targets.min()
        linear = last.name in LAYERS
        if "softmax" in last.name or (linear and look.takes_logits):
            return False
        if {"cross_entropy", "nll_loss"} & {call.name for call in look.calls}:
            return linear or last.name == "relu"
        low, high = BOUNDS.get(last.name, (0, math.inf))
        spread = last.after.max() - last.after.min()
        return bool(spread > 10 * labels if linear else targets.min() < low or targets.max() > high)


class Umlaut(Rival):
    """Heuristics that all run; critical messages come first, then errors, then warnings.

    Schoop, Huang, Hartmann: UMLAUT, CHI 2021; BerkeleyHCI/umlaut, umlaut/heuristics.py (e9d9998). Translated: a loss
    such as cross_entropy is one `from_logits`; an activation is missing where a layer with weights follows another
    without any between them, as in PyTorch it is a module of its own. As there, a final softmax is never too much.
    """

    MEANS = read_meanings("""
        NaN in input: nan
        missing softmax: OUTPUT
        missing activation functions: no-nonlinearity
        input exceeds typical limits: inputs-not-scaled noisy-inputs
        image shape: inputs-not-scaled constant-inputs
        input is not float: inputs-not-scaled
        last layer is nonlinear: OUTPUT DEAD
        dropout above 0.5: dropout-too-high
        learning rate is high: lr-too-high
        learning rate is low: lr-too-low
        possible overfitting: TESTS-WORSE
        check validation accuracy: train-test-mismatch not-in-eval-mode dropout-too-high
    """)

    def on_epoch(self, inputs, targets):
        epoch, lr = len(self.train_loss) - 1, self.optimizer.param_groups[0]["lr"]
        val_accuracy, ahead = self.val_accuracy[-1], self.val_accuracy[-1] - self.train_accuracy[-1]
        fell, rose = (numbers[-2:] for numbers in (self.train_loss, self.val_loss))
        rules = {
            "NaN in input": math.isnan(self.train_loss[-1]) and bool(inputs.isnan().any()),
            "input exceeds typical limits": exceeds_one(inputs),
            "image shape": inputs.ndim == 4 and inputs.shape[2] != inputs.shape[3],
            "input is not float": not inputs.is_floating_point(),
            "learning rate is high": lr > 0.01,
            "learning rate is low": lr < 1e-7,
            "possible overfitting": rose[0] < rose[-1] and fell[-1] <= fell[0],
            "check validation accuracy": epoch >= 3 and (val_accuracy > 0.95 or ahead > 0.05),
        }
        if epoch == 0:
            rules |= self.structure(Look(self, inputs, targets))
        self.report(*(message for message, holds in rules.items() if holds))

    def structure(self, look: Look) -> dict[str, bool]:
        """Judge what is there before training."""
        names = [layer.name for layer in look.layers if layer.name not in DROPOUT]
        rates = [layer.rate for layer in look.layers[:-1] if layer.name in DROPOUT]
        softmax = "softmax" in names[-1]
        return {
            "missing softmax": not softmax and not look.takes_logits,
            "missing activation functions": any(a in LAYERS and b in LAYERS for a, b in pairwise(names)),
            "last layer is nonlinear": names[-2 if softmax else -1] not in LAYERS,
            "dropout above 0.5": any(rate > 0.5 for rate in rates),
        }


# ---- published packages, as they are installed


class Package(Rival):
    """What a package says of a run. Raises ImportError where it is not installed."""

    NAME, VERSION = "", ""  # on PyPI, and the one that was tried
    MODULES: tuple[str, ...] = ()

    @classmethod
    def missing(cls) -> str:
        """Return in one line why the package cannot run here, or nothing."""
        try:
            for module in cls.MODULES:
                importlib.import_module(module)
            version = importlib.metadata.version(cls.NAME)
        except ImportError as error:
            return f"{error}: pip install {cls.NAME}=={cls.VERSION}"
        return "" if version == cls.VERSION else f"{cls.NAME} {version} is installed, but {cls.VERSION} was tried"

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.modules = [importlib.import_module(module) for module in self.MODULES]

    def on_enter(self):
        self.rows, self.norms, self.hooks = [], {}, []
        known = [p for p in self.model.parameters() if p.requires_grad]
        self.hooks = [p.register_post_accumulate_grad_hook(self.note_gradient) for p in known]
        self.begin()

    def note_gradient(self, p):
        self.norms[p] = p.grad.norm()  # right after the backward pass, where packages want to be asked

    def on_step(self, loss):
        norm = torch.stack(list(self.norms.values())).norm().item() if self.norms else 0.0
        self.rows.append({"loss": loss, "lr": self.optimizer.param_groups[0]["lr"], "grad_norm": norm})
        self.norms = {}
        self.log(self.rows[-1])

    def on_epoch(self, inputs, targets):
        self.rows[-1]["val_loss"] = self.val_loss[-1]

    def on_exit(self):
        for hook in self.hooks:
            hook.remove()
        self.report(*self.judge())

    def alarms(self):
        return list(self.found)  # in the order of the package

    def numbers(self) -> list[tuple[int, str, float]]:
        return [(step, name, value) for step, row in enumerate(self.rows, 1) for name, value in row.items()]

    def begin(self): ...

    def log(self, row: dict[str, float]): ...

    def judge(self) -> list[str]: ...


class TorchMortem(Package):
    """A report after the run, from hooks and one call a step."""

    NAME, VERSION, MODULES = "torchmortem", "0.1.1", ("torchmortem",)
    MEANS = read_meanings("""
        Training divergence detected: GROWS loss-sign
        Exploding gradients detected: GROWS
        Update ratio too high: STEPS-TOO-LONG
        Weight norm explosion: STEPS-TOO-LONG loss-sign init-too-small
        Vanishing gradients detected: FADES DEAD
        Gradient stalling: FADES DEAD layer-frozen
        Dead units: DEAD lr-too-high
        Activation saturation: SATURATED
        Update ratio too low: STEPS-TOO-SHORT FADES layer-frozen
        Stagnant weight norms: NOT-TRAINED STEPS-TOO-SHORT FADES
        Inter-layer weight norm imbalance: INIT
        Rank collapse: over-regularized dropout-too-high symmetric-init
        High gradient noise (low SNR): LABELS noisy-inputs
        Loss plateau detected: STEPS-TOO-SHORT NOT-TRAINED
    """)

    def begin(self):
        if any(getattr(module, "inplace", False) for module in self.model.modules()):
            raise ValueError("its backward hooks do not allow modules that work in place")
        self.autopsy = self.modules[0].Autopsy(self.model, optimizer=self.optimizer)
        self.autopsy.attach()

    def log(self, row):
        self.autopsy.step(loss=row["loss"])

    def judge(self):
        self.autopsy.detach()
        atexit.unregister(self.autopsy._atexit_handler)  # it would keep every model until the end of the process
        findings = self.autopsy.get_report().findings
        return [finding.title.split(" in ")[0] for finding in findings if finding.severity.name != "INFO"]


class GradSnitch(Package):
    """Rules GS001 to GS010 on loss, gradient norm, rate and update ratio of each step."""

    NAME, VERSION, MODULES = "gradsnitch", "0.1.0", ("gradsnitch",)
    MEANS = read_meanings("""
        Loss became NaN/Inf: GROWS
        Gradient norm exploded (inf): GROWS
        Gradient-norm spike: GROWS noisy-inputs
        Train/val divergence (overfitting): TESTS-WORSE
        Loss plateau (no early progress): STEPS-TOO-SHORT INIT DEAD NOT-TRAINED FADES LABELS constant-inputs
        Loss divergence (sustained rise): GROWS loss-sign
        Vanishing gradients: FADES DEAD lr-too-low
        LR too high (update/weight ratio): STEPS-TOO-LONG
        LR too low (update/weight ratio): STEPS-TOO-SHORT NOT-TRAINED
        Loss oscillation (growing amplitude): STEPS-TOO-LONG
        LR schedule collapsed early: lr-too-low
    """)

    def begin(self):
        self.monitor = self.modules[0].watch(self.model, self.optimizer)

    def log(self, row):
        self.monitor.log(self.steps, row["loss"], grad_norm=row["grad_norm"])

    def judge(self):
        log = self.monitor.df().assign(val_loss=[row.get("val_loss", math.nan) for row in self.rows])
        findings = sorted(self.modules[0].lint(log), key=lambda finding: finding.severity != "error")
        return [finding.name for finding in findings]


class TrainingDoctor(Package):
    """Five detectors that are asked after each step; the surest of the most severe comes first."""

    NAME, VERSION, MODULES = "training-doctor", "0.1.0", ("training_doctor",)
    MEANS = read_meanings("""
        Learning rate likely too high: STEPS-TOO-LONG nan
        Learning rate may be too low: STEPS-TOO-SHORT constant-inputs
        Training plateau detected: LABELS noisy-inputs lr-too-high
        Overfitting detected: TESTS-WORSE
        Gradient instability detected: GROWS FADES DEAD
    """)

    def begin(self):
        self.doctor = self.modules[0].Doctor()

    def log(self, row):
        self.doctor.log(step=self.steps, **row)

    def on_epoch(self, inputs, targets):
        super().on_epoch(inputs, targets)
        self.doctor.log(step=self.steps, eval_loss=self.val_loss[-1])

    def judge(self):
        order = ["critical", "warning"]
        said = [diagnosis for diagnosis in self.doctor.diagnoses if diagnosis.severity.value in order]
        return [d.problem for d in sorted(said, key=lambda d: (order.index(d.severity.value), -d.confidence))]


class RunMedic(Package):
    """Checks of a log of loss, validation loss, rate and gradient norm."""

    NAME, VERSION = "runmedic", "0.1.1"
    MODULES = ("runmedic.model", "runmedic.roles", "runmedic.checks")
    MEANS = read_meanings("""
        non_finite: GROWS
        divergence: GROWS data-not-shuffled over-regularized
        no_learning: NOT-TRAINED STEPS-TOO-SHORT labels-shuffled constant-inputs DEAD symmetric-init
        overfitting: TESTS-WORSE
        loss_spikes: STEPS-TOO-LONG LABELS noisy-inputs
        grad_spikes: GROWS noisy-inputs
    """)

    def judge(self):
        model, roles, checks = self.modules
        run = model.Run("run", "memory", "")
        for step, name, value in self.numbers():
            run.get(name).add(step, value)
        run.finalize()
        return [finding.check for finding in checks.run_checks(run, roles.detect(run)) if finding.severity != "info"]


class TrainSpotter(Package):
    """Detectors on a log of loss, validation loss and gradient norm; given rates, it asks every run for a warm-up."""

    NAME, VERSION, MODULES = "trainspotter", "0.2.6", ("trainspotter",)
    MEANS = read_meanings("""
        Diverged (non-finite values): GROWS
        Diverged (sustained growth): GROWS loss-sign data-not-shuffled
        Loss spike: STEPS-TOO-LONG noisy-inputs LABELS
        Overfitting onset: TESTS-WORSE
        Gradient-norm explosion: GROWS noisy-inputs
        Eval metric too noisy to rank checkpoints: not-in-eval-mode
    """)

    def judge(self):
        run, called = self.modules[0].Run(), {"loss": "train/loss", "val_loss": "eval/loss", "grad_norm": "grad_norm"}
        for step, name, value in self.numbers():
            if name in called:
                run.add_point(called[name], step, value)
        run.finalize()
        return [finding.title for finding in self.modules[0].run_all(run) if finding.severity != "info"]


PACKAGES = {rival.NAME: rival for rival in (TorchMortem, GradSnitch, TrainingDoctor, RunMedic, TrainSpotter)}
RIVALS = {
    "always alarm": AlwaysAlarm,
    "loss curve only": LossCurve,
    "AutoTrainer": AutoTrainer,
    "DeepDiagnosis": DeepDiagnosis,
    "UMLAUT": Umlaut,
    **PACKAGES,
}
