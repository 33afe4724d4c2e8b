"""Train on a folder of images of one kind, then judge other images, each with a p-value.

Usage: python examples/own_folder.py FOLDER IMAGE... [--tiny]
"""

import sys
from pathlib import Path

from genat import config, runs


def main(folder: str, *images: str, tiny: bool) -> None:
    """Train into runs/NAME, and print a line for each image."""
    settings = config.load("images", ["data.kind=folder", f"data.path={folder}", f"name={Path(folder).name}"])
    run, _ = runs.train(config.tiny(settings) if tiny else settings, Path("runs") / settings.name, say=print)
    for one in run.detect(images):
        print(one)


if __name__ == "__main__":
    main(*(word for word in sys.argv[1:] if word != "--tiny"), tiny="--tiny" in sys.argv)
