"""Loops that are unusual and sound: the doctor finds nothing in them, with and without data."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from doctor import Doctor

X = torch.randn(600, 8, generator=torch.Generator().manual_seed(0))
Y = X[:, :3].argmax(1)
COUNTS = torch.poisson(torch.exp(0.5 * X[:, :1] + 1), generator=torch.Generator().manual_seed(1))
STEPS = 150


def mlp(outputs=3):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, outputs))


def batches(size=32, steps=STEPS):
    generator = torch.Generator().manual_seed(2)
    for _ in range(steps):
        yield torch.randint(len(X), (size,), generator=generator)


def simple(doctor, model, optimizer, targets=Y, size=32, after=lambda: None):
    """Run the ordinary loop."""
    for i in batches(size):
        optimizer.zero_grad()
        doctor.loss_fn(model(X[i]), targets[i]).backward()
        optimizer.step()
        after()


def ordinary():
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    with Doctor(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        simple(doctor, model, optimizer)
    return doctor


def lbfgs():
    model = mlp()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=5)
    with Doctor(model, nn.CrossEntropyLoss(), optimizer) as doctor:

        def closure():
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(X), Y)
            loss.backward()
            return loss

        for _ in range(10):
            optimizer.step(closure)
    return doctor


def sharpness_aware():
    """Step where the loss is worst nearby (SAM, Foret et al. 2021)."""
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    with Doctor(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for i in batches():
            optimizer.zero_grad()
            doctor.loss_fn(model(X[i]), Y[i]).backward()
            size = torch.cat([p.grad.flatten() for p in model.parameters()]).norm()
            moves = [0.05 * p.grad / size for p in model.parameters()]
            with torch.no_grad():
                for p, move in zip(model.parameters(), moves, strict=True):
                    p += move
            optimizer.zero_grad()
            doctor.loss_fn(model(X[i]), Y[i]).backward()
            with torch.no_grad():
                for p, move in zip(model.parameters(), moves, strict=True):
                    p -= move
            optimizer.step()
    return doctor


def adversarial():
    """Train on inputs moved by the sign of their gradient (FGSM, Goodfellow et al. 2015)."""
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    with Doctor(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for i in batches():
            x = X[i].clone().requires_grad_()
            doctor.loss_fn(model(x), Y[i]).backward()
            x = (x + 0.05 * x.grad.sign()).detach()
            optimizer.zero_grad()
            doctor.loss_fn(model(x), Y[i]).backward()
            optimizer.step()
    return doctor


def rate_ends_at_zero():
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, STEPS)
    with Doctor(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        simple(doctor, model, optimizer, after=schedule.step)
    return doctor


def mining():
    """Choose the hard samples by a pass without gradients, in training mode."""
    model = mlp()
    model.insert(2, nn.Dropout(0.1))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    with Doctor(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for i in batches(64):
            with torch.no_grad():
                hard = F.cross_entropy(model(X[i]), Y[i], reduction="none").topk(32).indices
            optimizer.zero_grad()
            doctor.loss_fn(model(X[i][hard]), Y[i][hard]).backward()
            optimizer.step()
    return doctor


def uncertainty():
    """Evaluate with dropout on (Gal, Ghahramani 2016)."""
    model = mlp()
    model.insert(2, nn.Dropout(0.2))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    with Doctor(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        simple(doctor, model, optimizer)
        with torch.no_grad():
            torch.stack([model(X) for _ in range(10)]).std(0)
    return doctor


def counts(loss_fn):
    model = mlp(outputs=1)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    with Doctor(model, loss_fn, optimizer) as doctor:
        simple(doctor, model, optimizer, targets=COUNTS)
    return doctor


def counts_by_squares():
    return counts(nn.MSELoss())


def counts_by_poisson():
    return counts(nn.PoissonNLLLoss())


def policy_gradient():
    """Maximize what a function returns: its negative is the loss."""
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)

    def value(outputs, labels):
        return (F.log_softmax(outputs, 1)[torch.arange(len(labels)), labels]).mean()

    with Doctor(model, value, optimizer) as doctor:
        for i in batches():
            optimizer.zero_grad()
            (-doctor.loss_fn(model(X[i]), Y[i])).backward()
            optimizer.step()
    return doctor


class TwoHeads(nn.Module):
    """A network with an auxiliary head, in training mode only."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head, self.help = nn.Linear(8, 32), nn.Linear(32, 3), nn.Linear(32, 3)

    def forward(self, x):
        h = self.body(x).relu()
        return (self.head(h), self.help(h)) if self.training else self.head(h)


def auxiliary_loss():
    model = TwoHeads()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    with Doctor(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for i in batches():
            outputs, others = model(X[i])
            optimizer.zero_grad()
            (doctor.loss_fn(outputs, Y[i]) + 0.3 * doctor.loss_fn(others, Y[i])).backward()
            optimizer.step()
    return doctor


def loss_over_time():
    """Add the losses of all positions of a sequence, and step once."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 3))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    sequences, targets = X.view(100, 6, 8), Y.view(100, 6)
    with Doctor(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for i in batches():
            i = i % 100
            optimizer.zero_grad()
            outputs = model(sequences[i])
            sum(doctor.loss_fn(outputs[:, t], targets[i, t]) for t in range(6)).backward()
            optimizer.step()
    return doctor


def two_optimizers():
    model = mlp()
    weights, biases = ([p for p in model.parameters() if (p.ndim > 1) == kind] for kind in (True, False))
    first, second = torch.optim.SGD(weights, 0.1, momentum=0.9), torch.optim.Adam(biases, 1e-2)
    with Doctor(model, nn.CrossEntropyLoss(), first) as doctor:
        simple(doctor, model, first, after=lambda: (second.step(), second.zero_grad()))
    return doctor


def one_sample_at_a_time():
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    with Doctor(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for _ in range(4):
            simple(doctor, model, optimizer, size=1)
    return doctor


def few_samples_of_many_classes():
    model = mlp(outputs=10)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    with Doctor(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for _ in range(3):
            simple(doctor, model, optimizer, size=3)
    return doctor


def frozen_on_purpose():
    model = mlp()
    model[0].requires_grad_(False)
    optimizer = torch.optim.Adam(model[2].parameters(), 1e-2)
    with Doctor(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        simple(doctor, model, optimizer)
    return doctor


def accumulated():
    """Step after four backward passes."""
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    with Doctor(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for k, i in enumerate(batches(steps=4 * STEPS)):
            (doctor.loss_fn(model(X[i]), Y[i]) / 4).backward()
            if k % 4 == 3:
                optimizer.step()
                optimizer.zero_grad()
    return doctor


def distilled():
    """Follow a teacher's outputs, which are no labels."""
    teacher, model = mlp(), mlp()
    student = torch.optim.Adam(model.parameters(), 1e-2)
    nn.init.normal_(model[2].weight, std=0.1)
    with Doctor(model, nn.MSELoss(), student) as doctor:
        for i in batches():
            student.zero_grad()
            doctor.loss_fn(model(X[i]), teacher(X[i]).detach()).backward()
            student.step()
    return doctor


def moving_average():
    """Keep a copy that follows slowly, and evaluate that."""
    model = mlp()
    model.insert(1, nn.BatchNorm1d(32))
    follower = copy.deepcopy(model).eval()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)

    def follow():
        with torch.no_grad():
            for slow, p in zip(follower.parameters(), model.parameters(), strict=True):
                slow.lerp_(p, 0.05)

    with Doctor(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        simple(doctor, model, optimizer, after=follow)
    return doctor


def autoencoder():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 4), nn.Tanh(), nn.Linear(4, 8))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    with Doctor(model, nn.MSELoss(), optimizer) as doctor:
        simple(doctor, model, optimizer, targets=X)
    return doctor


def contrastive():
    """Pull pairs of one class together: a small distance is right where the target is 1 (Hadsell et al. 2006)."""
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)

    def loss_fn(distance, alike):
        return (alike * distance**2 + (1 - alike) * F.relu(1 - distance) ** 2).mean()

    with Doctor(model, loss_fn, optimizer) as doctor:
        for i in batches():
            optimizer.zero_grad()
            a, b = model(X[i]).chunk(2)
            alike = (Y[i][:16] == Y[i][16:]).float()
            doctor.loss_fn((a - b).norm(dim=1), alike).backward()
            optimizer.step()
    return doctor


def ordered_classes():
    """Tell grades by thresholds: each output says whether the grade is above one of them (Cao et al. 2020)."""
    model = mlp(outputs=3)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)

    def loss_fn(logits, grades):
        return F.binary_cross_entropy_with_logits(logits, (grades[:, None] > torch.arange(3)).float())

    with Doctor(model, loss_fn, optimizer) as doctor:
        simple(doctor, model, optimizer)
    return doctor


class Noise(nn.Module):
    """Gives points from noise."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 8))

    def forward(self, z):
        return self.layers(z)


def adversaries(watched, every=1):
    """Let a generator and a discriminator learn from each other, and watch one of them."""
    torch.manual_seed(0)
    models = {"generator": Noise(), "discriminator": mlp(outputs=1)}
    optimizers = {name: torch.optim.Adam(m.parameters(), 1e-3, (0.5, 0.999)) for name, m in models.items()}
    generator, discriminator = models.values()
    with Doctor(models[watched], nn.BCEWithLogitsLoss(), optimizers[watched], every) as doctor:
        for i in batches(64):
            fake = generator(torch.randn(64, 4))
            optimizers["discriminator"].zero_grad()
            loss = doctor.loss_fn(discriminator(X[i]), torch.ones(64, 1))
            (loss + doctor.loss_fn(discriminator(fake.detach()), torch.zeros(64, 1))).backward()
            optimizers["discriminator"].step()
            optimizers["generator"].zero_grad()
            doctor.loss_fn(discriminator(fake), torch.ones(64, 1)).backward()
            optimizers["generator"].step()
    return doctor


def generator_of_a_gan():
    return adversaries("generator")


def discriminator_of_a_gan():
    return adversaries("discriminator")


def discriminator_watched_now_and_then():  # always at its real images
    return adversaries("discriminator", every=4)


def mixup():
    """Blend pairs of samples and their losses, mostly by half (Zhang et al. 2018)."""
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.3, momentum=0.9)
    generator = torch.Generator().manual_seed(3)
    with Doctor(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for i in batches():
            share, other = torch.rand(1, generator=generator).item(), i.flip(0)
            outputs = model(share * X[i] + (1 - share) * X[other])
            optimizer.zero_grad()
            (share * doctor.loss_fn(outputs, Y[i]) + (1 - share) * doctor.loss_fn(outputs, Y[other])).backward()
            optimizer.step()
    return doctor


def padded_words():
    """Give words back, behind which there is padding that the loss leaves out."""
    torch.manual_seed(0)
    words = torch.randint(1, 9, (600, 20)) * (torch.arange(20) < torch.randint(2, 6, (600, 1)))
    model = nn.Sequential(nn.Embedding(9, 16), nn.Linear(16, 9))
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)

    def loss_fn(outputs, targets):
        return F.cross_entropy(outputs.flatten(0, 1), targets.flatten(), ignore_index=0)

    with Doctor(model, loss_fn, optimizer) as doctor:
        for i in batches():
            optimizer.zero_grad()
            doctor.loss_fn(model(words[i]), words[i]).backward()
            optimizer.step()
    return doctor


PROGRAMS = [
    generator_of_a_gan,
    discriminator_of_a_gan,
    discriminator_watched_now_and_then,
    mixup,
    padded_words,
    contrastive,
    ordered_classes,
    ordinary,
    lbfgs,
    sharpness_aware,
    adversarial,
    rate_ends_at_zero,
    mining,
    uncertainty,
    counts_by_squares,
    counts_by_poisson,
    policy_gradient,
    auxiliary_loss,
    loss_over_time,
    two_optimizers,
    one_sample_at_a_time,
    few_samples_of_many_classes,
    frozen_on_purpose,
    accumulated,
    distilled,
    moving_average,
    autoencoder,
]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_sound_program_has_no_finding(program):
    doctor = program()
    assert not doctor.watch.errors
    assert [finding.cause for finding in doctor.report().findings] == []
