"""
The peers of the `implicit` library: ALS and BPR, for benchmarks/quality.py.

They are not in recommendations/evaluation, because the service does not install `implicit`.
"""

from __future__ import annotations

from dataclasses import dataclass

from implicit.als import AlternatingLeastSquares
from implicit.bpr import BayesianPersonalizedRanking
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from recommendations.contracts import Float64Array
from recommendations.evaluation.interactions import Interactions
from recommendations.evaluation.peers import CaseBatch, Scorer


@dataclass(frozen=True)
class Als:
    """
    Matrix factorization for implicit feedback by alternating least squares.

    Hu, Koren, Volinsky 2008, "Collaborative Filtering for Implicit Feedback Datasets". A like has the confidence
    1 + *alpha*. The factors of the member of a case are computed from the likes at the moment.
    """

    factors: int = 64
    regularization: float = 0.1
    alpha: float = 1.0
    iterations: int = 15
    seed: int = 0

    def fit(self, train: Interactions) -> Scorer:
        """See `Peer`."""
        model = AlternatingLeastSquares(
            factors=self.factors,
            regularization=self.regularization,
            alpha=self.alpha,
            iterations=self.iterations,
            random_state=self.seed,
            num_threads=1,
            use_gpu=False,
        )
        with threadpool_limits(1, "blas"):
            model.fit(csr_matrix(train.positive_matrix()), show_progress=False)

        def score(batch: CaseBatch) -> Float64Array:
            factors = model.recalculate_user(batch.members, csr_matrix(batch.likes))
            return (factors @ model.item_factors.T).astype(float)

        return score


@dataclass(frozen=True)
class Bpr:
    """
    Matrix factorization by Bayesian personalized ranking.

    Rendle et al. 2009, "BPR: Bayesian Personalized Ranking from Implicit Feedback". The factors of the member of a case
    are those of the training, because there is no closed form for a new member.
    """

    factors: int = 64
    learning_rate: float = 0.05
    regularization: float = 0.01
    iterations: int = 100
    seed: int = 0

    def fit(self, train: Interactions) -> Scorer:
        """See `Peer`."""
        model = BayesianPersonalizedRanking(
            factors=self.factors,
            learning_rate=self.learning_rate,
            regularization=self.regularization,
            iterations=self.iterations,
            random_state=self.seed,
            num_threads=1,
            use_gpu=False,
        )
        with threadpool_limits(1, "blas"):
            model.fit(csr_matrix(train.positive_matrix()), show_progress=False)
        return lambda batch: (model.user_factors[batch.members] @ model.item_factors.T).astype(float)
