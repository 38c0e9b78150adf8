"""Run a module within limits: ``python -m qframe_rl.service.limited GB SECONDS MODULE ARGUMENTS``.

Limits are set here, in the process itself: what a server with threads does between its fork and the new program can
hang. Past its time the process is ended by its own alarm, whoever waits for it.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys

_NICER = 10


def main() -> None:
    """Do it."""
    gigabytes, seconds, module, *arguments = sys.argv[1:]
    if hasattr(signal, "alarm"):
        signal.alarm(int(seconds))
        os.nice(_NICER)
    if sys.platform == "linux":
        import resource

        size = int(float(gigabytes) * 1e9)
        resource.setrlimit(resource.RLIMIT_AS, (size, size))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
