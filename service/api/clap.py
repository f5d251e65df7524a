"""Clap if fake: the page, its rounds and pictures, and what people answered. Rules and records: service/realism.py."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import FileResponse, JSONResponse, Response

from service.api.problems import documented
from service.api.state import State
from service.api.templates import render
from service.auth import AnyCaller
from service.errors import Problem
from service.realism import GAMES, PRACTICE, as_csv, rates

PAPER = {"rate": 0.323, "error": 0.022}
"""Zhang 2016, table 1: the full method, on ImageNet, with its standard error."""
CHOICES = ("first", "second")
_UNSTORED = {"Cache-Control": "no-store"}

router = APIRouter()


class RateView(BaseModel):
    """How often people took the photograph for the machine's."""

    name: str
    sha256: str = Field(description="Of the file with the net's weights")
    shown: int = Field(description="Answers")
    fooled: int = Field(description="Of these, wrong ones")
    rate: float = Field(description="The share of wrong ones, 0 to 1; 0.5 where nothing can be told")
    low: float = Field(description="Where Wilson's 95% interval of the rate begins")
    high: float = Field(description="Where it ends")


class PaperView(BaseModel):
    """The same of Zhang 2016's full method, by its table 1."""

    rate: float
    error: float = Field(description="Standard error, by bootstrap")


class RealismView(BaseModel):
    nets: list[RateView]
    paper: PaperView


@router.get(
    "/v1/realism",
    summary="How often the nets' colors have fooled people, by the game at /clap",
    operation_id="read_realism",
    response_model=RealismView,
    responses=documented("queue_unavailable"),
)
def realism(state: State, response: Response) -> RealismView:
    response.headers.update(_UNSTORED)
    nets = [
        RateView(
            name=net.name,
            sha256=net.net,
            shown=net.shown,
            fooled=net.fooled,
            rate=round(net.rate, 4),
            low=round(net.low, 4),
            high=round(net.high, 4),
        )
        for net in rates(state.realism.tallies())
    ]
    return RealismView(nets=nets, paper=PaperView(**PAPER))


@router.get("/clap", include_in_schema=False)
def page(request: Request, state: State) -> Response:
    pairs = state.realism.pairs
    about = {
        "games": pairs.games,
        "practice": PRACTICE,
        "pairs": pairs.most,
        "most_rounds": GAMES[-1],
        "terms": pairs.terms,
    }
    return render(request, "clap.html.j2", about)


@router.post("/clap/games", include_in_schema=False)
def begin(state: State, by: AnyCaller, rounds: int = 10) -> Response:
    """Rounds with their pictures, in the order in which they are shown; those of practice come before the number that was asked for."""
    begun = state.realism.begin(rounds, by.owner, by.address)
    shown = [{"token": one.token, "pictures": one.pictures, "practice": one.is_practice} for one in begun]
    return _answer({"rounds": shown})


@router.post("/clap/answers", include_in_schema=False)
def answer(
    state: State,
    token: Annotated[str, Query(max_length=100)],
    colored: Literal["first", "second"],
    fair: bool = True,
) -> Response:
    """Only now is told which was the machine's. `fair`: whether both were shown for a second."""
    found = state.realism.answer(token, CHOICES.index(colored), fair)
    return _answer({"colored": CHOICES[found.colored], "fooled": found.fooled, "counted": found.counted})


@router.get("/clap/pictures/{name}", include_in_schema=False)
def picture(name: str, state: State) -> Response:
    pairs = state.realism.pairs
    if name not in pairs.pictures:
        raise Problem("not_found")
    headers = {"Cache-Control": "public, max-age=86400, immutable", "X-Robots-Tag": "noimageindex"}
    return FileResponse(pairs.folder / name, media_type="image/jpeg", headers=headers)


@router.get("/clap/tallies.csv", include_in_schema=False)
def tallies(state: State) -> Response:
    return Response(as_csv(state.realism.tallies()), media_type="text/csv; charset=utf-8", headers=_UNSTORED)


def _answer(body: dict[str, Any]) -> Response:
    return JSONResponse(body, headers=_UNSTORED)
