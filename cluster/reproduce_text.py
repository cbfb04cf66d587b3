"""A reproduction as text."""

from cluster.reproduce import Reproduction
from training.event_text import counted
from training.reproduce import Comparison

SHOWN = 12  # characters of a digest


def reproduction_text(found: Reproduction) -> str:
    """The verdict, what was compared, what may have made the difference, where the new run is."""
    compared = found.comparison
    lines = [f"{name:<10} {text}" for name, text in _facts(found, compared) if text]
    if compared.causes:
        lines += [
            "",
            "what may have made the difference, the likeliest first:",
            *(f"  {each}" for each in compared.causes),
        ]
    return "\n".join(lines)


def _facts(found: Reproduction, compared: Comparison) -> list[tuple[str, str]]:
    return [
        ("run", found.run),
        ("verdict", _verdict(compared)),
        ("weights", _weights(compared)),
        ("scores", _scores(compared)),
        ("best epoch", _pair(*compared.best_epoch)),
        ("new run", found.again if found.is_kept else ""),
    ]


def _verdict(compared: Comparison) -> str:
    match compared.verdict:
        case "bit-equal":
            return "bit-equal"
        case "equal within tolerance":
            return f"equal within {compared.tolerance:g}"
        case "different":
            return "different"


def _weights(compared: Comparison) -> str:
    then, now = (digest[:SHOWN] for digest in compared.digest)
    if compared.digest[0] == compared.digest[1]:
        return f"the same bits (sha256 {then})"
    if compared.largest_difference is None:
        return compared.where
    return f"sha256 {then} then, {now} now; largest difference {compared.largest_difference:.3g} in {compared.where}"


def _scores(compared: Comparison) -> str:
    then, now = compared.num_epochs
    epochs = counted(then, "epoch") if then == now else f"{counted(then, 'epoch')} then, {now} now"
    if not compared.first_difference:
        return f"the same bits in all of {epochs}"
    worst = f"largest difference {compared.largest_score_difference:.3g}"
    return f"{epochs}; first difference in {compared.first_difference}; {worst}"


def _pair(then: int, now: int) -> str:
    return str(then) if then == now else f"{then} then, {now} now"
