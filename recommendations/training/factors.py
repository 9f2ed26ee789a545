"""
A member's factors by fold-in, given the factors of the posts.

Implicit-feedback matrix factorization (Hu, Koren and Volinsky 2008, "Collaborative filtering for implicit feedback
datasets") gives each post a vector y and each member a vector x, so that x·y predicts whether the member likes the
post. For fixed factors of the posts, the best x has a closed form:

    x = (Y'Y + Y'(C - I)Y + ridge · I)⁻¹ Y'C p,

where C is the diagonal of confidences, 1 + strength for a liked post and 1 for any other, and p is 1 for liked posts.
Y'Y is a constant of the model, so the cost depends on the number of the member's likes only.
"""

from __future__ import annotations

import numpy as np
from scipy import linalg

from recommendations.contracts import Float32Array, Float64Array


def compute_gram(factors: Float32Array) -> Float64Array:
    """Return Y'Y (d, d) for the factors Y (p, d) of the posts."""
    wide = factors.astype(np.float64)
    gram: Float64Array = wide.T @ wide
    return gram


def fold_in(gram: Float64Array, liked: Float32Array, strengths: Float32Array, *, ridge: float) -> Float32Array:
    """
    Return the factors (d,) of a member who liked posts with the factors *liked* (n, d), with *strengths* (n,) above 0.

    *gram* (d, d) is `compute_gram` of all posts. Zeros for a member without likes.
    """
    dimension = gram.shape[0]
    if not len(liked):
        return np.zeros(dimension, np.float32)
    wide, confidence = liked.astype(np.float64), strengths.astype(np.float64)
    system = gram + (wide.T * confidence) @ wide
    system[np.diag_indices(dimension)] += ridge
    solved = linalg.solve(system, wide.T @ (1 + confidence), assume_a="pos")
    return solved.astype(np.float32)
