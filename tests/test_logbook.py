"""What is written comes back, TensorBoard shows it, and neither NaN nor a cut-off file gets in the way."""

import errno
import json
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cross_entropy

from doctor.watch import Watch
from helpers import session
from helpers.logbook import Logbook, read, run_name

X = torch.rand(64, 6, generator=torch.Generator().manual_seed(0))
Y = torch.arange(64) % 3


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Dropout(0.5), nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))


def train(model, steps=4, log=None, batch=16):
    """Train with SGD and momentum; return the losses."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    losses = []
    for step in range(steps):
        part = slice(step * batch % 64, step * batch % 64 + batch)
        loss = cross_entropy(model(X[part]), Y[part])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if log:
            log.step(batch, loss=loss)
    return losses


@pytest.fixture
def run(tmp_path):
    """A run with something of every kind in it."""
    folder = tmp_path / run_name(fail=1, lr=0.5, seed=0)
    with Logbook(folder) as log:
        model = network()
        log.watch(model)
        train(model, log=log)
        log.evaluation(loss=1.25, accuracy=torch.tensor(0.5))
        log.images("digits", X[:4].reshape(4, 2, 3))
        log.images("one digit", X[:1].reshape(1, 2, 3))
        log.hyperparameters({"lr": 0.5, "act": "relu", "clip": None, "sizes": (5, 4)}, accuracy=0.5)
    return folder


def test_names_say_the_configuration():
    assert run_name(fail=1, init="he", lr=0.1, seed=0) == "fail-1_init-he_lr-0.1_seed-0"


def test_numbers_come_back_over_samples_and_steps(tmp_path):
    with Logbook(tmp_path) as log:
        losses = train(network(), log=log)
        log.evaluation(loss=1.25)
    found = read(tmp_path)
    assert found["loss/train"].values == pytest.approx(losses)
    assert found["loss/train"].samples.tolist() == [0, 16, 32, 48]
    assert found["loss/train"].steps.tolist() == [0, 1, 2, 3]
    assert [part.tolist() for part in found["loss/validation"]] == [[64], [4], [1.25]]


def test_layers_are_those_of_the_network(run):
    found = read(run)
    assert [tag for tag in found if tag.startswith("activation_std/")] == [
        f"activation_std/0{n + 1}_{n}" for n in range(6)
    ]
    model = network()
    weight = model[0].weight.detach().clone()
    with torch.no_grad():
        linear = model[0](X[:16])
    assert found["weight_norm/01_0.weight"].values[0] == pytest.approx(torch.linalg.norm(weight).item())
    assert found["activation_mean/01_0"].values[0] == pytest.approx(linear.mean().item())
    assert found["activation_p98/01_0"].values[0] == pytest.approx(np.percentile(linear, 98))
    assert found["activation_zeros/02_1"].values[0] == pytest.approx((linear <= 0).float().mean().item())
    assert found["activation_units_at_zero/02_1"].values[0] == pytest.approx(
        (linear <= 0).all(dim=0).float().mean().item()
    )
    assert "activation_saturated/05_4" in found and "activation_saturated/02_1" not in found
    edges, counts = found["activation/01_0"].values[0]
    assert counts.sum() == linear.numel() and edges[[0, -1]] == pytest.approx(
        [linear.min().item(), linear.max().item()]
    )


def test_update_is_the_real_step(tmp_path):
    model = network()
    with Logbook(tmp_path) as log:
        log.watch(model)
        for _ in range(3):  # with momentum it is not rate x gradient
            before = model[0].weight.detach().clone()
            optimizer_step(model)
            log.step(16)
    change = torch.linalg.norm(model[0].weight.detach() - before) / torch.linalg.norm(before)
    found = read(tmp_path)
    assert found["update_to_weight/01_0.weight"].values[-1] == pytest.approx(change.item())
    assert found["gradient_norm/01_0.weight"].values[-1] == pytest.approx(
        torch.linalg.norm(model[0].weight.grad).item()
    )


def optimizer_step(model):
    model.zero_grad()
    cross_entropy(model(X[:16]), Y[:16]).backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 0.1 * parameter.grad + 0.01


def test_network_by_hand_is_written_the_same_way(tmp_path):
    weight = torch.full((6, 3), 0.1, requires_grad=True)
    with Logbook(tmp_path) as log:
        logits = X @ weight
        cross_entropy(logits, Y).backward()
        log.activations({"logits": logits}, bounds=(-1, 1))
        log.parameters({"W": weight})
        gradient = weight.grad.clone()
        with torch.no_grad():
            weight -= 0.5 * weight.grad
        weight.grad = None
        log.step(64)
    found = read(tmp_path)
    assert found["gradient_norm/01_W"].values == pytest.approx(torch.linalg.norm(gradient).item())
    assert found["update_to_weight/01_W"].values == pytest.approx(
        (0.5 * torch.linalg.norm(gradient) / (0.1 * 18**0.5)).item()
    )
    assert {"activation_mean/01_logits", "activation_saturated/01_logits", "weight/01_W"} <= set(found)


def test_every_nth_step_beginning_with_the_first(tmp_path):
    with Logbook(tmp_path, every=3) as log:
        model = network()
        log.watch(model)
        train(model, steps=8, log=log)
        log.evaluation(loss=1.0)
    found = read(tmp_path)
    for tag in ("loss/train", "activation_std/01_0", "update_to_weight/01_0.weight"):
        assert found[tag].steps.tolist() == [0, 3, 6]
    assert found["loss/validation"].steps.tolist() == [8]  # evaluation does not wait


def test_watched_training_is_equal_to_the_last_bit(tmp_path):
    plain = network()
    losses = train(plain)
    watched = network()
    with Logbook(tmp_path) as log:
        log.watch(watched)
        assert train(watched, log=log) == losses
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), watched.parameters(), strict=True))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in watched.modules())


def test_evaluation_passes_are_not_written(tmp_path):
    model = network()
    with Logbook(tmp_path) as log:
        log.watch(model)
        model.eval()
        model(X)
        with pytest.warns(UserWarning, match="No pass of the watched model was seen: call the model"):
            log.step(64)
        log.step(64)  # once is enough
    assert set(read(tmp_path)) == {"step"}


def test_module_used_twice_has_two_tags(tmp_path):
    relu = nn.ReLU()
    model = nn.Sequential(nn.Linear(6, 6), relu, nn.Linear(6, 3), relu)
    with Logbook(tmp_path) as log:
        log.watch(model)
        train(model, steps=2, log=log)
    found = read(tmp_path)
    assert len(found["activation_std/02_1"].values) == len(found["activation_std/02_1_2"].values) == 2


def test_units_of_feature_maps_are_channels(tmp_path):
    maps = torch.ones(4, 2, 3, 3)
    maps[:, 0] = 0
    with Logbook(tmp_path) as log:
        log.activations({"conv": maps})
        log.step(4)
    assert read(tmp_path)["activation_units_at_zero/01_conv"].values == 0.5


def test_logbook_and_doctor_measure_the_same(tmp_path):
    model, loss_fn = network(), nn.CrossEntropyLoss()
    model[0].bias.data[:2] = -100
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    with Logbook(tmp_path) as log:
        log.watch(model)
        watch = Watch(model, loss_fn, optimizer)
        loss = loss_fn(model(X), Y)
        loss.backward()
        optimizer.step()
        log.step(64, loss=loss)
    [seen], found = watch.passes, read(tmp_path)
    watch.close()
    for update, (name, _) in zip(seen.updates, model.named_parameters(), strict=True):
        [ratio] = (series.values[0] for tag, series in found.items() if re.match(rf"update_to_weight/\d+_{name}", tag))
        assert update.ratio == pytest.approx(ratio, nan_ok=True)
    relu, tanh = (place for place in seen.places if place.kind == "activation")
    assert relu.dead_units == pytest.approx(found["activation_units_at_zero/02_1"].values[0]) == pytest.approx(0.6)
    assert relu.zero_fraction == pytest.approx(found["activation_zeros/02_1"].values[0])
    assert tanh.saturated == pytest.approx(found["activation_saturated/05_4"].values[0])


@pytest.mark.parametrize("bad", [1, 18])
def test_nan_and_inf_are_counted(tmp_path, bad):
    values = torch.linspace(-1, 1, 18).reshape(6, 3)
    values.view(-1)[:bad] = torch.tensor([float("nan"), float("inf"), -float("inf")]).repeat(6)[:bad]
    with Logbook(tmp_path) as log:
        for _ in range(2):
            log.activations({"h": values})
            log.step(6, loss=float("nan"))
    found = read(tmp_path)
    assert found["activation_not_finite/01_h"].values.tolist() == [bad, bad]
    assert np.isnan(found["loss/train"].values).all()
    if bad < 18:
        assert found["activation/01_h"].values[0][1].sum() == 18 - bad
    else:
        assert "activation/01_h" not in found


def test_images_come_back_and_their_scale(run):
    found = read(run)
    four, one = found["digits"], found["one_digit"]
    assert four.values[0].shape == (2, 12, 3) and one.values[0].shape == (2, 3, 3)  # four tiles in a row
    assert four.values[0].min() == 0 and four.values[0].max() == 255
    assert found["image_min/digits"].values == [X[:4].min().item()]
    assert found["image_max/digits"].values == [X[:4].max().item()]


def test_run_that_is_still_written_can_be_read(tmp_path):
    with Logbook(tmp_path) as log:
        for step in range(3):
            log.step(10, loss=step)
            assert read(tmp_path)["loss/train"].values.tolist() == list(range(step + 1))


@given(part=st.floats(0, 1))
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_cut_off_file_is_read_up_to_its_last_whole_entry(run, tmp_path_factory, part):
    [path] = run.glob("events*")
    content, cut_off = path.read_bytes(), tmp_path_factory.mktemp("cut") / path.name
    cut_off.write_bytes(content[: int(part * len(content))])
    whole, found = read(run), read(cut_off.parent)
    assert found.keys() <= whole.keys() and (found or part < 0.5)
    for tag, series in found.items():
        count = len(series.samples)
        assert 0 < count <= len(whole[tag].samples) and (series.samples == whole[tag].samples[:count]).all()
        for ours, theirs in zip(series.values, whole[tag].values, strict=False):
            np.testing.assert_equal(ours, theirs)
    if part == 1:
        assert found.keys() == whole.keys()


def test_damaged_file_is_read_up_to_there_with_a_warning(run):
    [path] = run.glob("events*")
    content = bytearray(path.read_bytes())
    middle = content.index(b"loss/train", len(content) // 2) - 30
    content[middle : middle + 40] = bytes(40)
    path.write_bytes(content)
    with pytest.warns(UserWarning, match="is damaged from byte"):
        found = read(run)
    assert 0 < len(found["loss/train"].values) < 4


def test_opening_a_run_again_replaces_it(tmp_path):
    for losses in ([3.0, 2.0], [1.0]):
        with Logbook(tmp_path) as log:
            for loss in losses:
                log.step(10, loss=loss)
    assert read(tmp_path)["loss/train"].values.tolist() == [1.0]


def test_run_that_is_begun_anew_while_it_is_written_is_the_new_one_alone(tmp_path):
    older = Logbook(tmp_path)
    older.step(10, loss=3)
    older.watch(model := network())
    with Logbook(tmp_path) as newer:
        assert not any(module._forward_hooks for module in model.modules())
        newer.step(10, loss=1)
        with pytest.raises(ValueError, match="closed, or is written by a newer Logbook: open a new one"):
            older.step(10, loss=2)
        older.close()
    assert len([*tmp_path.iterdir()]) == 1 and read(tmp_path)["loss/train"].values.tolist() == [1.0]


def test_files_of_an_older_logbook_are_closed_before_they_are_deleted(tmp_path, monkeypatch):
    """Windows deletes no file that is open."""
    older, unlink = Logbook(tmp_path), Path.unlink

    def unlink_as_windows(path, missing_ok=False):
        if not older._file.closed:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink_as_windows)
    Logbook(tmp_path).close()
    assert len([*tmp_path.iterdir()]) == 1


def denied(path, missing_ok=False):
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def test_file_that_another_process_holds_open_is_told(tmp_path, monkeypatch):
    Logbook(tmp_path).close()
    monkeypatch.setattr(Path, "unlink", denied)
    with pytest.raises(session.CannotSave, match=r"cannot be saved \(Permission denied\): make room or"):
        Logbook(tmp_path)


def test_two_models_are_both_written_and_the_same_twice_is_written_once(tmp_path):
    first, second = network(), nn.Linear(6, 3)
    with Logbook(tmp_path) as log:
        log.watch(first)
        log.watch(second)
        log.watch(first)  # as when a cell is run again
        cross_entropy(first(X) + second(X), Y).backward()
        log.step(64)
    found = read(tmp_path)
    assert "gradient/01_0.weight" in found and "weight/01_0.weight" in found
    assert {"gradient/07_weight", "weight/08_bias", "activation/07_"} <= found.keys()
    assert len(found["activation/01_0"].values) == 1 and "activation/01_0:2" not in found


def test_sparse_gradients_are_those_of_a_dense_one(tmp_path):
    torch.manual_seed(0)
    weights = torch.randn(9, 4)
    for sparse in (True, False):
        bag = nn.EmbeddingBag.from_pretrained(weights.clone(), freeze=False, sparse=sparse)
        with Logbook(tmp_path / str(sparse)) as log:
            log.watch(bag)
            bag(torch.tensor([[1, 2, 2], [4, 5, 1]])).square().sum().backward()
            torch.optim.SGD(bag.parameters(), 0.1).step()
            log.step(2)
    ours, theirs = (read(tmp_path / name) for name in ("True", "False"))
    assert ours.keys() == theirs.keys() and "gradient_norm/01_weight" in ours
    for tag in ("gradient_norm/01_weight", "update_to_weight/01_weight"):
        np.testing.assert_allclose(ours[tag].values, theirs[tag].values, rtol=1e-6)
    assert ours["gradient/01_weight"].values[0][1].sum() == 36


ODD = {
    "no dimension": lambda x: x.sum(),
    "empty": lambda x: x[:0],
    "sparse": lambda x: x.to_sparse(),
    "complex": lambda x: torch.view_as_complex(x.view(-1, 3, 2)),
    "whole numbers": lambda x: torch.arange(5),
    "boolean": lambda x: x > 0,
    "half precision": lambda x: x.bfloat16(),
    "without storage": lambda x: torch.zeros(3, 4, device="meta"),
}


@pytest.mark.parametrize("function", ODD.values(), ids=ODD)
@pytest.mark.filterwarnings("ignore:This pass is not recorded whole")
def test_loop_goes_on_whatever_a_layer_puts_out(function, tmp_path):
    class Layer(nn.Module):
        def forward(self, x):
            return function(x)

    class Model(nn.Sequential):
        def forward(self, x):
            self[1](x)
            return self[0](x)

    model = Model(nn.Linear(6, 3), Layer())
    with Logbook(tmp_path) as log:
        log.watch(model)
        train(model, log=log)
    assert len(read(tmp_path)["gradient_norm/01_0.weight"].values) == 4


@pytest.mark.parametrize("call", [lambda folder: Logbook(folder, every=0), read])
def test_bad_input_is_answered_in_a_sentence(tmp_path, call):
    with pytest.raises((ValueError, FileNotFoundError), match=r"give .*\.$"):
        call(tmp_path)


@pytest.fixture
def server(run):
    """A TensorBoard server; a function that asks it."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", run.parent, "--port", "0", "--load_fast=false"]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            address = next(word for line in process.stderr for word in line.split() if word.startswith("http://local"))

            def ask(path, body=None):
                request = urllib.request.Request(address + "data/" + path, data=body and json.dumps(body).encode())
                request.add_header("Content-Type", "application/json")
                with urllib.request.urlopen(request, timeout=60) as answer:
                    return json.load(answer)

            yield ask
        finally:
            process.kill()


def test_tensorboard_finds_every_tag(server, run):
    kinds = ("scalars", "histograms", "images", "text")
    tags = {kind: set(server(f"plugin/{kind}/tags").get(run.name, ())) for kind in kinds}
    found = read(run)
    assert set.union(*tags.values()) == set(found)
    assert tags["scalars"] == {tag for tag, series in found.items() if isinstance(series.values, np.ndarray)}
    experiment = server("plugin/hparams/experiment", {"experimentName": ""})
    assert {info["name"] for info in experiment["hparamInfos"]} == {"lr", "act", "clip", "sizes"}
    assert {info["name"]["tag"] for info in experiment["metricInfos"]} == {"result/accuracy"}


def test_a_single_value_has_statistics(tmp_path):
    with Logbook(tmp_path) as log:
        log.activations({"h": torch.tensor([[2.0]])})
        log.step(1)
    found = read(tmp_path)
    assert found["activation_mean/01_h"].values == 2 and found["activation_std/01_h"].values == 0


def test_exploding_numbers_do_not_overflow(tmp_path):
    with Logbook(tmp_path) as log:
        log.activations({"h": torch.tensor([[1e30, -3e38], [0.0, 2e35]])})
        log.step(2)
    found = read(tmp_path)
    assert np.isfinite(found["activation_std/01_h"].values).all() and found["activation/01_h"].values[0][1].sum() == 4
