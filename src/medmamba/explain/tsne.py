"""t-SNE (van der Maaten and Hinton 2008) by scikit-learn, safe for few images and repeatable."""

from __future__ import annotations

import numpy as np

from medmamba.errors import InputError

PERPLEXITY = 30.0  # of the 5 to 50 that its authors give
FEWEST = 3  # images; two points have no arrangement


def perplexity_for(n: int) -> float:
    """Perplexity for n images: 30, or as much less as lets each image have three times as many neighbours; at least 1.

    Raises:
        InputError: There are fewer than three images.
    """
    if n < FEWEST:
        raise InputError(
            f"t-SNE was asked to arrange {n} of the {FEWEST} images or more that it needs; give more images"
        )
    return max(1.0, min(PERPLEXITY, (n - 1) / 3))


def arrange(values: np.ndarray, perplexity: float, seed: int) -> tuple[np.ndarray, float]:
    """Features in two dimensions, started from their two principal components.

    It runs on one processor: the order of sums, and after a thousand steps the picture, would depend on their number.

    Args:
        values: Features, (n, d), at least three, not all the same.
        perplexity: From `perplexity_for`.
        seed: The same seed gives the same points.

    Returns:
        Points (n, 2), float32, and the Kullback-Leibler divergence that is left, 0 or more; lower fits better.
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits  # comes with scikit-learn

    with threadpool_limits(limits=1):
        model = TSNE(perplexity=perplexity, init="pca", learning_rate="auto", random_state=seed)
        points = model.fit_transform(values)
    return points, float(model.kl_divergence_)
