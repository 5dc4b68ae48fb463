"""Whatever a variable of the environment holds, it is a value or one line that names the variable."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from settings import Settings, SettingsError, table
from tests.properties import examples
from tests.settings_with import value_of

VARIABLES = [row.metadata["variable"] for row in table()]

numbers = st.one_of(
    st.integers(-(10**30), 10**30).map(str),
    st.floats().map(str),
    st.sampled_from(["1" * 5000, "1_000", "٣", "²", "0x10", "1e400", "+7", "-0", "infinity", "nan"]),
)
hosts = st.lists(st.text("abc09.-_:[]%*@/ü ", max_size=12) | st.ip_addresses().map(str), max_size=4).map(",".join)
addresses = st.builds(
    "{}://{}{}{}".format,
    st.sampled_from(["http", "https", "ftp", "", "HTTP"]),
    st.sampled_from(["", "user@", "user:secret@", "@"]),
    hosts,
    st.sampled_from(["", "/", "/1", ":80/1", ":99999999999/", "/a b", "/a?b", "#"]),
)
values = st.one_of(st.text(max_size=30), numbers, hosts, addresses, hosts.map("unix:{}".format))


@pytest.mark.parametrize("variable", VARIABLES)
def test_any_text_is_a_value_or_an_error_that_names_the_variable(variable: str) -> None:
    row = next(row for row in table() if row.metadata["variable"] == variable)

    @examples(12)
    @given(values)
    def any_text(text: str) -> None:
        try:
            value = value_of(Settings.from_env({variable: text}), variable)
        except SettingsError as error:
            assert variable in str(error)
            assert "\n" not in str(error)
        else:
            assert type(value) in (type(row.default), str, int) or row.default is None or value is None
            assert not isinstance(value, float) or 0 < value < float("inf")

    any_text()


@examples(100)
@given(st.dictionaries(st.sampled_from([*VARIABLES, "ANN_OTHER", "PATH"]), values))
def test_any_environment_is_a_table_or_one_error(environ: dict[str, str]) -> None:
    try:
        settings = Settings.from_env(environ)
    except SettingsError as error:
        assert any(variable in str(error) for variable in environ)
    else:
        assert settings.workers.add_concurrency < settings.workers.threads
        assert 0 < settings.reload_seconds < float("inf")
        assert settings.images.max_pixels > 0
