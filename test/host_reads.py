"""Finds, without a GPU, where code would wait for one."""

from torch.utils._python_dispatch import TorchDispatchMode

READS = ('_local_scalar_dense', 'equal', 'is_nonzero', 'item', 'nonzero')


class HostReads(TorchDispatchMode):
    """Lists the operations inside whose result the host reads, so that it has to wait."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket.__name__ in READS:
            self.found.append(func)
        return func(*args, **(kwargs or {}))
