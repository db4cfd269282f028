"""Which images a batch is of, and the names of their results."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from napari_dip.batch.folder import find, passed_over, result_name
from napari_dip.errors import InputError
from napari_dip.io import files, open_tiff, tiff
from napari_dip.io.image import Header, Image


def names(tmp_path, *inputs, others=None, **options):
    items = find("image", inputs, others or {}, tmp_path / "out", **options)
    return {item.name: item for item in items}


def test_a_folder_stands_for_the_images_in_it(tmp_path, write):
    write(tmp_path / "in" / "b.tif")
    write(tmp_path / "in" / "a.ome.tif")
    write(tmp_path / "in" / "deep" / "c.png", dtype=np.uint8)
    (tmp_path / "in" / "notes.txt").write_text("no image")
    (tmp_path / "in" / ".b.tif.12ab.part").write_bytes(b"")
    write(tmp_path / "in" / ".hidden.tif")
    assert list(names(tmp_path, tmp_path / "in")) == ["a.ome.tif", "b.tif"]
    found = names(tmp_path, tmp_path / "in", recursive=True)
    assert list(found) == ["a.ome.tif", "b.tif", "deep/c.png"]
    assert found["deep/c.png"].sources["image"] == tmp_path / "in" / "deep" / "c.png"


def test_files_that_are_no_images_are_passed_over(tmp_path, write):
    write(tmp_path / "in" / "a.tif")
    others = ["in/deep/e.czi", "in/b.webp", "in/c.npy", "in/out/list.json", "d.csv"]
    for name in (*others, "in/.hidden.npy"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    source, out = tmp_path / "in", tmp_path / "in" / "out"

    def found(*inputs, **options):
        paths = passed_over(inputs, out, **options)
        return [path.relative_to(tmp_path).as_posix() for path in paths]

    assert found(source) == ["in/b.webp", "in/c.npy"]
    assert found(source, recursive=True) == ["in/b.webp", "in/c.npy", "in/deep/e.czi"]
    assert found(source / "*p*") == ["in/b.webp", "in/c.npy"]
    # A file that is named is an image, or its reader says why it is none.
    assert found(tmp_path / "d.csv", source / "a.tif") == []


def test_a_pattern_counts_from_the_last_folder_without_wildcards(tmp_path, write):
    for name in ("day1/a.tif", "day2/a.tif", "day2/b.tif", "night/a.tif"):
        write(tmp_path / "in" / name)
    found = names(tmp_path, tmp_path / "in" / "day*" / "a.tif")
    assert list(found) == ["day1/a.tif", "day2/a.tif"]
    found = names(tmp_path, tmp_path / "in" / "**" / "b.*")
    assert list(found) == ["day2/b.tif"]


def test_files_by_name(tmp_path, write):
    write(tmp_path / "a.tif")
    write(tmp_path / "b.tif")
    found = names(tmp_path, tmp_path / "b.tif", tmp_path / "a.tif")
    assert list(found) == ["b.tif", "a.tif"]


def test_results_are_no_inputs(tmp_path, write):
    write(tmp_path / "a.tif")
    write(tmp_path / "out" / "a.tif")
    assert list(names(tmp_path, tmp_path, recursive=True)) == ["a.tif"]


@pytest.mark.parametrize("given", ["in", "in/*.tif", "in/a.tif"])
def test_results_where_all_images_are(tmp_path, write, given):
    write(tmp_path / "in" / "a.tif")
    with pytest.raises(InputError, match="output must be another folder"):
        find("image", [tmp_path / given], {}, tmp_path / "in", recursive=True)


def test_what_holds_no_image_is_refused(tmp_path, write):
    write(tmp_path / "a.tif")
    with pytest.raises(InputError, match="no file, folder or pattern"):
        names(tmp_path, tmp_path / "absent")
    with pytest.raises(InputError, match="holds no image"):
        names(tmp_path, tmp_path / "*.png")
    (tmp_path / "in").mkdir()
    with pytest.raises(InputError, match="holds no image; accepted are"):
        names(tmp_path, tmp_path / "in")
    write(tmp_path / "in" / "out" / "b.tif")
    with pytest.raises(InputError, match="holds no image; accepted are"):
        find("image", [tmp_path / "in"], {}, tmp_path / "in" / "out")
    write(tmp_path / "in" / "day1" / "b.tif")
    with pytest.raises(InputError, match="but folders within it do; --recursive looks"):
        names(tmp_path, tmp_path / "in")
    with pytest.raises(InputError, match="mask must be a file or a folder"):
        names(tmp_path, tmp_path / "a.tif", others={"mask": tmp_path / "absent"})
    write(tmp_path / "other" / "a.tif", 1)
    with pytest.raises(InputError, match=r"same name, 'a\.tif'"):
        names(tmp_path, tmp_path / "a.tif", tmp_path / "other")


@pytest.mark.parametrize(
    ("name", "suffix", "expected"),
    [
        ("a.tif", "", "a.tif"),
        ("a.b.OME.TIF", "_series2", "a.b_series2.OME.TIF"),
        ("a.JPG", "", "a.png"),
        ("cells.zarr", "", "cells.zarr"),
    ],
)
def test_names_of_results(name, suffix, expected):
    assert result_name(Path(name), suffix) == expected


def test_names_of_results_of_names_without_an_ending(tmp_path, write):
    for name, ending in ("a", ".tif"), ("b", ".png"):
        write(tmp_path / f"{name}{ending}", dtype=np.uint8)
        path = (tmp_path / f"{name}{ending}").rename(tmp_path / name)
        assert result_name(path, "_series2") == f"{name}_series2{ending}"
    found = names(tmp_path, tmp_path / "a", tmp_path / "b")
    assert list(found) == ["a.tif", "b.png"]
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells" / ".zgroup").write_text("{}")
    assert result_name(tmp_path / "cells", "_series1") == "cells_series1.ome.zarr"


def test_files_are_opened_once(tmp_path, write, monkeypatch):
    write(tmp_path / "in" / "a.tif")
    opened = []

    def counted(path, *arguments):
        opened.append(path)
        return open_tiff.opened(path, *arguments)

    monkeypatch.setattr(tiff, "opened", counted)
    names(tmp_path, tmp_path / "in")
    assert len(opened) == 1


def test_images_of_a_tiff(tmp_path):
    images = [np.full((20, 33), 1, "u1"), np.full((40, 50), 2, "u1")]
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        for n, image in enumerate(images, 1):
            tif.write(image, resolution=(n, n), resolutionunit="CENTIMETER")
    found = names(tmp_path, tmp_path / "a.tif")
    assert list(found) == ["a_series1.tif", "a_series2.tif"]
    for n, (item, image) in enumerate(zip(found.values(), images, strict=True), 1):
        read = files.read(item.sources["image"], item.series["image"])
        np.testing.assert_array_equal(read.data, image)
        assert read.header.scale == (1e4 / n, 1e4 / n)
        assert read.header.notes == ()


def test_images_of_an_ome_tiff_have_their_own_scale(tmp_path):
    images = [np.full((20, 33), 1, "u1"), np.full((3, 40, 50), 2, "u1")]
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as tif:
        for n, image in enumerate(images, 1):
            axes = "CYX"[-image.ndim :]
            tif.write(image, metadata={"axes": axes, "PhysicalSizeX": n})
    found = names(tmp_path, tmp_path / "a.ome.tif")
    assert list(found) == ["a_series1.ome.tif", "a_series2.ome.tif"]
    headers = [
        files.read(item.sources["image"], item.series["image"]).header
        for item in found.values()
    ]
    assert [header.axes for header in headers] == ["YX", "CYX"]
    assert [header.scale[-1] for header in headers] == [1, 2]


def test_images_of_a_store(tmp_path):
    library = pytest.importorskip("zarr")
    root = library.create_group(tmp_path / "a.zarr", zarr_format=2)
    root.attrs.put({"bioformats2raw.layout": 3})
    for n in range(2):
        data = np.full((20, 33), n, "u1")
        image = Image(data, Header("", data.shape, data.dtype, "YX"))
        files.write(tmp_path / f"{n}.zarr", data, image)
        (tmp_path / f"{n}.zarr").rename(tmp_path / "a.zarr" / str(n))
    found = names(tmp_path, tmp_path)
    assert list(found) == ["a_series1.zarr", "a_series2.zarr"]
    sources = [item.sources["image"] for item in found.values()]
    assert [files.read(source).data[0, 0] for source in sources] == [0, 1]


def test_fields_of_a_plate(tmp_path):
    library = pytest.importorskip("zarr")
    plate = library.create_group(tmp_path / "p.zarr", zarr_format=2)
    plate.attrs.put({"plate": {"wells": [{"path": "A/1"}, {"path": "B/3"}]}})
    for path, fields in (("A/1", 1), ("B/3", 2)):
        well = plate.create_group(path)
        images = [{"path": str(n)} for n in range(fields)]
        well.attrs.put({"well": {"images": images}})
        for n in range(fields):
            well.create_group(str(n))
    found = names(tmp_path, tmp_path / "p.zarr")
    sources = [item.sources["image"] for item in found.values()]
    fields = [source.relative_to(tmp_path).as_posix() for source in sources]
    assert fields == ["p.zarr/A/1/0", "p.zarr/B/3/0", "p.zarr/B/3/1"]


def test_masks_are_one_file_or_have_the_names_of_the_images(tmp_path, write):
    for name in ("a.tif", "b.tif", "deep/c.tif"):
        write(tmp_path / "in" / name)
    write(tmp_path / "masks" / "a.tif")
    write(tmp_path / "masks" / "deep" / "c.png", dtype=np.uint8)
    folder, masks = tmp_path / "in", tmp_path / "masks"
    found = names(tmp_path, folder, others={"mask": masks}, recursive=True)
    assert found["a.tif"].sources["mask"] == masks / "a.tif"
    assert found["deep/c.tif"].sources["mask"] == masks / "deep" / "c.png"
    assert "has no mask for b.tif" in found["b.tif"].error
    one = masks / "a.tif"
    found = names(tmp_path, folder, others={"mask": one}, recursive=True)
    assert {item.sources["mask"] for item in found.values()} == {one}


def test_a_broken_file_is_an_image_that_cannot_be_done(tmp_path, write):
    write(tmp_path / "in" / "a.tif")
    (tmp_path / "in" / "b.tif").write_bytes(b"II*\0")
    found = names(tmp_path, tmp_path / "in")
    assert found["a.tif"].error == ""
    assert "b.tif cannot be read" in found["b.tif"].error


def test_an_ome_tiff_in_several_files_is_one_image(tmp_path, monkeypatch):
    def planes(part):
        return (
            f'<TiffData FirstC="{part}" IFD="0"><UUID FileName="c{part}.ome.tif">'
            f"urn:uuid:{part:08d}-0000-0000-0000-000000000000</UUID></TiffData>"
        )

    for part in range(2):
        text = (
            '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
            f'UUID="urn:uuid:{part:08d}-0000-0000-0000-000000000000">'
            '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" '
            'Type="uint8" SizeX="32" SizeY="32" SizeZ="1" SizeC="2" SizeT="1">'
            f"{planes(0)}{planes(1)}</Pixels></Image></OME>"
        )
        options = {"description": text, "metadata": None}
        data = np.full((32, 32), part, "u1")
        tifffile.imwrite(tmp_path / f"c{part}.ome.tif", data, **options)
    tifffile.imwrite(tmp_path / "d.tif", data)
    out = tmp_path / "out"
    looked_at = []

    def images_in(path, find_images=files.images_in):
        looked_at.append(path.name)
        return find_images(path)

    monkeypatch.setattr(files, "images_in", images_in)
    items = find("image", [tmp_path], {}, out)
    assert looked_at == ["c0.ome.tif", "d.tif"]
    assert [item.name for item in items] == ["c0.ome.tif", "d.tif"]
    assert files.read(items[0].sources["image"]).data.shape == (2, 32, 32)
    twice = [tmp_path / "d.tif", tmp_path / "c1.ome.tif", tmp_path / "c0.ome.tif"]
    names = [item.name for item in find("image", twice, {}, out)]
    assert names == ["d.tif", "c1.ome.tif"]


@pytest.mark.parametrize(
    ("name", "result"), [("a.svs", "a.tif"), ("a.ome.btf", "a.ome.tif")]
)
def test_results_of_tiffs_of_microscopes(name, result):
    assert result_name(Path(name)) == result


@pytest.mark.parametrize("ending", [".jpg", ".JPEG", ".jpe", ".jfif"])
def test_every_ending_of_a_jpeg_is_read(tmp_path, ending):
    path = tmp_path / "in" / f"a{ending}"
    path.parent.mkdir()
    Pillow.new("RGB", (20, 16)).save(path, "JPEG")
    assert list(names(tmp_path, path.parent)) == ["a.png"]
    assert files.read_header(path).format == "JPEG"


def test_pattern_does_not_follow_links_in_a_circle(tmp_path, write):
    write(tmp_path / "in" / "deep" / "a.tif")
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "b.tif").symlink_to(tmp_path / "in" / "deep" / "a.tif")
    found = names(tmp_path, tmp_path / "in" / "**" / "*.tif")
    assert set(found) == {"b.tif", "deep/a.tif"}
    found = names(tmp_path, tmp_path / "in" / "*" / "*.tif")
    assert set(found) == {"deep/a.tif", "loop/b.tif"}


def test_files_whose_results_have_one_name_are_named(tmp_path, write):
    write(tmp_path / "in" / "a.png", dtype=np.uint8)
    shutil.copy(tmp_path / "in" / "a.png", tmp_path / "in" / "a.jpg")
    with pytest.raises(InputError, match=r"two inputs, .*a\.jpg and .*a\.png, have"):
        names(tmp_path, tmp_path / "in")


def test_a_file_of_masks_has_one_for_each_image(tmp_path):
    for name, count in (("images", 2), ("masks", 2), ("fewer", 1)):
        (tmp_path / name).mkdir()
        with tifffile.TiffWriter(tmp_path / name / "a.ome.tif") as file:
            for _ in range(count):
                file.write(np.zeros((32, 40), "u1"))
    inputs, out = [tmp_path / "images"], tmp_path / "out"
    items = find("image", inputs, {"mask": tmp_path / "masks"}, out)
    assert [item.series for item in items] == [{"image": n, "mask": n} for n in (0, 1)]
    fewer = find("image", inputs, {"mask": tmp_path / "fewer"}, out)
    assert all(item.series["mask"] is None for item in fewer)


def test_the_result_of_a_file_without_an_ending_that_cannot_be_read(tmp_path):
    assert result_name(tmp_path / "a") == "a.tif"
