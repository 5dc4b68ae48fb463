"""The table of settings: what each variable takes, and what happens to a wrong value."""

from __future__ import annotations

from pathlib import Path

import pytest
import sentry_sdk.utils

from settings import Settings, SettingsError, table, unknown_variables
from tests.settings_with import value_of

SECRET = ("SENTRY_DSN", "ANN_WEIGHTS_URL")  # credentials may be in them


def test_unset_and_empty_variables_mean_the_defaults() -> None:
    assert Settings.from_env({}) == Settings.from_env({"ANN_THREADS": "", "SENTRY_DSN": " "}) == Settings()


def test_every_variable_is_read() -> None:
    given = {
        "ANN_DATA_DIR": "/srv/ann",
        "ANN_BIND": "[::1]:80",
        "ANN_SEARCH_K": "5000",
        "ANN_WEIGHTS_URL": "http://[::1]:8000/weights/",
        "ANN_RELOAD_SECONDS": "0.5",
        "ANN_IMAGE_HOSTS": "Images.example.org, .example.net,",
        "ANN_ALLOW_PRIVATE_IMAGE_HOSTS": "Yes",
        "SENTRY_DSN": "https://key@sentry.example.org/1",
        "LOG_LEVEL": "debug",
    }
    settings = Settings.from_env(given)
    assert settings.store_path == Path("/srv/ann/efficientnet-b0.hdf5")
    assert settings.bind == "[::1]:80"
    assert settings.search_k == 5000
    assert settings.model.weights_url == "http://[::1]:8000/weights/"
    assert settings.reload_seconds == 0.5
    assert settings.images.hosts == {"images.example.org", ".example.net"}
    assert settings.images.allow_private_hosts
    assert settings.reports.sentry_dsn == "https://key@sentry.example.org/1"
    assert settings.log.level == "DEBUG"


@pytest.mark.parametrize("dsn", ["disabled", "Disabled", ""])
def test_sentry_can_be_disabled(dsn: str) -> None:
    assert Settings.from_env({"SENTRY_DSN": dsn}).reports.sentry_dsn is None


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ANN_BIND", "5501"),
        ("ANN_BIND", "host:port"),
        ("ANN_BIND", ":70000"),
        ("ANN_BIND", "::1:80"),
        ("ANN_DEFAULT_INDEX", "../other"),
        ("ANN_MODEL", ".hidden"),
        ("ANN_STORE_CAPACITY", "0"),
        ("ANN_STORE_CAPACITY", "1e6"),
        ("ANN_RELOAD_SECONDS", "0"),
        ("ANN_RELOAD_SECONDS", "nan"),
        ("ANN_RELOAD_SECONDS", "inf"),
        ("ANN_SEARCH_K", "-1"),
        ("ANN_THREADS", "1"),
        ("ANN_ALLOW_PRIVATE_IMAGE_HOSTS", "perhaps"),
        ("ANN_WEIGHTS_URL", "mirror.example"),
        ("ANN_WEIGHTS_URL", "ftp://mirror.example/"),
        ("ANN_WEIGHTS_URL", "https://user:secret@mirror.example"),
        ("ANN_WEIGHTS_URL", "https://mirror.example/weights?file="),
        ("ANN_IMAGE_HOSTS", "https://images.example.org"),
        ("ANN_IMAGE_HOSTS", "images.example.org:443"),
        ("ANN_IMAGE_HOSTS", "[1:2]"),
        ("ANN_IMAGE_HOSTS", "münchen.example"),
        ("SENTRY_DSN", "https://x"),
        ("SENTRY_DSN", "key"),
        ("SENTRY_DSN", "https://key@sentry.example.org:port/1"),
        ("SENTRY_DSN", "https://key@sentry.example.org:65536/1"),
        ("SENTRY_DSN", "https://:secret@sentry.example.org/1"),
        ("SENTRY_DSN", "https://key@sentry.example.org/project1"),
        ("ANN_USER_AGENT", "línea"),
        ("ANN_USER_AGENT", "two\r\nlines"),
        ("ANN_USER_AGENT", "x" * 300),
        ("ANN_LOG_FORMAT", "xml"),
        ("ANN_REVISION", "two words"),
        ("LOG_LEVEL", "LOUD"),
    ],
)
def test_wrong_value_names_the_variable_and_what_it_must_be(variable: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({variable: value})
    row = next(row for row in table() if row.metadata["variable"] == variable)
    shown = "..." if variable in SECRET else repr(value)
    assert str(caught.value) == f"{variable}={shown}: must be {row.metadata['takes']}"


def test_secrets_are_not_shown() -> None:
    settings = Settings.from_env({"SENTRY_DSN": "https://s3cret@sentry.example.org/1"})
    assert "s3cret" not in repr(settings)
    assert settings.reports.sentry_dsn is not None


def test_adds_must_leave_threads_to_the_queries() -> None:
    with pytest.raises(SettingsError, match=r"ANN_ADD_CONCURRENCY=8: .* ANN_THREADS=8"):
        Settings.from_env({"ANN_ADD_CONCURRENCY": "8", "ANN_THREADS": "8"})


@pytest.mark.parametrize(
    "of_tls",
    [
        {"ANN_MILVUS_CA": "ca.pem"},
        {"ANN_MILVUS_SERVER_NAME": "milvus.example.org"},
        {"ANN_MILVUS_CA": "ca.pem", "ANN_MILVUS_CERT": "own.pem", "ANN_MILVUS_KEY": "own.key"},
    ],
)
def test_tls_settings_require_an_address_with_tls(of_tls: dict[str, str]) -> None:
    """pymilvus would ignore them and send everything unencrypted."""
    with pytest.raises(SettingsError, match=r"ANN_MILVUS_URI='http://milvus:19530': must begin with https://"):
        Settings.from_env({**of_tls, "ANN_MILVUS_URI": "http://milvus:19530"})
    Settings.from_env({**of_tls, "ANN_MILVUS_URI": "https://milvus:19530"})


def test_unix_socket_is_an_address() -> None:
    assert Settings.from_env({"ANN_BIND": "unix:/run/ann.sock"}).bind == "unix:/run/ann.sock"


def test_misspelt_variable_is_told_with_the_nearest_name() -> None:
    of_compose = {"ANN_EXPOSE": "5501", "ANN_DATA_MOUNT_POINT": "./ann_data"}  # which hands its .env on
    environ = {"ANN_DATADIR": "x", "ANN_DATA_DIR": "x", "HOME": "x", "ANN_XYZZY": "x", **of_compose}
    assert unknown_variables(environ) == [
        "ANN_DATADIR is set, but there is no such setting; did you mean ANN_DATA_DIR?",
        "ANN_XYZZY is set, but there is no such setting",
    ]


def test_every_default_is_a_value_that_its_variable_may_have() -> None:
    """Except those that mean that nothing is set."""
    for row in table():
        if row.default is not None and row.default != frozenset():
            given = {row.metadata["variable"]: str(row.default)}
            assert value_of(Settings.from_env(given), row.metadata["variable"]) == row.default


def test_each_variable_is_read_by_one_setting() -> None:
    variables = [row.metadata["variable"] for row in table()]
    assert len(set(variables)) == len(variables)


@pytest.mark.parametrize(
    "dsn",
    [
        "https://key@sentry.example.org/1",
        "https://key:secret@sentry.example.org:9000/some/path/42",
        "http://key@[::1]:9000/1",
        "https://4f0c@o1.ingest.sentry.io/4507",
    ],
)
def test_a_dsn_that_is_taken_is_one_that_sentry_takes(dsn: str) -> None:
    assert Settings.from_env({"SENTRY_DSN": dsn}).reports.sentry_dsn == dsn
    assert sentry_sdk.utils.Dsn(dsn).public_key
