"""Settings: what is read from where, and how faults read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tegula.engine.settings import Settings, find_project, load_settings
from tegula.schemas.errors import ProjectMissing, SettingsError


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    for name in Settings.model_fields:
        monkeypatch.delenv(f"TEGULA_{name.upper()}", raising=False)


def project(tmp_path: Path, text: str = "") -> Path:
    (tmp_path / "tegula.toml").write_text(text)
    return tmp_path


def test_settings_have_defaults_below_the_project(tmp_path):
    settings = load_settings(project(tmp_path))
    assert settings.home == tmp_path / ".tegula"
    assert settings.log_path("payments") == tmp_path / ".tegula/log/payments.db"
    assert settings.registry_url_or_default == f"sqlite:///{tmp_path}/.tegula/registry.db"
    assert (settings.port, settings.shards, settings.commit_interval_ms) == (6180, 16, 100)


def test_settings_take_flags_before_environment_before_file(tmp_path, monkeypatch):
    folder = project(tmp_path, 'port = 1000\nhost = "127.0.0.3"\nshards = 4')
    monkeypatch.setenv("TEGULA_PORT", "2000")
    monkeypatch.setenv("TEGULA_HOST", "127.0.0.2")
    settings = load_settings(folder, port=3000, shards=None)
    assert (settings.port, settings.host, settings.shards) == (3000, "127.0.0.2", 4)


def test_settings_tables_are_parts_of_names(tmp_path):
    text = '[kafka]\nbootstrap = "b:9092"\n[kafka.options]\n"security.protocol" = "SSL"'
    settings = load_settings(project(tmp_path, text))
    assert settings.kafka_bootstrap == "b:9092"
    assert settings.kafka_options == {"security.protocol": "SSL"}


def test_settings_report_every_fault_with_its_place(tmp_path, monkeypatch):
    folder = project(tmp_path, 'prot = 1\nshards = 0\nserver_processes = "two"')
    monkeypatch.setenv("TEGULA_KEYS_MAX", "-1")
    with pytest.raises(SettingsError) as caught:
        load_settings(folder, port=70000)
    text = str(caught.value)
    for part in ("`prot` (`port`?)", "`shards`", "`server_processes`", "TEGULA_KEYS_MAX", "--port"):
        assert part in text
    assert "\n" not in text


def test_settings_never_show_a_secret(tmp_path):
    folder = project(tmp_path, 'registry_url = "postgresql://u:hunter2@h/d"\nkafka_options = 7')
    with pytest.raises(SettingsError) as caught:
        load_settings(folder)
    assert "7" not in caught.value.message
    folder = project(tmp_path, 'registry_url = "postgresql://u:hunter2@h/d"')
    assert "hunter2" not in repr(load_settings(folder))


def test_settings_refuse_what_is_not_toml(tmp_path):
    with pytest.raises(SettingsError, match=r"not TOML.*line 1"):
        load_settings(project(tmp_path, "port: 6180"))


def test_settings_url_is_one_that_can_be_called(tmp_path):
    folder = project(tmp_path)
    assert load_settings(folder, host="0.0.0.0").url == "http://127.0.0.1:6180"
    assert load_settings(folder, host="::1").url == "http://[::1]:6180"
    assert load_settings(folder, server_url="http://far:1/").url == "http://far:1"


def test_project_is_found_from_a_folder_inside_it(tmp_path):
    (tmp_path / "features").mkdir()
    assert find_project(project(tmp_path) / "features") == tmp_path


def test_project_missing_says_how_to_make_one(tmp_path):
    with pytest.raises(ProjectMissing, match="tegula init"):
        load_settings(tmp_path)
