import resource
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from visionlab.data.layouts.xml import read_xml

GOOD = """<annotation>
  <filename>one.jpg</filename> <!-- a remark -->
  <object>
    <name> dog &amp; cat </name>
    <part><name>head</name></part>
    <bndbox><xmin>4.5</xmin></bndbox>
  </object>
  <object/>
</annotation>
"""


def write(content: str | bytes) -> Path:
    path = Path("one.xml")
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_reads_elements_with_their_lines():
    root = read_xml(write(GOOD))
    assert root.tag == "annotation"
    assert root.only("filename").text == "one.jpg"
    first, second = root.all("object")
    assert (first.line, second.line) == (3, 8)
    assert first.only("name").text == "dog & cat"
    assert first.only("bndbox").only("xmin").number() == 4.5
    assert second.optional("name") is None
    assert second.children == []


def test_reads_what_the_standard_library_reads(shared_data):
    def same(ours, theirs):
        assert ours.tag == theirs.tag
        assert ours.text == (theirs.text or "").strip()
        assert len(ours.children) == len(theirs)
        for one, other in zip(ours.children, theirs, strict=True):
            same(one, other)

    files = sorted((shared_data / "voc").rglob("*.xml"))
    assert len(files) == 74
    for path in files:
        same(read_xml(path), ET.parse(path).getroot())


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "latin-1"])
def test_reads_encodings(encoding):
    text = f'<?xml version="1.0" encoding="{encoding}"?><a>Züge</a>'
    assert read_xml(write(text.encode(encoding))).text == "Züge"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "line 1: not well-formed XML: no element found"),
        ("<a>\n<b>\n</a>", "line 3: not well-formed XML: mismatched tag"),
        ("<a>\n<b>", "line 2: not well-formed XML: no element found"),
        ("<a/>\n<b/>", "line 2: not well-formed XML: junk after document element"),
        ("<a>\n&lol;</a>", "line 2: not well-formed XML: undefined entity"),
        (b"<a>\xff</a>", "not well-formed"),
        (b"\0\1\2", "not well-formed"),
        ('<?xml version="1.0" encoding="nonsense"?><a/>', "encoding"),
    ],
)
def test_a_malformed_file_is_named_with_its_line(content, says):
    with pytest.raises(ValueError, match=says) as error:
        read_xml(write(content))
    assert "one.xml" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named():
    with pytest.raises(FileNotFoundError, match=r"absent\.xml"):
        read_xml(Path("absent.xml"))


LAUGHS = '<!DOCTYPE a [<!ENTITY e0 "ha">{}]><a>&e9;</a>'.format(
    "".join(f'<!ENTITY e{i + 1} "{f"&e{i};" * 10}">' for i in range(9))
)
QUADRATIC = f'<!DOCTYPE a [<!ENTITY e "{"x" * 100_000}">]><a>{"&e;" * 100_000}</a>'


@pytest.mark.parametrize(
    "content",
    [
        LAUGHS,
        QUADRATIC,
        '<!DOCTYPE a [<!ENTITY e SYSTEM "secret.txt">]><a>&e;</a>',
        '<!DOCTYPE a [<!ENTITY % e SYSTEM "secret.txt">%e;]><a/>',
        '<!DOCTYPE a SYSTEM "secret.txt"><a/>',
        '<!DOCTYPE a PUBLIC "x" "http://127.0.0.1:9/x.dtd"><a/>',
        "<!DOCTYPE a><a/>",
        "<a>" * 100_000 + "</a>" * 100_000,
        "<a>" + "<b/>" * 1_000_000 + "</a>",
        "<a>" + "9" * 2_000_000 + "</a>",
        b"\x1f\x8b" + b"\0" * 3_000_000,
    ],
    ids=[
        "billion laughs",
        "quadratic blowup",
        "external entity",
        "parameter entity",
        "external subset",
        "public subset",
        "doctype alone",
        "deep",
        "long",
        "long number",
        "a gzip file",
    ],
)
def test_a_hostile_file_is_refused_without_harm(content):
    Path("secret.txt").write_text("the secret")
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(ValueError, match=r"one\.xml") as error:
        read_xml(write(content))
    assert "the secret" not in str(error.value)
    assert time.process_time() - started < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1e6  # KiB


def test_a_file_of_the_greatest_length_needs_little():
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    assert len(read_xml(write("<a>" + "<b/>" * 260_000 + "</a>")).children) == 260_000
    assert time.process_time() - started < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 5e5


@pytest.mark.parametrize(
    ("text", "says"),
    [("nan", "'nan'"), ("1e999", "'1e999'"), ("", "''"), ("12px", "'12px'"), ("9" * 5000, "not a finite number")],
)
def test_what_is_no_number_is_named_with_its_line(text, says):
    with pytest.raises(ValueError, match=r"one\.xml, line 2: <b> is .*not a finite number") as error:
        read_xml(write(f"<a>\n<b>{text}</b></a>")).only("b").number()
    assert says in str(error.value)


def test_a_child_that_is_missing_or_there_twice_is_named():
    root = read_xml(write("<a>\n<b/>\n<b/></a>"))
    with pytest.raises(ValueError, match=r"one\.xml, line 1: <a> has no <c>"):
        root.only("c")
    with pytest.raises(ValueError, match=r"one\.xml, line 3: a second <b> in <a>"):
        root.only("b")
