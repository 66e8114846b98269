"""Actions in short clips, by 3D convolutions, with a meter of the validation accuracy.

Source: https://github.com/MichiganCOG/ViP/issues/34 (also JetBrains-Research/code2seq#112)
Cause: the meter of the validation accuracy is made once and never reset: what it tells is the mean over all epochs so
far, the first ones included.
Fix: reset it at the beginning of each epoch.
"""

import torch
from torch import nn

TRUTH = ("metric-wrong",)
FRAMES, SIZE, ACTIONS = 6, 14, 4


def clips(n, seed):
    """Return noisy clips (N, 1, T, S, S) of a blob that goes left, right, up or down, and the direction."""
    g = torch.Generator().manual_seed(seed)
    action = torch.randint(ACTIONS, (n,), generator=g)
    step = torch.tensor([[-1.0, 0.0], [1.0, 0.0], [0.0, -1.0], [0.0, 1.0]])[action]
    speed = torch.rand(n, 1, 1, generator=g) * 0.7 + 0.3
    middle = torch.rand(n, 1, 2, generator=g) * 6 + 4
    place = middle + (torch.arange(FRAMES) - FRAMES / 2)[None, :, None] * step[:, None] * speed
    axis = torch.arange(SIZE).float()
    x, y = ((-(axis - place[:, :, d, None]).square() / 3).exp() for d in (0, 1))
    movie = y[:, :, :, None] * x[:, :, None, :] + 0.3 * torch.randn(n, FRAMES, SIZE, SIZE, generator=g)
    return movie[:, None], action


class AccuracyMeter:
    def __init__(self):
        self.reset()

    def reset(self):
        self.hits = self.count = 0

    def update(self, logits, labels):
        self.hits += (logits.argmax(1) == labels).sum().item()
        self.count += len(labels)

    def value(self):
        return self.hits / self.count


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (x, y), (vx, vy) = clips(1200, seed), clips(400, seed + 100)
    net = nn.Sequential(
        nn.Conv3d(1, 8, 3, (1, 2, 2), 1), nn.ReLU(), nn.Conv3d(8, 16, 3, (1, 2, 2), 1), nn.ReLU(),
        nn.Flatten(), nn.Linear(16 * FRAMES * 16, 48), nn.ReLU(), nn.Linear(48, ACTIONS),
    )  # fmt: skip
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9)
    meter = AccuracyMeter()
    with watch(net, criterion, optimizer) as doctor:
        for _ in range(8):
            net.train()
            for i in torch.randperm(len(x)).split(30):
                optimizer.zero_grad()
                loss = doctor.loss_fn(net(x[i]), y[i])
                loss.backward()
                optimizer.step()
            net.eval()
            if fixed:
                meter.reset()
            with torch.no_grad():
                for clip, label in zip(vx.split(50), vy.split(50), strict=True):
                    meter.update(net(clip), label)
    score = meter.value()
    return {"score": score, "metric": "validation accuracy told", "doctor": doctor, "probe": (x, y), "test": (vx, vy)}
