"""What holds on the CPU holds with CUDA: monitor, checks, doctor, logbook, study and ensemble. `.ci/gpu` runs these."""

import copy

import joblib
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from doctor import Doctor, checks
from doctor.evidence import Evidence
from doctor.rules import RULES
from helpers import ensemble, session, sweep
from helpers.logbook import Logbook, read
from helpers.monitor import TorchMonitor

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")]

DEVICE = torch.device("cuda")
CLASSES, SIDE, STEPS = 4, 8, 110  # steps: a little more than the doctor's patience


def images(count, seed):
    """Return images (N, 1, 8, 8) around one smooth pattern a class, and their labels, on the GPU."""
    rng = torch.Generator().manual_seed(0)
    patterns = nn.functional.interpolate(torch.randn(CLASSES, 1, 3, 3, generator=rng), SIDE, mode="bicubic")
    rng.manual_seed(seed)
    labels = torch.randint(CLASSES, (count,), generator=rng)
    noise = nn.functional.interpolate(torch.randn(count, 1, 3, 3, generator=rng), SIDE, mode="bicubic")
    return (patterns[labels] + 0.7 * noise).to(DEVICE), labels.to(DEVICE)


def network(*extra):
    """Return a network of two hidden layers, each followed by what `extra` makes; the same weights each time."""
    torch.manual_seed(0)
    layers = [nn.Flatten()]
    for fan_in, fan_out in ((SIDE**2, 24), (24, 24)):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU(), *(make() for make in extra)]
    return nn.Sequential(*layers, nn.Linear(24, CLASSES)).to(DEVICE)


def batches(x, y, steps):
    rng = torch.Generator().manual_seed(3)
    for _ in range(steps):
        index = torch.randint(len(x), (32,), generator=rng).to(x.device)
        yield x[index], y[index]


def train(model, steps=20, after_step=lambda loss: None):
    """Train with SGD; return the losses, still on the GPU."""
    optimizer, losses = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9), []
    for x, y in batches(*images(600, 1), steps):
        optimizer.zero_grad()
        loss = cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
        after_step(loss)
    return losses


# ---- helpers


def test_monitor_changes_nothing_and_keeps_copies_on_the_cpu():
    extra = lambda: nn.Dropout(0.3), lambda: nn.BatchNorm1d(24)
    plain, watched = network(*extra), network(*extra)
    torch.manual_seed(1)
    losses = train(plain)
    after = torch.cuda.get_rng_state()
    torch.manual_seed(1)
    with TorchMonitor(watched) as monitor:

        def note(loss):
            monitor.retrieve_weights_after_optimization_step()
            monitor.receive_losses(loss, loss / 2)

        watched_losses = train(watched, after_step=note)
    assert torch.equal(torch.stack(watched_losses), torch.stack(losses))
    assert torch.equal(torch.cuda.get_rng_state(), after)
    assert monitor.train_losses == [loss.item() for loss in losses]
    recorded = [*monitor.weights.values(), *monitor.net_values.values(), *monitor.activations.values()]
    assert {tensor.device.type for tensors in recorded for tensor in tensors} == {"cpu"}
    assert torch.equal(monitor.weights["1"][-1], watched[1].weight.cpu())
    assert torch.equal(monitor.activations["2"][5], monitor.net_values["2"][5].relu())


def test_logbook_writes_what_is_on_the_gpu(tmp_path):
    model = network()
    first = model[1].weight.detach().clone()
    with Logbook(tmp_path, every=2) as log:
        log.watch(model)
        losses = train(model, steps=4, after_step=lambda loss: log.step(32, loss=loss))
        log.activations({"by hand": torch.eye(3, device=DEVICE)}, bounds=(0, 1))
        log.images("digit", images(1, 1)[0])
        log.evaluation(accuracy=torch.tensor(0.5, device=DEVICE))
    found = read(tmp_path)
    assert found["loss/train"].values == pytest.approx([loss.item() for loss in losses[::2]])
    assert found["weight_norm/01_1.weight"].values[0] == pytest.approx(first.norm().item())
    assert found["activation/03_2"].values[1][1].sum() == 32 * 24  # counts of a histogram
    assert found["accuracy/validation"].values.tolist() == [0.5]
    assert found["activation_zeros/01_by_hand"].values == pytest.approx([2 / 3])
    assert found["digit"].values[0].shape[:2] == (SIDE, SIDE)


def trial(config, seed):
    """Train on the device of the session; the results are those of any process."""
    (result,) = ensemble.train([{"lr": config["lr"], "epochs": 1}], seed, blobs(session.device()))
    return {"loss": result["val_loss"], "device": session.device().type}


@pytest.mark.parametrize("n_jobs", [None, 1])  # the processes that a study takes by itself, and this one
def test_study_trains_on_the_gpu_in_its_processes(n_jobs, tmp_path, monkeypatch):
    monkeypatch.setattr(session, "folder", lambda name: tmp_path / name)
    with joblib.parallel_config(n_jobs=n_jobs):
        table = sweep.study("gpu", trial, sweep.grid(lr=[0.01, 0.1]), seeds=[0, 1])
    assert not table["error"].any(), table["error"].tolist()
    assert set(table["device"]) == {"cuda"}
    assert table["loss"].tolist() == pytest.approx([trial({"lr": lr}, s)["loss"] for lr in (0.01, 0.1) for s in (0, 1)])


def blobs(device):
    """Return 600 training and 200 validation vectors of 12 numbers in float64, and their labels of ten classes."""
    rng = torch.Generator().manual_seed(0)
    labels = torch.randint(10, (800,), generator=rng)
    vectors = torch.randn(10, 12, generator=rng, dtype=torch.float64)[labels]
    vectors += 0.7 * torch.randn(800, 12, generator=rng, dtype=torch.float64)
    return tuple(part.to(device) for part in (vectors[:600], labels[:600], vectors[600:], labels[600:]))


@pytest.mark.parametrize("activation", ensemble.ACTIVATIONS)
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_ensemble_gives_the_figures_of_the_cpu(activation, momentum):
    shared = {"activation": activation, "momentum": momentum, "hidden": (11, 9), "batch_size": 50}
    configs = [shared | own for own in ({"lr": 0.05}, {"lr": 0.02, "weight_decay": 0.1, "init": "xavier"})]
    ours, theirs = (ensemble.train(configs, 5, blobs(device)) for device in (DEVICE, "cpu"))
    for one, other in zip(ours, theirs, strict=True):
        assert one["val_loss_curve"] == pytest.approx(other["val_loss_curve"], rel=1e-6)
        assert one["train_loss_curve"] == pytest.approx(other["train_loss_curve"], rel=1e-6)


# ---- doctor


def own_step(model, loss_fn, optimizer, inputs, targets):
    optimizer.zero_grad()
    loss_fn(model(inputs), targets).backward()
    optimizer.step()


def accuracy(model, inputs, targets):
    model.eval()
    with torch.no_grad():
        return (model(inputs).argmax(1) == targets).float().mean()


def squares(model, strength):
    return strength * sum(p.square().sum() for p in model.parameters())


def convolutional():
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Tanh(), nn.MaxPool2d(2), nn.Flatten()
    return nn.Sequential(*layers, nn.Dropout(0.2), nn.Linear(8 * SIDE**2 // 4, CLASSES)).to(DEVICE)


@pytest.mark.parametrize("make", [network, convolutional])
def test_checks_of_a_sound_model_pass_and_leave_it_alone(make):
    model, data = make(), (*images(600, 1), *images(200, 2))
    optimizer = torch.optim.Adam(model.parameters())
    weights, random = copy.deepcopy(model.state_dict()), torch.cuda.get_rng_state()
    given = {"train_step": own_step, "evaluate": accuracy, "penalty": squares}
    table = checks.run(model, cross_entropy, data, optimizer, **given)
    assert not [row for row in table.itertuples() if "It stopped with" in row.advice]
    assert not [row for row in table.itertuples() if row.verdict is checks.Status.FIRES]
    assert (table.verdict == checks.Status.PASSES).sum() >= 25
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.cuda.get_rng_state(), random)


def test_check_fires_with_data_that_lie_on_the_cpu():
    x, y = images(600, 1)
    model = nn.Sequential(network(), nn.Softmax(1))
    assert checks.softmax_before_loss(model, cross_entropy, (x.cpu(), y.cpu())).fires


def watch(model=None, zero_grad=True, rate=0.2, home=DEVICE):
    """Return the doctor of a loop that brings the outputs to the device `home`, where the loss is computed."""
    model = model or network()
    optimizer = torch.optim.SGD(model.parameters(), rate)
    with Doctor(model, cross_entropy, optimizer, every=4) as doctor:
        for x, y in batches(*images(600, 1), STEPS):
            if zero_grad:
                optimizer.zero_grad()
            doctor.loss_fn(model(x).to(home), y.to(home)).backward()
            optimizer.step()
        accuracy(model, *images(300, 2))
        model.train()
    return doctor


def report_of(doctor):
    report = doctor.report(probe=images(600, 1), test=images(300, 2))
    assert not report.not_watched
    assert not [check for check in report.checks if "stopped with" in check.text]
    return report


@pytest.mark.parametrize("make", [network, convolutional])
def test_sound_loop_has_no_finding(make):
    report = report_of(watch(make()))
    assert report.healthy and not report.impaired, report


@pytest.mark.parametrize(
    ("cause", "broken"),
    [
        ("gradients-not-zeroed", {"zero_grad": False}),  # certain
        ("lr-too-low", {"rate": 2e-4}),  # proven by an experiment
    ],
)
def test_planted_fault_is_found(cause, broken):
    report = report_of(watch(**broken))
    assert [finding.cause for finding in report.findings][:1] == [cause], report


def test_experiments_run_on_the_gpu():
    trials = Evidence(watch(convolutional()).watch, images(600, 1), images(300, 2)).interventions
    for rule in RULES:
        for change in rule.proofs:
            assert 0 <= trials.score(change, rule.recall) <= 1
            assert trials.outputs(change, trials.held).device.type == DEVICE.type


def test_loss_may_be_computed_on_the_cpu():
    report = watch(home="cpu").report()
    assert report.healthy and not report.not_watched, report
