"""Shapes deformed by cages that a network draws around them.

Source: https://github.com/yifita/deep_cage/issues/16
Cause: the weights of a point with respect to the corners of its cage are detached, a line left over from something
else. The penalty of negative weights, which should keep the points inside, changes nothing, whatever its factor.
Fix: remove weights.detach().
"""

import torch
from torch import nn

from benchmarks.cases.data import batches

TRUTH = ("graph-cut",)

CORNERS, POINTS = 10, 40


def shapes(n: int, seed: int):
    """Return pairs of outlines (N, POINTS, 2): rounded stars, each with its deformed partner."""
    g = torch.Generator().manual_seed(seed)
    angle = 2 * torch.pi * torch.arange(POINTS) / POINTS
    arms, size = torch.randint(2, 5, (n, 1), generator=g), 0.7 + 0.4 * torch.rand(n, 1, generator=g)
    radius = size * (1 + 0.25 * torch.cos(arms * angle + 6.28 * torch.rand(n, 1, generator=g)))
    source = torch.stack([radius * angle.cos(), radius * angle.sin()], 2)
    stretch = 0.8 + 0.6 * torch.rand(n, 1, 2, generator=g)
    bend = 0.4 * torch.rand(n, 1, generator=g) - 0.2
    target = source * stretch
    target = torch.stack([target[..., 0], target[..., 1] + bend * target[..., 0].square()], 2)
    return source, target


def mean_value_coordinates(query, cage):
    """Return the weights (B, POINTS, CORNERS) of the corners for each point."""
    d = cage[:, None] - query[:, :, None]
    r = d.norm(dim=3).clamp(min=1e-3)
    after, r_after = d.roll(-1, 2), r.roll(-1, 2)
    cross = d[..., 0] * after[..., 1] - d[..., 1] * after[..., 0]
    dot = (d * after).sum(3)
    half_tan = (r * r_after - dot) / torch.where(cross.abs() < 1e-3, torch.full_like(cross, 1e-3), cross)
    weight = (half_tan + half_tan.roll(1, 2)) / r
    total = weight.sum(2, keepdim=True)
    return weight / torch.where(total.abs() < 1e-2, torch.full_like(total, 1e-2), total)


class CageNet(nn.Module):
    def __init__(self, fixed: bool):
        super().__init__()
        self.fixed = fixed
        angle = 2 * torch.pi * torch.arange(CORNERS) / CORNERS
        self.register_buffer("template", torch.stack([angle.cos(), angle.sin()], 1))
        self.encoder = nn.Sequential(nn.Linear(2 * POINTS, 64), nn.ReLU(), nn.Linear(64, 48), nn.ReLU())
        self.source_cage = nn.Sequential(nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 2 * CORNERS))
        self.offset = nn.Sequential(nn.Linear(96, 64), nn.ReLU(), nn.Linear(64, 2 * CORNERS))

    def forward(self, source, target):
        code, wanted = self.encoder(source.flatten(1)), self.encoder(target.flatten(1))
        cage = self.template + 0.3 * self.source_cage(code).view(-1, CORNERS, 2)
        new_cage = cage + 0.3 * self.offset(torch.cat([code, wanted], 1)).view(-1, CORNERS, 2)
        weights = mean_value_coordinates(source, cage)
        if not self.fixed:
            weights = weights.detach()
        return weights @ new_cage, weights


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (source, target), (test, test_target) = shapes(2000, 1), shapes(400, 2)
    net, mvc_weight = CageNet(fixed), 1.0
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    with watch(net, None, optimizer) as doctor:
        for i in batches(len(source), 32, 8, seed):
            deformed, weights = net(source[i], target[i])
            loss = (deformed - target[i]).square().sum(2).mean()
            loss = loss + mvc_weight * torch.relu(-weights).square().sum(2).mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
    with torch.no_grad():
        _, weights = net(test, test_target)
    score = (weights.amin(2) > -0.01).float().mean().item()
    return {"score": score, "metric": "points inside their cage", "doctor": doctor, "probe": None, "test": None}
