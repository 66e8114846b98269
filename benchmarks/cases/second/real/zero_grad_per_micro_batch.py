"""Reinforcement learning of a writer of short answers, its gradients gathered over micro-batches.

Source: https://github.com/pytorch/torchtitan/pull/3575 (also tatsu-lab/alpaca_farm#57, bytetriper/RAE#67)
Cause: zero_grad() stands in forward_backward(), which is called for each micro-batch, instead of in the step of the
optimizer: the gradients of all micro-batches but the last are cleared unused.
Fix: call it with the step.
"""

import torch
from torch import nn

TRUTH = ("no-optimizer-step",)
VOCAB, LENGTH, GROUP, PROMPTS = 8, 4, 16, 16


class Policy(nn.Module):
    """A GRU that reads a prompt and writes an answer of the same length."""

    def __init__(self, hidden=64):
        super().__init__()
        self.embed = nn.Embedding(VOCAB + 1, 24)
        self.reader = nn.GRU(24, hidden, batch_first=True)
        self.writer = nn.GRUCell(24, hidden)
        self.head = nn.Linear(hidden, VOCAB)

    def forward(self, prompt, answer=None, greedy=False):
        _, h = self.reader(self.embed(prompt))
        h, token = h[0], torch.full((len(prompt),), VOCAB)
        tokens, logprobs = [], []
        for t in range(LENGTH):
            h = self.writer(self.embed(token), h)
            dist = torch.distributions.Categorical(logits=self.head(h), validate_args=False)
            token = self.choose(dist.logits, greedy) if answer is None else answer[:, t]
            tokens.append(token)
            logprobs.append(dist.log_prob(token))
        return torch.stack(tokens, 1), torch.stack(logprobs, 1)

    @staticmethod
    def choose(logits, greedy):
        return logits.argmax(1) if greedy else torch.multinomial(logits.exp(), 1)[:, 0]


def reward_fn(prompt, answer):
    return (answer == (prompt.flip(1) + 1) % VOCAB).float().mean(1)


class Trainer:
    def __init__(self, fixed, model, optimizer):
        self.fixed, self.model, self.optimizer = fixed, model, optimizer

    def forward_backward(self, prompt, answer, advantage, n_micro):
        if not self.fixed:
            self.optimizer.zero_grad()
        _, logprobs = self.model(prompt, answer)
        loss = -(advantage[:, None] * logprobs).mean() / n_micro
        loss.backward()
        return loss.item()

    def optim_step(self):
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        if self.fixed:
            self.optimizer.zero_grad()


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    model = Policy()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    trainer = Trainer(fixed, model, optimizer)
    with watch(model, None, optimizer) as doctor:
        for _ in range(90):
            prompts = torch.randint(VOCAB, (PROMPTS, LENGTH)).repeat_interleave(GROUP, 0)
            with torch.no_grad():
                answers, _ = model(prompts)
            rewards = reward_fn(prompts, answers)
            grouped = rewards.view(PROMPTS, GROUP)
            advantages = ((grouped - grouped.mean(1, True)) / (grouped.std(1, keepdim=True) + 1e-4)).flatten()
            rows = torch.arange(len(prompts)).split(GROUP)
            for i in rows:
                trainer.forward_backward(prompts[i], answers[i], advantages[i], len(rows))
            trainer.optim_step()
    with torch.no_grad():
        prompts = torch.randint(VOCAB, (1000, LENGTH))
        score = reward_fn(prompts, model(prompts, greedy=True)[0]).mean().item()
    return {"score": score, "metric": "mean reward (0.125 by chance)", "doctor": doctor, "probe": None, "test": None}
