"""A first classifier of digits, fully connected, from a course.

Source: https://github.com/hunkim/PyTorchZeroToAll/pull/4
Cause: the last layer has a ReLU as all the others: a class whose output falls below 0 cannot come back.
Fix: return the output of the last layer as it is.
"""

import torch
import torch.nn.functional as F
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.cases.data import mnist

TRUTH = ("activation-on-output",)


class Net(nn.Module):
    def __init__(self, fixed):
        super().__init__()
        self.fixed = fixed
        self.l1 = nn.Linear(784, 520)
        self.l2 = nn.Linear(520, 320)
        self.l3 = nn.Linear(320, 240)
        self.l4 = nn.Linear(240, 120)
        self.l5 = nn.Linear(120, 10)

    def forward(self, x):
        x = x.view(-1, 784)  # Flatten the data (n, 1, 28, 28) -> (n, 784)
        x = F.relu(self.l1(x))
        x = F.relu(self.l2(x))
        x = F.relu(self.l3(x))
        x = F.relu(self.l4(x))
        if self.fixed:
            return self.l5(x)
        return F.relu(self.l5(x))


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    images, labels, test_images, test_labels = mnist(15_000, 2000)
    train_loader = DataLoader(TensorDataset(images, labels), batch_size=64, shuffle=True)
    test_loader = DataLoader(TensorDataset(test_images, test_labels), batch_size=64)
    model = Net(fixed)
    criterion = nn.CrossEntropyLoss()
    optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.5)

    with watch(model, criterion, optimizer) as doctor:
        for _ in range(9):
            model.train()
            for data, target in train_loader:
                optimizer.zero_grad()
                output = model(data)
                loss = doctor.loss_fn(output, target)
                loss.backward()
                optimizer.step()
            model.eval()
            correct = 0
            with torch.no_grad():
                for data, target in test_loader:
                    pred = model(data).max(1, keepdim=True)[1]
                    correct += pred.eq(target.view_as(pred)).sum().item()
    return {
        "score": correct / len(test_images),
        "metric": "test accuracy",
        "doctor": doctor,
        "probe": (images[:2000], labels[:2000]),
        "test": (test_images, test_labels),
    }
