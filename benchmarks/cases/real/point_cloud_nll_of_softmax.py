"""PointNet whose classes leave a softmax and enter nll_loss.

Source: https://github.com/yanx27/Pointnet_Pointnet2_pytorch/issues/30
Cause: nll_loss wants logarithms: of probabilities it makes -p, whose gradient is almost 0 where the model is wrong.
Fix: log_softmax instead (or cross_entropy of the logits).
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import accuracy, batches

TRUTH = ("softmax-before-loss", "wrong-loss")


def shared(a: int, b: int):
    return nn.Sequential(nn.Conv1d(a, b, 1), nn.BatchNorm1d(b), nn.ReLU())


class PointNet(nn.Module):
    def __init__(self, log: bool, classes: int = 12):
        super().__init__()
        self.points = nn.Sequential(shared(3, 32), shared(32, 64), shared(64, 128))
        self.head = nn.Sequential(nn.Linear(128, 64), nn.ReLU(), nn.Dropout(0.3), nn.Linear(64, classes))
        self.log = log

    def forward(self, cloud):
        logits = self.head(self.points(cloud).amax(2))
        return F.log_softmax(logits, dim=1) if self.log else F.softmax(logits, dim=1)


def clouds(n: int, seed: int, points: int = 64):
    """Return clouds (N, 3, 64) on superellipsoids, and their class: one of four roundnesses and three heights."""
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(0, 12, (n,), generator=g)
    power = torch.tensor([0.7, 1.0, 2.0, 8.0])[y % 4][:, None, None]
    height = torch.tensor([0.4, 1.0, 2.5])[y // 4]
    direction = torch.randn(n, 3, points, generator=g)
    cloud = direction / direction.abs().pow(power).sum(1, keepdim=True).pow(1 / power)
    cloud[:, 2] *= height[:, None]
    turn = 6.2832 * torch.rand(n, 1, generator=g)
    a, b = cloud[:, 0].clone(), cloud[:, 1].clone()
    cloud[:, 0], cloud[:, 1] = turn.cos() * a - turn.sin() * b, turn.sin() * a + turn.cos() * b
    return cloud + 0.02 * torch.randn(cloud.shape, generator=g), y


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y = clouds(3200, 1)
    tx, ty = clouds(1000, 2)
    model, loss_fn = PointNet(log=fixed), F.nll_loss
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    with watch(model, loss_fn, optimizer) as doctor:
        for i in batches(len(x), 32, 3, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    score = accuracy(model, tx, ty)
    return {"score": score, "metric": "test accuracy", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
