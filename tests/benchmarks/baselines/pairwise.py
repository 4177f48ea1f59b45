"""Reference models of factors in torch, trained to rank what a user took above what the user did not take.

Loss: Rendle et al. 2009, BPR: Bayesian Personalized Ranking from Implicit Feedback. Every model gives all its vectors
in one forward pass, as catalogues of the benchmark are small.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy import sparse
from sklearn.utils.extmath import randomized_svd
from torch import Tensor, nn

from mmrec_lib.models.data import FitData
from mmrec_lib.models.sources.content import ContentFeatures
from tests.benchmarks.baselines.reference import Fits, Reference, Settings, Vectors

_BATCH = 16_384
_CONTENT_DIM = 64
_CHECKPOINTS = 5
_START = 0.1


class FactorModel(nn.Module):
    """A model of factors: `forward` gives vectors of users [U, D] and items [I, D], and biases of items [I]."""

    def forward(self) -> tuple[Tensor, Tensor, Tensor]:
        """All vectors."""
        raise NotImplementedError


def embedding(size: int, dim: int) -> nn.Parameter:
    """[size, dim] small random values."""
    return nn.Parameter(_START * torch.randn(size, dim))


class FactorisationMachine(FactorModel):
    """Second-order factorisation machine over ids, tokens of items and attributes of users.

    The sum over pairs of features of one user and one item is the product of both sums of vectors, plus pairs within
    the item; pairs within the user change no ranking.

    Source: Rendle 2010, Factorization Machines.
    """

    def __init__(self, data: FitData, dim: int) -> None:
        super().__init__()
        num_users, num_items = data.interactions.shape
        blocks = [content.matrix for content in data.contents.values() if content.kind == "sparse"]
        self.item_features = _tensor(sparse.hstack([sparse.eye_array(num_items), *blocks]))
        attributes = [_one_hot(values) for values in data.user_attributes.values()]
        self.user_features = _tensor(sparse.hstack([sparse.eye_array(num_users), *attributes]))
        self.item_factors = embedding(self.item_features.shape[1], dim)
        self.user_factors = embedding(self.user_features.shape[1], dim)
        self.item_weights = nn.Parameter(torch.zeros(self.item_features.shape[1], 1))

    def forward(self) -> tuple[Tensor, Tensor, Tensor]:
        items = self.item_features @ self.item_factors
        within = 0.5 * (items.square() - self.item_features @ self.item_factors.square()).sum(dim=1)
        biases = (self.item_features @ self.item_weights).squeeze(1) + within
        return self.user_features @ self.user_factors, items, biases


class Vbpr(FactorModel):
    """VBPR over the leading components of all content blocks: factors of ids, and factors projected from content.

    Source: He and McAuley 2016, VBPR: Visual Bayesian Personalized Ranking from Implicit Feedback.
    """

    def __init__(self, data: FitData, dim: int) -> None:
        super().__init__()
        num_users, num_items = data.interactions.shape
        rows = ContentFeatures.learn(data.contents).rows.values()
        blocks = sparse.hstack([sparse.csr_array(block) for block in rows], format="csr").astype(np.float64)
        left, values, _ = randomized_svd(blocks, min(_CONTENT_DIM, *blocks.shape), random_state=0)
        contents = left * values
        self.contents = torch.from_numpy(contents.astype(np.float32))
        self.user_factors, self.item_factors = embedding(num_users, dim), embedding(num_items, dim)
        self.user_tastes = embedding(num_users, dim)
        self.projection = embedding(contents.shape[1], dim)
        self.content_bias = nn.Parameter(torch.zeros(contents.shape[1]))
        self.item_bias = nn.Parameter(torch.zeros(num_items))

    def forward(self) -> tuple[Tensor, Tensor, Tensor]:
        users = torch.cat([self.user_factors, self.user_tastes], dim=1)
        items = torch.cat([self.item_factors, self.contents @ self.projection], dim=1)
        return users, items, self.item_bias + self.contents @ self.content_bias


class LightGcn(FactorModel):
    """LightGCN: the mean of a free embedding and its propagations over the graph of users and items.

    Source: He et al. 2020, LightGCN: Simplifying and Powering Graph Convolution Network for Recommendation.
    """

    def __init__(self, data: FitData, dim: int, num_layers: int = 3) -> None:
        super().__init__()
        self.num_users, num_items = data.interactions.shape
        matrix = (data.interactions.weights > 0).astype(np.float32)
        graph = sparse.block_array([[None, matrix], [matrix.T, None]], format="csr")
        scale = sparse.diags_array(1 / np.sqrt(np.maximum(np.asarray(graph.sum(axis=1)).ravel(), 1)))
        self.graph = _tensor(scale @ graph @ scale)
        self.nodes = embedding(self.num_users + num_items, dim)
        self.no_bias = torch.zeros(num_items)
        self.num_layers = num_layers

    def forward(self) -> tuple[Tensor, Tensor, Tensor]:
        layer = total = self.nodes
        for _ in range(self.num_layers):
            layer = self.graph @ layer
            total = total + layer
        mean = total / (self.num_layers + 1)
        return mean[: self.num_users], mean[self.num_users :], self.no_bias


def _tensor(matrix: sparse.sparray) -> Tensor:
    """A CSR tensor in float32."""
    csr = sparse.csr_array(matrix)
    parts = (torch.from_numpy(csr.indptr.astype(np.int64)), torch.from_numpy(csr.indices.astype(np.int64)))
    return torch.sparse_csr_tensor(
        *parts, torch.from_numpy(csr.data.astype(np.float32)), size=csr.shape, check_invariants=True
    )


def _one_hot(values: np.ndarray) -> sparse.csr_array:
    """[U, values] ones; an unknown value is an empty row."""
    known = np.array([value is not None for value in values], dtype=np.bool_)
    _, columns = np.unique(np.array([str(value) for value in values[known]]), return_inverse=True)
    rows = np.flatnonzero(known)
    shape = (len(values), int(columns.max(initial=-1)) + 1)
    return sparse.csr_array((np.ones(len(rows), dtype=np.float32), (rows, columns)), shape=shape)


def train_pairwise(model: FactorModel, data: FitData, settings: Settings, seed: int) -> Fits:
    """Train with one uniform negative a positive; scores after each fifth of the epochs."""
    rng = np.random.default_rng(seed)
    weights = data.interactions.weights
    rows = np.repeat(np.arange(weights.shape[0]), np.diff(weights.indptr))
    taken = np.sort(rows * weights.shape[1] + weights.indices)
    optimizer = torch.optim.Adam(model.parameters(), lr=settings["learning_rate"])
    epochs = int(settings["epochs"])
    for epoch in range(1, epochs + 1):
        for batch in np.array_split(rng.permutation(len(rows)), -(-len(rows) // _BATCH)):
            negatives = rng.integers(weights.shape[1], size=len(batch))
            pairs = rows[batch] * weights.shape[1] + negatives
            unseen = torch.from_numpy(taken[np.searchsorted(taken[:-1], pairs)] != pairs).float()
            users, items, biases = model()
            u_BD = users[rows[batch]]
            i_BD, j_BD = items[weights.indices[batch]], items[negatives]
            margin_B = (u_BD * (i_BD - j_BD)).sum(dim=1) + biases[weights.indices[batch]] - biases[negatives]
            norms_B = (u_BD.square() + i_BD.square() + j_BD.square()).sum(dim=1)
            losses_B = settings["regularization"] * norms_B - nn.functional.logsigmoid(margin_B)
            optimizer.zero_grad()
            (losses_B * unseen).mean().backward()
            optimizer.step()
        if epoch % max(epochs // _CHECKPOINTS, 1) == 0 or epoch == epochs:
            with torch.no_grad():
                vectors = [tensor.numpy().copy() for tensor in model()]
            yield {**settings, "epochs": epoch}, Vectors(*vectors).scores


def _reference(name: str, model: Callable[[FitData, int], FactorModel], needs: str | None = None) -> Reference:
    def fits(data: FitData, settings: Settings, seed: int) -> Fits:
        torch.manual_seed(seed)
        yield from train_pairwise(model(data, int(settings["factors"])), data, settings, seed)

    grids = {
        "factors": (64, 32),
        "learning_rate": (0.01, 0.003, 0.03),
        "regularization": (0.003, 0.0003, 0.03),
        "epochs": (40,),
    }
    return Reference(name, grids, fits, needs=needs)


FACTORISATION_MACHINE = _reference("factorisation_machine", FactorisationMachine)
VBPR = _reference("vbpr", Vbpr, needs="contents")
LIGHT_GCN = _reference("lightgcn", LightGcn)
