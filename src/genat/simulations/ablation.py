"""What each part of unconstrained ascent with growing steps is good for: the same training with one part changed."""

from dataclasses import replace

from genat.simulations.trainers import Gat, Trainer


def families(base: Gat) -> dict[str, dict[str, Gat]]:
    """Return settings by family and label; each family's first is the recipe itself.

    Args:
        base: the recipe, unconstrained and with growing steps.

    Example:
        >>> [len(family) for family in families(Gat()).values()]
        [4, 4, 5, 4]
    """
    even = replace(base, shrink=(1.0, 1.0))
    return {
        "growth of the steps": {
            f"grow {base.first} to {base.last}": base,
            "20 from the start": replace(base, first=20, last=20),
            "40 from the start": replace(base, first=40, last=40),
            "5 from the start": replace(base, first=5, last=5),
        },
        "number of steps": {
            f"to {base.last}": base,
            "to 1": replace(base, first=1, last=1),
            "to 5": replace(base, last=5),
            "to 40": replace(base, last=40),
        },
        "size of the steps": {
            f"{base.step_size:g}, some shrinking": base,
            "0.3 throughout": replace(even, step_size=0.3),
            "0.1 throughout": replace(even, step_size=0.1),
            "0.02 throughout": replace(even, step_size=0.02),
            "0.005 throughout": replace(even, step_size=0.005),
        },
        "ball": {
            "none": base,
            "Linf 0.05": replace(base, norm="linf", radius=0.05),
            "Linf 0.2": replace(base, norm="linf", radius=0.2),
            "Linf 0.5": replace(base, norm="linf", radius=0.5),
        },
    }


def flat(settings: dict[str, dict[str, Gat]]) -> dict[str, Trainer]:
    """Return every different setting once, under the label a folder may have."""
    trainers: dict[str, Trainer] = {}
    for family, labels in settings.items():
        for label, setting in labels.items():
            if setting not in trainers.values():
                trainers[key(family, label)] = setting
    return trainers


def key(family: str, label: str) -> str:
    """Return a folder's name for a setting.

    Example:
        >>> key("size of the steps", "0.1, some shrinking")
        'size-of-the-steps-0.1-some-shrinking'
    """
    return f"{family} {label}".replace(",", "").replace(" ", "-")
