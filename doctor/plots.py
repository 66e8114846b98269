"""Small pictures for a report's page: what shows a cause, and what the experiment came to, as SVG."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from html import escape

from doctor.evidence import Evidence, NotRun

WIDTH, HEIGHT, ROW, TEXT = 420, 90, 18, 150  # pixels; TEXT: of the labels of bars
MOST = 12  # bars


@dataclass(frozen=True)
class Plot:
    """A line over the watched passes, or a bar for each label."""

    title: str
    values: list[float]
    labels: list[str] | None = None

    def svg(self) -> str:
        """Return the picture; "" where there is nothing finite to draw."""
        if not any(map(math.isfinite, self.values)):
            return ""
        body, height = self._bars() if self.labels else self._line()
        style = f'width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="11"'
        return f'<figure><figcaption>{escape(self.title)}</figcaption><svg {style} role="img">{body}</svg></figure>'

    def _line(self) -> tuple[str, int]:
        known = [(k, v) for k, v in enumerate(self.values) if math.isfinite(v)]
        low, high = min(v for _, v in known), max(v for _, v in known)
        across, up = WIDTH / max(1, len(self.values) - 1), (HEIGHT - 30) / ((high - low) or 1)
        points = " ".join(f"{k * across:.1f},{HEIGHT - 15 - (v - low) * up:.1f}" for k, v in known)
        texts = f'<text y="10">{high:.3g}</text><text y="{HEIGHT - 2}">{low:.3g}</text>'
        return f'<polyline points="{points}" fill="none" stroke="#c44e52"/>{texts}', HEIGHT

    def _bars(self) -> tuple[str, int]:
        largest = max((v for v in self.values if math.isfinite(v)), default=0) or 1
        rows = []
        for k, (label, value) in enumerate(list(zip(self.labels, self.values, strict=True))[:MOST]):
            length = max(1.0, (WIDTH - TEXT - 60) * value / largest) if math.isfinite(value) else 0
            y, x = (k + 1) * ROW - 5, TEXT + length + 4
            rows.append(f'<text x="{TEXT - 5}" y="{y}" text-anchor="end">{escape(label[-24:])}</text>')
            rows.append(f'<rect x="{TEXT}" y="{y - 10}" width="{length:.1f}" height="12" fill="#8c8c8c"/>')
            rows.append(f'<text x="{x:.1f}" y="{y}">{value:.3g}</text>')
        return "".join(rows), ROW * min(MOST, len(self.values)) + 4


def losses(evidence: Evidence) -> Plot:
    return Plot("Loss of each watched pass", [p.loss for p in evidence.passes if p.loss is not None])


def ratios(evidence: Evidence) -> Plot:
    return Plot("Largest |change| / |weight| of a layer, by watched step", evidence.step_ratios)


def gradients(evidence: Evidence) -> Plot:
    layers, norms = zip(*evidence.first_gradients, strict=True)
    return Plot("Norm of the first gradient, by layer", list(norms), list(layers))


def rates(evidence: Evidence) -> Plot:
    return Plot("Learning rate, by watched pass", [max(p.rates) for p in evidence.passes if p.rates])


def sizes(evidence: Evidence) -> Plot:
    return Plot("Root mean square of the inputs, by watched pass", [place.rms for place in evidence.inputs])


def dead(evidence: Evidence) -> Plot:
    places = [[place.dead_units for place in p.places if place.kind == "activation"] for p in evidence.passes]
    return Plot("Largest share of dead units of a layer, by watched pass", [max(found, default=0) for found in places])


def labels(evidence: Evidence) -> Plot:
    counts = sorted(evidence.watch.labels.items())
    return Plot("Labels seen", [count for _, count in counts], [f"class {label}" for label, _ in counts])


def batches(evidence: Evidence) -> Plot:
    return Plot("Most frequent label of each batch", [p.label for p in evidence.passes if p.label is not None])


SHOWN: dict[Callable[[Evidence], Plot], tuple[str, ...]] = {
    ratios: ("lr-too-high", "lr-too-low", "over-regularized", "clip-too-tight"),
    gradients: (
        "graph-cut", "layer-frozen", "parameters-not-in-optimizer", "symmetric-init", "init-too-large",
        "init-too-small", "vanishing-gradient", "exploding-gradient", "saturated-activations",
    ),
    rates: ("schedule-collapsed",),
    sizes: ("inputs-drift", "inputs-not-scaled", "constant-inputs"),
    dead: ("dead-relu", "dead-relu-at-init"),
    labels: ("class-imbalance", "class-weights-wrong"),
    batches: ("data-not-shuffled",),
}  # fmt: skip


def picture(cause: str, evidence: Evidence) -> str:
    """Return what shows a cause as SVG: the losses where nothing else does."""
    drawn = next((draw for draw, causes in SHOWN.items() if cause in causes), losses)
    try:
        return drawn(evidence).svg()
    except (NotRun, ValueError):
        return losses(evidence).svg()


def outcome(scores: dict[str, float]) -> str:
    """Return the scores of copies, by how they were trained, as SVG."""
    return Plot("Score on the part of the probe that is not trained on", list(scores.values()), list(scores)).svg()
