"""The commands in the documentation exist, with their options."""

import re
import shlex

import pytest

from napari_dip.cli.commands import app


def commands(text):
    """Yield the commands of napari-dip in the shell blocks of a page."""
    for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            while words and "=" in words[0]:
                words.pop(0)  # a variable of the environment
            if words and words[0] == "napari-dip" and "--help" not in words:
                yield words[1:]


@pytest.mark.parametrize("page", ["README.md", "docs/batch.md", "docs/networks.md"])
def test_commands_are_understood(root, page):
    found = list(commands((root / page).read_text("utf-8")))
    assert found
    for words in found:
        _, _, ignored = app().parse_args(words, exit_on_error=False, print_error=False)
        assert ignored == {}, words
