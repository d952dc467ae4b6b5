"""Which language a text is written in, told by py3langid, offline.

In: a text and what its page declares. Out: an ISO 639-1 code and a probability. Code, links and figures are left out
before the text is read (`guards.detectors.language`, which also loads the detector), and what the page declares wins
where the text is short or the detector unsure: terse manual pages are easily misread, and pages seldom lie.

Known limits: one language a text; of long texts only pieces are read; a declared language that the detector does not
know is believed.
"""

import re

from guards.detectors.language import identifier, letters_of, prose_of

# Fewer weighted letters (`guards.detectors.language`) tell nothing.
MIN_LETTERS = 20
# From this probability on the text is believed rather than the page, given this many letters.
SURE, LONG = 0.95, 200
# Beginning, middle and end of a longer text are read; twice as much costs twice the time and tells no more.
_PIECE, _PIECES = 1000, 3
# Written so much alike that the page's word decides.
_KIN = ({"no", "nb", "nn"}, {"bs", "hr", "sr", "sh"}, {"id", "ms"})
# ISO 639-2: undetermined, several, no linguistic content.
_NONE = ("und", "mul", "zxx")
_CODE = re.compile(r"[A-Za-z]{2,3}(?![A-Za-z])")


def detect(text: str, declared: str = "") -> tuple[str, float]:
    """The language of a text.

    Args:
        declared: what the page says, such as `en` or `pt-BR`; empty when it does not say.

    Returns:
        ISO 639-1 code and its probability, 0 to 1. Nothing to go by gives an empty code and 0; where the page's word
        decides, the probability is the one that the detector gives to that language.
    """
    prose = " ".join(map(prose_of, pieces_of(text)))
    letters = letters_of(prose[:_PIECE])
    said = _code(declared)
    if letters < MIN_LETTERS:
        return said, 0.0
    ranking = dict(identifier().rank(prose))
    best = max(ranking, key=ranking.__getitem__)
    kin = next((group for group in _KIN if best in group), {best})
    sure = sum(ranking.get(code, 0.0) for code in kin) >= SURE and letters >= LONG and said not in kin
    code = said if said and not sure else best
    return code, float(ranking.get(code, 0.0))


def pieces_of(text: str) -> list[str]:
    if len(text) <= _PIECE * _PIECES:
        return [text]
    step = (len(text) - _PIECE) // (_PIECES - 1)
    return [text[step * number : step * number + _PIECE] for number in range(_PIECES)]


def _code(declared: str) -> str:
    found = _CODE.match(declared.strip())
    code = found.group().lower() if found else ""
    return "" if code in _NONE else code
