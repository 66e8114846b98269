"""A plain CNN for CIFAR-10: SGD with momentum and weight decay, the rate divided by 10 after epochs 4 and 5.

A careless tool could take the last rate, a hundredth of the first one, for a schedule that collapses.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import optim
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.cases.data import cifar


class ConvNet(nn.Module):
    def __init__(self, num_classes=10):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.conv2 = nn.Conv2d(8, 24, 3, padding=1)
        self.conv3 = nn.Conv2d(24, 32, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.fc1 = nn.Linear(32 * 4 * 4, 64)
        self.fc2 = nn.Linear(64, num_classes)

    def forward(self, x):
        x = self.pool(F.relu(self.conv1(x)))
        x = self.pool(F.relu(self.conv2(x)))
        x = self.pool(F.relu(self.conv3(x)))
        x = torch.flatten(x, 1)
        x = F.relu(self.fc1(x))
        return self.fc2(x)


@torch.no_grad()
def evaluate(net, loader):
    net.eval()
    correct = total = 0
    for images, labels in loader:
        correct += (net(images).argmax(dim=1) == labels).sum().item()
        total += labels.size(0)
    return correct / total


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = cifar(5000, 1000)
    trainloader = DataLoader(TensorDataset(x, y), batch_size=64, shuffle=True)
    testloader = DataLoader(TensorDataset(tx, ty), batch_size=250)

    net = ConvNet()
    criterion = nn.CrossEntropyLoss()
    optimizer = optim.SGD(net.parameters(), lr=0.03, momentum=0.9, weight_decay=5e-4)
    scheduler = optim.lr_scheduler.MultiStepLR(optimizer, milestones=[4, 5], gamma=0.1)
    with watch(net, criterion, optimizer) as doctor:
        for _ in range(6):
            net.train()
            running_loss = 0.0
            for images, labels in trainloader:
                optimizer.zero_grad()
                outputs = net(images)
                loss = doctor.loss_fn(outputs, labels)
                loss.backward()
                optimizer.step()
                running_loss += loss.item()
            scheduler.step()
            test_accuracy = evaluate(net, testloader)
    return {
        "score": test_accuracy,
        "metric": "test accuracy",
        "doctor": doctor,
        "probe": (x[:2000], y[:2000]),
        "test": (tx, ty),
    }
