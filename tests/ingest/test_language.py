"""Language: told from the text when there is enough of it, else taken from what the page declares."""

import pytest

from ingest.language import detect

ENGLISH = "The pump moves water from the river to the fields, and nobody remembers who built it so long ago. "
GERMAN = "Die Pumpe bewegt Wasser vom Fluss auf die Felder, und niemand weiß mehr, wer sie vor langer Zeit gebaut hat. "
CROATIAN = "Pumpa prenosi vodu iz rijeke na polja, a nitko se više ne sjeća tko ju je sagradio prije mnogo godina. "
CODE = "SELECT relname, reltuples FROM pg_class WHERE relkind = 'r' ORDER BY 2 DESC LIMIT 10;\n"


@pytest.mark.parametrize(
    ("text", "declared", "code"),
    [
        (ENGLISH * 3, "", "en"),
        (GERMAN * 3, "", "de"),
        (GERMAN * 3, "en", "de"),
        (GERMAN, "de-AT", "de"),
        ("Siehe auch", "de", "de"),
        ("vacuumdb --all", "en-US", "en"),
        (CROATIAN * 3, "sr", "sr"),
        (CROATIAN * 3, "en", "hr"),
        ("1 2 3", "", ""),
        ("", "", ""),
        ("Siehe auch", "und", ""),
        ("Siehe auch", "english", ""),
        ("\ud800 \udfff" * 99, "en", "en"),
    ],
)
def test_the_language_of_a_text(text, declared, code):
    found, probability = detect(text, declared)
    assert found == code
    assert 0.0 <= probability <= 1.0


def test_code_around_a_text_does_not_hide_its_language():
    text = CODE * 5 + ENGLISH * 3 + "```\n" + CODE * 20 + "```\n"
    assert detect(text)[0] == "en"


def test_a_text_that_is_sure_says_so():
    assert detect(ENGLISH * 3)[1] > 0.99
    assert detect("Siehe auch", "de")[1] == 0.0
