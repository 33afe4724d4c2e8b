"""How well outside images are told from digits when attacked, by the strongest of several attacks, image by image.

Usage: python examples/worst_case.py [--tiny]
"""

import sys

import genat
from genat import detection, ranking, shipped, sources
from genat.evaluation.families import families

COUNT, STEPS, QUERIES = (4, 3, 5) if "--tiny" in sys.argv else (100, 100, 500)

run, digits = genat.load(shipped.folder("digits")), sources.digits("test")
inside = detection.logits(run.detector, digits.tensor())
for name, images in families(digits, n=COUNT).items():
    clean = ranking.auroc(inside, detection.logits(run.detector, images))
    attacked = genat.worst_case(run.detector, images, ball=genat.L2Ball(1.0), steps=STEPS, queries=QUERIES)
    print(f"{name}: AUROC {clean:.4f} clean, {ranking.auroc(inside, attacked.logits):.4f} attacked within L2 1")
