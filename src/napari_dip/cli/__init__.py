"""The command line: files in, files out.

Every task is a command, and every field of its recipe an option: a new task needs no
code here.  Torch is imported when a fit begins, not for ``--help``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cyclopts import CycloptsError

from napari_dip.batch.stop import terminable
from napari_dip.cli.commands import app
from napari_dip.cli.output import FAILED, STOPPED, WRONG_ARGUMENTS, say
from napari_dip.errors import DipError, InputError, fault
from napari_dip.machine import spin_less


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    0 is done, 1 failed, 2 wrong arguments, 130 stopped by Ctrl-C or SIGTERM.
    """
    spin_less()
    with terminable():
        return _run(sys.argv[1:] if arguments is None else list(arguments))


def _run(arguments: list[str]) -> int:
    try:
        command, bound, _ = app().parse_args(
            arguments,
            exit_on_error=False,
            print_error=False,
        )
        return int(command(*bound.args, **bound.kwargs) or 0)
    except (CycloptsError, InputError) as error:
        return _report_error(error, WRONG_ARGUMENTS)
    except (DipError, MemoryError) as error:
        return _report_error(error, FAILED)
    except KeyboardInterrupt:
        say("stopped; the result was not saved")
        return STOPPED
    except Exception as error:  # noqa: BLE001  # a fault of ours: still one line
        say(f"error: {fault(error)}")
        return FAILED


def _report_error(error: BaseException, code: int) -> int:
    say(f"error: {str(error) or 'not enough memory'}")
    return code
