"""Secrets are found by form and by name, documentation stays as it is, and no text takes long."""

import random
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guards.base import Action, Context
from guards.detectors.secrets import SecretsGuard, entropy
from guards.spans import redact

BASE62 = string.ascii_letters + string.digits


def some(length: int, alphabet: str = BASE62, seed: int = 1) -> str:
    return "".join(random.Random(seed).choices(alphabet, k=length))


def redacted(text: str) -> str:
    return redact(text, SecretsGuard().check(text).spans)


PEM = f"-----BEGIN RSA PRIVATE KEY-----\n{some(64)}\n{some(64, seed=2)}\n-----END RSA PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"key AKIA{some(16, string.ascii_uppercase)} here", "key <AWS_ACCESS_KEY> here"),
        (f"token=ghp_{some(36)};", "token=<GITHUB_TOKEN>;"),
        (f"xoxb-{some(12, string.digits)}-{some(24)}", "<SLACK_TOKEN>"),
        (f"sk_live_{some(24)}", "<STRIPE_KEY>"),
        (f"M{some(23)}.{some(6)}.{some(27)}", "<DISCORD_TOKEN>"),
        (f"{some(32, '0123456789abcdef')}-us12", "<MAILCHIMP_KEY>"),
        (f"eyJ{some(30)}.eyJ{some(40)}.{some(43)}", "<JSON_WEB_TOKEN>"),
        (f'"line\\nghp_{some(36)}"', '"line\\n<GITHUB_TOKEN>"'),
        (f"before\n{PEM}\nafter", "before\n<PRIVATE_KEY>\nafter"),
        (PEM[:150], "<PRIVATE_KEY>"),
        ("postgresql://app:" + "k3J9xPq2@db.internal:5432/app", "postgresql://app:<PASSWORD>@db.internal:5432/app"),
        ("DB_PASSWORD=" + "k3J9xPq2", "DB_PASSWORD=<PASSWORD>"),
        ('password: str = "' + 'k3J9xPq2"', 'password: str = "<PASSWORD>"'),
        ("{'password': '" + "k3J9xPq2'}", "{'password': '<PASSWORD>'}"),
        ("My password is " + "Tr0ub4dor&3, keep it.", "My password is <PASSWORD>, keep it."),
        (f"aws_secret_access_key = {some(40)}", "aws_secret_access_key = <SECRET>"),
        (f"mysql --password {some(12)} app", "mysql --password <PASSWORD> app"),
        (f"Authorization: Bearer {some(32)}", "Authorization: Bearer <AUTHORIZATION>"),
    ],
)
def test_secrets_are_found_and_only_they(text, expected):
    assert redacted(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "api_key = 'your-api-key'",
        "token: xxxxxxxxxxxxxxxxxxxxxxxx",
        "password=<password> or PASSWORD=$DB_PASSWORD or password={{ secret }}",
        "AKIAIOSFODNN7EXAMPLE and sk-xxxxxxxxxxxxxxxxxxxxxxxx",
        "postgresql://user:secret@localhost/db and https://user:password@example.com/",
        "commit 9abddd4af4e3720b8efc7716c8d1f22c6e76354e, md5 d41d8cd98f00b204e9800998ecf8427e",
        "secret = 3f2504e0-4f89-11d3-9a0c-0305e82c3301",
        "![x](data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAUA)",
        "password: The password to use, 8-64 characters. password_encryption = scram-sha-256",
        "The secret is out. token = get_token(next_page_token)",
        "token = os.environ['TOKEN']; passwd = getpass.getpass(prompt1)",
        "secret_name = prod/db-2024-main and key_file: /etc/ssl/private/key1.pem",
        "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----",
        "-----BEGIN PUBLIC KEY-----\n" + "A1b2" * 40,
        "",
    ],
)
def test_what_documentation_writes_in_place_of_secrets_stays(text):
    assert redacted(text) == text


def test_the_reason_names_the_kind_and_never_the_value():
    verdict = SecretsGuard(action=Action.BLOCK).check(f"ghp_{some(36)}")
    assert (verdict.action, verdict.allowed) == (Action.BLOCK, False)
    assert "github token" in verdict.reason
    assert some(36) not in verdict.reason


def test_a_known_value_is_allowed_and_a_threshold_leaves_forms_only():
    value = f"ghp_{some(36)}"
    assert SecretsGuard(allow=(value,)).check(value).action is Action.ALLOW
    strict = SecretsGuard(threshold=0.95)
    assert strict.check(f"DB_PASSWORD={some(12)}").action is Action.ALLOW
    assert strict.check(value).action is Action.REDACT


def test_entropy_is_that_of_the_characters():
    assert entropy("aaaa") == 0
    assert entropy("abcdabcd") == pytest.approx(2.0)


@pytest.mark.parametrize(
    "bait",
    [
        "AKIA",
        "-eyJ",
        "sk-",
        "password=",
        "password 'x",
        "://",
        "://a:b",
        "-us1",
        "7Q~",
        ".",
        "-----BEGIN PRIVATE KEY-----",
    ],
)
def test_repeated_beginnings_end(bait):
    SecretsGuard().check(bait * (200_000 // len(bait)))


def test_the_deadline_is_kept():
    with pytest.raises(TimeoutError):
        SecretsGuard().check("password=" * 10_000, Context(deadline=0.0))


PIECES = ["password = ", "ghp_" + some(36), "é\u0301", "\ud800", "\x00", " ", "\n", "'", "שלום", "://a:", "@b", PEM]


@given(st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=8)), max_size=20).map("".join))
def test_spans_are_in_order_and_inside_the_text(text):
    position = 0
    for span in SecretsGuard().check(text).spans:
        assert position <= span.start < span.end <= len(text)
        position = span.end
