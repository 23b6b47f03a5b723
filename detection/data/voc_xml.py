"""One annotation file of Pascal VOC, read safely: a document type or entities are refused."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree
from xml.parsers import expat

from detection.data.records import Finding

CORNERS = ("xmin", "ymin", "xmax", "ymax")

_ROOT_TAG = re.compile(rb"<annotation[\s/>]")
_HEAD_BYTES = 1 << 12


class VocObject(NamedTuple):
    """One ``<object>``: its 1-based position in the file, name, corners as written and difficult mark."""

    number: int
    name: str
    corners: tuple[float, float, float, float]
    difficult: bool


@dataclass(frozen=True)
class VocAnnotation:
    """One xml file; as constructed without arguments, that of an image without objects.

    Attributes:
        file_name: ``<filename>`` with forward slashes, empty if there is none.
        size_hw: ``<size>``; None if there is none, or the 0 that some tools write for unknown.
        objects: The objects with a name and four numbers.
        findings: What is wrong with the others.
    """

    file_name: str = ""
    size_hw: tuple[int, int] | None = None
    objects: tuple[VocObject, ...] = ()
    findings: tuple[Finding, ...] = ()


class XmlError(Exception):
    """What is wrong with an xml file, and in which line."""


def parse_annotation(xml: bytes, label_file: str) -> VocAnnotation:
    """Reads one xml file; objects that cannot be used become findings.

    Args:
        xml: Content of the file.
        label_file: Its name, for the findings.

    Returns:
        The annotation.

    Raises:
        XmlError: If the file is malformed, or declares a document type or entities.
    """
    tree = _parse_xml(xml)
    objects, findings = [], []
    for number, element in enumerate(tree.iterfind("object"), start=1):
        parsed = _parse_object(element, number)
        if isinstance(parsed, VocObject):
            objects.append(parsed)
        else:
            findings.append(Finding("bad-object", label_file, parsed, "correct or delete it; left out"))
    file_name = _text(tree, "filename").replace("\\", "/")
    return VocAnnotation(file_name, _parse_size(tree), tuple(objects), tuple(findings))


def looks_like_voc(path: Path) -> bool:
    """Whether the head of an xml file has the root element of the format."""
    with path.open("rb") as file:
        return _ROOT_TAG.search(file.read(_HEAD_BYTES)) is not None


def _parse_xml(xml: bytes) -> ElementTree.Element:
    """Parses xml without a document type: entities could blow up in memory or read other files."""

    def refuse(*_: object) -> None:
        raise XmlError(f"line {parser.CurrentLineNumber}: declares a document type or entities, which is refused")

    builder = ElementTree.TreeBuilder()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(xml, True)
    except expat.ExpatError as error:
        raise XmlError(f"line {error.lineno}: malformed xml ({expat.ErrorString(error.code)})") from error
    except (ValueError, LookupError) as error:  # An encoding that Python does not know or cannot use here.
        raise XmlError(f"line {parser.CurrentLineNumber}: unreadable encoding ({error})") from error
    return builder.close()


def _text(element: ElementTree.Element, path: str) -> str:
    return (element.findtext(path) or "").strip()


def _parse_object(element: ElementTree.Element, number: int) -> VocObject | str:
    """Reads one ``<object>``, or says what is wrong with it."""
    name = _text(element, "name")
    if not name:
        return f"object {number} has no <name>"
    corners = []
    for corner in CORNERS:
        text = _text(element, f"bndbox/{corner}")
        try:
            corners.append(float(text))
        except ValueError:
            fault = f"has {corner} '{text}', expected a number" if text else f"has no <{corner}>"
            return f"object {number} ('{name}') {fault}"
    x_min, y_min, x_max, y_max = corners
    return VocObject(number, name, (x_min, y_min, x_max, y_max), difficult=_text(element, "difficult") == "1")


def _parse_size(tree: ElementTree.Element) -> tuple[int, int] | None:
    try:
        height, width = (int(float(_text(tree, f"size/{side}") or 0)) for side in ("height", "width"))
    except (ValueError, OverflowError):
        return None
    return (height, width) if height > 0 and width > 0 else None
