"""A movie shows every frame as it was drawn, and what is drawn step by step is what is drawn at once."""

import functools
import io
import itertools
import re
import warnings
from base64 import b64decode

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image, ImageSequence

from helpers import movie
from helpers.figures import training_figure
from helpers.movie import frames, incremental, write_gif

LOSSES = {}, {}, {}, [3.0, 1.0, 2.5, 0.5], [3.0, 2.0, 2.0, 1.5]


def played(path):
    """Return the frames of a GIF, the milliseconds of each, and what holds for all."""
    with Image.open(path) as gif:
        pairs = [(np.asarray(frame.convert("RGB")), frame.info["duration"]) for frame in ImageSequence.Iterator(gif)]
        pictures, durations = zip(*pairs, strict=True)
        return np.stack(pictures), durations, gif.info


def pictures(count, colours, shape=(5, 7), seed=0):
    """Return random pictures (count, H, W, 3) of so many colours, which all occur in each if there is room."""
    rng = np.random.default_rng(seed)
    palette = rng.choice(2**24, colours, replace=False).astype("<u4")[:, None].view(np.uint8)[:, :3]
    indices = np.arange(np.prod(shape)) % colours
    return np.stack([palette[rng.permutation(indices)].reshape(*shape, 3) for _ in range(count)])


def one_pixel(picture, y, x):
    changed = picture.copy()
    changed[y, x] = picture[0, 0]
    assert (changed != picture).any()
    return changed


# ---- GIFs


@pytest.mark.parametrize("colours", [1, 2, 16, 17, 100, 255])
def test_up_to_255_colours_are_exact(colours, tmp_path):
    given = pictures(3, colours, (20, 30))
    path = write_gif(tmp_path / "a.gif", given, fps=10)
    assert path == tmp_path / "a.gif"
    np.testing.assert_array_equal(played(path)[0], given)


def test_greys_are_exact(tmp_path):
    """Pillow has a palette of its own, of greys, that must not get in the way."""
    greys = np.random.default_rng(0).permutation(200).astype(np.uint8).reshape(10, 20)
    given = np.stack([np.stack([picture] * 3, axis=-1) for picture in (greys, greys.T.reshape(10, 20))])
    np.testing.assert_array_equal(played(write_gif(tmp_path / "a.gif", given, 10))[0], given)


def test_plot_keeps_its_colours_but_for_the_rims(tmp_path):
    def plot(t, *histories):
        figure, ax = plt.subplots(figsize=(3, 2))
        ax.plot(np.sin(np.arange(50) * t / 5), label="sine")
        ax.scatter(np.arange(50), np.cos(np.arange(50) / t), c=np.arange(50))
        ax.legend()
        return figure

    given = np.stack(list(frames(plot, (), 3)))
    assert len(np.unique(given.reshape(-1, 3), axis=0)) > 300
    error = np.linalg.norm(played(write_gif(tmp_path / "a.gif", given, 10))[0].astype(float) - given, axis=-1)
    assert 0 < error.max() <= movie.TOLERANCE and (error == 0).mean() > 0.9


def test_of_too_many_colours_the_frequent_ones_are_exact_and_the_others_near(tmp_path):
    given = pictures(3, 3000, (50, 60))
    given[:, :10] = [200, 30, 40]
    got = played(write_gif(tmp_path / "a.gif", given, 10))[0]
    np.testing.assert_array_equal(got[:, :10], given[:, :10])
    error = np.linalg.norm(got.astype(float) - given, axis=-1)
    assert error.max() < 50 and error.mean() < 25  # 255 colours in the cube lie some 40 apart


PATTERNS = {
    "one alone": "a",
    "all equal": "aaaaa",
    "equal at the start": "aaab",
    "equal at the end": "abbb",
    "runs of equal ones": "aabbbacccb",
    "as the one before the last": "abababab",
    "one pixel to and fro": "axaxxaaxa",
    "two pixels in turn": "axyaayxxya",
    "first pixel to and fro": "aoaoooaabo",
}


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
def test_no_frame_is_merged_with_the_one_before(pattern, tmp_path):
    a, b, c = pictures(3, 20)
    shown = {"a": a, "b": b, "c": c, "x": one_pixel(a, 2, 3), "y": one_pixel(a, 4, 6), "o": np.array(a)}
    shown["o"][0, 0] = a[1, 1]
    given = np.stack([shown[letter] for letter in pattern])
    got, durations, info = played(write_gif(tmp_path / "a.gif", given, 8))
    np.testing.assert_array_equal(got, given)
    assert (
        durations[-1] == movie.LAST
        and {*durations[:-1]} <= {120, 130}
        and len(durations) == len(given)
        and info["loop"] == 0
    )


@given(data=st.data(), colours=st.integers(1, 40), shape=st.tuples(st.integers(1, 8), st.integers(1, 8)))
@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_frame_is_shown_as_it_was_given(data, colours, shape, tmp_path):
    few = pictures(3, colours, shape)
    few[2] = few[1]
    few[2].flat[:3] = few[0].flat[-3:]  # which differs in one pixel, if at all
    shown = few[data.draw(st.lists(st.integers(0, 2), min_size=1, max_size=15), label="frames")]
    np.testing.assert_array_equal(played(write_gif(tmp_path / "a.gif", shown, 10))[0], shown)


@pytest.mark.parametrize(
    ("fps", "duration"), [(1, 1000), (10, 100), (12, 80), (15, 70), (30, 30), (50, 20), (12.5, 80)]
)
def test_frames_last_hundredths_of_a_second(fps, duration, tmp_path):
    assert played(write_gif(tmp_path / "a.gif", pictures(2, 3), fps))[1] == (duration, movie.LAST)


@pytest.mark.parametrize(
    "third", [np.zeros((5, 7, 3)), *(np.zeros(shape, np.uint8) for shape in ((5, 7), (5, 7, 4), (7, 5, 3))), None]
)
def test_unfit_frame_is_named(third, tmp_path):
    with pytest.raises(ValueError, match="Frame 3"):
        write_gif(tmp_path / "a.gif", [*pictures(2, 3), third], 10)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("fps", [0.9, 50.1, float("nan")])
def test_what_cannot_be_played_is_refused_before_anything_is_drawn(fps, tmp_path):
    with pytest.raises(ValueError, match="choose fps within"):
        write_gif(tmp_path / "a.gif", (1 / 0 for _ in range(3)), fps)
    with pytest.raises(ValueError, match="needs at least one frame"):
        write_gif(tmp_path / "a.gif", iter([]), 10)


@pytest.mark.parametrize("old", [None, b"old"])
def test_frames_that_fail_half_way_leave_the_folder_as_it_was(old, tmp_path):
    def failing():
        yield from pictures(2, 3)
        raise ArithmeticError

    path = tmp_path / "a.gif"
    if old:
        path.write_bytes(old)
    with pytest.raises(ArithmeticError):
        write_gif(path, failing(), 10)
    assert [file.read_bytes() for file in tmp_path.iterdir()] == ([old] if old else [])


def test_frames_may_be_overwritten_after_they_were_given(tmp_path):
    def same_array():
        frame = np.zeros((4, 4, 3), np.uint8)
        for value in (10, 20, 20, 30):
            frame[...] = value
            yield frame

    assert played(write_gif(tmp_path / "a.gif", same_array(), 10))[0][:, 0, 0, 0].tolist() == [10, 20, 20, 30]


# ---- figures


def plain(fig_fun):
    """Hide from movies that a function is incremental."""
    return lambda t, *histories: fig_fun(t, *histories)


def same_both_ways(fig_fun, histories, at=None):
    """Compare the movie drawn step by step with whole figures, of all batches or those of `at`; without a warning."""
    steps = len(histories[3])
    at = at or range(1, steps + 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        step_by_step = [*frames(fig_fun, histories, steps)]
        whole = [*frames(lambda i, *histories: fig_fun(at[i - 1], *histories), histories, len(at))]
    assert len(step_by_step) == steps and not np.array_equal(step_by_step[0], step_by_step[-1])
    return np.array_equal([step_by_step[t - 1] for t in at], whole)


def history(linears, relus=None, shape=(8, 5), steps=2, seed=0):
    """Return what a TorchMonitor could have recorded, with layers l1 ... and ReLUs r1 ..."""
    rng = torch.Generator().manual_seed(seed)
    relus = linears - 1 if relus is None else relus
    weights = {f"l{i}": [torch.randn(4, 3, generator=rng) for _ in range(steps + 1)] for i in range(1, linears + 1)}
    net_values = {f"r{i}": [torch.randn(*shape, generator=rng) for _ in range(steps)] for i in range(1, relus + 1)}
    activations = {name: [values.relu() for values in lists] for name, lists in net_values.items()}
    return (
        weights,
        net_values,
        activations,
        [2.3 - 0.4 * t for t in range(steps)],
        [2.4 - 0.3 * t for t in range(steps)],
    )


def broken():
    histories = history(2, steps=3)
    weights, net_values, activations, train_losses, val_losses = histories
    weights["l1"][2][0, 0] = np.nan
    net_values["r1"][1][0] = np.inf
    activations["r1"][2][:] = np.nan
    train_losses[1], val_losses[2] = np.inf, np.nan
    return histories


def hopeless():
    """Nothing but NaN, from the first weights on."""
    *lists, train_losses, val_losses = history(2)
    nan = [{name: [np.nan * tensor for tensor in tensors] for name, tensors in tensors.items()} for tensors in lists]
    return *nan, [np.nan] * len(train_losses), [np.nan] * len(val_losses)


HISTORIES = {
    **{f"{n} layers": lambda n=n: history(n) for n in range(2, 7)},
    "feature maps": lambda: history(2, 2, shape=(4, 3, 5, 5)),
    "no ReLU": lambda: history(1),
    "no Linear": lambda: history(0, 2),
    "neither": lambda: history(0, 0),
    "more ReLUs than Linears": lambda: history(1, 3),
    "NaN and Inf": broken,
    "NaN only": hopeless,
}


@pytest.mark.parametrize("name", HISTORIES)
def test_training_figure_is_the_same_both_ways(name):
    histories = HISTORIES[name]()
    assert same_both_ways(training_figure, histories, at=None if name == "2 layers" else [len(histories[3])])


def picture(figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3].astype(int)


def test_rectangles_are_painted_as_matplotlib_draws_them(monkeypatch):
    figure = Figure(figsize=(2, 1), dpi=100, layout="none")
    rng = np.random.default_rng(0)
    corners = rng.integers(0, (150, 60), (20, 2))
    movie.Rectangles(figure, np.hstack([corners, corners + rng.integers(0, 40, (20, 2))]), rng.random((20, 3)))
    painted = picture(figure)
    monkeypatch.setattr(movie, "RendererAgg", type(None))
    assert np.array_equal(painted, picture(figure)) and len(np.unique(painted)) > 20


@pytest.mark.parametrize("style", [{}, {"ha": "right", "va": "center", "color": "C1", "fontweight": "bold"}])
@pytest.mark.parametrize("at", [(100, 51), (20, 95), (190, -3)])  # odd, as matplotlib 3.8 rounds halves to even
def test_words_are_those_of_matplotlib_but_for_the_shades_of_their_rims(monkeypatch, at, style):
    figure = Figure(figsize=(2, 1), dpi=100, layout="none")
    words = movie.Words(figure, *at, "", fontsize=9, **style)
    assert (picture(figure) == 255).all()
    words.set_text("loss 2.30 |Δw|")
    painted = picture(figure)
    monkeypatch.setattr(movie, "RendererAgg", type(None))
    drawn = picture(figure)
    assert np.abs(painted - drawn).max() <= 33 and (drawn < 255).any()
    assert len(np.unique(painted.reshape(-1, 3), axis=0)) <= 5


@pytest.mark.parametrize("options", [{"dpi": 60}, {"bbox_inches": "tight"}, {"format": "svg"}])
def test_training_figure_can_be_saved_in_other_ways(options):
    figure = training_figure(2, *history(2))
    figure.savefig(buffer := io.BytesIO(), **options)
    assert len(buffer.getvalue()) > 5000


@incremental
def maps(weights, net_values, activations, train_losses, val_losses):
    """Change artists only: an image, in part transparent, and texts."""
    figure, (ax, other) = plt.subplots(1, 2, figsize=(2, 1), layout="none")
    image = ax.imshow(np.full((3, 4), np.nan), vmin=0, vmax=4)
    other.plot([0, 1])
    texts = [ax.set_title(""), other.text(0.2, 0.5, "")]
    yield figure, [image, *texts]
    for t, loss in enumerate(train_losses, 1):
        values = np.arange(12.0).reshape(3, 4) / t
        values[t % 3] = np.nan
        image.set_data(values)
        texts[t % 2].set_text(f"{loss:.1f}")
        yield []


@incremental
def dots(weights, net_values, activations, train_losses, val_losses):
    """Add half transparent dots and segments over each other, in a layout that matplotlib finds."""
    figure, ax = plt.subplots(figsize=(3, 2), layout="constrained")
    ax.set(xlim=(0, 5), ylim=(0, 4), xlabel="batch", ylabel="loss\nin nats")
    clock = figure.suptitle("batch")
    colours = ax.scatter([], [], c=[], vmin=0, vmax=4)
    figure.colorbar(colours)
    yield figure, [clock]
    before = 0, 4
    for t, (loss, other) in enumerate(zip(train_losses, val_losses, strict=True), 1):
        clock.set_text(f"batch {t}\nof {len(train_losses)}")
        segment = ax.plot(*zip(before, (t, loss), strict=True), linewidth=4, color="C1", alpha=0.5)
        yield [*segment, ax.scatter([t, t], [loss, other], c=[loss, other], vmin=0, vmax=4, s=99, alpha=0.5)]
        before = t, loss


@incremental
def without_pyplot(weights, net_values, activations, train_losses, val_losses):
    figure = Figure(figsize=(2, 1), layout="tight")
    ax = figure.subplots()
    ax.set(xlim=(0, 5), ylim=(0, 4))
    yield figure, []
    for t, loss in enumerate(train_losses, 1):
        yield ax.bar([t], [loss])


@pytest.mark.parametrize("fig_fun", [maps, dots, without_pyplot])
def test_other_incremental_functions_are_the_same_both_ways(fig_fun):
    assert same_both_ways(fig_fun, LOSSES)


def test_layout_that_matplotlib_finds_is_that_of_the_first_figure():
    expected, _ = next(dots.incremental(*LOSSES))
    plt.close(expected)
    expected.draw_without_rendering()
    before, after = ([ax.get_position().bounds for ax in figure.axes] for figure in (expected, dots(3, *LOSSES)))
    assert before == after


class Counted(Line2D):
    draws = 0

    def draw(self, renderer):
        type(self).draws += 1
        super().draw(renderer)


@pytest.mark.parametrize("steps", [1, 5, 10])
def test_step_by_step_draws_each_added_artist_once(steps, monkeypatch):
    @incremental
    def lines(weights, net_values, activations, train_losses, val_losses):
        figure, ax = plt.subplots(figsize=(1, 1), layout="none")
        fixed, changing = ax.add_line(Counted([0, 1], [0, 0])), ax.add_line(Counted([0, 1], [1, 1]))
        assert fixed.axes is ax
        yield figure, [changing]
        for t in range(steps):
            yield [ax.add_line(Counted([0, 1], [0, t])), ax.add_line(Counted([0, 1], [t, 1]))]

    histories = {}, {}, {}, [1.0] * steps, [1.0] * steps
    monkeypatch.setattr(Counted, "draws", 0)
    assert len(list(frames(lines, histories, steps))) == steps
    assert Counted.draws == 1 + steps + 2 * steps
    monkeypatch.setattr(Counted, "draws", 0)
    assert len(list(frames(plain(lines), histories, steps))) == steps
    assert Counted.draws == 2 * steps + steps * (steps + 1)


def test_incremental_function_goes_no_further_than_asked():
    @incremental
    def counting(*histories):
        figure = Figure(figsize=(1, 1))
        yield figure, []
        for t in itertools.count(1):
            went.append(t)
            yield []

    went = []
    assert isinstance(counting(2, *LOSSES), Figure) and went == [1, 2]
    went.clear()
    drawn = frames(counting, LOSSES, 4)
    assert next(drawn).shape == (100, 100, 3) and went == [1]
    assert len([*drawn]) == 3 and went == [1, 2, 3, 4]


def test_incremental_function_keeps_its_name_and_is_a_figure_function_like_others():
    assert dots.__name__ == "dots" and dots.__doc__.startswith("Add half transparent dots")
    figure = dots(3, *LOSSES)
    assert isinstance(figure, Figure) and figure.get_suptitle() == "batch 3\nof 4"
    assert len(figure.axes[0].lines) == 3


@pytest.mark.parametrize("t", [-1, 0, 5])
def test_batch_that_was_not_processed_is_refused(t):
    with pytest.raises(ValueError, match=rf"t = 1 \.\.\. 4, the batches processed so far, not for {t}\."):
        dots(t, *LOSSES)


def test_function_around_an_incremental_one_is_asked_itself():
    @functools.wraps(dots)
    def red(t, *histories):
        figure = dots(t, *histories)
        figure.set_facecolor("red")
        return figure

    assert all((picture[0, 0] == (255, 0, 0)).all() for picture in frames(red, LOSSES, 2))


def returns(*yields):
    """Return an incremental function that opens a figure, and yields other things than it should."""

    @incremental
    def odd(*histories):
        figure, _ = plt.subplots(figsize=(1, 1))
        for value in yields:
            if value is ArithmeticError:
                plt.figure()
                raise ArithmeticError("sorry")
            yield (figure, []) if value == "figure" else value

    return odd


@incremental
def no_generator(*histories):
    return plt.figure()


@pytest.mark.parametrize(
    ("fig_fun", "message"),
    [
        (no_generator, r"no_generator must first yield \(figure, list of the artists that change\), not Figure"),
        (returns(), r"odd must first yield \(figure, list .*not None"),
        (returns(ArithmeticError), "sorry"),
        (returns([]), r"odd must first yield \(figure, list .*not \[\]"),
        (returns("figure", [], None), "Frame 2: odd must yield a list of the artists it adds, not None"),
        (returns("figure", [], Line2D([], [])), "Frame 2: odd must yield a list .*Line2D"),
        (returns("figure", [], [3]), r"Frame 2: odd must yield a list .*not \[3\]"),
        (returns("figure", [], []), "Frame 3: odd must yield a list of the artists it adds, not None"),
        (returns("figure", [], ArithmeticError), "sorry"),
    ],
)
@pytest.mark.parametrize("way", [lambda fig_fun: fig_fun, plain])
def test_incremental_function_that_fails_says_where_and_leaves_no_figure_open(fig_fun, message, way):
    before = plt.get_fignums()
    with pytest.raises((TypeError, ArithmeticError), match=message):
        list(frames(way(fig_fun), LOSSES, 4))
    assert plt.get_fignums() == before


def test_figures_need_not_come_from_pyplot_and_may_be_one_that_grows():
    figure = Figure(figsize=(1, 1))
    ax = figure.subplots()
    ax.set(xlim=(0, 3), ylim=(0, 3))

    def growing(t, *histories):
        ax.plot([0, t], [t, 0])
        return figure

    one, two, three = frames(growing, LOSSES, 3)
    assert (one != two).any() and (two != three).any() and (one != three).any()


def test_figure_that_was_open_before_stays_open():
    figure = plt.figure(figsize=(1, 1))
    try:
        assert len([*frames(lambda t, *histories: figure, LOSSES, 4)]) == 4
        assert figure.number in plt.get_fignums()
    finally:
        plt.close(figure)


def test_embedded_html_holds_the_whole_file(tmp_path):
    path = movie.write_gif(tmp_path / "run.gif", [np.full((9, 9, 3), 7, np.uint8)] * 2, fps=10)
    content = re.search(r'src="data:image/gif;base64,([^"]+)"', movie.embedded(path).data).group(1)
    assert b64decode(content) == path.read_bytes()
