"""A classifier whose layers are spectrally normalized, so that it changes slowly with its inputs; outputs times 10.

A careless tool could take small gradients, or weights that are computed anew in each pass, for a fault.
"""

import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from benchmarks.cases.data import accuracy, batches, fashion


class Lipschitz(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(),
            spectral_norm(nn.Linear(784, 128)),
            nn.LeakyReLU(0.1),
            spectral_norm(nn.Linear(128, 64)),
            nn.LeakyReLU(0.1),
            spectral_norm(nn.Linear(64, 10)),
        )

    def forward(self, x):
        return 10 * self.layers(x)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = fashion(6000, 1000)
    model = Lipschitz()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, betas=(0.5, 0.9))
    with watch(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for i in batches(len(x), 64, 4, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    score = accuracy(model, tx, ty)
    return {
        "score": score,
        "metric": "test accuracy",
        "doctor": doctor,
        "probe": (x[:3000], y[:3000]),
        "test": (tx, ty),
    }
