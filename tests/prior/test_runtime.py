"""Devices, precisions, global settings, memory."""

import gc
import threading
import weakref

import pytest
import torch

from napari_dip.errors import DeviceFailed, InputError, OutOfMemory
from napari_dip.prior import runtime
from napari_dip.prior.architecture import Architecture
from napari_dip.prior.codes import Noise
from napari_dip.prior.fit import fit, run_to_end
from napari_dip.prior.problem import Prior, Problem, Settings
from napari_dip.prior.runtime import (
    Estimate,
    device_errors,
    kept_pages,
    pick_device,
    pick_dtype,
    step_context,
)
from napari_dip.prior.stopping import Iterations

CPU = torch.device("cpu")


def test_cpu_and_auto():
    assert pick_device("cpu") == CPU
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert pick_device("auto").type == expected


@pytest.mark.parametrize("name", ["gpu", "", "meta", "xpu", "cuda:x"])
def test_unknown_devices_are_refused(name):
    with pytest.raises(InputError, match="device must be auto, cpu, cuda") as caught:
        pick_device(name)
    assert repr(name) in str(caught.value)


def test_absent_devices_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert pick_device("cuda:0").index == 0
    with pytest.raises(InputError, match="'cuda:1' is not there: 1 CUDA GPUs"):
        pick_device("cuda:1")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(InputError, match="'mps' is not there"):
        pick_device("mps")


@pytest.mark.parametrize("name", ["auto", "cuda", "cuda:0"])
def test_a_gpu_that_was_used_before_a_fork_is_refused(monkeypatch, name):
    monkeypatch.setattr(torch.cuda, "_is_in_bad_fork", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(InputError, match="device cuda cannot be used in a process"):
        pick_device(name)
    assert pick_device("cpu") == CPU


def test_precisions(monkeypatch):
    assert pick_dtype("float32", CPU) is torch.float32
    assert pick_dtype("bfloat16", CPU) is torch.bfloat16
    with pytest.raises(InputError, match="auto, float32, bfloat16; got 'float16'"):
        pick_dtype("float16", CPU)


@pytest.mark.parametrize("native", [True, False])
def test_auto_precision_is_bfloat16_where_it_is_native(native, monkeypatch):
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: native, raising=False)
    expected = torch.bfloat16 if native else torch.float32
    assert pick_dtype("auto", CPU) is expected


def test_auto_precision_needs_no_private_name(monkeypatch):
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert pick_dtype("auto", CPU) is torch.float32


def test_the_precision_that_tests_force_reaches_a_fit(precision):
    auto = runtime.pick_dtype("auto", CPU)
    assert precision == "auto" or auto is getattr(torch, precision)
    settings = Settings(Iterations(1), device="cpu")
    prior = Prior(Architecture.uniform(4, 1), Noise(2))
    result = run_to_end(fit(Problem(torch.rand(1, 1, 16, 16)), prior, settings))
    assert result.settings["precision"] == str(auto).removeprefix("torch.")


def test_generator_is_seeded_and_our_own():
    before = torch.get_rng_state()
    one, same, other = (
        torch.rand(5, generator=runtime.generator(seed, CPU)) for seed in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_step_context_holds_what_a_step_needs_and_puts_it_back():
    before = torch.get_num_threads()
    wanted = before + 1

    def failing():
        with step_context(wanted):
            assert torch.is_grad_enabled()
            assert not torch.is_inference_mode_enabled()
            assert torch.get_num_threads() == wanted
            raise KeyError

    with torch.inference_mode(), pytest.raises(KeyError):
        failing()
    assert torch.get_num_threads() == before
    with torch.no_grad():
        with step_context(None):
            assert torch.is_grad_enabled()
            assert torch.get_num_threads() == before
        assert not torch.is_grad_enabled()


@pytest.fixture
def libc(monkeypatch):
    """Return a list of the calls that would have gone to the C library."""
    calls = []

    class Library:
        def mallopt(self, *values):
            calls.append(values)

        def malloc_trim(self, keep):
            calls.append("trim")

    monkeypatch.setattr(runtime, "libc", Library())
    return calls


def test_kept_pages_nest_and_restore_at_the_last(libc):
    with kept_pages():
        assert kept_pages.users == 1
        entered = list(libc)
        assert (runtime.M_MMAP_MAX, 0) in entered
        with kept_pages():
            assert kept_pages.users == 2
        assert libc == entered
    assert kept_pages.users == 0
    # glibc's own defaults, malloc(3).
    assert libc[len(entered) :] == [
        (runtime.M_MMAP_MAX, 65536),
        (runtime.M_TRIM_THRESHOLD, 128 * 1024),
        "trim",
    ]


def test_kept_pages_are_given_back_after_an_error(libc):
    with pytest.raises(KeyError), kept_pages():
        raise KeyError
    assert kept_pages.users == 0
    assert libc[-1] == "trim"


def test_kept_pages_count_across_threads(libc):
    def use():
        for _ in range(200):
            with kept_pages():
                pass

    threads = [threading.Thread(target=use) for _ in range(4)]
    with kept_pages():
        entered = len(libc)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert kept_pages.users == 1
        assert len(libc) == entered
    assert kept_pages.users == 0


def test_kept_pages_without_glibc(monkeypatch):
    monkeypatch.setattr(runtime, "libc", None)
    with kept_pages():
        assert kept_pages.users == 1
    assert kept_pages.users == 0


def test_free_memory_of_the_cpu_is_plausible():
    free = runtime.free_memory(CPU)
    assert free is None or 2**20 < free < 2**50


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
        RuntimeError(
            "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"
        ),
    ],
    ids=lambda e: str(e)[:20] or type(e).__name__,
)
def test_lack_of_memory_becomes_one_error(error):
    tensors = []

    def step():
        tensor = torch.zeros(3)
        tensors.append(weakref.ref(tensor))
        raise error

    with (
        pytest.raises(OutOfMemory, match="what would fit; take a smaller") as caught,
        device_errors(lambda: "what would fit"),
    ):
        step()
    assert not isinstance(caught.value, RuntimeError)
    on_gpu = any(name in str(error) for name in ("CUDA", "MPS"))
    assert ("too little GPU memory" in str(caught.value)) == on_gpu
    assert ("device=cpu" in str(caught.value)) == on_gpu
    # The tensors of the failed step are let go.
    assert tensors[0]() is None


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: unspecified launch failure\nCompile with"),
        RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
        RuntimeError("CUDA error: CUBLAS_STATUS_INTERNAL_ERROR when calling"),
        getattr(torch, "AcceleratorError", RuntimeError)("CUDA error: of its own"),
    ],
    ids=lambda e: str(e)[:20],
)
def test_failures_of_a_device_become_one_line(error):
    tensors = []

    def step():
        tensor = torch.zeros(3)
        tensors.append(weakref.ref(tensor))
        raise error

    with pytest.raises(DeviceFailed) as caught, device_errors(lambda: "no"):
        step()
    first = str(error).splitlines()[0]
    assert str(caught.value) == f"the device has failed: {first}"
    assert tensors[0]() is None


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), ValueError("x")])
def test_other_errors_pass(error):
    with pytest.raises(type(error)) as caught, device_errors(lambda: "no"):
        raise error
    assert caught.value is error


def test_saved_bytes_are_counted_without_computing():
    def saved(side):
        with torch.device("meta"):
            network = Architecture.uniform(8, 3).build(4, 1, (32, 32), None)
            code = torch.empty(1, 4, side, side)
        return runtime.saved_bytes(network, code)

    assert saved(128) / saved(64) == pytest.approx(4, rel=0.05)
    assert saved(64) > 4 * 64 * 64 * 4
    with torch.no_grad():
        under = saved(64)
    assert under == saved(64)


def test_counting_saved_bytes_keeps_nothing():
    with torch.device("meta"):
        network = Architecture.uniform(8, 3).build(4, 1, (32, 32), None)
        code = torch.empty(1, 4, 64, 64)
    runtime.saved_bytes(network, code)
    alive = weakref.ref(next(network.parameters()))
    del network
    gc.collect()
    assert alive() is None


def test_estimate_says_whether_it_fits():
    assert Estimate(100, 100).fits
    assert not Estimate(101, 100).fits
    assert Estimate(10**18, None).fits


@pytest.mark.parametrize(("ndim", "side"), [(2, 512), (3, 64)])
def test_advice_names_a_size_that_fits(ndim, side):
    pixels = (2 * side + 20) ** ndim
    gib = 2**30
    needed = Estimate(2**ndim * gib, gib)
    text = needed.advice(pixels, ndim)
    assert f"needs about {2**ndim}.0 GiB and 1.0 GiB are free" in text
    assert " x ".join([str(side)] * ndim) + " pixels" in text


def test_advice_names_no_size_where_none_fits():
    text = Estimate(2**30, 2**20).advice(256**2, 2)
    assert text == "the fit needs about 1.0 GiB and 1.0 MiB are free"


def test_advice_where_nothing_is_known_names_no_size():
    assert "more than there is" in Estimate(2**30, None).advice(100, 2)


def test_advice_names_no_size_where_the_estimate_was_too_low():
    text = Estimate(2**30, 2**31).advice(100, 2)
    assert text == "the fit needs about 1.0 GiB, more than there is"


def test_a_module_on_another_device_is_copied():
    module = torch.nn.Linear(2, 2)
    assert runtime.module_on(module, torch.device("cpu")) is module
    copy = runtime.module_on(module, torch.device("meta"))
    assert {p.device.type for p in copy.parameters()} == {"meta"}
    assert {p.device.type for p in module.parameters()} == {"cpu"}
