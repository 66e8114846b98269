"""The loss functions of torch.nn.functional, which the modules of torch.nn call, too: it says when one is called."""

import functools
from collections.abc import Callable

from torch.nn import functional

NAMES = ("cross_entropy", "binary_cross_entropy", "binary_cross_entropy_with_logits", "kl_div", "nll_loss", "mse_loss")
NAMES += ("l1_loss", "smooth_l1_loss", "huber_loss", "poisson_nll_loss", "gaussian_nll_loss", "multi_margin_loss")
NAMES += ("multilabel_soft_margin_loss", "soft_margin_loss", "ctc_loss")
LONGER = ("ctc_loss", "gaussian_nll_loss")  # have more for each sample than outputs and targets

_listeners: list[Callable] = []
_plain = {name: getattr(functional, name) for name in NAMES}


def _announced(name: str) -> Callable:
    plain = _plain[name]

    @functools.wraps(plain)
    def announced(*args, **kwargs):
        loss = plain(*args, **kwargs)
        for listener in list(_listeners):
            listener(plain, args, kwargs, loss)
        return loss

    return announced


def listen(listener: Callable) -> None:
    """Call `listener(function, args, kwargs, loss)` after each call of such a function."""
    if not _listeners:
        for name in NAMES:
            setattr(functional, name, _announced(name))
    _listeners.append(listener)


def ignore(listener: Callable) -> None:
    """End what `listen` began; after the last one torch is as it was."""
    if listener in _listeners:
        _listeners.remove(listener)
    if not _listeners:
        for name, plain in _plain.items():
            setattr(functional, name, plain)
