"""A micro-step: how the images of some groups become a gradient."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor

from cosub.attachment import active, state
from cosub.data.loading import Batch, Slice
from cosub.errors import InputError
from cosub.recipes.recipe import Recipe
from cosub.seeds import derive
from cosub.submodel import Submodel, concatenate
from cosub.train.few_rows import enough_rows
from cosub.train.methods import Method
from cosub.train.networks import STUDENT, Networks
from cosub.train.parallel import Runners
from cosub.train.tasks import Task


@dataclass(frozen=True)
class MicroStep:
    """Forward, loss and backward of a recipe."""

    task: Task
    method: Method
    share: Slice
    device: torch.device
    precision: torch.dtype
    scaler: torch.GradScaler

    def run(self, networks: Networks, runners: Runners, batch: Batch, step: int, micro_step: int) -> Tensor:
        """Add to the gradients. Returns this part of the step's (loss, accuracy, skipped), still on the device.

        Args:
            networks: all networks of the run.
            runners: the trained ones, possibly wrapped for several processes.
            batch: images and labels of this process in the micro-step.
            step: the step of the run, from 0; random choices are seeded by it.
            micro_step: the micro-step of the step, from 0.
        """
        groups = self.share.groups(micro_step)
        torch.manual_seed(derive("step", self.task.recipe.seed, step, groups.start))
        labels = batch.labels.to(self.device, non_blocking=True)
        images, targets = self.task.prepare(batch.images.to(self.device, non_blocking=True), labels, step, groups)
        with ExitStack() as stack, self.autocast():
            for name, network in networks.trained.items():
                stack.enter_context(active(network, self.submodel(networks, name, step, groups)))
            stack.enter_context(enough_rows(step))
            loss, logits = self.method({**networks.others, **runners}, images, targets)
        loss = loss / self.share.micro_steps
        self.scaler.scale(loss).backward()
        accuracy, skipped = self.task.observe(logits, labels)
        return torch.stack([loss.detach(), accuracy / self.share.micro_steps, skipped])

    def autocast(self) -> torch.autocast:
        """The context of the forward pass and the loss."""
        return torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32)

    def repeat(self, networks: Networks, batches: Sequence[Batch], step: int) -> float:
        """Run a whole step again for its gradients; returns its loss."""
        for network in networks.trained.values():
            network.zero_grad(set_to_none=True)
        return sum(
            self.run(networks, networks.trained, batch, step, part)[0].item() for part, batch in enumerate(batches)
        )

    def submodel(self, networks: Networks, name: str, step: int, groups: range) -> Submodel:
        """The submodel of some groups of a step for one of the networks, each drawn from (seed, step, group)."""
        recipe, copies = self.task.recipe, self.method.copies
        purpose = "submodel" if name == STUDENT else f"submodel of the {name}"
        tables = []
        for group in groups:
            generator = torch.Generator().manual_seed(derive(purpose, recipe.seed, step, group))
            tables.append(state(networks.student).draw(copies * recipe.group_size, generator))
        return concatenate(tables, copies)


def choose_precision(recipe: Recipe, device: torch.device) -> torch.dtype:
    """The recipe's precision on a device; auto is bf16 if the GPU has it.

    Raises:
        InputError: for fp16 without a GPU, or sharded.
    """
    chosen = recipe.precision
    if chosen == "auto":
        chosen = "bf16" if device.type == "cuda" and _has_bf16() else "fp32"
    if chosen == "fp16" and device.type != "cuda":
        raise InputError("precision: 'fp16': needs a GPU; take bf16 or fp32")
    if chosen == "fp16" and recipe.runtime.parallel == "fsdp":
        raise InputError("precision: 'fp16': its loss scaling does not work with --parallel fsdp; take bf16 or fp32")
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[chosen]


def precision_cautions(recipe: Recipe, device: torch.device) -> list[str]:
    """A sentence where auto leaves the speed of a GPU unused."""
    sharded = recipe.runtime.parallel == "fsdp"  # for which there is no fp16
    if recipe.precision != "auto" or device.type != "cuda" or sharded or _has_bf16():
        return []
    return ["precision: auto is fp32 on this GPU, which has no bf16: --precision fp16 is faster there, and stores less"]


def _has_bf16() -> bool:
    return torch.cuda.is_bf16_supported(including_emulation=False)
