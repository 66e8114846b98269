"""A vocabulary for the training texts, and another for the test texts.

Source: https://github.com/minqukanq/hierarchical-multi-label-text-classification/issues/6 (fixed by its #7)
Cause: each part of the data set numbers the words in its own order, so that in the test a number stands for another
word than in training.
Fix: use the vocabulary of the training texts for both.
"""

import torch
from torch import nn

from benchmarks.cases.data import batches, toy_text

TRUTH = ("train-test-mismatch",)


class Texts:
    def __init__(self, sentences, vocabulary=None):
        if vocabulary is None:
            words = [word for sentence in sentences for word in sentence]
            frequent_first = sorted(set(words), key=lambda word: (-words.count(word), word))
            vocabulary = {word: number for number, word in enumerate(frequent_first)}
        self.vocabulary = vocabulary
        self.numbers = torch.tensor([[vocabulary.get(word, 0) for word in sentence] for sentence in sentences])


class TextCNN(nn.Module):
    def __init__(self, words):
        super().__init__()
        self.embedding = nn.Embedding(words, 24)
        self.convolutions = nn.ModuleList(nn.Conv1d(24, 24, size, padding=size // 2) for size in (1, 3))
        self.out = nn.Sequential(nn.Dropout(0.2), nn.Linear(48, 1))

    def forward(self, numbers):
        x = self.embedding(numbers).transpose(1, 2)
        return self.out(torch.cat([c(x).relu().mean(2) for c in self.convolutions], 1)).squeeze(1)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    words, labels, _ = toy_text(3600, length=14)
    sentences = [[f"word{word}" for word in text] for text in words.tolist()]
    train = Texts(sentences[:-700])
    test = Texts(sentences[-700:], train.vocabulary if fixed else None)
    (x, tx), (y, ty) = (train.numbers, test.numbers), labels.float().split((len(labels) - 700, 700))
    model = TextCNN(len(train.vocabulary))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    with watch(model, nn.BCEWithLogitsLoss(), optimizer) as doctor:
        for epoch in range(8):
            model.train()
            for i in batches(len(x), 32, 1, seed + epoch):
                optimizer.zero_grad()
                loss = doctor.loss_fn(model(x[i]), y[i])
                loss.backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                score = ((model(tx) > 0) == ty.bool()).float().mean().item()
    return {"score": score, "metric": "test accuracy", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
