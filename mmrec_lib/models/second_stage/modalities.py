"""Forms of feature-level fusion: an item's content blocks become one vector, missing ones masked.

Shape letters: N items, B content blocks, D dimensions of a block, M dimensions of the fused vector.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmrec_lib.models.second_stage_settings import FusionForm

_RANK = 4
_HEADS = 2


class Fuser(nn.Module):
    """Base of the forms: blocks [N, B, D] and where they are there [N, B] → [N, M].

    An item without any block gets a vector that is the same for all such items.
    """

    def __init__(self, num_blocks: int, dim: int, fused_dim: int) -> None:
        """Make the projections of all blocks."""
        super().__init__()
        self.project = nn.Parameter(torch.empty(num_blocks, dim, fused_dim))
        nn.init.normal_(self.project, std=dim**-0.5)

    def tokens(self, blocks: Tensor, has: Tensor) -> Tensor:
        """[N, B, M] each block projected; zeros where missing."""
        return torch.einsum("nbd,bdm->nbm", blocks, self.project) * has[:, :, None]


class WeightedSum(Fuser):
    """Sum of the projected blocks, one learned weight a block."""

    def __init__(self, num_blocks: int, dim: int, fused_dim: int) -> None:
        """Start with equal weights."""
        super().__init__(num_blocks, dim, fused_dim)
        self.weight = nn.Parameter(torch.ones(num_blocks))

    def forward(self, blocks: Tensor, has: Tensor) -> Tensor:
        """Fused vectors [N, M]."""
        return torch.einsum("nbm,b->nm", self.tokens(blocks, has), self.weight)


class GatedAttention(Fuser):
    """Attention over the blocks that are there, by a gate of each (Ilse et al. 2018, without the sigmoid branch)."""

    def __init__(self, num_blocks: int, dim: int, fused_dim: int) -> None:
        """Start with equal gates."""
        super().__init__(num_blocks, dim, fused_dim)
        self.gate = nn.Parameter(torch.zeros(num_blocks, fused_dim))
        self.bias = nn.Parameter(torch.zeros(num_blocks))

    def forward(self, blocks: Tensor, has: Tensor) -> Tensor:
        """Fused vectors [N, M]."""
        tokens = self.tokens(blocks, has)
        logits = (torch.tanh(tokens) * self.gate).sum(dim=2) + self.bias
        attention = torch.softmax(logits.masked_fill(~has, -1e9), dim=1) * has
        return torch.einsum("nb,nbm->nm", attention, tokens)


class Concatenation(Fuser):
    """A layer over the concatenated blocks and the marks of which are there."""

    def __init__(self, num_blocks: int, dim: int, fused_dim: int) -> None:
        """Make the layers."""
        super().__init__(num_blocks, dim, fused_dim)
        self.marks = nn.Linear(num_blocks, fused_dim)
        self.out = nn.Linear(fused_dim, fused_dim)

    def forward(self, blocks: Tensor, has: Tensor) -> Tensor:
        """Fused vectors [N, M]."""
        hidden = self.tokens(blocks, has).sum(dim=1) + self.marks(has.to(blocks.dtype))
        fused: Tensor = self.out(nn.functional.silu(hidden))
        return fused


class LowRank(Fuser):
    """Low-rank multilinear fusion (Liu et al. 2018): products of the blocks' projections, a missing one counting 1."""

    def __init__(self, num_blocks: int, dim: int, fused_dim: int) -> None:
        """Make one projection a rank."""
        super().__init__(num_blocks, dim, _RANK * fused_dim)
        self.one = nn.Parameter(torch.ones(num_blocks, _RANK * fused_dim))

    def forward(self, blocks: Tensor, has: Tensor) -> Tensor:
        """Fused vectors [N, M]."""
        product = (self.tokens(blocks, has) + self.one).prod(dim=1)
        fused: Tensor = product.view(len(product), _RANK, -1).sum(dim=1)
        return fused


class TokenTransformer(Fuser):
    """A transformer layer over the blocks as tokens, averaged over those that are there."""

    def __init__(self, num_blocks: int, dim: int, fused_dim: int) -> None:
        """Make the layer and one embedding a block."""
        super().__init__(num_blocks, dim, fused_dim)
        self.kind = nn.Parameter(torch.randn(num_blocks, fused_dim) * 0.1)
        self.layer = nn.TransformerEncoderLayer(fused_dim, _HEADS, 2 * fused_dim, dropout=0.0, batch_first=True)

    def forward(self, blocks: Tensor, has: Tensor) -> Tensor:
        """Fused vectors [N, M]."""
        # A token of nothing for items without any block, which else attend to none.
        nothing = ~has.any(dim=1, keepdim=True)
        hidden = self.layer(self.tokens(blocks, has) + self.kind, src_key_padding_mask=~(has | nothing))
        fused: Tensor = (hidden * has[:, :, None]).sum(dim=1) / has.sum(dim=1, keepdim=True).clamp(min=1)
        return fused


class Recurrent(Fuser):
    """A gated recurrent unit (Cho et al. 2014) that reads the blocks in their order and passes over missing ones."""

    def __init__(self, num_blocks: int, dim: int, fused_dim: int) -> None:
        """Make the cell and one embedding a block."""
        super().__init__(num_blocks, dim, fused_dim)
        self.kind = nn.Parameter(torch.randn(num_blocks, fused_dim) * 0.1)
        self.cell = nn.GRUCell(fused_dim, fused_dim)

    def forward(self, blocks: Tensor, has: Tensor) -> Tensor:
        """Fused vectors [N, M]."""
        tokens = self.tokens(blocks, has) + self.kind
        state = tokens.new_zeros(len(tokens), tokens.shape[2])
        for place in range(tokens.shape[1]):
            state = torch.where(has[:, place, None], self.cell(tokens[:, place], state), state)
        return state


FORMS: dict[FusionForm, type[Fuser]] = {
    "gated": GatedAttention,
    "concatenation": Concatenation,
    "sum": WeightedSum,
    "low_rank": LowRank,
    "transformer": TokenTransformer,
    "recurrent": Recurrent,
}
