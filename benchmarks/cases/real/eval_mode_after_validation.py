"""Fully convolutional network that trains on in evaluation mode after a validation within the epoch.

Source: https://github.com/wkentaro/pytorch-fcn/pull/56 (also fartashf/vsepp#4)
Cause: validation comes in the middle of an epoch and sets model.eval(); model.train() comes only with the next epoch,
so most of each epoch trains without batch statistics and dropout.
Fix: model.train() at the end of the validation.
"""

import torch
from torch import nn

from benchmarks.cases.data import batches, iou, toy_segmentation

TRUTH = ("left-in-eval-mode",)


def conv(a: int, b: int, stride: int = 1) -> nn.Module:
    return nn.Sequential(nn.Conv2d(a, b, 3, stride, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU())


def fcn() -> nn.Module:
    return nn.Sequential(
        conv(1, 16),
        conv(16, 24, 2),
        conv(24, 32, 2),
        conv(32, 32),
        conv(32, 32),
        nn.Dropout2d(0.1),
        nn.Conv2d(32, 16, 1),
        nn.PixelShuffle(4),
    )


class Trainer:
    def __init__(self, model, fixed: bool, data):
        self.model, self.fixed, self.data = model, fixed, data

    def validate(self) -> float:
        training = self.model.training
        self.model.eval()
        x, y = self.data
        with torch.no_grad():
            score = iou(self.model(x) > 0, y)
        if training and self.fixed:
            self.model.train()
        return score


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y = toy_segmentation(1000, seed=seed, noise=0.8)
    validation = toy_segmentation(200, seed=seed + 100, noise=0.8)
    model, criterion = fcn(), nn.BCEWithLogitsLoss()
    trainer = Trainer(model, fixed, validation)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    with watch(model, criterion, optimizer) as doctor:
        for epoch in range(4):
            model.train()
            for iteration, i in enumerate(batches(len(x), 20, 1, 1000 * seed + epoch)):
                if iteration == 4:
                    trainer.validate()
                optimizer.zero_grad()
                loss = doctor.loss_fn(model(x[i]), y[i])
                loss.backward()
                optimizer.step()
        score = trainer.validate()
    return {"score": score, "metric": "validation IoU", "doctor": doctor, "probe": (x, y), "test": validation}
