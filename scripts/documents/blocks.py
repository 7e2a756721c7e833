"""The fenced blocks of a document in docs/deploy, by the names that stand above them: `<!-- name -->`."""

import pathlib
import re

DOCUMENTS = pathlib.Path(__file__).resolve().parents[2] / "docs" / "deploy"
BLOCK = re.compile(r"^<!-- (?P<name>[^>]*) -->\n```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S)


def block(document, name):
    """The text of one block. A test is of no use without its subject."""
    found = [each["text"] for each in BLOCK.finditer((DOCUMENTS / document).read_text()) if each["name"] == name]
    if len(found) != 1:
        raise LookupError(f"{document} has {len(found)} blocks with the name `{name}`")
    return found[0]
