"""What users do by mistake, or in an order of their own: told in one sentence, or right."""

import copy
import gc
import pickle
import weakref

import pytest
import timm
import torch
from conftest import SMALL, frozen
from test_attach import layers_of
from torch import nn

import cosub
from cosub.losses import check_tensors, dense


@pytest.fixture
def model():
    torch.manual_seed(0)
    return cosub.attach(SMALL["deit3"](), drop_rate=0.5)


def test_the_mode_of_the_model_decides_on_copies(model, images):
    """Parts may be frozen by their own mode, the first blocks too."""
    model.train()
    model.blocks[:1].eval()
    assert (len(model(images)), cosub.state(model).step) == (12, 1)
    model.eval()
    model.blocks[0].train()
    assert (len(model(images)), cosub.state(model).step) == (6, 1)


def test_a_block_in_eval_mode_keeps_all_rows(build, images):
    model = frozen(cosub.attach(build(), drop_rate=0.5).train())
    blocks = [module for module in model.modules() if hasattr(module, "cosub") and module.cosub.num_layers]
    seen = []
    for block in blocks:
        block.run = lambda x, rows, *args, run=block.run, **kwargs: seen.append(rows) or run(x, rows, *args, **kwargs)
    blocks[1].eval()
    model(images)
    assert all(rows is None for rows in seen[1])
    assert all(rows.kept == 6 for rows in seen[0])
    seen.clear()
    with cosub.active(model, cosub.draw(12, (3,) * layers_of(model), torch.Generator())):
        model(images)
    assert all(rows.kept == 3 for rows in seen[1])  # a submodel of the user's choice runs in any mode


def test_the_mode_of_copies_is_their_own(model, images):
    model.train()
    twin = copy.deepcopy(model).eval()
    assert (len(twin(images)), len(model(images))) == (6, 12)
    again = pickle.loads(pickle.dumps(model)).eval()
    again.blocks[0].train()
    assert (len(again(images)), len(model(images))) == (6, 12)
    block = copy.deepcopy(model.blocks[0]).eval()  # a part has the mode of its own
    assert block.cosub.state.model is None
    assert len(block(torch.zeros(6, 17, 24))) == 6


def test_a_model_goes_without_waiting_for_the_garbage_collector(model):
    gc.disable()
    try:
        other = copy.deepcopy(model)
        gone = weakref.ref(other)
        del other
        assert gone() is None
    finally:
        gc.enable()


def test_a_rate_that_drops_nothing_is_reported_once(images):
    model = cosub.attach(SMALL["deit3"](), drop_rate=0.05).train()
    with pytest.warns(UserWarning, match=r"0\.05 of 8 rows drops none.*rounding=\"bernoulli\""):
        model(images[:4])
    model(images[:4])  # warnings are errors here
    by_chance = cosub.attach(SMALL["deit3"](), drop_rate=0.05, rounding="bernoulli").train()
    by_chance(images[:4])


def test_what_attach_refuses():
    model = timm.create_model("test_vit")
    with pytest.raises(ValueError, match=r"compiled: attach first, then cosub\.compile_blocks"):
        cosub.attach(torch.compile(model, backend="eager"), drop_rate=0.1)
    for wrapped in (nn.DataParallel(model), nn.Sequential(nn.DataParallel(model))):
        with pytest.raises(ValueError, match="DistributedDataParallel"):
            cosub.attach(wrapped, drop_rate=0.1)
    with pytest.raises(ValueError, match=r"model: must be a torch\.nn\.Module, got str"):
        cosub.attach("test_vit", drop_rate=0.1)
    for name in ("rounding", "operation"):
        with pytest.raises(ValueError, match=f"{name} must be one of .*, got 'plian'"):
            cosub.attach(model, drop_rate=0.1, **{name: "plian"})
    model.blocks = nn.Sequential(model.blocks[0], model.blocks[1], model.blocks[0])
    with pytest.raises(ValueError, match=r"runs one Block in several places.*copy\.deepcopy"):
        cosub.attach(model, drop_rate=0.1)
    block = timm.create_model("test_vit").blocks[0]
    with pytest.raises(ValueError, match="in several places"):
        cosub.attach(nn.ModuleList([nn.Sequential(block), nn.Sequential(block)]), drop_rate=0.1)
    for seed in (2**63, None, 1.5):
        with pytest.raises(ValueError, match=r"seed must be at least .*an integer; got"):
            cosub.attach(timm.create_model("test_vit"), drop_rate=0.1, seed=seed)
    with pytest.raises(ValueError, match=r"copies must be at least 1 .*got 2\.0"):
        cosub.attach(timm.create_model("test_vit"), drop_rate=0.1, copies=2.0)


def test_an_unknown_way_to_checkpoint_is_refused(model, images):
    cosub.state(model).checkpointing = "Lean"
    with pytest.raises(ValueError, match="checkpointing must be one of none, lean, selective, blocks, got 'Lean'"):
        model.train()(images)


def test_a_flag_of_the_users_own_module_stays_theirs(images):
    class Wrapper(nn.Module):
        def __init__(self):
            super().__init__()
            self.grad_checkpointing = True
            self.network = timm.create_model("test_vit")

    wrapper = cosub.attach(Wrapper(), drop_rate=0.5)
    assert type(wrapper) is Wrapper
    assert wrapper.grad_checkpointing
    assert cosub.state(wrapper).checkpointing == "none"


def test_replicas_and_tracing_are_refused(model, images):
    replica = model.blocks[0]._replicate_for_data_parallel()
    with pytest.raises(RuntimeError, match="use DistributedDataParallel"):
        replica(torch.zeros(12, 17, 24))
    tracer = torch.fx.Tracer()
    tracer.graph = torch.fx.Graph()
    with pytest.raises(RuntimeError, match=r"cannot be traced by torch\.fx: cosub\.detach\(model\) first"):
        model.blocks[0].forward(tracer.create_proxy("placeholder", "x", (), {}))


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
def test_scripting_names_detach(build):
    attached = cosub.attach(build(), drop_rate=0.5)
    with pytest.raises(RuntimeError, match=r"cannot be scripted: cosub\.detach\(model\) first, or use torch\.export"):
        torch.jit.script(attached)


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize(
    "family", ["vit", *(pytest.param(name, marks=pytest.mark.slow) for name in ("resnet", "efficientnet"))]
)
def test_an_attached_model_is_exported_and_traced_in_eval_mode_as_timms_is(build, images):
    attached = cosub.attach(build(), drop_rate=0.5).eval()
    shapes = ({0: torch.export.Dim("batch", min=1, max=64)},)
    exported = torch.export.export(attached, (images,), dynamic_shapes=shapes).module()
    traced = torch.jit.trace(attached, images)
    for some in (images, images[:2]):
        assert torch.equal(exported(some), attached(some))
        assert torch.equal(traced(some), attached(some))
    with pytest.raises(RuntimeError, match=r"in train mode cannot be traced: model\.eval\(\), or cosub\.detach"):
        torch.jit.trace(attached.train(), images)
    assert torch.jit.script(cosub.detach(attached).eval())(images).shape == (6, 5)


LOGITS = torch.zeros(4, 5)


@pytest.mark.parametrize(
    ("logits", "targets", "message"),
    [
        (LOGITS.tolist(), torch.tensor([0, 1]), "logits: must be a tensor, got list"),
        (LOGITS, [0, 1], "targets: must be a tensor, got list"),
        (LOGITS, "01", "targets: must be a tensor, got str"),
        (LOGITS[0], torch.tensor([0, 1]), r"logits: must have shape \(rows, classes\), got \(5,\)"),
        (LOGITS, torch.tensor([[0], [1]]), r"of shape \(images,\) or values of shape \(images, 5\), got \(2, 1\)"),
        (LOGITS, torch.zeros(2, 5, 1), r"got \(2, 5, 1\)"),
        (LOGITS, torch.tensor([0.0, 1.0]), r"must be integers, got torch.float32: pass targets\.long\(\)"),
        (LOGITS, torch.zeros(2, 5, device="meta"), "targets: are on meta and the logits on cpu"),
    ],
)
def test_targets_of_another_kind_are_named(logits, targets, message):
    with pytest.raises(ValueError, match=message):
        check_tensors(logits, targets)


@pytest.mark.parametrize("wrong", [5, -1, -100])
def test_indices_out_of_range_are_named(wrong):
    with pytest.raises(ValueError, match=f"class indices from 0 to 4, got .*{wrong}"):
        cosub.cosub_loss(LOGITS, torch.tensor([0, wrong]))
    with pytest.raises(ValueError, match="class indices from 0 to 4"):
        dense(torch.tensor([0, wrong]), 5)


def test_errors_have_public_names():
    assert issubclass(cosub.InputError, cosub.CosubError)
    assert issubclass(cosub.InputError, ValueError)
    with pytest.raises(cosub.CosubError):
        cosub.load("nowhere")
