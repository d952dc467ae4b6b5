"""Which passages a search may find: by the beginning of their address, date, language and tags.

In: the passages of an index and a `Filter`. Out: one truth value a row. Conditions are compared column by column,
never passage by passage, and the masks of the last filters are kept.

A passage whose document gives no date is not found when a date is asked for, and likewise with language and tags.

Known limits: dates are those that pages give themselves. Tags are compared whole, without regard to case.
"""

import re
import threading
from collections import OrderedDict
from dataclasses import dataclass
from datetime import date
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from configs.errors import ConfigError
from ingest.passages import Passages
from ingest.search.base import Mask

# ISO 639-1.
LANGUAGES = frozenset(
    "aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el en "
    "eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it iu ja jv "
    "ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne "
    "ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st "
    "su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu".split()
)

_DATE = re.compile(r"(\d{4})(?:-(\d\d))?(?:-(\d\d))?")
# After every character of a date, so that `until` a year or month includes all of it.
_AFTER = "~"


@dataclass(frozen=True)
class Filter:
    """What passages must be to be found; an empty field asks for nothing.

    Attributes:
        url_prefix: what their address begins with, in whole segments of its path: `https://a.org/guide` finds
            `https://a.org/guide/first` and not `https://a.org/guidelines`.
        since, until: the first and last day, `YYYY-MM-DD`; or year, or month: `until` 2024 includes December.
        language: an ISO 639-1 code.
        tags: all of these.

    Raises:
        ConfigError: an address without a scheme, something that is no date, a first day after the last, or no such
            language.
    """

    url_prefix: str = ""
    since: str = ""
    until: str = ""
    language: str = ""
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.url_prefix and not urlsplit(self.url_prefix).scheme:
            raise ConfigError(f"url_prefix {self.url_prefix!r} is no address", "Begin it with https:// or file://")
        for name, value in (("since", self.since), ("until", self.until)):
            if value and not _is_date(value):
                raise ConfigError(f"{name} {value!r} is no date", "Write YYYY-MM-DD, YYYY-MM or YYYY")
        if self.since and self.until and self.since > self.until + _AFTER:
            raise ConfigError(f"since {self.since} is after until {self.until}", "Exchange them")
        if self.language and self.language.lower() not in LANGUAGES:
            raise ConfigError(f"language {self.language!r} is no ISO 639-1 code", "Write two letters, such as en")

    def __bool__(self) -> bool:
        """Whether it asks for anything."""
        return self != Filter()


def mask(passages: Passages, wanted: Filter) -> Mask:
    """Which rows are what the filter asks for, bool [rows]."""
    kept = np.ones(len(passages), np.bool_)
    if wanted.url_prefix:
        kept &= _below(passages.column("url"), wanted.url_prefix)
    if wanted.since or wanted.until:
        dates = passages.column("date")
        kept &= _truth(pc.not_equal(dates, ""))
        kept &= _truth(pc.greater_equal(dates, wanted.since))
        kept &= _truth(pc.less(dates, (wanted.until or _AFTER) + _AFTER))
    if wanted.language:
        kept &= _truth(pc.equal(passages.column("language"), wanted.language.lower()))
    for tag in wanted.tags:
        kept &= _tagged(passages.column("tags"), tag.lower())
    return kept


class Masks:
    """`mask` over the passages of one index, the last ones from memory. Safe to call from several threads.

    Args:
        most: how many masks are kept, of one byte a passage.
    """

    def __init__(self, passages: Passages, most: int = 64) -> None:
        self._passages, self._most = passages, most
        self._known: OrderedDict[Filter, Mask] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, wanted: Filter) -> Mask:
        """Which rows are what the filter asks for, bool [rows], read-only."""
        with self._lock:
            if (known := self._known.get(wanted)) is not None:
                self._known.move_to_end(wanted)
                return known
        made = mask(self._passages, wanted)
        made.flags.writeable = False
        with self._lock:
            self._known[wanted] = made
            while len(self._known) > self._most:
                self._known.popitem(last=False)
        return made


def _is_date(text: str) -> bool:
    found = _DATE.fullmatch(text)
    if not found:
        return False
    year, month, day = (int(part or 1) for part in found.groups())
    try:
        date(year, month, day)
    except ValueError:
        return False
    return True


def _below(urls: pa.ChunkedArray, prefix: str) -> Mask:
    stem = _lower_host(prefix).rstrip("/")
    kept = _truth(pc.equal(urls, stem))
    for end in "/?#":
        kept |= _truth(pc.starts_with(urls, pattern=stem + end))
    return kept


def _lower_host(prefix: str) -> str:
    """The prefix as addresses are spelled: scheme and host in small letters."""
    scheme, separator, rest = prefix.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme.lower()}{separator}{host.lower()}{slash}{path}"


def _tagged(tags: pa.ChunkedArray, tag: str) -> Mask:
    kept = np.zeros(len(tags), np.bool_)
    start = 0
    for chunk in tags.chunks:
        owners = np.asarray(pc.list_parent_indices(chunk))
        kept[start + owners[_truth(pc.equal(pc.list_flatten(chunk), tag))]] = True
        start += len(chunk)
    return kept


def _truth(values: pa.ChunkedArray | pa.Array) -> Mask:
    return np.array(pc.fill_null(values, fill_value=False), dtype=np.bool_)
