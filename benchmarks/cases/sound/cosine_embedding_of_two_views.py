"""Two encoders learn to match images with short descriptions of them, by CosineEmbeddingLoss with targets 1 and -1.

A careless tool could take targets of -1 for wrong labels, or a loss of three tensors for none it knows.
"""

import torch
from torch import nn

from benchmarks.cases.data import batches, mnist


class TwoTowers(nn.Module):
    def __init__(self):
        super().__init__()
        self.image = nn.Sequential(nn.Flatten(), nn.Linear(784, 96), nn.ReLU(), nn.Linear(96, 16))
        self.text = nn.Sequential(nn.EmbeddingBag(40, 24), nn.ReLU(), nn.Linear(24, 16))

    def forward(self, image, words):
        return self.image(image), self.text(words)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = mnist(6000, 1000)
    vocabulary = torch.randperm(40).view(10, 4)  # four words that are said of each digit
    model = TwoTowers()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    with watch(model, nn.CosineEmbeddingLoss(margin=0.2), optimizer) as doctor:
        for i in batches(len(x), 64, 3, seed):
            told = torch.where(torch.rand(len(i)) < 0.5, y[i], torch.randint(10, (len(i),)))
            words = vocabulary[told][:, torch.randperm(4)[:3]]
            image, text = model(x[i], words)
            loss = doctor.loss_fn(image, text, torch.where(told == y[i], 1.0, -1.0))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        image, text = model(tx, vocabulary[ty])[0], model.text(vocabulary)
        best = nn.functional.cosine_similarity(image[:, None], text[None], dim=2).argmax(1)
    score = (best == ty).float().mean().item()
    return {"score": score, "metric": "accuracy of matching", "doctor": doctor, "probe": None, "test": None}
