"""An extension of griffe: formulas in docstrings as the documentation's pages write them, and examples as code."""

import re
import textwrap
from typing import Any

from griffe import Extension, Object

_INLINE = re.compile(r":math:`([^`]+)`")
_BLOCK = re.compile(r"^( *)\.\. math::[ ]*(.*(?:\n(?:[ ]*\n)*\1[ ]+\S.*)*)", flags=re.MULTILINE)


class Formulas(Extension):
    """Rewrites the mathematics of reStructuredText as that of Markdown."""

    def on_object(self, *, obj: Object, **_: Any) -> None:  # noqa: ANN401 - what griffe tells beside
        """Take one object's docstring."""
        if obj.docstring is not None:
            obj.docstring.value = markdown(obj.docstring.value)


def markdown(text: str) -> str:
    """Return a docstring with its formulas between dollars, and its example under the name that griffe knows."""
    text = re.sub(r"^( *)Example:$", r"\1Examples:", text, flags=re.MULTILINE)
    return _INLINE.sub(lambda found: f"${' '.join(found[1].split())}$", _BLOCK.sub(_display, text))


def _display(found: re.Match[str]) -> str:
    formula = " ".join(textwrap.dedent(found[2]).split())
    return f"{found[1]}$$\n{found[1]}{formula}\n{found[1]}$$"
