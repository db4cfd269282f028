"""Where help and version are written.

Of rich, which takes a while to import; no other command needs it.
"""

import sys

import rich.console

from napari_dip.cli.output import Unread, discard


class Console(rich.console.Console):
    """Standard output."""

    def on_broken_pipe(self) -> None:
        """End as all other output does; the method of the class exits by itself."""
        discard(sys.stdout)
        raise Unread
