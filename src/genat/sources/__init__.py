"""Where samples come from: target data, and the outside data that ascent starts from."""

from genat.sources.augment import Augment, Augmentation
from genat.sources.classes import ClassPart, one_against_rest
from genat.sources.datasets import digits, fashion_mnist, mnist, read_idx
from genat.sources.derived import Blurred, Inverted, Mixture, Rotated, ShuffledPatches
from genat.sources.emoji import emoji
from genat.sources.faces import lfw_faces
from genat.sources.files import fit_image, image_folder, load_image
from genat.sources.images import Images, LabelledSource
from genat.sources.outside import Box, ClassGaussians, Constant, DeadLeaves, Gradients, Noise
from genat.sources.photographs import Photographs
from genat.sources.rows import Near, Shuffled
from genat.sources.source import Samples, Source, as_source, describe
from genat.sources.tables import hugging_face, parquet
from genat.sources.toy import TOYS, Toy
from genat.sources.walking import Batch, Skipped, find_images, read_batches, walk

__all__ = [
    "TOYS",
    "Augment",
    "Augmentation",
    "Batch",
    "Blurred",
    "Box",
    "ClassGaussians",
    "ClassPart",
    "Constant",
    "DeadLeaves",
    "Gradients",
    "Images",
    "Inverted",
    "LabelledSource",
    "Mixture",
    "Near",
    "Noise",
    "Photographs",
    "Rotated",
    "Samples",
    "Shuffled",
    "ShuffledPatches",
    "Skipped",
    "Source",
    "Toy",
    "as_source",
    "describe",
    "digits",
    "emoji",
    "fashion_mnist",
    "find_images",
    "fit_image",
    "hugging_face",
    "image_folder",
    "lfw_faces",
    "load_image",
    "mnist",
    "one_against_rest",
    "parquet",
    "read_batches",
    "read_idx",
    "walk",
]
