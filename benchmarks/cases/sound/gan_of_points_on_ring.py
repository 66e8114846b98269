"""A GAN learns points on a ring; two networks, two optimizers, the generator's outputs detached for the discriminator.

A careless tool could take losses that do not fall, or the detached outputs, for a fault; it may say 'not covered'.
"""

import math

import torch
from torch import nn

COVERED = False


def ring(n):
    angle = 2 * math.pi * torch.rand(n)
    return torch.stack([angle.cos(), angle.sin()], 1) + 0.05 * torch.randn(n, 2)


def mlp(inputs, outputs):
    return nn.Sequential(
        nn.Linear(inputs, 64), nn.LeakyReLU(0.2), nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, outputs)
    )


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    generator, discriminator = mlp(4, 2), mlp(2, 1)
    g_optimizer = torch.optim.Adam(generator.parameters(), lr=1e-3, betas=(0.5, 0.999))
    d_optimizer = torch.optim.Adam(discriminator.parameters(), lr=1e-3, betas=(0.5, 0.999))
    ones, zeros = torch.ones(128, 1), torch.zeros(128, 1)
    with watch(discriminator, nn.BCEWithLogitsLoss(), d_optimizer) as doctor:
        for _ in range(900):
            fake = generator(torch.randn(128, 4))
            d_optimizer.zero_grad()
            d_loss = doctor.loss_fn(discriminator(ring(128)), ones)
            d_loss = d_loss + doctor.loss_fn(discriminator(fake.detach()), zeros)
            d_loss.backward()
            d_optimizer.step()
            g_optimizer.zero_grad()
            g_loss = doctor.loss_fn(discriminator(fake), ones)
            g_loss.backward()
            g_optimizer.step()
    with torch.no_grad():
        points = generator(torch.randn(2000, 4))
    near = ((points.norm(dim=1) - 1).abs() < 0.2).float().mean().item()
    sectors = torch.atan2(points[:, 1], points[:, 0]).add(math.pi).mul(12 / (2 * math.pi)).long().clamp(0, 11)
    spread = (torch.bincount(sectors, minlength=12) > 40).float().mean().item()
    return {
        "score": near * spread,
        "metric": "near the ring, all around",
        "doctor": doctor,
        "probe": None,
        "test": None,
    }
