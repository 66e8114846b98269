"""CutMix with smoothed labels: a box of another image is pasted in, and cross-entropy gets probabilities as targets.

A careless tool could take pasted images for mixed-up samples, or a loss that stays far above 0 for one that is stuck.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.cases.data import accuracy, fashion

NUM_CLASSES = 10


def smooth_one_hot(labels, smoothing=0.1):
    return F.one_hot(labels, NUM_CLASSES) * (1 - smoothing) + smoothing / NUM_CLASSES


def cutmix(images, targets, alpha=1.0, prob=0.7):
    if torch.rand(()) > prob:
        return images, targets
    lam = torch.distributions.Beta(alpha, alpha).sample().item()
    h, w = images.shape[-2:]
    cut_h, cut_w = int(h * math.sqrt(1 - lam)), int(w * math.sqrt(1 - lam))
    cy, cx = int(torch.randint(h, (1,))), int(torch.randint(w, (1,)))
    y1, y2 = max(cy - cut_h // 2, 0), min(cy + cut_h // 2, h)
    x1, x2 = max(cx - cut_w // 2, 0), min(cx + cut_w // 2, w)
    perm = torch.randperm(len(images))
    images = images.clone()
    images[:, :, y1:y2, x1:x2] = images[perm, :, y1:y2, x1:x2]
    lam = 1 - (y2 - y1) * (x2 - x1) / (h * w)
    return images, lam * targets + (1 - lam) * targets[perm]


def conv_bn(c_in, c_out, stride):
    return nn.Sequential(
        nn.Conv2d(c_in, c_in, 3, stride, 1, groups=c_in, bias=False),
        nn.Conv2d(c_in, c_out, 1, bias=False),
        nn.BatchNorm2d(c_out),
        nn.Hardswish(),
    )


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = fashion(6000, 1000)
    x, tx = (x - 0.286) / 0.353, (tx - 0.286) / 0.353
    loader = DataLoader(TensorDataset(x, y), batch_size=64, shuffle=True, drop_last=True)
    stem = nn.Sequential(nn.Conv2d(1, 12, 3, 2, 1, bias=False), nn.BatchNorm2d(12), nn.Hardswish())
    model = nn.Sequential(
        stem,
        conv_bn(12, 24, 1),
        conv_bn(24, 48, 2),
        conv_bn(48, 64, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, NUM_CLASSES),
    )
    epochs = 6
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs * len(loader))
    with watch(model, criterion, optimizer) as doctor:
        for _epoch in range(epochs):
            model.train()
            for images, labels in loader:
                images, targets = cutmix(images, smooth_one_hot(labels))
                loss = doctor.loss_fn(model(images), targets)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                scheduler.step()
    return {
        "score": accuracy(model, tx, ty),
        "metric": "test accuracy",
        "doctor": doctor,
        "probe": (x[:2000], smooth_one_hot(y[:2000])),
        "test": (tx, smooth_one_hot(ty)),
    }
