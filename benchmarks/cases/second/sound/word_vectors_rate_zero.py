"""A CNN for reviews on word vectors trained elsewhere: their group has rate 0, so that unseen words stay comparable.

A careless tool could take the embedding, which gets gradients and never moves, for a layer that should learn.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F

VOCAB, WIDTH = 1200, 24


def word_vectors():
    """Stand-ins for vectors read from a file: a tenth of the words praise, a tenth blame, one word in 40 negates."""
    feeling = torch.zeros(VOCAB)
    order = 1 + torch.randperm(VOCAB - 1)
    praise, blame, negate = order[:120], order[120:240], order[240:270]
    feeling[praise], feeling[blame] = 1.0, -1.0
    directions = torch.linalg.qr(torch.randn(WIDTH, WIDTH)).Q
    vectors = 0.25 * torch.randn(VOCAB, WIDTH) + 1.2 * feeling[:, None] * directions[0]
    vectors[negate] += 1.5 * directions[1]
    vectors[0] = 0
    return vectors, feeling, negate


def reviews(n, words, feeling, negate, length=24):
    texts = words[torch.randint(len(words), (n, length))]
    lengths = torch.randint(12, length + 1, (n, 1))
    texts = texts * (torch.arange(length) < lengths)
    before = torch.isin(texts, negate)
    turned = torch.cat([torch.ones(n, 1), 1 - 2.0 * before[:, :-1]], 1)
    mood = (feeling[texts] * turned).sum(1)
    return texts[mood != 0], (mood[mood != 0] > 0).float()


class KimCNN(nn.Module):
    def __init__(self, vectors, n_filters=24, filter_sizes=(1, 2, 3), dropout=0.3):
        super().__init__()
        self.embedding = nn.Embedding.from_pretrained(vectors, freeze=False, padding_idx=0)
        self.convs = nn.ModuleList([nn.Conv1d(vectors.shape[1], n_filters, fs, padding=fs // 2) for fs in filter_sizes])
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(2 * n_filters * len(filter_sizes), 1)

    def forward(self, text):
        embedded = self.embedding(text).transpose(1, 2)
        convolved = [F.relu(conv(embedded)) for conv in self.convs]
        pooled = [part for c in convolved for part in (c.amax(2), c.sum(2) / 10)]
        return self.fc(self.dropout(torch.cat(pooled, dim=1))).squeeze(1)


def binary_accuracy(preds, y):
    return ((preds > 0).float() == y).float().mean().item()


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    vectors, feeling, negate = word_vectors()
    train_words, all_words = torch.arange(1, 500), torch.arange(1, VOCAB)
    x, y = reviews(1200, train_words, feeling, negate)
    tx, ty = reviews(1000, all_words, feeling, negate)
    model = KimCNN(vectors)
    rest = [p for name, p in model.named_parameters() if not name.startswith("embedding")]
    optimizer = torch.optim.Adam(
        [{"params": model.embedding.parameters(), "lr": 0.0}, {"params": rest, "lr": 2e-3}],
    )
    criterion = nn.BCEWithLogitsLoss()
    with watch(model, criterion, optimizer) as doctor:
        for _epoch in range(15):
            model.train()
            for batch in torch.randperm(len(x)).split(32):
                optimizer.zero_grad()
                predictions = model(x[batch])
                loss = doctor.loss_fn(predictions, y[batch])
                loss.backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                score = binary_accuracy(model(tx), ty)
    return {"score": score, "metric": "test accuracy", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
