"""Generated data sets in the shapes of MNIST, FashionMNIST and CIFAR-10, for machines that cannot get the real ones.

Every class is drawn as some dozen tiles: flat shapes in up to three parts (cloth and collar, hull and windows).
An image takes one of them, bends and moves it, and paints its parts. It says nothing about the real data set.
"""

from pathlib import Path

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path as Outline
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D, IdentityTransform

SEED = 2024
CLASS_COUNT = 10
VARIANTS = 64  # tiles of a class
TILE = 40  # pixels
CHUNK = 100  # images made at once: what is computed on the way stays in the processor's cache

FONTS = [
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSansMono-Oblique", "DejaVuSerif"),
    *("DejaVuSerif-Bold", "DejaVuSerif-Italic", "STIXGeneral", "STIXGeneralItalic", "cmr10", "cmss10", "cmtt10"),
]

# Where the objects of the ten CIFAR-10 classes tend to be, and how they tend to be coloured (RGB).
SURROUNDINGS = [
    (0.60, 0.70, 0.84), (0.50, 0.48, 0.46), (0.50, 0.60, 0.46), (0.56, 0.48, 0.42), (0.44, 0.50, 0.32),
    (0.56, 0.52, 0.44), (0.42, 0.42, 0.26), (0.50, 0.56, 0.40), (0.46, 0.60, 0.72), (0.58, 0.56, 0.54),
]  # fmt: skip
COLOURS = [
    (0.74, 0.74, 0.78), (0.58, 0.30, 0.30), (0.46, 0.38, 0.32), (0.44, 0.38, 0.34), (0.52, 0.40, 0.26),
    (0.56, 0.46, 0.36), (0.42, 0.48, 0.22), (0.42, 0.28, 0.18), (0.44, 0.44, 0.50), (0.60, 0.44, 0.36),
]  # fmt: skip

# A shape is its part (0, 1, 2; None erases), its outline in the unit square (y upwards), and a change of its
# stroke width in pixels.
Shape = tuple[int | None, Outline, float]


def make(name: str, copies: int = 1) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return train images, train labels, test images, test labels: uint8 (N, C, H, W) and int64 (N,).

    They are the same on each call, and the global random states are left alone. With `copies` each image is there so
    many times, drawn after fewer tiles, which is quicker.
    """
    draw, paint, channels, size, train_count = {
        "MNIST": (_digit, _paint_ink, 1, 28, 60_000),
        "FashionMNIST": (_garment, _paint_cloth, 1, 28, 60_000),
        "CIFAR10": (_object, _paint_scene, 3, 32, 50_000),
    }[name]
    numpy_rng, rng = np.random.default_rng(SEED), torch.Generator().manual_seed(SEED)
    tiles = _render([draw(label, numpy_rng) for label in range(CLASS_COUNT) for _ in range(VARIANTS // copies)])
    splits = []
    for count in (train_count, 10_000):
        labels = torch.randperm(count // copies, generator=rng) % CLASS_COUNT
        images = torch.empty(len(labels), channels, size, size, dtype=torch.uint8)
        for chunk, part in zip(images.split(CHUNK), labels.split(CHUNK), strict=True):
            chunk.copy_(paint(tiles, part, size, rng).clamp(0, 1).mul(255).round())
        splits += [images.repeat(copies, 1, 1, 1), labels.repeat(copies)]
    return tuple(splits)


# --- tiles ------------------------------------------------------------------------------------------------------------


def _render(tiles: list[list[Shape]]) -> torch.Tensor:
    """Draw each list of shapes, later ones on top: float32 (tiles, 3, TILE, TILE), the coverage by each part."""
    columns = 32
    rows = -(-len(tiles) // columns)
    figure = Figure(figsize=(columns * TILE / 72, rows * TILE / 72), dpi=72, facecolor="black")
    paths, faces, edges, widths = [], [], [], []
    for index, shapes in enumerate(tiles):
        place = Affine2D().scale(TILE).translate(index % columns * TILE, (rows - 1 - index // columns) * TILE)
        for part, outline, stroke in shapes:
            colour = [float(part == channel) for channel in range(3)]  # the parts are drawn as red, green and blue
            paths.append(outline.transformed(place))
            faces.append(colour)
            edges.append(colour if stroke > 0 else "black")
            widths.append(abs(stroke))
    style = {"facecolors": faces, "edgecolors": edges, "linewidths": widths, "antialiaseds": True, "snap": False}
    figure.add_artist(PathCollection(paths, transform=IdentityTransform(), **style))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = torch.from_numpy(np.array(canvas.buffer_rgba())[..., :3]).float() / 255
    pixels = pixels.reshape(rows, TILE, columns, TILE, 3).permute(0, 2, 4, 1, 3)
    return pixels.reshape(-1, 3, TILE, TILE)[: len(tiles)]


def _polygon(points, part: int | None = 0) -> Shape:
    """Return a polygon with slightly rounded corners."""
    points = np.asarray(points)
    for _ in range(2):  # Chaikin's corner cutting
        following = np.roll(points, -1, axis=0)
        points = np.stack([0.8 * points + 0.2 * following, 0.2 * points + 0.8 * following], axis=1).reshape(-1, 2)
    return part, Outline([*points, points[0]], closed=True), 0.0


def _symmetric(points, part: int | None = 0) -> Shape:
    """Return a polygon from the points of its right half, downwards, x counted from the middle."""
    return _polygon([(0.5 + x, y) for x, y in points] + [(0.5 - x, y) for x, y in reversed(points)], part)


def _box(left, bottom, right, top, part: int | None = 0) -> Shape:
    return _polygon([(left, bottom), (right, bottom), (right, top), (left, top)], part)


def _ellipse(x, y, width, height, part: int | None = 0) -> Shape:
    return part, Outline.unit_circle().transformed(Affine2D().scale(width, height).translate(x, y)), 0.0


def _bar(start, end, width, part: int | None = 0, taper=0.7) -> Shape:
    """Return a leg, a sleeve, a strap: a bar whose width at its end is `taper` times that at its start."""
    start, end = np.array(start), np.array(end)
    along = end - start
    across = np.array([-along[1], along[0]]) * width / 2 / np.hypot(*along)
    return _polygon([start - across, end - taper * across, end + taper * across, start + across], part)


def _pair(shape: Shape, middle=0.5) -> list[Shape]:
    """Return a shape and its mirror image."""
    part, outline, stroke = shape
    return [shape, (part, outline.transformed(Affine2D().scale(-1, 1).translate(2 * middle, 0)), stroke)]


def _digit(label: int, rng: np.random.Generator) -> list[Shape]:
    font = Path(matplotlib.get_data_path(), "fonts", "ttf", rng.choice(FONTS) + ".ttf")
    outline = TextPath((0, 0), str(label), size=1, prop=FontProperties(fname=font))
    box = outline.get_extents()
    centred = Affine2D().translate(-(box.x0 + box.x1) / 2, -(box.y0 + box.y1) / 2)
    return [(0, outline.transformed(centred.scale(0.8 / box.height).translate(0.5, 0.5)), rng.uniform(-0.9, 1.8))]


def _garment(label: int, rng: np.random.Generator) -> list[Shape]:
    """Draw cloth 0, trimmings 1 and a print 2; shoes point to the left."""
    u = rng.uniform
    if label == 1:  # trouser
        waist = u(0.13, 0.18)
        legs = _pair(_bar((0.58, 0.75), (u(0.56, 0.65), u(0.03, 0.12)), 0.17, taper=u(0.6, 1)))
        return [*legs, _symmetric([(waist, 0.96), (waist, 0.7)]), _symmetric([(waist, 0.96), (waist, 0.91)], 1)]
    if label == 8:  # bag
        half, top, handle = u(0.28, 0.46), u(0.4, 0.72), (u(0.14, 0.3), u(0.1, 0.4))
        ring = [_ellipse(0.5, top - 0.1, handle[0] * k, handle[1] * k, part) for k, part in ((1, 1), (0.75, None))]
        flap = _symmetric([(half - 0.08, top - 0.02), (half - 0.08, top - u(0.12, 0.35))], 1)
        return [*ring, _symmetric([(half - u(0, 0.1), top), (half, 0.1)]), flap][: rng.integers(3, 5)]
    if label in (5, 7, 9):  # sandal, sneaker, ankle boot
        toe, tongue, ankle = u(0.4, 0.55), u(0.42, 0.55), u(0.58, 0.75)
        shaft, heel = (u(0.72, 0.95), u(0, 0.1)) if label == 9 else (ankle, 0)
        front = [(0.04, 0.28), (0.06, toe), (0.26, toe + 0.06), (tongue, ankle - 0.05), (tongue + 0.06, shaft)]
        shoe = [_polygon([*front, (0.9, shaft), (0.95, 0.28)])]
        if label == 5:
            gaps = u(0.1, 0.85, rng.integers(2, 5))
            shoe += [_bar((x, 0.28), (x + u(-0.1, 0.3), 1), u(0.1, 0.2), None, taper=1.5) for x in gaps]
        elif u() < 0.6:
            shoe += [_bar((tongue - 0.14, y), (tongue + 0.02, y + 0.06), 0.04, 1) for y in (0.46, 0.54)]  # laces
        return [*shoe, _box(0.03, 0.24, 0.96, u(0.3, 0.36), 1), _box(u(0.6, 0.75), 0.2 - heel, 0.96, 0.32, 1)]
    # T-shirt (0), pullover (2), dress (3), coat (4), shirt (6): they differ in little
    slim = u(0.01, 0.08) if label == 3 else 0
    shoulder, chest, hem = u(0.21, 0.27) - slim, u(0.19, 0.24) - slim, u(0.19, 0.26) + u(-0.8, 0.8) * slim
    long_sleeves = u() < {0: 0.05, 2: 0.95, 3: 0.2, 4: 0.95, 6: 0.6}[label]
    cuff = (0.5 + shoulder + u(0.08, 0.18), 0.83 - (u(0.5, 0.68) if long_sleeves else u(0.1, 0.28)))
    sleeves = _pair(_bar((0.45 + shoulder, 0.83), cuff, 0.16)) if label != 3 or u() < 0.6 else []
    bottom = u(*{0: (0.1, 0.22), 2: (0.1, 0.22), 3: (0.02, 0.08), 4: (0.03, 0.14), 6: (0.06, 0.2)}[label])
    body = _symmetric([(0.1, 0.94), (shoulder, 0.88), (chest, 0.66), (chest - slim * u(0, 0.8), 0.5), (hem, bottom)])
    trimmings = [_ellipse(0.5, 0.95, u(0.07, 0.12), u(0.02, 0.06 if label in (4, 6) else 0.12), None)]  # neckline
    if label == 2 and u() < 0.5:  # ribbed hem
        trimmings += [_symmetric([(hem, bottom + 0.05), (hem, bottom)], 1)]
    if label == 4 or (label == 6 and u() < 0.6):  # button band and collar
        trimmings += [_box(0.485, bottom, 0.515, 0.85, 1), _symmetric([(0.02, 0.84), (0.1, 0.94), (0.14, 0.86)], 1)]
    if label == 4 and u() < 0.4:  # worn open
        trimmings += [_polygon([(0.48, bottom), (0.5, 0.8), (0.52, bottom)], None)]
    if label in (0, 6) and u() < 0.3:
        trimmings += [_ellipse(0.5, u(0.5, 0.65), u(0.05, 0.13), u(0.05, 0.13), 2)]
    return [*sleeves, body, *trimmings]


def _object(label: int, rng: np.random.Generator) -> list[Shape]:
    """Draw body 0, second colour 1 and dark details 2, from the side, facing right."""
    u = rng.uniform
    if label == 0:  # airplane
        wings = [_bar((0.55, 0.5), (u(0.2, 0.45), tip), 0.16, 1, taper=0.5) for tip in (u(0.1, 0.3), u(0.7, 0.9))]
        tail = _polygon([(0.06, u(0.65, 0.75)), (0.14, 0.72), (0.26, 0.5), (0.1, 0.48)])
        return [wings[1], tail, _ellipse(0.5, 0.5, 0.45, u(0.05, 0.08)), wings[0], _ellipse(0.85, 0.52, 0.05, 0.03, 2)]
    if label == 1:  # automobile
        roof, hood, wheel = u(0.6, 0.7), u(0.44, 0.52), u(0.09, 0.12)
        cabin = _polygon([(0.16, hood), (0.28, roof), (0.62, roof), (0.78, hood)])
        window = _polygon([(0.26, hood), (0.33, roof - 0.04), (0.59, roof - 0.04), (0.68, hood)], 1)
        return [cabin, window, _box(0.04, 0.28, 0.96, hood + 0.02), *_pair(_ellipse(0.24, 0.3, wheel, wheel, 2))]
    if label == 2:  # bird
        x, y = u(0.66, 0.76), u(0.62, 0.72)
        tail, *legs = _bar((0.35, 0.48), (0.06, u(0.3, 0.5)), 0.14), *_pair(_bar((0.46, 0.4), (0.46, 0.16), 0.03, 2))
        wing = _polygon([(0.55, 0.55), (u(0.1, 0.4), u(0.4, 0.9)), (0.3, 0.45)], 1)
        beak = _polygon([(x + 0.06, y + 0.05), (x + 0.24, y - 0.01), (x + 0.06, y - 0.05)], 2)
        return [tail, *legs, _ellipse(0.47, 0.48, 0.24, u(0.13, 0.18)), _ellipse(x, y, 0.11, 0.11), beak, wing]
    if label == 6:  # frog
        height = u(0.15, 0.22)
        eyes = [_pair(_ellipse(0.67, 0.46 + height, radius, radius, part)) for radius, part in ((0.09, 0), (0.05, 2))]
        body = [*_pair(_ellipse(0.78, 0.34, 0.16, 0.12)), _ellipse(0.5, 0.45, u(0.28, 0.36), height)]
        return [*body, *eyes[0], *eyes[1], _ellipse(0.5, 0.36, 0.18, 0.1, 1)]
    if label == 8:  # ship
        deck, bridge = u(0.4, 0.48), u(0.1, 0.6)
        hull = _polygon([(0.02, deck + 0.04), (0.14, 0.24), (0.84, 0.24), (0.98, deck + 0.06), (0.7, deck)])
        mast = _bar((bridge + 0.12, 0.5), (bridge + 0.12, u(0.75, 0.95)), 0.04, 2)
        return [mast, _box(bridge, deck - 0.02, bridge + u(0.2, 0.35), deck + u(0.12, 0.24), 1), hull]
    if label == 9:  # truck
        cab, wheels = u(0.56, 0.66), [_ellipse(x, 0.3, 0.09, 0.09, 2) for x in (0.16, 0.34, 0.8)]
        front = [_box(0.62, 0.3, 0.96, cab), _box(0.78, cab - 0.16, 0.93, cab - 0.04, 2)]
        return [_box(0.02, 0.34, 0.64, u(0.68, 0.86), 1), *front, _box(0.02, 0.28, 0.9, 0.37, 2), *wheels]
    places, slim = ((0.26, 0.56), 1) if label in (3, 5) else ((0.22, 0.32, 0.54, 0.62), 0.65 if label == 4 else 1)
    legs = [_bar((x, 0.4), (x + u(-0.06, 0.06), 0.07), 0.09 * slim) for x in places]
    if label in (3, 5):  # cat, dog: sitting, the face to us
        x, y, size = u(0.55, 0.68), u(0.6, 0.68), u(0.16, 0.21)
        body = [_ellipse(0.42, 0.36, u(0.26, 0.34), u(0.16, 0.22)), *legs, _ellipse(x, y, size, size)]
        face = _pair(_ellipse(x + 0.45 * size, y + 0.04, 0.035, 0.035, 2), x)
        root, tip = (x + 0.7 * size, y + 0.5 * size), x + size
        if label == 3:
            tail = _bar((0.16, 0.36), (u(0.04, 0.16), u(0.6, 0.8)), 0.07)
            return [tail, *body, *_pair(_bar(root, (tip, y + 1.6 * size), 0.14, taper=0.1), x), *face]
        face += [_ellipse(x, y - 0.08, 0.09, 0.07, 1), _ellipse(x, y - 0.06, 0.035, 0.03, 2)]
        return [*body, *_pair(_bar(root, (tip, y - 0.7 * size), 0.13, 1), x), *face]
    x, y = u(0.76, 0.86), u(0.68, 0.8)  # deer (4), horse (7)
    body = [_ellipse(0.42, 0.48, 0.27, u(0.13, 0.17) * slim), *legs, _bar((0.6, 0.5), (x - 0.04, y), 0.2 * slim)]
    body += [_bar((x - 0.08, y + 0.02), (x + 0.12, y - 0.1), 0.13)]
    if label == 4:
        antlers = [_bar((x - 0.06, y), (x + tip, y + u(0.16, 0.24)), 0.035, 2) for tip in (-0.16, -0.06, 0.06)]
        return [*antlers[: rng.integers(4)], *body]
    tail = _bar((0.17, 0.52), (u(0.02, 0.12), 0.2), 0.08, 1)
    mane = _bar((0.56, 0.62), (x - 0.08, y + 0.06), 0.08, 1)
    return [tail, *body, mane]


# --- images -----------------------------------------------------------------------------------------------------------


def _uniform(count: int, low: float, high: float, rng: torch.Generator, channels: int = 1) -> torch.Tensor:
    return torch.empty(count, channels, 1, 1).uniform_(low, high, generator=rng)


def _blotches(count: int, channels: int, cells: int, size: int, rng: torch.Generator) -> torch.Tensor:
    """Return smooth noise of mean 0, interpolated between cells x cells values: (count, channels, size, size)."""
    between = F.interpolate(torch.eye(cells)[None], size=size, mode="linear", align_corners=True)[0]  # (cells, size)
    return between.T @ torch.randn(count, channels, cells, cells, generator=rng) @ between


def _warp(tiles, labels, size, rng, zoom, stretch, turn, shear, shift, wobble, flip=0.0) -> torch.Tensor:
    """Return a random tile of each label, moved and bent: (count, 3, size, size).

    `zoom` is a range, 1 filling the image; the others are largest deviations, `shift` in half images, `turn` in rad.
    """
    count = len(labels)
    variants = len(tiles) // CLASS_COUNT
    variant = torch.randint(variants, (count,), generator=rng)
    scale, ratio = _uniform(count, *zoom, rng), _uniform(count, -stretch, stretch, rng).exp()
    angle, slant = _uniform(count, -turn, turn, rng), _uniform(count, -shear, shear, rng)
    side = torch.where(_uniform(count, 0, 1, rng) < flip, -1.0, 1.0)
    axis = torch.linspace(-1, 1, size)
    offset = _uniform(count, -shift, shift, rng, 2) - wobble * _blotches(count, 2, 4, size, rng)
    x, y = ((torch.stack(torch.meshgrid(axis, axis, indexing="xy")) - offset) / scale).split(1, dim=1)
    x, y = x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin()
    grid = torch.cat([(x + slant * y) * ratio * side, y / ratio], dim=1).permute(0, 2, 3, 1)
    return F.grid_sample(tiles[labels * variants + variant], grid, align_corners=False)


def _paint_ink(tiles, labels, size, rng) -> torch.Tensor:
    by_hand = {"zoom": (0.75, 1), "stretch": 0.15, "turn": 0.3, "shear": 0.3, "shift": 0.1, "wobble": 0.1}
    ink = _warp(tiles[:, :1], labels, size, rng, **by_hand)
    pressure = 1.15 + 0.3 * _blotches(len(labels), 1, 4, size, rng)
    return (1.3 * ink - 0.2).clamp(min=0) * pressure


def _paint_cloth(tiles, labels, size, rng) -> torch.Tensor:
    count = len(labels)
    laid_out = {"zoom": (1, 1.2), "stretch": 0.12, "turn": 0.06, "shear": 0.1, "shift": 0.08, "wobble": 0.04}
    parts = _warp(tiles, labels, size, rng, **laid_out)
    shade = _uniform(count, 0.3, 1.3, rng) * (1 + _uniform(count, -0.5, 0.5, rng, 3))
    rows = torch.arange(size).view(size, 1)
    stripes = _uniform(count, -0.6, 0.4, rng).clamp(min=0) * torch.sin(rows * _uniform(count, 0.5, 3, rng))
    folds, grain = _blotches(count, 1, 6, size, rng), torch.randn(count, 1, size, size, generator=rng)
    return (parts * shade).sum(1, keepdim=True) * (1 + stripes + 0.2 * folds + 0.08 * grain)


def _paint_scene(tiles, labels, size, rng) -> torch.Tensor:
    count = len(labels)
    haze, leaves = _blotches(count, 3, 3, size, rng), _blotches(count, 1, 12, size, rng)
    image = _colours(SURROUNDINGS, labels, 0.2, rng) + 0.1 * haze + 0.12 * leaves
    strangers = torch.randint(CLASS_COUNT, (count,), generator=rng)
    anyhow = {"zoom": (0.4, 1.2), "stretch": 0.3, "turn": 3, "shear": 0.3, "shift": 1, "wobble": 0.1}
    clutter = _warp(tiles[:, :1], strangers, size, rng, **anyhow)
    image = torch.lerp(image, _colours(SURROUNDINGS, strangers, 0.2, rng), clutter)
    upright = {"zoom": (0.5, 1.3), "stretch": 0.2, "turn": 0.3, "shear": 0.2, "shift": 0.4, "wobble": 0.06}
    parts = _warp(tiles, labels, size, rng, **upright, flip=0.5)
    body, second = _colours(COLOURS, labels, 0.2, rng), _colours(COLOURS, strangers, 0.2, rng)
    painted = parts[:, 0:1] * body + parts[:, 1:2] * second + parts[:, 2:3] * _uniform(count, 0, 0.3, rng, 3)
    light = 1 + 0.2 * _blotches(count, 1, 6, size, rng)
    return image * (1 - parts.sum(1, keepdim=True)) + painted * light


def _colours(table, labels: torch.Tensor, spread: float, rng: torch.Generator) -> torch.Tensor:
    """Return a random colour near that of each label, brightness varying more than hue: (count, 3, 1, 1)."""
    deviation = torch.randn(len(labels), 1, generator=rng) + 0.5 * torch.randn(len(labels), 3, generator=rng)
    return (torch.tensor(table)[labels] + spread * deviation)[..., None, None]
