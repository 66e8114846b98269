"""Hooks of a model that keep nothing alive and stay out of its copies, its compiled graphs and the loop's way."""

import warnings
import weakref

import torch
from torch import nn

exporting = getattr(torch.compiler, "is_exporting", lambda: False)  # torch 2.6 has none


class Hook:
    """Calls a method, whose object it does not keep alive, with what the hook gets and `extra`.

    It does nothing while the model is traced or exported, and nothing in a model that was copied or saved. What the
    method raises becomes a warning, and the model goes on.
    """

    def __init__(self, method=None, *extra):
        self.method, self.extra = method and weakref.WeakMethod(method), extra

    def __call__(self, *args) -> None:
        if not exporting():
            self._call(*args)

    @torch._disable_dynamo  # torch.compiler.disable would import a lot
    def _call(self, *args) -> None:
        if not self.method or torch.jit.is_tracing() or not (method := self.method()):
            return
        try:
            method(*args, *self.extra)
        except Exception as error:
            warnings.warn(f"This pass is not recorded whole ({type(error).__name__}: {error}).", stacklevel=2)

    def __reduce__(self):
        return Hook, ()


def check_not_compiled(model: nn.Module) -> None:
    """Raise ValueError for what torch.compile returns: hooks that come after it are not called."""
    if hasattr(model, "_orig_mod"):
        raise ValueError("This model is compiled: give the original module, before torch.compile and its first call.")
