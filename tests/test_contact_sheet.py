"""The contact sheet: nothing stretched, cut or covered, even margins, no side beyond the largest."""

import numpy as np
import pytest

from nst_tf.io.contact_sheet import (
    CAPTION_GAP_PX, LARGEST_SHEET_PX, LINE_PX, MARGIN_PX, SMALLEST_CELL_PX, Tile, contact_sheet, plan_grid,
)
from nst_tf.io.images import quantize
from nst_tf.vocabulary import UserError

from .conftest import make_picture


def test_pictures_stand_unchanged_on_their_captions() -> None:
    # Odd, and the second one narrower and lower than its cell; none has a white pixel.
    sizes = [(17, 23), (11, 9), (17, 23), (16, 23)]
    pictures = [np.minimum(make_picture(*size, seed), 0.9) for seed, size in enumerate(sizes)]
    sheet = quantize(contact_sheet([Tile(picture, ("Ågy", "second line")) for picture in pictures], (23, 17)))
    grid = plan_grid(4, (23, 17), 2)
    assert (grid.columns, grid.rows, sheet.shape) == (2, 2, (*grid.size_px[::-1], 3))
    rest = sheet.copy()
    for index, picture in enumerate(pictures):
        left, top = grid.caption_at(index)
        height, width = picture.shape[:2]
        np.testing.assert_array_equal(sheet[top - height:top, left:left + width], quantize(picture))
        rest[top - height:top, left:left + width] = 255
        caption = rest[top + 1:top + CAPTION_GAP_PX + 2 * LINE_PX, left:left + SMALLEST_CELL_PX]
        assert caption.min() < 100, "a caption is there, and not below the picture's edge"
        caption[:] = 255
    assert (rest == 255).all(), "nothing lies outside the pictures and the places of their captions"


def test_margins_are_even() -> None:
    # Black pictures as wide as their cells: the white around them is the margin.
    sheet = contact_sheet([Tile(np.zeros((150, 230, 3), np.float32), ("",))] * 4, (230, 150))
    columns = np.flatnonzero(sheet[MARGIN_PX + 75, :, 0] == 0)
    gaps = np.diff(columns)[np.diff(columns) > 1] - 1
    assert columns[0] == MARGIN_PX and sheet.shape[1] - 1 - columns[-1] == MARGIN_PX and set(gaps) == {MARGIN_PX}
    assert np.flatnonzero(sheet[:, MARGIN_PX + 5, 0] == 0)[0] == MARGIN_PX


@pytest.mark.parametrize("tiles, size_px", [(1, (5000, 17)), (10, (2048, 1365)), (7, (400, 4000)), (300, (23, 17))])
def test_no_side_is_too_long_and_nothing_is_stretched(tiles: int, size_px: tuple[int, int]) -> None:
    grid = plan_grid(tiles, size_px, 4)
    assert max(grid.size_px) <= LARGEST_SHEET_PX and grid.columns * grid.rows >= tiles
    assert grid.picture_px[0] <= size_px[0] and grid.picture_px[1] <= size_px[1]
    if min(grid.picture_px) > 20:
        assert grid.picture_px[0] / grid.picture_px[1] == pytest.approx(size_px[0] / size_px[1], rel=0.05)


def test_a_sheet_has_room_for_so_many() -> None:
    assert max(plan_grid(684, (23, 17), 4).size_px) <= LARGEST_SHEET_PX
    with pytest.raises(UserError, match="685 pictures do not fit on a sheet of 4096 px"):
        plan_grid(685, (23, 17), 4)


def test_a_large_picture_is_shrunk_with_its_aspect() -> None:
    sheet = contact_sheet([Tile(np.zeros((170, 460, 3), np.float32), ()), Tile(np.zeros((90, 30, 3), np.float32), ())],
                          (230, 60))
    dark = np.argwhere(sheet[..., 0] == 0)
    left = plan_grid(2, (230, 60), 0).caption_at(1)[0]
    first = dark[(dark[:, 1] < MARGIN_PX + 230) & (dark[:, 0] < MARGIN_PX + 60)]
    assert np.ptp(first, axis=0).tolist() == [59, 161] and left == MARGIN_PX
