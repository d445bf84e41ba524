"""PatchConvNet: convolutional blocks at one resolution, pooled by attention (rows of table 13).

Published in "Augmenting Convolutional networks with attention-based aggregation" (Touvron et al., 2021) and its code:
the structure, widths and depths, LayerScale's initial value, the uniform drop rate, parameters and FLOPs of S60, B60
and B120. The keys of `state_dict` are those of that code. Nothing is inferred; the sizes of L60 and L120 are in the
code. Unlike there, maps stay maps between blocks, so images need not be square.
"""

import itertools

import torch
import torch.nn.functional as F
from jaxtyping import Float
from timm.layers.drop import DropPath
from timm.layers.mlp import Mlp
from timm.layers.norm import LayerNorm2d
from timm.models import checkpoint_seq
from timm.models._efficientnet_blocks import SqueezeExcite
from timm.models._features import feature_take_indices
from torch import Tensor, nn

from cosub.architectures.registration import register

_EPS = 1e-6


class Stem(nn.Module):
    """Four convolutions 3x3 of stride 2 with GELU between them, doubling the channels up to `dim`."""

    def __init__(self, in_chans: int, dim: int) -> None:
        super().__init__()
        widths = [in_chans, dim // 8, dim // 4, dim // 2, dim]
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Sequential(nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False)), nn.GELU()]
        self.proj = nn.Sequential(*layers[:-1])

    def forward(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B D H W"]:
        return self.proj(x)


class Mixer(nn.Module):
    """A block's branch: 1x1, GELU, depthwise 3x3, GELU, gate, 1x1."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        depthwise = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        # The name of the published weights, although there is no query, key or value.
        self.qkv_pos = nn.Sequential(
            nn.Conv2d(dim, dim, 1), nn.GELU(), depthwise, nn.GELU(), SqueezeExcite(dim), nn.Conv2d(dim, dim, 1)
        )

    def forward(self, x: Float[Tensor, "B D H W"]) -> Float[Tensor, "B D H W"]:
        return self.qkv_pos(x)


class PatchConvBlock(nn.Module):
    """One residual layer on maps: LayerNorm over channels, the branch, LayerScale."""

    def __init__(self, dim: int, drop_path: float = 0.0, init_values: float = 1e-6) -> None:
        super().__init__()
        self.norm1 = LayerNorm2d(dim, eps=_EPS)
        self.attn = Mixer(dim)
        self.gamma_1 = nn.Parameter(torch.full((dim,), init_values))
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: Float[Tensor, "B D H W"]) -> Float[Tensor, "B D H W"]:
        return x + self.drop_path(self.gamma_1.view(-1, 1, 1) * self.attn(self.norm1(x)))


class ClassQuery(nn.Module):
    """Attention of one head with one query, made of the class token; it attends to itself and all patches."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.q, self.k, self.v, self.proj = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, x: Float[Tensor, "B N D"]) -> Float[Tensor, "B 1 D"]:
        query, key, value = (part.unsqueeze(1) for part in (self.q(x[:, :1]), self.k(x), self.v(x)))  # its one head
        return self.proj(F.scaled_dot_product_attention(query, key, value).squeeze(1))


class PoolBlock(nn.Module):
    """The pooling: a transformer block that changes the class token alone. It has no stochastic depth, as published."""

    def __init__(self, dim: int, init_values: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=_EPS), nn.LayerNorm(dim, eps=_EPS)
        self.attn = ClassQuery(dim)
        self.mlp = Mlp(dim, 3 * dim)
        self.gamma_1, self.gamma_2 = (nn.Parameter(torch.full((dim,), init_values)) for _ in range(2))

    def forward(self, token: Float[Tensor, "B 1 D"], patches: Float[Tensor, "B N D"]) -> Float[Tensor, "B 1 D"]:
        token = token + self.gamma_1 * self.attn(self.norm1(torch.cat((token, patches), dim=1)))
        return token + self.gamma_2 * self.mlp(self.norm2(token))


class PatchConvNet(nn.Module):
    """Images of any size to logits, like timm's convolutional networks; patches are 16 x 16 pixels.

    Args:
        num_classes: outputs; 0 gives the pooled features `(B, embed_dim)`.
        in_chans: channels of an image.
        embed_dim: width, the same in all blocks.
        depth: blocks, each one residual layer.
        drop_path_rate: rate of stochastic depth, uniform over depth as published.
        init_values: LayerScale's initial value, in the blocks and in the pooling.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        in_chans: int = 3,
        embed_dim: int = 384,
        depth: int = 60,
        drop_path_rate: float = 0.0,
        init_values: float = 1e-6,
    ) -> None:
        super().__init__()
        self.num_features = self.head_hidden_size = embed_dim
        self.feature_info = [
            {"num_chs": embed_dim, "reduction": 16, "module": f"blocks.{index}"} for index in range(depth)
        ]
        self.grad_checkpointing = False
        self.patch_embed = Stem(in_chans, embed_dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.blocks = nn.Sequential(*(PatchConvBlock(embed_dim, drop_path_rate, init_values) for _ in range(depth)))
        self.blocks_token_only = nn.ModuleList([PoolBlock(embed_dim, init_values)])
        self.norm = nn.LayerNorm(embed_dim, eps=_EPS)
        self.head: nn.Module = nn.Identity()
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        self.apply(_initialise)
        self.reset_classifier(num_classes)

    def forward_features(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B D H W"]:
        """Maps before the pooling, at 1/16 of the image's height and width."""
        x = self.patch_embed(x)
        if self.grad_checkpointing:
            return checkpoint_seq(self.blocks, x)
        return self.blocks(x)

    def forward_intermediates(
        self,
        x: Float[Tensor, "B C h w"],
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Maps `(B, D, H, W)` after blocks, as timm's models return them: those of `indices`, the last n, or all.

        Raises:
            ValueError: for `norm`, which comes after the pooling here, and for another format.
        """
        if norm or output_fmt != "NCHW":
            raise ValueError("norm and output_fmt: PatchConvNet returns its maps without a norm, NCHW; leave them out")
        wanted, last = feature_take_indices(len(self.blocks), indices)
        x, taken = self.patch_embed(x), []
        for index, block in enumerate(self.blocks[: last + 1] if stop_early else self.blocks):
            x = block(x)
            if index in wanted:
                taken.append(x)
        return taken if intermediates_only else (x, taken)

    def forward_head(self, x: Float[Tensor, "B D H W"], pre_logits: bool = False) -> Float[Tensor, "B K"]:
        """Attention pooling, norm and classifier; with `pre_logits` without the classifier."""
        patches = x.flatten(2).transpose(1, 2)
        token = self.cls_token.expand(x.shape[0], -1, -1)
        for block in self.blocks_token_only:
            token = block(token, patches)
        pooled = self.norm(token[:, 0])
        return pooled if pre_logits else self.head(pooled)

    def forward(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B K"]:
        return self.forward_head(self.forward_features(x))

    def get_classifier(self) -> nn.Module:
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifier by a new one for `num_classes`; 0 removes it.

        Raises:
            ValueError: for a `global_pool`, because the pooling is learned.
        """
        if global_pool is not None:
            raise ValueError(f"global_pool: {global_pool!r}: PatchConvNet pools by attention; leave it out")
        self.num_classes = num_classes
        self.head = nn.Identity()
        if num_classes:
            like = {"device": self.cls_token.device, "dtype": self.cls_token.dtype}
            self.head = nn.Linear(self.num_features, num_classes, **like)
            _initialise(self.head)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        self.grad_checkpointing = enable

    def no_weight_decay(self) -> set[str]:
        return {"cls_token"}


def _initialise(module: nn.Module) -> None:
    """Initialise linear layers as in a ViT; convolutions keep PyTorch's initialisation, as published."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)


# They take images of any size, so timm must not pass `img_size`.
register(
    PatchConvNet,
    {
        "patchconvnet_s60": {"embed_dim": 384, "depth": 60, "init_values": 1e-4},  # 25.2 M parameters
        "patchconvnet_b60": {"embed_dim": 768, "depth": 60},  # 99.4 M
        "patchconvnet_b120": {"embed_dim": 768, "depth": 120},  # 188.6 M
        "patchconvnet_l60": {"embed_dim": 1024, "depth": 60},  # 176.0 M
        "patchconvnet_l120": {"embed_dim": 1024, "depth": 120},  # 334.3 M
    },
    fixed_input_size=False,
    first_conv="patch_embed.proj.0.0",
)
