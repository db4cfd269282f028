"""The command line: files in, files out.

Every task is a command, and every field of its recipe an option: a new task needs no
code here.  Torch is imported when a fit begins, not for ``--help``.
"""

from __future__ import annotations

import atexit
import gc
import sys
from collections.abc import Sequence

from napari_dip.batch.stop import terminable
from napari_dip.cli.output import STOPPED, say


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    0 is done, 1 failed, 2 wrong arguments, 130 stopped by Ctrl-C or SIGTERM, 141
    nobody reads standard output any more.
    """
    if arguments is None:
        # The process ends with the command, and need not look for garbage before.
        atexit.register(gc.freeze)
    with terminable():
        try:
            # Here, since signals can already come while all that is needed is imported.
            from napari_dip.cli.entry import run
        except KeyboardInterrupt:
            say("stopped before anything was done")
            return STOPPED
        return run(sys.argv[1:] if arguments is None else list(arguments))
