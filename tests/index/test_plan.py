from __future__ import annotations

from index.plan import REDUCED_FROM, REDUCED_TREES, TREES, plan_index


def test_few_logos_get_a_full_index_and_many_a_reduced_one() -> None:
    few, many = plan_index(REDUCED_FROM - 1), plan_index(REDUCED_FROM)
    assert (few.reduce, few.trees) == (False, TREES)
    assert (many.reduce, many.trees) == (True, REDUCED_TREES)
    assert few.reason == f"a full index: {REDUCED_FROM - 1} logos are fewer than {REDUCED_FROM}; {TREES} trees"


def test_what_was_chosen_stays() -> None:
    plan = plan_index(5, trees=3, reduce=True)
    assert (plan.reduce, plan.trees, plan.reason) == (True, 3, "a reduced index: as asked for; 3 trees")
