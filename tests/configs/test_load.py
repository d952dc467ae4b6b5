"""Settings: every shipped file loads, and every mistake is one line that names the key, the value and the allowed."""

from pathlib import Path

import pytest

from configs.errors import ConfigError
from configs.load import SHIPPED, load_config
from configs.schema import Config
from configs.section import Section

SHIPPED_FILES = sorted(SHIPPED.glob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED_FILES, ids=lambda path: path.name)
def test_every_shipped_file_loads(path):
    assert isinstance(load_config(path, environ={}), Config)


def test_laptop_gpu_and_ci_are_shipped():
    assert {path.stem for path in SHIPPED_FILES} >= {"laptop", "gpu", "ci"}


def test_the_laptop_file_is_the_default(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_config(environ={}) == load_config(SHIPPED / "laptop.yaml", environ={})


def test_a_local_file_wins_over_the_shipped_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wellread.yaml").write_text("seed: 99\n")
    assert load_config(environ={}).seed == 99


def test_overrides_win_over_the_environment_which_wins_over_the_file(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("train: {epochs: 2, batch_size: 3, save_steps: 4}\n")
    environ = {"WELLREAD_TRAIN__EPOCHS": "5", "WELLREAD_TRAIN__BATCH_SIZE": "6"}
    train = load_config(file, ["train.epochs=7"], environ).train
    assert (train.epochs, train.batch_size, train.save_steps) == (7, 6, 4)


def test_numbers_in_scientific_notation_are_numbers():
    assert load_config(overrides=["train.learning_rate=3e-4"], environ={}).train.learning_rate == 3e-4


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("train.epoch=3", ["unknown key train.epoch", "did you mean 'epochs'", "batch_size"]),
        ("nosuch=3", ["unknown key nosuch", "retrieve"]),
        ("train.method=lroa", ["train.method", "'lroa'", "'lora'", "'full'"]),
        ("train.epochs=many", ["train.epochs", "'many'", "number"]),
        ("serve.port=99999", ["serve.port", "99999", "65535"]),
        ("source.site=example.org", ["source.site", "'example.org'", "https://"]),
        ("train.processes=2", ["2 processes", "launcher"]),
        ("train.deepspeed={stage: 3}", ["deepspeed needs launcher: deepspeed", "is local"]),
        ("train.max_steps=0", ["max_steps: 0"]),
        ("chunk.min_tokens=500", ["min_tokens (500)", "max_tokens"]),
        ("serve.max_new_tokens=5000", ["max_context", "5000"]),
        ("no equals sign", ["'no equals sign'", "section.key=value"]),
        ("train={", ["train={", "YAML"]),
    ],
)
def test_a_bad_override_is_one_clear_line(override, parts):
    with pytest.raises(ConfigError) as caught:
        load_config(overrides=[override], environ={})
    message = str(caught.value)
    assert "\n" not in message
    assert [part for part in parts if part not in message] == []


def test_site_and_folder_together_are_refused():
    with pytest.raises(ConfigError, match=r"set only one of source\.site and source\.folder"):
        load_config(overrides=["source.site=https://example.org/", "source.folder=docs"], environ={})


def test_all_mistakes_are_reported_at_once():
    with pytest.raises(ConfigError) as caught:
        load_config(overrides=["train.epoch=3", "serve.prot=1"], environ={})
    assert "train.epoch" in str(caught.value)
    assert "serve.prot" in str(caught.value)


@pytest.mark.parametrize("text", ["train: [", "- a\n- b\n", "\x00"])
def test_a_file_that_is_no_settings_tree_is_named(tmp_path, text):
    file = tmp_path / "c.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"c\.yaml"):
        load_config(file, environ={})


def test_a_missing_file_names_the_shipped_ones():
    with pytest.raises(ConfigError, match=r"laptop\.yaml"):
        load_config(Path("nosuch.yaml"), environ={})


def test_an_empty_file_gives_the_defaults(tmp_path):
    (tmp_path / "c.yaml").write_text("")
    assert load_config(tmp_path / "c.yaml", environ={}) == Config()


def undocumented(section: type[Section], path: str = "") -> list[str]:
    found = []
    for name, field in section.model_fields.items():
        if not field.description:
            found.append(path + name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            found += undocumented(field.annotation, f"{path}{name}.")
    return found


def test_every_setting_is_documented():
    assert undocumented(Config) == []


def test_a_mistyped_variable_does_not_print_the_password_in_its_value():
    with pytest.raises(ConfigError, match=r"feedback\.url") as caught:
        load_config(environ={"WELLREAD_FEEDBACK__URL": "postgresql://u:hidden@localhost/x"})
    assert "hidden" not in str(caught.value)


def test_top_level_settings_come_from_the_environment_and_other_names_are_left_alone():
    config = load_config(environ={"WELLREAD_ROOT": "elsewhere", "WELLREAD_SEED": "3", "WELLREAD_CACHE": "x"})
    assert (config.root, config.seed) == (Path("elsewhere"), 3)


def test_a_bare_off_names_the_preset():
    assert load_config(None, ["guards.policy=off"], {}).guards.policy == "off"


def test_off_is_understood_where_yaml_reads_it_as_false():
    config = load_config(None, ["embed.trained=off", "retrieve.condense=off", "guards.policy=off"], {})
    assert (config.embed.trained, config.retrieve.condense, config.guards.policy) == ("off", "off", "off")
    with pytest.raises(ConfigError, match=r"source\.sitemap"):
        load_config(None, ["source.sitemap=off"], {})
