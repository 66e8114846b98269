"""A SIREN (Sitzmann et al. 2020) learns a picture as a function of the place: sines of 30 times a linear layer.

A careless tool could take the factor of 30, sines as activations, or all pixels in each step for a fault.
"""

import math

import torch
from torch import nn

from benchmarks.cases.data import fashion, r2


class Sine(nn.Module):
    def __init__(self, a, b, first=False):
        super().__init__()
        self.linear = nn.Linear(a, b)
        bound = 1 / a if first else math.sqrt(6 / a) / 30
        nn.init.uniform_(self.linear.weight, -bound, bound)

    def forward(self, x):
        return torch.sin(30 * self.linear(x))


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, *_ = fashion(100, 10)
    rows = [torch.cat(list(x[k : k + 2, 0]), 1) for k in (4 * seed, 4 * seed + 2)]
    picture = torch.cat(rows)  # four images, 56 x 56
    axis = torch.linspace(-1, 1, 56)
    places = torch.cartesian_prod(axis, axis)
    values = 2 * picture.flatten()[:, None] - 1
    last = nn.Linear(64, 1)
    nn.init.uniform_(last.weight, -math.sqrt(6 / 64) / 30, math.sqrt(6 / 64) / 30)
    model = nn.Sequential(Sine(2, 64, first=True), Sine(64, 64), Sine(64, 64), last)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    with watch(model, nn.MSELoss(), optimizer) as doctor:
        for _ in range(150):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(places), values)
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        score = r2(model(places), values)
    return {"score": score, "metric": "R2 of pixels", "doctor": doctor, "probe": (places, values), "test": None}
