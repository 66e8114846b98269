"""A network reads strips of three or four symbols with the CTC loss, which gets four arguments and lengths.

A careless tool could take blanks, that win nearly everywhere for a while, for a collapse, or (T, B, C) for a mistake.
"""

import torch
from torch import nn

from benchmarks.cases.data import batches

SYMBOLS, FRAMES = 6, 24


class Reader(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv1d(8, 32, 3, padding=1), nn.ReLU())
        self.rnn, self.fc = nn.GRU(32, 32, bidirectional=True), nn.Linear(64, SYMBOLS + 1)

    def forward(self, x):
        h, _ = self.rnn(self.conv(x).permute(2, 0, 1))
        return self.fc(h).log_softmax(2)


def strips(n, shapes):
    """Return strips (N, 8, T), texts (N, 4) of symbols from 1 on, and their lengths."""
    text, lengths = torch.randint(1, SYMBOLS + 1, (n, 4)), torch.randint(3, 5, (n,))
    x = 0.3 * torch.randn(n, 8, FRAMES)
    for k in range(n):
        for place in range(int(lengths[k])):
            start = 6 * place + int(torch.randint(0, 3, ()))
            x[k, :, start : start + 3] += shapes[text[k, place]]
    return x, text, lengths


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    shapes = 1.5 * torch.randn(SYMBOLS + 1, 8, 3)
    (x, text, lengths), (tx, test_text, test_lengths) = strips(2000, shapes), strips(300, shapes)
    model = Reader()
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    with watch(model, nn.CTCLoss(blank=0, zero_infinity=True), optimizer) as doctor:
        for i in batches(len(x), 32, 7, seed):
            loss = doctor.loss_fn(model(x[i]), text[i], torch.full((len(i),), FRAMES), lengths[i])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5)
            optimizer.step()
    with torch.no_grad():
        best = model(tx).argmax(2).T
    right = 0
    for path, wanted, length in zip(best, test_text, test_lengths, strict=True):
        read = torch.unique_consecutive(path)
        right += read[read > 0].tolist() == wanted[:length].tolist()
    score = right / len(tx)
    return {"score": score, "metric": "strips read right", "doctor": doctor, "probe": None, "test": None}
