"""Stochastic weight averaging: a constant rate at the end, an averaged model, its batch norms renewed by update_bn.

A careless tool could take the rate that rises again, or passes in training mode without steps, for a fault.
"""

import torch
from torch import nn
from torch.optim.swa_utils import SWALR, AveragedModel, update_bn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.cases.data import accuracy, fashion


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = fashion(5000, 1000)
    loader = DataLoader(TensorDataset(x, y), batch_size=64, shuffle=True, drop_last=True)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 5, 2),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(1152, 32),
        nn.ReLU(),
        nn.Linear(32, 10),
    )
    averaged = AveragedModel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=4)
    swa_scheduler = SWALR(optimizer, swa_lr=0.03, anneal_epochs=1)
    with watch(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for epoch in range(7):
            for images, labels in loader:
                optimizer.zero_grad()
                doctor.loss_fn(model(images), labels).backward()
                optimizer.step()
            if epoch >= 3:
                averaged.update_parameters(model)
                swa_scheduler.step()
            else:
                scheduler.step()
        update_bn(loader, averaged)
    score = accuracy(averaged, tx, ty)
    return {
        "score": score,
        "metric": "accuracy of the average",
        "doctor": doctor,
        "probe": (x[:3000], y[:3000]),
        "test": (tx, ty),
    }
