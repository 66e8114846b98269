"""A watched loop is bit for bit the one that is not watched, and what is written down is what happened."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import LBFGS, SGD, Adam

from doctor.watch import FIRST, Watch

X = torch.rand(96, 1, 8, 8, generator=torch.Generator().manual_seed(0))
Y = torch.randint(4, (96,), generator=torch.Generator().manual_seed(1))


def mlp():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(inplace=True), nn.Dropout(0.3), nn.Linear(16, 4))


class CNN(nn.Module):
    """Its activation functions are plain functions, one changes in place what a layer gave."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.Linear(6, 4)

    def forward(self, x):
        return self.head(torch.tanh(self.norm(self.conv(x)).relu_().mean((2, 3))))


def cnn():
    torch.manual_seed(0)
    return CNN()


def batches(count=3):
    return [(X[i::count], Y[i::count]) for i in range(count)]


def ordinary(model, loss_fn, optimizer):
    losses = []
    for x, y in batches() * 2:
        optimizer.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def accumulating(model, loss_fn, optimizer):
    for i, (x, y) in enumerate(batches() * 2):
        (loss_fn(model(x), y) / 3).backward()
        if i % 3 == 2:
            optimizer.step()
            optimizer.zero_grad()


def clipping(model, loss_fn, optimizer):
    for x, y in batches():
        optimizer.zero_grad()
        loss_fn(model(x), target=y).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
        optimizer.step()


def mixed_precision(model, loss_fn, optimizer):
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for x, y in batches():
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_fn(model(x), y)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()


def with_closure(model, loss_fn, optimizer):
    for x, y in batches():

        def closure(x=x, y=y):
            optimizer.zero_grad()
            loss = loss_fn(model(x), y)
            loss.backward()
            return loss

        optimizer.step(closure)


def with_evaluation(model, loss_fn, optimizer):
    ordinary(model, loss_fn, optimizer)
    with torch.no_grad():
        loss_fn(model(X), Y)
        model.eval()
        loss_fn(model(X), Y)
        model.train()


def watched(loop, make=mlp, optimizer=None, loss_fn=cross_entropy, every=1):
    model = make()
    optimizer = (optimizer or (lambda p: SGD(p, 0.1, momentum=0.9)))(model.parameters())
    watch = Watch(model, loss_fn, optimizer, every)
    loop(model, watch.loss_fn, optimizer)
    watch.close()
    assert not watch.errors
    return watch


LOOPS = {
    "ordinary": (ordinary, None),
    "Adam": (ordinary, Adam),
    "accumulation": (accumulating, None),
    "clipping": (clipping, None),
    "mixed precision": (mixed_precision, None),
    "L-BFGS": (with_closure, lambda p: LBFGS(p, 0.1, max_iter=3)),
    "evaluation": (with_evaluation, None),
}


@pytest.mark.parametrize("make", [mlp, cnn])
@pytest.mark.parametrize("loss_fn", [cross_entropy, nn.CrossEntropyLoss()])
@pytest.mark.parametrize("name", LOOPS)
def test_nothing_changes(name, make, loss_fn):
    loop, optimizer = LOOPS[name]
    results = []
    for run in (watched, plain):
        model = run(loop, make, optimizer, loss_fn)
        model = model.model if isinstance(model, Watch) else model
        gradients = [torch.zeros(0) if p.grad is None else p.grad for p in model.parameters()]
        tensors = [*model.state_dict().values(), *gradients, torch.get_rng_state()]
        results.append(copy.deepcopy(tensors))
    assert all(map(torch.equal, *results))


def plain(loop, make, optimizer, loss_fn):
    model = make()
    loop(model, loss_fn, (optimizer or (lambda p: SGD(p, 0.1, momentum=0.9)))(model.parameters()))
    return model


def test_every_pass_or_every_fourth():
    assert watched(ordinary).passes["pass"].tolist() == list(range(6))
    seen = watched(lambda *given: [ordinary(*given) for _ in range(3)], every=5).passes
    assert seen["pass"].tolist() == [0, 1, 2, 3, 5, 10, 15] and FIRST == 4
    with pytest.raises(ValueError, match="every=0: give 1"):
        Watch(mlp(), cross_entropy, SGD([torch.zeros(1)], 0.1), every=0)


def test_numbers_of_a_pass():
    losses = plain_losses()
    watch = watched(ordinary)
    assert watch.passes["loss"].tolist() == losses
    first, given, (x, y) = watch.passes.iloc[0], watch.places.iloc[0], batches()[0]
    assert first["size"] == 32 and first["label share"] == y.bincount().max() / 32
    assert given["kind"] == "input" and given["rms"] == pytest.approx(x.square().mean().sqrt().item())
    assert given["mean"] == pytest.approx(x.mean().item(), abs=1e-6)
    assert given["std"] == pytest.approx(x.std(correction=0).item())
    assert given["variation"] == pytest.approx((x.var(0, correction=0).mean().sqrt() / x.square().mean().sqrt()).item())
    assert watch.labels == {c: 2 * n for c, n in enumerate(Y.bincount().tolist())}
    assert watch.count == {"passes": 6, "losses": 6, "steps": 6}


def plain_losses():
    model = mlp()
    return ordinary(model, cross_entropy, SGD(model.parameters(), 0.1, momentum=0.9))


def test_places_are_told_by_the_names_of_layers():
    places = watched(ordinary).places
    assert places.groupby("pass")[["place", "layer"]].apply(lambda rows: rows.values.tolist())[0] == [
        ["input 1", ""], ["into linear 1", "1"], ["out of relu 1", "1"], ["into linear 2", "4"], ["output 1", "4"],
    ]  # fmt: skip
    places = watched(ordinary, cnn).places
    assert places[places["pass"] == 0]["layer"].tolist() == ["", "conv", "conv", "conv", "head", "head"]


def test_updates_are_what_the_optimizer_did():
    model = mlp()
    optimizer = SGD([{"params": model[1].parameters(), "lr": 0.5}, {"params": [model[4].weight]}], lr=0.1)
    before = copy.deepcopy(model.state_dict())
    watch = Watch(model, cross_entropy, optimizer)
    x, y = batches()[0]
    watch.loss_fn(model(x), y).backward()
    optimizer.step()
    rows = watch.updates.set_index("name")
    assert rows.index.tolist() == list(before)
    for name, p in model.named_parameters():
        change, gradient = (p - before[name]).norm().item(), p.grad.norm().item()
        assert rows.loc[name, ["weight", "gradient", "change"]].tolist() == pytest.approx(
            [before[name].norm().item(), gradient, change]
        )
        at_step = math.nan if name == "4.bias" else gradient  # which the optimizer does not have
        assert rows.loc[name, "at step"] == pytest.approx(at_step, nan_ok=True)
    assert rows.change["4.bias"] == 0 < rows.gradient["4.bias"]


def never_zeroing(model, loss_fn, optimizer):
    for x, y in batches():
        loss_fn(model(x), y).backward()
        optimizer.step()


@pytest.mark.parametrize(
    ("loop", "left"),
    [(ordinary, False), (accumulating, False), (with_closure, False), (never_zeroing, True)],
)
def test_gradients_left_from_the_step_before(loop, left):
    rows = watched(loop).passes
    after_step = rows[(rows["losses since step"] == 1) & (rows["step"] > 0)]
    assert len(after_step) or loop is accumulating  # which makes one step
    assert ((after_step["left"] > 0) == left).all()
    assert (rows[rows["losses since step"] > 1]["left"] > 0).all() or loop is with_closure  # it calls zero_grad


def test_what_happens_between_backward_and_step():
    rows = watched(clipping).updates
    assert (rows["at step"] < 0.01 * rows["gradient"]).all()

    def without_step(model, loss_fn, optimizer):
        for x, y in batches():
            optimizer.zero_grad()
            loss_fn(model(x), y).backward()

    watch = watched(without_step)
    assert watch.count["steps"] == 0 and (watch.updates["gradient"] > 0).all() and watch.updates["change"].isna().all()


def test_a_step_belongs_to_the_watched_pass_before_it():
    """Of three passes for one step the first is watched; L-BFGS makes its passes within the step."""
    rows = watched(lambda *given: [accumulating(*given) for _ in range(4)], every=9).updates
    rows = rows[rows["pass"] >= FIRST]
    assert set(rows["pass"]) == {9, 18} and (rows["change"] > 0).all()
    assert rows["gradient"].tolist() == rows["at step"].tolist()
    for every in (1, 5):
        rows = watched(with_closure, optimizer=lambda p: LBFGS(p, 0.1, max_iter=3), every=every).updates
        assert (rows.groupby("name")["change"].max() > 0).all() and rows["at step"].isna().all()


def test_a_loss_that_is_not_watched_leaves_the_rest():
    def with_its_own_loss(model, loss_fn, optimizer):
        ordinary(model, nn.CrossEntropyLoss(), optimizer)

    watch = watched(with_its_own_loss)
    assert "loss" not in watch.passes and watch.count["steps"] == len(watch.passes) == 6
    assert (watch.updates["change"] > 0).all() and len(watch.places) == 5 * 6


def test_scale_of_the_loss():
    assert watched(accumulating).passes["scale"].tolist() == pytest.approx([1 / 3] * 6)
    assert watched(mixed_precision).passes["scale"].tolist() == [1024.0] * 3

    def with_minus(model, loss_fn, optimizer):
        (-loss_fn(model(X), Y)).backward()

    assert watched(with_minus).passes["scale"].tolist() == [-1.0]


def test_evaluations_are_counted_by_mode():
    watch = watched(with_evaluation)
    assert watch.count["evaluations in training mode"] == watch.count["evaluations"] == 1
    assert len(watch.passes) == 6


class Pair(nn.Module):
    """Takes two inputs, and gives a dict."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(128, 4)

    def forward(self, a, b):
        return {"logits": self.layer(torch.cat([a.flatten(1), b.flatten(1)], 1))}


def test_exotic_models_are_watched_as_far_as_it_goes():
    model = Pair()
    optimizer = SGD(model.parameters(), 0.1)
    watch = Watch(model, lambda outputs, targets: cross_entropy(outputs["logits"], targets), optimizer)
    for x, y in batches():
        optimizer.zero_grad()
        watch.loss_fn(model(x, x), y).backward()
        optimizer.step()
    assert not watch.errors and len(watch.passes) == len(watch.passes["loss"].dropna()) == 3
    assert (watch.updates["change"] > 0).all() and watch.places["layer"].tolist() == ["", "layer"] * 3


def test_not_a_number_and_errors_of_the_loop():
    model = mlp()
    optimizer = SGD(model.parameters(), 0.1)
    watch = Watch(model, cross_entropy, optimizer)
    watch.loss_fn(model(X * math.nan), Y).backward()
    optimizer.step()
    assert watch.passes["loss"].isna().all() and not watch.errors
    with pytest.raises(RuntimeError, match="shape"):
        model(X[:, :, :4])  # the loop's own error passes through, and the next pass is watched again
    watch.loss_fn(model(X), Y)
    assert torch.overrides._get_current_function_mode() is None and len(watch.passes) >= 2


def test_what_cannot_be_watched_is_told_and_disturbs_nothing(monkeypatch):
    def broken(*_):
        raise ArithmeticError("for the test")

    monkeypatch.setattr("doctor.watch.judged", broken)
    model = mlp()
    watch = Watch(model, cross_entropy, SGD(model.parameters(), 0.1, momentum=0.9))
    losses = ordinary(model, watch.loss_fn, watch.optimizer)
    assert losses == plain_losses()
    assert watch.errors == {"ArithmeticError: for the test": 6}


def test_close_removes_every_hook():
    model, loss_fn = mlp(), nn.CrossEntropyLoss()
    optimizer = SGD(model.parameters(), 0.1)
    watch = Watch(model, loss_fn, optimizer)
    watch.loss_fn(model(X), Y)
    watch.close()
    kept = [model._forward_hooks, model._forward_pre_hooks, loss_fn._forward_hooks]
    kept += [optimizer._optimizer_step_pre_hooks, optimizer._optimizer_step_post_hooks]
    kept += [p._post_accumulate_grad_hooks or {} for p in model.parameters()]
    assert not any(kept)
    assert torch.overrides._get_current_function_mode() is None
