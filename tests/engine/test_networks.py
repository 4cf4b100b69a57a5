"""Another kind of network is its options, its class and an entry: then everything works with it."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
from torch import Tensor, nn

from napari_autostructn2v.engine.config import Config, NetworkOptions, UNetConfig
from napari_autostructn2v.engine.data.sink import ArraySink
from napari_autostructn2v.engine.denoising import consume
from napari_autostructn2v.engine.networks import registry
from napari_autostructn2v.engine.networks.network import Footprint, Network
from napari_autostructn2v.engine.pipeline import run
from napari_autostructn2v.engine.synthetic import sample


class TwoLayersConfig(NetworkOptions):
    kind: Literal["two layers"] = "two layers"
    width: int = 3


class TwoLayers(Network):
    def __init__(self, options: TwoLayersConfig) -> None:
        super().__init__()
        self.options = options
        convolutions = nn.Conv2d(1, options.width, 5), nn.Conv2d(options.width, 1, 3)
        self.layers = nn.Sequential(nn.ReflectionPad2d(3), *convolutions)

    @property
    def footprint(self) -> Footprint:
        return Footprint(halo=3, stride=1, bytes_per_pixel=4 * 4 * 3)

    def forward(self, image: Tensor) -> Tensor:
        result: Tensor = self.layers(image)
        return result


# The union of the config does not have the kind, as it would in earnest.
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_another_kind_is_trained_and_tiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.BUILDERS, "two layers", TwoLayers)
    values: dict[str, Any] = {"patch_size": 16, "batch_size": 4}
    config = Config.parse({"budget": "8steps", "device": "cpu", "stage1": values, "stage2": values})
    stages = {
        name: settings.model_copy(update={"network": TwoLayersConfig()})
        for name, settings in config.stages.items()
    }
    config = config.model_copy(update=stages)
    image = sample("nuclei", "horizontal", size=96, psnr=18.0).noisy
    results = []
    for tile in (16, 96):
        sink = ArraySink()
        done = consume(run(image, config.model_copy(update={"tile": tile}), sink=sink))
        results.append(sink.final[0])
    assert isinstance(done.model.units[0].network("stage2"), TwoLayers)
    np.testing.assert_allclose(*results, rtol=1e-6)


@pytest.mark.parametrize(
    "options", [UNetConfig(), UNetConfig(features=8, depth=4, batch_norm=True)]
)
def test_a_sketch_has_the_layout_of_the_network_and_no_memory(options: UNetConfig) -> None:
    sketch = registry.sketch(options)
    assert all(parameter.is_meta for parameter in sketch.parameters())
    layouts = [
        {name: value.shape for name, value in network.state_dict().items()}
        for network in (registry.build(options), sketch)
    ]
    assert layouts[0] == layouts[1]


@pytest.mark.parametrize("network", [{"features": 8}, {"kind": "unet", "features": 8}, {}])
def test_settings_without_a_kind_are_of_a_unet(network: dict[str, Any]) -> None:
    config = Config.parse({"stage1": {"network": network}})
    assert config.stage1.network == UNetConfig(**network)
    assert Config.model_validate_json(config.model_dump_json()) == config
