"""The kinds of file that can be read, and how to tell text from junk.

In: a media type, a file name, or the first bytes. Out: one of the media types in `READABLE`, or nothing.
"""

from pathlib import PurePosixPath

PDF = "application/pdf"
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
NOTEBOOK = "application/x-ipynb+json"

BY_EXTENSION = {
    ".html": "text/html",
    ".htm": "text/html",
    ".xhtml": "application/xhtml+xml",
    ".md": "text/markdown",
    ".markdown": "text/markdown",
    ".txt": "text/plain",
    ".rst": "text/x-rst",
    ".ipynb": NOTEBOOK,
    ".pdf": PDF,
    ".docx": DOCX,
}
READABLE = frozenset(BY_EXTENSION.values())
# Formats of which the bytes are no text: `is_binary` has nothing to say about them.
BINARY = frozenset((PDF, DOCX))

_ALIASES = {
    "text/x-markdown": "text/markdown",
    "text/prs.fallenstein.rst": "text/x-rst",
    "application/x-pdf": PDF,
}
_UNKNOWN = frozenset(("", "application/octet-stream", "binary/octet-stream"))
# Servers deliver these under the type of their container as well.
_CONTAINERS = {"application/zip": DOCX, "application/x-zip-compressed": DOCX, "application/json": NOTEBOOK}

_SAMPLE = 4096
_SIGNATURES = (b"PK\x03\x04", b"\x89PNG", b"GIF8", b"\xff\xd8\xff", b"\x7fELF", b"\x1f\x8b", b"Rar!", b"7z\xbc\xaf")
_WIDE_MARKS = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")
_CONTROLS = bytes(byte for byte in range(32) if byte not in b"\t\n\v\f\r\x1b") + b"\x7f"
# Random bytes hold 10% control characters; real pages with stray ones stay far below 1%.
_MAX_CONTROL_SHARE = 0.03


def media_type(declared: str, path: str) -> str:
    """The media type to read a body as: the declared one, or one from the file name when the sender did not know."""
    declared = declared.split(";")[0].strip().lower()
    named = BY_EXTENSION.get(PurePosixPath(path).suffix.lower(), "")
    if declared in _UNKNOWN:
        return named or declared or "application/octet-stream"
    if named and _CONTAINERS.get(declared) == named:
        return named
    return _ALIASES.get(declared, declared)


def body_type(content_type: str, body: bytes) -> str:
    """The media type that the bytes themselves show where they do, else the one given.

    Servers label PDF files as anything; nothing else begins like them.
    """
    return PDF if body.startswith(b"%PDF-") else content_type


def is_binary(body: bytes) -> bool:
    """Whether bytes that are labelled as text are something else. A few stray NUL bytes do not count."""
    if body.startswith(_WIDE_MARKS):
        return False
    middle = len(body) // 2
    sample = body[:_SAMPLE] + body[max(middle, _SAMPLE) :][:_SAMPLE]
    controls = len(sample) - len(sample.translate(None, _CONTROLS))
    return body.startswith(_SIGNATURES) or controls > _MAX_CONTROL_SHARE * len(sample) + 4
