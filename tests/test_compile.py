"""torch.compile. Run by its own pytest command, without the shape-checking hook, which would break the graph."""

import pytest
import timm
import torch
from torch._dynamo.testing import CompileCounterWithBackend

import cosub

pytestmark = pytest.mark.compile


@pytest.mark.parametrize("backend", ["eager", "aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_one_graph_for_every_table(images, table, backend):
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = cosub.attach(timm.create_model("vit_tiny_patch16_224", img_size=32, depth=2), drop_rate=0.5).train()
    counter = CompileCounterWithBackend(backend)
    compiled = torch.compile(model, backend=counter, fullgraph=True)
    for seed in range(3):
        with cosub.active(model, table(4, 12, seed=seed)):
            expected, ours = gradients(model, model(images)), gradients(model, compiled(images))
        for name in expected:
            torch.testing.assert_close(ours[name], expected[name], rtol=1e-5, atol=1e-5)
    assert counter.frame_count == 1
    torch._dynamo.reset()


def gradients(model, logits):
    model.zero_grad()
    logits.square().mean().backward()
    return {"logits": logits.detach(), **{name: p.grad.clone() for name, p in model.named_parameters()}}
