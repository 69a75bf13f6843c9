import numpy as np

from opensapiens.drawing import draw_tags, person_color, side_by_side


def test_people_have_colors_of_their_own() -> None:
    colors = np.array([person_color(number) for number in range(1, 9)], float)
    apart = np.linalg.norm(colors[:, None] - colors[None], axis=-1)
    assert apart[~np.eye(8, dtype=bool)].min() > 40
    assert person_color(3) == person_color(3)


def test_a_tag_is_in_the_picture_whatever_the_box() -> None:
    image = np.zeros((90, 160, 3), np.uint8)
    for box in ([30, 40, 90, 80], [-20, -20, 20, 20], [150, 85, 400, 300]):
        drawn = draw_tags(image, [(12, np.array(box, float))])
        assert drawn.shape == image.shape and not image.any()
        assert (drawn == person_color(12)).all(axis=-1).sum() > 60, "a filled tag in the person's color"
    several = draw_tags(image, [(1, np.array([5, 30, 60, 80.0])), (2, np.array([80, 30, 150, 80.0]))])
    for number in (1, 2):
        assert (several == person_color(number)).all(axis=-1).any()


def test_panels_are_scaled_down_to_the_widest() -> None:
    panels = [np.full((40, 60, 3), value, np.uint8) for value in (10, 200)]
    row = side_by_side(panels, 120)
    assert row.shape == (40, 120, 3) and (row[:, :60] == 10).all() and (row[:, 60:] == 200).all()
    assert side_by_side(panels, 60).shape == (20, 60, 3)
