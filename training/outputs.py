"""What a model's output says, by task. Shape letters: B rows, K outputs or labels, L places of a text, V tokens."""

from torch import Tensor

from training.data.prepared import Facts

ROWS_AT_A_TIME = 4096  # of an evaluation
TOKENS_AT_A_TIME = 16_384  # of a language model's: each has a logit for every token of the vocabulary


def to_scores(output: Tensor, facts: Facts) -> Tensor:
    """What `Scores` takes.

    Args:
        output: of the model in evaluation mode: (B, K), or logits (B, L, V) of a language model.
        facts: the task, and a regression's scale.

    Returns:
        Probabilities (B, K) of classes, or of labels each by itself; predictions (B,) in the target's own unit; or
        the logits (B, L, V) as they are, in float32.
    """
    match facts.task:
        case "classification":
            return output.float().softmax(dim=1)
        case "multilabel":
            return output.float().sigmoid()
        case "language_modelling":
            return output.float()
    return output.float()[:, 0] * facts.target_scale + facts.target_mean


def evaluation_rows(facts: Facts) -> int:
    """Rows that are put through the model at a time in an evaluation: what a language model answers is large."""
    if facts.task != "language_modelling":
        return ROWS_AT_A_TIME
    return max(1, TOKENS_AT_A_TIME // facts.sequence_length)
