"""Small pictures for a report's page: what shows a cause, and what the experiment came to, as SVG."""

import contextlib
import math
from collections.abc import Callable, Sequence
from html import escape

from doctor.evidence import Evidence, NotRun

WIDTH, HEIGHT, ROW, TEXT = 420, 90, 18, 150  # pixels; TEXT: of the labels of bars
MOST = 12  # bars


def dead_shares(evidence: Evidence) -> list[float]:
    places = [[place.dead_units for place in p.places if place.kind == "activation"] for p in evidence.passes]
    return [max(found, default=0) for found in places]


# What shows some causes: a title, the numbers (drawn as a line) or pairs of a label and a number (as bars), the causes.
SHOWN: list[tuple[str, Callable[[Evidence], Sequence], tuple[str, ...]]] = [
    ("Largest |change| / |weight| of a layer, by watched step", lambda e: e.step_ratios,
     ("lr-too-high", "lr-too-low", "over-regularized", "clip-too-tight")),
    ("Norm of the first gradient, by layer", lambda e: e.first_gradients,
     ("graph-cut", "layer-frozen", "parameters-not-in-optimizer", "symmetric-init", "init-too-large",
      "init-too-small", "vanishing-gradient", "exploding-gradient", "saturated-activations")),
    ("Learning rate, by watched pass", lambda e: [max(p.rates) for p in e.passes if p.rates], ("schedule-collapsed",)),
    ("Root mean square of the inputs, by watched pass", lambda e: [place.rms for place in e.inputs],
     ("inputs-drift", "inputs-not-scaled", "constant-inputs")),
    ("Largest share of dead units of a layer, by watched pass", dead_shares, ("dead-relu", "dead-relu-at-init")),
    ("Labels seen", lambda e: [(f"class {label}", count) for label, count in sorted(e.watch.labels.items())],
     ("class-imbalance", "class-weights-wrong")),
    ("Most frequent label of each batch", lambda e: [p.label for p in e.passes if p.label is not None],
     ("data-not-shuffled",)),
]  # fmt: skip


def picture(cause: str, evidence: Evidence) -> str:
    """Return what shows a cause as SVG: the losses where nothing else does."""
    drawn = ""
    with contextlib.suppress(NotRun):
        drawn = "".join(draw(title, numbers(evidence)) for title, numbers, causes in SHOWN if cause in causes)
    return drawn or draw("Loss of each watched pass", [p.loss for p in evidence.passes if p.loss is not None])


def outcome(scores: dict[str, float]) -> str:
    """Return the scores of copies, by how they were trained, as SVG."""
    return draw("Score on the part of the probe that is not trained on", list(scores.items()))


def draw(title: str, values: Sequence) -> str:
    """Return numbers as a line, or pairs (label, number) as bars; "" where there is nothing finite to draw."""
    bars = bool(values) and isinstance(values[0], tuple)
    if not any(math.isfinite(value[1] if bars else value) for value in values):
        return ""
    body, height = draw_bars(values) if bars else draw_line(values)
    style = f'width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="11"'
    return f'<figure><figcaption>{escape(title)}</figcaption><svg {style} role="img">{body}</svg></figure>'


def draw_line(values: Sequence[float]) -> tuple[str, int]:
    known = [(k, v) for k, v in enumerate(values) if math.isfinite(v)]
    low, high = min(v for _, v in known), max(v for _, v in known)
    across, up = WIDTH / max(1, len(values) - 1), (HEIGHT - 30) / ((high - low) or 1)
    points = " ".join(f"{k * across:.1f},{HEIGHT - 15 - (v - low) * up:.1f}" for k, v in known)
    texts = f'<text y="10">{high:.3g}</text><text y="{HEIGHT - 2}">{low:.3g}</text>'
    return f'<polyline points="{points}" fill="none" stroke="#c44e52"/>{texts}', HEIGHT


def draw_bars(pairs: Sequence[tuple[str, float]]) -> tuple[str, int]:
    largest = max(v for _, v in pairs if math.isfinite(v)) or 1
    rows = []
    for k, (label, value) in enumerate(pairs[:MOST]):
        length = max(1.0, (WIDTH - TEXT - 60) * value / largest) if math.isfinite(value) else 0
        y, x = (k + 1) * ROW - 5, TEXT + length + 4
        rows.append(f'<text x="{TEXT - 5}" y="{y}" text-anchor="end">{escape(label[-24:])}</text>')
        rows.append(f'<rect x="{TEXT}" y="{y - 10}" width="{length:.1f}" height="12" fill="#8c8c8c"/>')
        rows.append(f'<text x="{x:.1f}" y="{y}">{value:.3g}</text>')
    return "".join(rows), ROW * min(MOST, len(pairs)) + 4
