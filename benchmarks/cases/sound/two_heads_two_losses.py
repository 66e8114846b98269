"""One body, two heads: the digit (cross-entropy) and the angle by which it is turned (MSE), the losses added.

A careless tool could take outputs that are a pair, or targets that are a pair, for a fault.
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import batches, mnist, r2


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 12, 5, 2), nn.ReLU(), nn.Conv2d(12, 24, 5, 2), nn.ReLU(), nn.Flatten())
        self.digit = nn.Linear(384, 10)
        self.angle = nn.Sequential(nn.Linear(384, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, x):
        h = self.body(x)
        return self.digit(h), self.angle(h).squeeze(1)


def both(outputs, targets):
    return F.cross_entropy(outputs[0], targets[0]) + 2.0 * F.mse_loss(outputs[1], targets[1])


def turned(x):
    angle = torch.rand(len(x)) * 2 - 1
    c, s, zero = angle.cos(), angle.sin(), torch.zeros(len(x))
    matrix = torch.stack([torch.stack([c, -s, zero], 1), torch.stack([s, c, zero], 1)], 1)
    return F.grid_sample(x, F.affine_grid(matrix, x.shape, align_corners=False), align_corners=False), angle


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = mnist(6000, 1000)
    (x, angle), (tx, test_angle) = turned(x), turned(tx)
    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    with watch(model, both, optimizer) as doctor:
        for i in batches(len(x), 64, 4, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), (y[i], angle[i]))
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        digit, found = model(tx)
    score = min((digit.argmax(1) == ty).float().mean().item(), r2(found, test_angle))
    return {"score": score, "metric": "accuracy or R2, the lesser", "doctor": doctor, "probe": None, "test": None}
