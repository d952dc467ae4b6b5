"""Error rates and speed of the small detectors: secrets, invisible text, links, topics, languages, gibberish.

In: the folder of data sets, and documentation (this repository's, and Debian's of PostgreSQL and Git where it is
installed or named). Out: figures, each beside those of a peer on the same texts in the same run where there is one:
detect-secrets for secrets, lingua and plain py3langid for languages.

What has no public set is generated here from a fixed seed: secrets by form with random values, inside lines of
configuration; ways to hide text and to disguise links; random and mashed characters and broken encodings.
"""

import base64
import gzip
import json
import random
import string
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from guards.base import Action, Guard
from guards.detectors.gibberish import WEIGHTS, GibberishGuard
from guards.detectors.invisible import InvisibleGuard
from guards.detectors.language import LanguageGuard
from guards.detectors.secrets import SecretsGuard
from guards.detectors.topic import TopicGuard, centroids, threshold_for
from guards.detectors.urls import UrlGuard, parse
from guards.spans import redact

ROOT = Path(__file__).parents[1]
SITES = (Path("/usr/share/doc/postgresql-doc-15/html"), Path("/usr/share/doc/git-doc"))
HEX, BASE62 = "0123456789abcdef", string.ascii_letters + string.digits
URL64, BASE64 = BASE62 + "-_", BASE62 + "+/"
LOWER = string.ascii_lowercase + string.digits


def secrets_by_form(seed: int = 7, each: int = 50) -> Iterator[tuple[str, str, str]]:
    """Kind, the line around it, and the secret itself; `each` of every form."""
    rng = random.Random(seed)

    def some(alphabet: str, length: int) -> str:
        return "".join(rng.choices(alphabet, k=length))

    forms: dict[str, Callable[[], str]] = {
        "aws_access_key": lambda: "AKIA" + some(string.ascii_uppercase + "234567", 16),
        "github": lambda: rng.choice(["ghp_", "gho_", "ghs_"]) + some(BASE62, 36),
        "github_fine": lambda: f"github_pat_{some(BASE62, 22)}_{some(BASE62, 59)}",
        "gitlab": lambda: "glpat-" + some(URL64, 20),
        "slack": lambda: f"xoxb-{some(string.digits, 12)}-{some(string.digits, 12)}-{some(BASE62, 24)}",
        "slack_webhook": lambda: (
            f"https://hooks.slack.com/services/T{some(LOWER, 8).upper()}/B{some(LOWER, 10).upper()}/{some(BASE62, 24)}"
        ),
        "stripe": lambda: "sk_live_" + some(BASE62, 24),
        "google_api": lambda: "AIza" + some(URL64, 35),
        "openai": lambda: f"sk-proj-{some(URL64, 74)}T3BlbkFJ{some(URL64, 73)}a",
        "openai_old": lambda: f"sk-{some(BASE62, 20)}T3BlbkFJ{some(BASE62, 20)}",
        "anthropic": lambda: f"sk-ant-api03-{some(URL64, 93)}AA",
        "huggingface": lambda: "hf_" + some(string.ascii_letters, 34),
        "npm": lambda: "npm_" + some(BASE62, 36),
        "pypi": lambda: "pypi-AgEIcHlwaS5vcmc" + some(URL64, 150),
        "sendgrid": lambda: f"SG.{some(URL64, 22)}.{some(URL64, 43)}",
        "twilio": lambda: "SK" + some(HEX, 32),
        "mailchimp": lambda: some(HEX, 32) + "-us" + str(rng.randint(1, 21)),
        "telegram": lambda: f"{rng.randint(10**8, 10**10 - 1)}:AA{some(BASE62, 33)}",
        "discord": lambda: f"M{some(BASE62, 23)}.{some(BASE62, 6)}.{some(BASE62, 27)}",
        "square": lambda: "sq0csp-" + some(BASE62, 43),
        "azure_storage": lambda: f"AccountKey={some(BASE64, 86)}==",
        "jwt": lambda: f"eyJhbGciOiJIUzI1NiJ9.{_base64(json.dumps({'sub': some(LOWER, 20)}))}.{some(BASE62, 43)}",
        "digitalocean": lambda: "dop_v1_" + some(HEX, 64),
        "vault": lambda: "hvs." + some(BASE62, 90),
    }
    lines = ['key = "{}"', "{}", "export VALUE={}", "Use {} for now.", '{{"auth": "{}"}}', "curl -H 'X: {}'"]
    for kind, make in forms.items():
        for _ in range(each):
            secret = make()
            yield kind, rng.choice(lines).format(secret), secret
    for _ in range(each):
        body = "\n".join(some(BASE64, 64) for _ in range(12))
        yield "private_key", f"-----BEGIN RSA PRIVATE KEY-----\n{body}\n-----END RSA PRIVATE KEY-----", body
        secret = some(BASE62, rng.randint(8, 20))
        yield "url_password", f"DATABASE_URL=postgresql://app:{secret}@db.internal:5432/app", secret
        yield "assigned_quoted", rng.choice(['password = "{}"', "'db_password': '{}'"]).format(secret), secret
        yield "assigned_bare", rng.choice(["DB_PASSWORD={}", "password: {}"]).format(secret), secret
        secret = some(BASE64, 40)
        yield "aws_secret", f"aws_secret_access_key = {secret}", secret
        secret = some(rng.choice([HEX, BASE62]), 32)
        yield (
            "assigned_key",
            rng.choice(['api_key = "{}"', 'SECRET_KEY = "{}"', '"token": "{}"']).format(secret),
            secret,
        )
        yield "bearer", f"Authorization: Bearer {secret}", secret


def _base64(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _detect_secrets(texts: Sequence[str]) -> list[set[int]]:
    """Per text, the numbers of the lines in which detect-secrets finds something; never over the network."""
    from detect_secrets.core import scan
    from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
    from detect_secrets.settings import transient_settings

    plugins = [{"name": kind.__name__} for kind in get_mapping_from_secret_type_to_class().values()]
    # The default filters, less the one that asks the vendors whether a key is in use.
    filters = [
        {"path": f"detect_secrets.filters.heuristic.{name}"}
        for name in (
            "is_sequential_string is_potential_uuid is_likely_id_string is_templated_secret "
            "is_prefixed_with_dollar_sign is_indirect_reference is_not_alphanumeric_string is_lock_file"
        ).split()
    ]
    found = []
    with (
        transient_settings({"plugins_used": plugins, "filters_used": filters}),
        tempfile.TemporaryDirectory() as folder,
    ):
        for text in texts:
            file = Path(folder, "text.txt")
            file.write_text(text, encoding="utf-8")
            found.append({secret.line_number for secret in scan.scan_file(str(file))})
    return found


def measure(data: Path, *, threads: int = 1, sites: Sequence[Path] = SITES) -> dict[str, Any]:
    """Figures by detector.

    Args:
        data: holds `langid_lingua`, `retr_med` and other sets for topics, `qa_xquad_en`.
        threads: CPU threads of the embedder.
        sites: folders of HTML documentation, for false positives; those that are missing are left out.
    """
    manuals = documentation(sites)
    sentences = read(data, "langid_lingua/dev/data")
    return {
        "versions": {
            name: metadata.version(name) for name in ("detect-secrets", "lingua-language-detector", "py3langid")
        },
        "documentation_mb": {name: round(len(text) / 1e6, 2) for name, text in manuals.items()},
        "secrets": _secrets(manuals),
        "invisible": _invisible(manuals, sentences),
        "urls": _urls(manuals),
        "language": _languages(sentences),
        "gibberish": _gibberish(manuals, sentences),
        "topic": _topics(data, threads),
    }


def curves(data: Path) -> dict[str, tuple[list[int], list[float]]]:
    """Labels and scores by set."""
    sentences = read(data, "langid_lingua/dev/data")
    language, gibberish = LanguageGuard(), GibberishGuard()
    texts = [row["text"] for row in sentences]
    noise = [text for _, made in noises(sentences).items() for text in made]
    judged = [*texts, *noise]
    return {
        "not English (langid_lingua)": (
            [int(row["lang"] != "en") for row in sentences],
            [language.check(text).score for text in texts],
        ),
        "gibberish (generated) against langid_lingua": (
            [0] * len(texts) + [1] * len(noise),
            [gibberish.check(text).score for text in judged],
        ),
    }


def read(data: Path, name: str) -> list[dict[str, Any]]:
    with gzip.open(data / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def documentation(sites: Sequence[Path]) -> dict[str, str]:
    """Plain text by name."""
    from bs4 import BeautifulSoup

    texts = {"wellread": "\n\n".join(file.read_text("utf-8") for file in sorted((ROOT / "docs").glob("*.md")))}
    for site in sites:
        pages = sorted(site.rglob("*.html"))[::2]
        text = "\n\n".join(BeautifulSoup(page.read_bytes(), "lxml").get_text() for page in pages)
        if text:
            texts[site.parent.name if site.name == "html" else site.name] = text
    return texts


def cpu_seconds(work: Callable[[], Any]) -> tuple[Any, float]:
    started = time.process_time()
    result = work()
    return result, time.process_time() - started


def _per_mb(guard: Guard, texts: dict[str, str]) -> dict[str, Any]:
    """Spans per MB of text, and MB a second of one core."""
    found, seconds = cpu_seconds(lambda: {name: len(guard.check(text).spans) for name, text in texts.items()})
    size = {name: len(text.encode()) / 1e6 for name, text in texts.items()}
    return {
        "spans_per_mb": {name: round(count / size[name], 2) for name, count in found.items()},
        "mb_per_cpu_s": round(sum(size.values()) / seconds, 2),
    }


def _secrets(manuals: dict[str, str]) -> dict[str, Any]:
    rows = list(secrets_by_form())
    guard = SecretsGuard()
    # Ours must cover the value; of the peer, which gives lines, a line that it names counts.
    ours = [_covered(guard.check(line).spans, line.index(value), len(value)) for _, line, value in rows]
    theirs = [bool(lines) for lines in _detect_secrets([line for _, line, _ in rows])]
    peer, seconds = cpu_seconds(lambda: dict(zip(manuals, _detect_secrets(list(manuals.values())), strict=True)))
    size = {name: len(text.encode()) / 1e6 for name, text in manuals.items()}
    return {
        "n": len(rows),
        "ours": {"recall": _share(ours), "by_form": _by_kind(rows, ours), **_per_mb(guard, manuals)},
        "detect-secrets": {
            "recall": _share(theirs),
            "by_form": _by_kind(rows, theirs),
            "spans_per_mb": {name: round(len(lines) / size[name], 2) for name, lines in peer.items()},
            "mb_per_cpu_s": round(sum(size.values()) / seconds, 2),
        },
    }


def _covered(spans: Iterable[Any], start: int, length: int) -> bool:
    inside = sum(max(0, min(span.end, start + length) - max(span.start, start)) for span in spans)
    return inside >= 0.95 * length


def _share(flags: Sequence[bool]) -> float:
    return round(sum(flags) / max(1, len(flags)), 4)


def _by_kind(rows: Sequence[tuple[str, str, str]], flags: Sequence[bool]) -> dict[str, float]:
    groups = defaultdict(list)
    for (kind, _, _), flag in zip(rows, flags, strict=True):
        groups[kind].append(flag)
    return {kind: _share(found) for kind, found in groups.items()}


def hidden(seed: int = 7, each: int = 100) -> Iterator[tuple[str, str]]:
    """Ways to hide a message, and texts that hide one."""
    rng = random.Random(seed)
    cover = "Please summarise the page about backups for me."
    for _ in range(each):
        message = "".join(rng.choices(string.ascii_lowercase + " ", k=12)).encode()
        bits = "".join(f"{byte:08b}" for byte in message)
        ways = {
            "tags": "".join(chr(0xE0000 + byte) for byte in message),
            "zero_width_bits": "".join("\u200b\u200c"[bit == "1"] for bit in bits),
            "selectors": "".join(chr(0xE0100 + byte) for byte in message),
            "invisible_operators": "".join("\u2062\u2064"[bit == "1"] for bit in bits),
            "override": "\u202e" + message.decode() + "\u202c",
            "isolates": "\u2066" + message.decode() + "\u2069\u2066",
        }
        place = rng.randrange(len(cover))
        for way, payload in ways.items():
            yield way, cover[:place] + payload + cover[place:]
        yield "word_splitting", cover.replace("backups", "\u200b".join("backups"))
        yield "soft_hyphens", cover.replace("backups", "\u00ad".join("backups"))


def _invisible(manuals: dict[str, str], sentences: list[dict[str, Any]]) -> dict[str, Any]:
    guard = InvisibleGuard()
    found = defaultdict(list)
    for way, text in hidden():
        visible = redact(text, guard.check(text).spans)
        found[way].append(visible.isascii())
    acted = Counter(row["lang"] for row in sentences if guard.check(row["text"]).spans)
    return {
        "ours": {
            "removed_whole": {way: _share(flags) for way, flags in found.items()},
            "sentences_changed": {"n": len(sentences), "share": round(acted.total() / len(sentences), 5), **acted},
            **_per_mb(guard, manuals),
        }
    }


BAD_LINKS = {
    "plain": ["https://H/x", "http://H", "www.H/x", "//H/x", "H/?q=1", "<https://H>", "https:\\\\H/", "ftp://H/x"],
    "markdown": ["[a](https://H)", "[a](<https://H/a b>)", "[a](//H)", "[a](/\\H)", "[a](https:H)", "[r]: https://H/x"],
    "image": ["![](https://H/?q=DATA)", "![a](https://H/?q=DATA)", "[![a](https://H/i)](https://ok.org/)"],
    "html": ["<a href='https://H'>a</a>", "<img src=https://H/x>", '<img srcset="https://ok.org/1 1x, //H/2 2x">'],
    "script": ["[a](javascript:alert(1))", "[a](&#106;avascript:x)", "[a](data:text/html,x)", "[a](vbscript:x)"],
    "deceptive": [
        *(
            "https://ok.org@H/",
            "https://ok.org:x@H/",
            "https://ok.org\\@H/",
            "https://ok.org.H/",
            "https://ok.org%2eH/",
        ),
        *(
            "https://ok.org\u3002H/",
            "https://\u043ek.org/",
            "https://xn--k-jtb.org/",
            "http://2130706433/",
            "http://0x7f.1/",
        ),
        *("http://[::1]/", "http:///H/", "http\\://H/", "http&#58;//H/"),
    ],
}


def _urls(manuals: dict[str, str]) -> dict[str, Any]:
    guard = UrlGuard(hosts=("ok.org",))
    found = {
        kind: [
            guard.check(f"See {bad.replace('H', host)} now.\n").action is Action.REDACT
            for bad in bads
            for host in HOSTS
        ]
        for kind, bads in BAD_LINKS.items()
    }
    found["definition"] = [guard.check(f"[r]\n\n[r]: https://{host}/x").action is Action.REDACT for host in HOSTS]
    # With every host of a text allowed, what is still found is none of a link, or an address that browsers disagree on.
    remaining = {}
    for name, text in manuals.items():
        hosts = {parse(word.strip("()<>.,'\"")).host for word in text.split() if "://" in word}
        own = UrlGuard(hosts=tuple(host for host in hosts if host))
        remaining[name] = round(len(own.check(text).spans) / (len(text) / 1e6), 2)
    return {
        "ours": {
            "found": {kind: _share(flags) for kind, flags in found.items()},
            "spans_per_mb_with_own_hosts_allowed": remaining,
            "mb_per_cpu_s": _per_mb(guard, manuals)["mb_per_cpu_s"],
        }
    }


HOSTS = ("evil.com", "a.b.evil.co.uk", "evil-site.xyz", "EVIL.com")


def _languages(sentences: list[dict[str, Any]]) -> dict[str, Any]:
    return {"n": len(sentences), "ours": _refusals(sentences), **_identifiers(sentences)}


def _refusals(sentences: list[dict[str, Any]]) -> dict[str, Any]:
    guard = LanguageGuard()
    _, loading = cpu_seconds(guard.warm_up)
    figures: dict[str, Any] = {"load_cpu_s": round(loading, 2)}
    for name, cut in (("whole", None), ("first_40_characters", 40)):
        verdicts, seconds = cpu_seconds(lambda cut=cut: [guard.check(row["text"][:cut]) for row in sentences])
        refused = [verdict.action is Action.BLOCK for verdict in verdicts]
        english = [flag for flag, row in zip(refused, sentences, strict=True) if row["lang"] == "en"]
        others = [flag for flag, row in zip(refused, sentences, strict=True) if row["lang"] != "en"]
        figures[name] = {
            "english_refused": _share(english),
            "others_refused": _share(others),
            "per_cpu_s": round(len(sentences) / seconds),
        }
    return figures


def _identifiers(sentences: list[dict[str, Any]]) -> dict[str, Any]:
    """The identifiers alone, whose first guess is taken."""
    figures = {}
    for name, load in {
        "py3langid": _py3langid,
        "lingua-low": lambda: _lingua(True),
        "lingua": lambda: _lingua(False),
    }.items():
        (guess, ready), loading = cpu_seconds(lambda load=load: (found := load(), found("A first sentence.")))
        del ready
        codes, seconds = cpu_seconds(lambda guess=guess: [guess(row["text"]) for row in sentences])
        truth = [row["lang"] for row in sentences]
        right = sum(a == b == "en" for a, b in zip(codes, truth, strict=True))
        figures[name] = {
            "accuracy": _share([a == b for a, b in zip(codes, truth, strict=True)]),
            "english_precision": round(right / max(1, codes.count("en")), 4),
            "english_recall": round(right / truth.count("en"), 4),
            "others_taken_for_english": round((codes.count("en") - right) / (len(truth) - truth.count("en")), 5),
            "load_cpu_s": round(loading, 2),
            "per_cpu_s": round(len(sentences) / seconds),
        }
    return figures


def _py3langid() -> Callable[[str], str]:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE)
    return lambda text: str(identifier.classify(text)[0])


def _lingua(low: bool) -> Callable[[str], str]:
    from lingua import LanguageDetectorBuilder

    builder = LanguageDetectorBuilder.from_all_languages()
    detector = (builder.with_low_accuracy_mode() if low else builder).build()

    def guess(text: str) -> str:
        found = detector.detect_language_of(text)
        return found.iso_code_639_1.name.lower() if found else ""

    return guess


def noises(sentences: list[dict[str, Any]], seed: int = 7, each: int = 300) -> dict[str, list[str]]:
    """Gibberish by kind and number of characters."""
    rng = random.Random(seed)
    rows = ("asdfghjkl", "qwertyuiop", "zxcvbnm")

    def mash(length: int) -> str:
        made = ""
        while len(made) < length:
            row = rng.choice(rows)
            start = rng.randrange(len(row))
            made += row[start : start + rng.randint(2, 5)] + " " * (rng.random() < 0.15)
        return made[:length]

    printable = string.ascii_letters + string.digits + string.punctuation + "   "
    made: dict[str, list[str]] = {}
    for length in (20, 40, 200):
        made[f"random_letters_{length}"] = [
            "".join(rng.choices(string.ascii_lowercase + "    ", k=length)) for _ in range(each)
        ]
        made[f"mashed_keys_{length}"] = [mash(length) for _ in range(each)]
        made[f"random_characters_{length}"] = ["".join(rng.choices(printable, k=length)) for _ in range(each)]
    foreign = [row["text"] for row in sentences if sum(not char.isascii() for char in row["text"]) > 10]
    chosen = rng.sample(foreign, min(each, len(foreign)))
    made["misread_utf8"] = [text.encode().decode("latin-1") for text in chosen]
    made["one_sentence_over_and_over"] = [(text + " ") * (600 // len(text) + 4) for text in chosen if len(text) < 100]
    return made


def _gibberish(manuals: dict[str, str], sentences: list[dict[str, Any]]) -> dict[str, Any]:
    guard = GibberishGuard()

    def share(texts: Sequence[str]) -> float:
        return _share([guard.check(text).action is Action.FLAG for text in texts])

    code = "\n".join(
        file.read_text("utf-8", "ignore") for file in sorted(Path(json.__file__).parents[1].glob("*.py"))[1::2]
    )
    card = json.loads(WEIGHTS.with_suffix(".json").read_text("utf-8"))["false_positives"]
    by_language = defaultdict(list)
    for row in sentences:
        by_language[row["lang"]].append(row["text"])
    return {
        "ours": {
            "found": {kind: share(texts) for kind, texts in noises(sentences).items()},
            "false_positives": {
                **{name: share(list(pieces(text))) for name, text in {**manuals, "python_code": code}.items()},
                "languages_in_sample": {code: rate for code, texts in by_language.items() if (rate := share(texts))},
                # Letters alone: broken encodings among the sentences are none of these.
                "languages_halves_mean": round(sum(found["halves"] for found in card.values()) / len(card), 5),
                "languages_left_out_mean": round(sum(found["left_out"] for found in card.values()) / len(card), 5),
                "languages_left_out": {code: found["left_out"] for code, found in card.items() if found["left_out"]},
            },
            "mb_per_cpu_s": _per_mb(guard, manuals)["mb_per_cpu_s"],
        }
    }


def pieces(text: str, size: int = 300, most: int = 3000) -> Iterator[str]:
    step = max(size, len(text) // most)
    return (text[start : start + size] for start in range(0, len(text), step))


CORPORA = ("retr_med", "retr_cranfield", "retr_scifact")
QUESTIONS = (*CORPORA, "qa_xquad_en")


def _topics(data: Path, threads: int, sample: int = 300) -> dict[str, Any]:
    """AUC of a corpus' own questions against those of the others, by number of topics."""
    import numpy as np
    import torch
    from sklearn.metrics import roc_auc_score

    torch.set_num_threads(threads)
    asked = {name: [row["text"][:1000] for row in read(data, f"{name}/dev/queries")][:100] for name in QUESTIONS}
    texts = [text for found in asked.values() for text in found]
    # Each question is embedded once, although every guard below judges it.
    known = dict(zip(texts, _embedder()(texts), strict=True))
    figures: dict[str, Any] = {}
    for name in CORPORA:
        rows = random.Random(7).sample(read(data, f"{name}/common/corpus"), sample)
        corpus = _embedder()([f"{row.get('title', '')}\n{row['text']}" for row in rows])
        for count in (1, 16, 64):
            topics = centroids(corpus, count)
            guard = TopicGuard(centroids=topics, embed=lambda pieces: np.stack([known[piece] for piece in pieces]))
            own = [guard.similarity(text) for text in asked[name]]
            others = [guard.similarity(text) for other, found in asked.items() if other != name for text in found]
            labels = [1] * len(own) + [0] * len(others)
            figures.setdefault(name, {})[f"{count}_topics"] = {
                "auc": round(float(roc_auc_score(labels, own + others)), 4),
                "refused_by_threshold": {
                    f"{bound:.2f}": {"own": _below(own, bound), "others": _below(others, bound)}
                    for bound in (0.1, 0.2, 0.3, threshold_for(corpus, topics))
                },
            }
    return figures


def _below(scores: Sequence[float], bound: float) -> float:
    return _share([score < bound for score in scores])


@cache
def _embedder() -> Callable[[Sequence[str]], Any]:
    from ingest.embed import load_embedder

    return load_embedder("embedded:all-MiniLM-L6-v2", "cpu").encode
