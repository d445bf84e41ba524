"""What can be seen on a GPU alone."""

import pytest
import torch
from conftest import SMALL

import cosub

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("name", ["deit3", "swin", "convnext"])
def test_a_step_never_waits_for_the_device(name, compiled):
    """In forward, loss and backward; the first step compiles, and warms up what allocates."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    torch.manual_seed(0)
    model = cosub.attach(SMALL[name](), drop_rate=0.5).cuda().train()
    if compiled:
        cosub.compile_blocks(model)
    images, labels = torch.randn(6, 3, 32, 32, device="cuda"), torch.arange(6, device="cuda") % 5
    for step in range(3):
        torch.cuda.set_sync_debug_mode("error" if step else "default")
        try:
            with torch.autocast("cuda", torch.bfloat16):
                loss = cosub.cosub_loss(model(images), labels)
            loss.backward()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert loss.isfinite()


@pytest.mark.parametrize("name", sorted(SMALL))
@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_every_family_trains_under_autocast(name, precision):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    torch.manual_seed(0)
    model = cosub.attach(SMALL[name](), drop_rate=0.5).cuda().train()
    with torch.autocast("cuda", precision):
        loss = cosub.cosub_loss(model(torch.randn(6, 3, 32, 32, device="cuda")), torch.arange(6, device="cuda") % 5)
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
