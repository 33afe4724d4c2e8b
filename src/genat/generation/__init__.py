"""Climbing the logit to make images: from seeds, from any image, within a mask, between two, under several detectors.

Every verb climbs in padded chunks of one size: a result is a function of its own seed, image and mask alone, to the
last bit on one machine. Every verb takes the keywords of `Climbing`.
"""

from genat.generation.chunks import Climbing, climb_in_chunks
from genat.generation.composing import compose, one_of
from genat.generation.editing import denoise, edit, inpaint, transform
from genat.generation.masks import box_mask, load_mask
from genat.generation.sampling import Rejection, Samples, draw_starts, interpolate, sample

__all__ = [
    "Climbing",
    "Rejection",
    "Samples",
    "box_mask",
    "climb_in_chunks",
    "compose",
    "denoise",
    "draw_starts",
    "edit",
    "inpaint",
    "interpolate",
    "load_mask",
    "one_of",
    "sample",
    "transform",
]
