"""CNN and LSTM on short videos, with the batch where the LSTM expects the time.

Source: https://github.com/HHTseng/video-classification/issues/42
Cause: the LSTM reads (T, B, F) and is given (B, T, F): it runs from video to video, each frame by itself.
Fix: transpose, or batch_first=True.
"""

import torch
from torch import nn

from benchmarks.cases.data import accuracy, batches

TRUTH = ("samples-mixed",)


class CRNN(nn.Module):
    def __init__(self, batch_first: bool, classes: int = 4):
        super().__init__()
        self.cnn = nn.Sequential(
            *(nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU(), nn.Flatten()),
            *(nn.Linear(16 * 4 * 4, 32), nn.ReLU()),
        )
        self.rnn = nn.LSTM(32, 48, batch_first=batch_first)
        self.fc = nn.Linear(48, classes)

    def forward(self, video):
        features = self.cnn(video.flatten(0, 1)).view(*video.shape[:2], -1)
        states, _ = self.rnn(features)
        return self.fc(states[:, -1])


def videos(n: int, seed: int, frames: int = 6, size: int = 16):
    """Return videos (N, T, 1, S, S) of a spot that moves up, down, left or right, and comes back at the other edge."""
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(0, 4, (n,), generator=g)
    speed = torch.tensor([[0, -2], [0, 2], [-2, 0], [2, 0]])[y]
    start = torch.randint(0, size, (n, 1, 2), generator=g)
    where = (start + speed[:, None] * torch.arange(frames)[:, None]) % size
    away = (torch.arange(size) - where[..., None]).abs()
    away = torch.minimum(away, size - away)
    spot = torch.exp(-(away[:, :, 0, :, None] ** 2 + away[:, :, 1, None, :] ** 2) / 4)
    return (spot + 0.1 * torch.randn(spot.shape, generator=g)).unsqueeze(2), y


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y = videos(1600, 1)
    tx, ty = videos(600, 2)
    model, loss_fn = CRNN(batch_first=fixed), nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    with watch(model, loss_fn, optimizer) as doctor:
        for i in batches(len(x), 40, 5, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    score = accuracy(model, tx, ty, 40)
    return {"score": score, "metric": "test accuracy", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
