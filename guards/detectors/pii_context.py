"""Words near a find that say what it is: `NHS number: 943 476 5919`.

In: the text, a place in it, and the words to look for. Out: whether one of them stands near.

Known limits: English, besides the numbers' own names; looks a fixed number of characters back and forth.
"""

from collections.abc import Sequence

BEFORE, AFTER = 60, 25

PHONE_WORDS = tuple(
    "phone,tel,call,mobile,fax,cell,reach,dial,desk,whatsapp,text me,answer,hotline,sms,contact".split(",")
)
BIRTH_WORDS = ("born", "birth", "dob", "d.o.b")
HANDLE_WORDS = tuple(
    "twitter,instagram,tiktok,telegram,github,mastodon,handle,follow,tweet,username,user name,dm".split(",")
)


def stands_near(text: str, start: int, end: int, words: Sequence[str]) -> bool:
    """Whether one of the words begins a word within `BEFORE` characters before or `AFTER` after text[start:end]."""
    around = text[max(0, start - BEFORE) : start] + "\n" + text[end : end + AFTER]
    return any(_begins(around.lower(), word) for word in words)


def _begins(around: str, word: str) -> bool:
    place = around.find(word)
    while place > 0 and around[place - 1].isalnum():
        place = around.find(word, place + 1)
    return place >= 0
