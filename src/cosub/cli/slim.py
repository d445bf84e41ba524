"""cosub slim RUN --keep N [--unit block|layer] [--strategy S] [--calibration PATH] [--heal EPOCHS] | --frontier"""

from typing import Any

from cosub.api.parsing import parse
from cosub.recipes.files import require_run
from cosub.slimming.request import Request


def run(words: list[str], as_json: bool) -> dict[str, Any]:
    request = parse(Request, words, "cosub slim")
    require_run(request.run)
    from cosub.runs import distributed

    with distributed.leaving():
        if request.frontier:
            from cosub.slimming.frontier import frontier, lines

            result = frontier(request)
            if not as_json:
                print("\n".join(lines(result)))
            return result
        from cosub.slimming.slim import slim

        result = slim(request)
        if not as_json:
            print(result["run"] if "healed" not in result else result["healed"]["run"])
        return result
