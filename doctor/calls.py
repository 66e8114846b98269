"""How a watch hears of what a loop does: hooks, listeners of some functions of torch, and of all between two passes."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from types import ModuleType

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode, _get_current_function_mode

from doctor.measure import function_name


class Calls:
    """Tells listeners of the calls of functions of a module, which stand in their place while there are listeners.

    A listener gets the function, its positional and its named arguments, and its result; `before` the call, None. Where
    a function calls itself once more, as through a mode of torch functions, it is told once.
    """

    def __init__(self, module: ModuleType, *names: str, before: bool = False):
        self.module, self.before = module, before
        self.plain = {name: getattr(module, name) for name in names}
        self.announced = {name: self._announced(function) for name, function in self.plain.items()}
        self.listeners: list[Callable] = []
        self._within = False

    def listen(self, listener: Callable) -> None:
        self.listeners.append(listener)
        self._put(self.announced)

    def ignore(self, listener: Callable) -> None:
        """End what `listen` began; after the last one torch is as it was."""
        if listener in self.listeners:
            self.listeners.remove(listener)
        if not self.listeners:
            self._put(self.plain)

    def _put(self, functions: dict[str, Callable]) -> None:
        for name, function in functions.items():
            setattr(self.module, name, function)

    def _announced(self, function: Callable) -> Callable:
        @functools.wraps(function)
        def announced(*args, **kwargs):
            if self._within:
                return function(*args, **kwargs)
            result = None if self.before else self._call(function, args, kwargs)
            for listener in list(self.listeners):
                listener(function, args, kwargs, result)
            return function(*args, **kwargs) if self.before else result

        return announced

    def _call(self, function: Callable, args: tuple, kwargs: dict):
        self._within = True
        try:
            return function(*args, **kwargs)
        finally:
            self._within = False


exporting = getattr(torch.compiler, "is_exporting", lambda: False)  # torch 2.6 has none


class Hook:
    """Calls a method of a watch, outside of graphs, traces and exports; in a copied or saved model it does nothing."""

    def __init__(self, method=None):
        self.method = method

    def __call__(self, *args, **kwargs) -> None:
        if self.method and not exporting():
            self._call(*args, **kwargs)

    @torch._disable_dynamo  # torch.compiler.disable would import a lot
    def _call(self, *args, **kwargs) -> None:
        if not torch.jit.is_tracing():
            self.method(*args, **kwargs)

    def __reduce__(self):
        return Hook, ()


class Listener(TorchFunctionMode):
    """Looks at each call of a torch function from `begin` to `leave`, if no other mode is entered: it disturbs none."""

    def __init__(self):
        super().__init__()
        self._listening = self._entered = False

    def begin(self) -> None:
        self.leave()
        if not torch._C._len_torch_function_stack():
            self._listening = self._entered = True
            self.__enter__()

    def leave(self, *_) -> None:
        """Leave the stack of modes, unless another one has been entered since."""
        self._listening = False
        if self._entered and _get_current_function_mode() is self:
            self.__exit__(None, None, None)
            self._entered = False

    @torch._disable_dynamo
    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if self._listening:
            with contextlib.suppress(Exception):
                self.look(function_name(function), args, kwargs or {}, result)
        return result

    def look(self, name: str, args: tuple, kwargs: dict, result) -> None:
        """Take note of a call of the function `name`."""


def tensors(values) -> list[Tensor]:
    """Return the tensors among arguments, and in lists among them."""
    flat = (v for value in values for v in (value if isinstance(value, (list, tuple)) else (value,)))
    return [v for v in flat if isinstance(v, Tensor)]


LONGER = ("ctc_loss", "gaussian_nll_loss")  # have more for each sample than outputs and targets
BACKWARD = Calls(torch.autograd, "backward", before=True)  # Tensor.backward calls it, too
TENSOR_BACKWARD = Calls(torch.Tensor, "backward", before=True)  # before modes hear of it
LOSSES = Calls(
    functional,
    *("cross_entropy", "binary_cross_entropy", "binary_cross_entropy_with_logits", "kl_div", "nll_loss", "mse_loss"),
    *("l1_loss", "smooth_l1_loss", "huber_loss", "poisson_nll_loss", "multi_margin_loss", "soft_margin_loss"),
    *("multilabel_soft_margin_loss", *LONGER),
)


@contextlib.contextmanager
def unheard() -> Iterator[None]:
    """Let nobody hear what is called within, such as trainings of copies."""
    kept = [(calls, calls.listeners) for calls in (BACKWARD, TENSOR_BACKWARD, LOSSES)]
    for calls, _ in kept:
        calls.listeners = []
    try:
        yield
    finally:
        for calls, listeners in kept:
            calls.listeners = listeners
