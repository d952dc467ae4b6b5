"""Sentences with made-up people, places and companies, for the name model to learn from.

In: the sentences of `names.txt`, Faker, and values that were seen in the public sets. Out: `Example`s.

Known limits: Latin script and some Greek; Faker's lists are short, so names repeat.
"""

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from faker import Faker

from guards.training.names_data import Example

OWN = Path(__file__).with_name("names.txt")
_FIELD = re.compile(r"\{(\w+)\}")

LOCALES = (
    "en_US en_US en_US en_GB en_GB en_AU en_CA en_IE en_IN en_NZ en_PH de_DE de_AT de_CH fr_FR fr_CH es_ES es_MX "
    "es_CO it_IT nl_NL nl_BE pl_PL pt_BR pt_PT sv_SE no_NO da_DK fi_FI cs_CZ sk_SK hu_HU hr_HR sl_SI ro_RO tr_TR "
    "et_EE lt_LT lv_LV id_ID el_GR "
).split()
PEOPLES = (
    "American German French British English Scottish Irish Welsh Italian Spanish Portuguese Dutch Belgian Swiss "
    "Austrian Polish Czech Slovak Hungarian Romanian Bulgarian Greek Turkish Russian Ukrainian Swedish Norwegian "
    "Danish Finnish Icelandic Estonian Latvian Lithuanian Croatian Serbian Albanian Israeli Egyptian Moroccan "
    "Nigerian Kenyan Ethiopian Indian Pakistani Chinese Japanese Korean Vietnamese Thai Filipino Indonesian "
    "Australian Canadian Mexican Brazilian Argentinian Chilean Peruvian Cuban Jamaican Iranian Iraqi Syrian "
    "Lebanese Saudi Afghan Mongolian Nepalese Colombian Bolivian Ghanaian Somali Tunisian Algerian Christian "
    "Catholic Protestant Jewish Muslim Buddhist Hindu Sikh Shia Sunni Mormon Methodist Republican Democrat "
    "Socialist Communist Kurdish Arab Hispanic Latino Cherokee Maori Bahraini Kuwaiti Zambian Congolese Rwandan "
    "Salvadoran Venezuelan "
).split()


class Filler:
    """Fills sentences with made-up data of a random country.

    Args:
        seen: values by label, of which some are used beside Faker's.
    """

    def __init__(self, seed: int, seen: dict[str, list[str]]) -> None:
        self._random = random.Random(seed)
        self._fakers = {locale: Faker(locale) for locale in set(LOCALES)}
        for place, locale in enumerate(sorted(self._fakers)):
            self._fakers[locale].seed_instance(seed + place)
        self._seen = seen
        self._fake = self._fakers["en_US"]

    def fill(self, template: str) -> Example:
        """One filling of a line of `names.txt`."""
        self._fake = self._fakers[self._random.choice(LOCALES)]
        parts: list[str] = []
        spans: list[tuple[int, int, str | None]] = []
        done = length = 0
        for match in _FIELD.finditer(template):
            label, value = self._value(match.group(1))
            before = template[done : match.start()]
            spans.append((length + len(before), length + len(before) + len(value), label))
            parts += [before, value]
            length += len(before) + len(value)
            done = match.end()
        text = "".join([*parts, template[done:]])
        return self._recase(Example("own", template, text, tuple(spans)))

    def _recase(self, example: Example) -> Example:
        chance = self._random.random()
        if chance < 0.12:
            return replace(example, text=_same_length(example.text, str.lower))
        if chance < 0.15:
            return replace(example, text=_same_length(example.text, str.upper))
        return example

    def _value(self, field: str) -> tuple[str | None, str]:
        label, makers = FIELDS[field]
        seen = self._seen.get(label or "", ())
        if seen and field in _FROM_SEEN and self._random.random() < _FROM_SEEN[field]:
            return label, self._random.choice(seen)
        return label, str(getattr(self, f"_{self._random.choice(makers)}")())

    def _faker(self, name: str) -> str:
        for fake in (self._fake, self._fakers["en_US"]):
            if hasattr(fake, name):
                value = str(getattr(fake, name)())
                # Greek is read as unknown words, Arabic numerals and the like not at all.
                if max(value, default="") < "\u0400":
                    return value
        return str(getattr(self._fakers["en_US"], name)())

    def _first(self) -> str:
        return self._faker("first_name")

    def _last(self) -> str:
        return self._faker("last_name")

    def _full(self) -> str:
        chance = self._random.random()
        if chance < 0.12:
            return f"{self._first()} {self._random.choice('ABCDEFGHJKLMNPRSTVW')}. {self._last()}"
        if chance < 0.2:
            return self._faker("name")
        if chance < 0.25:
            return f"{self._first()}-{self._first()} {self._last()}"
        return f"{self._first()} {self._last()}"

    def _honorific(self) -> str:
        return self._random.choice("Mr. Mr Mrs. Mrs Ms. Ms Miss Dr. Dr Prof. Mr. Mrs. Ms. Dr. Miss".split())

    def _street_name(self) -> str:
        return self._faker("street_name")

    def _building(self) -> str:
        return str(self._random.choice((self._random.randint(1, 99), self._random.randint(100, 99999))))

    def _flat(self) -> str:
        number = self._random.randint(1, 999)
        return self._random.choice(("Apt. {}", "Suite {}", "Apt {}", "Unit {}", "Flat {}", "Floor {}", "#{}")).format(
            number
        )

    def _town(self) -> str:
        value = self._faker("city")
        return value.upper() if self._random.random() < 0.1 else value

    def _land(self) -> str:
        fake = self._fakers[self._random.choice(("en_US", "en_GB"))]
        return str(fake.country())

    def _region(self) -> str:
        return self._faker("state_abbr") if self._random.random() < 0.6 else self._faker("state")

    def _postal(self) -> str:
        return self._faker("postcode") if self._random.random() < 0.6 else str(self._random.randint(10000, 99999))

    def _company(self) -> str:
        return self._faker("company")

    def _start_up(self) -> str:
        fake = self._fakers["en_US"]
        words = [str(fake.word()).capitalize() for _ in range(self._random.choice((1, 2, 2, 3)))]
        ending = self._random.choice(
            ("", "", "", " Inc.", " Inc", " LLC", " Corporation", " Group", " Systems", " Labs", " Partners")
        )
        return self._random.choice((" ", "", " ")).join(words) + ending

    def _people(self) -> str:
        return self._random.choice(PEOPLES)

    def _telephone(self) -> str:
        shapes = "### ####;## ## ## ##;#### ####;## ### ## ##;0### ### ## ##;(##) ####-####;0# ## ## ## ##;### ## ###"
        if self._random.random() < 0.5:
            return self._faker("phone_number")
        return "".join(
            str(self._random.randint(0, 9)) if char == "#" else char for char in self._random.choice(shapes.split(";"))
        )

    def _day(self) -> str:
        fake = self._fakers["en_US"]
        shapes = ("%m/%d/%Y", "%d.%m.%Y", "%Y-%m-%d", "%B %d, %Y", "%d %B %Y", "%d/%m/%Y", "%b %d", "%B %Y", "%d %b %Y")
        return str(fake.date(self._random.choice(shapes)))

    def _moment(self) -> str:
        shapes = ("%Y-%m-%d %H:%M:%S", "%d/%m/%Y %H:%M", "%B %d, %Y at %H:%M", "%Y-%m-%dT%H:%M:%S")
        return str(self._fakers["en_US"].date_time().strftime(self._random.choice(shapes)))

    def _years(self) -> str:
        return str(self._random.randint(1, 99))

    def _year_number(self) -> str:
        return str(self._random.randint(1850, 2030))

    def _occupation(self) -> str:
        return str(self._fakers["en_US"].job())

    def _post_box(self) -> str:
        number = self._random.randint(1, 9999)
        shapes = ("P.O. Box {}", "PO Box {}", "PSC {0}, Box {0}", "Unit {0} Box {0}", "Postfach {}", "POB {}")
        return self._random.choice(shapes).format(number)

    def _whole_address(self) -> str:
        """A postal address in one piece, in one of several orders."""
        street, number, city = self._street_name(), self._building(), self._town()
        unit, postal, land, region = self._flat(), self._postal(), self._land(), self._region()
        chance = self._random.random()
        if chance < 0.25:
            return self._faker("address")
        shapes = (
            f"{number} {street} {unit}, {city}, {land} {postal}",
            f"{number} {street}, {city}, {region} {postal}",
            f"{number} {street}\n{city}\n, {region}\n {postal}",
            f"{number} {street} {unit}\n{city}\n, {region}\n {land} {postal}",
            f"{street} {self._building()}, {postal} {city}",
            f"{street} {self._building()}\n{postal} {city}\n{land}",
            f"{number} {street}\n {unit}\n {city}\n {land} {postal}",
            f"{number} {street} {self._building()}, {city}, {land}",
            f"{street} {self._building()}",
            f"{number} {street}",
            f"the corner of {street} and {self._street_name()}",
            f"the corner of {number} {street} and {self._street_name()} {self._building()}",
        )
        return self._random.choice(shapes)

    def _mail(self) -> str:
        return self._faker("email")

    def _site(self) -> str:
        return self._faker("url")

    def _bank_account(self) -> str:
        return str(self._fakers["en_GB"].iban())

    def _payment_card(self) -> str:
        return str(self._fakers["en_US"].credit_card_number())

    def _social_security(self) -> str:
        return str(self._fakers["en_US"].ssn())


# Each field of `names.txt`: its label, and the methods of `Filler` that may fill it.
# What patterns find counts as unknown: the model has nothing to add.
FIELDS: dict[str, tuple[str | None, tuple[str, ...]]] = {
    "name": ("person", ("full",)),
    "first": ("person", ("first",)),
    "last": ("person", ("last",)),
    "title": ("title", ("honorific",)),
    "street": ("address", ("street_name",)),
    "number": ("address", ("building",)),
    "unit": ("address", ("flat",)),
    "pobox": ("address", ("post_box",)),
    "address": ("address", ("whole_address",)),
    "city": ("location", ("town",)),
    "country": ("location", ("land",)),
    "state": ("location", ("region",)),
    "zip": ("zip_code", ("postal",)),
    "org": ("organization", ("company", "start_up")),
    "nrp": ("nrp", ("people",)),
    "phone": ("phone", ("telephone",)),
    "date": ("date", ("day",)),
    "datetime": ("date", ("moment",)),
    "year": ("date", ("year_number",)),
    "age": ("age", ("years",)),
    "job": ("job", ("occupation",)),
    "email": (None, ("mail",)),
    "url": (None, ("site",)),
    "iban": (None, ("bank_account",)),
    "card": (None, ("payment_card",)),
    "ssn": (None, ("social_security",)),
}
# How often a field takes a value of the public sets instead.
_FROM_SEEN = {"name": 0.4, "first": 0.2, "last": 0.2, "city": 0.4, "country": 0.2, "org": 0.4, "nrp": 0.4, "phone": 0.4}


def own(seed: int, each: int, seen: dict[str, list[str]]) -> Iterator[Example]:
    """Each line of `names.txt` filled `each` times; lines without fields once."""
    filler = Filler(seed, seen)
    lines = [line for line in OWN.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    for line in lines:
        template = line.replace("\\n", "\n")
        for _ in range(each if _FIELD.search(template) else 1):
            yield filler.fill(template)


def _same_length(text: str, change: Callable[[str], str]) -> str:
    return "".join(new if len(new := change(char)) == 1 else char for char in text)
