"""Do probabilities mean what they say? Shape letters: N rows, K classes, B bins, R simulations."""

import numpy as np

from training.package.shapes import StoredModel

NUM_BINS = 15
NUM_SIMULATIONS = 200
SIMULATED_AT_A_TIME = 1 << 22  # 32 MB of random numbers
Z_95 = 1.959963984540054  # of the standard normal distribution, two-sided 95 %


class Bin(StoredModel):
    """Rows of nearly one probability: what was said, and what came."""

    num_rows: int
    said: float  # mean probability
    came: float  # share of rows where it was so
    low: float  # 95 % interval of that share
    high: float


class Calibration(StoredModel):
    """How far probabilities lie from what came."""

    about: str  # which probability: of the second of two classes, or of the answer given
    bins: tuple[Bin, ...]  # equally filled, by rising probability
    expected_error: float  # ECE: mean distance of what was said from what came, over rows
    chance: float  # what that stays below in 95 % of cases where every probability is right
    bias: float  # mean probability less the share that came: above 0 too sure


def calibration(
    probabilities_NK: np.ndarray, target_N: np.ndarray, labels: tuple[str, ...], seed: int = 0
) -> Calibration:
    """Of two classes the second's probability is judged, of more the highest one."""
    if len(labels) == 2:
        about, said_N, came_N = f"probability of {labels[1]}", probabilities_NK[:, 1], target_N == 1
    else:
        about, said_N = "highest probability", probabilities_NK.max(axis=1)
        came_N = probabilities_NK.argmax(axis=1) == target_N
    said_N, came_N = said_N.astype(np.float64), came_N.astype(np.float64)
    bins_N, num_bins = equal_bins(said_N)
    return Calibration(
        about=about,
        bins=tuple(_bin(said_N[bins_N == b], came_N[bins_N == b]) for b in range(num_bins)),
        expected_error=expected_calibration_error(said_N, came_N[None], bins_N, num_bins)[0],
        chance=_error_of_chance(said_N, bins_N, num_bins, seed),
        bias=float(said_N.mean() - came_N.mean()),
    )


def equal_bins(said_N: np.ndarray, num_bins: int = NUM_BINS) -> tuple[np.ndarray, int]:
    """The bin of each row, and how many bins there are: equally filled, equal values in one bin.

    Equally wide bins would be empty where no probability lies, and leave most rows of a rare class in one.
    """
    edges = np.unique(np.quantile(said_N, np.arange(1, num_bins) / num_bins, method="inverted_cdf"))
    edges = edges[edges < said_N.max()]
    return np.searchsorted(edges, said_N, side="left"), len(edges) + 1


def expected_calibration_error(
    said_N: np.ndarray, came_RN: np.ndarray, bins_N: np.ndarray, num_bins: int
) -> np.ndarray:
    """Mean over rows of the distance between mean probability and share that came in the row's bin (R,).

    Source: Naeini, Cooper and Hauskrecht, Obtaining well calibrated probabilities using Bayesian binning, AAAI 2015;
    with equally filled bins as in Nguyen and O'Connor, Posterior calibration and exploratory analysis, EMNLP 2015.
    """
    said_B = np.bincount(bins_N, said_N, minlength=num_bins)
    came_RB = np.stack([np.bincount(bins_N, came_N, minlength=num_bins) for came_N in came_RN])
    return np.abs(said_B - came_RB).sum(axis=1) / len(said_N)


def _error_of_chance(said_N: np.ndarray, bins_N: np.ndarray, num_bins: int, seed: int) -> float:
    """Even right probabilities miss by chance, the more the fewer rows there are.

    Source: consistency resampling; Broecker and Smith, Increasing the reliability of reliability diagrams, Weather and
    Forecasting 22 (2007).
    """
    rng = np.random.default_rng(seed)
    at_a_time = max(1, SIMULATED_AT_A_TIME // len(said_N))
    errors: list[np.ndarray] = []
    for start in range(0, NUM_SIMULATIONS, at_a_time):
        num = min(at_a_time, NUM_SIMULATIONS - start)
        came_RN = (rng.random((num, len(said_N))) < said_N).astype(np.float64)
        errors.append(expected_calibration_error(said_N, came_RN, bins_N, num_bins))
    return float(np.quantile(np.concatenate(errors), 0.95))


def _bin(said_N: np.ndarray, came_N: np.ndarray) -> Bin:
    low, high = wilson_interval(came_N.sum(), len(came_N))
    return Bin(num_rows=len(said_N), said=float(said_N.mean()), came=float(came_N.mean()), low=low, high=high)


def wilson_interval(num_hits: float, num_rows: int) -> tuple[float, float]:
    """95 % interval of a share, sound also at 0 and 1.

    Source: Wilson, Probable inference, the law of succession, and statistical inference, JASA 22 (1927).
    """
    share, z2 = num_hits / num_rows, Z_95**2
    middle = (share + z2 / (2 * num_rows)) / (1 + z2 / num_rows)
    half = Z_95 / (1 + z2 / num_rows) * np.sqrt(share * (1 - share) / num_rows + z2 / (4 * num_rows**2))
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))


class Decile(StoredModel):
    """A tenth of the rows, by rising prediction."""

    num_rows: int
    predicted: float  # mean
    came: float  # mean of the true values
    bias: float  # mean of prediction less truth
    rmse: float
    covered: float  # share of rows whose truth lies within the band around the prediction


class Residuals(StoredModel):
    """How a regression's predictions miss: truth less prediction."""

    quantiles: dict[str, float]  # "0.05" and so on
    band: tuple[float, float]  # quantiles of the residuals that hold 90 % of all rows
    deciles: tuple[Decile, ...]


def residuals(predicted_N: np.ndarray, target_N: np.ndarray) -> Residuals:
    """Quantiles of all residuals, and by tenths of the prediction how many rows the band of 90 % holds there.

    The band holds 90 % of all rows by its making; a tenth that it holds less of is predicted worse than the rest.
    """
    predicted_N, target_N = predicted_N.astype(np.float64), target_N.astype(np.float64)
    residual_N = target_N - predicted_N
    shares = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
    quantiles = dict(zip(map(str, shares), np.quantile(residual_N, shares).tolist(), strict=True))
    band = (quantiles["0.05"], quantiles["0.95"])
    is_covered_N = (residual_N >= band[0]) & (residual_N <= band[1])
    bins_N, num_bins = equal_bins(predicted_N, 10)
    return Residuals(
        quantiles=quantiles,
        band=band,
        deciles=tuple(_decile(predicted_N, target_N, is_covered_N, bins_N == b) for b in range(num_bins)),
    )


def _decile(predicted_N: np.ndarray, target_N: np.ndarray, is_covered_N: np.ndarray, is_in_N: np.ndarray) -> Decile:
    predicted, came = predicted_N[is_in_N], target_N[is_in_N]
    return Decile(
        num_rows=len(came), predicted=float(predicted.mean()), came=float(came.mean()),
        bias=float((predicted - came).mean()), rmse=float(np.sqrt(((predicted - came) ** 2).mean())),
        covered=float(is_covered_N[is_in_N].mean()),
    )  # fmt: skip
