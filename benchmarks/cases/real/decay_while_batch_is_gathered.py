"""Object tracker whose rate decays once for each part of a batch.

Source: https://github.com/amoudgl/pygoturn/issues/16
Cause: frames are gathered until a batch is whole; at every iteration that is a multiple of the decay interval the
scheduler steps for each frame gathered, not once, so the first decay brings the rate to almost 0.
Fix: step the scheduler only when the batch is done.
"""

import torch
from torch import nn

from benchmarks.cases.data import batches, r2

TRUTH = ("schedule-collapsed",)


def pairs(n: int, seed: int, size: int = 24):
    """Return two frames (N, 2, S, S), the target centered in the first, and its box in the second, from 0 to 10."""
    g = torch.Generator().manual_seed(seed)
    half = torch.rand(n, 2, generator=g) * 3 + 2
    center = torch.rand(n, 2, generator=g) * (size - 14) + 7
    yy, xx = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")

    def draw(c):
        inside_x = (xx - c[:, 0, None, None]).abs() <= half[:, 0, None, None]
        return (inside_x & ((yy - c[:, 1, None, None]).abs() <= half[:, 1, None, None])).float()

    frames = torch.stack([draw(torch.full((n, 2), size / 2)), draw(center)], 1)
    frames = frames + 0.3 * torch.randn(frames.shape, generator=g)
    return frames, torch.cat([center - half, center + half], 1) * 10 / size


class Tracker(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(1, 8, 5, 2, 2), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU(), nn.Flatten()
        )
        self.fc = nn.Sequential(nn.Linear(2 * 16 * 36, 64), nn.ReLU(), nn.Linear(64, 4))

    def forward(self, frames):
        return self.fc(torch.cat([self.conv(frames[:, :1]), self.conv(frames[:, 1:])], 1))


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (x, y), (tx, ty) = pairs(4000, seed), pairs(1000, seed + 100)
    net, loss_fn = Tracker(), nn.L1Loss()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.3)
    with watch(net, loss_fn, optimizer) as doctor:
        for itr, batch in enumerate(batches(len(x), 48, 8, seed)):
            gathered = []
            for part in batch.split(6):
                gathered.append(part)
                done = len(gathered) == 8
                if itr > 0 and itr % 150 == 0 and (done or not fixed):
                    scheduler.step()
            i = torch.cat(gathered)
            optimizer.zero_grad()
            loss = doctor.loss_fn(net(x[i]), y[i])
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        score = r2(net(tx), ty)
    return {"score": score, "metric": "test R2 of the boxes", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
