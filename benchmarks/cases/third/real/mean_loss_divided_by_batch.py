"""Natural language inference: does the second sentence follow from the first, or contradict it, or neither?

Source: https://github.com/azpoliak/robust-nli/issues/5
Cause: loss_fn.size_average = False, set after the loss was made, does nothing: the loss is a mean. The gradients are
divided by the size of the batch all the same, as in the days of summed losses, and every step is 64 times too short.
Fix: do not divide the gradients.
New cause: gradients-scaled-down: the gradients are divided by something that the loss has been divided by already.
"""

import numpy as np
import torch
from torch import nn

from benchmarks.cases.data import accuracy

TRUTH = ("lr-too-low", "gradients-scaled-down")
SUBJECTS, VERBS, OBJECTS, FILLERS = 8, 8, 8, 20
N_WORDS = SUBJECTS + VERBS + OBJECTS + FILLERS


def sentence_pairs(n, seed):
    """Return word indices (N, 2, 5) of premise and hypothesis, and 0 for entailment, 1 neutral, 2 contradiction."""
    rng = np.random.RandomState(seed)
    s, v, o = rng.randint(SUBJECTS, size=n), rng.randint(VERBS, size=n), rng.randint(OBJECTS, size=n)
    label = rng.randint(3, size=n)
    other_s = np.where(label == 1, (s + rng.randint(1, SUBJECTS, size=n)) % SUBJECTS, s)
    other_v = np.where(label == 2, v ^ 1, v)  # verbs come in pairs of opposites
    filler = rng.randint(FILLERS, size=(n, 4)) + N_WORDS - FILLERS
    premise = np.stack([filler[:, 0], s, v + SUBJECTS, o + SUBJECTS + VERBS, filler[:, 1]], 1)
    hypothesis = np.stack([filler[:, 2], other_s, other_v + SUBJECTS, filler[:, 3], o + SUBJECTS + VERBS], 1)
    return torch.from_numpy(np.stack([premise, hypothesis], 1)), torch.from_numpy(label)


class NLINet(nn.Module):
    def __init__(self, word_emb_dim=32, enc_lstm_dim=48, fc_dim=64, n_classes=3):
        super().__init__()
        self.word_vec = nn.Embedding(N_WORDS, word_emb_dim)
        self.word_vec.weight.requires_grad_(False)  # given vectors, as GloVe
        self.enc_lstm = nn.LSTM(word_emb_dim, enc_lstm_dim, bidirectional=True, batch_first=True)
        self.classifier = nn.Sequential(
            nn.Linear(4 * 2 * enc_lstm_dim, fc_dim), nn.Tanh(), nn.Linear(fc_dim, n_classes)
        )

    def encode(self, words):
        return self.enc_lstm(self.word_vec(words))[0].max(1)[0]

    def forward(self, pairs):
        u, v = self.encode(pairs[:, 0]), self.encode(pairs[:, 1])
        return self.classifier(torch.cat([u, v, (u - v).abs(), u * v], 1))


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (x, y), (vx, vy) = sentence_pairs(4000, 10 + seed), sentence_pairs(800, 20 + seed)
    nli_net = NLINet()
    loss_fn = nn.CrossEntropyLoss()
    loss_fn.size_average = False
    params = [p for p in nli_net.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(params, lr=0.1)
    max_norm, decay, batch_size = 5.0, 0.99, 64
    with watch(nli_net, loss_fn, optimizer) as doctor:
        for epoch in range(20):
            if epoch > 0:
                optimizer.param_groups[0]["lr"] *= decay
            for stidx in torch.randperm(len(x)).split(batch_size):
                pairs, target = x[stidx], y[stidx]
                k = pairs.size(0)  # actual batch size
                loss = doctor.loss_fn(nli_net(pairs), target)
                optimizer.zero_grad()
                loss.backward()
                # gradient clipping
                shrink_factor, total_norm = 1, 0
                for p in params:
                    if not fixed:
                        p.grad.data.div_(k)
                    total_norm += p.grad.data.norm().item() ** 2
                total_norm = np.sqrt(total_norm)
                if total_norm > max_norm:
                    shrink_factor = max_norm / total_norm
                current_lr = optimizer.param_groups[0]["lr"]
                optimizer.param_groups[0]["lr"] = current_lr * shrink_factor  # just for update
                optimizer.step()
                optimizer.param_groups[0]["lr"] = current_lr
    score = accuracy(nli_net, vx, vy)
    return {"score": score, "metric": "accuracy", "doctor": doctor, "probe": (x[:1000], y[:1000]), "test": (vx, vy)}
