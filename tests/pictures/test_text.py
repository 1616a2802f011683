import pytest

from visionlab.pictures.text import font, printable, shorten


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("automobile", "automobile"),
        ("größe Ελλ Жд", "größe Ελλ Жд"),
        ("a\n  b\tc ", "a b c"),
        ("猫 cat 🐸", "\ufffd cat \ufffd"),
        ("a\x00b", "a\ufffdb"),
        ("", ""),
    ],
)
def test_printable(text, shown):
    assert printable(text) == shown


@pytest.mark.parametrize("width", [20, 50, 100, 200])
def test_shorten_fills_the_width(width):
    text = "a rather long name of something"
    at = font(12)
    short = shorten(text, width, at)
    if at.getlength(text) <= width:
        assert short == text
    else:
        kept = short.removesuffix("…")
        assert text.startswith(kept)
        assert at.getlength(short) <= width
        assert at.getlength(text[: len(kept) + 2] + "…") > width


def test_shorten_to_nothing():
    assert shorten("abc", 0, font(12)) == "…"
