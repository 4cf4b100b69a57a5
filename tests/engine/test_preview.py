"""Live previews: the right pixels, seldom enough, and without a trace in what is learned."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from napari_autostructn2v.engine import events
from napari_autostructn2v.engine.config import Config, UNetConfig
from napari_autostructn2v.engine.data.normalise import Normalisation
from napari_autostructn2v.engine.data.sink import ArraySink
from napari_autostructn2v.engine.data.source import as_source
from napari_autostructn2v.engine.events import Place
from napari_autostructn2v.engine.networks.unet import UNet
from napari_autostructn2v.engine.pipeline import run
from napari_autostructn2v.engine.synthetic import sample
from napari_autostructn2v.engine.training import preview
from napari_autostructn2v.engine.training.preview import Previewer

STAGE = {"network": {"features": 4, "depth": 2}, "patch_size": 32, "batch_size": 4}
IMAGE = sample("nuclei", "horizontal", size=96, psnr=18.0).noisy.astype(np.float32)
PLACE = Place(0, 0, ((13, 70), (31, 90)))


def story(
    ask: Callable[[], Place | None] | None, image: Any = IMAGE, **more: Any
) -> tuple[list[events.Event], ArraySink]:
    sink = ArraySink(every_stage=True)
    values = {"budget": "60steps", "device": "cpu", "stage1": STAGE, "stage2": STAGE, **more}
    return list(run(image, Config.parse(values), sink=sink, preview=ask)), sink


def shown(events_: list[events.Event]) -> list[events.Preview]:
    return [event for event in events_ if isinstance(event, events.Preview)]


def test_a_preview_is_the_result_so_far() -> None:
    told, sink = story(lambda: PLACE)
    previews = shown(told)
    assert previews[0].step >= 10
    assert {p.stage for p in previews} == {"stage1", "stage2"}
    for stage in ("stage1", "stage2"):  # the last of a stage is what the stage then makes
        last = [p for p in previews if p.stage == stage][-1]
        assert last.place == PLACE
        assert last.image.dtype == np.float32
        assert not last.image.flags.writeable
        whole = sink.results[0, stage]
        np.testing.assert_allclose(last.image, whole[13:70, 31:90], rtol=1e-4)


def test_training_goes_the_same_way_with_previews(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preview, "_EVERY", 0.0)
    monkeypatch.setattr(preview, "_SHARE", 10.0)
    without, _ = story(None)
    told, _ = story(lambda: PLACE)
    assert len(shown(told)) > 2
    assert not shown(without)
    results = [list_[-1].model.denoise(IMAGE) for list_ in (without, told)]  # type: ignore[union-attr]
    assert np.array_equal(*results)


def test_previews_are_of_what_results_are_written_for() -> None:
    both = np.stack([IMAGE, IMAGE[::-1]])
    sink = ArraySink()
    values = {"budget": "8steps", "device": "cpu", "stage1": STAGE, "stage2": STAGE}
    ask = Place(1, 1, ((0, 50), (0, 40)))
    told = list(run(IMAGE, Config.parse(values), sink=sink, onto=[IMAGE, both],
                    preview=lambda: ask))  # fmt: skip
    assert shown(told)[-1].place == ask
    np.testing.assert_allclose(shown(told)[-1].image, sink.final[1][1, :50, :40], rtol=1e-4)


def test_only_the_channel_in_training_is_shown() -> None:
    stack = np.stack([IMAGE, IMAGE.T])
    told, _ = story(lambda: Place(0, 1, PLACE.region), stack, axes="CYX",
                    network_per_channel=True, run_stage2=False)  # fmt: skip
    first = next(i for i, e in enumerate(told) if isinstance(e, events.StageDone))
    assert not shown(told[:first])
    assert shown(told[first:])


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(preview, "time", made)
    return made


def previewer(ask: Callable[[], Place | None], size: tuple[int, int] = (40, 40)) -> Previewer:
    source = as_source(np.zeros(size, np.float32))
    stop = threading.Event()
    return Previewer(ask, [source], Normalisation((0.0,), (1.0,)), torch.device("cpu"), stop)


def network() -> UNet:
    return UNet(UNetConfig(features=4, depth=1))


@pytest.mark.parametrize("cost", [0.0, 0.1, 3.0])
def test_previews_come_every_two_seconds_or_take_a_tenth_of_the_time(
    clock: Clock, cost: float
) -> None:
    spent, count, net = 0.0, 0, network()

    def ask() -> Place:
        nonlocal spent
        clock.now += cost
        spent += cost
        return PLACE

    shows = previewer(ask)
    for step in range(1, 2001):
        clock.now += 0.1
        count += len(list(shows.look("stage1", step, net, None)))
    assert spent <= 0.12 * 200
    assert count == pytest.approx(min(100, 0.1 * (200 + spent) / max(cost, 1e-9)), abs=6)


def test_the_first_comes_after_a_handful_of_steps_and_one_at_the_end(clock: Clock) -> None:
    shows, net = previewer(lambda: PLACE), network()
    assert not list(shows.look("stage1", 3, net, None))
    assert list(shows.look("stage1", 10, net, None))
    assert not list(shows.look("stage1", 11, net, None))
    assert list(shows.look("stage1", 12, net, None, last=True))


def test_a_large_region_is_cut_to_its_middle_and_one_outside_is_not_shown(clock: Clock) -> None:
    net = network()

    def look(region: Any, size: tuple[int, int] = (600, 700)) -> list[events.Preview]:
        return list(previewer(lambda: Place(0, 0, region), size).look("stage1", 50, net, None))

    (one,) = look(((0, 600), (100, 700)))
    assert one.place.region == ((44, 556), (144, 656))
    assert one.image.shape == (512, 512)
    (one,) = look(((-30, 10), (650, 900)))
    assert one.place.region == ((0, 10), (650, 700))
    assert look(((700, 800), (0, 10))) == []
    assert look(((5, 5), (0, 10))) == []


def test_nothing_is_shown_after_a_stop_or_when_nothing_is_asked_for(clock: Clock) -> None:
    shows = previewer(lambda: PLACE)
    shows.stop.set()  # type: ignore[attr-defined]
    assert not list(shows.look("stage1", 50, network(), None, last=True))
    answers = iter([None, PLACE])
    shows = previewer(lambda: next(answers))
    assert not list(shows.look("stage1", 50, network(), None))
    clock.now += 2.1
    assert list(shows.look("stage1", 51, network(), None))
