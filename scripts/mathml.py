r"""Write the equations of the site as MathML, which browsers draw without JavaScript.

A hook of mkdocs.  The extension arithmatex marks the equations, and leaves them as
LaTeX: \(...\) in a line, \[...\] on their own.
"""

from __future__ import annotations

import html
import re
from typing import Any

from latex2mathml.converter import convert

EQUATION = re.compile(
    r'<(span|div) class="arithmatex">\\[([](.+?)\\[])]</\1>', re.DOTALL
)


def on_page_content(content: str, **_: Any) -> str:
    """Return the HTML of a page with its equations as MathML."""
    return EQUATION.sub(_equation, content)


def _equation(match: re.Match[str]) -> str:
    tag, latex = match.groups()
    display = "block" if tag == "div" else "inline"
    return f"<{tag}>{convert(html.unescape(latex), display=display)}</{tag}>"
