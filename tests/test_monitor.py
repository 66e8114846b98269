"""TorchMonitor records what the sheet asks for, changes nothing by it, leaves nothing behind, and makes its movie."""

import copy
import io
import math
import warnings
import weakref

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image, ImageSequence
from torch import nn

from helpers import movie
from helpers.figures import training_figure
from helpers.monitor import TorchMonitor

pytestmark = pytest.mark.filterwarnings("error::UserWarning")

ADVICE = {
    "weights": "call retrieve_weights_after_optimization_step",
    "net_values": r"call the model itself, as model\(x\), in training mode",
    "activations": r"call the model itself, as model\(x\), in training mode",
    "train_losses": "call receive_losses",
    "val_losses": "call receive_losses",
}


def mlp(inplace=False):
    """Return a network of three layers without biases, the same each time: what a layer gets tells its weights."""
    torch.manual_seed(0)
    layers = [nn.Linear(6, 5, bias=False), nn.ReLU(inplace), nn.Linear(5, 4, bias=False), nn.ReLU(inplace)]
    return nn.Sequential(*layers, nn.Linear(4, 3, bias=False))


class Reuse(nn.Module):
    """A network that uses one ReLU again and again, and raises before the last layer if told to."""

    def __init__(self, uses=3):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(4, 4, bias=False) for _ in range(uses))
        self.act = nn.ReLU()
        self.raises = False

    def forward(self, x):
        for i, layer in enumerate(self.layers):
            if self.raises and i == len(self.layers) - 1:
                raise ArithmeticError("half-way")
            x = self.act(layer(x))
        return x


def batch(size=8, features=6, seed=1):
    return torch.randn(size, features, generator=torch.Generator().manual_seed(seed))


def step(model, x, monitor=None):
    """Train on one batch; return all that a monitor could disturb."""
    model.zero_grad()
    output = model(x)
    loss = output.square().mean()
    loss.backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 0.1 * parameter.grad
    if monitor:
        monitor.retrieve_weights_after_optimization_step()
        monitor.receive_losses(loss, 2 * loss)
    return [output, loss, torch.get_rng_state(), *[t.clone() for p in model.parameters() for t in (p, p.grad)]]


def recorded(batches=3, model=None):
    """Return the closed monitor of a short training."""
    model = model or mlp()
    with TorchMonitor(model) as monitor:
        for seed in range(batches):
            step(model, batch(seed=seed), monitor)
    return monitor


def hooks(model):
    """Count whatever hooks the modules hold."""
    return sum(len(value) for module in model.modules() for name, value in vars(module).items() if "_hooks" in name)


def lengths(monitor):
    units = {name: len(values) for name, values in monitor.net_values.items()}
    assert units == {name: len(values) for name, values in monitor.activations.items()}
    return units


def same(ours, theirs):
    return len(ours) == len(theirs) and all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def check_reuse(monitor, t, x):
    """Check what was recorded of Reuse in its pass `t`, of the batch `x`."""
    for i, unit in enumerate(monitor.net_values):
        torch.testing.assert_close(monitor.net_values[unit][t], x @ monitor.weights[f"layers.{i}"][t].T)
        x = monitor.activations[unit][t]
        assert torch.equal(x, monitor.net_values[unit][t].relu())


# ---- what is recorded


def test_lists_stand_under_the_module_names_and_have_an_entry_for_each_batch():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.ModuleList(nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Dropout(0.2)) for _ in range(2))
            self.head = nn.Sequential(nn.BatchNorm1d(6), nn.Sequential(nn.ReLU(), nn.Linear(6, 3)), nn.ReLU6())

        def forward(self, x):
            for block in self.body:
                x = block(x)
            return self.head(x)

    monitor = recorded(batches=4, model=Net())
    assert {name: len(matrices) for name, matrices in monitor.weights.items()} == {
        "body.0.0": 5,
        "body.1.0": 5,
        "head.1.1": 5,
    }
    assert lengths(monitor) == {"body.0.1": 4, "body.1.1": 4, "head.1.0": 4}
    assert [values.shape for values in monitor.net_values["head.1.0"]] == [(8, 6)] * 4
    assert len(monitor.train_losses) == len(monitor.val_losses) == 4


def test_first_weights_are_the_initial_ones_and_the_others_those_after_each_step():
    model = mlp()
    expected = [[model[i].weight.detach().clone() for i in (0, 2, 4)]]
    with TorchMonitor(model) as monitor:
        for seed in range(3):
            step(model, batch(seed=seed), monitor)
            expected.append([model[i].weight.detach().clone() for i in (0, 2, 4)])
    assert not torch.equal(expected[0][0], expected[1][0])
    for name, matrices in zip("024", zip(*expected, strict=True), strict=True):
        assert same(monitor.weights[name], matrices)


@pytest.mark.parametrize("inplace", [False, True])
def test_net_values_are_the_inputs_of_a_relu_and_activations_its_outputs(inplace):
    monitor = recorded(model=mlp(inplace))
    for t in range(3):
        x = batch(seed=t)
        for layer, relu in ("01", "23"):
            net_values = x @ monitor.weights[layer][t].T
            x = net_values.relu()
            assert (net_values < 0).any()
            torch.testing.assert_close(monitor.net_values[relu][t], net_values)
            torch.testing.assert_close(monitor.activations[relu][t], x)
            assert torch.equal(monitor.activations[relu][t], monitor.net_values[relu][t].relu())


@pytest.mark.parametrize("uses", [1, 2, 3])
def test_each_use_of_a_relu_within_a_pass_is_a_unit_of_its_own(uses):
    model = Reuse(uses)
    with TorchMonitor(model) as monitor:
        for seed in range(2):
            step(model, batch(5, 4, seed), monitor)
    units = ["act", "act:2", "act:3"][:uses]
    assert lengths(monitor) == dict.fromkeys(units, 2)
    check_reuse(monitor, 1, batch(5, 4, seed=1))


def test_relu_under_two_names_counts_as_one_that_is_used_twice():
    relu = nn.ReLU()
    model = nn.Sequential(nn.Linear(6, 4), relu, nn.Linear(4, 4), relu)
    assert lengths(recorded(2, model)) == {"1": 2, "1:2": 2}


def test_feature_maps_keep_their_shape():
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 4 * 4, 2))
    with TorchMonitor(model) as monitor:
        step(model, batch(5, 36).view(5, 1, 6, 6), monitor)
    assert monitor.net_values["1"][0].shape == monitor.activations["1"][0].shape == (5, 3, 4, 4)
    assert list(monitor.weights) == ["3"]


def test_only_passes_of_the_whole_model_in_training_mode_are_recorded():
    model = mlp()
    with TorchMonitor(model) as monitor:
        for seed in range(3):
            step(model, batch(seed=seed), monitor)
            model.eval()
            with torch.no_grad():
                model(batch(50))
            model.train()
            model[:2](batch(50))
    assert lengths(monitor) == {"1": 3, "3": 3}
    assert all(len(values) == 8 for values in monitor.net_values["1"])


def test_batches_may_differ_in_size():
    model = mlp()
    with TorchMonitor(model) as monitor:
        for size in (8, 1, 3):
            step(model, batch(size), monitor)
    assert [len(values) for values in monitor.activations["3"]] == [8, 1, 3]


def test_pass_that_raises_is_not_recorded_and_does_not_disturb_the_next():
    model = Reuse()
    with TorchMonitor(model) as monitor:
        for raises, seed in ((False, 0), (True, 1), (True, 2), (False, 3)):
            model.raises = raises
            if raises:
                with pytest.raises(ArithmeticError):
                    model(batch(5, 4, seed))
            else:
                step(model, batch(5, 4, seed), monitor)
    assert lengths(monitor) == {"act": 2, "act:2": 2, "act:3": 2}
    check_reuse(monitor, 0, batch(5, 4, seed=0))
    check_reuse(monitor, 1, batch(5, 4, seed=3))


def test_relu_may_be_called_by_keyword():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.act = nn.Linear(6, 4), nn.ReLU()

        def forward(self, x):
            return self.act(input=self.layer(x))

    monitor = recorded(2, Net())
    assert torch.equal(monitor.activations["act"][1], monitor.net_values["act"][1].relu())


def test_a_single_layer_is_a_model_too():
    with pytest.warns(UserWarning, match=r"no module nn\.ReLU"):
        monitor = TorchMonitor(nn.Linear(3, 2))
    assert monitor.weights[""][0].shape == (2, 3)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.Linear(6, 3), nn.Tanh()), r"no module nn\.ReLU: there are no net values"),
        (nn.Sequential(nn.Flatten(), nn.ReLU()), r"no module nn\.Linear: there are no weights"),
    ],
)
def test_model_with_nothing_to_record_gives_a_warning_and_still_a_movie(model, message, tmp_path):
    with pytest.warns(UserWarning, match=message) as caught:
        monitor = TorchMonitor(model)
    assert len(caught) == 1 and caught[0].filename == __file__
    for seed in range(2):
        model(batch(seed=seed))
        monitor.retrieve_weights_after_optimization_step()
        monitor.receive_losses(1, 2)
    with Image.open(monitor.make_movie(training_figure, tmp_path / "a.gif")) as gif:
        assert gif.n_frames == 2


def test_losses_are_kept_as_plain_numbers():
    monitor = TorchMonitor(mlp())
    loss = torch.tensor([1.5], requires_grad=True).mean()
    for pair in ((loss, 2), (np.float32(0.5), torch.tensor(3)), (math.nan, loss * math.inf)):
        monitor.receive_losses(*pair)
    assert monitor.train_losses == pytest.approx([1.5, 0.5, math.nan], nan_ok=True)
    assert monitor.val_losses == [2.0, 3.0, math.inf]
    assert {type(number) for number in monitor.train_losses + monitor.val_losses} == {float}


def test_loss_that_is_no_number_is_refused_and_leaves_both_lists_as_long_as_before():
    monitor = TorchMonitor(mlp())
    with pytest.raises((TypeError, ValueError, RuntimeError)):
        monitor.receive_losses(1.0, torch.ones(3))
    assert monitor.train_losses == monitor.val_losses == []


def test_layer_without_weights_yet_is_an_error_that_says_what_to_do():
    model = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.LazyLinear(3))
    before = hooks(model)  # a lazy layer has some of its own
    with pytest.raises(ValueError, match="layer 2 has no weights yet: run a batch through the model first"):
        TorchMonitor(model)
    assert hooks(model) == before
    model(batch())
    assert recorded(2, model).weights["2"][0].shape == (3, 4)


# ---- nothing is changed


def eventful():
    """Return a network in which a disturbance would show: random numbers, statistics of batches, in-place units."""
    torch.manual_seed(3)
    norm = nn.BatchNorm1d(5)
    return nn.Sequential(nn.Linear(6, 5), norm, nn.ReLU(inplace=True), nn.Dropout(0.4), nn.Linear(5, 3), nn.ReLU())


def test_training_is_bit_for_bit_that_without_a_monitor():
    traces = []
    for monitored in (False, True):
        model = eventful()
        monitor = TorchMonitor(model) if monitored else None
        torch.manual_seed(4)
        traces.append([value for seed in range(3) for value in step(model, batch(seed=seed), monitor)])
        traces[-1] += [*model.state_dict().values(), model.eval()(batch())]
    assert same(*traces)


PARAMETRIZATIONS = {
    "spectral norm": nn.utils.parametrizations.spectral_norm,  # iterates each time that the weight is read in training
    "weight norm": nn.utils.parametrizations.weight_norm,
    "orthogonal": nn.utils.parametrizations.orthogonal,
}


@pytest.mark.parametrize("parametrize", PARAMETRIZATIONS.values(), ids=PARAMETRIZATIONS)
def test_training_of_parametrized_layers_is_bit_for_bit_that_without_a_monitor(parametrize):
    traces = []
    for monitored in (False, True):
        torch.manual_seed(3)
        model = nn.Sequential(parametrize(nn.Linear(6, 5)), nn.ReLU(), parametrize(nn.Linear(5, 3)))
        monitor = TorchMonitor(model) if monitored else None
        traces.append([value for seed in range(3) for value in step(model, batch(seed=seed), monitor)])
        traces[-1] += model.state_dict().values()
    assert same(*traces)
    assert torch.allclose(monitor.weights["0"][-1], model.eval()[0].weight)


def test_what_is_stored_is_a_copy_on_the_cpu_without_a_graph():
    model, kept = mlp(), []
    model[1].register_forward_hook(lambda module, args, output: kept.extend([args[0], output]))
    with TorchMonitor(model) as monitor:
        step(model, batch(), monitor)
    stored = [monitor.weights["0"][1], monitor.net_values["1"][0], monitor.activations["1"][0]]
    before = [tensor.clone() for tensor in stored]
    with torch.no_grad():
        for tensor in (model[0].weight, *kept):
            tensor.fill_(7)
    assert same(stored, before)
    for lists in (monitor.weights, monitor.net_values, monitor.activations):
        for tensor in (tensor for tensors in lists.values() for tensor in tensors):
            assert tensor.device.type == "cpu" and not tensor.requires_grad and tensor.grad_fn is None


def test_copy_of_a_model_trains_and_records_nothing_into_the_monitor_of_the_original():
    model = eventful()
    with TorchMonitor(model) as monitor:
        twin = copy.deepcopy(model)
        step(twin, batch())
        assert lengths(monitor) == {"2": 0, "5": 0}
        step(model, batch(), monitor)
        with TorchMonitor(twin) as other:
            step(twin, batch(), other)
    assert lengths(monitor) == lengths(other) == {"2": 1, "5": 1}
    assert not torch.equal(monitor.weights["0"][0], other.weights["0"][0])


def test_state_dict_and_saved_model_know_nothing_of_the_monitor():
    model = mlp()
    keys = list(model.state_dict())
    with TorchMonitor(model) as monitor:
        assert list(model.state_dict()) == keys
        file = io.BytesIO()
        torch.save(model, file)
        file.seek(0)
        loaded = torch.load(file, weights_only=False)
        assert torch.equal(loaded(batch()), model(batch()))
    assert lengths(monitor) == {"1": 1, "3": 1}


def test_two_monitors_on_one_model_record_each_on_its_own():
    model = mlp()
    with TorchMonitor(model) as whole:
        step(model, batch(seed=0), whole)
        with TorchMonitor(model) as part:
            step(model, batch(seed=1), whole)
            part.retrieve_weights_after_optimization_step()
        step(model, batch(seed=2), whole)
    assert lengths(whole) == {"1": 3, "3": 3} and lengths(part) == {"1": 1, "3": 1}
    assert same(part.weights["0"], whole.weights["0"][1:3])
    assert torch.equal(part.net_values["3"][0], whole.net_values["3"][1])


# ---- nothing is left behind


def test_close_removes_every_hook_and_may_be_called_again():
    model = mlp()
    model[0].register_forward_hook(lambda *_: None)  # of somebody else
    before = hooks(model)
    monitor = TorchMonitor(model)
    assert hooks(model) > before
    step(model, batch(), monitor)
    for _ in range(2):
        monitor.close()
        assert hooks(model) == before
        step(model, batch())
    assert lengths(monitor) == {"1": 1, "3": 1} and len(monitor.weights["0"]) == 2


def test_hooks_are_gone_after_an_exception():
    model = Reuse()
    before = hooks(model)
    with pytest.raises(ArithmeticError), TorchMonitor(model) as monitor:
        step(model, batch(5, 4), monitor)
        model.raises = True
        step(model, batch(5, 4), monitor)
    assert hooks(model) == before
    assert lengths(monitor) == {"act": 1, "act:2": 1, "act:3": 1}


def test_forgotten_monitor_is_freed_at_once_and_the_model_goes_on():
    model = mlp()
    monitor = TorchMonitor(model)
    step(model, batch(), monitor)
    alive, matrix = weakref.ref(monitor), weakref.ref(monitor.net_values["1"][0])
    del monitor
    assert alive() is None and matrix() is None
    plain = mlp()
    step(plain, batch())
    assert torch.equal(model(batch()), plain(batch()))


# ---- forgotten calls


def test_forgotten_retrieval_of_weights_gives_a_warning_when_the_next_batch_begins():
    model = mlp()
    monitor = TorchMonitor(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        step(model, batch(), monitor)
        step(model, batch())
        model.eval()(batch())
    with pytest.warns(UserWarning, match="not retrieved: call retrieve_weights_after_optimization_step"):
        model.train()(batch())


@pytest.mark.parametrize(("short", "advice"), ADVICE.items())
def test_movie_of_lists_that_differ_in_length_says_which_is_short_and_what_to_do(short, advice, tmp_path):
    monitor = recorded()
    entries = getattr(monitor, short)
    (next(reversed(entries.values())) if isinstance(entries, dict) else entries).pop()
    with pytest.raises(ValueError, match=rf'^{short}(\["[34]"\])? is short, with 2 batches .* 3: {advice}'):
        monitor.make_movie(flat, tmp_path / "a.gif")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("losses", ["of each pass", "of each step"])
def test_passes_between_two_retrievals_are_one_batch_of_a_movie(losses, tmp_path):
    model, given = mlp(), []
    monitor = TorchMonitor(model)
    for seed in range(3):  # gradients of two batches are accumulated
        for part in range(2):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model(batch(seed=2 * seed + part)).sum().backward()
            if losses == "of each pass" or part:
                monitor.receive_losses(2 * seed + part, 0)
        monitor.retrieve_weights_after_optimization_step()

    def keep(t, *histories):
        given.append(histories)
        return flat(t, *histories)

    monitor.make_movie(keep, tmp_path / "a.gif")
    weights, net_values, activations, train_losses, _ = given[0]
    assert len(given) == 3 == len(net_values["1"]) == len(activations["3"]) == len(weights["0"]) - 1
    assert net_values["1"][1].shape == (16, 5) and len(monitor.net_values["1"]) == 6
    assert train_losses == ([0.5, 2.5, 4.5] if losses == "of each pass" else [1, 3, 5])


class Total(nn.Module):
    """A network with a ReLU of a single number."""

    def __init__(self):
        super().__init__()
        self.layer, self.relu = nn.Linear(6, 5), nn.ReLU()

    def forward(self, x):
        return self.relu(self.layer(x).sum())


@pytest.mark.parametrize(
    ("model", "sizes"),
    [
        (lambda: nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)), (8, 0)),
        (lambda: nn.Sequential(nn.Linear(6, 0), nn.ReLU(), nn.Linear(0, 3)), (8,)),
        (Total, (8, 8)),
    ],
    ids=["empty batch", "no units", "a single number"],
)
def test_movie_of_odd_shapes(model, sizes, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that no unit gets a weight
        model = model()
    with TorchMonitor(model) as monitor:
        for size in sizes:
            step(model, batch(size), monitor)
    assert monitor.make_movie(training_figure, tmp_path / "a.gif").exists()


def test_movie_of_a_model_with_an_idle_relu_names_it(tmp_path):
    model = mlp()
    model[0].idle = nn.ReLU()
    with pytest.raises(ValueError, match=r'net_values\["0.idle"\] is short, with 0 .*the pass must use this ReLU'):
        recorded(model=model).make_movie(flat, tmp_path / "a.gif")


def test_movie_without_a_batch_is_refused(tmp_path):
    with pytest.raises(ValueError, match="No batch has been recorded"):
        TorchMonitor(mlp()).make_movie(flat, tmp_path / "a.gif")


# ---- the movie


def flat(t, *histories):
    """Draw the same for each t."""
    figure, _ = plt.subplots(figsize=(0.4, 0.3), layout="none")
    return figure


def played(path):
    """Return the frames of a GIF, the seconds of each, and what holds for all."""
    with Image.open(path) as gif:
        frames = [(np.asarray(frame.convert("RGB")), frame.info["duration"]) for frame in ImageSequence.Iterator(gif)]
        return *zip(*frames, strict=True), gif.info


def flatten(histories):
    """Return all lists of a monitor's histories."""
    return [part for each in histories for part in (each.values() if isinstance(each, dict) else [each])]


def test_movie_asks_for_a_figure_after_each_batch_and_gives_it_all_lists(tmp_path, capsys):
    def fig_fun(t, *histories):
        asked.append((t, *histories))
        figure = flat(t)
        figure.set_facecolor((t / 5, 0, 0))
        return figure

    asked, monitor = [], recorded()
    path = monitor.make_movie(fig_fun, str(tmp_path / "new" / "movie.gif"), fps=20)
    assert path == tmp_path / "new" / "movie.gif"
    assert [t for t, *_ in asked] == [1, 2, 3]
    lists = monitor.weights, monitor.net_values, monitor.activations, monitor.train_losses, monitor.val_losses
    for _, *given in asked:
        assert len(given) == 5 and all(one is other for one, other in zip(flatten(given), flatten(lists), strict=True))
    frames, durations, info = played(path)
    assert [tuple(frame[0, 0]) for frame in frames] == [(51, 0, 0), (102, 0, 0), (153, 0, 0)]
    assert durations == (50, 50, movie.LAST) and info["loop"] == 0
    shown = capsys.readouterr().err
    assert "movie.gif: 100%" in shown and "3/3" in shown


@pytest.mark.parametrize("fig_fun", [flat, training_figure])
def test_dead_network_gets_a_frame_for_each_batch(fig_fun, tmp_path):
    model = mlp()
    for parameter in model.parameters():
        parameter.data.zero_()
    frames, durations, _ = played(recorded(4, model).make_movie(fig_fun, tmp_path / "dead.gif", fps=12))
    assert len(frames) == 4 and durations == (80, 80, 80, movie.LAST)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (None, "Frame 2.* NoneType"),
        (np.zeros((3, 4, 3)), "Frame 2.* ndarray"),
        (Figure(figsize=(1, 2)), "Frame 2.* figsize"),
        (ArithmeticError("sorry"), "sorry"),
    ],
)
def test_failing_figure_function_leaves_no_figure_open_and_an_old_movie_as_it_was(result, message, tmp_path):
    def fig_fun(t, *histories):
        plt.figure()  # one that is forgotten
        if t == 2 and isinstance(result, Exception):
            raise result
        return flat(t) if t < 2 else result

    mine, path = plt.figure(), tmp_path / "movie.gif"
    path.write_text("old")
    try:
        with pytest.raises((TypeError, ValueError, ArithmeticError), match=message):
            recorded().make_movie(fig_fun, path)
        assert plt.get_fignums() == [mine.number]
    finally:
        plt.close(mine)
    assert [file.name for file in tmp_path.iterdir()] == ["movie.gif"] and path.read_text() == "old"


def test_movie_closes_what_the_figure_function_opens_and_replaces_an_older_movie(tmp_path):
    def fig_fun(t, *histories):
        plt.figure()
        return flat(t)

    before, path = plt.get_fignums(), tmp_path / "movie.gif"
    path.write_text("old")
    assert len(played(recorded().make_movie(fig_fun, path))[0]) == 3
    assert plt.get_fignums() == before and [file.name for file in tmp_path.iterdir()] == ["movie.gif"]


@pytest.mark.parametrize("fps", [0, 0.5, 51, -3, math.nan])
def test_rates_that_gif_cannot_play_are_refused(fps, tmp_path):
    with pytest.raises(ValueError, match="1 to 50 frames a second"):
        recorded().make_movie(flat, tmp_path / "a.gif", fps=fps)
    assert not any(tmp_path.iterdir())


def test_relus_are_in_the_order_of_use():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.late, self.reused = nn.ReLU(), nn.ReLU()
            self.layer = nn.Linear(3, 3)

        def forward(self, x):
            return self.late(self.reused(self.reused(self.layer(x))))

    with TorchMonitor(model := Net()) as monitor:
        for _ in range(2):
            model(torch.randn(4, 3))
            monitor.retrieve_weights_after_optimization_step()
    assert list(monitor.net_values) == list(monitor.activations) == ["reused", "reused:2", "late"]
    assert {len(values) for values in monitor.net_values.values()} == {2}


def test_signals_of_batch_norms_are_those_before_and_behind_them_in_training_passes():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU())
    x = torch.randn(16, 3)
    with TorchMonitor(model) as monitor:
        before = model[0](x).square().mean().sqrt().item()
        model(x)
        model.eval()(x)
        model.train()
        with pytest.raises(RuntimeError):
            model(torch.randn(2, 5))
    ((into, out),) = monitor.norm_signals["1"]
    assert into == pytest.approx(before) and out == pytest.approx(1, abs=0.01)
