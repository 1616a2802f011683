"""Annotations in XML, from anyone: nothing in a file is executed, expanded or fetched.

Entities do harm by what they expand to, or by what they fetch (https://docs.python.org/3/library/xml.html, "XML
security"). They cannot be declared but in a document type declaration, which no annotation needs: it is refused.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from visionlab.data.plain import plain_size

MAX_BYTES = 1 << 20
"""Of a file: more than a hundred times an annotation of PASCAL VOC with forty objects."""

MAX_DEPTH = 32
"""Of nested elements: annotations of PASCAL VOC have 5."""


@dataclass(slots=True)
class Element:
    """An element, without its attributes.

    Attributes:
        tag: its name.
        file: where it is.
        line: in that file, from 1.
        text: between its tags, outside its children, without the white space around it.
        children: in the order of the file.
    """

    tag: str
    file: Path
    line: int
    text: str = ""
    children: list["Element"] = field(default_factory=list)

    def all(self, tag: str) -> list["Element"]:
        """The children of that name; not theirs."""
        return [child for child in self.children if child.tag == tag]

    def optional(self, tag: str) -> "Element | None":
        """The child of that name, if there is one.

        Raises:
            ValueError: if there are several.
        """
        found = self.all(tag)
        if len(found) > 1:
            raise ValueError(f"{self.file}, line {found[1].line}: a second <{tag}> in <{self.tag}>")
        return found[0] if found else None

    def only(self, tag: str) -> "Element":
        """The one child of that name.

        Raises:
            ValueError: if there is none, or there are several.
        """
        found = self.optional(tag)
        if found is None:
            raise ValueError(f"{self.file}, line {self.line}: <{self.tag}> has no <{tag}>")
        return found

    def number(self) -> float:
        """The text as a finite number.

        Raises:
            ValueError: if it is none.
        """
        try:
            value = float(self.text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise ValueError(f"{self.file}, line {self.line}: <{self.tag}> is {self.text[:40]!r}, not a finite number")
        return value


def read_xml(path: Path) -> Element:
    """Read a file of at most 1 MiB.

    Returns:
        The outermost element.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is too long, is not well-formed, has a document type declaration (with which entities
            are declared), or nests more than 32 elements; the message names the file and the line.
    """
    plain_size(path, MAX_BYTES)
    content = path.read_bytes()
    parser = expat.ParserCreate()
    document = Element("document", path, 1)
    open_elements, texts = [document], [[""]]

    def start(tag: str, _: dict[str, str]) -> None:
        if len(open_elements) > MAX_DEPTH:
            raise ValueError(f"{path}, line {parser.CurrentLineNumber}: more than {MAX_DEPTH} nested elements")
        element = Element(tag, path, parser.CurrentLineNumber)
        open_elements[-1].children.append(element)
        open_elements.append(element)
        texts.append([])

    def end(_: str) -> None:
        open_elements.pop().text = "".join(texts.pop()).strip()

    def refuse(*_: object) -> None:
        raise ValueError(
            f"{path}, line {parser.CurrentLineNumber}: a document type declaration, with which a file from a stranger "
            "could do harm; annotations have none"
        )

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = lambda text: texts[-1].append(text)
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        raise ValueError(
            f"{path}, line {error.lineno}: not well-formed XML: {expat.ErrorString(error.code)}"
        ) from error
    except LookupError as error:
        raise ValueError(f"{path}: {error}") from error
    return document.children[0]
