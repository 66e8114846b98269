"""Images that are normalized in place each time they are read.

Source: https://github.com/pytorch/vision/issues/680 (from stackoverflow.com/questions/53652015)
Cause: the data set is held in memory, and reading a sample normalizes the stored tensor itself: with each epoch the
images are normalized once more, and the validation error rises.
Fix: normalize a copy (torchvision made Normalize out of place by default).
"""

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from benchmarks.cases.data import mnist

TRUTH = ("inputs-drift",)
MEAN, STD = 0.1307, 0.3081


class InMemory(Dataset):
    def __init__(self, images, labels, copy):
        self.images, self.labels, self.copy = images, labels, copy

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        image = self.images[index]
        if self.copy:
            image = image.clone()
        return image.sub_(MEAN).div_(STD), self.labels[index]


@torch.no_grad()
def validate(model, loader):
    model.eval()
    right = sum((model(images).argmax(1) == labels).sum().item() for images, labels in loader)
    model.train()
    return right / len(loader.dataset)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = mnist(4000, 800)
    train, test = InMemory(x, y, copy=fixed), InMemory(tx, ty, copy=fixed)
    train_loader, test_loader = DataLoader(train, batch_size=64, shuffle=True), DataLoader(test, batch_size=250)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 100), nn.ReLU(), nn.Dropout(0.2), nn.Linear(100, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.5)
    with watch(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for _ in range(5):
            for images, labels in train_loader:
                optimizer.zero_grad()
                loss = doctor.loss_fn(model(images), labels)
                loss.backward()
                optimizer.step()
            score = validate(model, test_loader)
    probe, test = ((x, y), (tx, ty)) if not fixed else (((x - MEAN) / STD, y), ((tx - MEAN) / STD, ty))
    return {"score": score, "metric": "test accuracy in the last epoch", "doctor": doctor, "probe": probe, "test": test}
