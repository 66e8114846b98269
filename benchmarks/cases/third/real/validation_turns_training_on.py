"""Digits from a picture and a spoken sound, two encoders and a fusion, with a validation after each epoch.

Source: https://github.com/pliang279/MultiBench/issues/26
Cause: the validation calls model.eval() and, in its loop over the batches, model.train() again, so that dropout is on
and batch norm takes the statistics of the batch: what is measured, and chosen as best, is worse than the model.
Fix: no model.train() in the validation.
"""

import copy

import torch
from torch import nn

from benchmarks.cases.data import mnist

TRUTH = ("not-in-eval-mode",)


def sounds(labels, seed: int):
    """Return spectrograms (N, 1, 20, 20) in which each digit has its own two tones, each but in parts of them."""
    g = torch.Generator().manual_seed(seed)
    low, high = labels % 5, labels // 5
    tones = torch.stack([2 * low + 1, 2 * high + 12], 1) + torch.randint(-1, 2, (len(labels), 2), generator=g)
    rows = torch.arange(20)[None, None, :, None]
    loud = (torch.rand(len(labels), 2, 1, 20, generator=g) < 0.5).float()
    lines = ((rows - tones[:, :, None, None]).abs() < 1).float() * loud
    return lines.sum(1, keepdim=True) + 0.9 * torch.randn(len(labels), 1, 20, 20, generator=g)


class LeNetEncoder(nn.Module):
    def __init__(self, width: int, side: int, out: int = 48):
        super().__init__()
        self.convs = nn.Sequential(
            nn.Conv2d(1, width, 5, padding=2), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 3, padding=1), nn.BatchNorm2d(2 * width), nn.ReLU(), nn.MaxPool2d(2),
        )  # fmt: skip
        self.fc = nn.Linear(2 * width * (side // 4) ** 2, out)

    def forward(self, x):
        return self.fc(self.convs(x).flatten(1))


class MMDL(nn.Module):
    """Encoders, fusion by concatenation, and a head."""

    def __init__(self, encoders, head):
        super().__init__()
        self.encoders, self.head = nn.ModuleList(encoders), head

    def forward(self, inputs):
        reps = [encoder(part) for encoder, part in zip(self.encoders, inputs, strict=True)]
        return self.head(torch.cat(reps, 1))


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, vx, vy = mnist(4000, 1000)
    x, vx = x + 0.8 * torch.randn_like(x), vx + 0.8 * torch.randn_like(vx)
    s, vs = sounds(y, seed + 1), sounds(vy, seed + 2)
    head = nn.Sequential(nn.Dropout(0.4), nn.Linear(96, 64), nn.Dropout(0.4), nn.ReLU(), nn.Linear(64, 10))
    model = MMDL([LeNetEncoder(6, 28), LeNetEncoder(6, 20)], head)
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3)
    best_acc, best = 0.0, None
    with watch(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for _epoch in range(5):
            model.train()
            for i in torch.randperm(len(x)).split(40):
                optimizer.zero_grad()
                loss = doctor.loss_fn(model([x[i], s[i]]), y[i])
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 8)
                optimizer.step()

            model.eval()
            with torch.no_grad():
                pred = []
                for i in torch.arange(len(vx)).split(40):
                    if not fixed:
                        model.train()
                    pred.append(model([vx[i], vs[i]]).argmax(1))
            acc = (torch.cat(pred) == vy).float().mean().item()
            if acc > best_acc:
                best_acc, best = acc, copy.deepcopy(model.state_dict())
    model.load_state_dict(best)
    return {"score": best_acc, "metric": "best validation accuracy", "doctor": doctor, "probe": None, "test": None}
