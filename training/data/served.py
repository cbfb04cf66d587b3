"""Held-out rows as a served model takes them."""

from collections.abc import Mapping

import numpy as np

from training.data.prepared import Prepared
from training.data.text_windows import token_counts
from training.package.transforms import FeatureEncoder, encoder_inputs


def as_served(prepared: Prepared) -> tuple[Mapping[str, np.ndarray], np.ndarray]:
    """Tensors of the test rows, and what `held_out_scores` compares the answers with.

    Those of the test part; but of a language model, which is trained on windows and served on whole texts, one row a
    text, and how many tokens and bytes each is judged by, (N, 2).
    """
    facts = prepared.facts
    if facts.task != "language_modelling":
        return prepared.test.tensors, prepared.test.target
    tensors = FeatureEncoder(facts.transforms)(encoder_inputs(prepared.test_rows, facts.inputs))
    return tensors, token_counts(tensors["tokens"])
