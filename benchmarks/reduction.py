"""Does a run with `--reduce` reach the objective of a whole network sooner? J in float32 against seconds, three pairs.

    python -m benchmarks.reduction --size=256 --steps=160 --store=out/reduction.jsonl

The network is HED's VGG16, all else are defaults. The whole network in float32 judges each picture of the last size,
while the clock stands still. The seconds are counted: those of choosing channels, of the first step of each network
and size beyond an ordinary one, and of all steps by the median of their kind. So J may be measured beside other work
(`--part=objectives`), and the times (`--part=times`) alone. What --store has is not measured again: parts and pairs
may be measured one by one, and the last command prints the table of all. The rule for a default: 1.02 times the J that
the whole network ends at is reached in at most 0.75 of its seconds, on all pairs.
"""

import json
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from absl import flags

from benchmarks.embedded_default import PAIRS, pair_config
from benchmarks.objective import float32_objective
from nst_tf.config import StylizeConfig
from nst_tf.recipes.stylize.network import Network
from nst_tf.recipes.stylize.plan import Decided, resolve
from nst_tf.recipes.stylize.steps import load_network, set_up, stylize
from nst_tf.runtime import start_tensorflow

FACTORS, ENOUGH = (1.02, 1.05), 0.75
VARIANTS = ["qr:0.5@0.15", "qr:0.5@0.3", "qr:0.5@0.6", "qr:0.5@1", "distinctiveness:15@1"]
JUDGED_EVERY = 8
TIMED_STEPS = 50  # of a run that is timed: five at each smaller size

Entry = dict[str, Any]


def configs(base: StylizeConfig, variants: Sequence[str]) -> Iterator[tuple[str, StylizeConfig]]:
    """("none", the whole network), then each METHOD:NUMBER@SHARE."""
    yield "none", base
    for variant in variants:
        method, _, share = variant.partition("@")
        yield variant, replace(base, reduce=method, reduce_share=float(share))


def objectives(config: StylizeConfig, network: Network) -> list[tuple[int, float]]:
    """(steps done, J) of a run at its last size."""
    evaluate, found = float32_objective(config), []
    last = len(resolve(config).stages) - 1
    for progress in stylize(config, network=network):
        if progress.stage == last and (progress.stage_step % JUDGED_EVERY == 0 or progress.ends_stage):
            found.append((progress.step, evaluate(progress.picture())))
    return found


def times(config: StylizeConfig, network: Network) -> Entry:
    """Seconds of a short run of one network: of choosing channels, and of each size [the first step's more, a step]."""
    config = replace(config, steps=TIMED_STEPS, reduce_share=None if config.reduce == "none" else 1.0)
    plan = resolve(config)
    start = time.perf_counter()
    setup = set_up(config, plan, network=network)
    fitting = time.perf_counter() - start
    seconds: dict[int, list[float]] = {}
    start = time.perf_counter()
    for progress in stylize(config, plan=plan, setup=setup):
        float(progress.losses["loss/total"])
        seconds.setdefault(progress.stage, []).append(time.perf_counter() - start)
        start = time.perf_counter()
    medians = {stage: statistics.median(each[2:]) for stage, each in seconds.items()}
    return {"fitting": fitting, "channels": sum(map(len, setup.decided.kept.values())),
            "sizes": [[max(0.0, each[0] - medians[stage]), medians[stage]] for stage, each in seconds.items()]}


def seconds_at(config: StylizeConfig, steps: int, whole: Entry, reduced: Entry) -> float:
    """The seconds after so many steps of a run, beyond what a run of the whole network needs before its first."""
    plan = resolve(config)
    first, switch = 0, Decided(plan.variant, plan.objective, plan.stages).reduced_steps(plan)
    total = max(0.0, reduced["fitting"] - whole["fitting"]) * bool(switch)
    for index, stage in enumerate(plan.stages):
        last = min(steps, first + stage.steps)
        few, many = max(0, min(last, switch) - first), max(0, last - max(first, switch))
        for count, (more, step) in ((few, reduced["sizes"][index]), (many, whole["sizes"][index])):
            total += (more + count * step) * bool(count)
        first += stage.steps
    return total


def reached(curve: Sequence[tuple[float, float]], objective: float) -> float:
    """The seconds at which a curve of (seconds, J) is first as low as `objective`, linear between its points."""
    for (before, high), (after, low) in zip(curve, curve[1:]):
        if low <= objective <= high:
            return before + (after - before) * (high - objective) / max(high - low, 1e-12)
    return curve[0][0] if curve[0][1] <= objective else float("inf")


def measure(values: flags.FlagValues, store: Mapping[str, Any], path: Path) -> None:
    """Measures what the store lacks, and adds each run to it."""
    for precision in values.precisions:
        for pair in map(int, values.pairs):
            base = pair_config(*PAIRS[pair], backbone="vgg16", weights="hed", size=values.size, steps=values.steps,
                               precision=precision)
            network = load_network(base)
            for variant, config in configs(base, values.variants):
                timed = variant.partition("@")[0]
                jobs = {"objectives": (variant, objectives), "times": (timed, times)}
                for part in (values.part,) if values.part != "all" else tuple(jobs):
                    name, work = jobs[part]
                    key = f"{part} {values.size} {values.steps} {precision} {pair} {name}"
                    if key not in store:
                        store[key] = work(config, network)  # type: ignore[index]
                        with path.open("a", encoding="utf-8") as file:
                            print(json.dumps({key: store[key]}), file=file)


def compared(values: flags.FlagValues, store: Mapping[str, Any], precision: str, pair: int,
             variant: str) -> list[float] | None:
    """A variant to the whole network: a step of the last size, the last J, seconds to J; None if not measured."""
    base = pair_config(*PAIRS[pair], backbone="vgg16", weights="hed", size=values.size, steps=values.steps)
    config = dict(configs(base, [variant]))[variant]
    start = f"{values.size} {values.steps} {precision} {pair}"
    keys = [f"times {start} {name}" for name in ("none", variant.partition("@")[0])]
    keys += [f"objectives {start} {name}" for name in ("none", variant)]
    if not all(key in store for key in keys):
        return None
    whole, reduced = store[keys[0]], store[keys[1]]
    curves = [[(seconds_at(each, steps, whole, reduced), value) for steps, value in store[key]]
              for each, key in ((base, keys[2]), (config, keys[3]))]
    end = curves[0][-1][1]
    return [reduced["sizes"][-1][1] / whole["sizes"][-1][1], curves[1][-1][1] / end,
            *(reached(curves[1], factor * end) / reached(curves[0], factor * end) for factor in FACTORS)]


def row(values: flags.FlagValues, store: Mapping[str, Any], precision: str, variant: str) -> tuple[str, bool]:
    """The table's row of a variant, and whether it is soon enough on all pairs."""
    found = [compared(values, store, precision, int(pair), variant) for pair in values.pairs]
    columns = [" / ".join("?" if of_pair is None else "never" if of_pair[index] == float("inf")
                          else f"{of_pair[index]:.2f}" for of_pair in found) for index in range(2 + len(FACTORS))]
    is_enough = all(of_pair is not None and of_pair[2] <= ENOUGH for of_pair in found)
    return f"| `{variant}` | {precision} | {' | '.join(columns)} |", is_enough


def main(argv: Sequence[str]) -> None:
    """Measures, then prints the table of what is measured."""
    values = flags.FlagValues()
    flags.DEFINE_integer("size", 256, "long side in px", flag_values=values)
    flags.DEFINE_integer("steps", 160, "of each run", flag_values=values)
    flags.DEFINE_list("variants", VARIANTS, "METHOD:NUMBER@SHARE of --reduce and --reduce_share",
                      flag_values=values)
    flags.DEFINE_list("pairs", [str(index) for index in range(len(PAIRS))], "which pictures", flag_values=values)
    flags.DEFINE_list("precisions", ["float32", "bfloat16"], "of the network", flag_values=values)
    flags.DEFINE_enum("part", "all", ["all", "objectives", "times", "table"], "what to measure", flag_values=values)
    flags.DEFINE_string("store", "out/reduction.jsonl", "file of what is measured", flag_values=values)
    values(argv)
    path = Path(values.store)
    path.parent.mkdir(parents=True, exist_ok=True)
    store: dict[str, Any] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        store |= json.loads(line)
    if values.part != "table":
        print(start_tensorflow())
        measure(values, store, path)
    if values.part not in ("all", "table"):
        return
    print("| variant | precision | step | J at the end | seconds to 1.02 J | to 1.05 J |\n" + "| --- " * 6 + "|")
    enough = []
    for precision in values.precisions:
        for variant in values.variants:
            text, is_enough = row(values, store, precision, variant)
            enough += [f"{variant} in {precision}"] * is_enough
            print(text)
    print(f"at most {ENOUGH} of the seconds on all pairs: {', '.join(enough) or 'none'}")


if __name__ == "__main__":
    main(sys.argv)
