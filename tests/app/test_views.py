from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from opensapiens.app import views
from opensapiens.app.views import Look
from opensapiens.inference.pipeline import People
from opensapiens.inference.results import Result, ResultError

TASKS = ("pose", "segmentation", "depth", "normals")
LOOK = Look("pose", TASKS)


@pytest.fixture
def result(people: People, photo: Path) -> Result:
    return people(photo)


def test_whoever_is_picked_out_stays_bright(result: Result) -> None:
    all_bright, picked = views.picture(result, LOOK), views.picture(result, replace(LOOK, person=2))
    first, second = (person.mask for person in result.persons)
    np.testing.assert_array_equal(picked[second], all_bright[second])
    assert picked[first].mean() < 0.5 * all_bright[first].mean()
    result.persons[1].box = np.array([0, 0, 200, 120], np.float32)  # also around somebody else
    around = views.picture(result, replace(LOOK, person=2))
    assert around[first].mean() < 0.5 * all_bright[first].mean()
    result.persons[1].box = np.array([120, 20, 180, 100], np.float32)
    np.testing.assert_array_equal(views.picture(result, replace(LOOK, person=9)), all_bright)  # they are not there


def test_a_higher_score_draws_fewer_points(result: Result) -> None:
    first = result.persons[0]
    assert first.scores.max() < 1.01
    few = replace(LOOK, point_score=1.0)
    assert (views.picture(result, LOOK) != views.picture(result, few)).any()
    assert views.people_drawing(result, LOOK).count("<circle") > views.people_drawing(result, few).count("<circle")


def test_the_drawing_tells_who_and_what(result: Result) -> None:
    svg = ElementTree.fromstring(f"<div>{views.people_drawing(result, LOOK)}</div>")[0]
    assert svg.get("viewBox") == "0 0 200 120"
    assert sorted(group.get("data-person", "") for group in svg.iter("g")) == ["1", "2"]
    names = {circle.get("data-name", "") for circle in svg.iter("circle")}
    assert any(re.fullmatch(r"left knee, score \d\.\d\d", name) for name in names)
    picked = ElementTree.fromstring(f"<div>{views.people_drawing(result, replace(LOOK, person=2))}</div>")[0]
    with_points = [group.get("data-person") for group in picked.iter("g") if list(group.iter("circle"))]
    assert with_points in ([], ["2"])


def test_names_from_a_model_are_no_markup(result: Result) -> None:
    assert result.keypoint_set is not None
    names = ('<script>"&', *result.keypoint_set.names[1:])
    strange = replace(result, keypoint_set=replace(result.keypoint_set, names=names))
    drawn = views.people_drawing(strange, LOOK)
    assert "<script>" not in drawn and "&lt;script&gt;&quot;&amp;" in drawn


def test_the_list_and_the_legend_tell_what_is_there(result: Result) -> None:
    lines = views.person_choices(result)
    assert [number for _, number in lines] == [0, 1, 2]
    assert lines[1][0].startswith("1: score 0.90, x 20–80, y 10–110")
    assert result.parts is not None
    assert views.legend(result, "segmentation").count("<li>") == len(result.parts.present()) > 0
    assert "near is bright" in views.legend(result, "depth") and views.legend(result, "pose") == ""


def test_only_chosen_tasks_remain(result: Result) -> None:
    depth = views.only_tasks(result, ("depth",))
    assert depth.tasks() == ["depth"] and len(depth.persons[0].scores) == 0
    assert views.only_tasks(result, TASKS).tasks() == result.tasks()


def test_the_cloud_is_thinned_to_what_can_be_turned(
    result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trimesh = pytest.importorskip("trimesh")
    assert result.depth is not None
    known = int(np.isfinite(result.depth.values).sum())
    assert views.save_cloud(result, tmp_path / "all.glb") == known
    monkeypatch.setattr(views, "CLOUD_POINTS", 1000)
    few = views.save_cloud(result, tmp_path / "few.glb")
    assert 300 < few <= 1000 < known
    (cloud,) = trimesh.load_scene(tmp_path / "few.glb").geometry.values()
    (whole,) = trimesh.load_scene(tmp_path / "all.glb").geometry.values()
    assert len(cloud.vertices) == few
    np.testing.assert_allclose(cloud.bounds, whole.bounds, atol=0.02)
    with pytest.raises(ResultError, match="needs depth"):
        views.save_cloud(views.only_tasks(result, ("pose",)), tmp_path / "none.glb")
