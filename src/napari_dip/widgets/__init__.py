"""Dock widgets for napari: the only modules that know of napari, magicgui and Qt."""
