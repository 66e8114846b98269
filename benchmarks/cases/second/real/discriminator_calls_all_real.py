"""Texture autoencoder with a discriminator that is told that fakes are real, too.

Source: https://github.com/SerezD/vqvae-vqgan-pytorch-lightning/issues/3
Cause: the fake part of the discriminator's loss compares with ones, as the real part does: it learns to say "real" to
everything, so nothing drives the decoder to draw the texture that the reconstruction error leaves out.
Fix: torch.zeros_like for the fakes.
"""

import torch
from torch import nn
from torch.nn import functional as F

TRUTH = ("wrong-loss", "label-noise")

LENGTH = 32


def signals(n: int):
    """Return series (N, 1, 32): a slow wave with a fine grain, whose place nobody can foresee."""
    t = torch.arange(LENGTH) / LENGTH
    slow = torch.sin(2 * torch.pi * (t + torch.rand(n, 1)))
    grain = 0.5 * torch.sin(2 * torch.pi * (10 * t + torch.rand(n, 1)))
    return (slow + grain)[:, None]


class VQAutoencoder(nn.Module):
    def __init__(self, codes: int = 16, dim: int = 8):
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(LENGTH, 48), nn.ReLU(), nn.Linear(48, dim))
        self.codebook = nn.Embedding(codes, dim)
        self.decoder = nn.Sequential(
            nn.Linear(dim + 4, 96), nn.LeakyReLU(0.2), nn.Linear(96, 96), nn.LeakyReLU(0.2), nn.Linear(96, LENGTH)
        )

    def forward(self, x):
        z = self.encoder(x)
        q = self.codebook(torch.cdist(z, self.codebook.weight).argmin(1))
        vq_loss = F.mse_loss(q, z.detach()) + 0.25 * F.mse_loss(z, q.detach())
        q = z + (q - z).detach()
        return self.decoder(torch.cat([q, torch.randn(len(q), 4)], 1))[:, None], vq_loss


def discriminator():
    return nn.Sequential(
        nn.Conv1d(1, 24, 5, 2, 2),
        nn.LeakyReLU(0.2),
        nn.Conv1d(24, 48, 5, 2, 2),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        nn.Linear(48 * LENGTH // 4, 1),
    )


def grain_energy(x):
    return torch.fft.rfft(x[:, 0]).abs().square()[:, 6:].sum(1).mean()


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    model, disc = VQAutoencoder(), discriminator()
    g_opt = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.5, 0.9))
    d_opt = torch.optim.Adam(disc.parameters(), lr=1e-3, betas=(0.5, 0.9))
    bce = nn.BCEWithLogitsLoss()
    with watch(disc, bce, d_opt) as doctor:
        for step in range(1000):
            real = signals(64)
            fake, vq_loss = model(real)
            g_loss = F.l1_loss(fake, real) + vq_loss
            if step >= 200:  # the adversary joins when the reconstructions are fair
                g_loss = g_loss + 0.3 * F.softplus(-disc(fake)).mean()
            g_opt.zero_grad()
            g_loss.backward()
            g_opt.step()
            if step >= 200:
                logits_real, logits_fake = disc(real), disc(fake.detach())
                fake_target = torch.zeros_like(logits_fake) if fixed else torch.ones_like(logits_fake)
                d_loss = 0.5 * (
                    doctor.loss_fn(logits_real, torch.ones_like(logits_real)) + doctor.loss_fn(logits_fake, fake_target)
                )
                d_opt.zero_grad()
                d_loss.backward()
                d_opt.step()
    with torch.no_grad():
        test = signals(1000)
        score = -(grain_energy(model(test)[0]) / grain_energy(test)).log().abs().item()
    return {
        "score": score,
        "metric": "minus |log of the share of fine grain|",
        "doctor": doctor,
        "probe": None,
        "test": None,
    }
