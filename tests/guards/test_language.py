"""Other languages are told from the ones that are answered in; what is too short or no prose is not judged."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.errors import ConfigError
from guards.base import Action, Context
from guards.detectors.language import LanguageGuard

GUARD = LanguageGuard()
FOREIGN = {
    "de": "Wie stelle ich die Datenbank nach einem Ausfall wieder her?",
    "fr": "Comment restaurer la base de données après une panne du serveur ?",
    "es": "¿Cómo puedo restaurar la base de datos después de un fallo?",
    "ru": "Как восстановить базу данных после сбоя сервера?",
    "zh": "服务器发生故障后如何恢复数据库?",
    "ja": "サーバーの障害後にデータベースを復元するにはどうすればよいですか",
    "ar": "كيف يمكنني استعادة قاعدة البيانات بعد تعطل الخادم؟",
    "hi": "सर्वर के विफल होने के बाद डेटाबेस को कैसे पुनर्स्थापित करें?",
    "sw": "Ninawezaje kurejesha hifadhidata baada ya seva kushindwa kufanya kazi?",
}


@pytest.mark.parametrize("code", FOREIGN)
def test_other_languages_are_refused_and_allowed_ones_pass(code):
    verdict = GUARD.check(FOREIGN[code])
    assert (verdict.action, verdict.category) == (Action.BLOCK, "language")
    assert verdict.score >= verdict.threshold
    assert LanguageGuard(languages=("en", code)).check(FOREIGN[code]).action is Action.ALLOW


@pytest.mark.parametrize(
    "text",
    [
        "How do I restore the database after the server has crashed?",
        "HOW DO I RESTORE THE DATABASE?",
        "restore database backup",
        "ok",
        "",
        "42 1.5e3 2026-11-21",
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle';",
        "See https://www.postgresql.org/docs/15/bücher-über-datenbanken.html",
        "```\nfür jeden Eintrag: drucke(Eintrag) und höre dann auf\n```",
        "\x00\ud800\U0001f600 \u0301\u0301",
    ],
)
def test_english_and_what_has_no_language_pass(text):
    assert GUARD.check(text).action is Action.ALLOW


def test_a_long_text_is_sampled_throughout():
    assert GUARD.check("x " * 3000 + FOREIGN["de"] * 5000).action is Action.BLOCK
    assert GUARD.check("The server writes a log. " * 40_000).action is Action.ALLOW


def test_min_chars_and_threshold_are_heeded():
    assert LanguageGuard(min_chars=1000).check(FOREIGN["de"]).action is Action.ALLOW
    assert LanguageGuard(action=Action.FLAG).check(FOREIGN["de"]).action is Action.FLAG


def test_unknown_languages_are_refused():
    with pytest.raises(ConfigError, match="no languages"):
        LanguageGuard(languages=())
    with pytest.raises(ConfigError, match="'xx' is not known"):
        LanguageGuard(languages=("en", "xx")).warm_up()


def test_the_deadline_is_kept():
    with pytest.raises(TimeoutError):
        GUARD.check("text", Context(deadline=0.0))


@settings(max_examples=50)
@given(st.text(max_size=200))
def test_any_text_has_a_score(text):
    assert 0.0 <= GUARD.check(text).score <= 1.0
