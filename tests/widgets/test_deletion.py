"""What is done when Qt objects are deleted, above all by the garbage collector."""

import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
from napari.utils.events import EmitterGroup
from qtpy.QtCore import QCoreApplication, QEvent, QObject

from napari_dip.widgets import deletion
from napari_dip.widgets.panels import DenoiseWidget

pytestmark = pytest.mark.gui

COLLECTED = """
import gc
from qtpy.QtCore import QCoreApplication, QObject
from napari_dip.widgets.deletion import when_deleted

app = QCoreApplication([])


class Owner(QObject):
    pass


gc.collect()
gc.disable()
# The order in which the collector clears them: the function, the list, the object.
function, last = print, []
owner = Owner()
last.append(owner)
owner.last = last
when_deleted(owner, function, "deleted")
del function, last, owner
gc.collect()
print("alive")
"""


def delete(*owners):
    for owner in owners:
        owner.deleteLater()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)


def test_the_garbage_collector_does_not_clear_what_is_to_be_called():
    # A crash ends the process.
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", COLLECTED],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["deleted", "alive"]


def test_it_is_called_once_and_not_where_it_is_called_off(qapp):
    called = mock.Mock()
    first, second = QObject(), QObject()
    before = len(deletion._held)
    deletion.when_deleted(first, called, 1)
    deletion.never_mind(second, deletion.when_deleted(second, called, 2))
    delete(first, second)
    called.assert_called_once_with(1)
    assert len(deletion._held) == before


def test_a_slot_is_disconnected_with_its_object(qapp):
    class Owner(QObject):
        def slot(self, event):
            raise AssertionError("called after its deletion")

    emitters = EmitterGroup(changed=None)
    owner = Owner()
    deletion.connect(owner, emitters.changed, owner.slot)
    assert len(emitters.changed.callbacks) == 1
    delete(owner)
    assert not emitters.changed.callbacks
    emitters.changed()


def test_a_panel_lets_go_of_what_it_held(empty_viewer):
    before = len(deletion._held)
    panel = DenoiseWidget(empty_viewer)
    assert len(deletion._held) > before
    delete(panel)
    assert len(deletion._held) == before


def test_nothing_else_is_called_when_an_object_is_deleted():
    folder = Path(deletion.__file__).parent
    users = [
        p.name for p in folder.glob("*.py") if ".destroyed." in p.read_text("utf-8")
    ]
    assert users == ["deletion.py"]
