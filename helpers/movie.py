"""Frames -> GIF with imageio, and figure functions that need not start anew for each frame.

A movie shows the figures that `fig_fun(t, weights, net_values, activations, train_losses, val_losses)` returns for
t = 1 ... T. Any such function will do, but one that draws all the history again for each t costs T * T in all. Where a
figure at t is the one at t - 1 with something added, write it once as a generator instead:

    @incremental
    def loss_figure(weights, net_values, activations, train_losses, val_losses):
        figure, ax = plt.subplots()
        ax.set(xlim=(0, len(train_losses) + 1), ylim=(0, max(train_losses)))  # the same for the whole movie
        clock = ax.set_title("")
        yield figure, [clock]                        # first: the figure without a batch, and the artists that change
        for t, loss in enumerate(train_losses, 1):
            clock.set_text(f"batch {t}")
            yield [ax.scatter(t, loss)]              # then, for each batch: the artists that it adds

`loss_figure(t, weights, ...)` is a figure function like any other, and a movie draws every artist only once. Both show
the same, as long as a step moves nothing else: limits, ticks and layout. What it adds lies above all from before.
"""

import contextlib
import functools
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import imageio.v3 as iio
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import HTML
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import IdentityTransform

from helpers import session

FPS = 10  # frames a second
LAST = 2000  # milliseconds that the last frame stays
PALETTE = 255  # colors that a GIF can have, but for the one that stands for "as before"
FREQUENT = 64  # colors that are kept exactly
TOLERANCE = 28  # of other colors, as a distance in RGB space: it changes the rims of lines and letters only
RGB = np.array([255, 255, 255, 0], np.uint8).view(np.uint32)[0]  # masks the fourth channel
ABOVE = 50  # zorder of what a step adds: above all that was there before, as it is drawn onto it


def incremental(draw: Callable[..., Iterator]) -> Callable[..., Figure]:
    """Make the generator `draw`, written as this module says, a figure function that movies draw step by step."""

    @functools.wraps(draw)
    def fig_fun(t, weights, net_values, activations, train_losses, val_losses, **options):
        steps = len(train_losses)
        if not 1 <= t <= steps:
            raise ValueError(f"There are figures for t = 1 ... {steps}, the batches processed so far, not for {t}.")
        histories = weights, net_values, activations, train_losses, val_losses
        *_, (figure, _, _) = _steps(functools.partial(draw, **options), histories, t)
        return figure

    fig_fun.incremental = draw
    return fig_fun


def frames(fig_fun: Callable[..., Figure], histories: tuple, steps: int) -> Iterator[np.ndarray]:
    """Yield the pictures, uint8 (H, W, 3), of `fig_fun(t, *histories)` for t = 1 ... steps; no figure stays open.

    Raises TypeError for a function that returns no Figure.
    """
    function, options = fig_fun, {}
    if isinstance(fig_fun, functools.partial) and not fig_fun.args:
        function, options = fig_fun.func, fig_fun.keywords
    draw = getattr(function, "incremental", None)
    if draw and draw is getattr(function, "__wrapped__", None):  # functools.wraps hands the mark on to other functions
        yield from _drawn_on(_steps(functools.partial(draw, **options), histories, steps))
        return
    for t in range(1, steps + 1):
        with _none_left_open():
            figure = fig_fun(t, *histories)
        if not isinstance(figure, Figure):
            name, returned = getattr(fig_fun, "__name__", "the figure function"), type(figure).__name__
            raise TypeError(f"Frame {t}: {name} returned {returned}, not a matplotlib Figure: return the Figure.")
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        yield np.array(canvas.buffer_rgba())[..., :3]


def write_gif(path: str | Path, frames: Iterable[np.ndarray], fps: float = FPS) -> Path:
    """Write frames, uint8 (H, W, 3), as a GIF that repeats for ever; return its path, where nothing half-made appears.

    Every frame is kept, also one that equals the frame before; the last stays for two seconds. GIF counts in hundredths
    of a second: 12 frames a second become 12.5. Up to 255 colors are exact; of more, the frequent ones. Raises
    ValueError for rates beyond 1 ... 50, no frames, and a frame of another shape or type; session.CannotSave on a full
    disk or in a read-only folder.
    """
    if not 1 <= fps <= 50:
        raise ValueError(f"GIFs play 1 to 50 frames a second, not {fps}: choose fps within.")
    session.check_saving(Path(path).parent)  # before the frames are drawn
    shape, changes = _changes(frames)
    palette, index_of = _palette(np.concatenate([colors for _, colors in changes]))
    images = _index_images(shape, changes, index_of, transparent=len(palette))
    colors = np.concatenate([palette, [[255, 255, 255]]]).astype(np.uint8).tobytes()
    durations = [10 * round(100 / fps)] * (len(images) - 1) + [LAST]
    options = {"palette": colors, "transparency": len(palette), "loop": 0}
    options |= {"duration": durations if len(images) > 1 else LAST}
    options |= {"disposal": 1, "optimize": False}  # over the frame before; with older Pillows optimizing is slow
    gif = iio.imwrite("<bytes>", images, extension=".gif", is_batch=True, mode="P", **options)
    with session.saving(Path(path)), session.new_file(path) as temporary:
        temporary.write_bytes(gif)
    return Path(path)


def embedded(path: str | Path) -> HTML:
    """Return a GIF as HTML that holds the file itself: it plays in a saved notebook and in its HTML export."""
    content = b64encode(Path(path).read_bytes()).decode()
    return HTML(f'<img alt="{Path(path).stem}, batch by batch" src="data:image/gif;base64,{content}">')


def _steps(draw, histories: tuple, steps: int) -> Iterator[tuple[Figure, list[Artist], list[Artist]]]:
    """Yield (figure, artists that change, artists added) for the figure without a batch, and after each batch."""
    with _none_left_open():
        drawing = draw(*histories)
        first = next(drawing, None) if isinstance(drawing, Iterator) else drawing
    if not isinstance(first, tuple) or len(first) != 2 or not isinstance(first[0], Figure):
        name = draw.func.__name__
        raise TypeError(f"{name} must first yield (figure, list of the artists that change), not {first}.")
    figure, changing = first
    if figure.get_layout_engine() is not None:
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    plt.setp(changing, zorder=ABOVE + 1)
    yield figure, changing, []
    for t in range(1, steps + 1):
        with _none_left_open():
            added = next(drawing, None)
        if not isinstance(added, (list, tuple)) or not all(isinstance(artist, Artist) for artist in added):
            raise TypeError(f"Frame {t}: {draw.func.__name__} must yield a list of the artists it adds, not {added}.")
        plt.setp(added, zorder=ABOVE)
        yield figure, changing, added


def _drawn_on(steps: Iterator) -> Iterator[np.ndarray]:
    """Yield the pictures of a drawing, each made from the one before by what its step adds."""
    figure, changing, _ = next(steps)
    canvas = FigureCanvasAgg(figure)
    plt.setp(changing, animated=True)  # not part of what stays
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())
    for _, _, added in steps:
        for artist in added:
            artist.draw(canvas.renderer)
        kept = pixels.copy()
        for artist in changing:
            artist.draw(canvas.renderer)
        yield pixels.copy()[..., :3]  # the copy of three channels alone takes ten times as long
        pixels[:] = kept


class Rectangles(Artist):
    """Filled rectangles on whole pixels of a figure, which are painted straight into a picture of its own size.

    boxes: (N, 4) left, bottom, right, top in pixels of the figure at its own dpi, from its lower left corner; of one
    without width or height nothing is seen. colors: (N, 3), RGB from 0 to 1.
    """

    def __init__(self, figure: Figure, boxes=(), colors=()):
        super().__init__()
        self.change(boxes, colors)
        self._size = np.rint(figure.bbox.size)  # now: saving with a tight box changes it for a while
        figure.add_artist(self)

    def change(self, boxes, colors) -> None:
        """Take other rectangles."""
        self.boxes = np.rint(np.reshape(boxes, (-1, 4))).astype(int)
        self.colors = np.reshape(colors, (-1, 3))

    def get_window_extent(self, renderer=None):
        """Return the whole figure, so that nothing of it is cut off where it is saved with a tight box."""
        return self.figure.bbox

    def draw(self, renderer) -> None:
        """Paint them, in a fraction of matplotlib's time; at another dpi or in another format draw them."""
        if isinstance(renderer, RendererAgg) and np.array_equal((renderer.width, renderer.height), self._size):
            self._paint(np.asarray(renderer.buffer_rgba()))
            return
        corners = (self.boxes / np.tile(self._size, 2))[:, [[0, 1], [2, 1], [2, 3], [0, 3]]]
        shapes = PolyCollection(corners, facecolors=self.colors, linewidths=0, antialiaseds=False, snap=False)
        shapes.set(transform=self.figure.transFigure, figure=self.figure)
        shapes.draw(renderer)

    def _paint(self, pixels: np.ndarray) -> None:
        bytes_of = np.full((len(self.boxes), 4), 255, np.uint8)
        bytes_of[:, :3] = np.rint(255 * self.colors)
        colors, whole, height = bytes_of.view(np.uint32)[:, 0], pixels.view(np.uint32)[..., 0], len(pixels)
        for left, bottom, right, top, color in zip(*self.boxes.T.tolist(), colors, strict=True):
            whole[height - top : height - bottom, left:right] = color


class Words(Text):
    """Text at pixels (x, y) of a figure, whose shape is kept: the same words are made into pixels once in a process.

    Its rims have three shades: each color costs a GIF time and bytes.
    """

    def __init__(self, figure: Figure, x: float, y: float, words: str = "", **style):
        width, height = figure.bbox.size
        super().__init__(x / width, y / height, words, **style)
        self.set_transform(figure.transFigure)
        figure.add_artist(self)

    def draw(self, renderer) -> None:
        """Draw the words as any text, but for the shades, wherever the picture is of pixels."""
        if not isinstance(renderer, RendererAgg):
            super().draw(renderer)
        elif self.get_text().strip():
            style = self.get_fontsize(), self.get_fontweight(), self.get_ha(), self.get_va()
            shade, left, top = _letters(self.get_text(), self.figure.dpi, *style)
            x, y = np.rint(self.get_transform().transform(self.get_position())).astype(int)
            pixels = np.asarray(renderer.buffer_rgba())
            row, column = len(pixels) - y + top, x + left
            below, right = row + shade.shape[0], column + shade.shape[1]
            part = pixels[max(0, row) : max(0, below), max(0, column) : max(0, right), :3]
            shade = shade[max(0, -row) :, max(0, -column) :][: part.shape[0], : part.shape[1], None]
            part[:] = np.rint(part + (255 * np.array(to_rgb(self.get_color())) - part) * shade)


@functools.lru_cache(10_000)
def _letters(words: str, dpi: float, size: float, weight, ha: str, va: str) -> tuple[np.ndarray, int, int]:
    """Return how dark each pixel of the words is, 0 to 1, and where they begin, right of and below their anchor."""
    width, height = int(len(words) * size * dpi / 72) + 10, int(size * dpi / 36) + 10
    renderer = RendererAgg(2 * width, 2 * height, dpi)
    text = Text(width, height, words, fontsize=size, fontweight=weight, ha=ha, va=va)
    text.set(figure=Figure(dpi=dpi), transform=IdentityTransform())
    text.draw(renderer)
    shade = np.rint(np.asarray(renderer.buffer_rgba())[..., 3] / 255 * 4) / 4
    rows, columns = (np.flatnonzero(shade.any(axis=axis)) for axis in (1, 0))
    top, left = int(rows[0]), int(columns[0])
    return shade[top : rows[-1] + 1, left : columns[-1] + 1], left - width, top - height


@contextlib.contextmanager
def _none_left_open() -> Iterator[None]:
    """Close the figures that the block opens; they can still be drawn."""
    before = set(plt.get_fignums())
    try:
        yield
    finally:
        for number in set(plt.get_fignums()) - before:
            plt.close(number)


# ---- frames -> GIF


def _changes(frames: Iterable[np.ndarray]) -> tuple[tuple[int, int], list]:
    """Return the frames' (H, W) and for each frame which pixels change, and to which colors, RGB0 as one uint32 each.

    Memory grows with the pixels that change, not with all of them.
    """
    changes, previous = [], None
    for number, frame in enumerate(map(np.asarray, frames), 1):
        shape = frame.shape[:2] if previous is None else previous.shape
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape != (*shape, 3):
            advice = "give uint8 arrays (height, width, 3), and every figure the same figsize and dpi"
            raise ValueError(f"Frame {number} is {frame.dtype} {frame.shape}: {advice}.")
        colors = _packed(frame)
        where = np.flatnonzero(colors != previous) if changes else np.arange(colors.size)
        changes.append((where.astype(np.uint32), colors.flat[where]))
        previous = colors
    if not changes:
        raise ValueError("A movie needs at least one frame, and there are none.")
    return shape, changes


def _packed(frame: np.ndarray) -> np.ndarray:
    """Return the colors RGB0 of a frame (H, W, 3) as one uint32 each; without a copy where it is a part of RGBA."""
    whole = frame.base
    if whole is not None and whole.shape == (*frame.shape[:2], 4) and whole.ctypes.data == frame.ctypes.data:
        return np.ascontiguousarray(whole).view(np.uint32)[..., 0] & RGB
    rgb0 = np.zeros((*frame.shape[:2], 4), np.uint8)
    rgb0[..., :3] = frame
    return rgb0.view(np.uint32)[..., 0]


def _palette(colors: np.ndarray) -> tuple[np.ndarray, Callable]:
    """Return at most PALETTE colors, uint8 (n, 3), and a function from uint32 RGB0 to indices of the nearest ones.

    Of more colors the most frequent are exact. Then come those that are farthest from all chosen ones, until none is
    farther than TOLERANCE: a small palette keeps files small, and Pillow's time grows with its cube.
    """
    values, counts = np.unique(colors, return_counts=True)
    rgb = values[:, None].view(np.uint8)[:, :3].astype(np.int32)
    tolerance = TOLERANCE if len(values) > PALETTE else 0
    chosen = np.argsort(-counts, kind="stable")[:FREQUENT].tolist()
    nearest, distance = np.zeros(len(values), np.uint8), np.full(len(values), np.iinfo(np.int32).max)
    for n in range(PALETTE):
        if n >= len(chosen):
            if distance.max() <= tolerance**2:
                break
            chosen.append(distance.argmax())
        to_new = ((rgb - rgb[chosen[n]]) ** 2).sum(axis=1)
        nearest[to_new < distance] = n
        distance = np.minimum(distance, to_new)
    return rgb[chosen].astype(np.uint8), lambda some: nearest[np.searchsorted(values, some)]


def _index_images(shape: tuple[int, int], changes: list, index_of: Callable, transparent: int) -> np.ndarray:
    """Return palette indices (T, H, W) with what stays left transparent.

    Pillow merges equal images. They never are: one pixel, where it costs no bytes, is drawn anew if the image before
    left it out, and only then or if it changes.
    """
    images = np.full((len(changes), *shape), transparent, np.uint8)
    shown = np.full(shape, transparent, np.uint8)
    pixel = next((where[:1] for where, _ in changes[1:] if len(where)), np.zeros(1, np.uint32))
    for number, (image, (where, colors)) in enumerate(zip(images, changes, strict=True)):
        new = index_of(colors)
        changed = shown.flat[where] != new
        image.flat[where[changed]] = shown.flat[where[changed]] = new[changed]
        if number and images[number - 1].flat[pixel] == transparent:
            image.flat[pixel] = shown.flat[pixel]
    return images
