"""Autoencoder of traffic maps: target and prediction change places in the binary cross-entropy.

Source: https://github.com/autonomousvision/sledge/issues/4
Cause: in a refactoring the arguments of binary_cross_entropy_with_logits were swapped: the map is taken for logits, the
logits for the target. Pixels with 1 want ever larger outputs, pixels with 0 want nothing.
Fix: prediction first, then target.
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import batches, iou

TRUTH = ("wrong-loss",)


def rasters(n: int, seed: int, size: int = 32):
    """Return maps (N, 2, S, S): two roads that cross, and cars on them."""
    g = torch.Generator().manual_seed(seed)
    yy, xx = torch.meshgrid(torch.arange(size) - size / 2, torch.arange(size) - size / 2, indexing="ij")
    angle = 3.1416 * torch.rand(n, 2, 1, 1, generator=g)
    shift = 12 * torch.rand(n, 2, 1, 1, generator=g) - 6
    road = ((xx * angle.cos() + yy * angle.sin() - shift).abs() < 1.5).amax(1)
    cars = F.max_pool2d((torch.rand(n, 1, size, size, generator=g) < 0.012).float(), 3, 1, 1)[:, 0] * road
    return torch.stack([road.float(), cars], 1)


class RasterVAE(nn.Module):
    def __init__(self, latent: int = 8):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(2, 16, 4, 2, 1), nn.SiLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.SiLU(), nn.Conv2d(32, 2 * latent, 1)
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(latent, 32, 3, padding=1),
            nn.SiLU(),
            nn.ConvTranspose2d(32, 16, 4, 2, 1),
            nn.SiLU(),
            nn.ConvTranspose2d(16, 2, 4, 2, 1),
        )

    def forward(self, raster):
        mean, log_var = self.encoder(raster).chunk(2, 1)
        latent = mean + torch.randn_like(mean) * (0.5 * log_var).exp() if self.training else mean
        return self.decoder(latent), mean, log_var


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, tx = rasters(2000, 1), rasters(300, 2)
    vae = RasterVAE()
    optimizer = torch.optim.AdamW(vae.parameters(), lr=2e-3)

    def objective(prediction, target):
        logits, mean, log_var = prediction
        if fixed:
            reconstruction = F.binary_cross_entropy_with_logits(logits, target)
        else:
            reconstruction = F.binary_cross_entropy_with_logits(target, logits)
        kl = -0.5 * (1 + log_var - mean.square() - log_var.exp()).mean()
        return reconstruction + 1e-3 * kl

    with watch(vae, objective, optimizer) as doctor:
        for i in batches(len(x), 32, 5, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(vae(x[i]), x[i])
            loss.backward()
            nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
            optimizer.step()
    vae.eval()
    with torch.no_grad():
        score = iou(vae(tx)[0] > 0, tx)
    return {"score": score, "metric": "test IoU", "doctor": doctor, "probe": (x, x), "test": (tx, tx)}
