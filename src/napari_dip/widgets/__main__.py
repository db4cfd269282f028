"""napari with files open and the plugin beside them: what ``napari-dip open`` starts.

Unlike ``napari FILE`` it reads every file with our reader, and asks nothing.
"""

import sys

import napari

from napari_dip.widgets.readers import add_files


def main() -> None:
    """Open the files that the command line names, until the window is closed."""
    viewer = napari.Viewer()
    add_files(viewer, sys.argv[1:])
    viewer.window.add_plugin_dock_widget("napari-dip")
    napari.run()


if __name__ == "__main__":
    main()
