"""Wasserstein GAN whose generator is trained in the wrong direction.

Source: https://github.com/Zeleni9/pytorch-wgan/pull/53
Cause: the mean output of the critic on generated points is minimized, though the critic gives true points more.
Fix: backward with -1.
"""

import torch
from torch import nn

TRUTH = ("loss-sign",)


def network(inputs: int, outputs: int):
    layers = [nn.Linear(inputs, 64), nn.LeakyReLU(0.2), nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, outputs)]
    return nn.Sequential(*layers)


def ring(n: int, g: torch.Generator):
    """Return points (N, 2) near a circle around (1, 0)."""
    angle = 6.2832 * torch.rand(n, 1, generator=g)
    points = torch.cat([1 + angle.cos(), angle.sin()], 1)
    return points + 0.1 * torch.randn(n, 2, generator=g)


def energy_distance(a, b) -> float:
    return (2 * torch.cdist(a, b).mean() - torch.cdist(a, a).mean() - torch.cdist(b, b).mean()).item()


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    model, critic = network(8, 2), network(2, 1)
    optimizer = torch.optim.RMSprop(model.parameters(), lr=5e-4)
    critic_optimizer = torch.optim.RMSprop(critic.parameters(), lr=5e-4)
    direction = torch.tensor(-1.0 if fixed else 1.0)
    with watch(model, None, optimizer) as doctor:
        for _ in range(400):
            for _ in range(4):
                with torch.no_grad():
                    fake = model(torch.randn(128, 8))
                critic_loss = critic(fake).mean() - critic(ring(128, g)).mean()
                critic_optimizer.zero_grad()
                critic_loss.backward()
                critic_optimizer.step()
                for p in critic.parameters():
                    p.data.clamp_(-0.1, 0.1)
            optimizer.zero_grad()
            critic(model(torch.randn(128, 8))).mean().backward(direction)
            optimizer.step()
    with torch.no_grad():
        score = -energy_distance(model(torch.randn(1000, 8)), ring(1000, g))
    return {"score": score, "metric": "minus energy distance", "doctor": doctor, "probe": None, "test": None}
