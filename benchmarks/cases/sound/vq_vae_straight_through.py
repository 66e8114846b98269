"""A VQ-VAE: codes are rounded to a table of vectors, and gradients go straight through (z + (q - z).detach()).

A careless tool could take the detached terms, or argmin between loss and encoder, for a cut graph.
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import batches, mnist, r2


class Quantizer(nn.Module):
    def __init__(self, codes=32, width=8):
        super().__init__()
        self.table = nn.Embedding(codes, width)
        nn.init.uniform_(self.table.weight, -1 / codes, 1 / codes)

    def forward(self, z):
        flat = z.permute(0, 2, 3, 1)
        nearest = torch.cdist(flat.flatten(0, 2), self.table.weight).argmin(1)
        q = self.table(nearest).view_as(flat).permute(0, 3, 1, 2)
        loss = F.mse_loss(q, z.detach()) + 0.25 * F.mse_loss(z, q.detach())
        return z + (q - z).detach(), loss


class VQVAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(1, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 8, 4, 2, 1))
        self.quantizer = Quantizer()
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(8, 16, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(16, 1, 4, 2, 1), nn.Sigmoid()
        )

    def forward(self, x):
        q, loss = self.quantizer(self.encoder(x))
        return self.decoder(q), loss


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, _, tx, _ = mnist(4000, 500)
    model = VQVAE()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    with watch(model, nn.MSELoss(), optimizer) as doctor:
        for i in batches(len(x), 64, 4, seed):
            recon, vq_loss = model(x[i])
            loss = doctor.loss_fn(recon, x[i]) + vq_loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        score = r2(model(tx)[0], tx)
    return {"score": score, "metric": "test R2 of pixels", "doctor": doctor, "probe": None, "test": None}
