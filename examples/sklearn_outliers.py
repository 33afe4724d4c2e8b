"""Outliers among the rows of a table, in scikit-learn's interface: benign tumours are learned, malignant ones refused.

Usage: python examples/sklearn_outliers.py [--tiny]
"""

import sys

from sklearn.datasets import load_breast_cancer
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

from genat.adapters.sklearn import SupportDetector

rows, benign = load_breast_cancer(return_X_y=True)
train, test = train_test_split(rows[benign == 1], random_state=0)
estimator = SupportDetector(iterations=20 if "--tiny" in sys.argv else 500, random_state=0).fit(train)
malignant = rows[benign == 0]
scores = [*estimator.score_samples(test), *estimator.score_samples(malignant)]
print(f"AUROC {roc_auc_score([1] * len(test) + [0] * len(malignant), scores):.3f}")
for name, others in (("benign", test), ("malignant", malignant)):
    print(f"{name}: {(estimator.predict(others) == -1).mean():.3f} called outlying")
