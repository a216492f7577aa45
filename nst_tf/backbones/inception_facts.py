"""The layers of Inception v3 (Szegedy et al. 2016) as a table. No TensorFlow.

`mixed0` … `mixed10` have these names in `keras.applications`; the convolutions before them are only numbered there, and
have the names of the authors' TensorFlow code here: `conv1a` … `conv4a`.
"""

from collections.abc import Iterator, Sequence

from nst_tf.backbones.facts import Operation, trace

# The convolutions before mixed0, in the order in which Keras makes their activations.
STEM = ("conv1a", "conv2a", "conv2b", "conv3b", "conv4a")

# (kernel, stride, padding) along one axis; a 1×7 and a 7×1 convolution together are one step of 7.
_Step = tuple[int, int, int]
_POOL: _Step = (3, 1, 1)
_HALVE: _Step = (3, 2, 0)
_BLOCKS: dict[str, tuple[int, Sequence[Sequence[_Step]]]] = {
    **{f"mixed{index}": (channels, ([(1, 1, 0)], [(5, 1, 2)], [(3, 1, 1), (3, 1, 1)], [_POOL]))
       for index, channels in enumerate((256, 288, 288))},
    "mixed3": (768, ([_HALVE], [(3, 1, 1), _HALVE], [_HALVE])),
    **{f"mixed{index}": (768, ([(1, 1, 0)], [(7, 1, 3)], [(7, 1, 3), (7, 1, 3)], [_POOL])) for index in range(4, 8)},
    "mixed8": (1280, ([_HALVE], [(7, 1, 3), _HALVE], [_HALVE])),
    **{f"mixed{index}": (2048, ([(1, 1, 0)], [(3, 1, 1)], [(3, 1, 1), (3, 1, 1)], [_POOL])) for index in (9, 10)},
}


def _operations() -> Iterator[Operation]:
    yield Operation("conv1a", 3, 2, 0, 32)
    yield Operation("conv2a", 3, 1, 0, 32)
    yield Operation("conv2b", 3, 1, 1, 64)
    yield Operation("", 3, 2, 0, 64)
    yield Operation("conv3b", 1, 1, 0, 80)
    yield Operation("conv4a", 3, 1, 0, 192)
    yield Operation("_pool", 3, 2, 0, 192)
    before = "_pool"
    for name, (channels, branches) in _BLOCKS.items():
        ends = []
        for branch, steps in enumerate(branches):
            for position, step in enumerate(steps):
                end = f"_{name}_{branch}_{position}"
                yield Operation(end, *step, channels, inputs=() if position else (before,))
            ends.append(end)
        yield Operation(name, 1, 1, 0, channels, inputs=tuple(ends))
        before = name


INCEPTION_V3 = tuple(_operations())
INCEPTION_V3_LAYERS = trace(INCEPTION_V3)
