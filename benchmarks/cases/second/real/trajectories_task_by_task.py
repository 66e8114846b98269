"""Diffusion of motions: a network learns to take the noise out of trajectories of a robot.

Source: https://github.com/joaoamcarvalho/mpd-public/issues/6
Cause: the loader of the training set lacks shuffle=True. The trajectories are stored task by task, so each batch holds
those of one task.
Fix: shuffle=True.
"""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.cases.data import r2

TRUTH = ("data-not-shuffled",)
POINTS, STEPS = 16, 25


def trajectories(tasks, each, seed):
    """Return paths (N, 2 * POINTS) from a start to a goal, around one of two sides, task by task."""
    g = torch.Generator().manual_seed(seed)
    ends = 1.5 * torch.randn(tasks, 2, 2, generator=g).repeat_interleave(each, 0)
    t = torch.linspace(0, 1, POINTS)[None, :, None]
    line = ends[:, :1] * (1 - t) + ends[:, 1:] * t
    across = (ends[:, 1] - ends[:, 0]).flip(1) * torch.tensor([1.0, -1.0])
    bend = torch.randn(len(ends), 1, 1, generator=g).sign() * (0.3 + 0.1 * torch.randn(len(ends), 1, 1, generator=g))
    return (line + bend * across[:, None] * torch.sin(torch.pi * t)).flatten(1)


class NoiseModel(nn.Module):
    def __init__(self, width=160):
        super().__init__()
        self.time = nn.Embedding(STEPS, 32)
        self.net = nn.Sequential(
            nn.Linear(2 * POINTS + 32, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(),
            nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 2 * POINTS),
        )  # fmt: skip

    def forward(self, x, t):
        return self.net(torch.cat([x, self.time(t)], 1))


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    train, test = trajectories(20, 300, seed), trajectories(20, 60, seed)
    train_dataloader = DataLoader(TensorDataset(train), batch_size=50, shuffle=fixed)
    keep = torch.cos(torch.linspace(0.05, 0.95, STEPS) * torch.pi / 2)[:, None]

    def noised(x, t):
        noise = torch.randn_like(x)
        return keep[t] * x + (1 - keep[t] ** 2).sqrt() * noise, noise

    model = NoiseModel()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    criterion = nn.MSELoss()
    with watch(model, criterion, optimizer) as doctor:
        for _ in range(10):
            for (x,) in train_dataloader:
                t = torch.randint(STEPS, (len(x),))
                noisy, noise = noised(x, t)
                loss = doctor.loss_fn(model(noisy, t), noise)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    with torch.no_grad():
        t = torch.arange(STEPS).repeat_interleave(len(test))
        noisy, noise = noised(test.repeat(STEPS, 1), t)
        score = r2(model(noisy, t), noise)
    return {"score": score, "metric": "test R2 of the noise", "doctor": doctor, "probe": None, "test": None}
