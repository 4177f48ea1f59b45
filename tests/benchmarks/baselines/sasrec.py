"""SASRec in torch: a causal transformer over the items of a history in their order of time.

Source: Kang and McAuley 2018, Self-Attentive Sequential Recommendation; with a softmax over all items as in Klenitskiy
and Vasilev 2023, Turning Dross Into Gold Loss: is BERT4Rec really better than SASRec?
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from mmrec_lib.models.data import FitData, Floats, Ints
from tests.benchmarks.baselines.reference import Fits, Reference, Settings

_MAX_LENGTH = 50
_BATCH = 64
_CHECKPOINT_EPOCHS = 3


class SasRec(nn.Module):
    """Items' embeddings, a causal transformer, and the same embeddings as output."""

    def __init__(self, num_items: int, dim: int, dropout: float) -> None:
        super().__init__()
        self.items = nn.Embedding(num_items + 1, dim, padding_idx=num_items)
        self.places = nn.Embedding(_MAX_LENGTH, dim)
        nn.init.normal_(self.items.weight, std=0.05)
        nn.init.normal_(self.places.weight, std=0.05)
        layer = nn.TransformerEncoderLayer(dim, 2, 2 * dim, dropout, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, sequences_BL: Tensor) -> Tensor:
        """[B, L, D] states after each place; sequences are padded at their end with `num_items`."""
        length = sequences_BL.shape[1]
        states = self.dropout(self.items(sequences_BL) + self.places.weight[:length])
        later = torch.ones(length, length, dtype=torch.bool).triu(1)
        return self.norm(self.encoder(states, mask=later))

    def logits(self, states: Tensor) -> Tensor:
        """Scores over all items."""
        return states @ self.items.weight[:-1].T


def sequences_of(data: FitData) -> tuple[Ints, Ints]:
    """[U, L] the latest items of each user in their order of time, padded at the end with I, and [U] their numbers."""
    times, num_items = data.interactions.times, data.interactions.shape[1]
    lengths = np.minimum(np.diff(times.indptr), _MAX_LENGTH)
    sequences = np.full((len(lengths), max(int(lengths.max(initial=1)), 1)), num_items, dtype=np.int64)
    for user, length in enumerate(lengths.tolist()):
        own = slice(times.indptr[user], times.indptr[user + 1])
        order = np.argsort(times.data[own], kind="stable")[len(times.data[own]) - length :]
        sequences[user, :length] = times.indices[own][order]
    return sequences, lengths.astype(np.int64)


def sasrec(data: FitData, settings: Settings, seed: int) -> Fits:
    """Train on every next item; scores after each few epochs."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    sequences, lengths = sequences_of(data)
    num_items = data.interactions.shape[1]
    model = SasRec(num_items, int(settings["factors"]), settings["dropout"])
    optimizer = torch.optim.Adam(model.parameters(), lr=settings["learning_rate"])
    learned_from = np.flatnonzero(lengths > 1)
    for epoch in range(1, int(settings["epochs"]) + 1):
        model.train()
        for batch in np.array_split(rng.permutation(learned_from), -(-len(learned_from) // _BATCH)):
            items_BL = torch.from_numpy(sequences[batch])
            is_target = items_BL[:, 1:] != num_items
            states = model(items_BL[:, :-1])[is_target]
            loss = nn.functional.cross_entropy(model.logits(states), items_BL[:, 1:][is_target])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if epoch % _CHECKPOINT_EPOCHS == 0 or epoch == int(settings["epochs"]):
            states = _last_states(model, sequences, lengths)
            with torch.no_grad():
                items = model.items.weight[:-1].numpy().copy()
            yield {**settings, "epochs": epoch}, lambda users, states=states, items=items: states[users] @ items.T


@torch.no_grad()
def _last_states(model: SasRec, sequences: Ints, lengths: Ints) -> Floats:
    """[U, D] state after the last item of each user; that of padding for users without one."""
    model.eval()
    blocks = []
    for start in range(0, len(sequences), _BATCH):
        states = model(torch.from_numpy(sequences[start : start + _BATCH]))
        last = torch.from_numpy(np.maximum(lengths[start : start + _BATCH] - 1, 0))
        blocks.append(states[torch.arange(len(states)), last].numpy())
    return np.concatenate(blocks)


SASREC = Reference(
    "sasrec",
    {
        "factors": (64, 32),
        "learning_rate": (0.001, 0.003),
        "dropout": (0.3, 0.5, 0.1),
        "epochs": (15,),
    },
    sasrec,
    needs="times",
)
