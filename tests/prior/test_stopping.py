"""When fits stop, and which image they keep."""

import math

import pytest
import torch
from torch.nn import functional as F

from napari_dip.prior.stopping import (
    Discrepancy,
    HeldOut,
    Iterations,
    MovingVariance,
    Plateau,
)
from napari_dip.prior.terms import Squared


@pytest.fixture
def follow():
    """Return a function that shows a watch a curve of scores, every tenth step.

    It gives the step of the image kept, the step of the end and the reason.
    """

    def judge(watch, scores):
        kept = None
        for step, score in zip(range(10, 10_000, 10), scores, strict=False):
            verdict = watch.judge(step, [score])
            if verdict.best == (True,):
                kept = step
            if verdict.reason is not None:
                return kept, step, verdict.reason
        return kept, None, None

    return judge


def squared(truth):
    return lambda image: (image - truth).square()


def test_iterations_keep_the_last_and_never_stop_by_themselves(follow, random):
    weight = torch.ones(1, 1, 8, 8)
    watch = Iterations(70).watch(weight, random)
    assert watch.weight is weight
    assert follow(watch, [3, 1, 2, 5]) == (40, None, None)
    score = watch.score(torch.full((1, 2, 8, 8), 0.5), squared(0))
    assert float(score) == 0.25
    assert Iterations(70).maximum == 70


def test_iterations_score_counts_known_pixels_only(random):
    weight = torch.zeros(1, 1, 4, 4)
    weight[..., 0, :] = 1
    image = torch.full((1, 1, 4, 4), 9.0)
    image[..., 0, :] = 2
    assert float(Iterations(5).watch(weight, random).score(image, squared(0))) == 4


# -- held-out pixels --------------------------------------------------------------


def test_held_out_keeps_the_minimum_of_a_noisy_curve(follow, random):
    watch = HeldOut(10_000, patience=100, relative_patience=0).watch(
        torch.ones(1, 1, 64, 64), random
    )
    steps = torch.arange(10, 2000, 10)
    curve = (steps - 430).abs() / 1000 + 0.01 * torch.rand(199, generator=random)
    lowest = int(steps[:60][curve[:60].argmin()])
    kept, end, reason = follow(watch, curve.tolist())
    assert kept == lowest
    assert abs(kept - 430) <= 10
    assert end == kept + 100
    assert reason == "the error at held-out pixels has not fallen for 100 iterations"


def test_patience_grows_with_the_best_iteration(follow, random):
    rule = HeldOut(10_000, patience=50, relative_patience=0.5)
    curve = [1 / step for step in range(1, 41)] + [1] * 100  # lowest at 400
    watch = rule.watch(torch.ones(1, 1, 64, 64), random)
    assert follow(watch, curve)[:2] == (400, 600)
    early = [1.0] + [2] * 100
    watch = rule.watch(torch.ones(1, 1, 64, 64), random)
    assert follow(watch, early)[:2] == (10, 60)


def test_patience_starts_again_at_every_improvement(follow, random):
    watch = HeldOut(10_000, patience=30, relative_patience=0).watch(
        torch.ones(1, 1, 64, 64), random
    )
    assert follow(watch, [5, 6, 6, 4, 6, 6, 3, 6, 6, 6, 6])[:2] == (70, 100)


def test_equal_scores_are_no_improvement(follow, random):
    watch = HeldOut(10_000, patience=30, relative_patience=0).watch(
        torch.ones(1, 1, 64, 64), random
    )
    assert follow(watch, [1] * 10)[:2] == (10, 40)


@pytest.mark.parametrize(
    ("sides", "fraction", "fewest", "expected"),
    [
        ((200, 200), 0.02, 0, 0.02),
        ((200, 200), 0.02, 2000, 0.05),
        ((64, 64), 0.02, 2000, 0.1),
        ((16, 32, 64), 0.05, 0, 0.05),
    ],
)
def test_fraction_of_pixels_held_out(sides, fraction, fewest, expected, random):
    known = torch.ones(1, 1, *sides)
    watch = HeldOut(9, fraction=fraction, fewest=fewest).watch(known, random)
    assert watch.tensors["held"].shape == watch.weight.shape == known.shape
    assert watch.tensors["held"].mean() == pytest.approx(expected, rel=0.12)
    assert torch.equal(watch.tensors["held"] + watch.weight, known)


def test_only_known_pixels_are_held_out_and_keep_their_weight(random):
    known = torch.rand((1, 1, 100, 100), generator=random)
    known[..., :50] = 0
    watch = HeldOut(9, fraction=0.05, fewest=0).watch(known, random)
    held = watch.tensors["held"] > 0
    assert not (held & (known == 0)).any()
    assert held[..., 50:].float().mean() == pytest.approx(0.05, rel=0.2)
    assert torch.equal(watch.tensors["held"] + watch.weight, known)


def test_few_known_pixels_raise_the_fraction(random):
    known = torch.zeros(1, 1, 200, 200)
    known[..., :100, :100] = 1
    watch = HeldOut(9, fraction=0.02, fewest=800).watch(known, random)
    assert watch.tensors["held"].sum() == pytest.approx(800, rel=0.1)


@pytest.mark.parametrize(
    ("sides", "radius"), [((96, 120), 1), ((96, 120), 2), ((12, 40, 40), 1)]
)
def test_blocks_around_held_out_pixels_leave_the_loss(sides, radius, random):
    known = torch.ones(1, 1, *sides)
    rule = HeldOut(9, fraction=0.09, fewest=0, radius=radius)
    watch = rule.watch(known, random)
    held, weight = watch.tensors["held"] > 0, watch.weight > 0
    assert held.any()
    assert not (held & weight).any()
    # The block of a pixel is everything within the radius along every axis.
    block = (2 * radius + 1,) * len(sides)
    convolve = F.conv2d if len(sides) == 2 else F.conv3d
    near = convolve(held.float(), torch.ones(1, 1, *block), padding=radius) > 0.5
    assert torch.equal(~near, weight)
    # The blocks together cost up to 15 %, less where they overlap.
    assert 0.06 < (~weight).float().mean() <= 0.15


def test_pixels_held_out_follow_the_generator():
    def held(seed):
        random = torch.Generator().manual_seed(seed)
        return HeldOut(9).watch(torch.ones(1, 1, 64, 64), random).tensors["held"]

    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert torch.equal(held(1), held(1))
    assert not torch.equal(held(1), held(2))
    assert torch.equal(torch.get_rng_state(), before)


def test_score_is_the_error_at_held_out_pixels(random):
    known = torch.ones(1, 1, 40, 40)
    watch = HeldOut(9, fewest=100).watch(known, random)
    truth = torch.rand((1, 3, 40, 40), generator=random)
    image = torch.rand((1, 3, 40, 40), generator=random)
    held = (watch.tensors["held"] > 0).expand_as(image)
    error = (image - truth).square()
    expected = torch.stack(
        [e[h].mean() for e, h in zip(error[0], held[0], strict=True)]
    )
    torch.testing.assert_close(watch.score(image, squared(truth)), expected)
    # Errors anywhere else do not count.
    wrong = torch.where(held, image, torch.tensor(7.0))
    torch.testing.assert_close(watch.score(wrong, squared(truth)), expected)


@pytest.mark.parametrize(
    ("inside", "outside"), [(0.04, 0.09), (0.01, 0.04), (0.05, 0.03)]
)
def test_known_variance_judges_fitted_pixels_too(inside, outside, random):
    watch = HeldOut(9, fewest=100, variance=(0.02,)).watch(
        torch.ones(1, 1, 40, 40), random
    )
    errors = torch.where(
        watch.tensors["held"] > 0, torch.tensor(outside), torch.tensor(inside)
    )
    score = float(watch.score(torch.zeros(1, 1, 40, 40), lambda image: errors))
    taken = 1 - min(inside / outside, 1) ** 0.5
    expected = (1 - taken) ** 2 * (outside - 0.02) + taken**2 * 0.02
    assert score == pytest.approx(expected, rel=1e-4)


def test_known_variance_estimates_the_error_of_a_linear_smoother(random):
    """Smooth a noisy image with known weights and compare with the truth."""
    truth = torch.linspace(0, 1, 200).outer(torch.linspace(1, 0, 200))[None, None]
    noisy = truth + 0.1 * torch.randn(truth.shape, generator=random)
    rule = HeldOut(9, fraction=0.1, fewest=0, variance=(0.01,))
    watch = rule.watch(torch.ones_like(truth), random)
    kernel = torch.full((1, 1, 3, 3), 0.05)
    kernel[..., 1, 1] = 0
    around = F.conv2d(F.pad(noisy, [1] * 4, mode="replicate"), kernel) / 0.4
    own = 0.4
    smooth = torch.where(
        watch.tensors["held"] > 0, around, own * noisy + (1 - own) * around
    )
    score = float(watch.score(smooth, squared(noisy)))
    fitted = watch.weight > 0
    error = float((smooth - truth)[fitted].square().mean())
    assert score == pytest.approx(error, rel=0.1)


@pytest.mark.parametrize(
    ("sides", "radius"), [((16, 16), 2), ((16, 16, 16), 3)], ids=str
)
def test_small_images_hold_out_some_pixel(sides, radius):
    for seed in range(20):
        random = torch.Generator().manual_seed(seed)
        watch = HeldOut(9, radius=radius).watch(torch.ones(1, 1, *sides), random)
        assert watch.tensors["held"].any()


# -- the other rules --------------------------------------------------------------


def test_moving_variance_is_the_published_recursion(random):
    outputs = torch.rand((30, 1, 2, 6, 5), generator=random)
    watch = MovingVariance(999, memory=0.2).watch(torch.ones(1, 1, 6, 5), random)
    mean, variance = outputs[0].numpy(), 0.0
    watch.see(outputs[0])
    for output in outputs[1:]:
        watch.see(output)
        now = output.numpy()
        variance = 0.8 * (variance + 0.2 * ((now - mean) ** 2).mean())
        mean = 0.8 * mean + 0.2 * now
        score = float(watch.score(output, squared(0)))
        assert score == pytest.approx(variance, rel=1e-4)


def test_moving_variance_copies_what_it_sees(random):
    watch = MovingVariance(999).watch(torch.ones(1, 1, 4, 4), random)
    output = torch.rand((1, 1, 4, 4), generator=random)
    kept = output.clone()
    watch.see(output)
    watch.see(output + 1)
    assert torch.equal(output, kept)


def test_moving_variance_waits_for_its_warmup(follow, random):
    rule = MovingVariance(9999, patience=50, warmup=100)
    curve = [0] * 9 + [5, 4, 3, 4, 5, 6, 7, 8, 9]  # from step 100 on; lowest at 120
    watch = rule.watch(torch.ones(1, 1, 4, 4), random)
    kept, end, reason = follow(watch, curve)
    assert (kept, end) == (120, 170)
    assert reason == "the variance of the outputs has not fallen for 50 iterations"


def test_plateau_keeps_the_lowest_error_and_waits_for_its_patience(follow, random):
    weight = torch.ones(1, 1, 4, 4)
    watch = Plateau(999, patience=40).watch(weight, random)
    assert watch.weight is weight
    kept, end, reason = follow(watch, [5, 4, 4, 3, 3.5, 3.2, 3, 2.9, *[4] * 9])
    # 30 steps without a lower error at step 70, and then again from step 80 on.
    assert (kept, end) == (80, 120)
    assert "the error" in reason
    assert follow(Plateau(999, patience=40).watch(weight, random), range(99, 0, -1))[
        1:
    ] == (None, None)


def test_plateau_judges_the_error_of_the_average_at_known_pixels(random):
    weight = torch.zeros(1, 1, 4, 4)
    weight[..., 0, :] = 1
    image = torch.full((1, 1, 4, 4), 9.0)
    image[..., 0, :] = 2
    assert float(Plateau(5).watch(weight, random).score(image, squared(0))) == 4


def test_discrepancy_stops_at_the_level_that_is_given(follow, random):
    weight = torch.ones(1, 1, 4, 4)
    watch = Discrepancy(999, level=0.01).watch(weight, random)
    assert watch.weight is weight
    kept, end, reason = follow(watch, [0.5, 0.1, 0.0101, 0.0099, 0.001])
    assert (kept, end) == (40, 40)
    assert reason == "the residual has fallen to the level that was given"
    image = torch.full((1, 1, 4, 4), 0.2)
    assert float(watch.score(image, squared(0))) == pytest.approx(0.04)


@pytest.mark.parametrize(
    "rule",
    [Iterations(7), HeldOut(7), MovingVariance(7), Discrepancy(7, 0.1), Plateau(7)],
)
def test_rules_name_their_maximum(rule):
    assert rule.maximum == 7


@pytest.mark.parametrize(("known_pixels", "radius"), [(1, 0), (4, 5)])
def test_pixels_too_few_to_hold_any_out_are_fitted_and_judged(
    known_pixels, radius, random
):
    known = torch.zeros(1, 1, 20, 20)
    known[..., 3, 5 : 5 + known_pixels] = 1
    watch = HeldOut(9, radius=radius).watch(known, random)
    assert torch.equal(watch.weight, known)
    score = watch.score(torch.full((1, 1, 20, 20), 2.0), squared(0))
    assert float(score) == 4


@pytest.mark.parametrize(("side", "count"), [(40, 160), (200, 2000), (500, 5000)])
def test_an_error_below_nothing_is_as_small_as_can_be_told(side, count, random):
    rule, term, known = (
        HeldOut(9, variance=(0.01,)),
        Squared(),
        torch.ones(1, 1, side, side),
    )
    watch = rule.watch(known, random)
    assert watch.tensors["held"].sum() == count
    # The mean square of as much noise is uncertain by so much.
    assert watch.least == pytest.approx(0.01 * math.sqrt(2 / count))
    assert watch.error(-0.000852, term) == watch.error(0.0, term) > 0
    assert watch.error(0.0, term) == pytest.approx(math.sqrt(watch.least))
    assert watch.error(0.04, term) == pytest.approx(0.2)
    assert HeldOut(9).watch(known, random).error(0.0004, term) == pytest.approx(0.02)


def test_few_held_out_pixels_do_not_make_a_poor_image_look_good(random):
    """Around blocks 64 x 64 pixels leave five, which may be right by chance."""
    watch = HeldOut(9, radius=5).watch(torch.ones(1, 1, 64, 64), random)
    held = watch.tensors["held"] > 0
    assert held.sum() < 10
    lucky = torch.where(held, 0.0, 2.0)
    assert float(watch.score(lucky, squared(0))) == 4
    assert float(watch.score(2 - lucky, squared(0))) == 4
