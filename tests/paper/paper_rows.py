"""What the paper prints in tables 1 to 12, 14, B.1 and B.2 of its baseline and of co-training, typed off the paper.

Rows of other authors' results are left out. Epochs are those of the training that the number is measured after, with ?
where the paper does not say them.
"""

from dataclasses import dataclass

# table | row | timm's model | epochs | pixels | baseline | cosub
_PAIRS = """
1 | ViT-S | deit3_small_patch16_224  | 800 | 224 | 81.4 | 81.5
1 | ViT-M | deit3_medium_patch16_224 | 800 | 224 | 82.5 | 82.8
1 | ViT-B | deit3_base_patch16_224   | 800 | 224 | 83.7 | 83.9
1 | ViT-L | deit3_large_patch16_224  | 800 | 224 | 84.5 | 84.9
1 | ViT-H | deit3_huge_patch14_224   | 800 | 224 | 84.9 | 85.5
2 | ViT-L       | deit3_large_patch16_224       | 800 | 224 | 84.5 | 84.9
2 | CaiT-L24    | cait_l24_224                  | ? | 224 | 83.8 | 84.4
2 | PiT-B       | pit_b_224                     | 400 | 224 | 83.8 | 84.1
2 | XCiT-L12    | xcit_large_12_p16_224         | ? | 224 | 82.6 | 83.0
2 | Swin-B      | swin_base_patch4_window7_224  | ? | 224 | 82.9 | 83.3
2 | Swin-L      | swin_large_patch4_window7_224 | ? | 224 | 80.8 | 84.0
2 | ResNet-50   | resnet50                      | ? | 224 | 80.2 | 80.3
2 | ResNet-101  | resnet101                     | ? | 224 | 81.8 | 82.1
2 | ResNet-152  | resnet152                     | ? | 224 | 82.4 | 83.1
2 | RegNet-16GF | regnety_160                   | ? | 224 | 82.9 | 83.8
6 | CaiT-M12 | cait_m12_224           | 400  | 224 | 83.2 72.9 | 83.7 73.5
6 | CaiT-M12 | cait_m12_224           | 800  | 224 | 82.9 72.6 | 83.6 73.1
6 | PiT-B    | pit_b_224              | 400  | 224 | 83.8 73.6 | 84.1 74.1
6 | PiT-B    | pit_b_224              | 800  | 224 | 82.4 71.9 | 83.1 72.8
6 | ViT-B    | deit3_base_patch16_224 | 400  | 224 | 83.1 72.6 | 83.2 73.1
6 | ViT-B    | deit3_base_patch16_224 | 800  | 224 | 83.7 73.1 | 83.9 73.5
6 | ViT-B    | deit3_base_patch16_224 | 1200 | 224 | 83.3 72.8 | -
6 | ViT-B    | deit3_base_patch16_224 | 1600 | 224 | 83.3 73.4 | -
6 | ViT-H    | deit3_huge_patch14_224 | 400  | 224 | 84.8 75.3 | 85.0 75.8
6 | ViT-H    | deit3_huge_patch14_224 | 800  | 224 | 84.9 75.6 | 85.5 76.3
8 | ViT-B, 128x128 | deit3_base_patch16_224  | 20  | 224 | 83.5 73.4 | 83.8 74.0
8 | ViT-B, 192x192 | deit3_base_patch16_224  | 20  | 224 | 83.8 73.6 | 84.1 74.0
8 | ViT-B, 224x224 | deit3_base_patch16_224  | 800 | 224 | 83.7 73.1 | 83.9 73.5
8 | ViT-L, 128x128 | deit3_large_patch16_224 | 20  | 224 | 84.5 74.7 | 85.1 75.5
8 | ViT-L, 192x192 | deit3_large_patch16_224 | 20  | 224 | 84.9 75.1 | 85.2 75.7
8 | ViT-L, 224x224 | deit3_large_patch16_224 | 800 | 224 | 84.5 75.0 | 84.9 75.6
8 | ViT-H, 126x126 | deit3_huge_patch14_224  | 20  | 224 | 85.1 75.6 | 85.6 76.4
8 | ViT-H, 182x182 | deit3_huge_patch14_224  | 20  | 224 | 85.1 75.9 | 85.7 76.6
8 | ViT-H, 224x224 | deit3_huge_patch14_224  | 800 | 224 | 84.9 75.6 | 85.5 76.3
9 | ViT-S, 112 | deit3_small_patch16_224  | 50 | 112 | - | 78.0 66.6
9 | ViT-S, 224 | deit3_small_patch16_224  | 50 | 224 | - | 83.1 73.7
9 | ViT-S, 336 | deit3_small_patch16_224  | 50 | 336 | - | 84.6 75.1
9 | ViT-S, 448 | deit3_small_patch16_224  | 50 | 448 | - | 85.2 76.3
9 | ViT-M, 112 | deit3_medium_patch16_224 | 50 | 112 | - | 80.6 69.6
9 | ViT-M, 224 | deit3_medium_patch16_224 | 50 | 224 | - | 85.0 76.0
9 | ViT-M, 336 | deit3_medium_patch16_224 | 50 | 336 | - | 86.0 76.8
9 | ViT-M, 448 | deit3_medium_patch16_224 | 50 | 448 | - | 86.3 77.2
9 | ViT-B, 112 | deit3_base_patch16_224   | 50 | 112 | - | 82.8 72.1
9 | ViT-B, 224 | deit3_base_patch16_224   | 50 | 224 | - | 86.3 77.0
9 | ViT-B, 336 | deit3_base_patch16_224   | 50 | 336 | - | 86.9 77.9
9 | ViT-B, 448 | deit3_base_patch16_224   | 50 | 448 | - | 87.4 78.3
9 | ViT-L, 112 | deit3_large_patch16_224  | 50 | 112 | - | 85.4 75.7
9 | ViT-L, 224 | deit3_large_patch16_224  | 50 | 224 | - | 87.5 79.1
9 | ViT-L, 336 | deit3_large_patch16_224  | 50 | 336 | - | 88.1 79.8
9 | ViT-L, 448 | deit3_large_patch16_224  | 50 | 448 | - | 88.3 80.0
9 | ViT-H, 112 | deit3_huge_patch14_224   | 50 | 112 | - | 86.2 76.9
9 | ViT-H, 224 | deit3_huge_patch14_224   | 50 | 224 | - | 88.0 79.6
9 | ViT-g, 112 | deit3_giant_patch14_224  | 50 | 112 | - | 86.5 77.3
10 | ViT-S, 90 epochs               | deit3_small_patch16_224 | 50 | 224 | 82.6 | 82.5
10 | ViT-S, 90 epochs, layer decay  | deit3_small_patch16_224 | 50 | 224 | - | 82.7
10 | ViT-S, 270 epochs              | deit3_small_patch16_224 | 50 | 224 | - | 82.8
10 | ViT-S, 270 epochs, layer decay | deit3_small_patch16_224 | 50 | 224 | - | 83.1
10 | ViT-B, 90 epochs               | deit3_base_patch16_224  | 50 | 224 | 85.2 | 85.8
10 | ViT-B, 90 epochs, layer decay  | deit3_base_patch16_224  | 50 | 224 | - | 86.0
10 | ViT-B, 270 epochs              | deit3_base_patch16_224  | 50 | 224 | - | 86.0
10 | ViT-B, 270 epochs, layer decay | deit3_base_patch16_224  | 50 | 224 | - | 86.3
10 | ViT-L, 90 epochs               | deit3_large_patch16_224 | 50 | 224 | 86.8 | 87.4
10 | ViT-L, 90 epochs, layer decay  | deit3_large_patch16_224 | 50 | 224 | - | 87.5
10 | ViT-L, 270 epochs              | deit3_large_patch16_224 | 50 | 224 | - | 87.4
10 | ViT-L, 270 epochs, layer decay | deit3_large_patch16_224 | 50 | 224 | - | 87.5
11 | ResNet-101   | resnet101               | ?   | 224 | - | 82.1 70.8
11 | ResNet-152   | resnet152               | ?   | 224 | - | 83.1 72.1
11 | RegNetY-16GF | regnety_160             | ?   | 224 | - | 83.8 72.8
11 | PiT-S        | pit_s_224               | ?   | 224 | - | 81.3 69.7
11 | PiT-B        | pit_b_224               | 400 | 224 | - | 84.1 74.1
11 | ViT-S        | deit3_small_patch16_224 | 800 | 224 | 81.4 70.5 | 81.5 70.8
11 | ViT-B        | deit3_base_patch16_224  | 20  | 224 | 83.8 73.6 | 84.2 74.2
11 | ViT-L        | deit3_large_patch16_224 | 20  | 224 | 84.9 75.1 | 85.3 75.5
11 | ViT-H        | deit3_huge_patch14_224  | 20  | 224 | 85.2 75.9 | 85.7 76.6
12 | ResNet-152   | resnet152                     | 50 | 224 | - | 83.1 73.1
12 | RegNetY-16GF | regnety_160                   | 50 | 224 | - | 84.2 74.7
12 | ConvNeXt-S   | convnext_small                | 50 | 224 | - | 85.2 76.0
12 | ConvNeXt-B   | convnext_base                 | 50 | 224 | - | 85.8 76.9
12 | Swin-B       | swin_base_patch4_window7_224  | 50 | 224 | - | 86.2 77.2
12 | Swin-L       | swin_large_patch4_window7_224 | 50 | 224 | - | 87.1 78.1
12 | PiT-B        | pit_b_224                     | 50 | 224 | - | 85.8 76.8
12 | XCiT-S12     | xcit_small_12_p16_224         | 50 | 224 | - | 84.2 74.9
12 | XCiT-M24     | xcit_medium_24_p16_224        | 50 | 224 | - | 86.5 78.0
12 | XCiT-L24     | xcit_large_24_p16_224         | 50 | 224 | - | 87.2 77.8
12 | ViT-S        | deit3_small_patch16_224       | 50 | 224 | - | 83.1 73.7
12 | ViT-M        | deit3_medium_patch16_224      | 50 | 224 | - | 85.0 76.0
12 | ViT-B        | deit3_base_patch16_224        | 50 | 224 | 85.7 76.5 | 86.3 77.0
12 | ViT-L        | deit3_large_patch16_224       | 50 | 224 | 87.0 78.6 | 87.5 79.1
12 | ViT-H        | deit3_huge_patch14_224        | 50 | 224 | 87.2 79.2 | 88.0 80.0
14 | ViT-S, Cifar-10  | deit3_small_patch16_224 | ? | 224 | 98.9 | 99.1
14 | ViT-S, Cifar-100 | deit3_small_patch16_224 | ? | 224 | 90.6 | 91.7
14 | ViT-S, Flowers   | deit3_small_patch16_224 | ? | 224 | 96.4 | 97.4
14 | ViT-S, Cars      | deit3_small_patch16_224 | ? | 224 | 89.9 | 93.0
14 | ViT-S, iNat-18   | deit3_small_patch16_224 | ? | 224 | 67.1 | 70.1
14 | ViT-S, iNat-19   | deit3_small_patch16_224 | ? | 224 | 72.7 | 75.6
14 | ViT-B, Cifar-10  | deit3_base_patch16_224  | ? | 224 | 99.3 | 99.1
14 | ViT-B, Cifar-100 | deit3_base_patch16_224  | ? | 224 | 92.5 | 92.6
14 | ViT-B, Flowers   | deit3_base_patch16_224  | ? | 224 | 98.6 | 98.4
14 | ViT-B, Cars      | deit3_base_patch16_224  | ? | 224 | 93.4 | 93.5
14 | ViT-B, iNat-18   | deit3_base_patch16_224  | ? | 224 | 73.6 | 74.1
14 | ViT-B, iNat-19   | deit3_base_patch16_224  | ? | 224 | 78.0 | 78.1
14 | ViT-L, Cifar-10  | deit3_large_patch16_224 | ? | 224 | 99.3 | 99.4
14 | ViT-L, Cifar-100 | deit3_large_patch16_224 | ? | 224 | 93.4 | 93.5
14 | ViT-L, Flowers   | deit3_large_patch16_224 | ? | 224 | 98.9 | 98.8
14 | ViT-L, Cars      | deit3_large_patch16_224 | ? | 224 | 94.5 | 94.5
14 | ViT-L, iNat-18   | deit3_large_patch16_224 | ? | 224 | 75.6 | 76.2
14 | ViT-L, iNat-19   | deit3_large_patch16_224 | ? | 224 | 79.3 | 80.1
B.1 | ResNet-152  | resnet152                     | 50 | 224 | - | 83.1 73.1
B.1 | RegNet-16GF | regnety_160                   | 50 | 224 | - | 84.2 74.7
B.1 | PiT-B       | pit_b_224                     | 50 | 224 | - | 85.8 76.8
B.1 | ConvNeXt-S  | convnext_small                | 50 | 224 | - | 85.2 76.0
B.1 | ConvNeXt-B  | convnext_base                 | 50 | 224 | - | 85.8 76.9
B.1 | XCiT-S12    | xcit_small_12_p16_224         | 50 | 224 | - | 84.2 74.9
B.1 | XCiT-M24    | xcit_medium_24_p16_224        | 50 | 224 | - | 86.5 77.9
B.1 | XCiT-L24    | xcit_large_24_p16_224         | 50 | 224 | - | 87.2 77.8
B.1 | Swin-B      | swin_base_patch4_window7_224  | 50 | 224 | - | 86.2 77.2
B.1 | Swin-L      | swin_large_patch4_window7_224 | 50 | 224 | - | 87.1 78.1
B.2 | ViT-B, 1k, 400 epochs  | deit3_base_patch16_224  | 20 | 224 | - | 83.8 88.6 73.5
B.2 | ViT-B, 1k, 800 epochs  | deit3_base_patch16_224  | 20 | 224 | - | 84.2 88.5 74.2
B.2 | ViT-L, 1k, 400 epochs  | deit3_large_patch16_224 | 20 | 224 | - | 85.0 89.4 75.5
B.2 | ViT-L, 1k, 800 epochs  | deit3_large_patch16_224 | 20 | 224 | - | 85.3 89.2 75.5
B.2 | ViT-B, 21k, 90 epochs  | deit3_base_patch16_224  | 50 | 224 | - | 86.0 89.8 77.0
B.2 | ViT-B, 21k, 270 epochs | deit3_base_patch16_224  | 50 | 224 | - | 86.3 89.7 77.0
B.2 | ViT-L, 21k, 90 epochs  | deit3_large_patch16_224 | 50 | 224 | - | 87.5 90.3 79.1
B.2 | ViT-B, MAE, 1600 epochs      | vit_base_patch16_224   | 100 | 224 | 83.6 88.1 73.2 | -
B.2 | ViT-L, MAE, 1600 epochs      | vit_large_patch16_224  | 50  | 224 | 85.9 89.4 76.5 | -
B.2 | ViT-B, BeiT, 150 epochs      | beit_base_patch16_224  | 50  | 224 | 83.7 88.2 73.1 | -
B.2 | ViT-B, BeiT, 150 + 90 epochs | beit_base_patch16_224  | 50  | 224 | 85.2 89.4 75.4 | -
B.2 | ViT-L, BeiT, 150 epochs      | beit_large_patch16_224 | 50  | 224 | 86.0 89.6 76.7 | -
B.2 | ViT-L, BeiT, 150 + 90 epochs | beit_large_patch16_224 | 50  | 224 | 87.5 90.1 78.8 | -
"""

# table | row | timm's model | pixels | method | a setting of it | numbers; all of 800 epochs
_ABLATIONS = """
3 | ViT-H, BCE-soft   | deit3_huge_patch14_224  | 126 | cosub         | loss bce-soft | 83.5
3 | ViT-H, BCE-hard   | deit3_huge_patch14_224  | 126 | cosub         | loss bce-hard | 83.5
3 | ViT-H, CE-hard    | deit3_huge_patch14_224  | 126 | cosub         | loss ce-hard  | 81.9
4 | ViT-L, supervised   | deit3_large_patch16_224 | 224 | supervised    | loss bce      | 84.5
4 | ViT-L, KD           | deit3_large_patch16_224 | 224 | distill       | weight 0.5    | 85.3
4 | ViT-L, mean teacher | deit3_large_patch16_224 | 224 | mean-teacher  | weight 0.5    | 84.4
4 | ViT-L, co-training  | deit3_large_patch16_224 | 224 | cotrain       | weight 0.5    | 82.6
4 | ViT-L, cosub        | deit3_large_patch16_224 | 224 | cosub         | weight 0.5    | 84.9
4 | ViT-L, KD + cosub   | deit3_large_patch16_224 | 224 | cosub-distill | weight 0.25   | 85.3
4 | ViT-H, supervised   | deit3_huge_patch14_224  | 224 | supervised    | loss bce      | 84.9
4 | ViT-H, KD           | deit3_huge_patch14_224  | 224 | distill       | weight 0.5    | 85.3
4 | ViT-H, mean teacher | deit3_huge_patch14_224  | 224 | mean-teacher  | weight 0.5    | 83.4
4 | ViT-H, co-training  | deit3_huge_patch14_224  | 224 | cotrain       | weight 0.5    | 83.1
4 | ViT-H, cosub        | deit3_huge_patch14_224  | 224 | cosub         | weight 0.5    | 85.5
4 | ViT-H, KD + cosub   | deit3_huge_patch14_224  | 224 | cosub-distill | weight 0.25   | 85.7
5 | ViT-H, lambda 0.1 | deit3_huge_patch14_224  | 126 | cosub         | weight 0.1    | 79.05
5 | ViT-H, lambda 0.3 | deit3_huge_patch14_224  | 126 | cosub         | weight 0.3    | 83.27
5 | ViT-H, lambda 0.5 | deit3_huge_patch14_224  | 126 | cosub         | weight 0.5    | 83.55
5 | ViT-H, lambda 0.7 | deit3_huge_patch14_224  | 126 | cosub         | weight 0.7    | 83.20
5 | ViT-H, lambda 0.9 | deit3_huge_patch14_224  | 126 | cosub         | weight 0.9    | 83.04
5 | ViT-H, lambda 1   | deit3_huge_patch14_224  | 126 | cosub         | weight 1.0    | 82.91
7 | ViT-L, DeiT-III       | deit3_large_patch16_224 | 224 | supervised | rounding masked | 21.4 8
7 | ViT-L, DeiT-III + ESD | deit3_large_patch16_224 | 224 | supervised | loss bce      | 15.1 9
7 | ViT-L, cosub          | deit3_large_patch16_224 | 224 | cosub      | loss bce-soft | 26.9 16
7 | ViT-H, DeiT-III       | deit3_huge_patch14_224  | 224 | supervised | rounding masked | 27.6 12
7 | ViT-H, DeiT-III + ESD | deit3_huge_patch14_224  | 224 | supervised | loss bce      | 15.2 11
7 | ViT-H, cosub          | deit3_huge_patch14_224  | 224 | cosub      | loss bce-soft | 25.0 17
"""


@dataclass(frozen=True)
class Row:
    table: str
    row: str
    model: str
    epochs: int | None
    pixels: int
    method: str
    numbers: tuple[float, ...]
    setting: tuple[str, str] = ("", "")


def _cells(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")] for line in text.strip().splitlines()]


def _numbers(cell: str) -> tuple[float, ...]:
    return tuple(float(number) for number in cell.split() if number != "-")


def _rows() -> list[Row]:
    found = []
    for table, row, model, epochs, pixels, *scores in _cells(_PAIRS):
        for method, cell in zip(("supervised", "cosub"), scores, strict=True):
            if numbers := _numbers(cell):
                known = None if epochs == "?" else int(epochs)
                found.append(Row(table, row, model, known, int(pixels), method, numbers))
    for table, row, model, pixels, method, setting, numbers in _cells(_ABLATIONS):
        name, value = setting.split()
        found.append(Row(table, row, model, 800, int(pixels), method, _numbers(numbers), (name, value)))
    return found


ROWS = _rows()
