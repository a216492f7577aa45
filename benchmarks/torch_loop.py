"""A style transfer loop in PyTorch, written anew to compare with: VGG19 by hand, random weights, channels-last.

One size, Gram matrices and a content layer, Adam from the photo, clipped to [0, 1]. `step_time` runs this file by path,
in a Python that has torch, and asks it for steps by lines on stdin.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

# Convolutions and channels of each block, as far as the content layer, the second of the last block.
BLOCKS = ((2, 64), (2, 128), (4, 256), (4, 512), (2, 512))
CONTENT_WEIGHT, STYLE_WEIGHT, LEARNING_RATE = 1.0, 1e3, 0.02
WARM_UP_STEPS = 2


def features_of(dtype: Any) -> Callable[[Any], tuple[list[Any], Any]]:
    """picture [1, 3, H, W] → (the first convolution of each block, the content layer), behind ReLU."""
    import torch

    torch.manual_seed(0)
    blocks, depth = [], 3
    for convolutions, channels in BLOCKS:
        filters = [torch.nn.Conv2d(depth if index == 0 else channels, channels, 3, padding=1)
                   for index in range(convolutions)]
        depth = channels
        blocks.append([one.to(dtype=dtype, memory_format=torch.channels_last).requires_grad_(False) for one in filters])
    pool = torch.nn.MaxPool2d(2)

    def features(picture: Any) -> tuple[list[Any], Any]:
        styles, x = [], picture.to(dtype)
        for index, filters in enumerate(blocks):
            x = torch.relu(filters[0](pool(x) if index else x))
            styles.append(x)
            for one in filters[1:]:
                x = torch.relu(one(x))
        return styles, x

    return features


def stepper(content: str, style: str, precision: str) -> Callable[[], None]:
    """What takes one step from the photo and waits for its end."""
    import torch

    photo, painting = (
        torch.from_numpy(np.asarray(Image.open(path).convert("RGB"), np.float32).transpose(2, 0, 1)[None] / 255)
        .contiguous(memory_format=torch.channels_last) for path in (content, style))
    features = features_of(getattr(torch, precision))

    def gram(x: Any) -> Any:
        rows = x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])
        return (rows.T @ rows).float() / rows.shape[0]

    with torch.no_grad():
        wanted, grams = features(photo)[1], [gram(x) for x in features(painting)[0]]
    image = photo.clone(memory_format=torch.channels_last).requires_grad_(True)
    optimizer = torch.optim.Adam([image], lr=LEARNING_RATE)

    def take_step() -> None:
        optimizer.zero_grad()
        styles, found = features(image)
        distances = torch.stack([torch.mean((gram(x) - target) ** 2) for x, target in zip(styles, grams)])
        loss = CONTENT_WEIGHT * torch.mean((found - wanted).float() ** 2) + STYLE_WEIGHT * torch.mean(distances)
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            image.clamp_(0, 1)
        if not np.isfinite(loss.item()):
            raise ArithmeticError("the loss of the PyTorch loop is not finite")

    return take_step


def answer_turns(threads: int, **settings: str) -> None:
    """Says its version, then, for each line of stdin, the seconds of a step."""
    import torch

    torch.set_num_threads(threads)
    take_step = stepper(**settings)
    for _ in range(WARM_UP_STEPS):
        take_step()
    print(json.dumps(torch.__version__), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        take_step()
        print(json.dumps(time.perf_counter() - start), flush=True)


if __name__ == "__main__":
    answer_turns(os.cpu_count() or 1, **json.loads(sys.argv[1]))
