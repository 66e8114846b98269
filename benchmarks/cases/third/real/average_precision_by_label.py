"""Detection of dividing cells among others that look alike, by maps of their centers.

Source: https://github.com/DeepMicroscopy/MIDOGpp/issues/8
Cause: a detection is stored as (x, y, z, label, score), but the average precision reads (x, y, z, score, label): all
detections are ranked by their label, which is 1 or 0, and not by their score.
Fix: read the fields in the order in which they were stored.
"""

import torch
import torch.nn.functional as F
from torch import nn

TRUTH = ("metric-wrong",)
SIZE, RADIUS, THRESHOLD = 40, 2.5, 0.5


def slides(n, seed):
    """Return images (N, 1, S, S) of elongated and round dark cells, and the places of the elongated ones."""
    g = torch.Generator().manual_seed(seed)
    axis = torch.arange(SIZE).float()
    yy, xx = torch.meshgrid(axis, axis, indexing="ij")
    images, places = 0.2 * torch.randn(n, SIZE, SIZE, generator=g), []
    for image in images:
        cells = []
        for _ in range(6):
            x, y = (torch.rand(2, generator=g) * (SIZE - 8) + 4).tolist()
            turn = 3.14 * torch.rand(1, generator=g)
            dividing = torch.rand(1, generator=g).item() < 0.4
            long = 2.2 + 0.5 * torch.randn(1, generator=g) if dividing else 1.5 + 0.3 * torch.randn(1, generator=g)
            short = 1.1 if dividing else 1.4
            u = (xx - x) * turn.cos() + (yy - y) * turn.sin()
            v = (yy - y) * turn.cos() - (xx - x) * turn.sin()
            image += torch.exp(-((u / long) ** 2) - (v / short) ** 2)
            if dividing:
                cells.append((x, y, 0))
        places.append(cells)
    return images[:, None], places


def heatmaps(places):
    maps = torch.zeros(len(places), 1, SIZE, SIZE)
    axis = torch.arange(SIZE).float()
    for target, cells in zip(maps, places, strict=True):
        for x, y, _ in cells:
            bump = torch.exp(-((axis[:, None] - y) ** 2 + (axis[None] - x) ** 2) / 2)
            target[0] = torch.maximum(target[0], bump)
    return maps


def load_predictions(probability):
    """Return for each image a list of [x, y, z, label, score]."""
    peak = (F.max_pool2d(probability, 5, 1, 2) == probability) & (probability > 0.05)
    predictions = []
    for image, top in zip(probability, peak, strict=True):
        points = []
        for _, y, x in top.nonzero().tolist():
            detected_thr = image[0, y, x].item()
            detected_class = 1 if detected_thr > THRESHOLD else 0
            points.append([x, y, 0, detected_class, detected_thr])
        predictions.append(points)
    return predictions


def average_precision(pred_dict, target_dict):
    """Return the area under the curve of precision over recall, each place found at most once."""
    scored = [(s, i, p) for i, p in enumerate(pred_dict) for s, p in zip(p["scores"], p["points"], strict=True)]
    scored.sort(key=lambda entry: -entry[0])
    open_places = [list(t) for t in target_dict]
    total, hits, area = sum(map(len, target_dict)), 0, 0.0
    for rank, (_, i, (x, y)) in enumerate(scored, 1):
        found = [c for c in open_places[i] if (c[0] - x) ** 2 + (c[1] - y) ** 2 <= RADIUS**2]
        if found:
            open_places[i].remove(found[0])
            hits += 1
            area += hits / rank
    return area / total


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (x, places), (tx, test_places) = slides(500, seed + 1), slides(150, seed + 400)
    y, ty = heatmaps(places), heatmaps(test_places)
    model = nn.Sequential(
        nn.Conv2d(1, 12, 5, padding=2, bias=False), nn.BatchNorm2d(12), nn.ReLU(),
        nn.Conv2d(12, 16, 5, padding=2, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 1, 1),
    )  # fmt: skip
    nn.init.constant_(model[-1].bias, -3.0)
    criterion = nn.BCEWithLogitsLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    with watch(model, criterion, optimizer) as doctor:
        model.train()
        for _ in range(10):
            for batch in torch.randperm(len(x)).split(25):
                optimizer.zero_grad()
                loss = doctor.loss_fn(model(x[batch]), y[batch])
                loss.backward()
                optimizer.step()
    model.eval()
    with torch.no_grad():
        predictions = load_predictions(model(tx).sigmoid())
    if fixed:
        scores = [[sc for (_, _, _, _, sc) in points] for points in predictions]
    else:
        scores = [[sc for (_, _, _, sc, _) in points] for points in predictions]
    pred_dict = [
        {"points": [(px, py) for (px, py, *_) in points], "scores": s}
        for points, s in zip(predictions, scores, strict=True)
    ]
    score = average_precision(pred_dict, test_places)
    return {"score": score, "metric": "average precision told", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
