"""``python -m napari_dip`` is ``napari-dip``."""

import sys

from napari_dip.cli import main

sys.exit(main())
