import numpy as np

from opensapiens.geometry.location import location_in_picture, moved_picture, whole_picture


def test_a_picture_lies_in_the_middle_of_itself_and_a_corner_half_a_diagonal_away() -> None:
    np.testing.assert_allclose(location_in_picture(whole_picture((30, 40)), (30, 40)), 0)
    corner = moved_picture(whole_picture((30, 40)), np.array([[1.0, 0, -35], [0, 1, -25]]))  # its last 5 x 5 pixels
    np.testing.assert_allclose(location_in_picture(corner, (5, 5)), [17.5 / 50, 12.5 / 50], atol=1e-6)


def test_a_zoomed_crop_lies_where_it_did_and_a_turned_one_along_its_own_axes() -> None:
    zoomed = moved_picture(whole_picture((30, 40)), np.array([[3.0, 0, -90], [0, 3.0, -60]]))  # of 10 x 10 pixels
    np.testing.assert_allclose(location_in_picture(zoomed, (31, 31)), [15.5 / 50, 10.5 / 50], atol=1e-6)
    # The content turns clockwise by 90 degrees: what is right of the middle is below it then.
    turned = moved_picture(np.array([0.0, 0, 100]), np.array([[0.0, -1, 4], [1, 0, -20]]))
    np.testing.assert_allclose(location_in_picture(turned, (9, 9)), [0, 0.24], atol=1e-6)
