"""A watched loop is bit for bit the one that is not watched, and what is written down is what happened."""

import copy
import io
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional
from torch.nn.functional import cross_entropy
from torch.optim import LBFGS, SGD, Adam

from doctor import Doctor, measure
from doctor.evidence import Evidence
from doctor.records import record
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
    assert [p.number for p in watched(ordinary).passes] == list(range(6))
    seen = watched(lambda *loop: [ordinary(*loop) for _ in range(3)], every=5).passes
    assert [p.number for p in seen] == [0, 1, 2, 3, 5, 10, 15] and FIRST == 4
    with pytest.raises(ValueError, match="every"):
        Watch(mlp(), cross_entropy, SGD([torch.zeros(1)], 0.1), every=0)


def test_numbers_of_a_pass():
    losses = plain_losses()
    watch = watched(ordinary)
    assert [p.loss for p in watch.passes] == losses
    first, (x, y) = watch.passes[0], batches()[0]
    place, rms = first.places[0], x.square().mean().sqrt()
    assert first.size == 32 and first.width == 4 and first.label_share == y.bincount().max() / 32
    assert first.rates == [0.1] and not (first.inside_step or first.for_inputs or first.waiting)
    assert place.kind == "input" and place.rms == pytest.approx(rms.item())
    assert place.mean == pytest.approx(x.mean().item(), abs=1e-6)
    assert place.std == pytest.approx(x.std(correction=0).item())
    assert place.variation == pytest.approx((x.var(0, correction=0).mean().sqrt() / rms).item())
    assert watch.labels == {c: 2 * n for c, n in enumerate(Y.bincount().tolist())}
    assert watch.count == {"passes": 6, "losses": 6, "backwards": 6, "steps": 6, "steps with gradients": FIRST}


def plain_losses():
    model = mlp()
    return ordinary(model, cross_entropy, SGD(model.parameters(), 0.1, momentum=0.9))


def test_places_are_told_by_the_names_of_layers():
    for p in watched(ordinary).passes:
        assert [(place.place, place.layer) for place in p.places] == [
            ("input 1", ""), ("into linear 1", "1"), ("out of relu 1", "1"), ("into linear 2", "4"), ("output 1", "4"),
        ]  # fmt: skip
    places = watched(ordinary, cnn).passes[0].places
    assert [place.layer for place in places] == ["", "conv", "conv", "conv", "head", "head"]


def test_updates_are_what_the_optimizer_did():
    model = mlp()
    optimizer = SGD([{"params": model[1].parameters(), "lr": 0.5}, {"params": [model[4].weight]}], lr=0.1)
    before = copy.deepcopy(model.state_dict())
    watch = Watch(model, cross_entropy, optimizer)
    x, y = batches()[0]
    watch.loss_fn(model(x), y).backward()
    optimizer.step()
    updates = {update.name: update for update in watch.passes[0].updates}
    assert list(updates) == list(before)
    for name, p in model.named_parameters():
        update, gradient = updates[name], p.grad.norm().item()
        assert update.weight == pytest.approx(before[name].norm().item()) and update.gradient == pytest.approx(gradient)
        assert update.change == pytest.approx((p - before[name]).norm().item())
        assert update.ratio == pytest.approx(measure.update_ratio(before[name], p).item())
        at_step = math.nan if name == "4.bias" else gradient  # which the optimizer does not have
        assert update.at_step == pytest.approx(at_step, nan_ok=True)
    assert updates["4.bias"].change == 0 < updates["4.bias"].gradient


def never_zeroing(model, loss_fn, optimizer):
    for x, y in batches():
        loss_fn(model(x), y).backward()
        optimizer.step()


@pytest.mark.parametrize(
    ("loop", "left"),
    [(ordinary, False), (accumulating, False), (with_closure, False), (never_zeroing, True)],
)
def test_gradients_left_from_the_step_before(loop, left):
    passes = watched(loop).passes
    after_step = [p for p in passes if p.batches_since_step == 1 and p.step > 0]
    assert after_step or loop is accumulating  # which makes one step
    assert all((p.left > 0) == left for p in after_step)
    assert [p.waiting for p in passes] == [loop is accumulating and p.number % 3 > 0 for p in passes]
    assert all(p.left > 0 for p in passes if p.waiting)


def test_what_happens_between_backward_and_step():
    for p in watched(clipping).passes:
        assert all(update.at_step < 0.01 * update.gradient for update in p.updates)

    def without_step(model, loss_fn, optimizer):
        for x, y in batches():
            optimizer.zero_grad()
            loss_fn(model(x), y).backward()

    watch = watched(without_step)
    assert watch.count["steps"] == 0 and [p.waiting for p in watch.passes] == [False, True, True]
    assert all(u.gradient > 0 and math.isnan(u.change) for p in watch.passes for u in p.updates)


def test_a_step_belongs_to_the_watched_pass_before_it():
    """Of three passes for one step the first is watched; L-BFGS makes its passes within the step."""
    passes = watched(lambda *loop: [accumulating(*loop) for _ in range(4)], every=9).passes[FIRST:]
    assert [p.number for p in passes] == [9, 18]
    for update in (update for p in passes for update in p.updates):
        assert update.change > 0 and update.gradient == update.at_step
    for every in (1, 5):
        passes = watched(with_closure, optimizer=lambda p: LBFGS(p, 0.1, max_iter=3), every=every).passes
        updates = [update for p in passes for update in p.updates]
        assert {update.name for update in updates if update.change > 0} == dict(mlp().named_parameters()).keys()
        assert all(math.isnan(update.at_step) for update in updates) and all(p.inside_step for p in passes)


def test_a_loss_that_is_not_watched_leaves_the_rest():
    def with_its_own_loss(model, loss_fn, optimizer):
        ordinary(model, nn.CrossEntropyLoss(), optimizer)

    watch = watched(with_its_own_loss)
    assert watch.count["steps"] == len(watch.passes) == 6
    for p in watch.passes:
        assert p.loss > 0 and p.scale is None and len(p.places) == 5 and all(update.change > 0 for update in p.updates)


def test_scale_of_the_loss():
    assert [p.scale for p in watched(accumulating).passes] == pytest.approx([1 / 3] * 6)
    assert [p.scale for p in watched(mixed_precision).passes] == [1024.0] * 3

    def with_minus(model, loss_fn, optimizer):
        (-loss_fn(model(X), Y)).backward()

    assert [p.scale for p in watched(with_minus).passes] == [-1.0]


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
    assert not watch.errors and len(watch.passes) == 3
    for p in watch.passes:
        assert p.loss is not None and p.size is None and [place.layer for place in p.places] == ["", "layer"]
        assert all(update.change > 0 for update in p.updates)


def test_not_a_number_and_errors_of_the_loop():
    model = mlp()
    optimizer = SGD(model.parameters(), 0.1)
    watch = Watch(model, cross_entropy, optimizer)
    watch.loss_fn(model(X * math.nan), Y).backward()
    optimizer.step()
    assert all(math.isnan(p.loss) for p in watch.passes) and not watch.errors
    with pytest.raises(RuntimeError, match="shape"):
        model(X[:, :, :4])  # the loop's own error passes through, and the next pass is watched again
    watch.loss_fn(model(X), Y).backward()
    assert torch.overrides._get_current_function_mode() is None and len(watch.passes) == 2


def test_a_loss_of_torch_is_heard_once_where_none_is_given():
    torch.manual_seed(0)
    model, x, y = nn.Linear(8, 3), torch.randn(64, 8), torch.arange(64) % 3
    optimizer = SGD(model.parameters(), 0.1)
    with Doctor(model, None, optimizer) as doctor:
        for _ in range(6):
            optimizer.zero_grad()
            functional.cross_entropy(model(x), y).backward()
            optimizer.step()
        log_probs, lengths = torch.randn(5, 2, 3).log_softmax(2), {"input_lengths": (5, 5), "target_lengths": (2, 2)}
        functional.ctc_loss(log_probs=log_probs, targets=torch.ones(2, 2).long(), **lengths)
    assert doctor.watch.count["losses"] == 6
    assert not any(p.blended for p in doctor.watch.passes) and not doctor.watch.errors


def test_what_cannot_be_watched_is_told_and_disturbs_nothing(monkeypatch):
    def broken(*_):
        raise ArithmeticError("for the test")

    monkeypatch.setattr("doctor.watch.score_outputs", broken)
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


def test_a_report_in_the_middle_of_a_step_leaves_all_its_numbers():
    model = mlp()
    optimizer = SGD(model.parameters(), 0.1)
    watch = Watch(model, cross_entropy, optimizer)
    outputs = model(X)
    assert not watch.passes  # until a backward pass has begun
    watch.loss_fn(outputs, Y).backward()
    assert isinstance(watch.passes[0].left, float)
    optimizer.step()
    assert all(isinstance(update.change, float) for update in watch.passes[0].updates)


class Strange(nn.Module):
    """Calls a layer by keyword, and an activation function on a sparse tensor, which cannot be measured."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 64))

    def forward(self, x):
        torch.relu(torch.eye(2).to_sparse())
        return nn.functional.linear(input=x.flatten(1), weight=self.weight)


def test_what_cannot_be_measured_never_stops_the_model():
    model = Strange()
    watch = Watch(model, cross_entropy, SGD(model.parameters(), 0.1))
    watch.loss_fn(model(X), Y).backward()
    watch.close()
    assert [place.place for place in watch.passes[0].places][-2:] == ["into linear 1", "output 1"]
    assert len(watch.errors) == 1


# ---- places


def activations(function) -> list[str]:
    """Return the activation functions that are met where a layer's outputs go through a function."""
    model = nn.Linear(8, 4)
    model.register_forward_hook(lambda module, args, outputs: function(outputs))
    return [place.place for place in record(model, torch.randn(16, 8)) if place.kind == "activation"]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.clamp(min=0),
        lambda x: x.clamp(0),
        lambda x: x.clamp_min(0.0),
        lambda x: torch.clamp_(x, min=0),
        lambda x: x.clip(0),
        torch.relu,
        nn.functional.relu6,
        nn.Hardtanh(),
    ],
)
def test_rectifiers_be_they_written_by_hand(function):
    assert len(activations(function)) == 1


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x / x.norm().clamp_min(1e-8),
        lambda x: x / x.norm().clamp(min=1e-8),
        lambda x: x.clamp(0, 1),
        lambda x: x.clamp(max=1),
        lambda x: x.clamp(torch.zeros(4)),
        lambda x: x.clip(-1, 1),
    ],
)
def test_keeping_numbers_in_a_range_is_no_activation_function(function):
    assert activations(function) == []


def test_record_measures_as_measure_does():
    model = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 5), nn.Tanh()).requires_grad_(False)
    model[0].bias[:2] = -100
    x = torch.randn(20, 8)
    places = [place for place in record(model, x) if place.kind == "activation"]
    for place, outputs, bounds in zip(places, (model[:2](x), model(x)), (None, (-1, 1)), strict=True):
        assert place.dead_units == pytest.approx(measure.dead_units(outputs).float().mean().item())
        assert place.zero_fraction == pytest.approx(measure.zero_fraction(outputs).item())
        saturated = math.nan if bounds is None else measure.saturated_share(outputs, bounds).item()
        assert place.saturated == pytest.approx(saturated, nan_ok=True)
    assert places[0].dead_units == pytest.approx(2 / 6)


# ---- measure


SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=5)


@given(SHAPES, st.integers(0, 2**32))
@settings(max_examples=50, deadline=None)
def test_dead_units_and_zeros_are_those_counted_one_by_one(shape, seed):
    values = torch.randint(-1, 2, shape, generator=torch.Generator().manual_seed(seed)).float().relu()
    unit = 1 if len(shape) > 3 else len(shape) - 1
    units = values.movedim(unit, 0).flatten(1) if len(shape) > 1 else values[:, None]
    assert measure.dead_units(values).tolist() == [not any(row) for row in units.tolist()]
    assert measure.zero_fraction(values).item() == pytest.approx((values == 0).double().mean().item())
    shuffled = values[torch.randperm(shape[0])] if len(shape) > 1 else values
    assert torch.equal(measure.dead_units(shuffled), measure.dead_units(values))


@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=30), st.sampled_from(list(measure.BOUNDS.values())))
def test_saturated_is_what_is_near_a_bound(numbers, bounds):
    low, high = bounds
    values, near = torch.tensor(numbers) * (high - low) / 2 + (high + low) / 2, measure.NEAR * (high - low)
    least, most = (((values < low + d) | (values > high - d)).float().mean() for d in (near - 1e-5, near + 1e-5))
    assert least <= measure.saturated_share(values, bounds) <= most


@given(st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=9), st.floats(0.5, 100))
def test_norms_and_update_ratio_scale(numbers, factor):
    weight = torch.tensor(numbers, dtype=torch.float64)
    norms = measure.norms({"a": weight, "b": factor * weight})
    assert norms["b"].item() == pytest.approx(factor * norms["a"].item()) and not measure.norms({})
    if norms["a"] > 0:
        assert measure.update_ratio(weight, factor * weight).item() == pytest.approx(
            factor - 1 if factor > 1 else 1 - factor
        )


class Odd(nn.Module):
    """A network whose forward pass also uses `function` on tensors of unusual kinds."""

    def __init__(self, function):
        super().__init__()
        self.layer, self.function = nn.Linear(4, 3), function

    def forward(self, x):
        self.function(x)
        return self.layer(x)


ODD = {
    "no dimension, clamped": lambda x: torch.tensor(3.0).clamp(max=100),
    "no dimension, rectified": lambda x: torch.tensor(3.0).relu(),
    "empty": lambda x: torch.zeros(0, 4).relu(),
    "sparse": lambda x: torch.sparse.mm(torch.eye(4).to_sparse(), torch.ones(4, 2)),
    "complex": lambda x: torch.view_as_complex(x.view(-1, 2, 2)).tanh(),
    "integer": lambda x: torch.arange(5).relu(),
    "half precision": lambda x: x.bfloat16().relu(),
    "without storage": lambda x: torch.zeros(3, 4, device="meta").relu(),
    "scalar product": lambda x: torch.matmul(torch.ones(4), torch.ones(4)),
    "boolean": lambda x: torch.ones(4, dtype=torch.bool).clamp(max=1),
}


@pytest.mark.parametrize("function", ODD.values(), ids=ODD)
def test_loop_goes_on_whatever_the_forward_pass_uses(function):
    model = Odd(function)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with Doctor(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for _ in range(6):
            optimizer.zero_grad()
            doctor.loss_fn(model(torch.randn(8, 4)), torch.randint(3, (8,))).backward()
            optimizer.step()
    doctor.report()
    assert doctor.watch.count["steps"] == 6


def train_a_bit(model, loss_fn, optimizer, inputs=None, call=None):
    """Run a watched loop of a few steps; return the doctor."""
    inputs, labels = torch.randn(20, 4) if inputs is None else inputs, torch.arange(20) % 3
    with Doctor(model, loss_fn, optimizer) as doctor:
        for _ in range(6):
            doctor.watch.optimizer.zero_grad()
            loss = call(doctor, model(inputs)) if call else doctor.loss_fn(model(inputs), labels)
            loss.backward()
            optimizer.step()
    assert not doctor.watch.errors and doctor.watch.count["steps"] == 6
    return doctor


class Warming:
    """An object that sets the rate and then calls the step of an optimizer, as in The Annotated Transformer."""

    def __init__(self, optimizer):
        self.optimizer, self.count = optimizer, 0

    def step(self):
        self.count += 1
        self.optimizer.param_groups[0]["lr"] = 0.01 * self.count
        self.optimizer.step()


def test_optimizer_within_another_object_is_watched():
    model = nn.Linear(4, 3)
    train_a_bit(model, nn.CrossEntropyLoss(), Warming(SGD(model.parameters(), 0.1))).report()
    with pytest.raises(TypeError, match="str is no optimizer, and holds none: give"):
        Doctor(model, nn.CrossEntropyLoss(), "sgd")


class Passing(SGD):
    """An optimizer that passes its steps on to another one, as that of accelerate does."""

    def __init__(self, optimizer):
        self.optimizer = optimizer

    param_groups = property(lambda self: self.optimizer.param_groups)

    def step(self):
        self.optimizer.step()


def test_optimizer_that_passes_steps_on_is_watched_within():
    model = nn.Linear(4, 3)
    doctor = train_a_bit(model, nn.CrossEntropyLoss(), Passing(SGD(model.parameters(), 0.1)))
    assert doctor.watch.count["steps"] and type(doctor.watch.optimizer) is SGD


def test_parameters_of_lazy_modules_are_known_after_the_first_pass():
    model = nn.Sequential(nn.LazyLinear(5), nn.ReLU(), nn.LazyLinear(3))
    doctor = train_a_bit(model, nn.CrossEntropyLoss(), SGD(model.parameters(), 0.1))
    assert [w.name for w in doctor.watch.weights] == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert len(doctor.watch.passes[0].updates) == 4 and not doctor.report().findings


def test_loss_of_one_argument_is_watched():
    model = nn.Linear(4, 3)
    doctor = train_a_bit(
        model, lambda z: z.square().mean(), SGD(model.parameters(), 0.1), call=lambda d, z: d.loss_fn(z)
    )
    assert doctor.watch.passes[0].loss > 0


def test_loss_that_cannot_be_copied_is_watched(tmp_path):
    model, loss_fn = nn.Linear(4, 3), nn.CrossEntropyLoss()
    with open(tmp_path / "log.txt", "w") as loss_fn.file:
        train_a_bit(model, loss_fn, SGD(model.parameters(), 0.1)).report()


@pytest.mark.parametrize("loss_fn", [cross_entropy, nn.CrossEntropyLoss()], ids=["function", "module"])
def test_copied_and_saved_model_knows_nothing_of_the_watch(loss_fn):
    model, copies = nn.Linear(4, 3), []
    optimizer = SGD(model.parameters(), 0.1)
    with Doctor(model, loss_fn, optimizer) as doctor:
        for _ in range(2):
            doctor.loss_fn(model(torch.randn(6, 4)), torch.arange(6) % 3).backward()
            optimizer.step()
            torch.save(model, buffer := io.BytesIO())
            buffer.seek(0)
            copies += [copy.deepcopy(model), torch.load(buffer, weights_only=False)]
        for other in copies:
            other(torch.randn(6, 4))
    assert doctor.watch.count["passes"] == 2 and len(buffer.getvalue()) < 10_000


@pytest.mark.parametrize("classes", [3, 5000])
def test_report_makes_up_outputs_for_some_of_many_classes(classes):
    torch.manual_seed(0)
    model = nn.Linear(4, classes)
    doctor = train_a_bit(model, nn.CrossEntropyLoss(), SGD(model.parameters(), 0.1))
    outputs, labels = Evidence(doctor.watch).made_up
    assert outputs.shape == (2 * min(classes, 100), classes) and len(labels) == len(outputs)
