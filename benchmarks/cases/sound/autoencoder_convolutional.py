"""A convolutional autoencoder of clothes: the targets are the inputs, the last sigmoid gives pixels from 0 to 1.

A careless tool could take targets equal to the inputs for a leak, or the sigmoid before MSE for one too many.
"""

import torch
from torch import nn

from benchmarks.cases.data import batches, fashion, r2


class AutoEncoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(784, 32)
        )
        self.decoder = nn.Sequential(
            nn.Linear(32, 784),
            nn.ReLU(),
            nn.Unflatten(1, (16, 7, 7)),
            nn.ConvTranspose2d(16, 8, 2, 2),
            nn.ReLU(),
            nn.ConvTranspose2d(8, 1, 2, 2),
            nn.Sigmoid(),
        )

    def forward(self, x):
        return self.decoder(self.encoder(x))


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, _, tx, _ = fashion(4000, 1000)
    model = AutoEncoder()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    with watch(model, nn.MSELoss(), optimizer) as doctor:
        for i in batches(len(x), 64, 5, seed):
            recon = model(x[i])
            loss = doctor.loss_fn(recon, x[i])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        score = r2(model(tx), tx)
    return {"score": score, "metric": "test R2", "doctor": doctor, "probe": (x[:2000], x[:2000]), "test": (tx, tx)}
