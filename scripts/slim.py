"""How long greedy slimming takes on this machine: ViT of width 192, 32 pixels, patches of 4, 24 residual layers to 18.

    python scripts/slim.py        # 1,000 images; prints one JSON object

Weights and images are random, since time does not depend on them.
"""

import json
import time

import timm
import torch

import cosub
from cosub.evaluation.images import Images
from cosub.recipes.inputs import Inputs
from cosub.slimming.scorer import Scorer
from cosub.slimming.strategies import choose


def main(number: int = 1000, depth: int = 18) -> None:
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=4, embed_dim=192, num_classes=10)
    network = cosub.attach(model, drop_rate=0.2).eval()
    pixels = torch.randint(0, 256, (number, 3, 32, 32), dtype=torch.uint8)
    images = Images(pixels, torch.randint(0, 10, (number,)), Inputs())
    scorer = Scorer(network, images, "bce", batch_size=64)
    started, computed = time.perf_counter(), time.process_time()
    kept = choose("greedy", scorer, [depth])[depth]
    row = {"layers": scorer.num_layers, "kept": len(kept), "images": number, "evaluations": scorer.evaluations}
    row |= {"threads": torch.get_num_threads(), "seconds": round(time.perf_counter() - started, 1)}
    print(json.dumps({**row, "cpu_seconds": round(time.process_time() - computed, 1)}))


if __name__ == "__main__":
    main()
