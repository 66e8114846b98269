"""A bidirectional LSTM tags each word of sentences of many lengths: packed sequences, targets -100 at padding.

A careless tool could take -100, which cross-entropy ignores, for a wrong label, and the packed input for no tensor.
"""

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

from benchmarks.cases.data import batches


class Tagger(nn.Module):
    def __init__(self, vocab=31, width=24, tags=4):
        super().__init__()
        self.embed = nn.Embedding(vocab, width, padding_idx=0)
        self.lstm = nn.LSTM(width, width, bidirectional=True, batch_first=True)
        self.out = nn.Linear(2 * width, tags)

    def forward(self, words, lengths):
        packed = pack_padded_sequence(self.embed(words), lengths, batch_first=True, enforce_sorted=False)
        hidden, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        return self.out(hidden)


def sentence():
    """Return words 1 to 30 and tags: a word's kind (0, 1) or, above 20, the next word's kind plus 2."""
    words = torch.randint(1, 31, (int(torch.randint(4, 15, (1,))),))
    kind = words % 2
    after = torch.cat([kind[1:], kind.new_zeros(1)])
    return words, torch.where(words > 20, 2 + after, kind)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    sentences = [sentence() for _ in range(2000)]
    model, n = Tagger(), 1700
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)

    def collate(chosen):
        words, tags = zip(*(sentences[i] for i in chosen), strict=True)
        lengths = torch.tensor([len(part) for part in words])
        return pad_sequence(words, True), lengths, pad_sequence(tags, True, padding_value=-100)

    with watch(model, nn.CrossEntropyLoss(ignore_index=-100), optimizer) as doctor:
        for i in batches(n, 32, 5, seed):
            words, lengths, tags = collate(i.tolist())
            loss = doctor.loss_fn(model(words, lengths).flatten(0, 1), tags.flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    words, lengths, tags = collate(range(n, 2000))
    right = (model(words, lengths).argmax(2) == tags)[tags != -100]
    return {
        "score": right.float().mean().item(),
        "metric": "test accuracy",
        "doctor": doctor,
        "probe": None,
        "test": None,
    }
