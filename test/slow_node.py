"""``python -m slow_node WHERE``: the node with fake stages, slow to load or to clean up."""

from __future__ import annotations

import sys
import time

from cs3_ros.files.interrupts import end_at_once, leave

if __name__ == '__main__':
    end_at_once()
    from fakes import fake_pipeline

    from cs3_ros.ros import node

    def slow(what: str) -> None:
        print(f'{what} ...', flush=True)
        time.sleep(60 if what == 'loading' else 0.7)

    def factory(bundle, settings):
        if sys.argv[1] == 'loading':
            slow('loading')
        return fake_pipeline()

    if sys.argv[1] == 'cleanup':
        node.free_gpu_memory = lambda: slow('cleanup')
    leave(node.main([], factory))
