"""Lesson about layers: a convolutional network for digits with dropout after each stage.

Source: https://github.com/hunkim/DeepLearningZeroToAll/pull/205 (TensorFlow; the same in PyTorch)
Cause: 0.7, which was the share to keep in the lesson before, is given to a layer that wants the share to drop.
Fix: 1 - 0.7.
"""

import torch
import torch.nn as nn

from benchmarks.cases.data import batches, mnist

TRUTH = ("dropout-too-high",)

learning_rate = 0.001
training_epochs = 3
batch_size = 100


class Model(nn.Module):
    def __init__(self, keep_prob, rate):
        super().__init__()
        self.layer1 = nn.Sequential(
            nn.Conv2d(1, 16, kernel_size=3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(rate)
        )
        self.layer2 = nn.Sequential(
            nn.Conv2d(16, 32, kernel_size=3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(rate)
        )
        self.layer3 = nn.Sequential(
            nn.Conv2d(32, 64, kernel_size=3, padding=1), nn.ReLU(), nn.MaxPool2d(2, padding=1), nn.Dropout(rate)
        )
        self.fc4 = nn.Linear(64 * 4 * 4, 256)
        self.layer4 = nn.Sequential(self.fc4, nn.ReLU(), nn.Dropout(1 - keep_prob))
        self.fc5 = nn.Linear(256, 10)
        for fc in (self.fc4, self.fc5):
            nn.init.xavier_uniform_(fc.weight)

    def forward(self, x):
        out = self.layer3(self.layer2(self.layer1(x)))
        return self.fc5(self.layer4(out.view(out.size(0), -1)))


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    images, labels, test_images, test_labels = mnist(4000, 1000)
    keep_prob = 0.7
    model = Model(keep_prob=0.5, rate=1 - keep_prob if fixed else keep_prob)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)

    with watch(model, criterion, optimizer) as doctor:
        model.train()
        for i in batches(len(images), batch_size, training_epochs, seed):
            optimizer.zero_grad()
            cost = doctor.loss_fn(model(images[i]), labels[i])
            cost.backward()
            optimizer.step()

    with torch.no_grad():
        model.eval()
        prediction = model(test_images)
        accuracy = (torch.argmax(prediction, 1) == test_labels).float().mean()
    return {
        "score": accuracy.item(),
        "metric": "test accuracy",
        "doctor": doctor,
        "probe": (images[:1000], labels[:1000]),
        "test": (test_images, test_labels),
    }
