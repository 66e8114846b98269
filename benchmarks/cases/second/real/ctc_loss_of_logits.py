"""Speech recognizer whose CTC loss gets logits.

Source: https://github.com/jeremyfix/deeplearning-lectures/issues/22 (also gwx314/STARS#9)
Cause: the line with log_softmax before nn.CTCLoss was commented out. Without it the loss has no lower bound: it falls
as all logits grow.
Fix: predictions.log_softmax(dim=2).
"""

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from benchmarks.cases.data import batches

TRUTH = ("wrong-loss",)

LETTERS, BANDS = 20, 16


def utterances(n: int, seed: int):
    """Return spectra (N, T, BANDS), their lengths, letters (N, 6) from 1 on (0 for none) and their numbers."""
    voice = torch.randn(LETTERS + 1, BANDS, generator=torch.Generator().manual_seed(0))
    g = torch.Generator().manual_seed(seed)
    count = torch.randint(3, 7, (n,), generator=g)
    text = torch.randint(1, LETTERS + 1, (n, 6), generator=g) * (torch.arange(6) < count[:, None])
    spectra, frames = torch.zeros(n, 30, BANDS), torch.zeros(n, dtype=torch.long)
    for k in range(n):
        parts = [voice[letter].expand(int(torch.randint(2, 5, (), generator=g)), -1) for letter in text[k, : count[k]]]
        pieces = [piece for part in parts for piece in (part, torch.zeros(1, BANDS))]
        sound = torch.cat(pieces)
        spectra[k, : len(sound)], frames[k] = sound, len(sound)
    return spectra + 1.0 * torch.randn(spectra.shape, generator=g), frames, text, count


class CTCModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(BANDS, 48, bidirectional=True, batch_first=True)
        self.charlin = nn.Linear(96, LETTERS + 1)

    def forward(self, spectra, lengths):
        packed = pack_padded_sequence(spectra, lengths, batch_first=True, enforce_sorted=False)
        out, _ = pad_packed_sequence(self.rnn(packed)[0], batch_first=True)
        return self.charlin(out)


def edit_distance(a, b):
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for j, right in enumerate(b, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (left != right))
    return row[-1]


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, frames, text, count = utterances(1600, 1)
    tx, test_frames, test_text, test_count = utterances(300, 2)
    ctc = nn.CTCLoss(blank=0, zero_infinity=True)

    def wrap_ctc(predictions, lengths, targets, target_lengths):
        predictions = predictions.transpose(0, 1)  # T, B, letters
        if fixed:
            predictions = predictions.log_softmax(dim=2)
        return ctc(predictions, targets, lengths, target_lengths)

    model = CTCModel()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    with watch(model, wrap_ctc, optimizer) as doctor:
        for i in batches(len(x), 32, 5, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i], frames[i]), frames[i], text[i], count[i])
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 20)
            optimizer.step()
    with torch.no_grad():
        best = model(tx, test_frames).argmax(2)
    errors = 0
    for path, length, wanted, letters in zip(best, test_frames, test_text, test_count, strict=True):
        read = torch.unique_consecutive(path[:length])
        errors += edit_distance(read[read > 0].tolist(), wanted[:letters].tolist())
    score = 1 - errors / test_count.sum().item()
    return {"score": score, "metric": "1 - letter error rate", "doctor": doctor, "probe": None, "test": None}
