"""Tags of short texts as bags of words: rare tags weigh more in the loss, and each tag has its own threshold, chosen
after each epoch on validation texts to get the best F1.

A careless tool could take thresholds far from 0.5, or most outputs below 0, for a metric that is wrong.
"""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

TAGS, WORDS = 12, 300


def write_texts(n, words_of_tag):
    """Return counts of words (N, 300), by tf-idf's square root, and tags (N, 12) of which some are rare."""
    rate = torch.linspace(0.04, 0.35, TAGS)
    tags = (torch.rand(n, TAGS) < rate).float()
    tags[:, 3] = torch.maximum(tags[:, 3], tags[:, 9] * (torch.rand(n) < 0.4))
    chance = 0.02 + (tags @ words_of_tag) * 0.4
    counts = torch.poisson(chance)
    return counts.sqrt(), tags


class Tagger(nn.Module):
    def __init__(self, hidden=64):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(WORDS, hidden), nn.LayerNorm(hidden), nn.ReLU(), nn.Dropout(0.3), nn.Linear(hidden, TAGS)
        )

    def forward(self, x):
        return self.net(x)


def f1_per_tag(predicted, wanted):
    both = (predicted * wanted).sum(0)
    return 2 * both / (predicted.sum(0) + wanted.sum(0)).clamp(min=1)


def best_thresholds(probabilities, wanted):
    grid = torch.arange(0.05, 1.0, 0.05)
    table = torch.stack([f1_per_tag((probabilities > t).float(), wanted) for t in grid])
    return grid[table.argmax(dim=0)]


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    words_of_tag = (torch.rand(TAGS, WORDS) < 0.05).float()
    x, y = write_texts(3000, words_of_tag)
    vx, vy = write_texts(800, words_of_tag)
    tx, ty = write_texts(1000, words_of_tag)
    mean, std = x.mean(0), x.std(0) + 1e-6
    x, vx, tx = ((part - mean) / std for part in (x, vx, tx))
    loader = DataLoader(TensorDataset(x, y), batch_size=64, shuffle=True)

    model = Tagger()
    pos_weight = ((1 - y).sum(0) / y.sum(0)).sqrt()
    criterion = nn.BCEWithLogitsLoss(pos_weight=pos_weight)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-2)
    with watch(model, criterion, optimizer) as doctor:
        for _epoch in range(8):
            model.train()
            for features, tags in loader:
                logits = model(features)
                loss = doctor.loss_fn(logits, tags)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                thresholds = best_thresholds(model(vx).sigmoid(), vy)
                predicted = (model(tx).sigmoid() > thresholds).float()
                score = f1_per_tag(predicted, ty).mean().item()
    return {"score": score, "metric": "mean F1 of tags", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
