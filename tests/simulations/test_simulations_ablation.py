"""The ablation: one part changed at a time, each setting trained once."""

from collections import Counter
from dataclasses import asdict

import pytest

from genat.simulations.ablation import families, flat, key
from genat.simulations.trainers import Gat

BASE = Gat(iterations=123, hidden=(8,))
PARTS = {
    "growth of the steps": {"first", "last"},
    "number of steps": {"first", "last"},
    "size of the steps": {"step_size", "shrink"},
    "ball": {"norm", "radius"},
}


def changed(setting: Gat) -> set[str]:
    base = asdict(BASE)
    return {name for name, value in asdict(setting).items() if value != base[name]}


def test_each_familys_first_is_the_recipe_and_the_others_change_one_part() -> None:
    made = families(BASE)
    assert made.keys() == PARTS.keys()
    for family, settings in made.items():
        first, *others = settings.values()
        assert first == BASE
        assert all(changed(setting) and changed(setting) <= PARTS[family] for setting in others)
        assert len(set(others)) == len(others)


def test_what_is_wrong_with_each() -> None:
    made = families(Gat())
    growth = list(made["growth of the steps"].values())[1:]
    assert all(setting.first == setting.last for setting in growth)  # no growth at all
    numbers = [setting.last for setting in made["number of steps"].values()]
    assert min(numbers) == 1
    assert max(numbers) > Gat().last
    recipe, *others = made["size of the steps"].values()
    sizes = [setting.step_size for setting in others]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > recipe.step_size > sizes[-1]
    assert {setting.shrink for setting in others} == {(1.0, 1.0)}
    radii = [setting.radius for setting in made["ball"].values()]
    assert radii == [None, 0.05, 0.2, 0.5]


def test_labels_say_what_the_recipe_is() -> None:
    made = families(Gat(first=2, last=7, step_size=0.25))
    assert [next(iter(settings)) for settings in made.values()] == [
        "grow 2 to 7", "to 7", "0.25, some shrinking", "none"
    ]  # fmt: skip


def test_every_setting_is_trained_once_and_can_be_found_again() -> None:
    made = families(BASE)
    once = flat(made)
    wanted = [setting for settings in made.values() for setting in settings.values()]
    assert Counter(once.values()).most_common(1)[0][1] == 1
    assert set(once.values()) == set(wanted)
    assert len(once) == len(wanted) - 3  # the recipe stands in all four families
    assert once["growth-of-the-steps-grow-1-to-20"] == BASE


@pytest.mark.parametrize("name", flat(families(Gat())))
def test_a_name_can_be_a_folder(name: str) -> None:
    assert not set(name) & set(' /\\,:*?"<>|')
    assert not name.startswith(".")


def test_key() -> None:
    assert key("ball", "Linf 0.05") == "ball-Linf-0.05"
