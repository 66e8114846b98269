"""Which customers leave? A table of numbers and one-hot columns, standardized, by an MLP with SGD and momentum.

A careless tool could take the columns of zeros and ones, of which some are nearly always zero, for dead inputs.
"""

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


def customers(n, rng):
    tenure = rng.integers(1, 73, n)
    charges = rng.gamma(6, 11, n) + 18
    total = tenure * charges * rng.normal(1, 0.03, n)
    calls = rng.poisson(1.4, n)
    contract = rng.choice(3, n, p=[0.55, 0.25, 0.20])
    payment = rng.choice(4, n, p=[0.4, 0.35, 0.23, 0.02])
    z = 0.9 - 0.06 * tenure + 0.025 * (charges - 60) + 0.9 * calls - 1.6 * contract + 0.8 * (payment == 2)
    z = z + 0.9 * (calls > 2) * (contract == 0)
    churn = rng.random(n) < 1 / (1 + np.exp(-2 * z))
    numbers = np.stack([tenure, charges, total, calls], 1).astype(np.float32)
    kinds = np.concatenate([np.eye(3)[contract], np.eye(4)[payment]], 1).astype(np.float32)
    return numbers, kinds, churn.astype(np.int64)


class ChurnDataset(Dataset):
    def __init__(self, numbers, kinds, churn, mean, std):
        self.features = np.concatenate([(numbers - mean) / std, kinds], axis=1)
        self.labels = churn

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return torch.from_numpy(self.features[index]), self.labels[index]


class ChurnNet(nn.Module):
    def __init__(self, n_features):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(n_features, 64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 2)
        )

    def forward(self, x):
        return self.layers(x)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    numbers, kinds, churn = customers(6000, np.random.default_rng(seed))
    train, test = slice(0, 5000), slice(5000, 6000)
    mean, std = numbers[train].mean(0), numbers[train].std(0)
    train_set = ChurnDataset(numbers[train], kinds[train], churn[train], mean, std)
    test_set = ChurnDataset(numbers[test], kinds[test], churn[test], mean, std)
    loader = DataLoader(train_set, batch_size=32, shuffle=True)

    model = ChurnNet(train_set.features.shape[1])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    with watch(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for _ in range(12):
            model.train()
            for features, labels in loader:
                optimizer.zero_grad()
                loss = doctor.loss_fn(model(features), labels)
                loss.backward()
                optimizer.step()
    model.eval()
    tx, ty = torch.from_numpy(test_set.features), torch.from_numpy(test_set.labels)
    with torch.no_grad():
        guess = model(tx).argmax(1)
    recalls = [(guess[ty == k] == k).float().mean().item() for k in (0, 1)]
    return {
        "score": sum(recalls) / 2,
        "metric": "balanced test accuracy",
        "doctor": doctor,
        "probe": (torch.from_numpy(train_set.features), torch.from_numpy(train_set.labels)),
        "test": (tx, ty),
    }
