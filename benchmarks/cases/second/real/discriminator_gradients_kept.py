"""Encoder into the latent space of a fixed generator, trained against a discriminator.

Source: https://github.com/Hsintien-Ng/idinvert_pytorch-reproduced/issues/1
Cause: the loop of the encoder lacks optimizer_D.zero_grad(): the discriminator's gradients of all steps, those that the
encoder's loss leaves in it among them, add up.
Fix: call optimizer_D.zero_grad() before its backward().
"""

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.cases.data import r2

TRUTH = ("gradients-not-zeroed",)


def fixed_generator(latent=6, size=12):
    """Return a random, smooth decoder in place of a pretrained one."""
    with torch.random.fork_rng():
        torch.manual_seed(11)
        net = nn.Sequential(
            nn.Linear(latent, 48), nn.Tanh(), nn.Linear(48, 16 * 9), nn.Tanh(), nn.Unflatten(1, (16, 3, 3)),
            nn.Upsample(scale_factor=2), nn.Conv2d(16, 8, 3, padding=1), nn.Tanh(),
            nn.Upsample(size=size), nn.Conv2d(8, 1, 3, padding=1),
        )  # fmt: skip
        for p in net.parameters():
            p.data.mul_(2.0)
    return net.requires_grad_(False)


def down(channels):
    return nn.Sequential(
        nn.Conv2d(1, channels, 3, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(channels, 2 * channels, 3, 2, 1),
        nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(18 * channels, 64), nn.LeakyReLU(0.2),
    )  # fmt: skip


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    G = fixed_generator()
    with torch.no_grad():
        x, tx = (G(torch.randn(n, 6)) for n in (2500, 1000))
        x, tx = ((part + 0.05 * torch.randn_like(part)) for part in (x, tx))
    E = nn.Sequential(down(16), nn.Linear(64, 6))
    D = nn.Sequential(down(8), nn.Linear(64, 1))
    optimizer_E = torch.optim.Adam(E.parameters(), lr=1e-3)
    optimizer_D = torch.optim.Adam(D.parameters(), lr=1e-3)
    with watch(D, None, optimizer_D) as doctor:
        for _ in range(16):
            for real in x[torch.randperm(len(x))].split(64):
                # discriminator
                rec = G(E(real))
                loss_D = F.softplus(-D(real)).mean() + F.softplus(D(rec.detach())).mean()
                if fixed:
                    optimizer_D.zero_grad()
                loss_D.backward()
                optimizer_D.step()
                # encoder
                loss_pix = F.mse_loss(rec, real)
                loss_adv = F.softplus(-D(rec)).mean()
                loss_E = loss_pix + 0.1 * loss_adv
                optimizer_E.zero_grad()
                loss_E.backward()
                optimizer_E.step()
    with torch.no_grad():
        score = r2(G(E(tx)), tx)
    return {"score": score, "metric": "test R2 of the images", "doctor": doctor, "probe": None, "test": None}
