"""napari with files and the plugin: the program that ``napari-dip open`` starts.

Unlike ``napari FILE`` it reads every file with this plugin's reader, without asking.
"""

import sys

import napari

from napari_dip.widgets.readers import add_files


def main() -> None:
    """Open the files on the command line, and run until the window is closed."""
    viewer = napari.Viewer()
    add_files(viewer, sys.argv[1:])
    viewer.window.add_plugin_dock_widget("napari-dip")
    napari.run()


if __name__ == "__main__":
    main()
