"""SqueezeNet 1.1 with ImageNet weights from plain arrays.

Iandola et al., SqueezeNet (2016), version 1.1: 227 x 227 input, blue first, bytes
minus the mean; convolution and pooling without padding, as the weights' source has it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from napari_dip.prior.features import Preprocess

MEAN = (104.006, 116.669, 122.679)
SIZE = (227, 227)
PREPROCESS = {"mean": MEAN, "size": SIZE, "scale": 255.0, "order": "bgr"}
"""Keywords for `invert_features` and `maximize_activation`."""

SQUEEZE = {2: 16, 3: 16, 4: 32, 5: 32, 6: 48, 7: 48, 8: 64, 9: 64}
EXPAND = {2: 64, 3: 64, 4: 128, 5: 128, 6: 192, 7: 192, 8: 256, 9: 256}


class Fire(nn.Module):
    def __init__(self, inputs: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze1x1 = nn.Conv2d(inputs, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.squeeze1x1(x))
        return F.relu(torch.cat([self.expand1x1(x), self.expand3x3(x)], 1))


class SqueezeNet(nn.Module):
    """Its `logits` layer gives (1, 1000) before the softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, stride=2)
        inputs = 64
        for n, expand in EXPAND.items():
            setattr(self, f"fire{n}", Fire(inputs, SQUEEZE[n], expand))
            inputs = 2 * expand
        self.conv10 = nn.Conv2d(inputs, 1000, 1)
        self.logits = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv1(x))
        for n in EXPAND:
            if n in (2, 4, 6):
                x = F.max_pool2d(x, 3, 2)
            x = getattr(self, f"fire{n}")(x)
        x = F.relu(self.conv10(x))
        logits: Tensor = self.logits(x.mean((2, 3)))
        return logits


def load(folder: Path) -> SqueezeNet:
    """Return the network with the weights of ``squeezenet1.1_imagenet.npz``."""
    model = SqueezeNet()
    state = {}
    with np.load(folder / "squeezenet1.1_imagenet.npz") as stored:
        for name in stored.files:
            array = torch.from_numpy(stored[name])
            if name.endswith("kernel_hwio"):
                name = name.replace("kernel_hwio", "weight")
                array = array.permute(3, 2, 0, 1)
            state[name] = array
    model.load_state_dict(state)
    return model.eval()


def top(
    model: nn.Module, image: NDArray[Any], names: list[str]
) -> tuple[int, str, float]:
    """Return number, name and probability of the class of an image in [0, 1]."""
    see = Preprocess(MEAN, None, SIZE, 255.0, True)
    values = np.ascontiguousarray(np.moveaxis(image, -1, 0), np.float32)
    with torch.no_grad():
        p = model(see(torch.from_numpy(values)[None])).softmax(1)[0]
    number = int(p.argmax())
    return number, names[number], float(p[number])


def class_names(folder: Path) -> list[str]:
    """Return the names of the thousand classes."""
    named = json.loads((folder / "imagenet1000_clsid_to_human.json").read_text())
    return [named[str(i)] for i in range(1000)] if isinstance(named, dict) else named
