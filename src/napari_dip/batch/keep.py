"""What a fit begins from, and what is kept of it beside the result."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Keep:
    """What a fit begins from, and what is kept of it beside the result."""

    weights: Path | None = None
    """File of the weights of the network to begin from, or of networks that files
    share."""
    save_weights: Path | None = None
    """File to write the fitted weights to."""
    checkpoint: Path | None = None
    """File in which what is done is kept until the result is written, with others
    beside it.  If it exists, the job goes on from it."""
    minutes: float = 10.0
    """Time from one writing of it to the next."""
    share: bool = False
    """Whether the weights, if any, were fitted to all files of a kind."""
