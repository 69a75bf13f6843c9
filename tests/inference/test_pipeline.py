import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from opensapiens.inference.boxes import BoxesError
from opensapiens.inference.forward import LoadedModel
from opensapiens.inference.pipeline import People, SomeImagesFailed
from opensapiens.inference.results import Result
from opensapiens.storage.pictures import ImageError

from .conftest import PERSON_CLASS, PaintedDetector, paint, painted_model, peak

BOX = (70, 20, 130, 100)


def predict_painted(resize: str = "person_crop", flip: bool = False, **options: object) -> Result:
    heads = (
        ("pose", "segmentation", "depth", "normals")
        if resize == "person_crop"
        else ("segmentation", "depth", "normals")
    )
    result = People([painted_model(resize, heads)])(paint([BOX]), boxes=np.array([BOX]), flip=flip)
    assert isinstance(result, Result)
    return result


def box_mask(grow: int = 0) -> np.ndarray:
    mask = np.zeros((120, 200), bool)
    mask[BOX[1] - grow : BOX[3] + grow, BOX[0] - grow : BOX[2] + grow] = True
    return mask


@pytest.mark.parametrize("flip", [False, True])
def test_keypoints_come_back_to_where_they_are_in_the_image(flip: bool) -> None:
    person = predict_painted(flip=flip).persons[0]
    assert person.keypoints.shape == (17, 2) and len(person.names) == len(person.scores) == 17
    assert np.abs(person.keypoints[person.names.index("nose")] - peak(BOX)).max() < 0.3
    assert 0.9 < person.scores[0] <= 1
    assert person.id == 1 and person.score == 1 and person.box.tolist() == list(BOX)


@pytest.mark.parametrize("resize", ["person_crop", "squash"])
def test_maps_come_back_to_where_they_are_in_the_image(resize: str) -> None:
    result = predict_painted(resize)
    mask = result.persons[0].mask
    assert result.parts is not None and result.depth is not None and result.normals is not None
    assert mask[box_mask(-2)].all() and not mask[~box_mask(2)].any()
    assert (result.parts.labels[mask] == PERSON_CLASS).all() and (result.parts.labels[~mask] == 0).all()
    assert result.parts.present() == ["Upper_Clothing"]
    columns = np.broadcast_to(np.arange(200) / 200, (120, 200))
    assert np.abs(result.depth.values[mask] - columns[mask]).max() < 0.01
    assert np.isnan(result.depth.values[~mask]).all() and np.isnan(result.normals.values[~mask]).all()
    normals = result.normals.values[mask]
    assert np.abs(np.linalg.norm(normals, axis=-1) - 1).max() < 1e-3
    expected = (2 * columns - 1) / np.hypot(2 * columns - 1, 1)
    assert np.abs(normals[:, 0] - expected[mask]).max() < 0.02


def test_the_flip_test_turns_the_x_of_normals() -> None:
    # In the mirrored image red, and with it x, is the same pixel for pixel; turned back its sign changes, so the mean
    # is 0.
    normals = predict_painted(flip=True).normals
    assert normals is not None
    assert np.nanmax(np.abs(normals.values[..., 0])) < 1e-3


def test_depth_normalized_is_from_0_to_1() -> None:
    depth = predict_painted().depth
    assert depth is not None and depth.metric is False
    normalized = depth.normalized()
    assert np.nanmin(normalized) == 0 and np.nanmax(normalized) == 1
    assert (np.isnan(normalized) == np.isnan(depth.values)).all()


class OneClassEach(nn.Module):
    """The k-th of the crops is all class k."""

    def __init__(self) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(1))

    def forward(self, images: Tensor, heads: object = None, inputs: object = None) -> dict[str, Tensor]:
        logits = torch.zeros(len(images), 28, 32, 24)
        for index in range(len(images)):
            logits[index, index + 1] = 1
        return {"segmentation": logits}


@pytest.mark.parametrize("larger_first", [True, False])
def test_the_larger_box_is_drawn_last(larger_first: bool) -> None:
    boxes = [[20, 20, 100, 110], [60, 30, 90, 60]]
    model = LoadedModel(OneClassEach(), painted_model(heads=["segmentation"]).description)  # type: ignore[arg-type]
    result = People([model])(paint([]), boxes=boxes if larger_first else boxes[::-1])
    assert isinstance(result, Result) and result.parts is not None
    assert result.parts.labels[45, 75] == (1 if larger_first else 2)
    assert [person.mask[45, 75] for person in result.persons] == [True, True], "each person keeps its own mask"


def test_nobody_is_an_empty_result(tmp_path: object) -> None:
    result = People([painted_model()])(paint([]))
    assert isinstance(result, Result) and result.persons == []
    assert result.parts is not None and not result.parts.labels.any()
    assert result.depth is not None and np.isnan(result.depth.values).all()
    assert np.isnan(result.depth.normalized()).all()
    assert result.draw().size[0] > 200


def test_no_boxes_given_means_nobody() -> None:
    assert People([painted_model()])(paint([BOX]), boxes=[]).persons == []  # type: ignore[union-attr]


def test_several_models_share_the_tasks() -> None:
    pose, squashed = painted_model(heads=["pose"]), painted_model("squash", heads=["segmentation", "depth"])
    result = People([pose, squashed])(paint([BOX]), boxes=[BOX])
    assert isinstance(result, Result)
    assert result.normals is None and result.depth is not None and result.keypoint_set is not None
    assert np.abs(result.persons[0].keypoints[0] - peak(BOX)).max() < 0.3
    assert result.persons[0].mask[60, 100] and not result.persons[0].mask[60, 20]


def test_of_a_whole_images_part_map_each_person_gets_what_lies_in_the_box() -> None:
    boxes = [(10, 20, 60, 100), (120, 30, 180, 110)]
    result = People([painted_model("squash", heads=["segmentation"])])(paint(boxes), boxes=boxes)
    first, second = (person.mask for person in result.persons)
    assert first[60, 30] and not first[60, 150] and second[60, 150] and not second[60, 30]


def test_a_crop_that_reaches_over_a_neighbor_does_not_wipe_it_out() -> None:
    # The larger one, drawn last, sees the smaller one in its padding as nobody.
    boxes = [(58, 50, 72, 80), (70, 20, 130, 100)]

    class OnlyTheMiddle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.nothing = nn.Parameter(torch.zeros(1))

        def forward(self, images: Tensor, heads: object = None, inputs: object = None) -> dict[str, Tensor]:
            logits = torch.zeros(len(images), 28, 32, 24)
            logits[:, PERSON_CLASS, 8:24, 8:16] = 1
            return {"segmentation": logits}

    description = painted_model(heads=["segmentation"]).description
    result = People([LoadedModel(OnlyTheMiddle(), description)])(paint(boxes), boxes=boxes)  # type: ignore[arg-type]
    assert result.parts is not None
    assert result.parts.labels[65, 66] == result.parts.labels[60, 100] == PERSON_CLASS


def test_without_a_segmentation_head_the_mask_is_the_box() -> None:
    result = People([painted_model(heads=["pose", "depth"])])(paint([BOX]), boxes=[BOX])
    assert isinstance(result, Result) and result.parts is None
    assert (result.persons[0].mask == box_mask()).all()
    assert result.depth is not None and np.isfinite(result.depth.values).sum() == box_mask().sum()


def test_a_squashed_pose_model_is_refused() -> None:
    with pytest.raises(ValueError, match="person crops"):
        People([painted_model("squash", ["pose"])])


def test_one_pass_per_crop_feeds_all_heads_and_people_go_in_batches() -> None:
    model = painted_model()
    People([model], batch_size=2)(paint([BOX]), boxes=[BOX, BOX, BOX])
    assert model.network.inputs == 3  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([[1, 2, 3]], "N×4"),
        ([[0, 0, np.nan, 5]], "finite"),
        ([[300, 0, 400, 50]], "no area"),
        ([[50, 50, 50, 80]], "no area"),
    ],
)
def test_boxes_that_are_none(boxes: list, message: str) -> None:
    with pytest.raises(BoxesError, match=message):
        People([painted_model()])(paint([BOX]), boxes=boxes)


def test_a_list_gives_a_list_and_keeps_what_was_done_when_one_fails(tmp_path) -> None:
    Image.fromarray(paint([BOX])).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_text("not a picture")
    people = People([painted_model()])
    results = people([tmp_path / "good.png", Image.fromarray(paint([BOX]))], boxes=[[BOX], []])
    assert isinstance(results, list) and [len(result.persons) for result in results] == [1, 0]
    with pytest.raises(SomeImagesFailed, match=r"bad\.png") as caught:
        people([tmp_path / "bad.png", tmp_path / "good.png"])
    assert caught.value.results[0] is None and caught.value.results[1] is not None
    with pytest.raises(ValueError, match="boxes for 1 images"):
        people([tmp_path / "good.png"] * 2, boxes=[[BOX]])


def pictures(folder) -> dict[str, np.ndarray | None]:
    """Odd files of the painted picture, written to `folder`, and what each should be read as (None: an error)."""
    painted = paint([BOX])
    image = Image.fromarray(painted)
    gray = painted.mean(axis=-1)
    image.convert("CMYK").save(folder / "cmyk.jpg", quality=95)
    image.convert("RGBA").save(folder / "rgba.png")
    Image.fromarray((gray * 257).astype(np.uint16)).save(folder / "gray16.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to view
    image.transpose(Image.Transpose.ROTATE_90).save(folder / "turned.png", exif=exif)
    image.save(folder / "moving.gif", save_all=True, append_images=[Image.new("RGB", image.size)] * 2)
    Image.new("RGB", (1, 1)).save(folder / "pixel.png")
    (folder / "text.jpg").write_text("a text")
    (folder / "empty.jpg").write_bytes(b"")
    image.save(folder / "whole.jpg")
    (folder / "cut.jpg").write_bytes((folder / "whole.jpg").read_bytes()[:900])
    stacked = np.repeat(np.round(gray)[..., None], 3, axis=-1)
    return {
        "cmyk.jpg": painted, "rgba.png": painted, "gray16.png": stacked, "turned.png": painted, "moving.gif": painted,
        "pixel.png": np.zeros((1, 1, 3)), "text.jpg": None, "empty.jpg": None, "cut.jpg": None,
    }  # fmt: skip


def test_odd_files_are_predicted_or_named(tmp_path) -> None:
    people = People([painted_model()], PaintedDetector())
    for name, expected in pictures(tmp_path).items():
        if expected is None:
            with pytest.raises(ImageError, match=name.replace(".", r"\.")):
                people(tmp_path / name)
        else:
            result = people(tmp_path / name)
            assert isinstance(result, Result) and result.image.shape == expected.shape
            assert np.abs(result.image - expected.astype(float)).mean() < 25, name
            if name not in ("pixel.png", "gray16.png", "cmyk.jpg", "moving.gif"):
                assert len(result.persons) == 1, name
            result.draw()
            result.save(tmp_path / "out")


def test_a_part_map_of_the_whole_image_is_kept_whoever_is_found_in_it() -> None:
    # A speck too small for a person, and a box that holds half of the other one.
    image = paint([(70, 20, 130, 100), (10, 10, 16, 16)])
    dense = painted_model("squash", ["segmentation", "depth", "normals"])
    result = People([dense])(image, boxes=[(70, 20, 100, 100)])
    assert result.parts.labels[13, 13] == result.parts.labels[60, 120] == PERSON_CLASS
    assert np.isfinite(result.depth.values[60, 120]) and np.isnan(result.depth.values[60, 150])
    assert result.persons[0].mask[60, 80] and not result.persons[0].mask[60, 120]
    assert np.isfinite(People([dense])(image, boxes=[]).depth.values[60, 100]), "nobody there is no matter"


def test_depth_without_parts_is_of_the_whole_image() -> None:
    result = People([painted_model("squash", ["depth", "normals"])])(paint([BOX]))
    assert np.isfinite(result.depth.values).all() and np.isfinite(result.normals.values).all()


def test_an_empty_part_map_masks_everything_and_breaks_nothing(tmp_path) -> None:
    result = People([painted_model("squash", ["segmentation", "depth", "normals"])])(paint([]), boxes=[BOX])
    assert np.isnan(result.depth.values).all() and np.isnan(result.normals.values).all()
    result.save(tmp_path)
    assert result.save_point_cloud(tmp_path / "none.ply", 100, 1, 2) == 0


def test_a_network_of_whole_images_and_one_of_people_work_together() -> None:
    model = painted_model("squash", ["segmentation", "depth"])
    people = People([model, painted_model(heads=["pose"])], PaintedDetector())
    result = people(paint([BOX]))
    assert model.network.inputs == 1
    assert len(result.persons) == 1 and np.abs(result.persons[0].keypoints[0] - peak(BOX)).max() < 1


@pytest.mark.parametrize("size", [(60, 240), (240, 60)])
def test_a_letterboxed_image_comes_back_to_where_it_was(size: tuple[int, int]) -> None:
    box = (size[1] // 4, size[0] // 4, size[1] // 2, size[0] // 2)
    result = People([painted_model("letterbox", ["segmentation", "depth"])])(paint([box], size))
    mask = np.zeros(size, bool)
    mask[box[1] + 5 : box[3] - 5, box[0] + 5 : box[2] - 5] = True
    assert (result.parts.labels[mask] == PERSON_CLASS).all()
    columns = np.broadcast_to(np.arange(size[1]) / size[1], size)
    assert np.abs(result.depth.values[mask] - columns[mask]).max() < 0.02


def test_batches_are_filled_across_images() -> None:
    model = painted_model(heads=["pose"])
    sizes: list[int] = []
    model.network.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))  # type: ignore[union-attr]
    results = People([model], batch_size=4)([paint([BOX])] * 3, boxes=[[BOX, BOX], [], [BOX] * 3])
    assert sizes == [4, 1] and [len(result.persons) for result in results] == [2, 0, 3]
    assert all(np.abs(p.keypoints[0] - peak(BOX)).max() < 0.3 for result in results for p in result.persons)


def test_the_weights_say_whether_to_flip_and_the_caller_has_the_last_word() -> None:
    people = People([painted_model(flip_test=True)])

    def turned(flip: bool | None) -> float:
        return float(np.nanmax(np.abs(people(paint([BOX]), boxes=[BOX], flip=flip).normals.values[..., 0])))

    assert turned(None) == turned(True) < 1e-3 < turned(False)


def test_networks_that_are_not_kept_are_read_for_each_few_batches() -> None:
    reads = {"pose": 0, "segmentation": 0}

    def lazy(head: str) -> LoadedModel:
        model = painted_model(heads=[head])

        def read():
            reads[head] += 1
            return model.network

        return LoadedModel(None, model.description, read)

    people = People([lazy("pose"), lazy("segmentation")], batch_size=2)
    results = people([paint([BOX])] * 9, boxes=[[BOX]] * 9)
    assert reads == {"pose": 2, "segmentation": 2}, "eight images, then one"
    kept = People([painted_model(heads=["pose", "segmentation"])])(paint([BOX]), boxes=[BOX])
    assert (results[8].parts.labels == kept.parts.labels).all()
    assert (results[8].persons[0].keypoints == kept.persons[0].keypoints).all()


def test_files_come_with_their_result_or_the_reason(tmp_path) -> None:
    Image.fromarray(paint([BOX])).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("not a picture")
    Image.fromarray(paint([BOX])).save(tmp_path / "c.png")
    files = [tmp_path / name for name in ("a.png", "b.png", "c.png")]
    boxes = {"a.png": np.array([BOX]), "b.png": np.array([BOX]), "c.png": np.array([[900, 0, 950, 9]])}
    found = list(People([painted_model()]).each(files, boxes))
    assert [path for path, _ in found] == files
    assert isinstance(found[0][1], Result) and len(found[0][1].persons) == 1
    assert "b.png" in str(found[1][1]) and "no area" in str(found[2][1])
