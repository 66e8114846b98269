"""Named-entity tagger whose rate is 0 for most of the training.

Source: https://github.com/wenyu332/daguan_bert_ner/issues/19 (also #12; huggingface/transformers#324)
Cause: the number of steps after which the linear schedule ends is computed from another number of epochs than the loop
runs: the rate reaches 0 in the first of ten epochs.
Fix: one number of epochs for both.
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import batches

TRUTH = ("schedule-collapsed",)


def sentences(n: int, seed: int, length: int = 12, vocab: int = 80):
    """Return words (N, T) and tags: 0 for none, 1 where a name begins, 2 in a name, after certain words."""
    g = torch.Generator().manual_seed(seed)
    words = torch.randint(vocab, (n, length), generator=g)
    opens, inside = words < 20, (words >= 20) & (words < 50)
    tags = torch.zeros_like(words)
    for t in range(1, length):
        begin = opens[:, t - 1] & inside[:, t]
        goes_on = (tags[:, t - 1] > 0) & inside[:, t] & (words[:, t] % 2 == words[:, t - 1] % 2)
        tags[:, t] = torch.where(begin, 1, torch.where(goes_on, 2, 0))
    return words, tags


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(80, 32)
        self.lstm = nn.LSTM(32, 32, batch_first=True, bidirectional=True)
        self.classifier = nn.Linear(64, 3)

    def forward(self, words):
        return self.classifier(self.lstm(self.embedding(words))[0])


def loss_fct(logits, tags):
    return F.cross_entropy(logits.flatten(0, 1), tags.flatten())


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (x, y), (tx, ty) = sentences(2000, seed), sentences(1000, seed + 100)
    num_train_epochs = 10
    base_epoch = num_train_epochs if fixed else 1
    t_total = len(x) // 50 * base_epoch
    model = Tagger()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    warmup_linear = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda k: min((k + 1) / (0.1 * t_total), max(0.0, (t_total - k) / (0.9 * t_total)))
    )
    with watch(model, loss_fct, optimizer) as doctor:
        for i in batches(len(x), 50, num_train_epochs, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
            warmup_linear.step()
    with torch.no_grad():
        guess = model(tx).argmax(2)
    score = (2 * ((guess == ty) & (ty > 0)).sum() / ((guess > 0).sum() + (ty > 0).sum())).item()
    return {"score": score, "metric": "test F1", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
