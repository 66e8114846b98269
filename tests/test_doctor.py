"""Each rule of the doctor on a broken and on a sound run, what its report says, and that it leaves the loop alone."""

import ast
import copy
import itertools
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, nll_loss

from doctor import CAUSES, Doctor, Outcome, checks
from doctor.causes import CAUSES as VOCABULARY
from doctor.changes import Change
from doctor.diagnose import find_symptoms
from doctor.evidence import Evidence, Symptom
from doctor.measure import as_drawn
from doctor.rules import RULES
from doctor.sandbox import Interventions

ROOT = Path(__file__).parents[1]
CLASSES, STEPS = 4, 110  # a little more than the doctor's patience


def images(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images (N, 1, 8, 8) around one smooth pattern a class, and their labels."""
    rng = torch.Generator().manual_seed(0)
    patterns = nn.functional.interpolate(torch.randn(CLASSES, 1, 3, 3, generator=rng), 8, mode="bicubic")
    rng.manual_seed(seed)
    labels = torch.randint(CLASSES, (count,), generator=rng)
    smooth = nn.functional.interpolate(torch.randn(count, 1, 3, 3, generator=rng), 8, mode="bicubic")
    return patterns[labels] + 0.7 * smooth, labels


def mlp(activation=nn.ReLU, hidden=(24, 24), outputs=CLASSES, dropout=0.0, end=()) -> nn.Sequential:
    layers = [nn.Flatten()]
    for fan_in, fan_out in itertools.pairwise((64, *hidden)):
        layers += [nn.Linear(fan_in, fan_out), activation()] + [nn.Dropout(dropout)] * bool(dropout)
    return nn.Sequential(*layers, nn.Linear(hidden[-1], outputs), *end)


def drawn(model: nn.Module, function) -> nn.Module:
    """Apply a function of weights in place."""
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim > 1:
                function(p)
    return model


@dataclass
class Run:
    """An ordinary loop; a broken one differs in some field."""

    model: nn.Module = field(default_factory=mlp)
    loss_fn: object = cross_entropy
    optimizer: object = None  # from a model
    rate: float = 0.2
    train: tuple = field(default_factory=lambda: images(600, 1))
    test: tuple = field(default_factory=lambda: images(300, 2))
    sort: bool = False
    balanced: bool = False
    zero_grad: bool = True
    clear: bool = False  # gradients between backward and step
    sign: float = 1.0
    clip: float = math.inf
    outlier: float = 1.0
    evaluate: str = "eval"
    batch: int = 32
    drift: float = 1.0  # factor of the inputs from step to step
    gamma: float = 1.0  # factor of the rate from step to step
    restore: bool = False  # the weights of step 10 at the end
    metric: Callable = lambda outputs: None

    def go(self, every: int = 4) -> Doctor:
        make = self.optimizer or (lambda model: torch.optim.SGD(model.parameters(), self.rate))
        optimizer, rng = make(self.model), torch.Generator().manual_seed(3)
        with Doctor(self.model, self.loss_fn, optimizer, every) as doctor:
            for step in range(STEPS):
                index = torch.randint(len(self.train[0]), (self.batch,), generator=rng)
                if self.sort:
                    index = torch.arange(32) + (5 * step) % (len(self.train[0]) - 32)
                x, y = (part[index] for part in self.train)
                if self.zero_grad:
                    optimizer.zero_grad()
                x = x if self.outlier == self.drift == 1 else x * (self.outlier if step == 30 else self.drift**step)
                (self.sign * doctor.loss_fn(self.model(x), y)).backward()
                nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
                if self.clear:
                    optimizer.zero_grad()
                optimizer.step()
                if step == 10:
                    kept = self.model.state_dict()
                for group in optimizer.param_groups:
                    group["lr"] *= self.gamma
            if self.restore:
                self.model.load_state_dict(kept)
            self.model.train(self.evaluate == "train")
            with torch.no_grad():
                self.metric(self.model(self.test[0]))
            self.model.train()
        return doctor

    def report(self):
        return self.go().report(probe=self.train, test=self.test)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def changed(run: Run, **parts) -> Run:
    """Return the run with functions applied to its training inputs or labels."""
    x, y = run.train
    run.train = parts.get("inputs", lambda x: x)(x), parts.get("labels", lambda y: y)(y)
    return run


def some_optimizer(layers):
    return lambda model: torch.optim.SGD([p for i in layers for p in model[i].parameters()], 0.2)


def frozen(model, *layers) -> nn.Module:
    for i in layers:
        model[i].requires_grad_(False)
    return model


def colored(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images whose axes (H, W, C) became (C, H, W) by view."""
    x, y = images(300, seed)
    x = x * torch.tensor([1.0, -1.0, 0.5]).view(3, 1, 1)
    return x.permute(0, 2, 3, 1).reshape(x.shape), y


def marked(model) -> nn.Module:
    """Freeze a layer as does not work."""
    model[1].requires_grad = False
    return model


def rare(run: Run) -> Run:
    """Keep 1 in 30 samples of all classes but one."""
    x, y = images(3000, 1)
    keep = (y == 0) | (torch.arange(len(y)) % 30 == 0)
    run.train = x[keep], y[keep]
    return run


class Times(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return self.factor * x


def amplified() -> nn.Module:
    model = mlp(hidden=(24,) * 6, activation=lambda: nn.Sequential(nn.ReLU(), Times(5.0)))
    return drawn(model, nn.init.kaiming_normal_)


def with_biases(model: nn.Module, value: float) -> nn.Module:
    for layer in list(model)[1:-1]:
        if isinstance(layer, nn.Linear):
            nn.init.constant_(layer.bias, value)
    return model


def noise(x):
    return x + 4 * torch.randn(x.shape, generator=torch.Generator().manual_seed(5))


def noisy_labels(y):
    rng = torch.Generator().manual_seed(6)
    return torch.where(torch.rand(len(y), generator=rng) < 0.6, torch.randint(CLASSES, y.shape, generator=rng), y)


def spoiled(x):
    x = x.clone()
    x[:5, 0, 0, 0] = math.nan
    return x


def squared_index(outputs, targets):
    return (outputs.squeeze(1) - targets).square().mean()


class Apply(nn.Module):
    """A function as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class InAList(nn.Module):
    """Its hidden layers are in a plain list."""

    def __init__(self):
        super().__init__()
        self.hidden = [nn.Linear(64, 24)] + [nn.Linear(24, 24) for _ in range(3)]
        self.last = nn.Linear(24, CLASSES)

    def forward(self, x):
        x = x.flatten(1)
        for layer in self.hidden:
            x = layer(x).relu()
        return self.last(x)


class LastState(nn.Module):
    """Reads word indices (B, T), and tells a class from the state after the last of them."""

    def __init__(self):
        super().__init__()
        self.words, self.rnn, self.last = nn.Embedding(9, 8), nn.RNN(8, 16, batch_first=True), nn.Linear(16, CLASSES)

    def forward(self, x):
        return self.last(self.rnn(self.words(x))[0][:, -1])


def as_numbers(run: Run, targets) -> Run:
    """Return the run with a squared error of one output and numbers (N, 1) that `targets` makes of labels."""
    run.loss_fn = nn.functional.mse_loss
    run.train, run.test = ((x, targets(y.float())[:, None]) for x, y in (run.train, run.test))
    return run


def words(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return word indices (N, 30) that begin with one of CLASSES words, 0 from a random place on, and the class."""
    rng = torch.Generator().manual_seed(seed)
    x, y = torch.randint(5, 9, (count, 30), generator=rng), torch.randint(CLASSES, (count,), generator=rng)
    x[:, 0] = y + 1
    return x * (torch.arange(30) < torch.randint(2, 8, (count, 1), generator=rng)), y


def leaky(count: int, seed: int, leak: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return tables (N, 8), of which one column is the target or noise, and targets (N, 1)."""
    rng = torch.Generator().manual_seed(seed)
    x, noise = (torch.randn(count, n, generator=rng) for n in (8, 1))
    y = 0.5 * x[:, :1] + torch.randn(count, 1, generator=rng)
    x[:, 7:] = leak * y + (1 - leak) * noise
    return x, y


def two_terms(outputs, targets):
    return (outputs - targets).square().mean() + 10 * outputs.square().sum()


def batch_normalized(depth: int) -> nn.Module:
    return mlp(lambda: nn.Sequential(nn.BatchNorm1d(24), nn.ReLU()), (24,) * depth)


def with_momentum(model: nn.Module, momentum: float) -> nn.Module:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.momentum = momentum
    return model


def pictures_of_others(run: Run) -> Run:
    """Let a network give back images, of which each has another one for a target."""
    run.loss_fn, x = nn.functional.mse_loss, run.train[0]
    run.train, run.test = (x, x.roll(1, 0).flatten(1)), (run.test[0], run.test[0].flatten(1))
    return run


def some_images_again(run: Run) -> Run:
    run.train = tuple(part[:16].repeat(40, *[1] * (part.ndim - 1)) for part in run.train)
    return run


BROKEN = {
    "graph-cut": lambda: Run(mlp(end=[Apply(lambda x: x.detach().requires_grad_())])),
    "module-not-registered": lambda: Run(InAList()),
    "left-in-eval-mode": lambda: Run(batch_normalized(12).eval()),
    "shape-broadcast": lambda: changed(as_numbers(Run(mlp(outputs=1)), lambda y: y), labels=lambda y: y[:, 0]),
    "sigmoid-before-loss": lambda: replace(
        as_numbers(Run(mlp(outputs=1, end=[nn.Sigmoid()])), lambda y: (y > 1).float()),
        loss_fn=nn.functional.binary_cross_entropy_with_logits,
    ),
    "activation-on-output": lambda: as_numbers(Run(mlp(outputs=1, end=[nn.Tanh()]), rate=0.02), lambda y: 2.1 * y),
    "schedule-collapsed": lambda: Run(rate=0.01, gamma=0.8),
    "loss-terms-unbalanced": lambda: replace(
        as_numbers(Run(mlp(outputs=1), rate=1e-3), lambda y: 0.7 * y), loss_fn=two_terms
    ),
    "samples-mixed": lambda: Run(mlp().insert(0, Apply(lambda x: x.reshape(64, -1).T))),
    "batchnorm-small-batch": lambda: Run(batch_normalized(4), batch=2, rate=0.05),
    "targets-not-scaled": lambda: as_numbers(Run(mlp(outputs=1), rate=1e-3), lambda y: 1e4 * y),
    "inputs-drift": lambda: Run(drift=1.1, rate=0.01),
    "target-leak": lambda: Run(
        nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1)),
        nn.functional.mse_loss,
        train=leaky(600, 1, 1.0),
        test=leaky(300, 2, 0.0),
    ),
    "padding-not-masked": lambda: Run(LastState(), train=words(600, 1), test=words(300, 2)),
    "repeated-samples": lambda: some_images_again(Run()),
    "data-mispaired": lambda: pictures_of_others(Run(mlp(outputs=64))),
    "weights-not-copied": lambda: Run(restore=True),
    "class-weights-wrong": lambda: replace(
        rare(Run()), loss_fn=nn.CrossEntropyLoss(torch.tensor([1.0, *[0.03] * (CLASSES - 1)]))
    ),
    "batchnorm-stats-stale": lambda: Run(with_biases(with_momentum(batch_normalized(2), 1e-4), 5.0)),
    "gradients-not-zeroed": lambda: Run(zero_grad=False),
    "no-optimizer-step": lambda: Run(clear=True),
    "parameters-not-in-optimizer": lambda: Run(optimizer=lambda model: torch.optim.SGD(mlp().parameters(), 0.2)),
    "layer-frozen": lambda: Run(frozen(drawn(mlp(), lambda p: p.mul_(0.1)), 5)),
    "layer-not-frozen": lambda: Run(marked(mlp())),
    "clip-too-tight": lambda: Run(clip=1e-3),
    "not-in-eval-mode": lambda: Run(mlp(dropout=0.5), evaluate="train"),
    "lr-too-high": lambda: Run(rate=30.0),
    "lr-too-low": lambda: Run(rate=2e-4),
    "over-regularized": lambda: Run(optimizer=lambda m: torch.optim.SGD(m.parameters(), 0.2, weight_decay=0.5)),
    "softmax-before-loss": lambda: Run(mlp(end=[nn.Softmax(1)])),
    "softmax-wrong-dim": lambda: Run(mlp(end=[nn.LogSoftmax(0)]), nll_loss),
    "wrong-loss": lambda: Run(loss_fn=nll_loss, rate=0.02),
    "loss-sign": lambda: Run(sign=-1.0),
    "loss-summed": lambda: Run(loss_fn=nn.CrossEntropyLoss(reduction="sum")),
    "symmetric-init": lambda: Run(with_biases(drawn(mlp(), lambda p: p.fill_(0.1)), 0.0)),
    "init-too-large": lambda: Run(drawn(mlp(), lambda p: p.mul_(30))),
    "init-too-small": lambda: Run(drawn(mlp(), lambda p: p.mul_(0.01))),
    "dead-relu-at-init": lambda: Run(with_biases(mlp(), -20.0)),
    "vanishing-gradient": lambda: Run(drawn(mlp(nn.Sigmoid, (24,) * 7), nn.init.xavier_normal_)),
    "exploding-gradient": lambda: Run(amplified()),
    "saturated-activations": lambda: Run(with_biases(mlp(nn.Tanh), 8.0)),
    "dead-relu": lambda: Run(outlier=1000.0),
    "no-nonlinearity": lambda: Run(mlp(nn.Identity)),
    "dropout-too-high": lambda: Run(mlp(dropout=0.95)),
    "inputs-not-scaled": lambda: changed(Run(), inputs=lambda x: 255 * x),
    "axes-scrambled": lambda: Run(
        nn.Sequential(nn.Flatten(), nn.LazyLinear(CLASSES)), train=colored(1), test=colored(2)
    ),
    "noisy-inputs": lambda: changed(Run(), inputs=noise),
    "constant-inputs": lambda: changed(Run(), inputs=torch.zeros_like),
    "train-test-mismatch": lambda: Run(test=(2 - images(300, 2)[0], images(300, 2)[1])),
    "labels-shuffled": lambda: changed(Run(), labels=lambda y: y.roll(1)),
    "label-noise": lambda: changed(Run(), labels=noisy_labels),
    "data-not-shuffled": lambda: Run(
        train=tuple(part[images(600, 1)[1].argsort()] for part in images(600, 1)), sort=True
    ),
    "class-imbalance": lambda: rare(Run()),
    "metric-wrong": lambda: Run(metric=lambda outputs: outputs.argmax(0)),
    "nan": lambda: changed(Run(), inputs=spoiled),
}


def test_one_rule_for_each_cause_of_the_vocabulary():
    causes = [rule.cause for rule in RULES]
    assert len(set(causes)) == len(causes) and set(causes) == set(CAUSES) == set(VOCABULARY)
    assert set(CAUSES) == set(BROKEN)
    assert all(cause.definition.endswith(".") and cause.fix.endswith(".") for cause in VOCABULARY.values())


def test_rules_presuppose_what_can_be_looked_up_before_them():
    """Named causes exist, none presupposes itself, and what the loop shows never waits for the probe."""
    rules = {rule.cause: rule for rule in RULES}
    assert set(TopologicalSorter({rule.cause: rule.unless for rule in RULES}).static_order()) == set(rules)
    assert all(rule.probe or not rules[other].probe for rule in RULES for other in rule.unless)


@pytest.mark.parametrize("cause", ["init-too-large", "vanishing-gradient", "noisy-inputs", "gradients-not-zeroed"])
def test_the_order_of_rules_does_not_change_what_is_found(cause, monkeypatch):
    """As long as no experiments are made, of which the first that wins is the last."""
    doctor = BROKEN[cause]().go()
    found = [find_symptoms(Evidence(doctor.watch))]
    monkeypatch.setattr("doctor.diagnose.RULES", RULES[::-1])
    found.append(find_symptoms(Evidence(doctor.watch)))
    assert found[0] == found[1] and any(isinstance(result, Symptom) for result in found[0].values())


@pytest.mark.filterwarnings("ignore:Using a target size")  # torch's own, which the loop has asked for
@pytest.mark.parametrize("cause", BROKEN)
def test_a_broken_run_gets_its_cause_named_first(cause):
    report = BROKEN[cause]().report()
    assert [finding.cause for finding in report.findings][:1] == [cause], report
    found = report.findings[0]
    assert found.fix == VOCABULARY[cause].fix and found.evidence and 0 <= found.step <= STEPS
    assert not report.healthy and not any("stopped" in check.text for check in report.checks), report


class OneWeight(nn.Sequential):
    """Attention of which each weight is alone in its softmax."""

    def __init__(self):
        super().__init__(nn.Linear(8, 1), nn.Linear(8, CLASSES))

    def forward(self, x):
        rows = x[:, 0]
        return self[1]((self[0](rows).softmax(-1) * rows).sum(1))


class NeighborsJoined(nn.Sequential):
    """Two states of each sample, brought side by side as if the batch came first."""

    def __init__(self):
        super().__init__(nn.Linear(64, 24), nn.Linear(24, CLASSES))

    def forward(self, x):
        first, second = self[0](x.flatten(1)).tanh().chunk(2, 1)
        return self[1](torch.stack([first, second]).reshape(len(x), -1))


class Writer(nn.Module):
    """Tells at each place the next word from the words so far, or from those that follow, too."""

    def __init__(self, both: bool):
        super().__init__()
        self.words, self.rnn = nn.Embedding(9, 16), nn.GRU(16, 16, batch_first=True, bidirectional=both)
        self.last = nn.Linear(32 if both else 16, 9)

    def forward(self, x):
        return self.last(self.rnn(self.words(x))[0])


def of_positions(outputs, targets):
    return cross_entropy(outputs.flatten(0, 1), targets.flatten())


def writer(both: bool) -> Run:
    run = Run(Writer(both), of_positions, optimizer=lambda model: torch.optim.Adam(model.parameters(), 1e-2))
    texts = (torch.randint(9, (600, 1)) + torch.arange(8) * torch.randint(1, 3, (600, 1))) % 9
    run.train = run.test = texts[:, :-1], texts[:, 1:]
    return run


def hinge(outputs, labels):
    return (1 - labels * outputs).clamp(min=0).mean()


def drowned(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return noisy images (N, 1, 8, 8) and a class for each pixel, of which 1 in 64 is somewhat brighter."""
    rng = torch.Generator().manual_seed(seed)
    classes = (torch.arange(64) == torch.randint(64, (count, 1), generator=rng)).long().view(-1, 8, 8)
    return classes[:, None] + 0.5 * torch.randn(count, 1, 8, 8, generator=rng), classes


class Remembers(nn.Module):
    """Adds to its outputs, ten times, what it gave for the batch before."""

    def __init__(self):
        super().__init__()
        self.body, self.last = mlp(), None

    def forward(self, x):
        found = self.body(x)
        last, self.last = self.last, found.detach()
        return found if last is None or len(last) != len(found) else found + 10 * last


def overlap(outputs, masks):
    """The Dice coefficient, which is 1 where all is right."""
    shares = outputs.sigmoid()
    return (2 * (shares * masks).sum() + 1) / (shares.sum() + masks.sum() + 1)


def masked(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return noisy images and masks, float (N, 1, 8, 8), of the bright half."""
    masks = (images(count, seed)[0] > 0).float()
    return masks + 0.3 * images(count, seed + 10)[0], masks


class ScoredBySigmoid(nn.Module):
    """Cross-entropy of what went through a sigmoid, in a loss of two parts."""

    def forward(self, outputs, labels):
        return cross_entropy(torch.sigmoid(outputs), labels) + 1e-3 * outputs.square().mean()


def share_of_guesses(outputs, labels):
    """A part of the loss counts guesses, which no gradient passes."""
    wrong = (outputs.argmax(1) != labels).float().mean()
    return cross_entropy(outputs, labels) + wrong


def divergence_of_probabilities(outputs, labels):
    wanted = nn.functional.one_hot(labels, CLASSES).float()
    return nn.functional.kl_div(outputs.softmax(1), 0.9 * wanted + 0.1 / CLASSES, reduction="batchmean")


def swapped(outputs, labels):
    return nn.functional.binary_cross_entropy_with_logits(nn.functional.one_hot(labels, CLASSES).float(), outputs)


OTHERWISE_BROKEN = {
    "a sigmoid within the loss": ("sigmoid-before-loss", lambda: Run(loss_fn=ScoredBySigmoid())),
    "guesses in the loss": ("graph-cut", lambda: Run(loss_fn=share_of_guesses)),
    "no logarithm": ("wrong-loss", lambda: Run(loss_fn=divergence_of_probabilities)),
    "targets first": ("wrong-loss", lambda: Run(loss_fn=swapped, clip=1.0, rate=1e-3)),
    "the last layer left out": ("parameters-not-in-optimizer", lambda: Run(optimizer=some_optimizer([1, 3]))),
    "a rate of nothing": ("schedule-collapsed", lambda: Run(gamma=0.7)),
    "a state that is kept": ("samples-mixed", lambda: Run(Remembers())),
    "an overlap that is minimized": (
        "loss-sign", lambda: Run(nn.Conv2d(1, 1, 1), overlap, train=masked(600, 1), test=masked(300, 2), rate=0.5)
    ),
    "a softmax of one": ("softmax-wrong-dim", lambda: Run(OneWeight())),
    "neighbors joined": ("samples-mixed", lambda: Run(NeighborsJoined())),
    "a view of the next word": ("target-leak", lambda: writer(both=True)),
    "hinge loss of 0 and 1": (
        "wrong-loss", lambda: replace(as_numbers(Run(mlp(outputs=1)), lambda y: (y > 1).float()), loss_fn=hinge)
    ),
    "classes numbered anew": (
        "train-test-mismatch", lambda: Run(test=(images(300, 2)[0], (images(300, 2)[1] + 1) % CLASSES))
    ),
    "hardly a pixel": (
        "class-imbalance",
        lambda: Run(nn.Conv2d(1, 2, 1), train=drowned(600, 1), test=drowned(300, 2), rate=0.5),
    ),
    "tiny batches": (
        "batchnorm-small-batch",
        lambda: Run(with_momentum(batch_normalized(2), 1.0), batch=2, rate=0.05),
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", OTHERWISE_BROKEN)
def test_other_kinds_of_a_cause_are_named_first(kind):
    cause, run = OTHERWISE_BROKEN[kind]
    report = run().report()
    assert [finding.cause for finding in report.findings][:1] == [cause], report


class Repeater(nn.Module):
    """Gives words back."""

    def __init__(self):
        super().__init__()
        self.words, self.last = nn.Embedding(9, 16), nn.Linear(16, 9)

    def forward(self, x):
        return self.last(self.words(x))


def test_padding_that_the_loss_counts_is_a_note_and_no_class_imbalance():
    x, _ = words(600, 1)
    report = Run(Repeater(), of_positions, train=(x, x), test=(x, x)).report()
    found = {check.cause: check for check in report.checks}
    assert "the loss counts them" in found["padding-not-masked"].text, report
    assert found["class-imbalance"].outcome is Outcome.SKIPPED


def test_a_writer_that_sees_no_later_word_is_sound():
    assert writer(both=False).report().healthy


def test_steps_of_usual_length_are_not_too_short_where_it_learns():
    """What has not trained to its end would learn faster at ten times the rate."""
    report = Run(rate=0.01).report()
    assert "lr-too-low" in [check.cause for check in report.checks_with(Outcome.NOTE)] and report.healthy, report


def test_the_usual_decay_of_adamw_is_no_cause():
    run = Run(optimizer=lambda model: torch.optim.AdamW(model.parameters(), 1e-3))
    report = changed(run, labels=lambda y: y.roll(1)).go().report()
    assert report.impaired and "over-regularized" not in [finding.cause for finding in report.findings], report


# What some want: a note, as long as it learns.
MEANT = {
    "parameters-not-in-optimizer": lambda: Run(optimizer=some_optimizer([3, 5])),
    "layer-frozen": lambda: Run(frozen(mlp(), 3)),
    "wrong-loss": lambda: Run(mlp(outputs=1), squared_index, rate=0.02),
    "not-in-eval-mode": lambda: Run(mlp(dropout=0.01), evaluate="train"),
}


@pytest.mark.parametrize("cause", MEANT)
def test_what_may_be_meant_is_a_note(cause):
    report = MEANT[cause]().report()
    assert report.healthy and cause in [check.cause for check in report.checks_with(Outcome.NOTE)], report


class Convolutions(nn.Sequential):
    def __init__(self):
        filters = [nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.Flatten()]
        super().__init__(*filters, nn.Linear(216, 32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, CLASSES))


SOUND = {
    "MLP": lambda: Run(),
    "tanh": lambda: Run(mlp(nn.Tanh)),
    "log_softmax": lambda: Run(mlp(end=[nn.LogSoftmax(1)])),
    "CNN": lambda: Run(Convolutions(), nn.CrossEntropyLoss()),
    "Adam": lambda: Run(optimizer=lambda model: torch.optim.Adam(model.parameters(), 5e-3)),
    "two rates": lambda: Run(
        optimizer=lambda m: torch.optim.SGD(
            [{"params": m[1].parameters(), "lr": 0.1}, {"params": m[3:].parameters()}], 0.2
        )
    ),
    "label smoothing": lambda: Run(loss_fn=nn.CrossEntropyLoss(label_smoothing=0.1)),
}


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_run_has_no_finding_with_experiments_and_without(name):
    run = SOUND[name]()
    doctor = run.go()
    for report in (doctor.report(), doctor.report(probe=run.train, test=run.test)):
        assert report.healthy and not report.impaired, report
        assert [check.cause for check in report.checks] == [rule.cause for rule in RULES]
        assert not any("stopped" in check.text for check in report.checks), report
    assert not doctor.watch.errors


def test_without_a_probe_checks_say_what_they_need():
    report = Run().go().report()
    skipped = {check.cause: check.text for check in report.checks if check.outcome is Outcome.SKIPPED}
    need_data = {rule.cause for rule in RULES if rule.probe} - {"batchnorm-stats-stale"}  # there is no batch norm
    assert {cause for cause, text in skipped.items() if text.startswith("It needs data: report(probe=")} == need_data


@pytest.mark.parametrize(
    "cause", ["gradients-not-zeroed", "no-optimizer-step", "softmax-before-loss", "loss-sign", "graph-cut"]
)
def test_exact_faults_are_told_after_two_steps(cause, monkeypatch):
    reports = []

    class Asked(Doctor):
        def __init__(self, model, *args):
            model.register_forward_pre_hook(lambda *_: reports.append(self.report()) if len(reports) < 3 else None)
            super().__init__(model, *args)

    monkeypatch.setitem(globals(), "Doctor", Asked)
    monkeypatch.setitem(globals(), "STEPS", 3)
    BROKEN[cause]().go()
    assert not reports[0].findings and reports[2].findings[0].cause == cause, reports[2]


def test_the_report_reads_as_text_and_as_html():
    report = BROKEN["softmax-before-loss"]().go().report()
    text, html = repr(report), report._repr_html_()
    for part in ("1 finding", "softmax-before-loss", "Leave the softmax out of the model", "from step 0 on"):
        assert part in text and part in html
    assert max(map(len, text.splitlines())) <= 100
    assert "<details>" in html and html.count("<tr>") == len(RULES) + 1
    assert repr(Run().go().report()).startswith("No finding.")


def test_a_saved_report_is_one_page_that_replaces_the_older_one(tmp_path):
    report = BROKEN["softmax-before-loss"]().go().report()
    page = report.save(tmp_path / "report.html")
    text = page.read_text(encoding="utf-8")
    assert "softmax-before-loss" in text and report.findings[0].fix in text
    assert VOCABULARY["softmax-before-loss"].code in text and "<svg" in text and "Not judged" in text
    assert not any(part in text for part in ("http", "src=", "<link"))
    Run().go().report().save(page)
    assert "No finding." in page.read_text(encoding="utf-8") and [*tmp_path.iterdir()] == [page]
    with pytest.raises(OSError):
        report.save(tmp_path / "missing" / "report.html")


def test_a_page_shows_what_the_experiment_came_to():
    report = BROKEN["lr-too-low"]().report()
    assert all(text in report.findings[0].pictures for text in ("|change| / |weight|", "trained anew", "with rate x"))


class NoGradients(nn.Sequential):
    @torch.no_grad()
    def forward(self, x):
        return super().forward(x)


@pytest.mark.parametrize("pretrained", [False, True])
def test_first_layers_without_gradients_are_a_finding_where_they_are_random_still(pretrained):
    """A backbone that somebody has trained may be left as it is, one that nobody has trained may not."""
    body, head = NoGradients(nn.Flatten(), nn.Linear(64, 24), nn.ReLU()), nn.Linear(24, CLASSES)
    if pretrained:
        nn.init.normal_(body[1].weight, std=0.1)
    report = Run(nn.Sequential(body, head)).go().report()
    assert [finding.cause for finding in report.findings] == ([] if pretrained else ["graph-cut"])
    assert "graph-cut" in {check.cause for check in report.checks_with(Outcome.NOTE)} or not pretrained


def test_weights_as_drawn_are_told_from_trained_ones():
    layers = [nn.Linear(10, 20), nn.Conv2d(3, 8, 3), nn.Embedding(50, 8), nn.Linear(64, 24)]
    assert all(as_drawn(layer.weight) for layer in layers)
    assert not any(as_drawn(0.1 * torch.randn(20, 10) + 0.02 * torch.rand(20, 10)) for _ in range(20))
    assert not as_drawn(torch.rand(2, 2))


def test_weights_that_are_copied_and_put_back_are_in_order():
    class Kept(nn.Sequential):
        def state_dict(self, *args, **kwargs):
            return copy.deepcopy(super().state_dict(*args, **kwargs))

    assert Run(Kept(*mlp()), restore=True).go().report().healthy


def test_impaired_without_a_cause_is_said():
    report = Run(loss_fn=lambda outputs, targets: (0 * outputs).sum()).report()
    assert "does not learn" in report.headline or report.findings


def state(model, optimizer):
    parts = [*model.state_dict().values(), *[p.grad for p in model.parameters()], torch.get_rng_state()]
    parts += [value for s in optimizer.state.values() for value in s.values() if isinstance(value, torch.Tensor)]
    return copy.deepcopy(parts)


@pytest.mark.parametrize("loss_fn", [cross_entropy, None])
def test_a_report_in_the_middle_does_not_watch_its_own_experiments(loss_fn):
    """What it trains and judges on copies are no passes, losses or backward passes of the loop."""
    model, (x, y) = mlp(), images(600, 1)
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    with Doctor(model, loss_fn, optimizer) as doctor:
        for _ in range(3):
            optimizer.zero_grad()
            (doctor.loss_fn or nn.functional.cross_entropy)(model(x[:32]), y[:32]).backward()
            optimizer.step()
        before = doctor.watch.count.copy()
        doctor.report(probe=(x, y))
        assert doctor.watch.count == before
        optimizer.zero_grad()
        (doctor.loss_fn or nn.functional.cross_entropy)(model(x[:32]), y[:32]).backward()
        optimizer.step()
        assert doctor.watch.passes[-1].batches_since_step == 1 and len(doctor.watch.passes) == 4


@pytest.mark.parametrize("make", [mlp, Convolutions])
def test_a_report_in_the_middle_changes_nothing(make):
    states = []
    for ask in (False, True):
        torch.manual_seed(0)
        model = make()
        optimizer, (x, y) = torch.optim.Adam(model.parameters(), 1e-2), images(200, 1)
        with Doctor(model, cross_entropy, optimizer) as doctor:
            for step in range(8):
                optimizer.zero_grad()
                doctor.loss_fn(model(x), y).backward()
                if ask and step in (0, 5):
                    doctor.report(probe=(x, y), test=(x, y))
                optimizer.step()
        states.append(state(model, optimizer))
    assert all(map(torch.equal, *states))


def test_a_loss_that_knows_the_model_keeps_its_gradients():
    model, (x, y) = mlp(), images(200, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def penalized(outputs, targets):
        return cross_entropy(outputs, targets) + 1e-4 * sum(p.square().sum() for p in model.parameters())

    with Doctor(model, penalized, optimizer) as doctor:
        doctor.loss_fn(model(x), y).backward()
        before = [p.grad.clone() for p in model.parameters()]
        doctor.report(probe=(x, y))
        assert all(map(torch.equal, before, [p.grad for p in model.parameters()]))


def test_nothing_watched_is_said():
    model = mlp().eval()
    doctor = Doctor(model, cross_entropy, torch.optim.SGD(model.parameters(), 0.1))
    report = doctor.report()
    assert not report.healthy and {check.outcome for check in report.checks} == {Outcome.SKIPPED}
    assert "call the model itself" in report.checks[0].text


def test_a_loss_that_is_not_watched_is_said():
    model, (x, y) = mlp(), images(64, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with Doctor(model, cross_entropy, optimizer) as doctor:
        cross_entropy(model(x), y).backward()
        optimizer.step()
    assert any("call doctor.loss_fn" in check.text for check in doctor.report().checks)


def test_bad_data_get_one_clear_sentence():
    doctor = Run().go()
    with pytest.raises(ValueError, match="599 targets"):
        doctor.report(probe=(images(600, 1)[0], images(599, 1)[1]))
    with pytest.raises(ValueError, match="50 samples"):
        doctor.report(probe=images(50, 1))
    with pytest.raises(ValueError, match="every"):
        Doctor(mlp(), cross_entropy, torch.optim.SGD([torch.zeros(1)], 0.1), every=0)


def test_what_watching_cannot_do_stands_in_the_report(monkeypatch):
    def broken(*_):
        raise ArithmeticError("for the test")

    monkeypatch.setattr("doctor.watch.score_outputs", broken)
    report = Run().go().report()
    assert "ArithmeticError: for the test" in repr(report)


class Pair(nn.Module):
    """Takes two inputs."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(128, CLASSES)

    def forward(self, a, b):
        return self.layer(torch.cat([a.flatten(1), b.flatten(1)], 1))


def test_a_model_of_several_inputs_is_judged_without_experiments():
    model, (x, y) = Pair(), images(200, 1)
    optimizer = torch.optim.SGD(model.parameters(), 1e-6)
    with Doctor(model, cross_entropy, optimizer) as doctor:
        for _ in range(STEPS):
            optimizer.zero_grad()
            doctor.loss_fn(model(x, x), y).backward()
            optimizer.step()
    report = doctor.report(probe=(x, y))
    assert [finding.cause for finding in report.findings] == ["lr-too-low"], report
    assert "its experiment stopped with TypeError" in report.findings[0].evidence


# ---- experiments


def test_a_copy_starts_like_the_watched_model_and_keeps_what_was_not_trained():
    run = Run(frozen(mlp(), 1))
    doctor = run.go()
    lab = Interventions(doctor.watch, run.train)
    model, optimizer = lab.first_model(Change(rate=0.1))
    assert torch.equal(model[1].weight, run.model[1].weight)
    assert not torch.equal(model[3].weight, run.model[3].weight)
    assert model[3].weight.std().item() == pytest.approx(doctor.watch.weights[2].std, rel=0.2)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.02) and not optimizer.state
    assert all(p.requires_grad for p in lab.first_model(Change(trained="all"))[0].parameters())


def test_a_change_says_what_it_is():
    assert str(Change()) == "an ordinary loop" and str(Change(rate=0.1, inputs="scaled")) == "rate x 0.1, scaled inputs"


def test_regression_is_judged_by_its_loss():
    x, _ = images(400, 1)
    y = x.flatten(1)[:, :1] * 2 + 0.1
    sound = Run(mlp(outputs=1), nn.MSELoss(), rate=0.05, train=(x, y), test=(x[:50], y[:50]))
    assert sound.report().healthy
    low = Run(mlp(outputs=1), nn.MSELoss(), rate=1e-6, train=(x, y), test=(x[:50], y[:50]))
    assert low.report().findings[0].cause == "lr-too-low"


def test_a_regression_is_not_judged_as_classes():
    """Neither of real numbers nor of whole ones, though these could be class indices."""
    x, _ = images(400, 1)
    for y in (torch.randn(400, 1), 3 * torch.randint(6, (400,))):
        run = Run(mlp(outputs=1), lambda out, y: (out.flatten() - y.flatten()).square().mean(), rate=0.01, train=(x, y))
        found = {check.cause: check for check in run.go().report(probe=run.train).checks}
        assert found["labels-shuffled"].outcome is Outcome.SKIPPED and "class" in found["labels-shuffled"].text


# ---- loops


def causes_of(step, *, steps=12, size=32, every=1, model=None, optimizer=None, data=None) -> list[str]:
    """Return the causes found in a loop of `step(model, loss_fn, optimizer, inputs, targets)`."""
    model, (x, y), rng = model or mlp(), data or images(600, 1), torch.Generator().manual_seed(3)
    optimizer = optimizer(model.parameters()) if optimizer else torch.optim.SGD(model.parameters(), 0.1)
    with Doctor(model, cross_entropy, optimizer, every) as doctor:
        for _ in range(steps):
            index = torch.randint(len(x), (size,), generator=rng)
            step(model, doctor.loss_fn, optimizer, x[index], y[index])
    assert not doctor.watch.errors
    return [finding.cause for finding in doctor.report().findings]


def ordinary(model, loss_fn, optimizer, x, y):
    optimizer.zero_grad()
    loss_fn(model(x), y).backward()
    optimizer.step()


def mixup(model, loss_fn, optimizer, x, y):
    optimizer.zero_grad()
    outputs = model(0.7 * x + 0.3 * x.flip(0))
    (0.7 * loss_fn(outputs, y) + 0.3 * loss_fn(outputs, y.flip(0))).backward()
    optimizer.step()


def two_passes(model, loss_fn, optimizer, x, y):
    optimizer.zero_grad()
    (loss_fn(model(x), y) + loss_fn(model(x.flip(3)), y)).backward()
    optimizer.step()


def attacked(model, loss_fn, optimizer, x, y):
    """Train on inputs that are made worse along their gradient."""
    x = x.clone().requires_grad_()
    loss_fn(model(x), y).backward()
    ordinary(model, loss_fn, optimizer, (x + 0.01 * x.grad.sign()).detach(), y)


def sharpness_aware(model, loss_fn, optimizer, x, y):
    """Take the gradient at weights that were moved up along theirs."""
    optimizer.zero_grad()
    loss_fn(model(x), y).backward()
    moves = [1e-3 * p.grad for p in model.parameters()]
    with torch.no_grad():
        torch._foreach_add_(list(model.parameters()), moves)
    optimizer.zero_grad()
    loss_fn(model(x), y).backward()
    with torch.no_grad():
        torch._foreach_sub_(list(model.parameters()), moves)
    optimizer.step()


def by_closure(model, loss_fn, optimizer, x, y):
    def closure():
        optimizer.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        return loss

    optimizer.step(closure)


def accumulated(model, loss_fn, optimizer, x, y):
    optimizer.zero_grad()
    for part in range(4):
        (loss_fn(model(x[part::4]), y[part::4]) / 4).backward()
    optimizer.step()


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("step", [ordinary, mixup, two_passes, attacked, sharpness_aware, accumulated])
def test_unusual_loops_that_step_have_no_finding(step, every):
    assert causes_of(step, every=every) == []


def test_a_converged_optimizer_that_steps_by_closure_has_no_finding():
    x, y = images(64, 1)
    data = x[:1].repeat(2, 1, 1, 1) + 0.01 * x[:2], y[:1].repeat(2)
    found = causes_of(by_closure, steps=30, optimizer=lambda p: torch.optim.LBFGS(p, max_iter=5), data=data)
    assert "no-optimizer-step" not in found and "gradients-not-zeroed" not in found


def without_step(model, loss_fn, optimizer, x, y):
    optimizer.zero_grad()
    loss_fn(model(x), y).backward()


def cleared_between(model, loss_fn, optimizer, x, y):
    """Accumulate over four batches, but clear the gradients for each."""
    for part in range(4):
        without_step(model, loss_fn, optimizer, x[part::4], y[part::4])
    optimizer.step()


@pytest.mark.parametrize("step", [without_step, cleared_between])
def test_gradients_that_no_step_uses_are_told_long_before_learning_should_show(step):
    assert causes_of(step, steps=3) == ["no-optimizer-step"]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_small_batches_drawn_at_random_are_shuffled(size):
    x, y = images(600, 1)
    for steps in (3, 6, 60):
        assert "data-not-shuffled" not in causes_of(ordinary, size=size, steps=steps, data=(x, y % 2))


def test_a_loss_of_nan_is_impaired_learning_from_the_first_pass_on():
    x, y = images(600, 1)
    model = mlp()
    with Doctor(model, cross_entropy, torch.optim.SGD(model.parameters(), 0.1)) as doctor:
        doctor.loss_fn(model(x) / 0 * 0, y).backward()
    report = doctor.report()
    assert "finite" in report.impaired and [finding.cause for finding in report.findings] == ["nan"]


def test_nan_in_one_batch_of_inputs_is_the_first_finding_of_a_report_without_data():
    model, (x, y) = mlp(), images(600, 1)
    x[70, ..., 3] = math.nan  # in the third batch
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with Doctor(model, cross_entropy, optimizer) as doctor:
        for batch in torch.arange(600).split(32):
            optimizer.zero_grad()
            doctor.loss_fn(model(x[batch]), y[batch]).backward()
            optimizer.step()
    first, *_ = doctor.report().findings
    assert (first.cause, first.step) == ("nan", 2) and "input" in first.evidence


# ---- the package


def test_the_doctor_imports_nothing_but_torch_and_numpy():
    """As it is loaded: pandas is imported where a table is shown."""
    allowed = {"doctor", "torch", "numpy", *sys.stdlib_module_names}
    for path in (ROOT / "doctor").rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [name.name for name in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            assert {name.split(".")[0] for name in names} <= allowed, path


def test_a_single_check_needs_no_pandas(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    checks._table_class.cache_clear()
    with pytest.raises(ModuleNotFoundError, match="pip install pandas"):
        checks.run(nn.Linear(3, 2), nn.CrossEntropyLoss(), None)
    assert checks.gradient_flow(mlp(), cross_entropy, images(200, 1)).verdict is checks.Status.PASSES


def test_an_installation_brings_the_doctor_alone():
    tomllib, setuptools = pytest.importorskip("tomllib"), pytest.importorskip("setuptools")
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    find = settings["tool"]["setuptools"]["packages"]["find"]
    assert not find.pop("namespaces")
    folders = {path.parent.relative_to(ROOT).as_posix() for path in (ROOT / "doctor").rglob("__init__.py")}
    assert set(setuptools.find_packages(ROOT, **find)) == {folder.replace("/", ".") for folder in folders}
    required = {requirement.split(">=")[0] for requirement in settings["project"]["dependencies"]}
    assert required == {"torch", "numpy"}
