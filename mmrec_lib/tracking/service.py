"""Lists over HTTP: a small FastAPI application around a registered model, as an example to start from.

    MMREC_MODEL=models:/mmrec_ranker@champion MMREC_RULES=<folder> uvicorn --factory mmrec_lib.tracking.service:app

`MLFLOW_TRACKING_URI` says where MLflow is. The folder of rules may be left out; see docs/outputs.md.
"""

from __future__ import annotations

import os
from datetime import datetime
from typing import Any, Literal

import mlflow
import pandas as pd
from fastapi import FastAPI, HTTPException
from pydantic import Field

from mmrec_lib.errors import ModelError
from mmrec_lib.models.ranker.shown import RULES_KEY
from mmrec_lib.section import Section

_ERROR = "MmrecError"


class RecentEvent(Section):
    """An item that the user turned to lately.

    Attributes:
        item_id: The item.
        weight: How much it says about liking the item.
        ts: When it happened; null where unknown.
    """

    item_id: str
    weight: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    ts: datetime | None = None


class UserControl(Section):
    """A wish of the user; see docs/rules.md.

    Attributes:
        action: Block, mute, less or boost.
        target_kind: Kind of the target.
        target: Item id or name.
        strength: What less and boost take and add; null is the default of the rules.
    """

    action: Literal["block", "mute", "less", "boost"]
    target_kind: Literal["item", "category", "brand"]
    target: str
    strength: float | None = Field(default=None, gt=0, allow_inf_nan=False)


class ListContext(Section):
    """Context of the request, as far as it is known; see docs/ranker.md.

    Attributes:
        time: When the list is shown.
        market: Market in place of the user's own.
        device: Device that shows it.
        search: Words of the user's last search.
    """

    time: datetime | None = None
    market: str | None = None
    device: str | None = None
    search: str | None = None


class ListRequest(Section):
    """A user as the application meets one.

    Attributes:
        events: Recent events; none for a user who is new.
        attributes: Attributes of the user by name.
        controls: Wishes of the user.
        candidates: Items to order; null for the whole catalogue less the events.
        context: Context of the request.
        k: Length of the list; of candidates all are in it.
    """

    events: tuple[RecentEvent, ...] = ()
    attributes: dict[str, str | float | bool | None] = Field(default_factory=dict)
    controls: tuple[UserControl, ...] = ()
    candidates: tuple[str, ...] | None = Field(default=None, max_length=10_000)
    context: ListContext = ListContext()
    k: int = Field(default=10, ge=1, le=1_000)


class RecommendedItem(Section):
    """An item of the list.

    Attributes:
        item_id: The item.
        score: Its score.
    """

    item_id: str
    score: float


def create_app(model_uri: str, rules_folder: str | None = None) -> FastAPI:
    """An application that answers `POST /lists` with the list of one user.

    Args:
        model_uri: Model in MLflow, such as `models:/mmrec_ranker@champion`.
        rules_folder: Rules that `ItemRules.save` wrote; None shows everything to everybody.

    Raises:
        ModelError: When rules are asked of a model that was registered before models took some.
    """
    model: Any = mlflow.pyfunc.load_model(model_uri, model_config={RULES_KEY: rules_folder})
    # MLflow only warns of keys that a model does not have.
    if rules_folder is not None and (model.model_config or {}).get(RULES_KEY) != rules_folder:
        raise ModelError(
            f"model {model_uri}: a model that takes rules is needed, but it was registered before models did. Run "
            "train_ranker, evaluate_ranker and promote_ranker, or serve it without rules."
        )
    application = FastAPI(title="mmrec")

    @application.post("/lists")
    def lists(request: ListRequest) -> list[RecommendedItem]:
        """The best items for a user, best first."""
        row = {
            "item_ids": [event.item_id for event in request.events],
            "weights": [event.weight for event in request.events],
            "times": [event.ts for event in request.events],
            "attributes": request.attributes,
            "controls": [control.model_dump() for control in request.controls],
            "candidates": request.candidates,
            "context": request.context.model_dump(exclude_none=True) or None,
        }
        try:
            found = model.predict(pd.DataFrame([row]), params={"k": request.k})
        except Exception as error:
            # The model brings its own code, and so an error class of its own.
            if _ERROR in (base.__name__ for base in type(error).__mro__):
                raise HTTPException(422, str(error)) from error
            raise
        answer = zip(found["item_ids"][0], found["scores"][0], strict=True)
        return [RecommendedItem(item_id=item_id, score=score) for item_id, score in answer]

    return application


def app() -> FastAPI:
    """The application of the environment's model and rules, for `uvicorn --factory`."""
    return create_app(os.environ["MMREC_MODEL"], os.environ.get("MMREC_RULES"))
