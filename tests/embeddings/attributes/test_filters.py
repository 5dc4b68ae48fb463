"""Filters are parsed, and answered from what is known for as long as nothing changes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from embeddings.attributes.attribute_store import AttributeStore
from embeddings.attributes.filters import Condition, parse_where
from embeddings.attributes.matching import MatchingLogos
from embeddings.errors import FilterError
from tests.properties import examples

keys = st.text("abz_09", max_size=5).map("k{}".format)
values = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=20)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AttributeStore]:
    with AttributeStore(tmp_path / "attributes") as store:
        yield store


def test_a_key_ends_at_its_first_colon_and_conditions_at_commas() -> None:
    assert parse_where("type:brand,server_type:off,value:en:organic") == (
        Condition("server_type", "off"),
        Condition("type", "brand"),
        Condition("value", "en:organic"),
    )


def test_commas_and_backslashes_in_a_value_are_escaped() -> None:
    assert parse_where(r"value:salt\, pepper\\,type:x") == (
        Condition("type", "x"),
        Condition("value", "salt, pepper\\"),
    )


@examples(50)
@given(st.dictionaries(keys, values, min_size=1, max_size=5))
def test_what_is_written_is_what_is_parsed(wanted: dict[str, str]) -> None:
    conditions = tuple(Condition(key, wanted[key]) for key in sorted(wanted))
    assert parse_where(",".join(map(str, reversed(conditions)))) == conditions


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("", "'' is not a condition; write key:value"),
        ("type:brand,", "'' is not a condition"),
        ("value:salt, pepper", r"' pepper' is not a condition; write key:value, and a comma in a value as \\,"),
        ("Type:brand", "'Type' is not a key: up to 32"),
        (":brand", "'' is not a key"),
        ("type:", "the value of type has 0 characters; it may have 1 to 256"),
        ("type:" + "a" * 257, "the value of type has 257 characters"),
        ("type:a\tb", r"a control character or line break at place 1 \('\\t'\)"),
        ("type:brand,type:label", "type is given twice"),
        ("type:brand,type:brand", "type is given twice"),
        (r"type:a\b", "a backslash before 'b'; only a comma or a backslash may follow it"),
        ("type:a\\", "a backslash before ''"),
        (",".join(f"k{number}:x" for number in range(17)), "17 conditions; a filter can have 16"),
    ],
)
def test_an_error_names_what_is_wrong(where: str, message: str) -> None:
    with pytest.raises(FilterError, match=f"where: .*{message}"):
        parse_where(where)


def test_all_conditions_must_hold(store: AttributeStore) -> None:
    store.merge({logo_id: {"even": str(logo_id % 2 == 0), "third": str(logo_id % 3)} for logo_id in range(1, 31)})
    matching = MatchingLogos(store)
    assert matching.ids(parse_where("even:True,third:0")).tolist() == [6, 12, 18, 24, 30]
    assert matching.ids(parse_where("even:True")).tolist() == [*range(2, 31, 2)]
    assert matching.ids(parse_where("even:True,third:7")).tolist() == []
    assert matching.ids(parse_where("even:True,absent:7")).tolist() == []


def test_the_same_array_is_returned_until_something_of_it_changes(store: AttributeStore) -> None:
    store.merge({1: {"a": "x", "b": "y"}, 2: {"a": "x"}})
    matching = MatchingLogos(store)
    one, both, none = parse_where("a:x"), parse_where("a:x,b:y"), parse_where("a:z")
    first = [matching.ids(wanted) for wanted in (one, both, none)]
    store.merge({3: {"a": "other"}})
    assert all(matching.ids(wanted) is ids for wanted, ids in zip((one, both, none), first, strict=True))
    store.merge({2: {"b": "y"}})
    assert matching.ids(one) is first[0]
    assert matching.ids(both).tolist() == [1, 2]
    store.merge({2: {"a": "z"}})
    assert [matching.ids(wanted).tolist() for wanted in (one, both, none)] == [[1], [1], [2]]
    with pytest.raises(ValueError, match="read-only"):
        first[0][0] = 5


def test_what_was_used_longest_ago_is_forgotten(store: AttributeStore) -> None:
    store.merge({logo_id: {"k": f"v{logo_id % 4}"} for logo_id in range(1, 41)})
    matching = MatchingLogos(store, max_ids=25)
    first = [matching.ids([Condition("k", f"v{number}")]) for number in range(3)]
    assert matching.ids([Condition("k", "v2")]) is first[2]
    assert matching.ids([Condition("k", "v1")]) is first[1]
    again = matching.ids([Condition("k", "v0")])
    assert again is not first[0]
    assert np.array_equal(again, first[0])


class MatchingMachine(RuleBasedStateMachine):
    """Holds matches, and the counts of the store, against a dict."""

    path: Path

    def __init__(self) -> None:
        super().__init__()
        self.path.unlink(missing_ok=True)
        self.store = AttributeStore(self.path)
        self.matching = MatchingLogos(self.store, max_ids=12)
        self.logos: dict[int, dict[str, str]] = {}

    @rule(
        changes=st.dictionaries(
            st.integers(1, 8),
            st.dictionaries(st.sampled_from("ab"), st.sampled_from(["x", "y", None]), max_size=2),
            max_size=4,
        )
    )
    def merge(self, changes: dict[int, dict[str, str | None]]) -> None:
        self.store.merge(changes)
        for logo_id, attributes in changes.items():
            merged = {**self.logos.get(logo_id, {}), **attributes}
            self.logos[logo_id] = {key: value for key, value in merged.items() if value is not None}

    @rule(logo_ids=st.sets(st.integers(1, 8), max_size=3))
    def drop(self, logo_ids: set[int]) -> None:
        self.store.drop(logo_ids)
        for logo_id in logo_ids:
            self.logos.pop(logo_id, None)

    @rule(wanted=st.sampled_from(["a:x", "a:y", "b:x", "a:x,b:x", "a:y,b:x"]))
    def look(self, wanted: str) -> None:
        conditions = parse_where(wanted)
        due = [
            logo_id
            for logo_id, attributes in sorted(self.logos.items())
            if all(attributes.get(condition.key) == condition.value for condition in conditions)
        ]
        assert self.matching.ids(conditions).tolist() == due

    @invariant()
    def the_store_holds_what_the_dict_holds(self) -> None:
        held = {logo_id: attributes for logo_id, attributes in self.logos.items() if attributes}
        assert dict(self.store.items()) == self.store.get(range(1, 9)) == held
        for key in "ab":
            due: dict[str, int] = {}
            for attributes in held.values():
                if key in attributes:
                    due[attributes[key]] = due.get(attributes[key], 0) + 1
            assert {count.value: count.logos for count in self.store.counts(key)} == due

    def teardown(self) -> None:
        self.store.close()


def test_matches_follow_every_change(tmp_path: Path) -> None:
    MatchingMachine.path = tmp_path / "attributes"
    run_state_machine_as_test(MatchingMachine, settings=examples(10, steps=25))
