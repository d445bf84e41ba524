"""cosub export RUN [--format timm|onnx|hub] [--out FOLDER]"""

from typing import Any

from cosub.api.export import Export, export
from cosub.api.parsing import parse
from cosub.runs.tables import number_of


def run(words: list[str], as_json: bool) -> dict[str, Any]:
    values = export(parse(Export, words, "cosub export"))
    if not as_json:
        compared = f"logits of {number_of(values['images'], 'image')} differ by {values['difference']:.1e}"
        print(f"{values['to']}  ({values['format']}; {compared})")
        print("to load it without cosub (its README.md has more):")
        print("\n".join(f"  {line}" for line in values["load"]))
    return values
