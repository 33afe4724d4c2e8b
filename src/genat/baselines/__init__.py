"""What a user would pick instead."""

from genat.baselines.classifier import Classifier, accuracy, energy_detector, train_classifier

__all__ = ["Classifier", "accuracy", "energy_detector", "train_classifier"]
