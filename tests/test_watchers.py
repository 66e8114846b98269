"""A model that Logbook, TorchMonitor or Doctor watches is compiled, exported, traced, copied and saved as before."""

import contextlib
import copy
import io
import warnings

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from doctor import Doctor
from helpers.logbook import Logbook, read
from helpers.monitor import TorchMonitor

X = torch.rand(32, 6, generator=torch.Generator().manual_seed(0))
Y = torch.arange(32) % 3


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))


def sgd(model):
    return torch.optim.SGD(model.parameters(), 0.5)


def train(call, optimizer, after_step=lambda loss: None, loss_fn=cross_entropy, steps=5):
    """Train whatever `call` computes; return the losses."""
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_fn(call(X), Y)
        loss.backward()
        optimizer.step()
        after_step(loss)
        losses.append(loss.item())
    return losses


class Watched:
    """One of the three at work on a model, with its own way to take part in a loop and to tell the passes it saw."""

    def __init__(self, model, tool, folder):
        self.tool, self.folder, self.optimizer, self.loss_fn = tool, folder, sgd(model), cross_entropy
        if tool is Doctor:
            self.watcher = Doctor(model, cross_entropy, self.optimizer)
            self.loss_fn = self.watcher.loss_fn
        else:
            self.watcher = TorchMonitor(model) if tool is TorchMonitor else Logbook(folder)
            if tool is Logbook:
                self.watcher.watch(model)

    def after_step(self, loss):
        if self.tool is Logbook:
            self.watcher.step(len(X), loss=loss)
        elif self.tool is TorchMonitor:
            self.watcher.retrieve_weights_after_optimization_step()
            self.watcher.receive_losses(loss, loss)

    def passes(self) -> int:
        self.watcher.close()
        if self.tool is Logbook:
            series = read(self.folder).get("activation/02_1")
            return len(series.values) if series else 0
        if self.tool is TorchMonitor:
            return len(self.watcher.activations["1"])
        assert not self.watcher.watch.errors
        return len(self.watcher.watch.passes)

    def train(self, call):
        return train(call, self.optimizer, self.after_step, self.loss_fn)


TOOLS = Logbook, TorchMonitor, Doctor


@pytest.fixture(params=TOOLS, ids=lambda tool: tool.__name__)
def watch(request, tmp_path):
    """Return a function that watches a model with one of the three."""
    torch.compiler.reset()
    with contextlib.ExitStack() as stack:

        def watch(model):
            watched = Watched(model, request.param, tmp_path)
            stack.callback(watched.watcher.close)
            return watched

        yield watch
    torch.compiler.reset()


def compiled(model):
    return torch.compile(model, backend="eager")


def test_compiled_after_it_is_watched_trains_as_it_would_alone_and_is_seen(watch, caplog):
    plain = network()
    expected = train(compiled(plain), sgd(plain))
    torch.compiler.reset()
    model = network()
    watched = watch(model)
    assert watched.train(compiled(model)) == expected
    assert watched.passes() == 5
    assert "recompile_limit" not in caplog.text  # what watches is no part of the graph


@pytest.mark.parametrize("tool", TOOLS)
def test_compiled_and_called_before_it_is_watched_is_told(tool, tmp_path):
    model = network()
    fast = compiled(model)
    fast(X)
    watched = Watched(model, tool, tmp_path)
    if tool is Logbook:
        with pytest.warns(UserWarning, match="No pass of the watched model was seen: .* before its first call"):
            watched.train(fast)
    elif tool is TorchMonitor:
        watched.train(fast)
        with pytest.raises(ValueError, match=r'net_values\["1"\] is short, .* before its first call'):
            watched.watcher.make_movie(lambda *_: None, tmp_path / "a.gif")
    else:
        watched.train(fast)
        report = watched.watcher.report()
        assert not report.healthy and "before its first call" in report.headline
    torch.compiler.reset()


@pytest.mark.parametrize("watcher", [TorchMonitor, lambda model: Logbook("runs").watch(model)])
def test_compiled_model_is_refused_with_what_to_do(watcher, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"is compiled: give the original module, before torch\.compile"):
        watcher(compiled(network()))


def exported(model):
    return torch.export.export(model, (X,)).module()


def traced(model):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated
        return torch.jit.trace(model, X)


def saved(model):
    torch.save(model, file := io.BytesIO())
    file.seek(0)
    return torch.load(file, weights_only=False)


OLD = pytest.mark.skipif(not hasattr(torch.compiler, "is_exporting"), reason="torch 2.6 tells no export from compiling")


@pytest.mark.parametrize("made", [pytest.param(exported, marks=OLD), traced, saved, copy.deepcopy])
def test_what_is_made_of_a_watched_model_is_what_is_made_of_any(made, watch):
    model = network()
    watched = watch(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        other = made(model)
        assert torch.equal(other(X), network()(X))
    losses = watched.train(model)
    other(X)
    plain = network()
    assert losses == train(plain, sgd(plain))
    # A trace ends with a pass by which torch checks it, and that is a pass of the model.
    assert watched.passes() - 5 in ((0, 1) if made is traced else (0,))


def test_mapped_over_samples_trains_as_it_would_alone(watch):
    plain, model = network(), network()
    watched = watch(model)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This pass is not recorded|No pass of the watched model")
        losses = watched.train(torch.func.vmap(model))
    assert losses == train(torch.func.vmap(plain), sgd(plain))


@pytest.mark.parametrize("tool", [Logbook, Doctor])
def test_forward_called_instead_of_the_model_is_told(tool, tmp_path):
    model = network()
    watched = Watched(model, tool, tmp_path)
    if tool is Logbook:
        with pytest.warns(UserWarning, match=r"No pass of the watched model was seen: call the model itself, as model"):
            watched.train(model.forward)
    else:
        watched.train(model.forward)
        report = watched.watcher.report()
        assert not report.healthy
        assert report.headline.startswith("Not judged. ") and "call the model itself, as model(x)" in report.headline
