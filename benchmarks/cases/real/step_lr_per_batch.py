"""A schedule in epochs that is stepped after each batch.

Source: https://github.com/Lornatang/SRGAN-PyTorch/issues/1 (also ivadomed/ivadomed#55, pytorch/tutorials#640)
Cause: StepLR(step_size=epochs // 2, gamma=0.1) is meant for one step an epoch, but scheduler.step() stands in the loop
over batches: after some dozen batches the rate is almost 0.
Fix: call scheduler.step() once, at the end of the epoch.
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import batches, fashion, r2

TRUTH = ("schedule-collapsed",)


class SuperResolution(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 16, 5, padding=2), nn.PReLU(), nn.Conv2d(16, 16, 3, padding=1))
        self.upscale = nn.Sequential(nn.PReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.PixelShuffle(4))

    def forward(self, low):
        return self.upscale(self.features(low))


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, _, tx, _ = fashion(1600, 300)
    low, test_low = F.avg_pool2d(x, 4), F.avg_pool2d(tx, 4)
    epochs, batch_size = 8, 16
    model = SuperResolution()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=epochs // 2, gamma=0.1)
    with watch(model, nn.MSELoss(), optimizer) as doctor:
        for epoch in range(epochs):
            for i in batches(len(x), batch_size, 1, seed + epoch):
                optimizer.zero_grad()
                loss = doctor.loss_fn(model(low[i]), x[i])
                loss.backward()
                optimizer.step()
                if not fixed:
                    scheduler.step()
            if fixed:
                scheduler.step()
    with torch.no_grad():
        score = r2(model(test_low), tx)
    return {
        "score": score,
        "metric": "test R2 of the pixels",
        "doctor": doctor,
        "probe": (low, x),
        "test": (test_low, tx),
    }
