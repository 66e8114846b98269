"""Random Fourier features (Tancik et al. 2020), never trained, let an MLP learn a color picture from half its pixels.

A careless tool could take the fixed random matrix, a buffer, for a layer that someone forgot to train.
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import batches, r2


class FourierMLP(nn.Module):
    def __init__(self, features=64, width=96, scale=2.0):
        super().__init__()
        self.register_buffer("B", scale * torch.randn(2, features))
        self.mlp = nn.Sequential(nn.Linear(2 * features, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.rgb = nn.Linear(width, 3)

    def forward(self, places):
        angles = 2 * torch.pi * places @ self.B
        return torch.sigmoid(self.rgb(self.mlp(torch.cat([angles.sin(), angles.cos()], 1))))


def scene(side=96):
    """Return a smooth picture with edges, (3, S, S), of values from 0 to 1."""
    smooth = F.interpolate(torch.rand(1, 3, 7, 7), (side, side), mode="bicubic", align_corners=True)[0].clamp(0, 1)
    yy, xx = torch.meshgrid(torch.linspace(-1, 1, side), torch.linspace(-1, 1, side), indexing="ij")
    disc = ((xx - 0.2) ** 2 + (yy + 0.1) ** 2 < 0.2).float()
    return smooth * (1 - disc) + (1 - smooth) * disc


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    axis = torch.linspace(0, 1, 96)
    places, colors = torch.cartesian_prod(axis, axis), scene().permute(1, 2, 0).reshape(-1, 3)
    order = torch.randperm(len(places))
    train, test = order[:5000], order[5000:]
    x, y, tx, ty = places[train], colors[train], places[test], colors[test]
    model = FourierMLP()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    with watch(model, nn.MSELoss(), optimizer) as doctor:
        for i in batches(len(x), 250, 20, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        score = r2(model(tx), ty)
    return {"score": score, "metric": "R2 of other pixels", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
