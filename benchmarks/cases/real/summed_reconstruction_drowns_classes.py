"""Autoencoder with a classifier on its code: the error of the pixels is summed, that of the class averaged.

Source: https://github.com/JosephDoun/msi2slstr-training-lightning-implementation/issues/55
Cause: the sum over the pixels is hundreds of times the other term: the code serves the pixels alone.
Fix: the mean for the reconstruction, too.
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import batches, cifar

TRUTH = ("loss-terms-unbalanced",)


class SemiAutoencoder(nn.Module):
    def __init__(self, code: int = 24):
        super().__init__()
        self.encoder = nn.Sequential(
            *(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Flatten()),
            nn.Linear(32 * 8 * 8, code),
        )
        self.decoder = nn.Sequential(
            *(nn.Linear(code, 32 * 8 * 8), nn.ReLU(), nn.Unflatten(1, (32, 8, 8))),
            *(nn.ConvTranspose2d(32, 16, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(16, 3, 4, 2, 1)),
        )
        self.classifier = nn.Linear(code, 10)

    def forward(self, x):
        code = self.encoder(x)
        return self.decoder(code), self.classifier(code)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = cifar(4000, 1000)

    def loss_fn(outputs, targets):
        (image, logits), (wanted, label) = outputs, targets
        reconstruction = F.mse_loss(image, wanted, reduction="mean" if fixed else "sum")
        return reconstruction + F.cross_entropy(logits, label)

    model = SemiAutoencoder()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    with watch(model, loss_fn, optimizer) as doctor:
        for i in batches(len(x), 40, 2, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), (x[i], y[i]))
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        score = (model(tx)[1].argmax(1) == ty).float().mean().item()
    return {
        "score": score,
        "metric": "test accuracy of the classes",
        "doctor": doctor,
        "probe": (x, (x, y)),
        "test": None,
    }
