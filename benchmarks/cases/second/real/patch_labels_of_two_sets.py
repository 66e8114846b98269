"""Descriptors of image patches, trained on two sets of patches at once with the loss of HardNet.

Source: https://github.com/DagnyT/hardnet/issues/25
Cause: a misplaced bracket: the offset is added to the labels of both sets after they are joined, instead of to those of
the second: points of the two sets share a label, and half of the positive pairs show different points.
Fix: torch.cat([labels, datasets[i][1] + torch.max(labels) + 1]).
"""

import torch
from torch import nn
from torch.nn import functional as F

TRUTH = ("label-noise", "data-mispaired")
SIZE, VIEWS = 16, 4


def patches(points, seed):
    """Return noisy, shifted views (N, 1, S, S) of random patterns, one after the other, and the numbers of these."""
    g = torch.Generator().manual_seed(seed)
    pattern = F.interpolate(torch.randn(points, 1, 7, 7, generator=g), size=SIZE + 4, mode="bicubic")
    views = []
    for _ in range(VIEWS):
        dy, dx = torch.randint(0, 5, (2, points), generator=g)
        rows, columns = (d[:, None] + torch.arange(SIZE) for d in (dy, dx))
        view = pattern[torch.arange(points)[:, None, None], 0, rows[:, :, None], columns[:, None, :]]
        gain = 0.7 + 0.6 * torch.rand(points, 1, 1, generator=g)
        views.append(gain * view + 0.3 * torch.randn(points, SIZE, SIZE, generator=g))
    return torch.stack(views, 1).flatten(0, 1)[:, None], torch.arange(points).repeat_interleave(VIEWS)


class TotalDataset:
    """Join data sets, and draw pairs of patches that show the same point."""

    def __init__(self, datasets, fixed):
        data, labels = datasets[0]
        for more, numbers in datasets[1:]:
            data = torch.cat([data, more])
            if fixed:
                labels = torch.cat([labels, numbers + labels.max() + 1])
            else:
                labels = torch.cat([labels, numbers]) + labels.max() + 1
        self.data = data
        self.groups = [(labels == label).nonzero()[:, 0] for label in labels.unique()]

    def pairs(self, n, g):
        chosen = torch.randperm(len(self.groups), generator=g)[:n].tolist()
        both = [self.groups[c][torch.randperm(len(self.groups[c]), generator=g)[:2]] for c in chosen]
        a, p = torch.stack(both, 1)
        return self.data[a], self.data[p]


def hardest_in_batch(anchors, positives, margin=1.0):
    distance = torch.cdist(anchors, positives)
    others = distance + 10 * torch.eye(len(distance))
    hardest = torch.minimum(others.min(1).values, others.min(0).values)
    return F.relu(margin + distance.diagonal() - hardest).mean()


class HardNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, 1, 1), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Conv2d(16, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU(),
            nn.Conv2d(32, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU(),
            nn.Flatten(), nn.Linear(512, 64),
        )  # fmt: skip

    def forward(self, x):
        x = (x - x.mean((1, 2, 3), keepdim=True)) / x.std((1, 2, 3), keepdim=True)
        return F.normalize(self.features(x))


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    train = TotalDataset([patches(500, seed + 1), patches(500, seed + 2)], fixed)
    test, _ = patches(500, seed + 100)
    model = HardNet()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    with watch(model, None, optimizer) as doctor:
        for _ in range(180):
            anchors, positives = train.pairs(64, g)
            loss = hardest_in_batch(model(anchors), model(positives))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        first, second = model(test[::VIEWS]), model(test[1::VIEWS])
    score = (torch.cdist(first, second).argmin(1) == torch.arange(500)).float().mean().item()
    return {"score": score, "metric": "share of matches found", "doctor": doctor, "probe": None, "test": None}
