"""What more rows would bring: error = floor + amount * rows ** -exponent, fitted to measured sizes.

Error is the score itself where lower is better, and 1 less it where higher is. Shape letters: S sizes, D draws,
C exponents.
"""

from collections.abc import Sequence

import numpy as np

from training.evaluation.curve import Point
from training.metric_names import Mode
from training.package.shapes import StoredModel

MIN_SIZES = 4  # one more than the law has numbers of its own
MIN_BACKTEST_SIZES = 5
NUM_DRAWS = 1000
EXPONENTS_C = np.geomspace(0.03, 3.0, 400)  # 1.2 % apart, far finer than noise lets them be told
MAX_MISFIT = 4.0  # mean squared distance from the law, in variances of the points, that is still taken for chance
MAX_BACKTEST_MISS = 3.0  # in standard deviations


class PowerLaw(StoredModel):
    """The law, and what it says of twice the rows. Draws tell how far noise of the points could move it.

    Source of the form: Cortes, Jackel, Solla, Vapnik and Denker, Learning curves: asymptotic values and rate of
    convergence, NIPS 1993; Hestness and others, Deep learning scaling is predictable, empirically, arXiv 1712.00409.
    """

    floor: float  # error that no number of rows removes; below 0 where the sizes are too small to show one
    amount: float  # error at the largest size that rows can remove
    exponent: float
    largest: int  # rows of the largest size
    gain: float  # fall of the error when the rows are doubled
    gain_low: float  # 95 % interval over the draws
    gain_high: float
    sizes: tuple[int, ...]  # where the law is drawn: measured sizes, and up to twice the largest
    errors: tuple[float, ...]
    errors_low: tuple[float, ...]
    errors_high: tuple[float, ...]
    doubts: tuple[str, ...]  # why not to trust it; empty where nothing speaks against it


def as_error(score: float, mode: Mode) -> float:
    """A score as an error, which is better when lower; and an error as a score."""
    return 1 - score if mode == "max" else score


def fit_power_law(points: Sequence[Point], mode: Mode, seed: int = 0) -> PowerLaw | None:
    """The law by weighted least squares, and its uncertainty by drawing the points anew; None for too few sizes."""
    if len(points) < MIN_SIZES:
        return None
    rows_S = np.array([point.num_rows for point in points], dtype=float)
    error_S = np.array([as_error(point.validation.mean, mode) for point in points])
    noise_S, is_known = _noise(points)
    law = _fit(rows_S, error_S[None], noise_S)
    residual_S = error_S - _errors(law, rows_S, rows_S[-1])[0]
    if not is_known:
        noise_S = np.full(len(points), _residual_noise(residual_S))
    misfit = float(((residual_S / noise_S) ** 2).sum() / (len(points) - MIN_SIZES + 1))
    drawn = _draws(law, rows_S, noise_S * max(1.0, misfit) ** 0.5, points, seed)
    gain_D = _gain(drawn)
    sizes_S = np.union1d(np.geomspace(rows_S[0], 2 * rows_S[-1], 60).round(), rows_S[-1])
    band_2S = np.quantile(_errors(drawn, sizes_S, rows_S[-1]), [0.025, 0.975], axis=0)
    low, high = np.quantile(gain_D, [0.025, 0.975])
    return PowerLaw(
        floor=float(law[0, 0]), amount=float(law[0, 1]), exponent=float(law[0, 2]), largest=int(rows_S[-1]),
        gain=float(_gain(law)[0]), gain_low=float(low), gain_high=float(high),
        sizes=tuple(sizes_S.astype(int).tolist()), errors=tuple(_errors(law, sizes_S, rows_S[-1])[0].tolist()),
        errors_low=tuple(band_2S[0].tolist()), errors_high=tuple(band_2S[1].tolist()),
        doubts=_doubts(points, is_known, misfit, _backtest(rows_S, error_S, noise_S, mode)),
    )  # fmt: skip


def _noise(points: Sequence[Point]) -> tuple[np.ndarray, bool]:
    """Standard error of each mean (S,), and whether repeats tell it.

    Few repeats tell little of one size's own spread, so half of it is that of all sizes.
    """
    freedom_S = np.array([point.num_repeats - 1 for point in points])
    if not freedom_S.sum():
        return np.ones(len(points)), False
    variance_S = np.array([(point.validation.deviation or 0.0) ** 2 for point in points])
    pooled = (freedom_S * variance_S).sum() / freedom_S.sum()
    mixed_S = np.where(freedom_S > 0, (variance_S + pooled) / 2, pooled)
    # Repeats that agree to the last digit, as of a model without chance, would weigh infinitely.
    smallest = 1e-9 * max(abs(point.validation.mean) for point in points) + 1e-12
    return np.maximum(np.sqrt(mixed_S / (freedom_S + 1)), smallest), True


def _residual_noise(residual_S: np.ndarray) -> float:
    return float(np.sqrt((residual_S**2).sum() / (len(residual_S) - MIN_SIZES + 1))) or 1e-12


def _fit(rows_S: np.ndarray, error_DS: np.ndarray, noise_S: np.ndarray) -> np.ndarray:
    """Floor, amount and exponent of each draw (D, 3): linear least squares at every exponent, and the best of them.

    The floor is not held above 0: where the sizes do not reach it, that would bend the law just where it is asked.
    """
    weight_S = noise_S**-2 / (noise_S**-2).sum()
    x_CS = (rows_S / rows_S[-1]) ** -EXPONENTS_C[:, None]
    mean_x_C, mean_y_D = x_CS @ weight_S, error_DS @ weight_S
    centred_CS = x_CS - mean_x_C[:, None]
    variance_C = centred_CS**2 @ weight_S
    shared_DC = ((error_DS - mean_y_D[:, None]) * weight_S) @ centred_CS.T
    best_D = (shared_DC**2 / variance_C).argmax(axis=1)  # what is left of the squares is least there
    amount_D = shared_DC[np.arange(len(error_DS)), best_D] / variance_C[best_D]
    return np.stack([mean_y_D - amount_D * mean_x_C[best_D], amount_D, EXPONENTS_C[best_D]], axis=1)


def _errors(law_D3: np.ndarray, rows_S: np.ndarray, largest: float) -> np.ndarray:
    """Errors (D, S) that laws give."""
    floor_D, amount_D, exponent_D = law_D3.T[..., None]
    errors_DS: np.ndarray = floor_D + amount_D * (rows_S / largest) ** -exponent_D
    return errors_DS


def _gain(law_D3: np.ndarray) -> np.ndarray:
    gain_D: np.ndarray = law_D3[:, 1] * (1 - 2 ** -law_D3[:, 2])
    return gain_D


def _draws(law: np.ndarray, rows_S: np.ndarray, noise_S: np.ndarray, points: Sequence[Point], seed: int) -> np.ndarray:
    """Laws (D, 3) fitted to points drawn around the law; with heavy tails, since noise is known from few repeats."""
    freedom = max(1, sum(point.num_repeats - 1 for point in points) or len(points) - MIN_SIZES + 1)
    rng = np.random.default_rng(seed)
    deviate_DS = rng.standard_t(freedom, (NUM_DRAWS, len(rows_S)))
    return _fit(rows_S, _errors(law, rows_S, rows_S[-1]) + deviate_DS * noise_S, noise_S)


def _backtest(rows_S: np.ndarray, error_S: np.ndarray, noise_S: np.ndarray, mode: Mode) -> str:
    """Would the smaller sizes have told the largest? What is wrong where they would not."""
    if len(rows_S) < MIN_BACKTEST_SIZES:
        return ""
    earlier = rows_S[:-1]
    law = _fit(earlier, error_S[None, :-1], noise_S[:-1])
    rng = np.random.default_rng(0)
    drawn_DS = _errors(law, earlier, earlier[-1]) + rng.standard_normal((NUM_DRAWS, len(earlier))) * noise_S[:-1]
    told_D = _errors(_fit(earlier, drawn_DS, noise_S[:-1]), rows_S[-1:], earlier[-1])[:, 0]
    told = float(_errors(law, rows_S[-1:], earlier[-1])[0, 0])
    reach = float(np.hypot(told_D.std(), noise_S[-1]))
    if abs(told - error_S[-1]) <= MAX_BACKTEST_MISS * reach:
        return ""
    was, measured = as_error(told, mode), as_error(float(error_S[-1]), mode)
    return f"from the smaller sizes alone it would have told {was:.4f} for all rows, where {measured:.4f} was measured"


def _doubts(points: Sequence[Point], is_known: bool, misfit: float, backtest: str) -> tuple[str, ...]:
    doubts = [backtest] if backtest else []
    if not is_known:
        doubts.append("each size was trained once, so the noise of the points is a guess: --repeats 3")
    elif misfit > MAX_MISFIT:
        doubts.append("the points lie further from the law than their noise explains")
    if len(points) < MIN_BACKTEST_SIZES:
        doubts.append(f"{len(points)} sizes are too few to test it: --points 6")
    return tuple(doubts)
