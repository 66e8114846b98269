"""What the doctor hears of evaluations: a metric that cannot be meant, other inputs; and a missing backward()."""

import pytest
import torch
from torch import nn

from doctor import Doctor

INPUTS = torch.randn(400, 8, generator=torch.Generator().manual_seed(0))
CLASSES = (INPUTS[:, 0] > 0).long() + (INPUTS[:, 1] > 0).long()
BINARY = (INPUTS[:, :1] > 0).float()
MANY = (INPUTS[:, :3] > 0).float()


def nothing(*_):
    return None


def loop(outputs: int, targets, loss_fn, metric=nothing, prepare=lambda x: x, backward=True, at_end=nothing):
    """Train for 120 steps with two evaluations at the end, within the watch; return the doctor."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, outputs))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    with Doctor(model, loss_fn, optimizer) as doctor:
        for step in range(120):
            index = torch.arange(50) + 50 * (step % 7)
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(INPUTS[index]), targets[index])
            if backward:
                loss.backward()
            optimizer.step()
        with torch.no_grad():
            for part in (slice(300, 360), slice(340, 400)):
                metric(model(prepare(INPUTS[part])), targets[part])
        at_end(doctor)
    return doctor


def causes(doctor: Doctor) -> list[str]:
    return [finding.cause for finding in doctor.report().findings]


CE, BCE = (3, CLASSES, nn.CrossEntropyLoss()), (3, MANY, nn.BCEWithLogitsLoss())
ONE = 1, BINARY, nn.BCEWithLogitsLoss()
WRONG = {
    "argmax over samples": (CE, lambda o, t: o.argmax(dim=0)),
    "argmax over all": (CE, lambda o, t: o.argmax() == t),
    "max over samples": (CE, lambda o, t: torch.max(o, 0)[1]),
    "logits above 1/2": (BCE, lambda o, t: (o > 0.5) == t),
    "logits rounded": (BCE, lambda o, t: torch.round(o) == t),
    "each with each": (ONE, lambda o, t: ((o > 0) == t.squeeze(1)).float().mean()),
}
RIGHT = {
    "argmax over classes": (CE, lambda o, t: o.argmax(-1, keepdim=True)),
    "the best sample of each class, too": (CE, lambda o, t: (o.argmax(1), o.argmax(0))),
    "the largest number": (CE, lambda o, t: o.max()),
    "sorted": (CE, lambda o, t: (o.topk(2), o.argmax(0))),
    "pairs of labels": (CE, lambda o, t: t[:, None] == t),
    "probabilities above 1/2": (BCE, lambda o, t: o.sigmoid() > 0.5),
    "logits above 0": (BCE, lambda o, t: o > 0),
    "scores above 1/2": ((3, MANY, nn.MSELoss()), lambda o, t: o > 0.5),
    "one with one": (ONE, lambda o, t: ((o > 0) == t).float().mean()),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_metric_that_cannot_be_meant_is_found(name):
    [task, metric] = WRONG[name]
    [finding] = loop(*task, metric).report().findings
    assert finding.cause == "metric-wrong" and finding.certain


@pytest.mark.parametrize("name", RIGHT)
def test_other_metrics_are_left_alone(name):
    [task, metric] = RIGHT[name]
    assert causes(loop(*task, metric)) == []


@pytest.mark.parametrize("prepare", [lambda x: 0.2 * x.abs(), lambda x: x / 255, lambda x: 1000 * x])
def test_inputs_that_only_evaluations_get_are_found(prepare):
    assert causes(loop(*CE, prepare=prepare)) == ["train-test-mismatch"]


@pytest.mark.parametrize("prepare", [lambda x: 0.5 * x, lambda x: x + 1, lambda x: 0 * x, torch.tanh])
def test_inputs_that_differ_a_little_or_are_nothing_are_left_alone(prepare):
    assert causes(loop(*CE, prepare=prepare)) == []


def test_a_loop_without_backward_is_told():
    [finding] = loop(*CE, backward=False).report().findings
    assert finding.cause == "no-optimizer-step" and "never called" in finding.evidence


def test_reports_within_the_watch_say_the_same_each_time():
    reports = []
    ask = lambda doctor: reports.extend(doctor.report(probe=(INPUTS, CLASSES)) for _ in range(2))  # noqa: E731
    loop(*CE, metric=lambda o, t: o.argmax(dim=0), at_end=ask)
    assert [[finding.cause for finding in report.findings] for report in reports] == [["metric-wrong"]] * 2


def test_nothing_listens_when_the_watch_ends():
    loop(*CE)
    assert torch._C._len_torch_function_stack() == 0


def test_samples_that_depend_on_those_before_are_mixed():
    """As with batch_first forgotten: the first sample of a batch depends on no other one."""

    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.cells, self.head = nn.GRU(8, 16), nn.Linear(16, 3)

        def forward(self, x):  # (B, 4, 8), of which B is taken for the time
            return self.head(self.cells(x)[0][:, -1])

    model, inputs = Recurrent(), INPUTS.view(100, 4, 8)
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    with Doctor(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for _ in range(110):
            optimizer.zero_grad()
            doctor.loss_fn(model(inputs), CLASSES[:100]).backward()
            optimizer.step()
    assert causes(doctor) == ["samples-mixed"]


@pytest.mark.parametrize("used", [True, False])
def test_averages_of_batch_norm_that_never_moved_are_found_where_it_is_used(used):
    model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))
    if not used:
        model.insert(1, nn.Identity())
        model[1].spare = model.pop(2)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with Doctor(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for _ in range(110):
            model.train()
            model[1].eval()  # as a whole backbone is, at times
            optimizer.zero_grad()
            doctor.loss_fn(model(INPUTS[:50]), CLASSES[:50]).backward()
            optimizer.step()
    assert causes(doctor) == ["batchnorm-stats-stale"] * used


def test_a_second_optimizer_is_no_missing_step():
    model, loss_fn = nn.Linear(8, 3), nn.CrossEntropyLoss()
    with Doctor(model, loss_fn, torch.optim.SGD(model.parameters(), 0.1)) as doctor:
        for _ in range(110):
            optimizer = torch.optim.SGD(model.parameters(), 0.1)
            optimizer.zero_grad()
            doctor.loss_fn(model(INPUTS[:50]), CLASSES[:50]).backward()
            optimizer.step()
    assert causes(doctor) == []
