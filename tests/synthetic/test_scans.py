"""Scans: what is read of a file, what is refused, and what their frames hold."""

import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from opensapiens.data.label_kinds import ALBEDO, PARTS, POINTS
from opensapiens.data.shards import ShardDataset, encode_frame, write_shard
from opensapiens.storage import pictures
from opensapiens.synthetic import scan_files
from opensapiens.synthetic.scan_files import ScanError, find_scans, read_scan
from opensapiens.synthetic.scan_renderer import ScanRenderer
from opensapiens.synthetic.style import Style
from opensapiens.synthetic.synthesize import _problem_of as problem_of

STYLE = Style(size=(128, 96), framing=(1.0, 0.0, 0.0, 0.0), height=(0.6, 0.8), off_center=0.0, occluders=0.0)


def pillar() -> trimesh.Trimesh:
    """A body of sorts, y up, 1.8 m, red above and green below."""
    mesh = trimesh.creation.capsule(1.4, 0.2, count=(24, 48))
    mesh.apply_transform(trimesh.transformations.rotation_matrix(-np.pi / 2, [1, 0, 0]))
    height = (mesh.vertices[:, 1] - mesh.vertices[:, 1].min()) / np.ptp(mesh.vertices[:, 1])
    pixels = np.zeros((64, 32, 3), np.uint8)
    pixels[:32], pixels[32:] = (220, 20, 20), (20, 220, 20)
    material = trimesh.visual.material.SimpleMaterial(image=Image.fromarray(pixels))
    uv = np.stack([np.full(len(height), 0.5), height], 1)
    return trimesh.Trimesh(
        mesh.vertices, mesh.faces, process=False, visual=trimesh.visual.TextureVisuals(uv=uv, material=material)
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The pillar as files of four kinds and units."""
    mesh = pillar()
    mesh.export(tmp_path / "a.glb")
    scaled = mesh.copy()
    scaled.apply_scale(100)
    (tmp_path / "obj").mkdir()
    scaled.export(tmp_path / "obj" / "b.obj")
    standing = trimesh.Trimesh(mesh.vertices[:, [0, 2, 1]] * [1, -1, 1], mesh.faces, process=False)
    standing.visual.vertex_colors = np.where(standing.vertices[:, 2:] > 0, [220, 20, 20, 255], [20, 220, 20, 255])
    standing.export(tmp_path / "c.ply")
    return tmp_path


def test_scans_of_all_kinds_become_the_same_upright_person(folder: Path) -> None:
    scans = [read_scan(path) for path in find_scans(folder)]
    assert [scan.name for scan in scans] == ["a.glb", "c.ply", "b.obj"]
    for scan in scans:
        (piece,) = scan.pieces
        np.testing.assert_allclose(piece.vertices.min(0), [-0.2, -0.2, 0.0], atol=2e-3)
        np.testing.assert_allclose(piece.vertices.max(0), [0.2, 0.2, 1.8], atol=2e-3)
        outward = piece.vertices - [0, 0, 0.9]
        assert ((piece.normals * outward).sum(1) > 0).all()
        assert (piece.texture is None) == (scan.name == "c.ply")


def test_frames_of_scans_are_upright_textured_and_labeled(folder: Path) -> None:
    for path in find_scans(folder):
        (frame,) = ScanRenderer([path]).frames(seed=1, first=0, count=1, style=STYLE)
        (person,) = frame.record["persons"]
        rows = np.flatnonzero((frame.instances == 1).any(1))
        middle = (rows[0] + rows[-1]) // 2
        above = frame.image[rows[0] : middle - 5][frame.instances[rows[0] : middle - 5] == 1].mean(0)
        below = frame.image[middle + 5 : rows[-1]][frame.instances[middle + 5 : rows[-1]] == 1].mean(0)
        assert above[0] > 1.5 * above[1] and below[1] > 1.5 * below[0]
        assert frame.parts is None and person["keypoints"] is None and person["scan"] == path.name
        np.testing.assert_array_equal(np.isfinite(frame.depth), frame.instances == 1)


def test_all_scans_have_their_turn_and_a_seed_gives_the_same_bytes(folder: Path) -> None:
    paths = find_scans(folder)
    renderer = ScanRenderer(paths)
    first = [next(renderer.frames(3, 16 * i, 1, STYLE)) for i in range(len(paths))]
    assert {frame.record["persons"][0]["scan"] for frame in first} == {path.name for path in paths}
    again = next(ScanRenderer(paths).frames(3, 16, 1, STYLE))
    np.testing.assert_array_equal(first[1].image, again.image)
    assert first[1].record == again.record
    yaws = [frame.record["persons"][0]["yaw_degrees"] for frame in renderer.frames(3, 0, 3, STYLE)]
    assert len(set(yaws)) == 3


def test_a_shard_of_scans_gives_samples_without_points_and_parts(folder: Path, tmp_path: Path) -> None:
    (frame,) = ScanRenderer([folder / "a.glb"]).frames(1, 0, 1, STYLE)
    encoded = encode_frame(frame.image, frame.instances, frame.labels, frame.record)
    write_shard(tmp_path / "0.tar", [("0", encoded)])
    sample = ShardDataset(tmp_path)[0]
    assert sample.keypoints is None and sample.parts is None
    assert sample.depth is not None and sample.mask is not None and sample.normals is not None
    np.testing.assert_allclose(sample.depth[sample.mask], frame.depth[sample.mask], atol=6e-4)
    every = frame.all_labels
    assert PARTS not in every and np.array_equal(every[POINTS][..., 2], frame.depth, equal_nan=True)
    np.testing.assert_array_equal(np.isfinite(every[ALBEDO]).all(-1), sample.mask)


def test_textures_are_read_from_the_scans_folder_only(folder: Path) -> None:
    secret = folder / "obj" / "material_0.png"
    secret.rename(folder / "secret.png")
    with pytest.raises(ScanError, match="cannot be read"):
        read_scan(folder / "obj" / "b.obj")
    library = next((folder / "obj").glob("*.mtl"))
    library.write_text(library.read_text().replace("material_0.png", "../secret.png"))
    with pytest.raises(ScanError, match="secret"):
        read_scan(folder / "obj" / "b.obj")


def changed_header(path: Path, change) -> Path:
    """A GLB whose JSON is another."""
    data = path.read_bytes()
    length = struct.unpack("<I", data[12:16])[0]
    header = json.loads(data[20 : 20 + length])
    change(header)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 4)
    rest = data[20 + length :]
    total = 20 + len(text) + len(rest)
    out = path.with_name("changed.glb")
    out.write_bytes(struct.pack("<4sII", b"glTF", 2, total) + struct.pack("<I4s", len(text), b"JSON") + text + rest)
    return out


def test_claims_are_checked_before_room_is_made(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def claim(header: dict) -> None:
        header["accessors"][0]["count"] = 10**12
        del header["accessors"][0]["bufferView"]

    with pytest.raises(ScanError, match="claims more numbers"):
        read_scan(changed_header(folder / "a.glb", claim))
    header = b"ply\nformat binary_little_endian 1.0\nelement vertex 99999999999\nproperty float x\nend_header\n"
    (folder / "d.ply").write_bytes(header)
    with pytest.raises(ScanError, match="claims 99999999999 elements"):
        read_scan(folder / "d.ply")
    monkeypatch.setattr(pictures, "MAX_PIXELS", 1000)
    with pytest.raises(ScanError, match="32x64 pixels"):
        read_scan(folder / "a.glb")
    monkeypatch.setattr(scan_files, "MAX_TRIANGLES", 100)
    with pytest.raises(ScanError, match="triangles"):
        read_scan(folder / "a.glb")
    monkeypatch.setattr(scan_files, "MAX_BYTES", 100)
    with pytest.raises(ScanError, match="larger than the limit of 100"):
        read_scan(folder / "c.ply")


def test_damaged_files_are_named(folder: Path) -> None:
    for name, keep in (("a.glb", 3000), ("a.glb", 10), ("c.ply", 500), ("a.glb", 0)):
        cut = folder / f"cut{Path(name).suffix}"
        cut.write_bytes((folder / name).read_bytes()[:keep])
        with pytest.raises(ScanError, match=cut.name):
            read_scan(cut)
    with pytest.raises(ScanError, match="no scan here"):
        find_scans(folder / "obj" / "nothing")


def test_a_seam_of_the_texture_does_not_show_in_the_normals(folder: Path) -> None:
    mesh = pillar()
    apart = trimesh.Trimesh(mesh.vertices[mesh.faces.ravel()], np.arange(mesh.faces.size).reshape(-1, 3), process=False)
    apart.export(folder / "apart.ply")
    piece = replace(read_scan(folder / "apart.ply").pieces[0])
    _, place = np.unique(np.round(piece.vertices, 5), axis=0, return_inverse=True)
    for axis in range(3):
        low, high = np.full(place.max() + 1, 2.0), np.full(place.max() + 1, -2.0)
        np.minimum.at(low, place.ravel(), piece.normals[:, axis])
        np.maximum.at(high, place.ravel(), piece.normals[:, axis])
        assert (high - low).max() < 1e-4


def test_what_cannot_be_read_is_told_apart_before_rendering(folder: Path) -> None:
    (folder / "bad.glb").write_bytes(b"glTF")
    (folder / "bad.hdr").write_bytes(b"#?RADIANCE")
    assert problem_of(folder / "a.glb") is None
    for name in ("bad.glb", "bad.hdr"):
        assert name in (problem_of(folder / name) or "")
