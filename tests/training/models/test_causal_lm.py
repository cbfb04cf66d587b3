"""The language model against its definition written out."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from training.models.causal_lm import CausalLm


def test_gpt2_has_its_number_of_weights() -> None:
    with torch.device("meta"):
        tied = CausalLm(50257, 1024, dim=768, layers=12, heads=12)
        free = CausalLm(50257, 1024, dim=768, layers=12, heads=12, tie_weights=False)
    assert sum(parameter.numel() for parameter in tied.parameters()) == 124_439_808
    assert sum(parameter.numel() for parameter in free.parameters()) == 124_439_808 + 50257 * 768


def test_it_starts_as_gpt2_does() -> None:
    torch.manual_seed(0)
    model = CausalLm(500, 64, dim=96, layers=8, heads=4)
    weights = dict(model.named_parameters())
    for name in ("token_embedding.weight", "place_embedding.weight", "blocks.3.ffn.into.weight"):
        assert weights[name].std().item() == pytest.approx(0.02, rel=0.05), name
    for name in ("blocks.3.ffn.out.weight", "blocks.3.attention.out.weight"):
        assert weights[name].std().item() == pytest.approx(0.02 / 4, rel=0.05), name  # sqrt(2 * 8 layers)
    assert all(not parameter.any() for name, parameter in weights.items() if name.endswith("bias"))
    loss = F.cross_entropy(model(torch.arange(60)[None]).flatten(0, 1), torch.arange(1, 61))
    assert loss.item() == pytest.approx(torch.tensor(500.0).log().item(), rel=0.02)  # it knows nothing yet


def written_out(model: CausalLm, tokens_BL: Tensor, heads: int) -> Tensor:
    """The same with a mask and a softmax, head by head."""
    length = tokens_BL.shape[1]
    hidden = model.token_embedding.weight[tokens_BL] + model.place_embedding.weight[:length]
    later = torch.ones(length, length).triu(1).bool()
    for block in model.blocks:
        normal = block.attention_norm(hidden)
        query, key, value = block.attention.query_key_value(normal).chunk(3, dim=2)
        seen = []
        for q, k, v in zip(*(part.chunk(heads, dim=2) for part in (query, key, value)), strict=True):
            score = (q @ k.transpose(1, 2) / q.shape[2] ** 0.5).masked_fill(later, float("-inf"))
            seen.append(score.softmax(dim=2) @ v)
        hidden = hidden + block.attention.out(torch.cat(seen, dim=2))
        inner = F.gelu(block.ffn.into(block.ffn_norm(hidden)), approximate="tanh")
        hidden = hidden + block.ffn.out(inner)
    return F.linear(model.norm(hidden), model.token_embedding.weight)


def test_it_is_what_its_definition_says() -> None:
    torch.manual_seed(0)
    model = CausalLm(17, 12, dim=16, layers=2, heads=4)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    tokens = torch.randint(0, 17, (3, 10))  # shorter sequences than `length` are taken
    torch.testing.assert_close(model(tokens), written_out(model, tokens, heads=4), atol=1e-5, rtol=1e-4)


def test_no_token_sees_a_later_one() -> None:
    torch.manual_seed(0)
    model = CausalLm(17, 12, dim=16, layers=2, heads=4).eval()
    tokens = torch.randint(0, 17, (2, 12))
    changed = tokens.clone()
    changed[:, 7:] = (changed[:, 7:] + 1) % 17
    before, after = model(tokens), model(changed)
    torch.testing.assert_close(before[:, :7], after[:, :7])
    assert not torch.allclose(before[:, 7:], after[:, 7:], atol=1e-4)


def test_it_learns_what_comes_next() -> None:
    torch.manual_seed(0)
    model = CausalLm(20, 16, dim=32, layers=2, heads=2, dropout=0.0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(150):
        start_B1, step_B1 = torch.randint(0, 20, (32, 1)), torch.randint(1, 4, (32, 1))
        sequence = (start_B1 + step_B1 * torch.arange(17)) % 20
        optimizer.zero_grad()
        loss = F.cross_entropy(model(sequence[:, :-1]).flatten(0, 1), sequence[:, 1:].flatten())
        loss.backward()
        optimizer.step()
    told = model(sequence[:, :-1]).argmax(dim=2)
    assert (told[:, 2:] == sequence[:, 3:]).float().mean() > 0.9  # from the step between the tokens before
