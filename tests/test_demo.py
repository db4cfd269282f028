"""The demo runs without napari and without a network."""

from PIL import Image

from napari_dip import demo


def test_sample_is_a_photograph_of_the_wheel():
    sample = demo.sample()
    assert sample.shape == (256, 256)
    assert sample.std() > 30


def test_demo_writes_before_and_after(tmp_path, capsys):
    output = tmp_path / "demo" / "denoise.png"
    before, _ = demo.run(demo.sample()[:64, :64], output, iterations=3)
    assert 19 < before < 22
    with Image.open(output) as image:
        assert image.size == (3 * 64, 64 + demo._HEADING)
    out, _ = capsys.readouterr()
    assert "PSNR: noisy" in out
    assert "ended by the maximum of 3 iterations" in out
    assert str(output) in out
