"""What a fit begins from, and what is kept of it beside the result."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Keep:
    """What a fit begins from, and what is kept of it beside the result.

    Attributes
    ----------
    weights : Path, optional
        File of the weights of the network to begin from, or of networks that files
        share.
    save_weights : Path, optional
        File to write the fitted weights to.
    checkpoint : Path, optional
        File in which what is done is kept until the result is written, with others
        beside it.  If it exists, the job goes on from it.
    minutes : float
        Time from one writing of it to the next.
    share : bool
        Whether the weights, if any, were fitted to all files of a kind.
    """

    weights: Path | None = None
    save_weights: Path | None = None
    checkpoint: Path | None = None
    minutes: float = 10.0
    share: bool = False
