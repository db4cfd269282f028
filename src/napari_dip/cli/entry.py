"""The command line from its arguments to its exit code."""

from __future__ import annotations

from cyclopts import CycloptsError

from napari_dip.cli.commands import app
from napari_dip.cli.options import local_paths
from napari_dip.cli.output import FAILED, STOPPED, UNREAD, WRONG_ARGUMENTS, Unread, say
from napari_dip.errors import DipError, InputError, fault
from napari_dip.machine import spin_less


def run(arguments: list[str]) -> int:
    """Run the command line and return its exit code, as `napari_dip.cli.main`."""
    spin_less()
    try:
        command, bound, _ = app().parse_args(
            local_paths(arguments), exit_on_error=False, print_error=False
        )
        if "console" in bound.arguments:  # for help or the version
            from napari_dip.cli.console import Console

            bound.arguments["console"] = Console()
        return int(command(*bound.args, **bound.kwargs) or 0)
    except (CycloptsError, DipError, MemoryError) as error:
        say(f"error: {str(error) or 'not enough memory'}")
        wrong = isinstance(error, CycloptsError | InputError)
        return WRONG_ARGUMENTS if wrong else FAILED
    except Unread:
        return UNREAD
    except KeyboardInterrupt:
        say("stopped; the result was not saved")
        return STOPPED
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        say(f"error: {place}{error.strerror or error}")
        return FAILED
    except Exception as error:  # noqa: BLE001  # a fault of ours: still one line
        say(f"error: {fault(error)}")
        return FAILED
