"""Repairs a text that was damaged on its way: wrongly decoded characters, control characters, line ends, white space.

Text in, text out; a text that needs nothing comes back as it was. Characters are repaired by ftfy (Speer 2019), with
everything off that would change what an author wrote: quotation marks stay as they are, and so do `&lt;`, ligatures
and full-width letters.

Known limits: a line that shows wrongly decoded characters on purpose is repaired too, and one in which only some
characters are wrong is left as it is. Of code only what is surely damage is repaired (`verbatim`).
"""

import re
import unicodedata

from ftfy import TextFixerConfig, fix_and_explain
from ftfy.badness import is_bad

_CONFIG = TextFixerConfig(
    unescape_html=False,
    remove_terminal_escapes=True,
    fix_encoding=True,
    # All three take a line such as "\u00c2   A" of a table of letters for damage.
    restore_byte_a0=False,
    replace_lossy_sequences=False,
    decode_inconsistent_utf8=False,
    fix_latin_ligatures=False,
    fix_character_width=False,
    uncurl_quotes=False,
    fix_line_breaks=False,
    fix_surrogates=True,
    remove_control_chars=True,
    normalization=None,
    # Without explanations ftfy 6.3 forgets the settings about encodings.
    explain=True,
)
# What is no text in any language; a carriage return is treated below.
_CONTROLS = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f\u206a-\u206f\ufeff\ufff9-\ufffc\ud800-\udfff]")
# U+0085 is none of them: on the web it is an ellipsis of Windows-1252 that was read as Latin-1.
_LINE_ENDS = re.compile("\r\n?|[\u2028\u2029]")
_BLANK_LINES = re.compile(r"\n{4,}")


def repair(text: str, *, verbatim: bool = False) -> str:
    """The text as it was meant.

    Args:
        verbatim: it is code: white space and the composition of characters (NFC) are left as they are.
    """
    # ftfy looks at every line in a dozen ways; most texts show at once that they need none of it.
    if _CONTROLS.search(text) or (not text.isascii() and is_bad(text)):
        text = "\n".join(map(_repaired, text.split("\n")))
    if "\r" in text or not text.isascii():
        text = _LINE_ENDS.sub("\n", text)
    if verbatim:
        return text
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    return _BLANK_LINES.sub("\n\n\n", "\n".join(map(str.rstrip, text.split("\n"))))


def _repaired(line: str) -> str:
    if line.isascii() and not _CONTROLS.search(line):
        return line
    return fix_and_explain(line, _CONFIG).text
